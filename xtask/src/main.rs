//! `cargo xtask`: everything a contributor or CI runs, as one program that cargo alone can build.
//!
//! `test` and `check` only read the tree; `fix` rewrites it. `bench` measures and writes `docs/benchmarks.md`.

mod bench;
mod chaos;
mod check;
mod children;
mod paths;
mod postgres;
mod s3;
mod servers;
mod simulate;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What contributors and CI run. Every command runs from any folder of the repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Set up what the tests need (PostgreSQL, an S3 server, git, ripgrep) and run all of them
    Test(test::Options),
    /// Simulate the cluster in one thread, once a seed, with everything that can go wrong
    Simulate(simulate::Options),
    /// Read the tree and say what is wrong: format, lints, documentation, licences, links, fuzzing
    Check(check::Options),
    /// Rewrite what `check` can put right by itself: the format of the code
    Fix,
    /// Measure this engine and its peers side by side, and write docs/benchmarks.md
    Bench(Box<bench::Options>),
    /// Break a cluster of real nodes for a while, and judge what its clients saw
    Chaos(chaos::Options),
    /// Run one program and write what it used to a file (the benchmark does this by itself)
    #[command(hide = true)]
    Measured(bench::Measured),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = children::forward_signals().and_then(|()| match arguments.command {
        Task::Test(options) => test::run(&options),
        Task::Simulate(options) => simulate::run(&options),
        Task::Check(options) => check::run(&options),
        Task::Fix => check::fix(),
        Task::Bench(options) => bench::run(&options),
        Task::Chaos(options) => chaos::run(&options),
        Task::Measured(measured) => measured.run(),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            match children::interrupted() {
                // The shell's convention for a program that a signal ended.
                Some(signal) => ExitCode::from(128 + signal),
                None => ExitCode::FAILURE,
            }
        }
    }
}

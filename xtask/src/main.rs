//! `cargo xtask`: everything a contributor or CI runs, as one program that cargo alone can build.
//!
//! `test` and `check` only read the tree; `fix` rewrites it. `bench` measures and writes `docs/benchmarks.md`.

mod check;
mod children;
mod paths;
mod postgres;
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
    /// Set up what the tests need (PostgreSQL, git, ripgrep) and run all of them
    Test(test::Options),
    /// Read the tree and say what is wrong: format, lints, documentation, licences, links, fuzzing
    Check(check::Options),
    /// Rewrite what `check` can put right by itself: the format of the code
    Fix,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = children::forward_signals().and_then(|()| match arguments.command {
        Task::Test(options) => test::run(&options),
        Task::Check(options) => check::run(&options),
        Task::Fix => check::fix(),
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

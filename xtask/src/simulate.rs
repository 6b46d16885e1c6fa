//! `cargo xtask simulate`: the whole cluster in one thread, as seeds have it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{children, paths, test};

/// The program that simulates.
pub(crate) const PROGRAM: &str = "aeterna-simulation";
/// Seeds that are simulated with all tests.
const SEEDS: u64 = 1_000;

/// What `cargo xtask simulate` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many seeds to simulate
    #[arg(long, default_value_t = SEEDS)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Print the log of each seed
    #[arg(long)]
    log: bool,
    /// Simulate each seed twice, and compare the logs
    #[arg(long)]
    twice: bool,
}

/// Simulates seeds; an error when one fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    let root = paths::workspace()?;
    let program = build(&root)?;
    let mut command = Command::new(program);
    command.args(["--seeds", &options.seeds.to_string(), "--from", &options.from.to_string()]);
    for (flag, is_given) in [("--log", options.log), ("--twice", options.twice)] {
        if is_given {
            command.arg(flag);
        }
    }
    children::run(&mut command)
}

/// What belongs to all tests: the seeds that have found something, and a thousand others.
pub(crate) fn all(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--regressions", "--seeds", &SEEDS.to_string()]);
    command
}

fn build(root: &Path) -> Result<PathBuf> {
    // With the features that all tests have, and so without compiling what they have compiled.
    let arguments = ["test", "--workspace", "--test", "simulation", "--no-run"];
    test::build_and_find(root, &arguments)?
        .remove(PROGRAM)
        .with_context(|| format!("cargo built no program `{PROGRAM}`"))
}

//! `cargo xtask check`: what must hold of the tree itself. It only reads; `fix` rewrites.

mod dependencies;
mod fuzzing;
mod lengths;
mod licences;
mod links;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::{children, paths};

/// One thing to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    /// `cargo fmt --check`
    Format,
    /// No Rust file grows too long to be read in one sitting
    Lengths,
    /// Relative links and their anchors in Markdown files lead somewhere
    Links,
    /// docs/dependencies.md says why each direct dependency is there, and names no others
    Dependencies,
    /// Licences, sources and banned crates, by cargo-deny
    Licences,
    /// clippy, a warning being an error
    Clippy,
    /// rustdoc, a warning being an error
    Documentation,
    /// Each fuzz target for a while
    Fuzz,
}

/// What `cargo xtask check` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The stages to run; all of them when none is named
    #[arg(value_enum)]
    stages: Vec<Stage>,
    /// How long each fuzz target runs, in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    fuzz_seconds: u32,
}

/// Runs the stages in order, quick ones first, and fails at the end when one of them did.
pub(crate) fn run(options: &Options) -> Result<()> {
    let root = paths::workspace()?;
    let stages = match options.stages.as_slice() {
        [] => Stage::value_variants(),
        stages => stages,
    };
    let mut failed = Vec::new();
    for stage in stages {
        let section = children::section(&format!("check: {}", name(*stage)));
        if let Err(error) = check(*stage, &root, options) {
            if children::interrupted().is_some() {
                return Err(error);
            }
            println!("{error:#}");
            failed.push(name(*stage));
        }
        section.done();
    }
    if !failed.is_empty() {
        bail!("these checks failed, for the reasons above: {}", failed.join(", "));
    }
    println!("\n== all checks passed");
    Ok(())
}

/// Rewrites what can be put right without thinking.
pub(crate) fn fix() -> Result<()> {
    children::run(cargo(&paths::workspace()?).args(["fmt", "--all"]))
}

fn name(stage: Stage) -> String {
    stage.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn check(stage: Stage, root: &Path, options: &Options) -> Result<()> {
    match stage {
        Stage::Format => children::run(cargo(root).args(["fmt", "--all", "--check"])),
        Stage::Lengths => lengths::check(root),
        Stage::Links => links::check(root),
        Stage::Dependencies => dependencies::check(root),
        Stage::Licences => licences::check(root),
        Stage::Clippy => children::run(cargo(root).args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ])),
        Stage::Documentation => children::run(
            cargo(root)
                .args(["doc", "--workspace", "--no-deps"])
                .env("RUSTDOCFLAGS", "-D warnings"),
        ),
        Stage::Fuzz => fuzzing::check(root, options.fuzz_seconds),
    }
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root);
    command
}

/// The files of the repository that end in `suffix`: tracked, or new and not ignored.
fn files(root: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let listed = children::output(
        Command::new("git")
            .current_dir(root)
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"])
            .arg(format!("*{suffix}")),
    )?;
    let mut files: Vec<PathBuf> = listed
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .filter(|path| root.join(path).is_file())
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// An error with a line for each problem, unless there is none.
fn no_problems(problems: &[String]) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{}", problems.join("\n"))
}

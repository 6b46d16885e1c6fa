//! What a figure means nothing without: the machine and the versions.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::engines::ripgrep::Ripgrep;
use super::engines::zoekt;
use super::results::Machine;
use crate::children;

/// Describes this machine and the programs that are compared on it.
pub(crate) fn describe(ripgrep: &Ripgrep, aeterna: Option<(&Path, Origin)>) -> Result<Machine> {
    let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
    let mut versions = vec![("ripgrep".to_owned(), first_line(ripgrep.version()?))];
    if let Some((binary, origin)) = aeterna {
        versions.push(("aeterna".to_owned(), version_of(binary, origin)?));
    }
    if let Some((indexer, _)) = zoekt::programs() {
        versions.push(("Zoekt".to_owned(), go_version(&indexer)));
    }
    for package in ["codesearch", "universal-ctags"] {
        let query = ["--show", "--showformat", "${Version}", package];
        let version = children::output(Command::new("dpkg-query").args(query));
        versions.push((package.to_owned(), version.unwrap_or_else(|_| "not Debian's".to_owned())));
    }
    versions.push(("git".to_owned(), children::output(Command::new("git").arg("--version"))?));
    with_versions(versions)
}

/// Where a program comes from.
#[derive(Clone, Copy)]
pub(crate) enum Origin {
    /// It was built here and now.
    Built,
    /// It was given: of what, nobody knows.
    Given,
}

impl Origin {
    /// As the option says that may give one.
    pub(crate) fn of(given: Option<&Path>) -> Self {
        if given.is_some() { Self::Given } else { Self::Built }
    }
}

/// Version of an `aeterna`, and the commit where that is known.
pub(crate) fn version_of(binary: &Path, origin: Origin) -> Result<String> {
    let version = children::output(Command::new(binary).arg("--version"))?;
    let from = match origin {
        Origin::Built => commit()?,
        Origin::Given => "a program that was given".to_owned(),
    };
    Ok(format!("{} ({from})", version.trim()))
}

/// Describes this machine, and programs with their versions.
pub(crate) fn with_versions(versions: Vec<(String, String)>) -> Result<Machine> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = field(&cpuinfo, "model name").unwrap_or_else(|| "unknown".to_owned());
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes = field(&meminfo, "MemTotal")
        .and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok())
        .unwrap_or_default();
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    Ok(Machine {
        date: children::output(Command::new("date").args(["--utc", "+%Y-%m-%d"]))?.trim().into(),
        processor,
        cores: std::thread::available_parallelism()?.get(),
        memory: kibibytes * 1024,
        system: system.unwrap_or("unknown").trim_matches('"').to_owned(),
        kernel: children::output(Command::new("uname").arg("-sr"))?.trim().to_owned(),
        versions: versions.into_iter().map(|(name, text)| (name, text.trim().to_owned())).collect(),
    })
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Zoekt does not say its version; the Go tool-chain reads it from the binary.
fn go_version(program: &Path) -> String {
    let Ok(text) = children::output(Command::new("go").args(["version", "-m"]).arg(program)) else {
        return "unknown".to_owned();
    };
    let module = text.lines().find(|line| line.trim_start().starts_with("mod\t"));
    let revision = text.lines().find_map(|line| line.split_once("vcs.revision="));
    let words: Vec<&str> = module.unwrap_or_default().split_whitespace().skip(1).take(2).collect();
    match revision {
        Some((_, revision)) => format!("{} at {revision}", words.join(" ")),
        None => words.join(" "),
    }
}

fn commit() -> Result<String> {
    let root = crate::paths::workspace()?;
    let described = ["describe", "--always", "--dirty", "--abbrev=12"];
    let commit = children::output(Command::new("git").current_dir(root).args(described))?;
    Ok(format!("commit {}", commit.trim()))
}

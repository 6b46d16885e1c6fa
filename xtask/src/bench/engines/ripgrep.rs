//! ripgrep: no index, a scan of every file for every search.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use super::{Engine, Found, Want, parse_counts};
use crate::bench::patterns::{Kind, Pattern};
use crate::children;
use crate::tools::{self, DebianProgram};

/// The same files as the commit's: hidden and ignored ones too, binary ones not.
const FLAGS: [&str; 7] = [
    "--no-config",
    "--no-ignore",
    "--hidden",
    "--case-sensitive",
    "--no-messages",
    "--count",
    "--null",
];

pub(crate) struct Ripgrep {
    program: PathBuf,
    tree: PathBuf,
}

impl Ripgrep {
    /// Finds or installs it.
    pub(crate) fn new(tree: &Path) -> Result<Self> {
        let program = tools::debian_program(&DebianProgram {
            program: "rg",
            package: "ripgrep",
            needed_for: "the benchmark",
        })?;
        Ok(Self { program, tree: tree.to_owned() })
    }

    pub(crate) fn version(&self) -> Result<String> {
        children::output(Command::new(&self.program).arg("--version"))
    }

    pub(crate) fn command_line() -> String {
        format!("rg {} -e PATTERN .", FLAGS.join(" "))
    }
}

impl Engine for Ripgrep {
    fn name(&self) -> &'static str {
        "ripgrep"
    }

    fn wants(&self) -> &'static [Want] {
        &[Want::Counts]
    }

    fn search(&mut self, pattern: &Pattern, _want: Want) -> Result<Found> {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.tree).args(FLAGS);
        if pattern.kind == Kind::Literal {
            command.arg("--fixed-strings");
        }
        command.arg("-e").arg(&pattern.text).arg(".");
        let started = Instant::now();
        let output = children::any_output(&mut command)?;
        let elapsed = started.elapsed();
        // 1: nothing was found.
        if output.status.code() != Some(1) {
            children::succeeded(&command, output.status)?;
        }
        Ok(Found { elapsed, matches: Box::new(move || Ok(parse_counts(&output.stdout, 0, "./"))) })
    }
}

//! codesearch (`cindex`, `csearch`): an index of trigrams without content; every search reads the candidates' files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use super::{Engine, Found, Want, parse_counts};
use crate::bench::measure::{self, Usage};
use crate::bench::patterns::{Kind, Pattern};
use crate::children;
use crate::tools::{self, DebianProgram};

pub(crate) struct Codesearch {
    program: PathBuf,
    index: PathBuf,
    prefix: String,
}

fn program(name: &'static str) -> Result<PathBuf> {
    tools::debian_program(&DebianProgram {
        program: name,
        package: "codesearch",
        needed_for: "the benchmark",
    })
}

/// Indexes `tree` into one file.
pub(crate) fn index(tree: &Path, index: &Path, scratch: &Path) -> Result<Usage> {
    let mut command = Command::new(program("cindex")?);
    command.args(["-reset"]).arg(tree).env("CSEARCHINDEX", index);
    measure::usage_of(&command, scratch)
}

impl Codesearch {
    /// Searches the index that was made of `tree`.
    pub(crate) fn new(tree: &Path, index: &Path) -> Result<Self> {
        Ok(Self {
            program: program("csearch")?,
            index: index.to_owned(),
            prefix: format!("{}/", tree.display()),
        })
    }
}

impl Engine for Codesearch {
    fn name(&self) -> &'static str {
        "csearch"
    }

    fn wants(&self) -> &'static [Want] {
        &[Want::Counts]
    }

    fn search(&mut self, pattern: &Pattern, _want: Want) -> Result<Found> {
        let regex = match pattern.kind {
            Kind::Literal => super::escaped(&pattern.text),
            Kind::Regex => pattern.text.clone(),
        };
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(regex).env("CSEARCHINDEX", &self.index);
        let started = Instant::now();
        let output = children::any_output(&mut command)?;
        let elapsed = started.elapsed();
        if output.status.code() != Some(1) {
            children::succeeded(&command, output.status)?;
        }
        let prefix = self.prefix.clone();
        let matches = move || Ok(parse_counts(&output.stdout, b':', &prefix));
        Ok(Found { elapsed, matches: Box::new(matches) })
    }
}

//! What a run found out, in a form that is kept, so that the report can be written again without measuring.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::measure::{Distribution, ProcessState};

/// Everything that one run measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) machine: Machine,
    pub(crate) corpus: CorpusFacts,
    /// How each program was run.
    pub(crate) commands: Vec<(String, String)>,
    pub(crate) indexing: Vec<Indexing>,
    pub(crate) serving: Vec<Serving>,
    pub(crate) latencies: Vec<Latency>,
    pub(crate) against_scan: Vec<AgainstScan>,
    pub(crate) agreement: Vec<Agreement>,
    pub(crate) push: Vec<Push>,
    pub(crate) load: Option<Load>,
    pub(crate) scale: Vec<Scale>,
    /// Filled by `cargo xtask bench relevance`.
    #[serde(default)]
    pub(crate) relevance: Vec<Relevance>,
}

/// Where it ran.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory: u64,
    pub(crate) system: String,
    pub(crate) kernel: String,
    /// Program and version.
    pub(crate) versions: Vec<(String, String)>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct CorpusFacts {
    pub(crate) name: String,
    pub(crate) commit: String,
    pub(crate) files: usize,
    pub(crate) bytes: u64,
    pub(crate) seed: u64,
    pub(crate) literals: usize,
    pub(crate) regexes: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Indexing {
    pub(crate) name: String,
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
    pub(crate) peak_memory: u64,
    /// Bytes on disk that searching needs.
    pub(crate) index_size: u64,
    /// What else is on disk, such as the git mirror.
    pub(crate) beside: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Serving {
    pub(crate) name: String,
    pub(crate) started: ProcessState,
    /// After all searches of the run.
    pub(crate) searched: Option<ProcessState>,
}

/// One engine's times for one set of patterns.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) engine: String,
    /// Such as `literals`.
    pub(crate) set: String,
    /// Such as `first page`.
    pub(crate) want: String,
    /// The better of the repetitions.
    pub(crate) times: Distribution,
    /// The patterns that took longest, with milliseconds.
    pub(crate) slowest: Vec<(String, f64)>,
}

/// Our times, pattern by pattern, against those of a scan of everything.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AgainstScan {
    /// What was asked for, such as `every match`.
    pub(crate) want: String,
    pub(crate) patterns: usize,
    /// Pattern, our milliseconds, the scan's.
    pub(crate) slower: Vec<(String, f64, f64)>,
    /// The largest of our time ÷ the scan's.
    pub(crate) worst_ratio: f64,
}

/// How an engine's answers compare with ripgrep's, which reads every file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Agreement {
    pub(crate) engine: String,
    pub(crate) patterns: usize,
    pub(crate) same: usize,
    /// Why answers differ: the reason, the number of (pattern, file) pairs, and one of them.
    pub(crate) reasons: BTreeMap<String, (u64, String)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Push {
    pub(crate) engine: String,
    pub(crate) files: usize,
    /// Milliseconds from the request, or the command's start, until all of it is found; one a push.
    pub(crate) searchable: Vec<f64>,
    /// What of it the engine itself says went into indexing, without the fetch.
    pub(crate) indexing: Vec<f64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) clients: usize,
    pub(crate) idle: Distribution,
    pub(crate) while_indexing: Distribution,
    pub(crate) searches_idle: usize,
    pub(crate) searches_while_indexing: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Scale {
    /// Times the corpus.
    pub(crate) times: usize,
    pub(crate) repositories: usize,
    pub(crate) bytes: u64,
    /// Seconds since the first repository was added, only counting while indexing.
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
    pub(crate) peak_memory: u64,
    pub(crate) anonymous: u64,
    pub(crate) index_size: u64,
    pub(crate) first_page: Distribution,
}

/// How often the wanted document comes first, for one half of the labelled queries.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Relevance {
    pub(crate) split: String,
    pub(crate) queries: usize,
    pub(crate) recall_at_1: f64,
    pub(crate) recall_at_5: f64,
    pub(crate) mrr: f64,
}

/// What is kept in a file from one run to the next.
pub(crate) trait Kept: Serialize + DeserializeOwned {
    /// The command that measures it.
    const COMMAND: &'static str;

    fn load(file: &Path) -> Result<Self> {
        let text = fs::read(file).with_context(|| {
            format!("{} is not there: run `{}` first", file.display(), Self::COMMAND)
        })?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is of another version: measure again", file.display()))
    }

    /// Replaces the file in one step.
    fn save(&self, file: &Path) -> Result<()> {
        let partial = file.with_extension("partial");
        fs::write(&partial, serde_json::to_vec_pretty(self)?)?;
        fs::rename(&partial, file)?;
        Ok(())
    }
}

impl Kept for Run {
    const COMMAND: &'static str = "cargo xtask bench";
}

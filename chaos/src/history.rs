//! What happened, one JSON object a line: enough to judge a run without having seen it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Microseconds since the run began, by one clock for all.
pub(crate) type Micros = u64;

/// From when to when something took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    /// Before it could have any effect.
    pub(crate) begun: Micros,
    /// When it was known to be over.
    pub(crate) ended: Micros,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub(crate) enum Entry {
    /// What a client asked of a node.
    Operation(Operation),
    /// A commit came to be in a repository's source.
    Push(Push),
    /// What was broken, and when it was whole again.
    Fault(FaultRecord),
    /// A node's view of the shard map changed, or of who leads.
    View(View),
    /// A node ended that should not have.
    Ended(Ended),
    /// Something that must not be, seen by whoever drives the run.
    Wrong(Wrong),
}

/// A client's call and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Operation {
    /// Who asked.
    pub(crate) client: String,
    /// The node that was asked.
    pub(crate) node: String,
    /// When.
    pub(crate) span: Span,
    /// What for.
    pub(crate) call: Call,
    /// What came back.
    pub(crate) answer: Answer,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Call {
    /// A repository is to be indexed.
    Add(String),
    /// Its newest commit is to be indexed.
    Sync(String),
    /// How it is.
    Show(String),
    /// It is to be forgotten.
    Remove(String),
    /// Everything that the runs' repositories hold.
    Search {
        /// Whether an answer without something is an error.
        require_complete: bool,
    },
}

impl Call {
    /// The repository that it is about.
    pub(crate) fn repository(&self) -> Option<&str> {
        match self {
            Self::Add(name) | Self::Sync(name) | Self::Show(name) | Self::Remove(name) => {
                Some(name)
            }
            Self::Search { .. } => None,
        }
    }

    /// A word for it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Add(_) => "add",
            Self::Sync(_) => "sync",
            Self::Show(_) => "show",
            Self::Remove(_) => "remove",
            Self::Search { .. } => "search",
        }
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer {
    /// Done, or it will be.
    Accepted,
    /// A repository.
    Shown {
        /// Its state.
        state: String,
        /// The commit that is said to be indexed.
        commit: Option<String>,
    },
    /// There is no such repository.
    Unknown,
    /// What was found.
    Found {
        /// Whether that is all.
        complete: bool,
        /// Why not.
        skipped: Vec<String>,
        /// Of each repository what of it was found.
        repositories: BTreeMap<String, Seen>,
    },
    /// An answer that says no, or not now.
    Refused {
        /// The status code.
        status: u16,
        /// The problem's stable word.
        code: String,
    },
    /// No answer: what was asked may have been done or not.
    Failed(String),
}

/// What a search found of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Seen {
    /// Exactly what one commit holds.
    Commit {
        /// Its number.
        number: u32,
        /// The id that the results bear.
        id: String,
    },
    /// Something else.
    Mixture(BTreeMap<String, String>),
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Push {
    /// The repository.
    pub(crate) repository: String,
    /// Its number: 1 is the first.
    pub(crate) number: u32,
    /// Git's id of it.
    pub(crate) id: String,
    /// When it was made.
    pub(crate) span: Span,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FaultRecord {
    /// Counts from 1.
    pub(crate) number: u32,
    /// Its kind, as `--only` takes it.
    pub(crate) fault: String,
    /// What exactly was done to whom.
    pub(crate) detail: String,
    /// Nodes that cannot be expected to answer meanwhile.
    pub(crate) nodes: Vec<String>,
    /// From the first thing that was broken until all was put right again and the nodes had started.
    pub(crate) span: Span,
    /// When the cluster said of itself that nothing was left to do.
    pub(crate) settled: Micros,
}

/// The shard map as a node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View {
    /// The node.
    pub(crate) node: String,
    /// Counts the node's starts.
    pub(crate) start: u32,
    /// When it was asked and had answered.
    pub(crate) span: Span,
    /// Version of the map.
    pub(crate) version: u64,
    /// Raft's term.
    pub(crate) term: u64,
    /// Who leads.
    pub(crate) leader: Option<String>,
    /// Of each shard its epoch and its owner.
    pub(crate) shards: Vec<(u64, Option<String>)>,
}

/// A node that ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ended {
    /// The node.
    pub(crate) node: String,
    /// When that was seen.
    pub(crate) at: Micros,
    /// With which status.
    pub(crate) status: String,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wrong {
    /// When it was seen.
    pub(crate) at: Micros,
    /// What.
    pub(crate) what: String,
}

/// Where a run's entries go.
pub(crate) struct History {
    begun: Instant,
    kept: Mutex<Kept>,
}

struct Kept {
    entries: Vec<Entry>,
    file: BufWriter<File>,
    failure: Option<std::io::Error>,
}

impl History {
    /// An empty history, written to a file as it grows.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
        let kept = Kept { entries: Vec::new(), file: BufWriter::new(file), failure: None };
        Ok(Self { begun: Instant::now(), kept: Mutex::new(kept) })
    }

    /// What time it is in this run.
    pub(crate) fn now(&self) -> Micros {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Adds an entry. A line that cannot be written fails [`History::finish`].
    pub(crate) fn add(&self, entry: Entry) {
        let mut kept = self.kept();
        let written = serde_json::to_writer(&mut kept.file, &entry)
            .map_err(std::io::Error::from)
            .and_then(|()| kept.file.write_all(b"\n"));
        if let Err(error) = written {
            kept.failure.get_or_insert(error);
        }
        kept.entries.push(entry);
    }

    /// Adds something that must not be.
    pub(crate) fn wrong(&self, what: impl Into<String>) {
        let what = what.into();
        println!("{} WRONG: {what}", clock(self.now()));
        self.add(Entry::Wrong(Wrong { at: self.now(), what }));
    }

    /// Everything so far, once the file has it too.
    pub(crate) fn finish(&self) -> Result<Vec<Entry>> {
        let mut kept = self.kept();
        let flushed = kept.file.flush();
        match kept.failure.take().map_or(flushed, Err) {
            Ok(()) => Ok(std::mem::take(&mut kept.entries)),
            Err(error) => Err(error).context("cannot write the history"),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a history.
pub(crate) fn read(path: &Path) -> Result<Vec<Entry>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let entry = |(number, line): (usize, std::io::Result<String>)| {
        serde_json::from_str(&line?).with_context(|| format!("line {}", number + 1))
    };
    BufReader::new(file).lines().enumerate().map(entry).collect()
}

/// A time of the run for a person: minutes, seconds, tenths.
pub(crate) fn clock(at: Micros) -> String {
    let tenths = at / 100_000;
    format!("{:02}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
}

//! A repository as users see it: its identity, its state and how far its work is.

use std::fmt;
use std::str::FromStr;

use aeterna_index::{Part, RepositoryId};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// The tenant of everything until tenants are managed.
pub const DEFAULT_TENANT: &str = "default";

/// Where a repository is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Asked for; nobody looked at it yet.
    Requested,
    /// Waits for an approval.
    Pending,
    /// May be indexed; waits for a worker.
    Approved,
    /// Its objects are being received.
    Cloning,
    /// Its contents are being indexed.
    Indexing,
    /// Indexed as of its last sync.
    Ready,
    /// Its last attempt failed; what was indexed before stays searchable.
    Error,
    /// Put away into cold storage.
    Archived,
    /// Turned down.
    Rejected,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Requested,
        Self::Pending,
        Self::Approved,
        Self::Cloning,
        Self::Indexing,
        Self::Ready,
        Self::Error,
        Self::Archived,
        Self::Rejected,
    ];

    /// The word for it in the catalog and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Cloning => "cloning",
            Self::Indexing => "indexing",
            Self::Ready => "ready",
            Self::Error => "error",
            Self::Archived => "archived",
            Self::Rejected => "rejected",
        }
    }

    /// The states that may follow this one. A state may always be written again.
    pub fn next(self) -> &'static [State] {
        match self {
            Self::Requested => &[Self::Pending, Self::Approved, Self::Rejected],
            Self::Pending => &[Self::Approved, Self::Rejected],
            Self::Approved => &[Self::Cloning, Self::Error],
            Self::Cloning => &[Self::Indexing, Self::Error],
            Self::Indexing => &[Self::Ready, Self::Cloning, Self::Error],
            Self::Ready => &[Self::Cloning, Self::Error, Self::Archived],
            Self::Error => &[Self::Cloning, Self::Archived],
            Self::Archived => &[Self::Approved],
            Self::Rejected => &[Self::Requested],
        }
    }

    /// Whether `to` may follow this state.
    pub fn may_become(self, to: State) -> bool {
        self == to || self.next().contains(&to)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no [`State`].
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no state; states are requested, pending, approved, cloning, indexing, ready, error, archived and rejected"
)]
pub struct UnknownState(pub String);

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(word: &str) -> Result<Self, UnknownState> {
        State::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or_else(|| UnknownState(word.to_owned()))
    }
}

/// What a repository's worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Talking to the remote and receiving objects; counted in bytes, or in objects once their
    /// number is known.
    Fetching,
    /// Checking and indexing received objects; counted in objects.
    Resolving,
    /// Listing the trees of the revisions; counted in revisions.
    Listing,
    /// Reading contents into the index; counted in contents.
    Indexing,
}

/// How far the work of a phase is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Progress {
    /// The phase.
    pub phase: Phase,
    /// Units done, see [`Phase`].
    pub done: u64,
    /// Units in all, where that is known.
    pub total: Option<u64>,
    /// Bytes received (fetching) or read (indexing) so far.
    pub bytes: u64,
    /// 0 to 100, where `total` is known.
    pub percent: Option<f32>,
}

impl Progress {
    /// Progress of `phase` with the percentage that follows from `done` and `total`.
    pub fn new(phase: Phase, done: u64, total: Option<u64>, bytes: u64) -> Self {
        let percent = total.map(|total| {
            if total == 0 { 100.0 } else { (done as f32 / total as f32 * 100.0).min(100.0) }
        });
        Self { phase, done, total, bytes, percent }
    }
}

/// Whether a part of what is known of files can be searched yet; their text can be before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Readiness {
    /// It is still to be read for some files.
    Pending,
    /// It is searchable for every indexed file.
    Ready,
}

/// An indexed branch or tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Name as in `rev:`.
    pub name: String,
    /// Commit that the index holds, in hex.
    pub commit: String,
}

/// A repository of the catalog.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Repository {
    /// Identity.
    pub id: RepositoryId,
    /// Tenant that it belongs to.
    pub tenant: String,
    /// `owner/name`, unique in its tenant.
    pub name: String,
    /// Where it is fetched from, canonical, never with a password.
    pub url: String,
    /// Globs of the branches and tags to index; empty means the default branch.
    pub branches: Vec<String>,
    /// Where it is in its life.
    pub state: State,
    /// What its worker is doing, while one is.
    pub progress: Option<Progress>,
    /// What the index holds of it, sorted by name, the default branch first.
    pub revisions: Vec<Revision>,
    /// Name of the default branch; `None` while unknown, and for a detached or unborn HEAD.
    pub default_branch: Option<String>,
    /// Whether its definitions can be searched.
    pub symbols: Readiness,
    /// Whether who changed files last, and when, can be searched.
    pub last_changes: Readiness,
    /// The shard that its id is hashed to.
    pub shard: u32,
    /// Attempts of the current job that failed, 0 after a success.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// Stable code of `last_error`, see [`crate::ManagerError::code`].
    pub last_error_code: Option<String>,
    /// When the next attempt starts; `None` when none is planned.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next_attempt_at: Option<OffsetDateTime>,
    /// How many jobs run before its own, while one waits for a worker; 0 is the next.
    pub queue_position: Option<u32>,
    /// Whether its remote says that it is a fork.
    pub fork: bool,
    /// Whether its remote says that it is archived.
    pub archived: bool,
    /// Whether anyone may read it.
    pub public: bool,
    /// SPDX identifier of its licence, where one was detected.
    pub license: Option<String>,
    /// When it was added.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When its catalog entry changed last.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// When the index took in its last sync; `None` before the first.
    #[serde(with = "time::serde::rfc3339::option")]
    pub indexed_at: Option<OffsetDateTime>,
    /// Which of its parts this is, where it is indexed in several.
    pub part: Option<Part>,
    /// Its parts, itself included, where it is indexed in several and this is all of it.
    pub parts: Vec<PartOfRepository>,
    /// Bytes of its mirror on disk.
    pub size_bytes: u64,
    /// Distinct paths with their content over all indexed revisions, as of the last sync.
    pub document_count: u64,
}

/// A part of a repository that is too large for one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartOfRepository {
    /// Identity of its own.
    pub id: RepositoryId,
    /// The shard that it is in.
    pub shard: u32,
    /// How its own work is.
    pub state: State,
}

impl Repository {
    /// Whether it is indexed in several parts, and is not one of the others itself.
    pub fn is_in_parts(&self) -> bool {
        self.part.is_some_and(|part| part.number == 0)
    }

    /// Whether it is a further part of a repository.
    pub fn is_further_part(&self) -> bool {
        self.part.is_some_and(|part| part.number > 0)
    }
}

/// Something that happened to a repository.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What.
    pub kind: EventKind,
    /// A sentence for a person.
    pub message: String,
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// It was added.
    Added,
    /// A sync or a new indexing was asked for.
    Queued,
    /// Its objects were fetched.
    Fetched,
    /// The index took in what had changed.
    Indexed,
    /// Its symbols can be searched.
    SymbolsReady,
    /// The authors and dates of its files' last changes can be searched.
    HistoryReady,
    /// An attempt failed.
    Failed,
    /// Indexing waits, as the disk is full.
    Paused,
    /// A restart found work that was cut off, or an index that differs from the catalog.
    Recovered,
    /// A part of the index was damaged and its repositories are indexed again.
    Damaged,
    /// Its git mirror was brought back from cold storage.
    Restored,
    /// Something to know that stops nothing, such as uncommitted changes that are not indexed.
    Notice,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Added,
        Self::Queued,
        Self::Fetched,
        Self::Indexed,
        Self::SymbolsReady,
        Self::HistoryReady,
        Self::Failed,
        Self::Paused,
        Self::Recovered,
        Self::Damaged,
        Self::Restored,
        Self::Notice,
    ];

    /// The word for it in the catalog and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Queued => "queued",
            Self::Fetched => "fetched",
            Self::Indexed => "indexed",
            Self::SymbolsReady => "symbols-ready",
            Self::HistoryReady => "history-ready",
            Self::Failed => "failed",
            Self::Paused => "paused",
            Self::Recovered => "recovered",
            Self::Damaged => "damaged",
            Self::Restored => "restored",
            Self::Notice => "notice",
        }
    }
}

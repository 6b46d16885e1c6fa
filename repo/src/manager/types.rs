//! What the manager's operations take and give.

use aeterna_index::document::OmitReason;
use serde::Serialize;
use time::OffsetDateTime;

use crate::{Repository, State};

/// A repository to add.
#[derive(Clone, Debug)]
pub struct AddRepository {
    /// Tenant that it will belong to, [`crate::DEFAULT_TENANT`] until tenants are managed.
    pub tenant: String,
    /// URL or path as typed.
    pub url: String,
    /// `owner/name`; taken from the URL when `None`.
    pub name: Option<String>,
    /// Globs of branches and tags to index. Empty means the default branch. `*` stands for any
    /// number of any characters; a glob matches branches, `tags/…` matches tags, `HEAD` is the
    /// default branch, and `!…` takes away what an earlier one selected.
    pub branches: Vec<String>,
}

/// The answer to [`AddRepository`].
#[derive(Clone, Debug)]
pub struct Added {
    /// The repository, new or as it was.
    pub repository: Repository,
    /// Whether it is new.
    pub created: bool,
}

/// Which repositories to list.
#[derive(Clone, Debug)]
pub struct ListFilter {
    /// Only of this tenant.
    pub tenant: String,
    /// Only with this in their name, ASCII case ignored.
    pub name: Option<String>,
    /// Only in this state.
    pub state: Option<State>,
    /// Only after this name: the name of the last one of the page before.
    pub after: Option<String>,
    /// How many at most.
    pub limit: u32,
}

/// A file's bytes and where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileContent {
    /// Path from the repository's root.
    pub path: Vec<u8>,
    /// Indexed revision that was read.
    pub revision: String,
    /// Commit that it is at, in hex.
    pub commit: String,
    /// Object id in hex.
    pub object: String,
    /// What stands at the path: a file, or a link whose target is the content.
    pub kind: TreeKind,
    /// The bytes.
    pub content: Vec<u8>,
}

/// What an entry of a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TreeKind {
    /// A folder.
    Folder,
    /// A file.
    File,
    /// A file that may be run.
    Executable,
    /// A symbolic link.
    Symlink,
    /// A commit of another repository.
    Submodule,
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// Name in its folder; any bytes but NUL and `/`.
    pub name: Vec<u8>,
    /// Path from the repository's root.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: TreeKind,
    /// Object id in hex.
    pub object: String,
    /// Bytes of a file or link whose object is there.
    pub size: Option<u64>,
}

/// A file whose content cannot be searched through the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotIndexed {
    /// Path from the repository's root.
    pub path: Vec<u8>,
    /// Why.
    pub reason: OmitReason,
    /// Revisions that hold it there.
    pub revisions: Vec<String>,
}

/// Why and until when no jobs are started.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// A sentence for a person.
    pub reason: String,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// When jobs start again.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
}

/// How the manager is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// Whether the catalog answers.
    pub catalog: bool,
    /// Tasks that ended though they should not have, by name.
    pub failed_tasks: Vec<String>,
    /// Set while indexing waits, as the disk is full.
    pub paused: Option<Pause>,
    /// Jobs that run.
    pub running: usize,
    /// Jobs that wait for a worker or their time.
    pub waiting: usize,
}

//! Repositories, their history and their files.

use aeterna_repo as repo;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{bytes_of, encode_cursor, text_of, time_of};

/// A repository to index.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddRequest {
    /// `https://`, `ssh://`, `file://` or an absolute path.
    pub url: String,
    /// `owner/name`; taken from the URL when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Globs of the branches and tags to index; the default branch when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
}

/// A repository.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Repository {
    /// Identity.
    pub id: String,
    /// `owner/name`.
    pub name: String,
    /// Where it is fetched from, never with a password.
    pub url: String,
    /// Globs of the branches and tags to index; empty means the default branch.
    pub branches: Vec<String>,
    /// `requested`, `pending`, `approved`, `cloning`, `indexing`, `ready`, `error`, `archived` or
    /// `rejected`.
    pub state: String,
    /// What is being done with it now.
    pub progress: Option<Progress>,
    /// Indexed branches and tags, the default branch first.
    pub revisions: Vec<Revision>,
    /// Name of the default branch.
    pub default_branch: Option<String>,
    /// Whether definitions can be searched yet: `pending` or `ready`. Text can be before.
    pub symbols: String,
    /// Whether `author:` and `updated:` find every file yet: `pending` or `ready`.
    pub last_changes: String,
    /// The shard that it belongs to.
    pub shard: u32,
    /// The parts that it is indexed in, where it is too large for one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// Attempts of the current work that failed.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// A stable word for it.
    pub last_error_code: Option<String>,
    /// When the next attempt starts.
    pub next_attempt_at: Option<String>,
    /// How many others are before it in the queue.
    pub queue_position: Option<u32>,
    /// SPDX identifier of its licence, where one was detected.
    pub license: Option<String>,
    /// Whether it is a fork.
    pub fork: bool,
    /// Whether its owner archived it.
    pub archived: bool,
    /// Whether anyone may read it.
    pub public: bool,
    /// When it was added.
    pub created_at: String,
    /// When it changed last.
    pub updated_at: String,
    /// When its last sync was indexed.
    pub indexed_at: Option<String>,
    /// Bytes of its mirror on disk.
    pub size_bytes: u64,
    /// Documents of all its indexed revisions.
    pub document_count: u64,
}

/// A part of a repository, in a shard of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Part {
    /// The shard.
    pub shard: u32,
    /// How its own work is, as `state` of a repository.
    pub state: String,
}

/// How far the work is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Units done: objects, revisions or contents.
    pub done: u64,
    /// Units in all, where known.
    pub total: Option<u64>,
    /// Bytes received or read.
    pub bytes: u64,
    /// 0 to 100, where `total` is known.
    pub percent: Option<f32>,
}

/// A phase of the work on a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Receiving objects.
    Fetching,
    /// Checking and indexing received objects.
    Resolving,
    /// Listing trees.
    Listing,
    /// Reading contents into the index.
    Indexing,
}

/// An indexed branch or tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Revision {
    /// Name as in `rev:`.
    pub name: String,
    /// Commit that the index holds.
    pub commit: String,
}

/// A page of repositories, by name.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryList {
    /// The repositories.
    pub repositories: Vec<Repository>,
    /// Cursor of the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// What happened to a repository, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EventList {
    /// The events.
    pub events: Vec<Event>,
}

/// Something that happened to a repository.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// When.
    pub at: String,
    /// What, for programs.
    pub kind: String,
    /// What, for a person.
    pub message: String,
}

/// A page of files whose content is not in the index, by path.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotIndexedList {
    /// The files.
    pub files: Vec<NotIndexedFile>,
    /// Cursor of the next page; null on the last one.
    pub next_cursor: Option<String>,
}

impl NotIndexedList {
    /// A page of files, of which there may be one more than it has room for.
    pub fn of(mut files: Vec<repo::NotIndexed>, limit: usize) -> Self {
        let more = files.len() > limit;
        files.truncate(limit);
        let next_cursor = files.last().filter(|_| more).map(|last| encode_cursor(&last.path));
        Self { files: files.into_iter().map(NotIndexedFile::from).collect(), next_cursor }
    }

    /// One page of several lists.
    pub fn united(mut self, others: Vec<Self>, limit: usize) -> Self {
        let mut more = self.next_cursor.is_some();
        for other in others {
            more |= other.next_cursor.is_some();
            self.files.extend(other.files);
        }
        self.files.sort_by_cached_key(NotIndexedFile::path_bytes);
        more |= self.files.len() > limit;
        self.files.truncate(limit);
        let last = self.files.last().filter(|_| more);
        self.next_cursor = last.map(|last| encode_cursor(&last.path_bytes()));
        self
    }
}

impl NotIndexedFile {
    fn path_bytes(&self) -> Vec<u8> {
        bytes_of(&self.path, self.path_base64.as_deref())
    }
}

/// A file whose content is not in the index.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotIndexedFile {
    /// Path from the repository's root.
    pub path: String,
    /// The path's bytes, only where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
    /// Why, for programs.
    pub reason: String,
    /// Why, for a person.
    pub message: String,
    /// Revisions that hold it.
    pub revisions: Vec<String>,
}

/// A file.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct File {
    /// Path from the repository's root.
    pub path: String,
    /// The path's bytes, only where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
    /// Revision that was read.
    pub revision: String,
    /// Commit that it is at.
    pub commit: String,
    /// Git object id.
    pub object: String,
    /// `file`, `executable` or `symlink` (the content is the link's target).
    pub kind: String,
    /// Bytes of the content.
    pub size_bytes: u64,
    /// The content; bytes that are not UTF-8 are replaced by U+FFFD.
    pub content: String,
    /// The exact bytes, only where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<String>,
}

/// A folder.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Tree {
    /// Its entries, folders first, then by name.
    pub entries: Vec<TreeEntry>,
}

/// An entry of a folder.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TreeEntry {
    /// Name in its folder.
    pub name: String,
    /// Path from the repository's root.
    pub path: String,
    /// The path's bytes, only where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
    /// `folder`, `file`, `executable`, `symlink` or `submodule`.
    pub kind: String,
    /// Git object id.
    pub object: String,
    /// Bytes of a file or link whose object is there.
    pub size_bytes: Option<u64>,
}

fn readiness(of: repo::Readiness) -> String {
    let word = match of {
        repo::Readiness::Pending => "pending",
        repo::Readiness::Ready => "ready",
    };
    word.to_owned()
}

impl From<repo::Repository> for Repository {
    fn from(repository: repo::Repository) -> Self {
        Self {
            id: repository.id.to_string(),
            name: repository.name,
            url: repository.url,
            branches: repository.branches,
            state: repository.state.as_str().to_owned(),
            progress: repository.progress.map(Progress::from),
            revisions: repository
                .revisions
                .into_iter()
                .map(|revision| Revision { name: revision.name, commit: revision.commit })
                .collect(),
            default_branch: repository.default_branch,
            symbols: readiness(repository.symbols),
            last_changes: readiness(repository.last_changes),
            shard: repository.shard,
            parts: repository.parts.iter().map(Part::from).collect(),
            attempts: repository.attempts,
            last_error: repository.last_error,
            last_error_code: repository.last_error_code,
            next_attempt_at: repository.next_attempt_at.map(time_of),
            queue_position: repository.queue_position,
            license: repository.license,
            fork: repository.fork,
            archived: repository.archived,
            public: repository.public,
            created_at: time_of(repository.created_at),
            updated_at: time_of(repository.updated_at),
            indexed_at: repository.indexed_at.map(time_of),
            size_bytes: repository.size_bytes,
            document_count: repository.document_count,
        }
    }
}

impl From<&repo::PartOfRepository> for Part {
    fn from(part: &repo::PartOfRepository) -> Self {
        Self { shard: part.shard, state: part.state.as_str().to_owned() }
    }
}

impl From<repo::Progress> for Progress {
    fn from(progress: repo::Progress) -> Self {
        Self {
            phase: match progress.phase {
                repo::Phase::Fetching => Phase::Fetching,
                repo::Phase::Resolving => Phase::Resolving,
                repo::Phase::Listing => Phase::Listing,
                repo::Phase::Indexing => Phase::Indexing,
            },
            done: progress.done,
            total: progress.total,
            bytes: progress.bytes,
            percent: progress.percent,
        }
    }
}

impl Phase {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fetching => "fetching",
            Self::Resolving => "resolving",
            Self::Listing => "listing",
            Self::Indexing => "indexing",
        }
    }
}

impl From<repo::Event> for Event {
    fn from(event: repo::Event) -> Self {
        Self { at: time_of(event.at), kind: event.kind.as_str().to_owned(), message: event.message }
    }
}

impl From<repo::NotIndexed> for NotIndexedFile {
    fn from(file: repo::NotIndexed) -> Self {
        let (path, path_base64) = text_of(file.path);
        let reason = serde_json::to_value(file.reason)
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default();
        Self {
            path,
            path_base64,
            reason,
            message: file.reason.explain().to_owned(),
            revisions: file.revisions,
        }
    }
}

impl From<repo::FileContent> for File {
    fn from(file: repo::FileContent) -> Self {
        let (path, path_base64) = text_of(file.path);
        let size_bytes = file.content.len() as u64;
        let (content, content_base64) = text_of(file.content);
        Self {
            path,
            path_base64,
            revision: file.revision,
            commit: file.commit,
            object: file.object,
            kind: kind_word(file.kind).to_owned(),
            size_bytes,
            content,
            content_base64,
        }
    }
}

impl From<repo::TreeEntry> for TreeEntry {
    fn from(entry: repo::TreeEntry) -> Self {
        let (path, path_base64) = text_of(entry.path);
        Self {
            name: String::from_utf8_lossy(&entry.name).into_owned(),
            path,
            path_base64,
            kind: kind_word(entry.kind).to_owned(),
            object: entry.object,
            size_bytes: entry.size,
        }
    }
}

fn kind_word(kind: repo::TreeKind) -> &'static str {
    match kind {
        repo::TreeKind::Folder => "folder",
        repo::TreeKind::File => "file",
        repo::TreeKind::Executable => "executable",
        repo::TreeKind::Symlink => "symlink",
        repo::TreeKind::Submodule => "submodule",
    }
}

//! What goes into the index: repositories, their revisions and files, and where contents come from.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

pub use crate::languages::PathAttributes;

/// Identity of a repository in the catalog and in every index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RepositoryId(pub Uuid);

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identity of a content: a git object id, 20 bytes (SHA-1) or 32 bytes (SHA-256). Equal ids mean
/// equal bytes; the index stores a content once a segment however many documents have it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentId {
    bytes: [u8; 32],
    len: u8,
}

impl ContentId {
    /// From the raw bytes of an object id; `None` unless there are 20 or 32 of them.
    pub fn from_bytes(raw: &[u8]) -> Option<Self> {
        if raw.len() != 20 && raw.len() != 32 {
            return None;
        }
        let mut bytes = [0; 32];
        bytes[..raw.len()].copy_from_slice(raw);
        Some(Self { bytes, len: raw.len() as u8 })
    }

    /// The raw bytes, 20 or 32 of them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentId({self})")
    }
}

/// What the index needs to know of a repository beside its files; the catalog owns these facts and
/// hands a copy in with each update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryInfo {
    /// Identity.
    pub id: RepositoryId,
    /// Tenant that the repository belongs to.
    pub tenant: String,
    /// `owner/name`; the part before the first `/` is the organisation or user.
    pub name: String,
    /// Name of the default branch, without `refs/heads/`; `None` for an empty repository.
    pub default_branch: Option<String>,
    /// Whether the repository is a fork.
    pub fork: bool,
    /// Whether the repository was archived by its owner.
    pub archived: bool,
    /// Whether anyone may read it.
    pub public: bool,
    /// SPDX identifier of its licence, where one was detected.
    pub license: Option<String>,
    /// Which of its parts this is, where it is indexed in several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
}

/// A part of a repository that is too large for one shard: some of its files, in a shard of their own under an
/// identity of their own. Searches find all parts as one repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The repository's identity, which is also that of its first part.
    pub whole: RepositoryId,
    /// Which one it is, from 0.
    pub number: u32,
    /// How many there are.
    pub of: u32,
}

impl Part {
    /// Whether a file belongs to this part: its path decides, the same in every revision.
    pub fn has(&self, path: &[u8]) -> bool {
        xxh3_64(path) % u64::from(self.of.max(1)) == u64::from(self.number)
    }
}

impl RepositoryInfo {
    /// The identity of the repository, whichever part of it this is.
    pub fn whole(&self) -> RepositoryId {
        self.part.map_or(self.id, |part| part.whole)
    }
}

/// What a tree entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    /// A file, executable or not.
    File,
    /// A symbolic link; its target is not followed, and its path is searchable.
    Symlink,
    /// A submodule; its path is searchable.
    Submodule,
}

/// One path of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Path from the repository's root with `/` between its parts; any bytes but NUL.
    pub path: Vec<u8>,
    /// What stands at the path.
    pub content: ContentId,
    /// What kind of entry it is.
    pub kind: FileKind,
    /// What the repository itself says of it.
    pub attributes: PathAttributes,
}

/// A revision's name as users type it in `rev:`: a branch or tag without its `refs/…/` prefix.
pub type RevisionName = String;

/// How one indexed revision changes. The changes of one [`RepositoryUpdate`] become visible at once.
#[derive(Clone, Debug)]
pub enum RevisionChange {
    /// The revision's whole listing: what the index held of it before and is not listed goes away.
    Replace {
        /// Branch or tag.
        name: RevisionName,
        /// Commit it is at now, in hex.
        commit: String,
        /// Every path of the tree.
        files: Vec<FileEntry>,
    },
    /// The difference against the commit that the index holds. A changed file is in both lists.
    Update {
        /// Branch or tag.
        name: RevisionName,
        /// Commit that the difference starts from: the update is refused when the index holds
        /// another one ([`crate::IndexError::StaleBase`]).
        from: String,
        /// Commit it is at now, in hex.
        commit: String,
        /// Paths with the content that they had.
        removed: Vec<(Vec<u8>, ContentId)>,
        /// Paths with the content that they have now.
        added: Vec<FileEntry>,
    },
    /// The revision is no longer indexed.
    Remove {
        /// Branch or tag.
        name: RevisionName,
    },
}

/// A change of one repository, applied in one atomic step by `Shard::apply`.
#[derive(Clone, Debug)]
pub struct RepositoryUpdate {
    /// The repository as the catalog has it now.
    pub repository: RepositoryInfo,
    /// Its revisions that change. Revisions not named stay as they are.
    pub revisions: Vec<RevisionChange>,
}

/// Why a document's content is not in the index. Its path still is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum OmitReason {
    /// A NUL byte among its first bytes and no byte-order mark.
    Binary = 1,
    /// Larger than the configured limit.
    TooLarge = 2,
    /// A symbolic link.
    Symlink = 3,
    /// A submodule.
    Submodule = 4,
    /// A Git LFS pointer: the content is not in the repository.
    LfsPointer = 5,
    /// The object is not in the object database (shallow or partial clone, or damage).
    Missing = 6,
    /// The object is there and cannot be read.
    Corrupt = 7,
}

impl OmitReason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Binary,
        Self::TooLarge,
        Self::Symlink,
        Self::Submodule,
        Self::LfsPointer,
        Self::Missing,
        Self::Corrupt,
    ];

    /// The reason stored as this number, if one is.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == number)
    }

    /// A sentence for a person.
    pub fn explain(self) -> &'static str {
        match self {
            Self::Binary => "binary content",
            Self::TooLarge => "larger than the limit for one file",
            Self::Symlink => "a symbolic link; its target is not followed",
            Self::Submodule => "a submodule; add its repository to search it",
            Self::LfsPointer => "a Git LFS pointer; the content is not in the repository",
            Self::Missing => "the object is missing (shallow or partial clone?)",
            Self::Corrupt => "the object cannot be read; check the mirror",
        }
    }
}

/// Why a content could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The source does not have it.
    #[error("the object is missing")]
    Missing,
    /// It is there and damaged.
    #[error("the object is damaged: {0}")]
    Corrupt(String),
    /// It is larger than the limit that was passed.
    #[error("the object has {0} bytes, more than the limit")]
    TooLarge(u64),
    /// The source itself failed: indexing stops and nothing is committed.
    #[error("the source of contents failed: {0}")]
    Failed(String),
}

/// Reads contents; one per worker thread.
pub trait ContentReader: Send {
    /// Replaces `into` with the bytes of `id`.
    ///
    /// # Errors
    /// [`ReadError::Failed`] ends the indexing; each other error only leaves out this content.
    fn read(&mut self, id: &ContentId, limit: u64, into: &mut Vec<u8>) -> Result<(), ReadError>;
}

/// Where contents come from: a git object database, or anything with opaque ids.
pub trait ContentSource: Sync {
    /// A reader for one thread.
    ///
    /// # Errors
    /// When the source cannot be opened.
    fn reader(&self) -> Result<Box<dyn ContentReader + '_>, ReadError>;

    /// Position of the content in the source: contents are read in ascending order of it. A pack's
    /// offset makes reading sequential and lets delta bases be found in a cache.
    fn locality(&self, id: &ContentId) -> u64 {
        let _ = id;
        0
    }
}

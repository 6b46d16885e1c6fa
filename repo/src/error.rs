//! What can go wrong, with a stable code for programs and a sentence for people.

use std::path::PathBuf;

use aeterna_index::{IndexError, RepositoryId};

use crate::catalog::CatalogError;
use crate::cold_storage::ColdError;
use crate::git::GitError;

/// An error of the [`crate::RepoManager`].
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// The URL, the fetch or the mirror; see [`GitError`].
    #[error(transparent)]
    Git(#[from] GitError),
    /// The catalog could not be read or written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The index could not be read or written.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Cold storage failed, or says that another node owns the shard.
    #[error(transparent)]
    Cold(#[from] ColdError),
    /// The node holds the shard under a later epoch than it was told to.
    #[error(
        "shard {shard} is held under epoch {held} already, later than {asked}; follow the newest shard map"
    )]
    StaleEpoch {
        /// The shard.
        shard: u32,
        /// The epoch that was asked for.
        asked: u64,
        /// The epoch that it is held under.
        held: u64,
    },
    /// Shards are activated and released in a cluster only.
    #[error("the node is not part of a cluster; it holds every shard")]
    NoCluster,
    /// The name is not `owner/name`.
    #[error("{name:?} is no name of a repository: {reason}; give one such as owner/name")]
    InvalidName {
        /// As given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A glob of branches and tags is not one.
    #[error("{glob:?} selects no branches: {reason}")]
    InvalidGlob {
        /// As given.
        glob: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Another repository of the tenant has the name.
    #[error("the name {name} belongs to {url} already; give another one")]
    NameTaken {
        /// The name.
        name: String,
        /// Where the repository that has it comes from.
        url: String,
    },
    /// The repository exists, and other branches of it are indexed than were asked for.
    #[error(
        "{name} is indexed already, but other branches of it: {branches}; remove it first to index \
         these"
    )]
    OtherBranches {
        /// The repository.
        name: String,
        /// Its globs, or that it is the default branch.
        branches: String,
    },
    /// No repository of the tenant is what was asked for.
    #[error("no repository {what}; list them to see what there is")]
    NotFound {
        /// An id, a name or a URL, as asked for.
        what: String,
    },
    /// A part of a repository is to be of commits that its mirror does not have.
    #[error(
        "part {part} of {of} needs commits that the remote does not have any more, or cannot be read; \
         it is indexed once the remote has been fetched again"
    )]
    PartBehind {
        /// Which part, from 1.
        part: u32,
        /// How many there are.
        of: u32,
    },
    /// Nothing of the repository is on disk yet.
    #[error("{name} is not cloned yet ({state}); wait until it is ready")]
    NotCloned {
        /// Name of the repository.
        name: String,
        /// Its state.
        state: crate::State,
    },
    /// The revision is neither an indexed branch or tag nor the commit of one.
    #[error("{revision:?} of {repository} is not indexed; indexed are {indexed}")]
    RevisionNotIndexed {
        /// Name of the repository.
        repository: String,
        /// As asked for.
        revision: String,
        /// Some of those that are.
        indexed: String,
    },
    /// The path does not stay inside the repository.
    #[error("{path:?} leads out of the repository; give a path from its root, such as src/main.rs")]
    PathOutsideRepository {
        /// As asked for.
        path: String,
    },
    /// Nothing stands at the path.
    #[error("{path:?} does not exist in {repository} at {revision}")]
    PathNotFound {
        /// Name of the repository.
        repository: String,
        /// Revision that was looked at.
        revision: String,
        /// As asked for.
        path: String,
    },
    /// A folder or a submodule was asked for as a file.
    #[error("{path:?} is {found}, not a file")]
    NotAFile {
        /// As asked for.
        path: String,
        /// What it is.
        found: &'static str,
    },
    /// A file was asked for as a folder.
    #[error("{path:?} is {found}, not a folder")]
    NotAFolder {
        /// As asked for.
        path: String,
        /// What it is.
        found: &'static str,
    },
    /// The file is larger than one answer may be.
    #[error("{path:?} has {size} bytes, more than the limit of {limit}; read it with git")]
    FileTooLarge {
        /// As asked for.
        path: String,
        /// Its bytes.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The cursor of a list was not made by that list.
    #[error("the cursor does not belong to this list; start again without it")]
    InvalidCursor,
    /// A folder or file of the manager's own could not be used.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried, such as `cannot create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Fetching and indexing wait.
    #[error(
        "the disk of {folder} is {percent} % full, and the limit is {limit} %: fetching and indexing \
         wait until there is room; searches go on"
    )]
    DiskNearlyFull {
        /// A folder on the disk.
        folder: PathBuf,
        /// How full it is.
        percent: u64,
        /// The limit.
        limit: u64,
    },
    /// The job was cancelled, as the repository was removed or the node stops.
    #[error("the work on {0} was stopped")]
    Cancelled(RepositoryId),
    /// The catalog has not answered just now, and is not asked again at once.
    #[error("the catalog does not answer; the log says why")]
    CatalogAway,
    /// A part of the manager ended that should not have.
    #[error("{0} failed; restart the node, and report this with its log")]
    Internal(String),
    /// The manager shuts down.
    #[error("the node is shutting down; ask again when it is back")]
    ShuttingDown,
}

impl ManagerError {
    /// A stable word for programs: the `code` of a problem document.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Git(error) => error.code(),
            Self::Catalog(error) if error.is_fenced() => "fenced",
            Self::Catalog(error) if error.is_disk_full() => "disk-full",
            Self::Catalog(error) if error.is_unavailable() => "catalog-unavailable",
            Self::CatalogAway => "catalog-unavailable",
            Self::Catalog(CatalogError::OtherParts { .. }) => "other-parts",
            Self::Catalog(_) => "catalog-failed",
            Self::Cold(error) => error.code(),
            Self::StaleEpoch { .. } => "stale-epoch",
            Self::NoCluster => "no-cluster",
            Self::PartBehind { .. } => "part-behind",
            Self::Index(IndexError::NotHeld { .. } | IndexError::Closed { .. }) => "shard-not-held",
            Self::Index(error) if error.is_disk_full() => "disk-full",
            Self::Index(_) => "index-failed",
            Self::InvalidName { .. } => "invalid-name",
            Self::InvalidGlob { .. } => "invalid-branch-glob",
            Self::NameTaken { .. } => "name-taken",
            Self::OtherBranches { .. } => "other-branches",
            Self::NotFound { .. } => "repository-not-found",
            Self::NotCloned { .. } => "repository-not-cloned",
            Self::RevisionNotIndexed { .. } => "revision-not-indexed",
            Self::PathOutsideRepository { .. } => "path-outside-repository",
            Self::PathNotFound { .. } => "path-not-found",
            Self::NotAFile { .. } => "not-a-file",
            Self::NotAFolder { .. } => "not-a-folder",
            Self::FileTooLarge { .. } => "file-too-large",
            Self::InvalidCursor => "invalid-cursor",
            Self::Io { .. } if self.is_disk_full() => "disk-full",
            Self::Io { .. } => "storage-failed",
            Self::DiskNearlyFull { .. } => "disk-nearly-full",
            Self::Cancelled(_) => "cancelled",
            Self::Internal(_) => "internal",
            Self::ShuttingDown => "shutting-down",
        }
    }

    /// Whether the disk is full: indexing pauses and is tried again, searches go on.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Git(error) => error.is_disk_full(),
            Self::Catalog(error) => error.is_disk_full(),
            Self::Index(error) => error.is_disk_full(),
            Self::Io { source, .. } => is_disk_full(source),
            Self::Cold(error) => error.is_disk_full(),
            _ => false,
        }
    }

    /// Whether another node owns the shard now.
    pub fn is_fenced(&self) -> bool {
        match self {
            Self::Catalog(error) => error.is_fenced(),
            Self::Cold(error) => error.is_fenced(),
            _ => false,
        }
    }

    /// Whether the catalog does not answer now: trying again later may help.
    pub fn is_catalog_away(&self) -> bool {
        match self {
            Self::Catalog(error) => error.is_unavailable(),
            Self::CatalogAway => true,
            _ => false,
        }
    }

    /// Whether trying again later cannot help.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Git(error) => error.is_permanent(),
            Self::Catalog(CatalogError::Transition { .. })
            | Self::InvalidName { .. }
            | Self::InvalidGlob { .. }
            | Self::NotFound { .. } => true,
            _ => false,
        }
    }
}

/// Whether the system's reason is a full disk or quota.
pub fn is_disk_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

//! What can go wrong in the engine.

use std::io;
use std::path::PathBuf;

/// An error of the index. Each says what was asked and what to do.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Reading or writing a file failed.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried, such as `cannot write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file does not hold what it held when it was written.
    #[error("{path} is damaged ({detail}); it is set aside and its repositories are indexed again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        detail: String,
    },
    /// The file was written by a newer version.
    #[error("{path} has format {found}, this version reads up to {known}; run the newer version")]
    Format {
        /// The file.
        path: PathBuf,
        /// Format number in the file.
        found: u32,
        /// Newest format number that is known.
        known: u32,
    },
    /// An update's base is not what the index holds; index the revision anew.
    #[error(
        "{repository}: the index holds {held:?} of {revision}, not {from}; send the whole listing"
    )]
    StaleBase {
        /// Name of the repository.
        repository: String,
        /// Branch or tag.
        revision: String,
        /// What the update starts from.
        from: String,
        /// What the index holds.
        held: Option<String>,
    },
    /// The source of contents failed.
    #[error("reading contents of {repository}: {source}")]
    Source {
        /// Name of the repository.
        repository: String,
        /// The source's reason.
        source: crate::ReadError,
    },
    /// The work was asked to stop.
    #[error(
        "stopped before it was complete; nothing of it is visible, and it can be started again"
    )]
    Cancelled,
    /// The attribute index refused.
    #[error("the symbol index failed: {0}")]
    Symbols(String),
    /// The index changed under the update; the same update succeeds when it is sent again.
    #[error("the index changed while the update was prepared; send it again")]
    Retry,
    /// The shard is not open on this node.
    #[error("shard {shard} is not held here; ask the node that owns it")]
    NotHeld {
        /// Its number.
        shard: u32,
    },
    /// The shard was closed: nothing of what was asked is in the index.
    #[error("shard {shard} was closed meanwhile; ask the node that owns it now")]
    Closed {
        /// Its number.
        shard: u32,
    },
    /// There are fewer shards.
    #[error("there is no shard {shard}: they are numbered from 0, and there are {count}")]
    NoSuchShard {
        /// As asked for.
        shard: u32,
        /// How many there are.
        count: u32,
    },
    /// The folder was made with another number of shards.
    #[error(
        "{path} was made for {found} shards and not for {wanted}, which the cluster has; choose \
         another data folder, or move this one away"
    )]
    OtherCount {
        /// The folder.
        path: PathBuf,
        /// How many it was made for.
        found: u32,
        /// How many there are to be.
        wanted: u32,
    },
    /// Another process has the folder.
    #[error("{path} is in use by another process; stop it or choose another data folder")]
    Locked {
        /// The folder.
        path: PathBuf,
    },
}

impl IndexError {
    /// Wraps an I/O error with what was done to which path.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// Whether the disk is full: indexing should pause and searches go on.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

//! What can go wrong with cold storage.

use std::path::PathBuf;

use uuid::Uuid;

use super::{Place, Position};

/// An error of cold storage. Keys are in it, credentials never.
#[derive(Debug, thiserror::Error)]
pub enum ColdError {
    /// The settings name no storage that can be opened.
    #[error("cold storage cannot be opened: {reason}")]
    Config {
        /// What is wrong, and what to set.
        reason: String,
    },
    /// The store did not answer, or not in time, or with an error that may pass.
    #[error("cold storage failed {action} {key} ({reason}); it is tried again later")]
    Unavailable {
        /// What was tried, such as `reading`.
        action: &'static str,
        /// Key of the object, or what was listed.
        key: String,
        /// The last attempt's reason.
        reason: String,
    },
    /// The store knows the caller and does not let it.
    #[error(
        "cold storage refuses {action} {key} ({reason}); check the credentials and their rights"
    )]
    Denied {
        /// What was tried.
        action: &'static str,
        /// Key of the object.
        key: String,
        /// The store's reason.
        reason: String,
    },
    /// An object that a manifest names is not there.
    #[error("cold storage has no {key}, which a manifest names")]
    Missing {
        /// Key of the object.
        key: String,
    },
    /// An object does not hold what it held when it was written.
    #[error("{key} in cold storage is damaged: {detail}")]
    Damaged {
        /// Key of the object.
        key: String,
        /// What does not fit.
        detail: String,
    },
    /// The object was written by a newer version.
    #[error(
        "{key} in cold storage has format {found}, this version reads up to {known}; run the newer version"
    )]
    Format {
        /// Key of the object.
        key: String,
        /// Format number of the object.
        found: u32,
        /// Newest format that is known.
        known: u32,
    },
    /// The store belongs to another cluster.
    #[error(
        "cold storage belongs to cluster {theirs}, and this node to {ours}: give each cluster a bucket or a \
         prefix of its own"
    )]
    OtherCluster {
        /// The node's cluster.
        ours: Uuid,
        /// The cluster that has claimed the store.
        theirs: Uuid,
    },
    /// Someone else owns the shard now: nothing more may be written for it.
    #[error(
        "shard {shard} is no longer written under epoch {epoch}: {by} is there, by another writer; \
         its owner follows the shard map"
    )]
    Fenced {
        /// The shard.
        shard: u32,
        /// The epoch that was written under.
        epoch: u64,
        /// The newer manifest.
        by: Position,
    },
    /// A later owner has uploaded the mirror already.
    #[error("{place} was uploaded by a later owner ({by}) than the one under epoch {epoch}")]
    Outdated {
        /// What was to be uploaded.
        place: Place,
        /// The epoch that it was uploaded under.
        epoch: u64,
        /// The newer manifest.
        by: Position,
    },
    /// A local file could not be read or written.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried, such as `cannot write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl ColdError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config { .. } => "cold-storage-config",
            Self::Unavailable { .. } => "cold-storage-unavailable",
            Self::Denied { .. } => "cold-storage-denied",
            Self::Missing { .. } => "cold-storage-missing",
            Self::Damaged { .. } => "cold-storage-damaged",
            Self::Format { .. } => "cold-storage-format",
            Self::OtherCluster { .. } => "cold-storage-other-cluster",
            Self::Fenced { .. } | Self::Outdated { .. } => "fenced",
            Self::Io { .. } if self.is_disk_full() => "disk-full",
            Self::Io { .. } => "storage-failed",
        }
    }

    /// Whether another writer has taken over.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Fenced { .. })
    }

    /// Whether what was asked for is lost: trying again gives the same.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Damaged { .. })
    }

    /// Whether this machine's disk is full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if crate::error::is_disk_full(source))
    }
}

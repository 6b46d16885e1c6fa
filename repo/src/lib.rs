//! One repository's life: what is known of it (`catalog`), its git mirror (`git`), and the work
//! that brings the mirror into the search index (`manager`).
//!
//! The crate knows nothing of HTTP, gossip or Raft. Git URLs, refs, paths and objects are hostile
//! input everywhere in it: nothing of a repository is ever run.

mod failpoint;

pub mod catalog;
pub mod cold_storage;
pub mod config;
mod disk;
pub mod error;
pub mod git;
mod license;
pub mod manager;
pub mod repository;
mod secrets;

pub use config::{ClusterShards, DatabaseUrl, GitConfig, ManagerConfig, Observer, RetryConfig};
pub use disk::{DiskProbe, DiskSpace};
pub use error::{ManagerError, is_disk_full};
pub use manager::{
    Activated, AddRepository, Added, FileContent, Following, Health, HeldShard, ListFilter,
    NotIndexed, Pause, PlaceParts, RepoManager, RestoredMirrors, SearchedCopy, ShardSource,
    ShardState, TreeEntry, TreeKind,
};
pub use repository::{
    DEFAULT_TENANT, Event, EventKind, PartOfRepository, Phase, Progress, Readiness, Repository,
    Revision, State, UnknownState,
};
pub use secrets::mask_password;

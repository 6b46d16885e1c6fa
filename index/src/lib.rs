//! The search engine of Aeterna Code Search: documents in, ranked exact matches out.
//!
//! The crate knows nothing of git, networks or tenants' rules. A caller gives it repositories as
//! lists of files with an opaque content id each, a [`ContentSource`] to read contents from, and,
//! at search time, the set of repositories that may be seen.
//!
//! Layers, lowest first: [`document`] (what goes in), `segment` (immutable files of content and
//! trigram lists), `shard` (segments under one manifest, replaced atomically), `search`
//! (candidates, verification, ranking, pages).

mod bits;
pub mod document;
pub mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod languages;
mod options;
pub mod plan;
pub mod query;
pub mod search;
mod segment;
mod shard;
pub mod symbols;
pub mod trigram;

pub use document::{
    ContentId, ContentReader, ContentSource, FileEntry, FileKind, OmitReason, Part, PathAttributes,
    ReadError, RepositoryId, RepositoryInfo, RepositoryUpdate, RevisionChange, RevisionName,
};
pub use error::IndexError;
pub use options::{NoProgress, ProgressSink, ShardOptions, release_memory, yield_to_searches};
pub use shard::{
    Applied, Changed, Damage, Exported, ExportedFile, History, HistoryUpdate, LastChange,
    MANIFEST_FILE, Maintenance, OmittedFile, Shard, ShardSet, ShardStats,
};

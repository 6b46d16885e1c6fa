//! Cold storage: an object store that outlives every node.
//!
//! For each shard it has immutable files and manifests that name them. A manifest is written once,
//! at a place above all earlier ones, by a conditional put: two writers cannot both get a place.
//! Whoever takes a shard over writes the next manifest under its epoch; a former owner that goes on
//! finds it there, and what it wrote counts for nothing. Keys of files hold their hash, so nothing
//! that was written is ever replaced by something else.

mod audit;
mod bandwidth;
mod calls;
mod claim;
mod config;
mod counters;
mod document;
mod error;
mod fence;
mod garbage;
mod layout;
mod ledger;
mod manifest;
mod mirror;
#[cfg(feature = "mistakes")]
mod mistakes;
mod open;
mod recovery;
mod restore;
mod send;
mod upload;
mod verify;

use std::sync::Arc;

use object_store::ObjectStore;

pub use self::audit::{Audit, AuditProgress, PlaceGarbage};
pub use self::claim::ClusterClaim;
pub use self::config::{ColdLimits, ColdStorageConfig};
pub use self::counters::{ColdAction, ColdCounts, ColdOutcome, ColdTrouble};
pub use self::error::ColdError;
pub use self::fence::ShardFence;
pub use self::garbage::Collected;
pub use self::layout::{Place, Position};
pub use self::manifest::{ColdFile, ColdManifest};
#[cfg(feature = "mistakes")]
pub use self::mistakes::let_former_owners_upload;
pub use self::recovery::Recovery;
pub use self::verify::{Depth, Garbage, Problem, Verified};

pub(crate) use self::restore::{empty_folder, sync_files, sync_folder};
pub(crate) use self::upload::{Local, hash as hash_file};

use self::calls::{Calls, Store};

/// Told how much is done: bytes, and bytes in all.
pub type ColdProgress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// An open cold storage.
#[derive(Debug)]
pub struct ColdStorage {
    calls: Arc<Calls>,
    shown: String,
}

impl ColdStorage {
    /// Opens cold storage with the usual limits. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`ColdError::Config`] when the settings name nothing that can be opened.
    pub fn open(config: ColdStorageConfig) -> Result<Self, ColdError> {
        Self::open_with(config, ColdLimits::default())
    }

    /// Opens cold storage.
    ///
    /// # Errors
    /// As [`ColdStorage::open`].
    pub fn open_with(config: ColdStorageConfig, limits: ColdLimits) -> Result<Self, ColdError> {
        let (store, prefix) = open::store(&config, &limits)?;
        let calls = Arc::new(Calls::new(store, &prefix, limits)?);
        Ok(Self { calls, shown: config.to_string() })
    }

    /// Cold storage over any store, for tests that make one fail.
    ///
    /// # Errors
    /// When the prefix is no key.
    pub fn over(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        limits: ColdLimits,
    ) -> Result<Self, ColdError> {
        let shown = store.to_string();
        let store = Store { objects: store, multipart: None };
        Ok(Self { calls: Arc::new(Calls::new(store, prefix, limits)?), shown })
    }

    /// How often it was asked, what came of it, and how much was moved.
    pub fn counts(&self) -> ColdCounts {
        self.calls.counters.read()
    }

    /// What it does not do at present; `None` when whatever it was asked for last was answered.
    pub fn trouble(&self) -> Option<ColdTrouble> {
        self.calls.counters.trouble()
    }

    /// Where it is, for a person; without secrets.
    pub fn describe(&self) -> &str {
        &self.shown
    }
}

/// Bytes in hex, lower case.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

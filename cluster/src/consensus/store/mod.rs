//! What a node of the Raft group must not forget, in one redb file: its id, its vote, its log, how
//! far the log is committed, and the newest snapshot.
//!
//! Every write is one transaction that is on the disk when it returns. The map itself is kept in
//! memory: on opening it is the newest snapshot, and openraft applies the log to it as far as it was
//! known to be committed, so a node that starts again has the map that it had.

mod log;
mod machine;
#[cfg(feature = "mistakes")]
mod mistakes;
mod offline;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use redb::{Database, ReadTransaction, ReadableDatabase, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

pub(crate) use machine::{Held, Machine, Published};
#[cfg(feature = "mistakes")]
pub use mistakes::forget_to_sync_votes;
pub(crate) use offline::set_aside;

use super::error::ConsensusError;
use super::types::RaftId;
use crate::codec::{self, CodecError};

/// The file in the folder of the Raft group.
pub(crate) const FILE: &str = "raft.redb";
/// Bytes of the log and its like that redb keeps in memory.
const CACHE_BYTES: usize = 4 << 20;
/// Bytes of one of the values below, at most; a membership is the largest.
const MAX_VALUE_BYTES: usize = 4 << 20;

/// Entries of the log, by their index.
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
/// Everything that there is one of.
const VALUES: TableDefinition<&str, &[u8]> = TableDefinition::new("values");

/// [`Identity`].
const IDENTITY: &str = "identity";
/// The vote.
const VOTE: &str = "vote";
/// The last entry that is known to be committed.
const COMMITTED: &str = "committed";
/// The last entry that the log has no more.
const PURGED: &str = "purged";
/// What the newest snapshot is of.
const SNAPSHOT_META: &str = "snapshot.meta";
/// The newest snapshot.
const SNAPSHOT: &str = "snapshot";

/// Whose disk it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub cluster: Uuid,
    pub raft_id: RaftId,
    /// How often the group that it is of was made anew.
    #[serde(default, skip_serializing_if = "crate::consensus::wire::is_first")]
    pub incarnation: u32,
}

/// Why the disk did not do as it was told.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    #[error(transparent)]
    Database(#[from] Box<redb::Error>),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("the store of the Raft group is closed")]
    Closed,
    #[error("a thread of the store of the Raft group stopped: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        Self::Database(Box::new(error))
    }
}

/// A disk that a simulation owns: each access to it waits for its turn, and is then made by the task
/// that wants it, where real disks are waited for on threads of their own.
#[async_trait]
pub trait Pace: Send + Sync + fmt::Debug + 'static {
    /// Returns when the next access may be made.
    async fn turn(&self);
}

/// The file. Clones are the same file.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    /// `None` once it is closed: tasks of openraft may outlive the node's wish to stop, and must
    /// neither write then nor hold the lock of the file.
    database: Arc<RwLock<Option<Database>>>,
    /// Index of the last entry that is known to be committed, and one; 0 for none. For status.
    committed: Arc<AtomicU64>,
    /// `None` for a real disk.
    pace: Option<Arc<dyn Pace>>,
}

impl Store {
    /// Opens the file of a folder, or makes both.
    pub fn open(folder: &Path) -> Result<Self, ConsensusError> {
        let file = folder.join(FILE);
        let io = |error| ConsensusError::folder(folder, error);
        fs::create_dir_all(folder).map_err(io)?;
        let database = redb::Builder::new().set_cache_size(CACHE_BYTES).create(&file);
        let database = database.map_err(|error| ConsensusError::open(&file, error.into()))?;
        let store = Self::with(database).map_err(|error| ConsensusError::open(&file, error))?;
        sync_folder(folder).map_err(io)?;
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent).map_err(io)?;
        }
        Ok(store)
    }

    /// A store in a database, whose tables are made if they are not there.
    pub fn with(database: Database) -> Result<Self, redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(LOG)?;
        transaction.open_table(VALUES)?;
        transaction.commit()?;
        let database = Arc::new(RwLock::new(Some(database)));
        Ok(Self { database, committed: Arc::default(), pace: None })
    }

    /// The same on a disk that a simulation owns.
    pub fn paced(self, pace: Arc<dyn Pace>) -> Self {
        Self { pace: Some(pace), ..self }
    }

    /// The disk's identity; `new` where it has none yet.
    pub async fn identity(&self, new: Identity) -> Result<Identity, StoreError> {
        if let Some(identity) = self.get(IDENTITY).await? {
            return Ok(identity);
        }
        self.put(IDENTITY, &new).await?;
        Ok(new)
    }

    /// The disk's identity, if it has one.
    pub async fn known_identity(&self) -> Result<Option<Identity>, StoreError> {
        self.get(IDENTITY).await
    }

    /// Makes the disk one of another incarnation of the group.
    pub async fn adopt(&self, incarnation: u32) -> Result<(), StoreError> {
        match self.known_identity().await? {
            Some(identity) => self.put(IDENTITY, &Identity { incarnation, ..identity }).await,
            None => Ok(()),
        }
    }

    /// Index of the last entry that is known to be committed.
    pub fn committed_index(&self) -> Option<u64> {
        self.committed.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Lets go of the file, when what is being written is written. Everything fails from then on.
    pub async fn close(&self) {
        let store = self.database.clone();
        let closing = move || drop(store.write().unwrap_or_else(PoisonError::into_inner).take());
        if self.pace.is_some() {
            return closing();
        }
        if let Err(error) = tokio::task::spawn_blocking(closing).await {
            tracing::error!(%error, "the store of the Raft group was not closed in order");
        }
    }

    /// Reads, on a thread that may wait for the disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(move |database| read(&database.begin_read()?)).await
    }

    /// Writes in one transaction, which is on the disk on return.
    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(move |database| {
            let transaction = database.begin_write()?;
            let written = write(&transaction)?;
            transaction.commit()?;
            Ok(written)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.database.clone();
        let running = move || {
            let database = store.read().unwrap_or_else(PoisonError::into_inner);
            Ok(run(database.as_ref().ok_or(StoreError::Closed)?)?)
        };
        if let Some(pace) = &self.pace {
            pace.turn().await;
            return running();
        }
        tokio::task::spawn_blocking(running).await?
    }

    async fn get<T: DeserializeOwned>(&self, key: &'static str) -> Result<Option<T>, StoreError> {
        let bytes = self.read(move |transaction| value(transaction, key)).await?;
        Ok(bytes.map(|bytes| codec::decode(&bytes, MAX_VALUE_BYTES)).transpose()?)
    }

    async fn put<T: Serialize>(&self, key: &'static str, value: &T) -> Result<(), StoreError> {
        let bytes = codec::encode(value, MAX_VALUE_BYTES)?;
        self.write(move |transaction| {
            transaction.open_table(VALUES)?.insert(key, bytes.as_slice())?;
            Ok(())
        })
        .await
    }
}

fn value(transaction: &ReadTransaction, key: &str) -> Result<Option<Vec<u8>>, redb::Error> {
    let found = transaction.open_table(VALUES)?.get(key)?;
    Ok(found.map(|found| found.value().to_vec()))
}

/// Makes the names in a folder survive a loss of power.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

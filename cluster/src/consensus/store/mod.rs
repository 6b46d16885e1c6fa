//! What a node of the Raft group must not forget, in one redb file: its id, its vote, its log, how
//! far the log is committed, and the newest snapshot.
//!
//! Every write is one transaction that is on the disk when it returns. The map itself is kept in
//! memory: on opening it is the newest snapshot, and openraft applies the log to it as far as it was
//! known to be committed, so a node that starts again has the map that it had.

mod file;
mod log;
mod machine;
#[cfg(feature = "mistakes")]
mod mistakes;
mod offline;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use redb::{Database, ReadTransaction, ReadableDatabase, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use file::File;
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
    file: Arc<File>,
    /// Index of the last entry that is known to be committed, and one; 0 for none. For status.
    committed: Arc<AtomicU64>,
    /// `None` for a real disk.
    pace: Option<Arc<dyn Pace>>,
}

impl Store {
    /// Opens the file of a folder, or makes both.
    pub fn open(folder: &Path) -> Result<Self, ConsensusError> {
        let file = folder.join(FILE);
        let of_folder = |error| ConsensusError::folder(folder, error);
        fs::create_dir_all(folder).map_err(of_folder)?;
        if !file.try_exists().map_err(of_folder)? {
            make(&file).map_err(|error| ConsensusError::open(&file, error))?;
        }
        let path = file.clone();
        let open = move || Ok(redb::Builder::new().set_cache_size(CACHE_BYTES).create(&path)?);
        let store = Self::opened_by(open).map_err(|error| ConsensusError::open(&file, error))?;
        sync_folder(folder).map_err(of_folder)?;
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent).map_err(of_folder)?;
        }
        Ok(store)
    }

    /// A store in a database, whose tables are made if they are not there.
    pub fn with(database: Database) -> Result<Self, redb::Error> {
        make_tables(&database)?;
        Ok(Self::of(File::new(database, None)))
    }

    /// The same in what can be opened again, after its disk was full.
    pub fn opened_by(
        open: impl Fn() -> Result<Database, redb::Error> + Send + Sync + 'static,
    ) -> Result<Self, redb::Error> {
        let database = open()?;
        make_tables(&database)?;
        Ok(Self::of(File::new(database, Some(Box::new(open)))))
    }

    fn of(file: File) -> Self {
        Self { file: Arc::new(file), committed: Arc::default(), pace: None }
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

    /// Whether what is to be written waits for room on the disk.
    pub fn is_full(&self) -> bool {
        self.file.is_full()
    }

    /// Has those fail who wait for room on the disk: who stops cannot wait for it.
    pub fn wait_no_more(&self) {
        self.file.wait_no_more();
    }

    /// Lets go of the file, when what is being written is written. Everything fails from then on.
    pub async fn close(&self) {
        let file = self.file.clone();
        let closing = move || file.close();
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
        read: impl Fn(&ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(move |database| read(&database.begin_read()?)).await
    }

    /// Writes in one transaction, which is on the disk on return. It is made again when the disk was full.
    async fn write<T: Send + 'static>(
        &self,
        write: impl Fn(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let written = self.run(move |database| {
            let transaction = database.begin_write()?;
            let written = write(&transaction)?;
            transaction.commit()?;
            Ok(written)
        });
        let written = written.await?;
        self.file.written();
        Ok(written)
    }

    async fn run<T: Send + 'static>(
        &self,
        run: impl Fn(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let file = self.file.clone();
        let running = move || file.run(run);
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

/// Makes the file under another name first: one that a crash or a full disk left half-made could never be opened.
fn make(file: &Path) -> Result<(), redb::Error> {
    let partial = file.with_extension("partial");
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let database = redb::Builder::new().set_cache_size(CACHE_BYTES).create(&partial)?;
    make_tables(&database)?;
    drop(database);
    Ok(fs::rename(&partial, file)?)
}

fn make_tables(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(LOG)?;
    transaction.open_table(VALUES)?;
    Ok(transaction.commit()?)
}

fn value(transaction: &ReadTransaction, key: &str) -> Result<Option<Vec<u8>>, redb::Error> {
    let found = transaction.open_table(VALUES)?.get(key)?;
    Ok(found.map(|found| found.value().to_vec()))
}

/// Makes the names in a folder survive a loss of power.
fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

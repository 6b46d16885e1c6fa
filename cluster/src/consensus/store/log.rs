//! The log and the vote.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::Ordering;

use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{AnyError, LogIdOptionExt, OptionalSend, RaftLogReader};
use redb::{ReadTransaction, ReadableTable};

use super::{COMMITTED, LOG, PURGED, Store, StoreError, VALUES, VOTE};
use crate::codec;
use crate::consensus::limits::{MAX_APPEND_BYTES, MAX_ENTRY_BYTES};
use crate::consensus::types::{Entry, LogId, StorageError, StorageIOError, Types, Vote};

type Range = (Bound<u64>, Bound<u64>);

impl Store {
    /// Entries of the log in order, until they have `limit` bytes; at least one, if there is one.
    async fn entries(&self, range: Range, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let found =
            self.read(move |transaction| encoded_entries(transaction, range, limit)).await?;
        let decoded = found.iter().map(|bytes| codec::decode(bytes, MAX_ENTRY_BYTES));
        Ok(decoded.collect::<Result<_, _>>()?)
    }

    async fn append_entries(&self, entries: impl Iterator<Item = Entry>) -> Result<(), StoreError> {
        let encoded = entries.map(|entry| {
            codec::encode(&entry, MAX_ENTRY_BYTES).map(|bytes| (entry.log_id.index, bytes))
        });
        let encoded = encoded.collect::<Result<Vec<_>, _>>()?;
        self.write(move |transaction| {
            let mut log = transaction.open_table(LOG)?;
            for (index, bytes) in &encoded {
                log.insert(index, bytes.as_slice())?;
            }
            Ok(())
        })
        .await
    }

    async fn last_entry(&self) -> Result<Option<LogId>, StoreError> {
        let last = self.read(|transaction| {
            let log = transaction.open_table(LOG)?;
            let last = log.last()?;
            Ok(last.map(|(_, bytes)| bytes.value().to_vec()))
        });
        let Some(bytes) = last.await? else { return Ok(None) };
        Ok(Some(codec::decode::<Entry>(&bytes, MAX_ENTRY_BYTES)?.log_id))
    }

    /// Removes entries, and says that everything up to `purged` is gone.
    async fn remove(&self, range: Range, purged: Option<LogId>) -> Result<(), StoreError> {
        let purged = purged.map(|id| codec::encode(&id, MAX_ENTRY_BYTES)).transpose()?;
        self.write(move |transaction| {
            if let Some(purged) = &purged {
                transaction.open_table(VALUES)?.insert(PURGED, purged.as_slice())?;
            }
            transaction.open_table(LOG)?.retain_in(range, |_, _| false)?;
            Ok(())
        })
        .await
    }
}

fn encoded_entries(
    transaction: &ReadTransaction,
    range: Range,
    limit: usize,
) -> Result<Vec<Vec<u8>>, redb::Error> {
    let log = transaction.open_table(LOG)?;
    let mut found = Vec::new();
    let mut bytes = 0;
    for entry in log.range(range)? {
        let entry = entry?.1.value().to_vec();
        bytes += entry.len();
        if bytes > limit && !found.is_empty() {
            break;
        }
        found.push(entry);
    }
    Ok(found)
}

impl RaftLogReader<Types> for Store {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        Ok(self.entries(range, usize::MAX).await.map_err(reading)?)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        let range = (Bound::Included(start), Bound::Excluded(end));
        Ok(self.entries(range, MAX_APPEND_BYTES).await.map_err(reading)?)
    }
}

impl RaftLogStorage<Types> for Store {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let last_purged_log_id = self.get(PURGED).await.map_err(reading)?;
        let last_log_id = self.last_entry().await.map_err(reading)?.or(last_purged_log_id);
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        #[cfg(feature = "mistakes")]
        if super::mistakes::forgets_to_sync_votes() {
            let saved = self.put_unsynced(VOTE, vote).await;
            return Ok(saved.map_err(|error| StorageIOError::write_vote(AnyError::new(&error)))?);
        }
        let saved = self.put(VOTE, vote).await;
        Ok(saved.map_err(|error| StorageIOError::write_vote(AnyError::new(&error)))?)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        let vote = self.get(VOTE).await;
        Ok(vote.map_err(|error| StorageIOError::read_vote(AnyError::new(&error)))?)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.put(COMMITTED, &committed).await.map_err(writing)?;
        self.committed.store(committed.next_index(), Ordering::Relaxed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        let committed: Option<LogId> = self.get(COMMITTED).await.map_err(reading)?.flatten();
        self.committed.store(committed.next_index(), Ordering::Relaxed);
        Ok(committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<Types>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let written = self.append_entries(entries.into_iter()).await;
        let told = match &written {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::other(error.to_string())),
        };
        callback.log_io_completed(told);
        Ok(written.map_err(writing)?)
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), StorageError> {
        let range = (Bound::Included(since.index), Bound::Unbounded);
        Ok(self.remove(range, None).await.map_err(writing)?)
    }

    async fn purge(&mut self, until: LogId) -> Result<(), StorageError> {
        let range = (Bound::Unbounded, Bound::Included(until.index));
        Ok(self.remove(range, Some(until)).await.map_err(writing)?)
    }
}

fn reading(error: StoreError) -> StorageIOError {
    StorageIOError::read_logs(AnyError::new(&error))
}

fn writing(error: StoreError) -> StorageIOError {
    StorageIOError::write_logs(AnyError::new(&error))
}

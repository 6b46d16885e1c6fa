//! The shards of a node, in one folder.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};

use xxhash_rust::xxh3::xxh3_64;

use super::{Shard, count, lock};
use crate::IndexError;
use crate::document::RepositoryId;
use crate::options::ShardOptions;
use crate::search::{Output, SearchError, SearchRequest, SearchResponse, Searcher};

const LOCK_FILE: &str = "lock";

/// The shards of a node. A repository is in the shard that the hash of its id names; of all that
/// there are, a node has those open that it holds.
pub struct ShardSet {
    folder: PathBuf,
    count: u32,
    options: ShardOptions,
    open: RwLock<BTreeMap<u32, Arc<Shard>>>,
    /// Shards that are being opened or closed.
    changing: Mutex<HashSet<u32>>,
    changed: Condvar,
    searcher: Searcher,
    /// Held as long as the set is open.
    _lock: FolderLock,
}

impl ShardSet {
    /// Opens a folder and every shard of it. `count` is fixed when the folder is first used: later
    /// it is what the folder says, since every repository would otherwise move.
    ///
    /// # Errors
    /// [`IndexError::Locked`] when another process has the folder, or what a shard fails with.
    pub fn open(folder: &Path, count: u32, options: ShardOptions) -> Result<Self, IndexError> {
        let lock = FolderLock::take(folder)?;
        let count = count::of_folder(folder, count.max(1))?;
        let set = Self::with(folder, count, options, lock)?;
        (0..count).try_for_each(|number| set.open_shard(number).map(drop))?;
        Ok(set)
    }

    /// Opens a folder and no shard of it: for a node that is told which ones to hold.
    ///
    /// # Errors
    /// [`IndexError::OtherCount`] when the folder was made with another number of shards,
    /// [`IndexError::Locked`] when another process has it, or when it cannot be read or written.
    pub fn open_none(folder: &Path, count: u32, options: ShardOptions) -> Result<Self, IndexError> {
        let lock = FolderLock::take(folder)?;
        let count = count.max(1);
        count::must_be(folder, count)?;
        Self::with(folder, count, options, lock)
    }

    fn with(
        folder: &Path,
        count: u32,
        options: ShardOptions,
        lock: FolderLock,
    ) -> Result<Self, IndexError> {
        Ok(Self {
            folder: folder.to_owned(),
            count,
            searcher: Searcher::new(options.threads)?,
            options,
            open: RwLock::default(),
            changing: Mutex::default(),
            changed: Condvar::new(),
            _lock: lock,
        })
    }

    /// How many shards there are, open or not.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Number of the shard that a repository belongs to.
    pub fn number_of(&self, id: RepositoryId) -> u32 {
        (xxh3_64(id.0.as_bytes()) % u64::from(self.count)) as u32
    }

    /// The shard that a repository belongs to.
    ///
    /// # Errors
    /// [`IndexError::NotHeld`] when it is not open.
    pub fn shard_of(&self, id: RepositoryId) -> Result<Arc<Shard>, IndexError> {
        let number = self.number_of(id);
        self.shard(number).ok_or(IndexError::NotHeld { shard: number })
    }

    /// The shard with this number, if it is open.
    pub fn shard(&self, number: u32) -> Option<Arc<Shard>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    /// The shards that are open, by number.
    pub fn shards(&self) -> Vec<Arc<Shard>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Opens a shard with what its folder holds, and gives it back; also one that is open already.
    ///
    /// # Errors
    /// [`IndexError::NoSuchShard`], or what opening it fails with.
    pub fn open_shard(&self, number: u32) -> Result<Arc<Shard>, IndexError> {
        if number >= self.count {
            return Err(IndexError::NoSuchShard { shard: number, count: self.count });
        }
        let _change = self.change(number);
        if let Some(shard) = self.shard(number) {
            return Ok(shard);
        }
        let shard = Shard::open(&self.folder_of(number), number, self.options.clone())?;
        let shard = Arc::new(shard);
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(number, Arc::clone(&shard));
        Ok(shard)
    }

    /// Has something else put in the folder of a shard, and opens that in the place of what was there.
    /// Until it is open, searches read the shard as it was, in which nothing writes from now on; its
    /// files have to stay readable for those that have it, as those that are renamed or unlinked do.
    /// Cursors that were made on it stay good as long as others. A shard that is not open is opened.
    ///
    /// # Errors
    /// [`IndexError::NoSuchShard`], what `exchange` fails with, or what opening fails with: then
    /// searches go on to read the shard as it was.
    pub fn replace_shard<E: From<IndexError>>(
        &self,
        number: u32,
        exchange: impl FnOnce() -> Result<(), E>,
    ) -> Result<Arc<Shard>, E> {
        if number >= self.count {
            return Err(IndexError::NoSuchShard { shard: number, count: self.count }.into());
        }
        let _change = self.change(number);
        let before = self.shard(number);
        if let Some(before) = &before {
            before.close();
        }
        exchange()?;
        let shard = Shard::open(&self.folder_of(number), number, self.options.clone())?;
        if let Some(before) = &before {
            shard.remember(before);
        }
        let shard = Arc::new(shard);
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(number, Arc::clone(&shard));
        Ok(shard)
    }

    /// Closes a shard: updates of it that run are cancelled, and once this returns nothing writes
    /// in its folder. Searches that read it go on to their end. One that is not open is no error.
    pub fn close_shard(&self, number: u32) {
        let _change = self.change(number);
        let shard = self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
        if let Some(shard) = shard {
            shard.close();
        }
    }

    /// The folder of a shard, whether or not it exists.
    pub fn folder_of(&self, number: u32) -> PathBuf {
        self.folder.join(shard_name(number))
    }

    /// Waits for others who open or close a shard.
    fn change(&self, number: u32) -> Change<'_> {
        let mut changing = lock(&self.changing);
        while !changing.insert(number) {
            changing = self.changed.wait(changing).unwrap_or_else(PoisonError::into_inner);
        }
        Change { set: self, number }
    }

    /// Searches the open shards that the request is about. It blocks, and uses the set's own threads.
    ///
    /// # Errors
    /// When the query is wrong, or the cursor, or nothing could be read.
    pub fn search(&self, request: &SearchRequest) -> Result<SearchResponse, SearchError> {
        self.searcher.search(&self.shards(), self.count, request, None)
    }

    /// Searches the open shards that the request is about, and sends the results to `output` as they
    /// are made: the answer has everything else. Of a page that is larger than
    /// [`Limits::held_bytes`] only a part is in memory at a time. It blocks, and uses the set's own
    /// threads for all but [`Output::send`].
    ///
    /// # Errors
    /// As [`Self::search`], also after results were sent.
    ///
    /// [`Limits::held_bytes`]: crate::search::Limits::held_bytes
    pub fn search_into(
        &self,
        request: &SearchRequest,
        output: &dyn Output,
    ) -> Result<SearchResponse, SearchError> {
        self.searcher.search(&self.shards(), self.count, request, Some(output))
    }
}

/// Whoever still has a shard of the set writes nothing into the folder that is let go of.
impl Drop for ShardSet {
    fn drop(&mut self) {
        self.shards().iter().for_each(|shard| shard.close());
    }
}

/// The opening or closing of a shard; ends when dropped.
struct Change<'a> {
    set: &'a ShardSet,
    number: u32,
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        lock(&self.set.changing).remove(&self.number);
        self.set.changed.notify_all();
    }
}

/// Makes a folder this process's own until it is dropped.
struct FolderLock(File);

impl FolderLock {
    fn take(folder: &Path) -> Result<Self, IndexError> {
        fs::create_dir_all(folder).map_err(IndexError::io("cannot create", folder))?;
        let path = folder.join(LOCK_FILE);
        let lock = File::create(&path).map_err(IndexError::io("cannot create", &path))?;
        lock.try_lock().map_err(|_| IndexError::Locked { path: folder.to_owned() })?;
        Ok(Self(lock))
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that was forked and does not run its program yet has the
        // file, too, and with it the lock. Where unlocking fails, the lock is gone when that child's copy is.
        let _ = self.0.unlock();
    }
}

/// Name of a shard's folder.
pub(super) fn shard_name(number: u32) -> String {
    format!("{number:04}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_lock_is_gone_though_a_child_that_was_forked_still_has_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let lock = FolderLock::take(folder.path()).unwrap();
        let refused = FolderLock::take(folder.path()).map(drop);
        assert!(matches!(refused, Err(IndexError::Locked { .. })), "{refused:?}");
        let of_child = lock.0.try_clone().unwrap();
        drop(lock);
        FolderLock::take(folder.path()).unwrap();
        drop(of_child);
    }
}

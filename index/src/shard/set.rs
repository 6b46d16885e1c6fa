//! All shards of a node, in one folder.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use super::Shard;
use crate::IndexError;
use crate::document::RepositoryId;
use crate::options::ShardOptions;
use crate::search::{Output, SearchError, SearchRequest, SearchResponse, Searcher};

const COUNT_FILE: &str = "shards";
const LOCK_FILE: &str = "lock";

/// The shards of a node. A repository is in the shard that the hash of its id names.
pub struct ShardSet {
    shards: Vec<Shard>,
    searcher: Searcher,
    /// Held, and by it the folder, as long as the set is open.
    _lock: File,
}

impl ShardSet {
    /// Opens the shards of a folder. `count` is fixed when the folder is first used: later it is
    /// what the folder says, since every repository would otherwise move.
    ///
    /// # Errors
    /// [`IndexError::Locked`] when another process has the folder, or what a shard fails with.
    pub fn open(folder: &Path, count: u32, options: ShardOptions) -> Result<Self, IndexError> {
        fs::create_dir_all(folder).map_err(IndexError::io("cannot create", folder))?;
        let lock_path = folder.join(LOCK_FILE);
        let lock = File::create(&lock_path).map_err(IndexError::io("cannot create", &lock_path))?;
        lock.try_lock().map_err(|_| IndexError::Locked { path: folder.to_owned() })?;
        let count = fixed_count(folder, count.max(1))?;
        let shards = (0..count)
            .map(|number| Shard::open(&folder.join(shard_name(number)), options.clone()))
            .collect::<Result<_, _>>()?;
        Ok(Self { shards, searcher: Searcher::new(options.threads)?, _lock: lock })
    }

    /// The shard that a repository belongs to.
    pub fn shard_of(&self, id: RepositoryId) -> &Shard {
        let hash = xxh3_64(id.0.as_bytes());
        &self.shards[(hash % self.shards.len() as u64) as usize]
    }

    /// Every shard.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Searches every shard. It blocks, and uses the set's own threads.
    ///
    /// # Errors
    /// When the query is wrong, or the cursor, or nothing could be read.
    pub fn search(&self, request: &SearchRequest) -> Result<SearchResponse, SearchError> {
        self.searcher.search(&self.shards, request, None)
    }

    /// Searches every shard, and sends the results to `output` as they are made: the answer has
    /// everything else. Of a page that is larger than [`Limits::held_bytes`] only a part is in memory
    /// at a time. It blocks, and uses the set's own threads for all but [`Output::send`].
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
        self.searcher.search(&self.shards, request, Some(output))
    }
}

/// The number of shards that a folder has; `wanted` where it has none yet.
fn fixed_count(folder: &Path, wanted: u32) -> Result<u32, IndexError> {
    let path = folder.join(COUNT_FILE);
    match fs::read_to_string(&path) {
        Ok(text) if text == count_text(count_of(&text)) => Ok(count_of(&text)),
        Ok(text) => recount(folder, &text),
        Err(error) if error.kind() == ErrorKind::InvalidData => recount(folder, "no text"),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            write_count(folder, wanted)?;
            Ok(wanted)
        }
        Err(error) => Err(IndexError::io("cannot read", path)(error)),
    }
}

/// The number with a checksum: another one would look for repositories where they are not.
fn count_text(count: u32) -> String {
    format!("{count} {:016x}\n", xxh3_64(&count.to_le_bytes()))
}

fn count_of(text: &str) -> u32 {
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Where the number is damaged, the shards' own folders tell it: all were made when the number was
/// written, or none held anything yet.
fn recount(folder: &Path, text: &str) -> Result<u32, IndexError> {
    let made = (0..u32::MAX).take_while(|number| folder.join(shard_name(*number)).is_dir());
    let count = u32::try_from(made.count()).unwrap_or(u32::MAX).max(1);
    tracing::error!(text, count, "the number of shards was damaged; it was counted anew");
    write_count(folder, count)?;
    Ok(count)
}

fn write_count(folder: &Path, count: u32) -> Result<(), IndexError> {
    let path = folder.join(COUNT_FILE);
    let temporary = folder.join("shards.tmp");
    fs::write(&temporary, count_text(count))
        .and_then(|()| File::open(&temporary)?.sync_all())
        .and_then(|()| fs::rename(&temporary, &path))
        .map_err(IndexError::io("cannot write", &path))?;
    super::manifest::sync_folder(folder)
}

fn shard_name(number: u32) -> String {
    format!("{number:04}")
}

//! What a shard holds: replaced as a whole, in one atomic step.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::history::HistoryEntry;
use crate::IndexError;
use crate::document::{RepositoryId, RepositoryInfo, RevisionName};

/// Name of the file, in a shard's folder, that says which others are the shard's.
pub const MANIFEST: &str = "manifest";
const TEMPORARY: &str = "manifest.tmp";
const FORMAT: u32 = 1;

/// The contents of a shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(super) format: u32,
    /// Grows by one with each commit.
    pub(crate) generation: u64,
    /// Made anew with each commit: a shard that moves to another node may lose its last commits, and
    /// others have their numbers then.
    #[serde(default)]
    pub(crate) stamp: u64,
    /// Number of the next file.
    pub(crate) next_id: u64,
    pub(crate) repositories: BTreeMap<RepositoryId, RepositoryState>,
    pub(crate) segments: Vec<SegmentEntry>,
    /// Repositories that were here when a manifest was damaged, until they are indexed anew.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) lost: BTreeSet<RepositoryId>,
}

impl Default for Manifest {
    fn default() -> Self {
        Self {
            format: FORMAT,
            generation: 0,
            stamp: 0,
            next_id: 1,
            repositories: BTreeMap::new(),
            segments: Vec::new(),
            lost: BTreeSet::new(),
        }
    }
}

/// A repository in the index.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RepositoryState {
    pub(crate) info: RepositoryInfo,
    pub(crate) revisions: BTreeMap<RevisionName, RevisionState>,
    /// A segment that held documents of it was damaged: it must be indexed anew, and until then
    /// answers say that it is not complete.
    #[serde(default)]
    pub(crate) damaged: bool,
    /// The last changes of its files, once they were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) history: Option<HistoryEntry>,
}

impl RepositoryState {
    /// Whether it holds commits whose last changes were not read yet.
    pub(crate) fn history_pending(&self) -> bool {
        let read = self.history.as_ref().map(|history| &history.commits);
        let is_read = |(name, revision): (&RevisionName, &RevisionState)| {
            read.is_some_and(|commits| commits.get(name) == Some(&revision.commit))
        };
        !self.revisions.iter().all(is_read)
    }
}

/// A revision in the index.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RevisionState {
    /// Commit, in hex.
    pub(crate) commit: String,
    /// Milliseconds since 1970.
    pub(crate) indexed_at: u64,
}

/// A segment and the files beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentEntry {
    pub(crate) id: u64,
    /// Number in the name of its file of live documents.
    pub(crate) live: u64,
    /// Number in the name of its symbol file, once that is made.
    pub(crate) symbols: Option<u64>,
    pub(crate) documents: u32,
    pub(crate) contents: u64,
    /// Bytes of the segment's file.
    pub(crate) bytes: u64,
    /// Bytes of content before compression.
    pub(crate) content_bytes: u64,
}

impl SegmentEntry {
    /// Name of the segment's file.
    pub(crate) fn segment_file(&self) -> String {
        format!("{:010}.segment", self.id)
    }

    /// Name of the file of live documents.
    pub(crate) fn live_file(&self) -> String {
        format!("{:010}.live", self.live)
    }

    /// Name of the symbol file.
    pub(crate) fn symbols_file(&self) -> Option<String> {
        self.symbols.map(|number| format!("{number:010}.symbols"))
    }

    /// Every file that the entry names.
    pub(crate) fn files(&self) -> impl Iterator<Item = String> {
        [self.segment_file(), self.live_file()].into_iter().chain(self.symbols_file())
    }
}

impl Manifest {
    /// Reads the manifest of a folder; an empty one where there is none yet.
    pub(crate) fn read(folder: &Path) -> Result<Self, IndexError> {
        let path = folder.join(MANIFEST);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(IndexError::io("cannot read", path)(error)),
        };
        let damaged = |detail: String| IndexError::Damaged { path: path.clone(), detail };
        let (sum, body) = text
            .split_at_checked(17)
            .ok_or_else(|| damaged("it is shorter than its checksum".to_owned()))?;
        if sum != format!("{:016x}\n", xxh3_64(body)).as_bytes() {
            return Err(damaged("its checksum does not fit".to_owned()));
        }
        let manifest: Self =
            serde_json::from_slice(body).map_err(|error| damaged(error.to_string()))?;
        if manifest.format > FORMAT {
            return Err(IndexError::Format { path, found: manifest.format, known: FORMAT });
        }
        Ok(manifest)
    }

    /// Replaces the manifest of a folder: after a crash there is the old one or the new one, and
    /// the new one for sure once the folder is synced.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), IndexError> {
        let temporary = folder.join(TEMPORARY);
        let path = folder.join(MANIFEST);
        fail::fail_point!("manifest-write", |_| Err(IndexError::io("cannot write", &temporary)(
            std::io::ErrorKind::StorageFull.into()
        )));
        let body = serde_json::to_vec(self)
            .map_err(|error| IndexError::io("cannot encode", &path)(error.into()))?;
        let mut file =
            File::create(&temporary).map_err(IndexError::io("cannot create", &temporary))?;
        file.write_all(format!("{:016x}\n", xxh3_64(&body)).as_bytes())
            .and_then(|()| file.write_all(&body))
            .and_then(|()| file.sync_all())
            .map_err(IndexError::io("cannot write", &temporary))?;
        // The files that the manifest names were synced; their names are with this.
        sync_folder(folder)?;
        fail::fail_point!("manifest-before-rename");
        fs::rename(&temporary, &path).map_err(IndexError::io("cannot replace", &path))?;
        fail::fail_point!("manifest-after-rename");
        Ok(())
    }

    /// Every file that it names.
    pub(crate) fn files(&self) -> impl Iterator<Item = String> {
        let histories = self.repositories.values().filter_map(|state| state.history.as_ref());
        let segments = self.segments.iter().flat_map(SegmentEntry::files);
        segments.chain(histories.map(HistoryEntry::file))
    }

    /// Whether a file of the folder belongs to the shard.
    pub(crate) fn names(&self, file: &str) -> bool {
        file == MANIFEST || self.files().any(|name| name == file)
    }
}

/// Makes names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), IndexError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(IndexError::io("cannot sync", folder))
}

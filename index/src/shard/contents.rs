//! What a shard holds, for those who ask.

use std::collections::BTreeMap;

use roaring::MultiOps;

use super::Shard;
use super::snapshot::Loaded;
use crate::IndexError;
use crate::document::{OmitReason, Part, RepositoryId, RepositoryInfo, RevisionName};

/// A document whose content is not in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OmittedFile {
    /// Its path.
    pub path: Vec<u8>,
    /// Why.
    pub reason: OmitReason,
    /// Revisions that hold it, sorted.
    pub revisions: Vec<RevisionName>,
}

/// Sizes of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// Repositories.
    pub repositories: u64,
    /// Segments.
    pub segments: u64,
    /// Segments whose symbols are not read yet.
    pub segments_without_symbols: u64,
    /// Documents that some revision holds.
    pub documents: u64,
    /// Stored contents, deleted ones included until a merge.
    pub contents: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of content before compression.
    pub content_bytes: u64,
}

impl Shard {
    /// Repositories in the index.
    pub fn repositories(&self) -> Vec<RepositoryInfo> {
        let snapshot = self.snapshot();
        snapshot.manifest.repositories.values().map(|state| state.info.clone()).collect()
    }

    /// The indexed revisions of a repository and their commits; `None` when it is not in the
    /// index, or was damaged and must be sent as whole listings.
    pub fn revisions(&self, id: RepositoryId) -> Option<BTreeMap<RevisionName, String>> {
        let snapshot = self.snapshot();
        let state = snapshot.manifest.repositories.get(&id).filter(|state| !state.damaged)?;
        Some(
            state
                .revisions
                .iter()
                .map(|(name, revision)| (name.clone(), revision.commit.clone()))
                .collect(),
        )
    }

    /// Which part of a repository is in the index; `None` where all of it is, or nothing.
    pub fn part(&self, id: RepositoryId) -> Option<Part> {
        self.snapshot().infos.get(&id)?.part
    }

    /// Documents of a repository whose content is left out, by path, after a path.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn omitted(
        &self,
        id: RepositoryId,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<OmittedFile>, IndexError> {
        let snapshot = self.snapshot();
        let mut files = Vec::new();
        for loaded in &snapshot.segments {
            let Some(revisions) = loaded.live.of(id) else { continue };
            let view = loaded.segment.view()?;
            for number in view.documents_in(id).filter(|number| loaded.alive.contains(*number)) {
                let blob = view.blobs.get(view.documents.get(number).blob);
                let Some(reason) = OmitReason::from_u8(blob.omitted) else { continue };
                let path = view.path(number);
                if after.is_some_and(|after| path <= after) {
                    continue;
                }
                let names = revisions.iter().filter(|(_, set)| set.contains(number));
                files.push(OmittedFile {
                    path: path.to_vec(),
                    reason,
                    revisions: names.map(|(name, _)| name.clone()).collect(),
                });
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.truncate(limit);
        Ok(files)
    }

    /// Whether symbols of the repository are still to be read.
    pub fn symbols_pending(&self, id: RepositoryId) -> bool {
        let snapshot = self.snapshot();
        snapshot
            .segments
            .iter()
            .any(|loaded| loaded.symbols.is_none() && loaded.live.of(id).is_some())
    }

    /// Documents of a repository: distinct paths with their content over all its revisions.
    pub fn documents(&self, id: RepositoryId) -> u64 {
        let snapshot = self.snapshot();
        let live = snapshot.segments.iter().filter_map(|loaded| loaded.live.of(id));
        live.map(|revisions| revisions.values().union().len()).sum()
    }

    /// Bytes of its files, as [`ShardStats::bytes`]; it counts no documents for that.
    pub fn bytes(&self) -> u64 {
        self.snapshot().segments.iter().map(Loaded::bytes).sum()
    }

    /// Sizes.
    pub fn stats(&self) -> ShardStats {
        let snapshot = self.snapshot();
        let mut stats = ShardStats {
            repositories: snapshot.manifest.repositories.len() as u64,
            segments: snapshot.segments.len() as u64,
            ..ShardStats::default()
        };
        for loaded in &snapshot.segments {
            stats.segments_without_symbols += u64::from(loaded.symbols.is_none());
            stats.documents += u64::from(loaded.alive.count());
            stats.contents += loaded.entry.contents;
            stats.content_bytes += loaded.entry.content_bytes;
            stats.bytes += loaded.bytes();
        }
        stats
    }
}

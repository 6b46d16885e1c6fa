//! A shard as it was at one commit: what a search reads, whatever happens meanwhile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use xxhash_rust::xxh3::xxh3_64;

use super::history::{self, Changed, History};
use super::live::Live;
use super::manifest::{Manifest, SegmentEntry};
use crate::IndexError;
use crate::bits::Bits;
use crate::document::{RepositoryId, RepositoryInfo};
use crate::segment::symbols::SymbolFile;
use crate::segment::{Segment, View};

/// A segment with its live documents and, where it has them, its symbols.
#[derive(Clone)]
pub(crate) struct Loaded {
    pub(crate) entry: SegmentEntry,
    pub(crate) segment: Arc<Segment>,
    pub(crate) live: Arc<Live>,
    /// Documents that some revision holds.
    pub(crate) alive: Arc<Bits>,
    pub(crate) symbols: Option<Arc<SymbolFile>>,
    /// The documents' last changes in this snapshot, once a search has asked for them.
    changes: Arc<OnceLock<Vec<Option<Changed>>>>,
}

/// A consistent state of a shard.
pub struct Snapshot {
    pub(crate) manifest: Manifest,
    pub(crate) segments: Vec<Loaded>,
    pub(crate) infos: BTreeMap<RepositoryId, Arc<RepositoryInfo>>,
    /// Those that are parts of repositories, which are few: every search looks at them.
    pub(crate) parts: Vec<RepositoryId>,
    pub(crate) histories: BTreeMap<RepositoryId, Arc<History>>,
}

/// A part of a snapshot that could not be opened.
pub(crate) struct Broken {
    pub(crate) entry: SegmentEntry,
    pub(crate) error: IndexError,
}

impl Snapshot {
    /// Opens what the manifest names, taking over from `before` what it has already. Damaged
    /// segments are left out and returned beside.
    pub(crate) fn open(
        folder: &Path,
        manifest: Manifest,
        before: Option<&Self>,
    ) -> Result<(Self, Vec<Broken>), IndexError> {
        let mut segments = Vec::with_capacity(manifest.segments.len());
        let mut broken = Vec::new();
        for entry in &manifest.segments {
            match Loaded::open(folder, entry, before) {
                Ok(loaded) => segments.push(loaded),
                Err(error) if is_damage(&error) => {
                    broken.push(Broken { entry: entry.clone(), error });
                }
                Err(error) => return Err(error),
            }
        }
        let histories = histories(folder, &manifest, before);
        let infos: BTreeMap<RepositoryId, Arc<RepositoryInfo>> = manifest
            .repositories
            .iter()
            .map(|(id, state)| {
                let known = before.and_then(|before| before.infos.get(id));
                let info = match known {
                    Some(known) if **known == state.info => Arc::clone(known),
                    _ => Arc::new(state.info.clone()),
                };
                (*id, info)
            })
            .collect();
        let is_part = |(_, info): &(&RepositoryId, &Arc<RepositoryInfo>)| info.part.is_some();
        let parts = infos.iter().filter(is_part).map(|(id, _)| *id).collect();
        Ok((Self { manifest, segments, infos, parts, histories }, broken))
    }

    /// Number of the commit that made it.
    pub fn generation(&self) -> u64 {
        self.manifest.generation
    }

    /// What tells it from every other state that the shard was or will be in, on any node.
    pub(crate) fn state(&self) -> u64 {
        let numbers = [self.manifest.generation, self.manifest.stamp].map(u64::to_le_bytes);
        xxh3_64(numbers.as_flattened())
    }

    /// Whether a repository holds commits whose last changes were not read yet, or cannot be read.
    pub(crate) fn history_pending(&self, id: RepositoryId) -> bool {
        let Some(state) = self.manifest.repositories.get(&id) else { return false };
        state.history_pending() || !state.revisions.is_empty() && !self.histories.contains_key(&id)
    }

    /// The last change of each document of one of its segments.
    pub(crate) fn changes<'a>(
        &self,
        loaded: &'a Loaded,
        view: &View,
    ) -> Result<&'a [Option<Changed>], IndexError> {
        if let Some(changes) = loaded.changes.get() {
            return Ok(changes);
        }
        let repositories = &loaded.segment.meta.repositories;
        let changes = history::of_documents(view, repositories, &self.histories)?;
        Ok(loaded.changes.get_or_init(|| changes))
    }

    /// The segment with this number.
    pub(crate) fn segment(&self, id: u64) -> Option<&Loaded> {
        self.segments.iter().find(|loaded| loaded.entry.id == id)
    }
}

/// The histories that a manifest names. One that is damaged is left out, and made again as if it had
/// never been there.
fn histories(
    folder: &Path,
    manifest: &Manifest,
    before: Option<&Snapshot>,
) -> BTreeMap<RepositoryId, Arc<History>> {
    let mut histories = BTreeMap::new();
    for (id, state) in &manifest.repositories {
        let Some(entry) = &state.history else { continue };
        let known = before.and_then(|before| before.histories.get(id));
        match known {
            Some(known) if known.is(entry) => {
                histories.insert(*id, Arc::clone(known));
            }
            _ => match History::read(folder, entry) {
                Ok(history) => {
                    histories.insert(*id, Arc::new(history));
                }
                Err(error) => {
                    tracing::error!(repository = %id, %error, "its last changes are read anew");
                }
            },
        }
    }
    histories
}

/// Whether an error means that a file must be set aside, rather than tried again.
pub(crate) fn is_damage(error: &IndexError) -> bool {
    match error {
        IndexError::Damaged { .. } => true,
        IndexError::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

impl Loaded {
    /// Bytes of the segment's files and its symbols'.
    pub(crate) fn bytes(&self) -> u64 {
        self.entry.bytes + self.symbols.as_ref().map_or(0, |symbols| symbols.bytes())
    }

    fn open(
        folder: &Path,
        entry: &SegmentEntry,
        before: Option<&Snapshot>,
    ) -> Result<Self, IndexError> {
        let path = |name: String| -> PathBuf { folder.join(name) };
        let known = before.and_then(|before| before.segment(entry.id));
        let segment = match known {
            Some(known) => Arc::clone(&known.segment),
            None => Arc::new(Segment::open(&path(entry.segment_file()))?),
        };
        let (live, alive) = match known {
            Some(known) if known.entry.live == entry.live => {
                (Arc::clone(&known.live), Arc::clone(&known.alive))
            }
            _ => {
                let live = Live::read(&path(entry.live_file()))?;
                let alive = live.union(segment.meta.documents);
                (Arc::new(live), Arc::new(alive))
            }
        };
        let symbols = match (known, entry.symbols_file()) {
            (Some(known), _) if known.entry.symbols == entry.symbols => known.symbols.clone(),
            (_, Some(name)) => Some(Arc::new(SymbolFile::open(&path(name))?)),
            (_, None) => None,
        };
        let changes = Arc::default();
        Ok(Self { entry: entry.clone(), segment, live, alive, symbols, changes })
    }
}

//! Work behind the scenes: reading symbols and merging segments, a step at a time.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use roaring::RoaringBitmap;

use super::apply::omitted_kind;
use super::live::Live;
use super::manifest::SegmentEntry;
use super::snapshot::{Loaded, Snapshot};
use super::{Shard, lock};
use crate::IndexError;
use crate::document::{
    ContentId, ContentReader, ContentSource, FileEntry, OmitReason, PathAttributes, ReadError,
};
use crate::options::{ProgressSink, release_memory};
use crate::segment::block::UNIT_BYTES;
use crate::segment::build::{Builder, Built, Known, NewDocument};
use crate::segment::file::discard;
use crate::segment::read_symbols::{KnownSymbols, SymbolReader};
use crate::segment::{Segment, View};

/// Segments below this size are of one class: merging them costs next to nothing.
const SMALLEST_CLASS: u64 = 1 << 20;
/// A segment of which this part is dead is rewritten by itself.
const DEAD_PART: f64 = 0.5;
/// A segment with less content than this is not rewritten for its dead documents.
const SMALLEST_REWRITE: u64 = 16 << 20;

/// What one step of maintenance did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maintenance {
    /// Nothing was due.
    Idle,
    /// The symbols of a segment were read.
    Symbols,
    /// Segments were merged.
    Merged,
}

/// Where a merged document came from: place of its segment among the inputs, and its number there.
type Origin = (usize, u32);

impl Shard {
    /// Does one step of what is due: symbols of a segment that has none, else a merge. Searches
    /// and updates go on meanwhile. It blocks; call it from a thread that may, until it is idle.
    ///
    /// # Errors
    /// [`IndexError::Cancelled`] when `cancelled` says so, [`IndexError::Closed`], or what failed;
    /// nothing has changed then, and the step is still due.
    pub fn maintain(
        &self,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Maintenance, IndexError> {
        let _writing = self.writing()?;
        let _maintenance = lock(&self.maintenance);
        let cancelled = &|| self.gate.is_closed() || cancelled();
        let snapshot = self.snapshot();
        let without = snapshot.segments.iter().filter(|loaded| loaded.symbols.is_none());
        let result = if let Some(loaded) = without.min_by_key(|loaded| loaded.entry.bytes) {
            self.read_symbols(loaded, cancelled).map(|()| Maintenance::Symbols)
        } else {
            match self.due_merge(&snapshot) {
                Some(inputs) => self.merge(&inputs, cancelled),
                None => Ok(Maintenance::Idle),
            }
        };
        if let Err(error) = &result {
            self.report(error);
        }
        if !matches!(result, Ok(Maintenance::Idle)) {
            release_memory();
        }
        self.ended(result)
    }

    fn symbols_path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:010}.symbols"))
    }

    fn read_symbols(
        &self,
        loaded: &Loaded,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), IndexError> {
        let number = self.write_symbols(&loaded.segment, &KnownSymbols::new(), cancelled)?;
        let path = self.symbols_path(number);
        fail::fail_point!("symbols-before-commit");
        let _commit = lock(&self.commit);
        let mut manifest = self.snapshot().manifest.clone();
        let entry = manifest.segments.iter_mut().find(|entry| entry.id == loaded.entry.id);
        match entry {
            Some(entry) => {
                entry.symbols = Some(number);
                self.commit_or_discard(manifest, Ok(()))
            }
            // The segment is gone, and its symbols with it.
            None => {
                discard(&path);
                Ok(())
            }
        }
    }

    fn write_symbols(
        &self,
        segment: &Segment,
        known: &KnownSymbols,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<u64, IndexError> {
        let number = self.next_id.fetch_add(1, Ordering::Relaxed);
        let path = self.symbols_path(number);
        let reader =
            SymbolReader { view: segment.view()?, known, options: &self.options, cancelled };
        let written = reader.write(&path);
        if written.is_err() {
            discard(&path);
        }
        written.map(|()| number)
    }

    /// Segments to merge: as many of one size as the merge factor says, or one that is mostly dead.
    fn due_merge(&self, snapshot: &Snapshot) -> Option<Vec<Loaded>> {
        let mut classes: BTreeMap<u32, Vec<&Loaded>> = BTreeMap::new();
        let factor = self.options.merge_factor.max(2);
        let largest = u64::from(self.options.max_segment_units) * UNIT_BYTES as u64;
        for loaded in &snapshot.segments {
            let size = loaded.entry.content_bytes;
            let dead =
                1.0 - f64::from(loaded.alive.count()) / f64::from(loaded.entry.documents.max(1));
            if dead > DEAD_PART && size > SMALLEST_REWRITE {
                return Some(vec![loaded.clone()]);
            }
            if size < largest / 2 {
                let class = (size / SMALLEST_CLASS).max(1).ilog(factor as u64);
                classes.entry(class).or_default().push(loaded);
            }
        }
        let due = classes.into_values().find(|class| class.len() >= factor)?;
        Some(due.into_iter().take(factor).cloned().collect())
    }

    fn merge(
        &self,
        inputs: &[Loaded],
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Maintenance, IndexError> {
        let merge = Merge::of(inputs)?;
        let progress = CancelledBy(cancelled);
        let builder = Builder {
            folder: &self.folder,
            options: &self.options,
            source: &merge,
            progress: &progress,
            repository: "a merge",
            next_id: &self.next_id,
        };
        let built = builder.build(&merge.documents)?;
        let mut symbols = Vec::new();
        let merged = self.merged_symbols(&merge, &built, &mut symbols, cancelled).and_then(|()| {
            fail::fail_point!("merge-before-commit");
            self.commit_merge(inputs, &merge, &built, &symbols)
        });
        if !matches!(merged, Ok(Maintenance::Merged)) {
            let symbols = symbols.iter().map(|number| self.symbols_path(*number));
            self.discard_unnamed(built.into_iter().map(|built| built.path).chain(symbols));
        }
        merged
    }

    /// Symbol files of merged segments, out of those that the inputs have.
    fn merged_symbols(
        &self,
        merge: &Merge,
        built: &[Built],
        symbols: &mut Vec<u64>,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), IndexError> {
        for built in built {
            let segment = Segment::open(&built.path)?;
            symbols.push(self.write_symbols(&segment, &merge.symbols, cancelled)?);
        }
        Ok(())
    }

    fn commit_merge(
        &self,
        inputs: &[Loaded],
        merge: &Merge,
        built: &[Built],
        symbols: &[u64],
    ) -> Result<Maintenance, IndexError> {
        let mut places: HashMap<Origin, (usize, u32)> = HashMap::new();
        for (output, built) in built.iter().enumerate() {
            for (document, number) in built.order.iter().enumerate() {
                places.insert(merge.origins[*number as usize], (output, document as u32));
            }
        }
        let _commit = lock(&self.commit);
        let current = self.snapshot();
        let mut lives: Vec<Live> = built.iter().map(|_| Live::default()).collect();
        for (input, loaded) in inputs.iter().enumerate() {
            let Some(now) = current.segment(loaded.entry.id) else {
                return Ok(Maintenance::Idle);
            };
            for (repository, name, documents) in now.live.iter() {
                let mut sets: BTreeMap<usize, RoaringBitmap> = BTreeMap::new();
                for document in documents {
                    // Revived since the merge began: the next merge will have it.
                    let Some((output, place)) = places.get(&(input, document)) else {
                        return Ok(Maintenance::Idle);
                    };
                    sets.entry(*output).or_default().insert(*place);
                }
                for (output, mut set) in sets {
                    if let Some(before) = lives[output].of(repository).and_then(|of| of.get(name)) {
                        set |= before;
                    }
                    lives[output].set(repository, name, set);
                }
            }
        }
        let mut manifest = current.manifest.clone();
        manifest.segments.retain(|entry| !inputs.iter().any(|input| input.entry.id == entry.id));
        let written =
            built.iter().zip(&lives).zip(symbols).try_for_each(|((built, live), symbols)| {
                let entry = self.entry_of(built, live)?;
                manifest.segments.push(SegmentEntry { symbols: Some(*symbols), ..entry });
                Ok(())
            });
        self.commit_or_discard(manifest, written)?;
        Ok(Maintenance::Merged)
    }
}

struct CancelledBy<'a>(&'a (dyn Fn() -> bool + Sync));

impl ProgressSink for CancelledBy<'_> {
    fn progress(&self, _: u64, _: u64, _: u64) {}
    fn cancelled(&self) -> bool {
        (self.0)()
    }
}

/// The live documents of segments, and their contents to read from.
struct Merge<'a> {
    inputs: Vec<View<'a>>,
    documents: Vec<NewDocument>,
    origins: Vec<Origin>,
    contents: HashMap<ContentId, Origin>,
    symbols: KnownSymbols,
}

impl<'a> Merge<'a> {
    fn of(loaded: &'a [Loaded]) -> Result<Self, IndexError> {
        let mut merge = Self {
            inputs: Vec::new(),
            documents: Vec::new(),
            origins: Vec::new(),
            contents: HashMap::new(),
            symbols: KnownSymbols::new(),
        };
        for (input, loaded) in loaded.iter().enumerate() {
            let view = loaded.segment.view()?;
            for number in loaded.alive.iter() {
                let document = view.documents.get(number);
                let blob = view.blobs.get(document.blob);
                let content = view.content_id(document.blob)?;
                let omitted = OmitReason::from_u8(blob.omitted);
                if omitted.is_none() {
                    merge.contents.insert(content, (input, document.blob));
                    let languages = &loaded.segment.languages;
                    let language = languages.get(usize::from(blob.language)).copied().flatten();
                    if let (Some(symbols), Some(language)) = (&loaded.symbols, language) {
                        let place = (Arc::clone(symbols), document.blob);
                        merge.symbols.insert((content, language), place);
                    }
                }
                let language = loaded.segment.languages.get(usize::from(document.language));
                merge.documents.push(NewDocument {
                    repository: loaded.segment.meta.repositories[document.repository as usize],
                    entry: FileEntry {
                        path: view.path(number).to_vec(),
                        content,
                        kind: omitted.map_or(crate::FileKind::File, omitted_kind),
                        attributes: PathAttributes::default(),
                    },
                    known: Some(Known {
                        language: language.copied().flatten(),
                        flags: document.flags,
                        attributes: document.attributes,
                        omitted: omitted.map(|reason| (reason, blob.length)),
                    }),
                });
                merge.origins.push((input, number));
            }
            merge.inputs.push(view);
        }
        Ok(merge)
    }
}

impl ContentSource for Merge<'_> {
    fn reader(&self) -> Result<Box<dyn ContentReader + '_>, ReadError> {
        Ok(Box::new(MergeReader { merge: self }))
    }

    fn locality(&self, id: &ContentId) -> u64 {
        self.contents.get(id).map_or(0, |(input, blob)| (*input as u64) << 32 | u64::from(*blob))
    }
}

struct MergeReader<'a> {
    merge: &'a Merge<'a>,
}

impl ContentReader for MergeReader<'_> {
    fn read(&mut self, id: &ContentId, _: u64, into: &mut Vec<u8>) -> Result<(), ReadError> {
        let (input, blob) = self.merge.contents.get(id).ok_or(ReadError::Missing)?;
        into.clear();
        self.merge.inputs[*input]
            .read_blob(*blob, into)
            .map_err(|error| ReadError::Failed(error.to_string()))
    }
}

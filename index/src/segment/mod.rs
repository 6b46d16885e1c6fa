//! A segment: an immutable file of documents, their contents and trigram lists.

pub(crate) mod block;
pub(crate) mod build;
mod classify;
pub(crate) mod compression;
pub(crate) mod file;
pub(crate) mod grams;
pub(crate) mod postings;
pub(crate) mod read_symbols;
pub(crate) mod symbols;
pub(crate) mod tables;
mod unit_documents;
mod write;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use self::compression::decompress;
use self::file::SectionFile;
use self::postings::ListReader;
use self::tables::{
    Blob, CONTENT_LISTS, Document, Meta, PATH_BLOCK, PATH_LISTS, Piece, Record, Table, Unit, flag,
    section,
};
use self::unit_documents::UnitDocuments;
use crate::IndexError;
use crate::bits::Bits;
use crate::document::{ContentId, OmitReason, RepositoryId};
use crate::languages::Language;
use crate::trigram::FOLD_VERSION;

/// Bytes of a unit, whatever version wrote it.
const LARGEST_UNIT: usize = 64 << 10;
/// Bytes of a SHA-1.
const SHORT_ID: usize = 20;

/// How many segments were opened.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// An open segment.
pub(crate) struct Segment {
    /// No other segment that this process opens has it.
    number: u64,
    file: SectionFile,
    pub(crate) meta: Meta,
    /// Languages by their number in the segment.
    pub(crate) languages: Vec<Option<Language>>,
    /// Documents whose content is left out, by reason.
    omitted: OnceLock<Vec<(OmitReason, Bits)>>,
    /// The documents with each prior, once a search has asked for them.
    base_priors: OnceLock<Vec<(u8, Bits)>>,
    /// Documents of each unit, once a search has asked for them.
    unit_documents: OnceLock<UnitDocuments>,
    /// Ranges of units, for patterns that stay in a line and for those that cross lines.
    wide: [OnceLock<Vec<(u32, u32)>>; 2],
}

impl Segment {
    /// Maps the file and reads what it says of itself.
    pub(crate) fn open(path: &Path) -> Result<Self, IndexError> {
        let file = SectionFile::open(path)?;
        let meta: Meta = serde_json::from_slice(file.section(section::META)?)
            .map_err(|error| file.damaged(error.to_string()))?;
        if meta.fold_version != FOLD_VERSION {
            return Err(file.damaged(format!(
                "its trigrams were folded by version {}, this is version {FOLD_VERSION}",
                meta.fold_version
            )));
        }
        let languages = meta.languages.iter().map(|name| Language::from_name(name)).collect();
        let segment = Self {
            number: OPENED.fetch_add(1, Ordering::Relaxed),
            file,
            meta,
            languages,
            omitted: OnceLock::new(),
            base_priors: OnceLock::new(),
            unit_documents: OnceLock::new(),
            wide: Default::default(),
        };
        segment.check_lengths()?;
        Ok(segment)
    }

    fn check_lengths(&self) -> Result<(), IndexError> {
        let meta = &self.meta;
        let expect = [
            (section::UNITS, meta.units as usize * Unit::BYTES),
            (section::PIECES, meta.pieces as usize * Piece::BYTES),
            (section::BLOBS, meta.blobs as usize * Blob::BYTES),
            (section::BLOB_IDS, meta.blobs as usize * usize::from(meta.id_bytes)),
            (section::DOCUMENTS, meta.documents as usize * Document::BYTES),
            (section::BLOB_STARTS, (meta.blobs as usize + 1) * 4),
            (section::BLOB_DOCUMENTS, meta.documents as usize * 4),
        ];
        for (number, bytes) in expect {
            if self.file.range(number).len() != bytes {
                return Err(self.file.damaged(format!("section {number} has another length")));
            }
        }
        Ok(())
    }

    /// The file.
    pub(crate) fn file(&self) -> &SectionFile {
        &self.file
    }

    /// The tables, verified, for one search or one change.
    pub(crate) fn view(&self) -> Result<View<'_>, IndexError> {
        Ok(View {
            segment: self,
            units: Table::new(self.file.section(section::UNITS)?),
            pieces: Table::new(self.file.section(section::PIECES)?),
            blobs: Table::new(self.file.section(section::BLOBS)?),
            ids: self.file.section(section::BLOB_IDS)?,
            documents: Table::new(self.file.section(section::DOCUMENTS)?),
            paths: self.file.section(section::PATHS)?,
            blob_starts: Table::new(self.file.section(section::BLOB_STARTS)?),
            blob_documents: Table::new(self.file.section(section::BLOB_DOCUMENTS)?),
            unlisted: Table::new(self.file.section(section::UNLISTED)?),
            content: self.file.range(section::CONTENT),
            dictionary: self.file.section(section::DICTIONARY)?,
        })
    }

    /// Documents whose content is left out, by reason.
    pub(crate) fn omitted(&self, view: &View) -> &[(OmitReason, Bits)] {
        self.omitted.get_or_init(|| {
            let mut sets: Vec<(OmitReason, Bits)> = Vec::new();
            for blob in 0..view.blobs.len() {
                let Some(reason) = OmitReason::from_u8(view.blobs.get(blob).omitted) else {
                    continue;
                };
                let at = sets.iter().position(|(known, _)| *known == reason).unwrap_or_else(|| {
                    sets.push((reason, Bits::none(view.documents.len())));
                    sets.len() - 1
                });
                view.documents_of(blob).for_each(|document| sets[at].1.insert(document));
            }
            sets
        })
    }

    /// The documents with each prior that a document can have by itself.
    pub(crate) fn base_priors(&self, view: &View) -> &[(u8, Bits)] {
        self.base_priors.get_or_init(|| {
            let mut classes: BTreeMap<u8, Bits> = BTreeMap::new();
            for number in 0..view.documents.len() {
                let prior = base_prior(view.documents.get(number).flags);
                let class =
                    classes.entry(prior).or_insert_with(|| Bits::none(view.documents.len()));
                class.insert(number);
            }
            classes.into_iter().collect()
        })
    }

    /// The documents of each unit.
    pub(crate) fn unit_documents(&self, view: &View) -> &UnitDocuments {
        self.unit_documents.get_or_init(|| UnitDocuments::new(view))
    }

    /// Unit ranges of blobs in which a match may reach from one unit into another: of every blob
    /// with several units where it may cross lines, else of those with a line that was cut.
    pub(crate) fn wide(&self, view: &View, crosses_lines: bool) -> &[(u32, u32)] {
        let place = &self.wide[usize::from(crosses_lines)];
        place.get_or_init(|| {
            let blobs = (0..view.blobs.len()).map(|number| view.blobs.get(number));
            blobs
                .filter(|blob| blob.pieces > 1 && (crosses_lines || blob.cut_line))
                .map(|blob| {
                    let last = blob.first_piece + blob.pieces - 1;
                    (view.pieces.get(blob.first_piece).unit, view.pieces.get(last).unit + 1)
                })
                .collect()
        })
    }

    /// Lists of content units.
    pub(crate) fn content_lists(&self) -> Result<ListReader<'_>, IndexError> {
        ListReader::open(&self.file, CONTENT_LISTS, self.meta.units)
    }

    /// Lists of blocks of [`PATH_BLOCK`] documents' paths.
    pub(crate) fn path_lists(&self) -> Result<ListReader<'_>, IndexError> {
        ListReader::open(&self.file, PATH_LISTS, self.meta.documents.div_ceil(PATH_BLOCK))
    }
}

/// The tables of a segment.
#[derive(Clone)]
pub(crate) struct View<'a> {
    pub(crate) segment: &'a Segment,
    pub(crate) units: Table<'a, Unit>,
    pub(crate) pieces: Table<'a, Piece>,
    pub(crate) blobs: Table<'a, Blob>,
    ids: &'a [u8],
    pub(crate) documents: Table<'a, Document>,
    paths: &'a [u8],
    blob_starts: Table<'a, u32>,
    blob_documents: Table<'a, u32>,
    /// Units that are candidates of every query.
    pub(crate) unlisted: Table<'a, u32>,
    content: Range<usize>,
    dictionary: &'a [u8],
}

impl<'a> View<'a> {
    /// Path of a document.
    pub(crate) fn path(&self, document: u32) -> &'a [u8] {
        let start = if document == 0 { 0 } else { self.documents.get(document - 1).path_end };
        &self.paths[start as usize..self.documents.get(document).path_end as usize]
    }

    /// Content id of a blob. A merge can bring ids of both lengths together: the short ones end in
    /// zeros then, which no long one does.
    pub(crate) fn content_id(&self, blob: u32) -> Result<ContentId, IndexError> {
        let bytes = usize::from(self.segment.meta.id_bytes);
        let mut raw = &self.ids[blob as usize * bytes..][..bytes];
        if raw.len() > SHORT_ID && raw[SHORT_ID..].iter().all(|byte| *byte == 0) {
            raw = &raw[..SHORT_ID];
        }
        ContentId::from_bytes(raw)
            .ok_or_else(|| self.segment.file.damaged("content ids have an impossible length"))
    }

    /// Documents that have a blob, ascending.
    pub(crate) fn documents_of(&self, blob: u32) -> impl Iterator<Item = u32> + use<'a> {
        let table = self.blob_documents;
        (self.blob_starts.get(blob)..self.blob_starts.get(blob + 1)).map(move |at| table.get(at))
    }

    /// Pieces of a unit.
    pub(crate) fn pieces_of(&self, unit: u32) -> Range<u32> {
        let end = if unit + 1 < self.units.len() {
            self.units.get(unit + 1).first_piece
        } else {
            self.pieces.len()
        };
        self.units.get(unit).first_piece..end
    }

    /// Documents of a repository, which are adjacent.
    pub(crate) fn documents_in(&self, repository: RepositoryId) -> Range<u32> {
        let Ok(place) = self.segment.meta.repositories.binary_search(&repository) else {
            return 0..0;
        };
        let place = place as u32;
        let first = self.partition(|document| self.documents.get(document).repository < place);
        let last = self.partition(|document| self.documents.get(document).repository <= place);
        first..last
    }

    /// The first document for which `before` does not hold.
    fn partition(&self, before: impl Fn(u32) -> bool) -> u32 {
        let (mut low, mut high) = (0, self.documents.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if before(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Documents at a path of a repository.
    pub(crate) fn documents_at(&self, within: Range<u32>, path: &[u8]) -> Range<u32> {
        let end = within.end;
        let at = |document: u32| document.clamp(within.start, end);
        let first = self.partition(|document| {
            document < within.start || document < end && self.path(document) < path
        });
        let last = self.partition(|document| {
            document < within.start || document < end && self.path(document) <= path
        });
        at(first)..at(last)
    }

    /// Decompresses a unit into `into`, in place of what it held.
    pub(crate) fn read_unit(&self, unit: u32, into: &mut Vec<u8>) -> Result<(), IndexError> {
        let record = self.units.get(unit);
        let start = self.content.start + record.offset as usize;
        let stored = self.segment.file.bytes(start..start + record.stored as usize)?;
        let length = record.length as usize;
        if length > LARGEST_UNIT {
            return Err(self.segment.file.damaged(format!("unit {unit} is larger than a unit")));
        }
        match decompress(stored, length, self.segment.number, self.dictionary, into) {
            true => Ok(()),
            false => Err(self.segment.file.damaged(format!("unit {unit} does not decompress"))),
        }
    }

    /// Lets go of the mapped content of adjacent blobs, for whoever reads a segment through once.
    pub(crate) fn release_blobs(&self, blobs: Range<u32>) {
        let mut units = blobs
            .map(|blob| self.blobs.get(blob))
            .filter(|blob| blob.pieces > 0)
            .map(|blob| self.units.get(self.pieces.get(blob.first_piece).unit));
        let Some(first) = units.next() else { return };
        let last = units.next_back().unwrap_or(first);
        let at = |offset: u64| self.content.start + offset as usize;
        self.segment.file.release(at(first.offset)..at(last.offset + u64::from(last.stored)));
    }

    /// Appends the whole content of a blob.
    pub(crate) fn read_blob(&self, blob: u32, into: &mut Vec<u8>) -> Result<(), IndexError> {
        let mut unit = Vec::new();
        for number in self.blobs.get(blob).piece_range() {
            let piece = self.pieces.get(number);
            self.read_unit(piece.unit, &mut unit)?;
            let range = piece.start as usize..(piece.start + piece.length) as usize;
            let text = unit.get(range).ok_or_else(|| {
                self.segment.file.damaged(format!("piece {number} reaches out of its unit"))
            })?;
            into.extend_from_slice(text);
        }
        Ok(())
    }
}

/// Prior of a document that has nothing to do with a query's terms, by its flags.
fn base_prior(flags: u8) -> u8 {
    let losses =
        [(flag::VENDORED, 4), (flag::GENERATED, 4), (flag::TEST, 3), (flag::DOCUMENTATION, 1)];
    losses.iter().filter(|(bit, _)| flags & bit != 0).fold(12, |prior, (_, loss)| prior - loss)
}

//! The fixed-size records of a segment, and the numbers of its sections.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::postings::ListSections;

/// Section numbers. A number is never given a second meaning.
pub(crate) mod section {
    /// Compressed units.
    pub(crate) const CONTENT: u32 = 1;
    /// [`super::Unit`] records.
    pub(crate) const UNITS: u32 = 2;
    /// [`super::Piece`] records.
    pub(crate) const PIECES: u32 = 3;
    /// [`super::Blob`] records.
    pub(crate) const BLOBS: u32 = 4;
    /// Content ids, `Meta::id_bytes` each, in the order of blobs.
    pub(crate) const BLOB_IDS: u32 = 5;
    /// [`super::Document`] records, ascending by repository, path, content.
    pub(crate) const DOCUMENTS: u32 = 6;
    /// The documents' paths, one after another.
    pub(crate) const PATHS: u32 = 7;
    /// For each blob, where its documents start in `BLOB_DOCUMENTS`, and the end.
    pub(crate) const BLOB_STARTS: u32 = 8;
    /// Documents by blob.
    pub(crate) const BLOB_DOCUMENTS: u32 = 9;
    /// Bitmap of units without lists, candidates of every query.
    pub(crate) const UNLISTED: u32 = 10;
    /// [`super::Meta`] as JSON.
    pub(crate) const META: u32 = 11;
    /// What units are compressed with, beside what they hold; may be missing.
    pub(crate) const DICTIONARY: u32 = 12;
}

/// The lists of content units.
pub(crate) const CONTENT_LISTS: ListSections = ListSections { grams: 20, places: 21, lists: 22 };
/// The lists of blocks of paths.
pub(crate) const PATH_LISTS: ListSections = ListSections { grams: 23, places: 24, lists: 25 };
/// Documents whose paths are one unit of the path lists.
pub(crate) const PATH_BLOCK: u32 = 64;

/// What a segment holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) units: u32,
    pub(crate) pieces: u32,
    pub(crate) blobs: u32,
    pub(crate) documents: u32,
    /// Bytes of a content id.
    pub(crate) id_bytes: u8,
    /// Bytes of content before compression.
    pub(crate) content_bytes: u64,
    /// Version of the foldings that the grams were made with.
    pub(crate) fold_version: u32,
    /// Repositories, ascending: a document names one by its place here.
    pub(crate) repositories: Vec<crate::RepositoryId>,
    /// Languages: a document names one by its place here.
    pub(crate) languages: Vec<String>,
}

/// "No language" in a record.
pub(crate) const NO_LANGUAGE: u16 = u16::MAX;

/// Bits of [`Document::flags`].
pub(crate) mod flag {
    pub(crate) const VENDORED: u8 = 1;
    pub(crate) const GENERATED: u8 = 2;
    pub(crate) const TEST: u8 = 4;
    pub(crate) const DOCUMENTATION: u8 = 8;
}

/// A fixed-size record, low bytes first.
pub(crate) trait Record: Sized {
    /// Bytes of one.
    const BYTES: usize;
    /// Appends it.
    fn write(&self, bytes: &mut Vec<u8>);
    /// Reads it from exactly [`Record::BYTES`] bytes.
    fn read(bytes: &[u8]) -> Self;
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl Record for u32 {
    const BYTES: usize = 4;
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }
    fn read(bytes: &[u8]) -> Self {
        u32_at(bytes, 0)
    }
}

/// One compressed unit of content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Offset in [`section::CONTENT`].
    pub(crate) offset: u64,
    /// Compressed bytes.
    pub(crate) stored: u32,
    /// Bytes before compression.
    pub(crate) length: u32,
    /// Its first piece; the next unit's first piece is behind its last.
    pub(crate) first_piece: u32,
}

impl Record for Unit {
    const BYTES: usize = 20;
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.offset.to_le_bytes());
        [self.stored, self.length, self.first_piece].iter().for_each(|number| number.write(bytes));
    }
    fn read(bytes: &[u8]) -> Self {
        Self {
            offset: u64::from(u32_at(bytes, 0)) | u64::from(u32_at(bytes, 4)) << 32,
            stored: u32_at(bytes, 8),
            length: u32_at(bytes, 12),
            first_piece: u32_at(bytes, 16),
        }
    }
}

/// The part of one blob that lies in one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) blob: u32,
    pub(crate) unit: u32,
    /// Where it starts in the unit.
    pub(crate) start: u32,
    pub(crate) length: u32,
    /// Line ends of the blob before it.
    pub(crate) line: u32,
}

impl Record for Piece {
    const BYTES: usize = 20;
    fn write(&self, bytes: &mut Vec<u8>) {
        [self.blob, self.unit, self.start, self.length, self.line]
            .iter()
            .for_each(|number| number.write(bytes));
    }
    fn read(bytes: &[u8]) -> Self {
        Self {
            blob: u32_at(bytes, 0),
            unit: u32_at(bytes, 4),
            start: u32_at(bytes, 8),
            length: u32_at(bytes, 12),
            line: u32_at(bytes, 16),
        }
    }
}

/// One content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) first_piece: u32,
    pub(crate) pieces: u32,
    /// Bytes, of an omitted one as far as known.
    pub(crate) length: u32,
    /// Number of an [`crate::OmitReason`], or 0.
    pub(crate) omitted: u8,
    /// Whether a line of it was cut between two units, so that a match may span them.
    pub(crate) cut_line: bool,
    /// Language of its first document, which its symbols are read in.
    pub(crate) language: u16,
}

impl Record for Blob {
    const BYTES: usize = 16;
    fn write(&self, bytes: &mut Vec<u8>) {
        [self.first_piece, self.pieces, self.length].iter().for_each(|number| number.write(bytes));
        bytes.push(self.omitted);
        bytes.push(u8::from(self.cut_line));
        bytes.extend_from_slice(&self.language.to_le_bytes());
    }
    fn read(bytes: &[u8]) -> Self {
        Self {
            first_piece: u32_at(bytes, 0),
            pieces: u32_at(bytes, 4),
            length: u32_at(bytes, 8),
            omitted: bytes[12],
            cut_line: bytes[13] != 0,
            language: u16_at(bytes, 14),
        }
    }
}

impl Blob {
    /// Its pieces.
    pub(crate) fn piece_range(&self) -> Range<u32> {
        self.first_piece..self.first_piece + self.pieces
    }
}

/// One content at one path of one repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    /// Place in [`Meta::repositories`].
    pub(crate) repository: u32,
    pub(crate) blob: u32,
    /// Where its path ends in [`section::PATHS`]; the document before ends where it starts.
    pub(crate) path_end: u32,
    /// Place in [`Meta::languages`], or [`NO_LANGUAGE`].
    pub(crate) language: u16,
    /// Bits of [`flag`].
    pub(crate) flags: u8,
    /// What the repository said of it: see [`super::build::attribute_code`].
    pub(crate) attributes: u8,
}

impl Record for Document {
    const BYTES: usize = 16;
    fn write(&self, bytes: &mut Vec<u8>) {
        [self.repository, self.blob, self.path_end].iter().for_each(|number| number.write(bytes));
        bytes.extend_from_slice(&self.language.to_le_bytes());
        bytes.push(self.flags);
        bytes.push(self.attributes);
    }
    fn read(bytes: &[u8]) -> Self {
        Self {
            repository: u32_at(bytes, 0),
            blob: u32_at(bytes, 4),
            path_end: u32_at(bytes, 8),
            language: u16_at(bytes, 12),
            flags: bytes[14],
            attributes: bytes[15],
        }
    }
}

/// Records as bytes.
pub(crate) fn encode<R: Record>(records: &[R]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(records.len() * R::BYTES);
    records.iter().for_each(|record| record.write(&mut bytes));
    bytes
}

/// A section of records.
pub(crate) struct Table<'a, R> {
    bytes: &'a [u8],
    kind: std::marker::PhantomData<R>,
}

impl<R> Clone for Table<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Table<'_, R> {}

impl<'a, R: Record> Table<'a, R> {
    /// Over the bytes of a section.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, kind: std::marker::PhantomData }
    }

    /// Number of records.
    pub(crate) fn len(&self) -> u32 {
        (self.bytes.len() / R::BYTES) as u32
    }

    /// The record at a place.
    ///
    /// # Panics
    /// If there is none: records name each other, and are under the checksums of their pages.
    pub(crate) fn get(&self, at: u32) -> R {
        let start = at as usize * R::BYTES;
        R::read(&self.bytes[start..start + R::BYTES])
    }
}

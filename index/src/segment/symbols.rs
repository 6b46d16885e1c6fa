//! The symbols of a segment's contents, in a file beside it.
//!
//! For each blob the places of its definitions' names, compressed as distances; and a tantivy
//! index of one document a blob, whose terms are the folded names, so that a definition is found
//! without looking at its uses. The tantivy index is built in memory and stored as sections.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stable_deref_trait::StableDeref;
use tantivy::directory::error::{DeleteError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    FileHandle, OwnedBytes, RamDirectory, WatchCallback, WatchHandle, WritePtr,
};
use tantivy::indexer::SingleSegmentIndexWriter;
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::{
    Directory, DocSet, Index, IndexReader, ReloadPolicy, Searcher, TERMINATED, TantivyDocument,
    Term,
};

use super::file::{SectionFile, SectionWriter};
use super::grams::{read_varint, write_varint};
use super::tables::{Table, encode};
use crate::IndexError;
use crate::symbols::SymbolKind;
use crate::trigram::fold_text;

const STARTS: u32 = 1;
const SYMBOLS: u32 = 2;
const FILE_NAMES: u32 = 3;
const FILES: u32 = 4;
/// Memory of one part of the index of names while it is built.
const PART_MEMORY: usize = 48 << 20;
/// A longer name is not found by name, only in its text: no one types it.
const MAX_NAME_BYTES: usize = 256;
/// Names that one look-up of a prefix goes through at most.
const MAX_PREFIX_TERMS: usize = 256;

/// A definition in a stored content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredSymbol {
    /// Byte at which its name starts.
    pub(crate) start: u32,
    /// Bytes of its name.
    pub(crate) length: u32,
    pub(crate) kind: SymbolKind,
    /// Place of the enclosing definition in the blob's list.
    pub(crate) container: Option<u32>,
}

/// Writes symbol files; blobs come in order. The index of names is cut into parts, each built in
/// memory and appended, so that memory does not grow with the segment.
pub(crate) struct SymbolWriter {
    writer: SectionWriter,
    part: Part,
    /// First blob of each part, its files and their lengths.
    files: Vec<(u32, PathBuf, usize)>,
    starts: Vec<u32>,
    symbols: Vec<u8>,
}

/// The names of adjacent blobs.
struct Part {
    names: SingleSegmentIndexWriter,
    field: Field,
    first: u32,
}

fn failed(error: impl fmt::Display) -> IndexError {
    IndexError::Symbols(error.to_string())
}

fn schema() -> (Schema, Field) {
    let mut schema = Schema::builder();
    let indexing = TextFieldIndexing::default()
        .set_tokenizer("raw")
        .set_index_option(IndexRecordOption::Basic)
        .set_fieldnorms(false);
    let field =
        schema.add_text_field("name", TextOptions::default().set_indexing_options(indexing));
    (schema.build(), field)
}

impl Part {
    fn new(first: u32) -> Result<Self, IndexError> {
        let (schema, field) = schema();
        let names = Index::builder()
            .schema(schema)
            .single_segment_index_writer(RamDirectory::create(), PART_MEMORY)
            .map_err(failed)?;
        Ok(Self { names, field, first })
    }

    /// Finishes the index and appends its files.
    fn write(
        self,
        writer: &mut SectionWriter,
        files: &mut Vec<(u32, PathBuf, usize)>,
    ) -> Result<(), IndexError> {
        let index = self.names.finalize().map_err(failed)?;
        let directory = index.directory();
        for name in directory.list_managed_files() {
            // Tantivy's own list of files is for a folder that it may change; ours it may not.
            if !directory.exists(&name).map_err(failed)? {
                continue;
            }
            let bytes = directory.atomic_read(&name).map_err(failed)?;
            writer.append(&bytes)?;
            files.push((self.first, name, bytes.len()));
        }
        Ok(())
    }
}

impl SymbolWriter {
    /// Creates the file, with no blobs yet.
    pub(crate) fn create(path: &Path) -> Result<Self, IndexError> {
        let mut writer = SectionWriter::create(path)?;
        writer.begin(FILES);
        Ok(Self {
            writer,
            part: Part::new(0)?,
            files: Vec::new(),
            starts: vec![0],
            symbols: Vec::new(),
        })
    }

    /// Adds the next blob's symbols, ascending by place, and their distinct folded names.
    pub(crate) fn add(&mut self, encoded: &[u8], names: &[String]) -> Result<(), IndexError> {
        if self.part.names.mem_usage() > PART_MEMORY {
            let next = Part::new(self.starts.len() as u32 - 1)?;
            std::mem::replace(&mut self.part, next).write(&mut self.writer, &mut self.files)?;
        }
        let mut document = TantivyDocument::new();
        for name in names {
            document.add_text(self.part.field, name);
        }
        self.part.names.add_document(document).map_err(failed)?;
        self.symbols.extend_from_slice(encoded);
        let end = u32::try_from(self.symbols.len())
            .map_err(|_| failed("a segment has more than 4 GiB of symbols"))?;
        self.starts.push(end);
        Ok(())
    }

    /// Completes the file and syncs it.
    pub(crate) fn finish(mut self) -> Result<(), IndexError> {
        self.part.write(&mut self.writer, &mut self.files)?;
        let files = serde_json::to_vec(&self.files).map_err(failed)?;
        self.writer.section(FILE_NAMES, &files)?;
        self.writer.section(STARTS, &encode(&self.starts))?;
        self.writer.section(SYMBOLS, &self.symbols)?;
        self.writer.finish().map(drop)
    }
}

/// Encodes a blob's symbols, ascending by place.
pub(crate) fn encode_symbols(symbols: &[StoredSymbol]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(symbols.len() * 5);
    let mut before = 0;
    for (index, symbol) in symbols.iter().enumerate() {
        write_varint(&mut bytes, symbol.start - before);
        write_varint(&mut bytes, symbol.length);
        bytes.push(symbol.kind as u8);
        let container =
            symbol.container.map_or(0, |container| 1 + zigzag(i64::from(container) - index as i64));
        write_varint(&mut bytes, container);
        before = symbol.start;
    }
    bytes
}

fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

pub(crate) fn decode_symbols(mut bytes: &[u8]) -> Vec<StoredSymbol> {
    let mut symbols = Vec::new();
    let mut before = 0u32;
    while !bytes.is_empty() {
        let start = before.saturating_add(read_varint(&mut bytes));
        let length = read_varint(&mut bytes).min(u32::MAX - start);
        let kind = take_byte(&mut bytes).unwrap_or_default();
        let container = match read_varint(&mut bytes) {
            0 => None,
            distance => u32::try_from(symbols.len() as i64 + unzigzag(distance - 1)).ok(),
        };
        before = start;
        // A kind of a later version keeps its place, since containers are named by place.
        let kind = SymbolKind::from_number(kind).unwrap_or(SymbolKind::Variable);
        symbols.push(StoredSymbol { start, length, kind, container });
    }
    symbols
}

/// A small number of either sign as a small number: a container can come before what it contains,
/// or after it (C's `typedef struct { … } name`).
fn zigzag(number: i64) -> u32 {
    (number << 1 ^ number >> 63) as u32
}

fn unzigzag(number: u32) -> i64 {
    i64::from(number >> 1) ^ -i64::from(number & 1)
}

/// The form of a name that is looked up: case does not matter. `None` for what is not indexed.
pub(crate) fn folded_name(name: &[u8]) -> Option<String> {
    let mut folded = Vec::with_capacity(name.len());
    fold_text(name, &mut folded);
    String::from_utf8(folded).ok().filter(|name| !name.is_empty() && name.len() <= MAX_NAME_BYTES)
}

/// An open symbol file.
pub(crate) struct SymbolFile {
    file: Arc<SectionFile>,
    parts: Vec<OpenPart>,
    bytes: u64,
}

struct OpenPart {
    first: u32,
    searcher: Searcher,
    field: Field,
}

impl OpenPart {
    fn open(first: u32, directory: Bundle) -> tantivy::Result<Self> {
        let index = Index::open(directory)?;
        let field = index.schema().get_field("name")?;
        let reader: IndexReader =
            index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        Ok(Self { first, searcher: reader.searcher(), field })
    }
}

impl SymbolFile {
    /// Maps the file.
    pub(crate) fn open(path: &Path) -> Result<Self, IndexError> {
        let file = Arc::new(SectionFile::open(path)?);
        let names: Vec<(u32, PathBuf, usize)> = serde_json::from_slice(file.section(FILE_NAMES)?)
            .map_err(|error| file.damaged(error.to_string()))?;
        let mut at = file.range(FILES).start;
        let mut bundles: BTreeMap<u32, HashMap<PathBuf, Range<usize>>> = BTreeMap::new();
        for (first, name, length) in names {
            bundles.entry(first).or_default().insert(name, at..at + length);
            at += length;
        }
        let open = |(first, files)| {
            let directory = Bundle { file: Arc::clone(&file), files: Arc::new(files) };
            OpenPart::open(first, directory).map_err(|error| file.damaged(error.to_string()))
        };
        let parts = bundles.into_iter().map(open).collect::<Result<_, _>>()?;
        let bytes = std::fs::metadata(path).map_err(IndexError::io("cannot read", path))?.len();
        Ok(Self { file, parts, bytes })
    }

    /// Bytes of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn damaged(&self, error: impl fmt::Display) -> IndexError {
        self.file.damaged(error.to_string())
    }

    /// Encoded symbols of a blob.
    pub(crate) fn encoded(&self, blob: u32) -> Result<&[u8], IndexError> {
        let starts: Table<'_, u32> = Table::new(self.file.section(STARTS)?);
        if blob + 1 >= starts.len() {
            return Err(self.file.damaged(format!("it has no symbols of blob {blob}")));
        }
        let base = self.file.range(SYMBOLS).start;
        self.file.bytes(base + starts.get(blob) as usize..base + starts.get(blob + 1) as usize)
    }

    /// Symbols of a blob, ascending by place.
    pub(crate) fn symbols(&self, blob: u32) -> Result<Vec<StoredSymbol>, IndexError> {
        Ok(decode_symbols(self.encoded(blob)?))
    }

    /// Blobs that define a symbol of this folded name.
    pub(crate) fn defining(&self, name: &str) -> Result<Vec<u32>, IndexError> {
        let mut blobs = Vec::new();
        for part in &self.parts {
            let term = Term::from_field_text(part.field, name);
            for segment in part.searcher.segment_readers() {
                let index =
                    segment.inverted_index(part.field).map_err(|error| self.damaged(error))?;
                let postings = index
                    .read_postings(&term, IndexRecordOption::Basic)
                    .map_err(|error| self.damaged(error))?;
                collect(postings, part.first, &mut blobs);
            }
        }
        Ok(blobs)
    }

    /// Blobs that define a symbol whose folded name starts so and goes on; none where so many names
    /// do that it says little of each.
    pub(crate) fn defining_prefix(&self, prefix: &str) -> Result<Vec<u32>, IndexError> {
        let mut blobs = Vec::new();
        for part in &self.parts {
            for segment in part.searcher.segment_readers() {
                let index =
                    segment.inverted_index(part.field).map_err(|error| self.damaged(error))?;
                let mut terms = index
                    .terms()
                    .range()
                    .gt(prefix.as_bytes())
                    .into_stream()
                    .map_err(|error| self.damaged(error))?;
                let mut names = Vec::new();
                while terms.advance() && terms.key().starts_with(prefix.as_bytes()) {
                    if names.len() == MAX_PREFIX_TERMS {
                        return Ok(Vec::new());
                    }
                    names.push(terms.value().clone());
                }
                for info in names {
                    let postings = index
                        .read_postings_from_terminfo(&info, IndexRecordOption::Basic)
                        .map_err(|error| self.damaged(error))?;
                    collect(Some(postings), part.first, &mut blobs);
                }
            }
        }
        blobs.sort_unstable();
        blobs.dedup();
        Ok(blobs)
    }
}

fn collect(postings: Option<impl DocSet>, first: u32, blobs: &mut Vec<u32>) {
    let Some(mut postings) = postings else { return };
    let mut blob = postings.doc();
    while blob != TERMINATED {
        blobs.push(first + blob);
        blob = postings.advance();
    }
}

/// A read-only tantivy directory over the sections of a file.
#[derive(Clone)]
struct Bundle {
    file: Arc<SectionFile>,
    files: Arc<HashMap<PathBuf, Range<usize>>>,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bundle").field(&self.file.path()).finish()
    }
}

/// Bytes of a mapped file, which stays mapped as long as they are used.
struct Mapped {
    file: Arc<SectionFile>,
    range: Range<usize>,
}

impl Deref for Mapped {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.file.mapped(self.range.clone())
    }
}

// SAFETY: the bytes are of a memory map that is never moved or unmapped while `file` is held.
unsafe impl StableDeref for Mapped {}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapped").field("range", &self.range).finish()
    }
}

impl FileHandle for Mapped {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        let range = self.range.start + range.start..self.range.start + range.end;
        // Verifies the pages; tantivy reads through the map afterwards.
        self.file.bytes(range.clone()).map_err(io::Error::other)?;
        Ok(OwnedBytes::new(Self { file: Arc::clone(&self.file), range }))
    }
}

impl Bundle {
    fn find(&self, path: &Path) -> Result<Mapped, OpenReadError> {
        match self.files.get(path) {
            Some(range) => Ok(Mapped { file: Arc::clone(&self.file), range: range.clone() }),
            None => Err(OpenReadError::FileDoesNotExist(path.to_owned())),
        }
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "a segment's files never change")
}

impl Directory for Bundle {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        Ok(Arc::new(self.find(path)?))
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        Err(DeleteError::IoError { io_error: Arc::new(read_only()), filepath: path.to_owned() })
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(self.files.contains_key(path))
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        Err(OpenWriteError::wrap_io_error(read_only(), path.to_owned()))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        let mapped = self.find(path)?;
        let bytes = self.file.bytes(mapped.range).map_err(|error| {
            OpenReadError::wrap_io_error(io::Error::other(error), path.to_owned())
        })?;
        Ok(bytes.to_vec())
    }

    fn atomic_write(&self, path: &Path, _: &[u8]) -> io::Result<()> {
        // Tantivy notes the files that it manages when it opens an index; there is nothing to note.
        if path == Path::new(".managed.json") { Ok(()) } else { Err(read_only()) }
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn acquire_lock(
        &self,
        _: &tantivy::directory::Lock,
    ) -> Result<tantivy::directory::DirectoryLock, tantivy::directory::error::LockError> {
        // Locks keep tantivy's writers apart; there is none.
        Ok(tantivy::directory::DirectoryLock::from(Box::new(())))
    }

    fn watch(&self, _: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_come_back_whichever_way_their_containers_are() {
        let symbol = |start, container| StoredSymbol {
            start,
            length: 3,
            kind: SymbolKind::Field,
            container,
        };
        let symbols =
            [symbol(0, Some(2)), symbol(9, None), symbol(9, Some(0)), symbol(400, Some(2))];
        assert_eq!(decode_symbols(&encode_symbols(&symbols)), symbols);
        for number in [0, 1, -1, 5, -70_000] {
            assert_eq!(unzigzag(zigzag(number)), number);
        }
    }
}

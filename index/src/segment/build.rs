//! Building segments: contents are read, classified, cut and compressed by several threads, each
//! into a block of its own; full blocks are appended to the segment in the making.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::block::{Block, BlockOutput};
use super::classify::classify;
use super::compression::train;
use super::file::discard;
use super::tables::{NO_LANGUAGE, flag};
use super::write::{Described, OpenSegment};
use crate::IndexError;
use crate::document::{
    ContentId, ContentReader, ContentSource, FileEntry, FileKind, OmitReason, ReadError,
    RepositoryId,
};
use crate::languages::{self, Language};
use crate::options::{ProgressSink, ShardOptions, yield_to_searches};

/// Contents that a thread takes at a time, near each other in the source.
const BATCH: usize = 128;
/// Contents that a dictionary is trained on, at most; fewer have none.
const SAMPLED_CONTENTS: usize = 2048;
/// Bytes of the largest of them: of a larger one, too much would be read for too little.
const SAMPLED_LARGEST: u64 = 1 << 20;
/// Bytes that are taken of each.
const SAMPLE_BYTES: usize = 4 << 10;

/// A document to put into a segment.
pub(crate) struct NewDocument {
    pub(crate) repository: RepositoryId,
    pub(crate) entry: FileEntry,
    /// What an earlier segment knew of it: then nothing is detected again.
    pub(crate) known: Option<Known>,
}

/// What a segment knows of a document beside its content.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) language: Option<Language>,
    pub(crate) flags: u8,
    pub(crate) attributes: u8,
    pub(crate) omitted: Option<(OmitReason, u32)>,
}

/// A segment that was written and synced.
pub(crate) struct Built {
    pub(crate) id: u64,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) content_bytes: u64,
    pub(crate) omitted: u64,
    pub(crate) contents: u64,
    /// For each document of the segment, its place in the input.
    pub(crate) order: Vec<u32>,
}

/// Builds segments of documents.
pub(crate) struct Builder<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) options: &'a ShardOptions,
    pub(crate) source: &'a dyn ContentSource,
    pub(crate) progress: &'a dyn ProgressSink,
    /// For errors: whose contents these are.
    pub(crate) repository: &'a str,
    /// Number of the next segment.
    pub(crate) next_id: &'a AtomicU64,
}

/// One content and the documents that have it.
struct Content {
    id: ContentId,
    documents: std::ops::Range<usize>,
}

struct Shared<'a> {
    documents: &'a [NewDocument],
    contents: &'a [Content],
    /// Documents by content.
    by_content: &'a [u32],
    /// Contents in the order of reading.
    order: &'a [u32],
    dictionary: &'a [u8],
    next: AtomicUsize,
    contents_done: AtomicU64,
    bytes_done: AtomicU64,
    stop: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Option<OpenSegment>,
    built: Vec<Built>,
    error: Option<IndexError>,
}

impl Builder<'_> {
    /// Writes the documents into as many segments as they need.
    pub(crate) fn build(&self, documents: &[NewDocument]) -> Result<Vec<Built>, IndexError> {
        if documents.is_empty() {
            return Ok(Vec::new());
        }
        let (contents, by_content) = group(documents);
        let mut order: Vec<u32> = (0..contents.len() as u32).collect();
        order.sort_by_cached_key(|content| {
            let content = &contents[*content as usize];
            (self.source.locality(&content.id), content.id)
        });
        let dictionary = self.dictionary(documents, &contents, &by_content, &order)?;
        let shared = Shared {
            documents,
            contents: &contents,
            by_content: &by_content,
            order: &order,
            dictionary: &dictionary,
            next: AtomicUsize::new(0),
            contents_done: AtomicU64::new(0),
            bytes_done: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            state: Mutex::default(),
        };
        let threads = self.options.threads.clamp(1, contents.len().div_ceil(BATCH));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    if let Err(error) = self.work(&shared) {
                        shared.stop.store(true, Ordering::Relaxed);
                        lock(&shared.state).error.get_or_insert(error);
                    }
                });
            }
        });
        let mut state = std::mem::take(&mut *lock(&shared.state));
        let last = match (state.error, state.open) {
            (Some(error), _) => Err(error),
            (None, Some(open)) => self.finish(&shared, open).map(|built| state.built.push(built)),
            (None, None) => Ok(()),
        };
        if last.is_err() {
            state.built.iter().for_each(|built| discard(&built.path));
        }
        last.map(|()| state.built)
    }

    /// What the contents share: trained on pieces of some of them. Few contents have none, since an
    /// update of a few files is not to wait for it; the merge that they go into makes one.
    fn dictionary(
        &self,
        documents: &[NewDocument],
        contents: &[Content],
        by_content: &[u32],
        order: &[u32],
    ) -> Result<Vec<u8>, IndexError> {
        if order.len() < SAMPLED_CONTENTS {
            return Ok(Vec::new());
        }
        let mut reader = self.source.reader().map_err(|error| self.failed(error))?;
        let (mut samples, mut lengths, mut buffer) = (Vec::new(), Vec::new(), Vec::new());
        for number in order.iter().step_by(order.len().div_ceil(SAMPLED_CONTENTS)) {
            let content = &contents[*number as usize];
            let document = &documents[by_content[content.documents.start] as usize];
            if document.entry.kind != FileKind::File {
                continue;
            }
            match reader.read(&content.id, SAMPLED_LARGEST, &mut buffer) {
                Ok(()) if classify(&mut buffer).is_none() => {}
                Err(error @ ReadError::Failed(_)) => return Err(self.failed(error)),
                _ => continue,
            }
            // Beginnings are much alike: every other piece is of a middle.
            let rest = buffer.len().saturating_sub(SAMPLE_BYTES);
            let start = if lengths.len() % 2 == 0 { 0 } else { rest / 2 };
            let piece = &buffer[start..buffer.len().min(start + SAMPLE_BYTES)];
            samples.extend_from_slice(piece);
            lengths.push(piece.len());
            if self.progress.cancelled() {
                return Err(IndexError::Cancelled);
            }
        }
        Ok(train(&samples, &lengths))
    }

    fn work(&self, shared: &Shared) -> Result<(), IndexError> {
        yield_to_searches(self.options.nice);
        let mut reader = self.source.reader().map_err(|error| self.failed(error))?;
        let mut block = Block::new(shared.dictionary)?;
        let mut described = Described::default();
        let mut buffer = Vec::new();
        loop {
            let start = shared.next.fetch_add(BATCH, Ordering::Relaxed);
            let end = shared.order.len().min(start.saturating_add(BATCH));
            if start >= end {
                break;
            }
            for content in &shared.order[start..end] {
                if shared.stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let bytes = self.add(
                    shared,
                    *content,
                    &mut *reader,
                    &mut buffer,
                    &mut block,
                    &mut described,
                )?;
                shared.bytes_done.fetch_add(bytes, Ordering::Relaxed);
                if block.is_full() {
                    self.flush(shared, block.take()?, std::mem::take(&mut described))?;
                }
            }
            let done = (end - start) as u64;
            let done = shared.contents_done.fetch_add(done, Ordering::Relaxed) + done;
            let bytes = shared.bytes_done.load(Ordering::Relaxed);
            self.progress.progress(done, shared.order.len() as u64, bytes);
            if self.progress.cancelled() {
                return Err(IndexError::Cancelled);
            }
        }
        if described.is_empty() {
            return Ok(());
        }
        self.flush(shared, block.take()?, described)
    }

    fn failed(&self, source: ReadError) -> IndexError {
        IndexError::Source { repository: self.repository.to_owned(), source }
    }

    /// Adds one content to the block, and what there is to say of its documents to `described`.
    fn add(
        &self,
        shared: &Shared,
        number: u32,
        reader: &mut dyn ContentReader,
        buffer: &mut Vec<u8>,
        block: &mut Block,
        described: &mut Described,
    ) -> Result<u64, IndexError> {
        let content = &shared.contents[number as usize];
        let documents = &shared.by_content[content.documents.clone()];
        let first = &shared.documents[documents[0] as usize];
        let omitted = self.read(content, first, reader, buffer)?;
        let text: &[u8] = if omitted.is_some() { &[] } else { buffer };
        let mut blob_language = NO_LANGUAGE;
        for (index, number) in documents.iter().enumerate() {
            let known = describe(&shared.documents[*number as usize], text);
            let language = described.language(known.language);
            if index == 0 {
                blob_language = language;
            }
            described.documents.push((*number, language, known.flags, known.attributes));
        }
        described.ids.push(content.id);
        described.document_counts.push(documents.len() as u32);
        match omitted {
            Some((reason, length)) => {
                block.add_omitted(reason, length);
                Ok(0)
            }
            None => {
                block.add(text, blob_language)?;
                Ok(text.len() as u64)
            }
        }
    }

    /// Reads a content into `buffer`, or says why it is left out.
    fn read(
        &self,
        content: &Content,
        document: &NewDocument,
        reader: &mut dyn ContentReader,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<(OmitReason, u64)>, IndexError> {
        buffer.clear();
        match document.entry.kind {
            FileKind::Symlink => return Ok(Some((OmitReason::Symlink, 0))),
            FileKind::Submodule => return Ok(Some((OmitReason::Submodule, 0))),
            FileKind::File => {}
        }
        if let Some(Known { omitted: Some((reason, length)), .. }) = document.known {
            return Ok(Some((reason, u64::from(length))));
        }
        // Offsets in a document are 32 bits.
        let limit = self.options.max_file_bytes.min(u64::from(u32::MAX) / 2);
        match reader.read(&content.id, limit, buffer) {
            Ok(()) if document.known.is_some() => Ok(None),
            Ok(()) => {
                let length = buffer.len() as u64;
                Ok(classify(buffer).map(|reason| (reason, length)))
            }
            Err(ReadError::Missing) => Ok(Some((OmitReason::Missing, 0))),
            Err(ReadError::Corrupt(_)) => Ok(Some((OmitReason::Corrupt, 0))),
            Err(ReadError::TooLarge(length)) => Ok(Some((OmitReason::TooLarge, length))),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn flush(
        &self,
        shared: &Shared,
        output: BlockOutput,
        described: Described,
    ) -> Result<(), IndexError> {
        let full = {
            let mut state = lock(&shared.state);
            let mut open = match state.open.take() {
                Some(open) => open,
                None => {
                    let id = self.next_id.fetch_add(1, Ordering::Relaxed);
                    OpenSegment::create(self.folder, id, shared.dictionary)?
                }
            };
            open.append(output, described)?;
            if open.units() < self.options.max_segment_units {
                state.open = Some(open);
                return Ok(());
            }
            open
        };
        let built = self.finish(shared, full)?;
        lock(&shared.state).built.push(built);
        Ok(())
    }

    fn finish(&self, shared: &Shared, open: OpenSegment) -> Result<Built, IndexError> {
        open.finish(shared.documents, self.options.threads)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Documents by content, each content's by repository and path.
fn group(documents: &[NewDocument]) -> (Vec<Content>, Vec<u32>) {
    let mut of: HashMap<(ContentId, bool, bool), Vec<u32>> = HashMap::new();
    for (number, document) in documents.iter().enumerate() {
        let kind = document.entry.kind;
        let key = (document.entry.content, kind == FileKind::Symlink, kind == FileKind::Submodule);
        of.entry(key).or_default().push(number as u32);
    }
    let mut by_content = Vec::with_capacity(documents.len());
    let mut contents = Vec::with_capacity(of.len());
    for ((id, ..), mut numbers) in of {
        numbers.sort_by_key(|number| {
            let document = &documents[*number as usize];
            // What one segment could not read, another may have.
            let omitted = document.known.is_some_and(|known| known.omitted.is_some());
            (omitted, document.repository, &document.entry.path)
        });
        let start = by_content.len();
        by_content.extend(numbers);
        contents.push(Content { id, documents: start..by_content.len() });
    }
    (contents, by_content)
}

/// What the repository said of a path, but for the language that it named: with that, a change of
/// it is seen. 0 for a file of which it said nothing.
pub(crate) fn attribute_code(entry: &FileEntry) -> u8 {
    let attributes = &entry.attributes;
    let digit = |value: Option<bool>| value.map_or(0u8, |value| 1 + u8::from(value));
    let digits = [
        digit(attributes.vendored),
        digit(attributes.generated),
        digit(attributes.documentation),
        entry.kind as u8,
    ];
    let named = u8::from(attributes.language.is_some());
    digits.iter().fold(named, |code, digit| code * 3 + digit)
}

fn describe(document: &NewDocument, text: &[u8]) -> Known {
    if let Some(known) = document.known {
        return known;
    }
    let path = &document.entry.path;
    let attributes = &document.entry.attributes;
    let language = attributes.language.or_else(|| languages::detect(path, text));
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let flags =
        bit(attributes.vendored.unwrap_or_else(|| languages::is_vendored(path)), flag::VENDORED)
            | bit(
                attributes.generated.unwrap_or_else(|| languages::is_generated(path, text)),
                flag::GENERATED,
            )
            | bit(languages::is_test(path), flag::TEST)
            | bit(
                attributes.documentation.unwrap_or_else(|| languages::is_documentation(path)),
                flag::DOCUMENTATION,
            );
    Known { language, flags, attributes: attribute_code(&document.entry), omitted: None }
}

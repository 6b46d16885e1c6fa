//! A segment in the making: blocks are appended to it, and then its tables are written.

use std::path::{Path, PathBuf};

use super::block::BlockOutput;
use super::build::{Built, NewDocument};
use super::file::SectionWriter;
use super::grams::{Collector, RUN_UNITS};
use super::postings::{Lists, RunFile, little_endian};
use super::tables::{
    Blob, CONTENT_LISTS, Document, Meta, NO_LANGUAGE, PATH_BLOCK, PATH_LISTS, Piece, Unit, encode,
    section,
};
use crate::IndexError;
use crate::document::ContentId;
use crate::languages::Language;
use crate::trigram::FOLD_VERSION;

/// What a block's contents are, beside their bytes; languages are numbered within it.
#[derive(Default)]
pub(crate) struct Described {
    /// Ids of the block's blobs, in order.
    pub(crate) ids: Vec<ContentId>,
    /// Place in the input, language, flags, attributes; the documents of one blob are adjacent.
    pub(crate) documents: Vec<(u32, u16, u8, u8)>,
    /// Documents of each blob.
    pub(crate) document_counts: Vec<u32>,
    languages: Vec<Language>,
}

impl Described {
    /// Number of a language within this block.
    pub(crate) fn language(&mut self, language: Option<Language>) -> u16 {
        language.map_or(NO_LANGUAGE, |language| number_of(&mut self.languages, language))
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

fn number_of(languages: &mut Vec<Language>, language: Language) -> u16 {
    let found = languages.iter().position(|known| *known == language);
    found.unwrap_or_else(|| {
        languages.push(language);
        languages.len() - 1
    }) as u16
}

/// A segment that blocks are appended to.
pub(crate) struct OpenSegment {
    id: u64,
    path: PathBuf,
    writer: SectionWriter,
    runs: RunFile,
    units: Vec<Unit>,
    pieces: Vec<Piece>,
    blobs: Vec<Blob>,
    ids: Vec<ContentId>,
    /// Place in the input and what is known of it; `blob` is set, `repository` and `path_end` not.
    documents: Vec<(u32, Document)>,
    unlisted: Vec<u32>,
    languages: Vec<Language>,
    content_bytes: u64,
}

impl OpenSegment {
    /// Creates the file of segment `id` in the folder.
    pub(crate) fn create(folder: &Path, id: u64, dictionary: &[u8]) -> Result<Self, IndexError> {
        let path = folder.join(format!("{id:010}.segment"));
        let mut writer = SectionWriter::create(&path)?;
        writer.section(section::DICTIONARY, dictionary)?;
        writer.begin(section::CONTENT);
        Ok(Self {
            id,
            path,
            writer,
            runs: RunFile::create(folder)?,
            units: Vec::new(),
            pieces: Vec::new(),
            blobs: Vec::new(),
            ids: Vec::new(),
            documents: Vec::new(),
            unlisted: Vec::new(),
            languages: Vec::new(),
            content_bytes: 0,
        })
    }

    /// Units so far.
    pub(crate) fn units(&self) -> u32 {
        self.units.len() as u32
    }

    /// Appends a block, renumbering what it names.
    pub(crate) fn append(
        &mut self,
        block: BlockOutput,
        described: Described,
    ) -> Result<(), IndexError> {
        let offset = self.writer.section_length();
        self.writer.append(&block.content)?;
        let (unit, piece, blob) =
            (self.units.len() as u32, self.pieces.len() as u32, self.blobs.len() as u32);
        for (base, run) in &block.runs {
            self.runs.push(run, unit + base)?;
        }
        self.unlisted.extend(block.unlisted.iter().map(|number| number + unit));
        self.units.extend(block.units.into_iter().map(|record| Unit {
            offset: record.offset + offset,
            first_piece: record.first_piece + piece,
            ..record
        }));
        self.pieces.extend(block.pieces.into_iter().map(|record| Piece {
            blob: record.blob + blob,
            unit: record.unit + unit,
            ..record
        }));
        let map: Vec<u16> = described
            .languages
            .iter()
            .map(|language| number_of(&mut self.languages, *language))
            .collect();
        let language = |number: u16| map.get(usize::from(number)).copied().unwrap_or(NO_LANGUAGE);
        self.blobs.extend(block.blobs.into_iter().map(|record| Blob {
            first_piece: record.first_piece + piece,
            language: language(record.language),
            ..record
        }));
        let counts = described.document_counts;
        let mut documents = described.documents.into_iter();
        for (index, count) in counts.into_iter().enumerate() {
            for (number, spoken, flags, attributes) in documents.by_ref().take(count as usize) {
                self.documents.push((
                    number,
                    Document {
                        repository: 0,
                        blob: blob + index as u32,
                        path_end: 0,
                        language: language(spoken),
                        flags,
                        attributes,
                    },
                ));
            }
        }
        self.ids.extend(described.ids);
        self.content_bytes += block.content_bytes;
        Ok(())
    }

    /// Writes the tables and lists, and syncs the file.
    pub(crate) fn finish(
        mut self,
        input: &[NewDocument],
        threads: usize,
    ) -> Result<Built, IndexError> {
        let units = self.units();
        self.runs.merge(units, threads)?.write(&mut self.writer, CONTENT_LISTS)?;
        let languages = &self.languages;
        self.documents.sort_by(|a, b| {
            let key = |(number, record): &(u32, Document)| {
                let NewDocument { repository, entry, .. } = &input[*number as usize];
                let language = languages.get(usize::from(record.language));
                (*repository, entry.path.as_slice(), entry.content, record.attributes, language)
            };
            key(a).cmp(&key(b))
        });
        let mut meta = Meta {
            units,
            pieces: self.pieces.len() as u32,
            blobs: self.blobs.len() as u32,
            documents: self.documents.len() as u32,
            id_bytes: self.ids.iter().map(|id| id.as_bytes().len() as u8).max().unwrap_or(20),
            content_bytes: self.content_bytes,
            fold_version: FOLD_VERSION,
            repositories: Vec::new(),
            languages: self.languages.iter().map(|language| language.name().to_owned()).collect(),
        };
        self.write_documents(input, &mut meta)?;
        self.writer.section(section::UNITS, &encode(&self.units))?;
        self.writer.section(section::PIECES, &encode(&self.pieces))?;
        self.writer.section(section::BLOBS, &encode(&self.blobs))?;
        let mut ids = Vec::with_capacity(self.ids.len() * usize::from(meta.id_bytes));
        for id in &self.ids {
            ids.extend_from_slice(id.as_bytes());
            ids.resize(ids.len() + usize::from(meta.id_bytes) - id.as_bytes().len(), 0);
        }
        self.writer.section(section::BLOB_IDS, &ids)?;
        self.writer.section(section::UNLISTED, &little_endian(&self.unlisted))?;
        let text = serde_json::to_vec(&meta).map_err(|error| IndexError::Io {
            action: "cannot encode",
            path: self.path.clone(),
            source: error.into(),
        })?;
        self.writer.section(section::META, &text)?;
        let omitted = self.blobs.iter().filter(|blob| blob.omitted != 0).count() as u64;
        Ok(Built {
            id: self.id,
            bytes: self.writer.finish()?,
            path: self.path,
            content_bytes: self.content_bytes,
            omitted,
            contents: u64::from(meta.blobs),
            order: self.documents.iter().map(|(number, _)| *number).collect(),
        })
    }

    /// Documents, their paths, the lists of the paths' grams, and which documents a blob has.
    fn write_documents(
        &mut self,
        input: &[NewDocument],
        meta: &mut Meta,
    ) -> Result<(), IndexError> {
        let mut paths = Vec::new();
        let mut records = Vec::with_capacity(self.documents.len());
        let mut collector = Collector::new();
        let mut runs = RunFile::create(self.path.parent().unwrap_or(Path::new(".")))?;
        let mut blocks = 0;
        for (index, (number, record)) in self.documents.iter().enumerate() {
            let document = &input[*number as usize];
            if meta.repositories.last() != Some(&document.repository) {
                meta.repositories.push(document.repository);
            }
            paths.extend_from_slice(&document.entry.path);
            records.push(Document {
                repository: meta.repositories.len() as u32 - 1,
                path_end: paths.len() as u32,
                ..*record
            });
            collector.add(&document.entry.path);
            let last = index + 1 == self.documents.len();
            if ((index + 1) as u32).is_multiple_of(PATH_BLOCK) || last {
                collector.end_unit(true);
                blocks += 1;
                if collector.units() == RUN_UNITS || last {
                    let base = blocks - collector.units();
                    runs.push(&collector.take_run(), base)?;
                }
            }
        }
        let lists: Lists = runs.merge(blocks, 1)?;
        lists.write(&mut self.writer, PATH_LISTS)?;
        self.writer.section(section::DOCUMENTS, &encode(&records))?;
        self.writer.section(section::PATHS, &paths)?;
        let mut by_blob: Vec<u32> = (0..records.len() as u32).collect();
        by_blob.sort_by_key(|document| (records[*document as usize].blob, *document));
        let mut starts = vec![0u32; self.blobs.len() + 1];
        for record in &records {
            starts[record.blob as usize + 1] += 1;
        }
        for blob in 0..self.blobs.len() {
            starts[blob + 1] += starts[blob];
        }
        self.writer.section(section::BLOB_STARTS, &little_endian(&starts))?;
        self.writer.section(section::BLOB_DOCUMENTS, &little_endian(&by_blob))
    }
}

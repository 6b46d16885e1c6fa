//! Cutting contents into units and compressing them.
//!
//! A unit is 16 KiB at most, cut at line ends, and compressed alone, so that a match needs no more
//! than the units that it touches. Small contents share a unit. A line longer than a unit is cut
//! between two characters and its blob marked, since then a match may span units.

use super::compression::Compressor;
use super::grams::{Collector, RUN_UNITS, Run, SEAM};
use super::tables::{Blob, NO_LANGUAGE, Piece, Unit};
use crate::IndexError;
use crate::document::OmitReason;

/// Bytes of a unit before compression, at most. `docs/decisions/` has the measurements.
pub(crate) const UNIT_BYTES: usize = 16 << 10;
/// Units after which a block is taken: what bounds the memory of a thread.
const BLOCK_UNITS: usize = RUN_UNITS as usize;
/// A unit with more distinct grams is random data: it gets no lists and is scanned by each query.
const MAX_LISTED_GRAMS: usize = 8 << 10;

/// Units of content on their way into a segment; their numbers start at 0.
pub(crate) struct Block<'a> {
    collector: Collector,
    open: Vec<u8>,
    open_first_piece: u32,
    compressor: Compressor<'a>,
    done: BlockOutput,
}

/// What a block holds when it is full.
#[derive(Default)]
pub(crate) struct BlockOutput {
    pub(crate) content: Vec<u8>,
    pub(crate) units: Vec<Unit>,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) blobs: Vec<Blob>,
    /// Units without lists.
    pub(crate) unlisted: Vec<u32>,
    /// Runs with the first unit of each.
    pub(crate) runs: Vec<(u32, Run)>,
    /// Bytes before compression.
    pub(crate) content_bytes: u64,
}

impl<'a> Block<'a> {
    /// An empty block whose units are compressed with a dictionary, which may be empty.
    pub(crate) fn new(dictionary: &'a [u8]) -> Result<Self, IndexError> {
        Ok(Self {
            collector: Collector::new(),
            open: Vec::with_capacity(UNIT_BYTES),
            open_first_piece: 0,
            compressor: Compressor::new(dictionary)?,
            done: BlockOutput::default(),
        })
    }

    /// Adds a content as the next blob.
    pub(crate) fn add(&mut self, content: &[u8], language: u16) -> Result<(), IndexError> {
        let mut blob = Blob {
            first_piece: self.done.pieces.len() as u32,
            pieces: 0,
            length: content.len() as u32,
            omitted: 0,
            cut_line: false,
            language,
        };
        if content.len() > UNIT_BYTES - self.open.len() {
            self.close_unit()?;
        }
        let (mut at, mut line) = (0, 0);
        while at < content.len() {
            let (end, cut_line) = piece_end(content, at);
            if at > 0 {
                self.close_unit()?;
                self.seam(&content[..end], at);
            }
            self.add_piece(&content[at..end], line);
            line += memchr::memchr_iter(b'\n', &content[at..end]).count() as u32;
            blob.cut_line |= cut_line;
            blob.pieces += 1;
            at = end;
        }
        self.done.blobs.push(blob);
        self.done.content_bytes += content.len() as u64;
        Ok(())
    }

    /// Adds a blob whose content is left out.
    pub(crate) fn add_omitted(&mut self, reason: OmitReason, length: u64) {
        self.done.blobs.push(Blob {
            first_piece: self.done.pieces.len() as u32,
            pieces: 0,
            length: u32::try_from(length).unwrap_or(u32::MAX),
            omitted: reason as u8,
            cut_line: false,
            language: NO_LANGUAGE,
        });
    }

    /// Whether it should be taken before more is added.
    pub(crate) fn is_full(&self) -> bool {
        self.done.units.len() >= BLOCK_UNITS
    }

    /// What was added, and the block is empty again.
    pub(crate) fn take(&mut self) -> Result<BlockOutput, IndexError> {
        self.close_unit()?;
        self.end_run();
        self.open_first_piece = 0;
        Ok(std::mem::take(&mut self.done))
    }

    fn end_run(&mut self) {
        let units = self.collector.units();
        if units > 0 {
            let base = self.done.units.len() as u32 - units;
            self.done.runs.push((base, self.collector.take_run()));
        }
    }

    fn add_piece(&mut self, text: &[u8], line: u32) {
        self.done.pieces.push(Piece {
            blob: self.done.blobs.len() as u32,
            unit: self.done.units.len() as u32,
            start: self.open.len() as u32,
            length: text.len() as u32,
            line,
        });
        self.open.extend_from_slice(text);
        self.collector.add(text);
    }

    /// Grams across the cut before `at`, so that a match that spans it has all of its grams.
    fn seam(&mut self, content: &[u8], at: usize) {
        self.collector.add(&content[at.saturating_sub(SEAM)..content.len().min(at + SEAM)]);
    }

    fn close_unit(&mut self) -> Result<(), IndexError> {
        if self.open.is_empty() {
            return Ok(());
        }
        let listed = self.collector.distinct() <= MAX_LISTED_GRAMS;
        if !listed {
            self.done.unlisted.push(self.done.units.len() as u32);
        }
        self.collector.end_unit(listed);
        let offset = self.done.content.len() as u64;
        let stored = self.compressor.compress(&self.open)?;
        self.done.content.extend_from_slice(stored);
        self.done.units.push(Unit {
            offset,
            stored: stored.len() as u32,
            length: self.open.len() as u32,
            first_piece: self.open_first_piece,
        });
        self.open.clear();
        self.open_first_piece = self.done.pieces.len() as u32;
        if self.collector.units() == RUN_UNITS {
            self.end_run();
        }
        Ok(())
    }
}

/// Where the piece that starts at `at` ends, and whether that is within a line.
fn piece_end(content: &[u8], at: usize) -> (usize, bool) {
    if content.len() - at <= UNIT_BYTES {
        return (content.len(), false);
    }
    let most = at + UNIT_BYTES;
    if let Some(line_end) = memchr::memrchr(b'\n', &content[at..most]) {
        return (at + line_end + 1, false);
    }
    let is_continuation = |end: &usize| content[*end] & 0xc0 == 0x80;
    let boundary = (most - 3..=most).rev().find(|end| !is_continuation(end));
    (boundary.unwrap_or(most), true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::compression::decompress;
    use super::*;

    /// Every blob put together again from its pieces.
    fn contents(output: &BlockOutput) -> Vec<Vec<u8>> {
        let mut contents = vec![Vec::new(); output.blobs.len()];
        for piece in &output.pieces {
            let unit = output.units[piece.unit as usize];
            let stored = &output.content[unit.offset as usize..][..unit.stored as usize];
            let mut text = Vec::new();
            assert!(decompress(stored, unit.length as usize, 0, &[], &mut text));
            let so_far = &mut contents[piece.blob as usize];
            assert_eq!(memchr::memchr_iter(b'\n', so_far).count() as u32, piece.line);
            so_far.extend_from_slice(&text[piece.start as usize..][..piece.length as usize]);
        }
        contents
    }

    #[test]
    fn contents_come_back_whatever_their_size() {
        let lines: Vec<u8> = (0..40_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let one_line = "é".repeat(100_000).into_bytes();
        let noise: Vec<u8> = (0..50_000u32)
            .flat_map(|n| (xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes()) as u32).to_le_bytes())
            .collect();
        let all =
            [b"".to_vec(), b"a".to_vec(), lines, b"\n".to_vec(), one_line, noise, b"end".to_vec()];
        let mut block = Block::new(&[]).unwrap();
        for content in &all {
            block.add(content, 0).unwrap();
        }
        let output = block.take().unwrap();
        assert_eq!(contents(&output), all);
        assert!(output.units.iter().all(|unit| unit.length as usize <= UNIT_BYTES));
        let cut: Vec<bool> = output.blobs.iter().map(|blob| blob.cut_line).collect();
        assert_eq!(&cut[..5], [false, false, false, false, true]);
        assert!(!output.unlisted.is_empty(), "noise gets no lists");
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let mut block = Block::new(&[]).unwrap();
        block.add("añ€😀".repeat(30_000).as_bytes(), 0).unwrap();
        let output = block.take().unwrap();
        let stored = &output.content[..output.units[0].stored as usize];
        let mut text = Vec::new();
        assert!(decompress(stored, output.units[0].length as usize, 0, &[], &mut text));
        assert!(std::str::from_utf8(&text).is_ok());
    }
}

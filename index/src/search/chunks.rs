//! The lines around matches, as they are returned.

use std::ops::Range;

use super::rank::symbol_at;
use super::response::{Chunk, MatchRange, Position, SearchRequest, SymbolHit};
use super::verify::{Hit, Interrupted, Verified, Verifier};
use crate::segment::symbols::StoredSymbol;
use crate::segment::tables::Blob;

/// How chunks are cut.
#[derive(Clone, Copy)]
pub(crate) struct ChunkOptions {
    pub(crate) context_lines: usize,
    pub(crate) line_bytes: usize,
    /// Whether a long line has a chunk for each of its parts with matches, not the first alone.
    pub(crate) every_hit: bool,
}

/// Longest lines that a chunk may have room for.
const CHUNK_LINES: usize = 64;

impl ChunkOptions {
    /// What a request asks for.
    pub(crate) fn of(request: &SearchRequest, every_hit: bool) -> Self {
        Self {
            context_lines: request.context_lines,
            line_bytes: request.limits.line_bytes,
            every_hit,
        }
    }

    /// Bytes about a match that its lines and their context can need: what is cut off is of a line
    /// that is too long to be returned.
    fn margin(&self, blob: &Blob) -> u32 {
        if self.context_lines == 0 && !blob.cut_line {
            return 0;
        }
        let bytes = (self.context_lines + 1).saturating_mul(self.line_bytes + 1);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// Adjacent pieces of a content that matches lie in.
struct Stretch {
    text: Vec<u8>,
    /// Offset of `text` in the content, and the number of its first line.
    offset: u32,
    line: u32,
    /// Characters of its first line that are before `text`: a line may have been cut.
    column: u32,
}

/// How far into its line a place of a content is.
#[derive(Clone, Copy, Default)]
struct Column {
    offset: u32,
    column: u32,
}

impl Column {
    /// Goes on over the text that follows.
    fn pass(&mut self, text: &[u8]) {
        let line = line_start(text, text.len());
        if line > 0 {
            self.column = 0;
        }
        self.column += code_points(&text[line..]);
        self.offset += text.len() as u32;
    }
}

impl Verifier<'_> {
    /// Cuts the chunks of a document.
    pub(crate) fn chunks(
        &mut self,
        verified: &Verified,
        options: ChunkOptions,
    ) -> Result<Vec<Chunk>, Interrupted> {
        let candidates = &self.segments[verified.segment as usize];
        let number = candidates.view.documents.get(verified.document).blob;
        let blob = candidates.view.blobs.get(number);
        let symbols = self.stored_symbols(verified.segment, number)?.unwrap_or_default();
        let mut chunks = Vec::new();
        let mut hits = verified.hits.as_slice();
        let mut column = Column::default();
        while !hits.is_empty() {
            let (these, rest) =
                hits.split_at(self.together(verified.segment, &blob, hits, options));
            hits = rest;
            let mut stretch = self.stretch(verified.segment, &blob, these, options)?;
            if blob.cut_line {
                self.advance(verified.segment, &blob, &mut column, stretch.offset)?;
                stretch.column = column.column;
            }
            cut(
                &stretch,
                these,
                options,
                |hit, range| self.symbol_hit(verified.segment, &blob, &symbols, hit, range),
                &mut chunks,
            )?;
        }
        Ok(chunks)
    }

    /// How many of the first hits are cut from one stretch: those whose context lies in the pieces
    /// of the first one's, and those whose context touches that of the hit before.
    fn together(&self, segment: u32, blob: &Blob, hits: &[Hit], options: ChunkOptions) -> usize {
        let view = &self.segments[segment as usize].view;
        let margin = options.margin(blob);
        let mut pieces = blob.piece_range();
        let (mut end, mut reached) = (0, 0);
        for (index, hit) in hits.iter().enumerate() {
            let needed = hit.end.max(hit.start + 1).saturating_add(margin).min(blob.length);
            let touches = hit.start <= reached + margin.saturating_mul(2);
            if index > 0 && needed > end && !touches {
                return index;
            }
            while end < needed
                && let Some(piece) = pieces.next()
            {
                end += view.pieces.get(piece).length;
            }
            reached = reached.max(hit.end);
        }
        hits.len()
    }
}

impl Verifier<'_> {
    /// Moves on to a piece that starts at `to`.
    fn advance(
        &mut self,
        segment: u32,
        blob: &Blob,
        column: &mut Column,
        to: u32,
    ) -> Result<(), Interrupted> {
        let mut offset = 0;
        for number in blob.piece_range() {
            let piece = self.segments[segment as usize].view.pieces.get(number);
            if offset >= to {
                break;
            }
            if offset >= column.offset {
                let slot = self.load(segment, piece.unit)?;
                column.pass(self.slice(slot, segment, &piece)?);
            }
            offset += piece.length;
        }
        Ok(())
    }

    /// The pieces that hits lie in, and those beside them as far as their context needs.
    fn stretch(
        &mut self,
        segment: u32,
        blob: &Blob,
        hits: &[Hit],
        options: ChunkOptions,
    ) -> Result<Stretch, Interrupted> {
        let mut stretch: Option<Stretch> = None;
        let mut offset = 0;
        let margin = options.margin(blob);
        // An empty match takes in the byte behind it, or at the content's end the one before.
        let start = hits[0].start.min(blob.length.saturating_sub(1));
        let end = hits.iter().map(|hit| hit.end).max().unwrap_or(start).max(start + 1);
        let reach = start.saturating_sub(margin)..end.saturating_add(margin);
        for number in blob.piece_range() {
            let piece = self.segments[segment as usize].view.pieces.get(number);
            let end = offset + piece.length;
            if reach.start < end && offset < reach.end {
                let slot = self.load(segment, piece.unit)?;
                let text = self.slice(slot, segment, &piece)?;
                stretch
                    .get_or_insert_with(|| Stretch {
                        text: Vec::new(),
                        offset,
                        line: piece.line,
                        column: 0,
                    })
                    .text
                    .extend_from_slice(text);
            } else if stretch.is_some() {
                break;
            }
            offset = end;
        }
        Ok(stretch.unwrap_or(Stretch { text: Vec::new(), offset: 0, line: 0, column: 0 }))
    }

    fn symbol_hit(
        &mut self,
        segment: u32,
        blob: &Blob,
        symbols: &[StoredSymbol],
        hit: &Hit,
        range: MatchRange,
    ) -> Result<Option<SymbolHit>, Interrupted> {
        let Some(symbol) = symbol_at(symbols, hit.start, hit.end) else { return Ok(None) };
        let mut name = |symbol: &StoredSymbol| {
            self.text(segment, blob, symbol.start..symbol.start + symbol.length)
                .map(|name| String::from_utf8_lossy(&name).into_owned())
        };
        let container = match symbol.container.and_then(|at| symbols.get(at as usize)) {
            Some(outer) => Some(name(outer)?),
            None => None,
        };
        let kind = symbol.kind.as_str();
        Ok(Some(SymbolHit { name: name(symbol)?, kind, container, range }))
    }
}

/// Groups hits whose lines, with context, touch, and appends a chunk for each group.
fn cut(
    stretch: &Stretch,
    hits: &[Hit],
    options: ChunkOptions,
    mut symbol: impl FnMut(&Hit, MatchRange) -> Result<Option<SymbolHit>, Interrupted>,
    chunks: &mut Vec<Chunk>,
) -> Result<(), Interrupted> {
    let text = &stretch.text;
    let mut cursor = Cursor { text, at: 0, line: stretch.line };
    let mut index = 0;
    // Where the chunk before ends.
    let mut floor = 0;
    while index < hits.len() {
        let lines = with_context(text, local(stretch, &hits[index]), options.context_lines);
        let mut end = lines.end;
        let mut last = index + 1;
        while last < hits.len() {
            let next = with_context(text, local(stretch, &hits[last]), options.context_lines);
            if next.start > end {
                break;
            }
            end = end.max(next.end);
            last += 1;
        }
        let group = &hits[index..last];
        let (mut kept, all) = keep(text, lines.start..end, stretch, group, options);
        kept.start = kept.start.max(floor.min(local(stretch, &group[0]).start));
        floor = kept.end;
        let is_shown = |hit: &&Hit| local(stretch, hit).end <= kept.end;
        let shown = group.iter().take_while(is_shown).count().max(1);
        let start = cursor.position(kept.start, stretch);
        let mut chunk = Chunk {
            content: text[kept.clone()].to_vec(),
            start,
            ranges: Vec::new(),
            symbols: Vec::new(),
            cut: kept != (lines.start..end),
        };
        for hit in &group[..shown] {
            let place = local(stretch, hit);
            let range = MatchRange {
                start: cursor.position(place.start, stretch),
                end: cursor.position(place.end, stretch),
            };
            chunk.ranges.push(range);
            chunk.symbols.extend(symbol(hit, range)?);
        }
        chunks.push(chunk);
        index = if all { index + shown } else { last };
    }
    Ok(())
}

/// A hit's place in the stretch.
fn local(stretch: &Stretch, hit: &Hit) -> Range<usize> {
    let place = |at: u32| (at.saturating_sub(stretch.offset) as usize).min(stretch.text.len());
    place(hit.start)..place(hit.end)
}

/// The lines of a range and those around it.
fn with_context(text: &[u8], range: Range<usize>, context: usize) -> Range<usize> {
    let mut start = line_start(text, range.start);
    let mut end = line_end(text, range.end.max(range.start + 1).min(text.len()).max(range.start));
    for _ in 0..context {
        if start > 0 {
            start = line_start(text, start - 1);
        }
        if end < text.len() {
            end = line_end(text, end + 1);
        }
    }
    start..end
}

fn line_start(text: &[u8], at: usize) -> usize {
    memchr::memrchr(b'\n', &text[..at]).map_or(0, |before| before + 1)
}

/// After the line feed of the line that the byte before `at` is in.
fn line_end(text: &[u8], at: usize) -> usize {
    let from = at.saturating_sub(1);
    memchr::memchr(b'\n', &text[from..]).map_or(text.len(), |feed| from + feed + 1)
}

/// What is returned of the lines of a group, and whether hits that do not fit get chunks of their
/// own: where a line is longer than it may be, as in a file that is one line, what is around its
/// first matches stands for all of them.
fn keep(
    text: &[u8],
    lines: Range<usize>,
    stretch: &Stretch,
    group: &[Hit],
    options: ChunkOptions,
) -> (Range<usize>, bool) {
    let most = options.line_bytes.saturating_mul(CHUNK_LINES);
    let first = local(stretch, &group[0]);
    let longest =
        text[lines.clone()].split(|byte| *byte == b'\n').map(<[u8]>::len).max().unwrap_or_default();
    if longest <= options.line_bytes && lines.len() <= most {
        return (lines, false);
    }
    if longest <= options.line_bytes {
        // As many whole lines as may be.
        let start = lines.start.max(line_start(text, first.start.saturating_sub(most / 2)));
        let end = boundary(text, lines.end.min(start + most));
        let whole = line_start(text, end);
        return (start..if whole > first.end { whole } else { end }, true);
    }
    let around = options.line_bytes.saturating_sub(first.len()) / 2;
    let start = lines.start.max(first.start.saturating_sub(around));
    let mut end = lines.end.min(first.end.max(first.start + 1).saturating_add(around));
    for hit in group {
        let place = local(stretch, hit);
        if place.end <= start + options.line_bytes {
            end = end.max(place.end);
        }
    }
    let (start, end) = (boundary(text, start), boundary(text, end.min(lines.end)));
    (start..end.min(boundary(text, start + most)), options.every_hit)
}

/// The nearest start of a character at or before `at`.
fn boundary(text: &[u8], at: usize) -> usize {
    let is_inside = |at: usize| text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    (at.saturating_sub(3)..=at).rev().find(|at| !is_inside(*at)).unwrap_or(at)
}

/// Counts lines and columns, forwards.
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
}

impl Cursor<'_> {
    fn position(&mut self, at: usize, stretch: &Stretch) -> Position {
        if at < self.at {
            (self.at, self.line) = (0, stretch.line);
        }
        self.line += memchr::memchr_iter(b'\n', &self.text[self.at..at]).count() as u32;
        self.at = at;
        let line_start = line_start(self.text, at);
        let before = if line_start == 0 { stretch.column } else { 0 };
        Position {
            offset: u64::from(stretch.offset) + at as u64,
            line: self.line + 1,
            column: before + code_points(&self.text[line_start..at]) + 1,
        }
    }
}

/// Characters of a text; a byte that belongs to none counts as one.
fn code_points(text: &[u8]) -> u32 {
    if text.is_ascii() {
        return text.len() as u32;
    }
    text.utf8_chunks()
        .map(|chunk| chunk.valid().chars().count() + chunk.invalid().len())
        .sum::<usize>() as u32
}

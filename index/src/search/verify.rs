//! Checking candidates on their content: what is returned equals what a scan would return.

use std::ops::Range;

use super::budget::Budget;
use super::candidates::SegmentCandidates;
use super::compile::{Atom, Compiled, Expr, SymbolScope, fold};
use super::matches::Matches;
use crate::IndexError;
use crate::segment::symbols::StoredSymbol;
use crate::segment::tables::{Blob, Piece};

/// Decompressed units that a thread keeps: documents next to each other share them, and the
/// patterns of one query are searched in the same ones.
const CACHED_UNITS: usize = 16;
/// A segment, by its place among those of the search, and the number of a unit of it.
type Key = (u32, u32);
/// The key of a slot without a unit.
const NO_UNIT: Key = (u32::MAX, u32::MAX);
/// Matches after which the budget is asked, within one unit.
const MATCHES_PER_CHECK: u64 = 4_096;

/// A match in a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// 0-based line that it starts in.
    pub(crate) line: u32,
    pub(crate) atom: u16,
    /// Whether a word starts where it starts, and one ends where it ends.
    pub(crate) word_start: bool,
    pub(crate) word_end: bool,
}

/// What one atom finds in one content.
#[derive(Clone, Default)]
pub(crate) struct Found {
    /// The first matches, at most as many as are returned.
    pub(crate) hits: Vec<Hit>,
    /// All matches.
    pub(crate) count: u64,
    /// Lines in which matches start.
    pub(crate) lines: u64,
    /// Whether the atom matches at all: in content, path or a symbol.
    pub(crate) matched: bool,
}

/// A document that matches.
pub(crate) struct Verified {
    pub(crate) segment: u32,
    pub(crate) document: u32,
    /// Matches of every positive atom, ascending, none within another.
    pub(crate) hits: Vec<Hit>,
    pub(crate) count: u64,
    pub(crate) lines: u64,
    pub(crate) path_ranges: Vec<(u32, u32)>,
    pub(crate) score: f32,
    /// Its result, where it was written while its text was at hand.
    pub(crate) written: Option<Vec<u8>>,
}

impl Verified {
    /// Matches in the content; without any, those in the path.
    pub(crate) fn matches(&self) -> u64 {
        if self.count > 0 { self.count } else { self.path_ranges.len() as u64 }
    }
}

/// A budget ran out, or the index cannot be read.
pub(crate) enum Interrupted {
    Budget,
    Index(IndexError),
}

impl From<IndexError> for Interrupted {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

/// Verifies documents; one per thread.
pub(crate) struct Verifier<'a> {
    pub(crate) query: &'a Compiled,
    pub(crate) segments: &'a [SegmentCandidates<'a>],
    pub(crate) budget: &'a Budget,
    pub(crate) keep_hits: usize,
    cache: Vec<(Key, Vec<u8>)>,
    next_slot: usize,
    pub(super) whole: Vec<u8>,
    /// Which content `whole` is.
    whole_of: Option<(u32, u32)>,
    pub(super) found: Vec<Option<Found>>,
}

impl<'a> Verifier<'a> {
    /// With nothing read yet. It keeps so many matches of a document; all are counted.
    pub(crate) fn new(
        query: &'a Compiled,
        segments: &'a [SegmentCandidates<'a>],
        budget: &'a Budget,
        keep: usize,
    ) -> Self {
        Self {
            query,
            segments,
            budget,
            keep_hits: keep,
            cache: Vec::new(),
            next_slot: 0,
            whole: Vec::new(),
            whole_of: None,
            found: Vec::new(),
        }
    }

    /// What the document matches, if it does.
    pub(crate) fn verify(
        &mut self,
        segment: u32,
        document: u32,
    ) -> Result<Option<Verified>, Interrupted> {
        self.found.clear();
        self.found.resize(self.query.atoms.len(), None);
        if !self.holds(&self.query.expr, segment, document)? {
            return Ok(None);
        }
        for number in 0..self.query.atoms.len() {
            if self.query.atoms[number].positive {
                self.find(number, segment, document)?;
            }
        }
        let mut verified = Verified {
            segment,
            document,
            hits: Vec::new(),
            count: 0,
            lines: 0,
            path_ranges: self.path_ranges(segment, document),
            score: 0.0,
            written: None,
        };
        self.merge_hits(&mut verified)?;
        verified.score = self.score(&verified)?;
        Ok(Some(verified))
    }

    fn holds(&mut self, expr: &'a Expr, segment: u32, document: u32) -> Result<bool, Interrupted> {
        Ok(match expr {
            Expr::All => true,
            Expr::Nothing => false,
            Expr::Filter(number) => {
                self.segments[segment as usize].filters[*number].contains(document)
            }
            Expr::Not(child) => !self.holds(child, segment, document)?,
            Expr::Atom(number) => {
                self.find(*number, segment, document)?;
                self.found[*number].as_ref().is_some_and(|found| found.matched)
            }
            Expr::And(children) => {
                for child in children {
                    if !self.holds(child, segment, document)? {
                        return Ok(false);
                    }
                }
                true
            }
            Expr::Or(children) => {
                for child in children {
                    if self.holds(child, segment, document)? {
                        return Ok(true);
                    }
                }
                false
            }
        })
    }

    /// Searches for an atom, unless that was done for this document.
    fn find(&mut self, number: usize, segment: u32, document: u32) -> Result<(), Interrupted> {
        if self.found[number].is_some() {
            return Ok(());
        }
        let atom = &self.query.atoms[number];
        let candidates = &self.segments[segment as usize];
        let blob = candidates.view.documents.get(document).blob;
        let mut found = match &atom.symbol {
            Some(scope) => self.symbols(number, scope, segment, blob)?,
            None if atom.in_content => self.content(number, segment, blob)?,
            None => Found::default(),
        };
        found.matched |= found.count > 0 || candidates.paths[number].contains(document);
        self.found[number] = Some(found);
        Ok(())
    }

    fn content(&mut self, number: usize, segment: u32, blob: u32) -> Result<Found, Interrupted> {
        let atom = &self.query.atoms[number];
        let candidates = &self.segments[segment as usize];
        let record = candidates.view.blobs.get(blob);
        let mut found = Found::default();
        if record.omitted != 0 {
            return Ok(found);
        }
        if record.pieces != 1 && (record.pieces == 0 || atom.plan.crosses_lines || record.cut_line)
        {
            let first =
                record.piece_range().next().map(|piece| candidates.view.pieces.get(piece).unit);
            if first.is_some_and(|unit| !candidates.units[number].contains(unit)) {
                return Ok(found);
            }
            self.load_whole(segment, blob)?;
            let scan = Scan { atom, number, offset: 0, line: 0, last: true };
            scan.run(&self.whole, &mut found, self.keep_hits, self.budget)?;
            return Ok(found);
        }
        let mut offset = 0;
        for piece in record.piece_range() {
            let last = piece + 1 == record.first_piece + record.pieces;
            let piece = candidates.view.pieces.get(piece);
            if candidates.units[number].contains(piece.unit) {
                let slot = self.load(segment, piece.unit)?;
                let text = self.slice(slot, segment, &piece)?;
                let scan = Scan { atom, number, offset, line: piece.line, last };
                scan.run(text, &mut found, self.keep_hits, self.budget)?;
            }
            offset += piece.length;
        }
        Ok(found)
    }

    /// Loads a unit and returns its place in the cache.
    pub(crate) fn load(&mut self, segment: u32, unit: u32) -> Result<usize, Interrupted> {
        let key = (segment, unit);
        if let Some(slot) = self.cache.iter().position(|(cached, _)| *cached == key) {
            return Ok(slot);
        }
        let view = &self.segments[segment as usize].view;
        if !self.budget.read(view.units.get(unit).length as usize) {
            return Err(Interrupted::Budget);
        }
        let slot = self.next_slot;
        self.next_slot = (slot + 1) % CACHED_UNITS;
        if slot == self.cache.len() {
            self.cache.push((NO_UNIT, Vec::new()));
        }
        let entry = &mut self.cache[slot];
        // Should reading fail, the slot must not pass for the unit that it held.
        entry.0 = NO_UNIT;
        view.read_unit(unit, &mut entry.1)?;
        entry.0 = key;
        Ok(slot)
    }

    /// The text of a piece in a loaded unit.
    pub(crate) fn slice(
        &self,
        slot: usize,
        segment: u32,
        piece: &Piece,
    ) -> Result<&[u8], Interrupted> {
        let range = piece.start as usize..piece.start as usize + piece.length as usize;
        self.cache[slot].1.get(range).ok_or_else(|| {
            let file = self.segments[segment as usize].loaded.segment.file();
            Interrupted::Index(file.damaged("a piece reaches out of its unit"))
        })
    }

    /// Puts a whole content together in `whole`.
    pub(super) fn load_whole(&mut self, segment: u32, blob: u32) -> Result<(), Interrupted> {
        if self.whole_of == Some((segment, blob)) {
            return Ok(());
        }
        self.whole_of = None;
        self.whole.clear();
        let view = &self.segments[segment as usize].view;
        for piece in view.blobs.get(blob).piece_range() {
            let piece = view.pieces.get(piece);
            let slot = self.load(segment, piece.unit)?;
            let range = piece.start as usize..piece.start as usize + piece.length as usize;
            let Some(text) = self.cache[slot].1.get(range) else {
                let file = self.segments[segment as usize].loaded.segment.file();
                return Err(file.damaged("a piece reaches out of its unit").into());
            };
            self.whole.extend_from_slice(text);
        }
        self.whole_of = Some((segment, blob));
        Ok(())
    }

    /// Bytes of a content, from the pieces that hold them.
    pub(crate) fn text(
        &mut self,
        segment: u32,
        blob: &Blob,
        range: Range<u32>,
    ) -> Result<Vec<u8>, Interrupted> {
        let mut bytes = Vec::with_capacity(range.len());
        let mut offset = 0;
        for piece in blob.piece_range() {
            let piece = self.segments[segment as usize].view.pieces.get(piece);
            let (from, to) = (range.start.max(offset), range.end.min(offset + piece.length));
            if from < to {
                let slot = self.load(segment, piece.unit)?;
                let text = self.slice(slot, segment, &piece)?;
                bytes.extend_from_slice(&text[(from - offset) as usize..(to - offset) as usize]);
            }
            offset += piece.length;
            if offset >= range.end {
                break;
            }
        }
        Ok(bytes)
    }

    /// Symbols of a content; `None` where they are not read yet.
    pub(crate) fn stored_symbols(
        &self,
        segment: u32,
        blob: u32,
    ) -> Result<Option<Vec<StoredSymbol>>, Interrupted> {
        match &self.segments[segment as usize].loaded.symbols {
            Some(file) => Ok(Some(file.symbols(blob)?)),
            None => Ok(None),
        }
    }

    /// Definitions whose name the atom matches.
    fn symbols(
        &mut self,
        number: usize,
        scope: &SymbolScope,
        segment: u32,
        blob: u32,
    ) -> Result<Found, Interrupted> {
        let mut found = Found::default();
        let Some(symbols) = self.stored_symbols(segment, blob)? else { return Ok(found) };
        let atom = &self.query.atoms[number];
        let candidates = &self.segments[segment as usize];
        let record = candidates.view.blobs.get(blob);
        let mut pieces = record.piece_range().peekable();
        let mut offset = 0;
        let mut counted = (0, 0);
        for symbol in &symbols {
            let mut piece = None;
            while let Some(next) = pieces.peek() {
                let next = candidates.view.pieces.get(*next);
                if symbol.start < offset + next.length {
                    piece = Some(next);
                    break;
                }
                offset += next.length;
                counted = (0, 0);
                pieces.next();
            }
            let Some(piece) = piece else { break };
            if !candidates.units[number].contains(piece.unit) {
                continue;
            }
            let slot = self.load(segment, piece.unit)?;
            let text = self.slice(slot, segment, &piece)?;
            let at = (symbol.start - offset) as usize;
            let lines = memchr::memchr_iter(b'\n', &text[counted.0..at]).count() as u32 + counted.1;
            counted = (at, lines);
            let end = symbol.start + symbol.length;
            let matches = match text.get(at..at + symbol.length as usize) {
                Some(name) => atom.finds.is_match(name),
                // The name is cut, in a line that is longer than a unit.
                None => atom.finds.is_match(&self.text(segment, &record, symbol.start..end)?),
            };
            if !matches {
                continue;
            }
            if let Some(container) = &scope.container
                && !self.is_within(atom, container, segment, &record, &symbols, symbol)?
            {
                continue;
            }
            let hit = Hit {
                start: symbol.start,
                end,
                line: piece.line + lines,
                atom: number as u16,
                word_start: true,
                word_end: true,
            };
            found.push_symbol(hit);
        }
        Ok(found)
    }

    /// Whether the chain of a symbol's containers ends with what was asked for: `Type`, or
    /// `module::Type`, whatever the separator.
    fn is_within(
        &mut self,
        atom: &Atom,
        wanted: &str,
        segment: u32,
        blob: &Blob,
        symbols: &[StoredSymbol],
        symbol: &StoredSymbol,
    ) -> Result<bool, Interrupted> {
        let sensitive = super::compile::is_sensitive(&atom.pattern);
        let form = |name: &str| if sensitive { name.to_owned() } else { fold(name) };
        let separators = ["::", ".", "#"];
        let mut parts: Vec<String> = vec![wanted.to_owned()];
        for separator in separators {
            parts = parts
                .iter()
                .flat_map(|part| part.split(separator).map(str::to_owned).collect::<Vec<_>>())
                .collect();
        }
        let mut container = symbol.container;
        for part in parts.iter().rev() {
            let Some(outer) = container.and_then(|at| symbols.get(at as usize)) else {
                return Ok(false);
            };
            let name = self.text(segment, blob, outer.start..outer.start + outer.length)?;
            let name = String::from_utf8_lossy(&name);
            // `impl a::B` is named as written there.
            let last = name.rsplit("::").next().unwrap_or(&name);
            if form(last) != form(part) && form(&name) != form(wanted) {
                return Ok(false);
            }
            container = outer.container;
        }
        Ok(true)
    }

    fn path_ranges(&self, segment: u32, document: u32) -> Vec<(u32, u32)> {
        let candidates = &self.segments[segment as usize];
        let path = candidates.view.path(document);
        let mut ranges = Vec::new();
        for (number, atom) in self.query.atoms.iter().enumerate() {
            if atom.positive && atom.in_path && candidates.paths[number].contains(document) {
                let mut at = 0;
                while at <= path.len()
                    && let Some((start, end)) = atom.finds.find_at(path, at)
                {
                    if end > start {
                        ranges.push((start as u32, end as u32));
                    }
                    at = end.max(start + 1);
                }
            }
        }
        ranges.sort_unstable_by_key(|range| (range.0, std::cmp::Reverse(range.1)));
        ranges.dedup_by(|next, before| next.0 < before.1);
        ranges
    }

    /// What an atom found in the document that is being verified.
    pub(crate) fn found(&self, number: usize) -> Option<&Found> {
        self.found.get(number).and_then(Option::as_ref)
    }
}

impl Found {
    /// Adds a definition's name. All are kept: a parse bounds how many a content has.
    fn push_symbol(&mut self, hit: Hit) {
        self.lines += u64::from(self.hits.last().is_none_or(|last| last.line != hit.line));
        self.count += 1;
        self.hits.push(hit);
    }
}

/// One text to search: a piece, or a whole content.
struct Scan<'a> {
    atom: &'a Atom,
    number: usize,
    /// Where the text starts in the content.
    offset: u32,
    /// Lines before it.
    line: u32,
    /// Whether the content ends where the text ends.
    last: bool,
}

impl Scan<'_> {
    fn run(
        &self,
        text: &[u8],
        found: &mut Found,
        keep: usize,
        budget: &Budget,
    ) -> Result<(), Interrupted> {
        let mut counted = 0;
        let mut line = self.line;
        let mut last_line = None;
        let mut unchecked = 0;
        for (start, end) in Matches::new(self.atom, text, budget) {
            // An empty match at the end of a piece belongs to the piece that follows.
            if start == end && end == text.len() && !self.last && !text.is_empty() {
                break;
            }
            line += memchr::memchr_iter(b'\n', &text[counted..start]).count() as u32;
            counted = start;
            if last_line != Some(line) {
                found.lines += 1;
                last_line = Some(line);
            }
            found.count += 1;
            if found.hits.len() < keep {
                found.hits.push(Hit {
                    start: self.offset + start as u32,
                    end: self.offset + end as u32,
                    line,
                    atom: self.number as u16,
                    word_start: is_word_start(text, start),
                    word_end: is_word_end(text, end),
                });
            }
            unchecked += 1;
            if unchecked == MATCHES_PER_CHECK {
                if !budget.matched(unchecked) {
                    return Err(Interrupted::Budget);
                }
                unchecked = 0;
            }
        }
        if unchecked > 0 && !budget.matched(unchecked) || budget.has_run_out() {
            return Err(Interrupted::Budget);
        }
        Ok(())
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

pub(super) fn is_word_start(text: &[u8], at: usize) -> bool {
    at == 0 || !is_word(text[at - 1]) || text.get(at).is_some_and(|byte| !is_word(*byte))
}

pub(super) fn is_word_end(text: &[u8], at: usize) -> bool {
    at == 0 || at >= text.len() || !is_word(text[at]) || !is_word(text[at - 1])
}

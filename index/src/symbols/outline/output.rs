//! The text of an outline, and where each part of it comes from.

use super::super::Symbol;
use super::declaration::Head;

/// Bytes of the content, from `start` up to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    /// The bytes themselves.
    pub(super) fn of(self, content: &[u8]) -> &[u8] {
        content.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// A part of the outline.
#[derive(Clone, Copy)]
struct Piece {
    /// Where it starts in the outline.
    at: u32,
    /// Where it starts in the content.
    source: u32,
    /// Copied byte by byte; else all of it stands for the one byte at `source`.
    verbatim: bool,
}

/// The outline that is being written.
#[derive(Default)]
pub(super) struct Output {
    text: Vec<u8>,
    pieces: Vec<Piece>,
}

impl Output {
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    fn piece(&mut self, source: u32, verbatim: bool) {
        // An outline is shorter than four times its content, and text beyond 4 GiB has no place.
        let at = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        self.pieces.push(Piece { at, source, verbatim });
    }

    /// Text that stands for the byte at `source`.
    pub(super) fn literal(&mut self, text: &[u8], source: u32) {
        self.piece(source, false);
        self.text.extend_from_slice(text);
    }

    /// A copy of a part of the content.
    pub(super) fn verbatim(&mut self, content: &[u8], span: Span) {
        self.piece(span.start, true);
        self.text.extend_from_slice(span.of(content));
    }

    /// A copy of one byte.
    pub(super) fn verbatim_byte(&mut self, byte: u8, at: u32) {
        self.piece(at, true);
        self.text.push(byte);
    }

    /// `struct tag {`
    pub(super) fn aggregate(&mut self, content: &[u8], head: &Head, is_typedef: bool, open: u32) {
        if is_typedef {
            self.literal(b"typedef ", head.start);
        }
        self.verbatim(content, head.keyword);
        self.literal(b" ", head.keyword.end);
        if let Some(tag) = head.tag {
            self.verbatim(content, tag);
        }
        self.verbatim_byte(b'{', open);
    }

    /// Where the outline ends now, to go back to.
    pub(super) fn mark(&self) -> (usize, usize) {
        (self.text.len(), self.pieces.len())
    }

    /// Takes back what was written since `mark`.
    pub(super) fn undo(&mut self, mark: (usize, usize)) {
        self.text.truncate(mark.0);
        self.pieces.truncate(mark.1);
    }

    /// Moves a symbol of the outline to its place in the content.
    pub(super) fn place(&self, symbol: &mut Symbol) {
        for range in [&mut symbol.name, &mut symbol.extent] {
            let start = self.source(range.start);
            let end = self.source(range.end.saturating_sub(1)).saturating_add(1);
            *range = start..end.max(start);
        }
        // The start of a definition may be a word that was moved.
        symbol.extent.start = symbol.extent.start.min(symbol.name.start);
        symbol.extent.end = symbol.extent.end.max(symbol.name.end);
    }

    fn source(&self, at: u32) -> u32 {
        let index = self.pieces.partition_point(|piece| piece.at <= at);
        match index.checked_sub(1).and_then(|index| self.pieces.get(index)) {
            Some(piece) if piece.verbatim => piece.source + (at - piece.at),
            Some(piece) => piece.source,
            None => 0,
        }
    }
}

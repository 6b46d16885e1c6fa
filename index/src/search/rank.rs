//! How what matches is scored: by the path and what kind of file it is, as before it was read, and
//! by what the matches are: definitions, whole words, terms close together. Weights were set on the
//! first half of the labelled set in `benches/relevance/` alone.

use super::compile::{Atom, fold};
use super::verify::{Found, Hit, Interrupted, Verified, Verifier};
use crate::segment::symbols::StoredSymbol;
use crate::segment::tables::flag;
use crate::symbols::SymbolKind;

/// Matches of one document that are weighed at most.
const WEIGHED_HITS: usize = 512;

/// What the score is made of.
mod weight {
    pub(super) const DEFINITION: f32 = 6.0;
    pub(super) const DEFINITION_PREFIX: f32 = 2.2;
    pub(super) const DEFINITION_PART: f32 = 1.4;
    pub(super) const WHOLE_WORD: f32 = 1.0;
    pub(super) const WORD_EDGE: f32 = 0.4;
    pub(super) const STEM: f32 = 3.0;
    pub(super) const BASE_NAME: f32 = 1.2;
    pub(super) const FOLDER: f32 = 0.5;
    pub(super) const ADJACENT: f32 = 2.5;
    pub(super) const SAME_LINE: f32 = 1.5;
    pub(super) const NEAR: f32 = 0.7;
    pub(super) const VENDORED: f32 = -2.0;
    pub(super) const GENERATED: f32 = -2.0;
    pub(super) const TEST: f32 = -1.5;
    pub(super) const DOCUMENTATION: f32 = -0.8;
    pub(super) const DEPTH: f32 = -0.05;
    pub(super) const COUNT: f32 = 0.12;
}

/// What a kind of definition counts, against a function or type.
fn kind_factor(kind: SymbolKind) -> f32 {
    match kind {
        SymbolKind::Class
        | SymbolKind::Struct
        | SymbolKind::Enum
        | SymbolKind::Union
        | SymbolKind::Interface
        | SymbolKind::Trait
        | SymbolKind::Object => 1.1,
        SymbolKind::Function | SymbolKind::Type | SymbolKind::Macro | SymbolKind::Method => 1.0,
        SymbolKind::Constructor => 0.8,
        SymbolKind::Constant
        | SymbolKind::Variable
        | SymbolKind::Module
        | SymbolKind::Namespace
        | SymbolKind::Event
        | SymbolKind::Property => 0.7,
        SymbolKind::Field | SymbolKind::EnumMember => 0.5,
        SymbolKind::Impl => 0.4,
    }
}

impl Verifier<'_> {
    /// Score of a document that matches; its atoms' findings are still at hand.
    pub(crate) fn score(&mut self, verified: &Verified) -> Result<f32, Interrupted> {
        let candidates = &self.segments[verified.segment as usize];
        let document = candidates.view.documents.get(verified.document);
        let path = fold(&String::from_utf8_lossy(candidates.view.path(verified.document)));
        let has_content = !verified.hits.is_empty();
        let symbols = if has_content {
            self.stored_symbols(verified.segment, document.blob)?.unwrap_or_default()
        } else {
            Vec::new()
        };
        let mut score = 0.0;
        for (number, atom) in self.query.atoms.iter().enumerate() {
            if !atom.positive {
                continue;
            }
            let content = self.found(number).map_or(0.0, |found| best_hit(found, &symbols));
            let in_path = atom.folded.as_deref().map_or(0.0, |text| path_score(&path, text));
            score += content.max(in_path) + 0.5 * content.min(in_path);
        }
        score += self.proximity();
        score += weight::COUNT * (1.0 + verified.count as f32).ln().min(5.0);
        score += weight::DEPTH * path.matches('/').count().min(10) as f32;
        for (bit, weight) in [
            (flag::VENDORED, weight::VENDORED),
            (flag::GENERATED, weight::GENERATED),
            (flag::TEST, weight::TEST),
            (flag::DOCUMENTATION, weight::DOCUMENTATION),
        ] {
            if document.flags & bit != 0 {
                score += weight;
            }
        }
        Ok(score)
    }

    /// How close together the terms of the query come.
    fn proximity(&self) -> f32 {
        let lists: Vec<&[Hit]> = self
            .query
            .atoms
            .iter()
            .enumerate()
            .filter(|(_, atom)| is_term(atom))
            .filter_map(|(number, _)| self.found(number))
            .map(|found| &found.hits[..found.hits.len().min(WEIGHED_HITS)])
            .filter(|hits| !hits.is_empty())
            .collect();
        let mut total = 0.0;
        for pair in lists.windows(2) {
            total += closeness(pair[0], pair[1]);
        }
        total / (lists.len().saturating_sub(1)).max(1) as f32
    }
}

fn is_term(atom: &Atom) -> bool {
    atom.positive && atom.in_content
}

/// The best of all pairs of two ascending lists; hits of the second should follow the first's.
fn closeness(first: &[Hit], second: &[Hit]) -> f32 {
    let mut best = 0f32;
    let mut at = 0;
    for hit in first {
        while at < second.len() && second[at].start < hit.start {
            at += 1;
        }
        let neighbours = second[at.saturating_sub(1)..].iter().take(2);
        for other in neighbours {
            let value =
                if other.start >= hit.end && other.start - hit.end <= 2 && other.line == hit.line {
                    weight::ADJACENT
                } else if other.line == hit.line {
                    weight::SAME_LINE
                } else if other.line.abs_diff(hit.line) <= 3 {
                    weight::NEAR
                } else {
                    0.0
                };
            best = best.max(value);
        }
    }
    best
}

fn best_hit(found: &Found, symbols: &[StoredSymbol]) -> f32 {
    let mut best = 0f32;
    for hit in found.hits.iter().take(WEIGHED_HITS) {
        let mut value = match (hit.word_start, hit.word_end) {
            (true, true) => weight::WHOLE_WORD,
            (true, false) | (false, true) => weight::WORD_EDGE,
            (false, false) => 0.0,
        };
        if let Some(symbol) = symbol_at(symbols, hit.start, hit.end) {
            let end = symbol.start + symbol.length;
            let defines = match (symbol.start == hit.start, end == hit.end) {
                (true, true) => weight::DEFINITION,
                (true, false) => weight::DEFINITION_PREFIX,
                _ => weight::DEFINITION_PART,
            };
            value += defines * kind_factor(symbol.kind);
        } else if let Some(symbol) =
            symbols.get(symbols.partition_point(|symbol| symbol.start < hit.start))
            && symbol.start + symbol.length <= hit.end
        {
            // An expression such as `fn \w+` takes in the whole name.
            value += weight::DEFINITION_PART * kind_factor(symbol.kind);
        }
        best = best.max(value);
    }
    best
}

/// The symbol whose name holds a range.
pub(crate) fn symbol_at(symbols: &[StoredSymbol], start: u32, end: u32) -> Option<&StoredSymbol> {
    let after = symbols.partition_point(|symbol| symbol.start <= start);
    let symbol = symbols.get(after.checked_sub(1)?)?;
    (end <= symbol.start + symbol.length).then_some(symbol)
}

fn path_score(path: &str, term: &str) -> f32 {
    let base = path.rsplit('/').next().unwrap_or(path);
    let stem = base.split('.').next().unwrap_or(base);
    if stem == term || base == term {
        weight::STEM
    } else if base.contains(term) {
        weight::BASE_NAME
    } else if path.contains(term) {
        weight::FOLDER
    } else {
        0.0
    }
}

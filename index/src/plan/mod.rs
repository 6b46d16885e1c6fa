//! From a pattern's syntax tree to what the grams of a unit must be for it to match there.
//!
//! The idea is Russ Cox's (<https://swtch.com/~rsc/regexp/regexp4.html>), done in the folded space
//! of [`crate::trigram`]: the same plan serves a pattern with and without regard to case.

mod analysis;
mod classes;
mod expr;
mod lines;
mod strings;

pub use expr::{GramExpr, MAX_GRAMS};

use crate::query::QueryError;
use crate::query::regex::{needle, syntax};
use crate::query::tree::Pattern;

/// How a pattern is searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the grams of the text that a match lies in satisfy. It says nothing about texts that
    /// hold only a part of the match.
    pub expr: GramExpr,
    /// Whether a match can hold a line feed, or depends on where the text begins or ends (`\A`,
    /// `\z`). When it cannot and does not, searching a text in pieces that end with line feeds
    /// finds the same, but for empty matches at the very end of a piece that is not the last:
    /// they belong to the next piece, which finds them too if they are matches. (`$` holds at a
    /// piece's end, and between the lines there it need not.)
    pub crosses_lines: bool,
    /// The length of the shortest match in bytes. 0 when the empty text can match.
    pub min_len: usize,
    /// The length of the longest match in bytes; `None` when there is no bound.
    pub max_len: Option<usize>,
    /// The bytes that match, when nothing else does, byte for byte.
    pub literal: Option<Vec<u8>>,
}

/// Plans one pattern.
///
/// # Errors
///
/// When the pattern's regular expression is not valid, which [`crate::query::parse`] has excluded.
pub fn plan(pattern: &Pattern) -> Result<Plan, QueryError> {
    let syntax = syntax(pattern)?;
    let properties = syntax.properties();
    Ok(Plan {
        expr: analysis::grams(&syntax),
        crosses_lines: lines::crosses(&syntax),
        // Without a shortest length there is no match at all.
        min_len: properties.minimum_len().unwrap_or(usize::MAX),
        max_len: properties.maximum_len(),
        literal: needle(pattern).map(|text| text.as_bytes().to_vec()),
    })
}

#[cfg(test)]
mod tests;

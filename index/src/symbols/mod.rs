//! Definitions in source code: functions, types, constants, macros and their members, found with
//! tree-sitter grammars.
//!
//! An [`Extractor`] turns the content of one file into a list of [`Symbol`]s. It keeps to what
//! developers (and ctags) call a definition: a local variable, a parameter, a prototype or an
//! import is none.

mod extractor;
mod grammar;
mod kind;
mod lang;
mod outline;
mod rules;
mod visit;

use std::ops::Range;
use std::time::Duration;

pub use extractor::Extractor;
pub use kind::SymbolKind;

/// One definition in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Where its name is, in bytes of the content.
    pub name: Range<u32>,
    /// What it is.
    pub kind: SymbolKind,
    /// The symbol that it belongs to, as an index into the list that it is in: a method's class.
    pub container: Option<u32>,
    /// Where the whole definition is, in bytes of the content.
    pub extent: Range<u32>,
}

/// What one file may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long a file may take.
    pub time: Duration,
    /// The largest content, in bytes; at most 4 GiB, whatever is set. C may be sixteen times
    /// as large, since most of it is not parsed.
    pub size: usize,
    /// The most symbols; a file's later ones are left out, and [`Extractor::was_cut`] says so.
    pub symbols: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: Duration::from_millis(500), size: 2 * 1024 * 1024, symbols: 50_000 }
    }
}

/// Why a file has no symbols. Other files are not affected.
#[derive(Debug, thiserror::Error)]
pub enum SymbolError {
    /// The time limit ran out.
    #[error("finding symbols took longer than {limit:?}: raise the time limit to have them")]
    TimedOut {
        /// The limit.
        limit: Duration,
    },
    /// The content is larger than the limit.
    #[error(
        "{size} bytes are more than the {limit} that are parsed for symbols: raise the size limit to have them"
    )]
    TooLarge {
        /// Bytes of the content.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The grammar does not fit the tree-sitter library that is built in.
    #[error("the grammar for {language} cannot be used with this tree-sitter")]
    Grammar {
        /// The language's name.
        language: &'static str,
        /// What tree-sitter said.
        #[source]
        source: tree_sitter::LanguageError,
    },
}

#[cfg(test)]
mod tests;

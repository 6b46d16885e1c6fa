//! Programming languages by GitHub linguist's rules: which language a file is in, and whether it
//! is vendored, generated, documentation or a test.
//!
//! The tables in `data/` are made from linguist's own definitions (see `data/generate.py`).
//! Linguist's last step, a Bayesian classifier, is not here: where its other steps leave several
//! languages, the one that most files with that name are in is taken.

mod attributes;
mod detect;
mod generated;
mod glob;
mod heuristics;
mod modeline;
mod paths;
mod shebang;
mod table;

pub use attributes::{Attributes, PathAttributes};
pub use detect::detect;
pub use generated::is_generated;
pub use paths::{is_documentation, is_test, is_vendored};

use table::{Entry, TABLE};

/// A language that linguist knows.
///
/// The number inside is valid within one build only: store [`Language::name`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Language(u16);

/// What linguist calls a language's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LanguageType {
    /// A programming language.
    Programming,
    /// A markup or style language.
    Markup,
    /// A data format.
    Data,
    /// Text for people.
    Prose,
}

impl Language {
    /// The language with this name or alias, in any case: `C++`, `c++` and `cpp` are one. Spaces
    /// and dashes are alike, as in linguist: `Visual Basic .NET`, `visual-basic-.net`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.by_name.get(&table::folded(name)).copied()
    }

    /// All languages, by name.
    pub fn all() -> impl ExactSizeIterator<Item = Self> + DoubleEndedIterator {
        (0..TABLE.entries.len()).map(|index| Self(u16::try_from(index).unwrap_or(u16::MAX)))
    }

    /// Linguist's name of it, such as `C++`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.entry().map_or("", |entry| entry.name)
    }

    /// Other names that [`Language::from_name`] takes, such as `cpp`.
    #[must_use]
    pub fn aliases(self) -> &'static [&'static str] {
        self.entry().map_or(&[], |entry| &entry.aliases)
    }

    /// The language that this one is counted under, itself in most cases: TSX's is TypeScript.
    #[must_use]
    pub fn group(self) -> Self {
        self.entry()
            .filter(|entry| !entry.group.is_empty())
            .and_then(|entry| Self::from_name(entry.group))
            .unwrap_or(self)
    }

    /// What kind of language it is.
    #[must_use]
    pub fn language_type(self) -> LanguageType {
        self.entry().map_or(LanguageType::Data, |entry| entry.language_type)
    }

    /// Names that somebody who wrote `name` may have meant, the nearest first, at most five.
    #[must_use]
    pub fn nearest(name: &str) -> Vec<&'static str> {
        table::nearest(name)
    }

    /// Its place in [`Language::all`].
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    fn entry(self) -> Option<&'static Entry> {
        TABLE.entries.get(usize::from(self.0))
    }
}

impl std::fmt::Debug for Language {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::fmt::Display for Language {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The part of a path behind its last slash.
fn base_name(path: &[u8]) -> &[u8] {
    memchr::memrchr(b'/', path).map_or(path, |slash| &path[slash + 1..])
}

#[cfg(test)]
mod tests;

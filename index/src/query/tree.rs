//! The typed tree of a query.

use std::ops::Range;
use std::time::Duration;

use super::dates::DateRange;
use super::names::NameMatch;
use crate::symbols::SymbolKind;

/// What a document must satisfy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// Every document.
    All,
    /// No document.
    Nothing,
    /// A document that satisfies each.
    And(Vec<Node>),
    /// A document that satisfies at least one.
    Or(Vec<Node>),
    /// A document that does not satisfy it.
    Not(Box<Node>),
    /// A document whose text, path or symbols hold a match.
    Pattern(Pattern),
    /// A document with an attribute.
    Filter(Filter),
}

/// Text to look for, and where.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// What matches.
    pub matcher: Matcher,
    /// Whether upper and lower case differ.
    pub case: Case,
    /// What is searched.
    pub scope: Scope,
    /// The bytes of the query that it was written in. Not part of what it means: two patterns that
    /// differ only here are equal.
    pub position: Range<usize>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        (&self.matcher, self.case, &self.scope) == (&other.matcher, other.case, &other.scope)
    }
}

impl Eq for Pattern {}

impl std::hash::Hash for Pattern {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.matcher, self.case, &self.scope).hash(state);
    }
}

/// What matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Matcher {
    /// These characters, one after the other. The empty text matches everywhere.
    Literal(String),
    /// A regular expression in the `regex` crate's syntax, known to be valid.
    Regex(String),
}

/// Whether upper and lower case differ in a [`Pattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Case {
    /// They differ.
    Sensitive,
    /// They are equal, by Unicode's simple case folding.
    Insensitive,
}

/// What a [`Pattern`] is searched in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The content or the path.
    Either,
    /// The content only.
    Content,
    /// The path only: all of it, from the repository's root, without a leading `/`.
    Path,
    /// The names of the symbols that the document defines.
    Symbol {
        /// What the symbol must be defined in, as written before the last `::`, `.` or `#`. It is
        /// equal, in the pattern's case, to the whole container or to its last segments.
        container: Option<String>,
    },
}

/// An attribute that a document must have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// It is in a repository of this name, without regard to case.
    Repository(NameMatch),
    /// The first segment of its repository's name equals this, without regard to ASCII case.
    Organisation(String),
    /// It is on a branch or tag of this name. `HEAD` is the repository's default branch.
    Revision(NameMatch),
    /// It is in this language, by linguist's name.
    Language(&'static str),
    /// Whether archived repositories count.
    Archived(Inclusion),
    /// Whether forks count.
    Fork(Inclusion),
    /// It was copied in from elsewhere.
    Vendored,
    /// It was made by a program.
    Generated,
    /// Its repository is, or is not, open to everyone.
    Visibility(Visibility),
    /// Its repository has a licence of this SPDX identifier, without regard to ASCII case.
    License(String),
    /// The name or address of the author of its last change contains this, without regard to case.
    Author(String),
    /// Its last change was made in this time.
    Updated(DateRange),
}

/// Whether repositories of a kind count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Inclusion {
    /// They do, with all others.
    Yes,
    /// They do not.
    No,
    /// No others do.
    Only,
}

/// Who may read a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// Everyone.
    Public,
    /// Those who were let in.
    Private,
}

/// What a query asks for besides the documents that satisfy its tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryOptions {
    /// What a result is.
    pub result_type: ResultType,
    /// What results are collapsed to.
    pub select: Option<Select>,
    /// How many results are wanted.
    pub count: Option<Count>,
    /// How long the search may take.
    pub timeout: Option<Duration>,
}

/// What a result is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResultType {
    /// A document, matched by content or path.
    #[default]
    File,
    /// A document, matched by its path alone.
    Path,
    /// A repository with a document that satisfies the query, or whose name does.
    Repository,
    /// A definition.
    Symbol,
}

/// What results are collapsed to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Select {
    /// One for each repository.
    Repository,
    /// One for each document.
    File,
    /// The matches in the content only, not those in the path.
    Content,
    /// The definitions, of one kind (`function`, `struct`, …) or of all.
    Symbol(Option<SymbolKind>),
}

/// How many results are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Count {
    /// As many as this.
    Limit(usize),
    /// Every one.
    All,
}

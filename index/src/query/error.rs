//! What is wrong with a query, and what was taken otherwise than it may have been meant.

use std::fmt;
use std::ops::Range;

/// A query that cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    /// Which kind of error it is.
    pub code: ErrorCode,
    /// What is wrong and what to do, for a person.
    pub message: String,
    /// The bytes of the query that it is about.
    pub position: Range<usize>,
    /// The whole query as it could be written instead.
    pub rewrite: Option<String>,
}

/// The kinds of [`QueryError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The query has more bytes than the limit.
    QueryTooLong,
    /// Groups and negations are nested deeper than the limit.
    QueryTooDeep,
    /// The query has more terms than the limit.
    TooManyTerms,
    /// A regular expression is not valid, or asks for what the engine does not have.
    InvalidRegex,
    /// A regular expression needs more memory than the limit.
    RegexTooLarge,
    /// A qualifier does not exist.
    UnknownQualifier,
    /// A qualifier's value is not one that it can have.
    InvalidValue,
    /// A language does not exist.
    UnknownLanguage,
    /// It exists in the language, but not for what can be searched here.
    NotSupportedHere,
    /// It cannot be negated, or cannot stand in a group.
    Misplaced,
    /// The words of a `patterntype:regexp` query do not fit together.
    Unparseable,
}

impl ErrorCode {
    /// The code as it is written in an answer.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueryTooLong => "query-too-long",
            Self::QueryTooDeep => "query-too-deep",
            Self::TooManyTerms => "too-many-terms",
            Self::InvalidRegex => "invalid-regex",
            Self::RegexTooLarge => "regex-too-large",
            Self::UnknownQualifier => "unknown-qualifier",
            Self::InvalidValue => "invalid-value",
            Self::UnknownLanguage => "unknown-language",
            Self::NotSupportedHere => "not-supported-here",
            Self::Misplaced => "misplaced",
            Self::Unparseable => "unparseable",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl QueryError {
    pub(crate) fn new(code: ErrorCode, position: Range<usize>, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), position, rewrite: None }
    }

    pub(crate) fn with_rewrite(mut self, rewrite: impl Into<String>) -> Self {
        self.rewrite = Some(rewrite.into());
        self
    }
}

/// Something that was taken in one of several possible ways, or that cannot have results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Which kind of alert it is.
    pub code: AlertCode,
    /// What was done and how to say the other thing, for a person.
    pub message: String,
    /// The bytes of the query that it is about.
    pub position: Range<usize>,
    /// The whole query as it could be written instead.
    pub rewrite: Option<String>,
}

/// The kinds of [`Alert`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlertCode {
    /// The query could not be parsed and was taken as one literal.
    LiteralQuery,
    /// An operator in lower case was taken as text.
    LowercaseOperator,
    /// Something that looks like a regular expression was taken as text.
    LooksLikeRegex,
    /// Something that looks like a qualifier was taken as text.
    LooksLikeQualifier,
    /// Two conditions that no document can satisfy together.
    Unsatisfiable,
    /// An option was given twice, and the last one holds.
    RepeatedOption,
    /// A repository's name has a host, which names here do not have.
    RepositoryHost,
}

impl AlertCode {
    /// The code as it is written in an answer.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LiteralQuery => "literal-query",
            Self::LowercaseOperator => "lowercase-operator",
            Self::LooksLikeRegex => "looks-like-regex",
            Self::LooksLikeQualifier => "looks-like-qualifier",
            Self::Unsatisfiable => "unsatisfiable",
            Self::RepeatedOption => "repeated-option",
            Self::RepositoryHost => "repository-host",
        }
    }
}

impl fmt::Display for AlertCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

//! The one way in which a pattern becomes a regular expression, for searching and for planning.

use std::borrow::Cow;
use std::ops::Range;

use regex_automata::meta::{BuildError, Config, Regex};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_syntax::ast;
use regex_syntax::hir::Hir;
use regex_syntax::{Error, ParserBuilder};

use super::error::{ErrorCode, QueryError};
use super::tree::{Case, Matcher, Pattern};

/// The most bytes that a compiled regular expression may take.
pub const COMPILED_SIZE_LIMIT: usize = 10 << 20;

/// The most bytes that the lazily built automaton of a regular expression may take, in each thread.
pub const DFA_SIZE_LIMIT: usize = 8 << 20;

/// How deep the groups and repetitions of a regular expression may be nested.
pub const NEST_LIMIT: u32 = 100;

/// Compiles a pattern for searching bytes: Unicode on, `^` and `$` at each line, lines ended by
/// `\n`, `\r\n` or `\r`.
///
/// # Errors
///
/// [`ErrorCode::InvalidRegex`] when the expression is not valid, which [`super::parse`] has already
/// excluded, and [`ErrorCode::RegexTooLarge`] when it needs more than [`COMPILED_SIZE_LIMIT`].
pub fn compile(pattern: &Pattern) -> Result<Regex, QueryError> {
    compile_source(&source(&pattern.matcher), pattern.case, pattern.position.clone())
}

pub(super) fn compile_source(
    source: &str,
    case: Case,
    position: Range<usize>,
) -> Result<Regex, QueryError> {
    let syntax = syntax_of_source(source, case, &position)?;
    // Each node of a cluster compiles each query: what takes longer to build than it saves is left out.
    let config = Config::new()
        .utf8_empty(false)
        .which_captures(WhichCaptures::Implicit)
        .dfa(false)
        .onepass(false)
        .nfa_size_limit(Some(COMPILED_SIZE_LIMIT))
        .hybrid_cache_capacity(DFA_SIZE_LIMIT);
    let compiled = Regex::builder().configure(config).build_from_hir(&syntax);
    compiled.map_err(|error| cannot_compile(&error, position))
}

fn cannot_compile(error: &BuildError, position: Range<usize>) -> QueryError {
    match error.size_limit() {
        Some(limit) => QueryError::new(
            ErrorCode::RegexTooLarge,
            position,
            format!(
                "the regular expression needs more than {} MiB; lower its repetition counts or \
                 shorten its alternations",
                limit >> 20
            ),
        ),
        None => QueryError::new(ErrorCode::InvalidRegex, position, error.to_string()),
    }
}

/// The text that matches just where the pattern does, when a plain search for bytes will do: the
/// pattern is a literal, and case does not matter or the text has none.
#[must_use]
pub fn needle(pattern: &Pattern) -> Option<&str> {
    match &pattern.matcher {
        Matcher::Literal(text) if pattern.case == Case::Sensitive || is_caseless(text) => {
            Some(text)
        }
        _ => None,
    }
}

/// Whether the text has no letters, at least as far as a glance tells: no other text then equals it
/// without regard to case.
fn is_caseless(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_alphabetic())
}

/// The syntax tree of a pattern, under the same flags as [`compile`].
///
/// # Errors
///
/// [`ErrorCode::InvalidRegex`] with the place in the query.
pub fn syntax(pattern: &Pattern) -> Result<Hir, QueryError> {
    syntax_of_source(&source(&pattern.matcher), pattern.case, &pattern.position)
}

fn source(matcher: &Matcher) -> Cow<'_, str> {
    match matcher {
        Matcher::Literal(text) => Cow::Owned(regex_syntax::escape(text)),
        Matcher::Regex(source) => Cow::Borrowed(source),
    }
}

fn syntax_of_source(source: &str, case: Case, position: &Range<usize>) -> Result<Hir, QueryError> {
    ParserBuilder::new()
        .utf8(false)
        .unicode(true)
        .multi_line(true)
        .crlf(true)
        .case_insensitive(case == Case::Insensitive)
        .nest_limit(NEST_LIMIT)
        .build()
        .parse(source)
        .map_err(|error| explain(&error, source, position))
}

fn explain(error: &Error, source: &str, position: &Range<usize>) -> QueryError {
    let (message, span) = match error {
        Error::Parse(error) => (syntax_message(error, source), Some(error.span())),
        Error::Translate(error) => (error.kind().to_string(), Some(error.span())),
        other => (other.to_string(), None),
    };
    let inner = span.filter(|_| source.len() == position.len()).map(|span| {
        // What is missing has no length of its own: point at the character before which it is.
        let start = position.start + span.start.offset;
        let end = position.start + span.end.offset;
        let next = source[span.start.offset..].chars().next();
        start..end.max(start + next.map_or(0, char::len_utf8))
    });
    QueryError::new(
        ErrorCode::InvalidRegex,
        inner.unwrap_or_else(|| position.clone()),
        format!("invalid regular expression: {message}"),
    )
}

fn syntax_message(error: &ast::Error, source: &str) -> String {
    let from = source.get(error.span().start.offset..).unwrap_or_default();
    let unsupported = |construct: &str| {
        format!(
            "{construct} is not supported: an expression that searches in linear time cannot have \
             it. Search for the parts as separate terms, and exclude with `-`"
        )
    };
    match error.kind() {
        ast::ErrorKind::UnsupportedLookAround => unsupported(look_around(from)),
        ast::ErrorKind::UnsupportedBackreference => unsupported("a back-reference"),
        ast::ErrorKind::EscapeUnrecognized if from.starts_with("\\k") => {
            unsupported("a named back-reference (`\\k`)")
        }
        ast::ErrorKind::EscapeUnrecognized if from.starts_with("\\K") => {
            unsupported("resetting the match's start (`\\K`)")
        }
        ast::ErrorKind::FlagUnrecognized if opens(error, source, "(?>") => {
            unsupported("an atomic group (`(?>`)")
        }
        ast::ErrorKind::FlagUnrecognized if opens(error, source, "(?P=") => {
            unsupported("a named back-reference (`(?P=`)")
        }
        ast::ErrorKind::FlagUnrecognized if opens(error, source, "(?(") => {
            unsupported("a conditional (`(?(`)")
        }
        kind => kind.to_string(),
    }
}

fn look_around(from: &str) -> &'static str {
    match from.as_bytes().get(2..4) {
        Some([b'=', _]) => "look-ahead (`(?=`)",
        Some([b'!', _]) => "negative look-ahead (`(?!`)",
        Some(b"<=") => "look-behind (`(?<=`)",
        Some(b"<!") => "negative look-behind (`(?<!`)",
        _ if from.starts_with("(?=") => "look-ahead (`(?=`)",
        _ if from.starts_with("(?!") => "negative look-ahead (`(?!`)",
        _ => "look-around",
    }
}

/// Whether the group that the error is in opens with `construct`.
fn opens(error: &ast::Error, source: &str, construct: &str) -> bool {
    source
        .get(..error.span().start.offset)
        .and_then(|before| before.rfind("(?"))
        .is_some_and(|start| source[start..].starts_with(construct))
}

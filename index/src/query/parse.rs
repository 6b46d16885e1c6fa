//! From text to a [`Query`].

use super::error::{Alert, AlertCode, ErrorCode, QueryError};
use super::group::{Failure, Raw, group};
use super::hints;
use super::interpret::{Interpreter, quote};
use super::lex::{Broken, Form, Name, PatternType, Term, Token, Value, split_name, tokens};
use super::options::ParseOptions;
use super::qualifiers::{self, Qualifier};
use super::simplify::simplify;
use super::tree::{Case, Matcher, Node, Pattern, QueryOptions, Scope};

/// A query, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// What a document must satisfy, as it was written: see [`simplify`].
    pub root: Node,
    /// What is asked for besides.
    pub options: QueryOptions,
    /// What may have been meant otherwise.
    pub alerts: Vec<Alert>,
}

/// Reads a query.
///
/// A text whose structure is not that of a query, such as `printf("x");`, is taken as one literal,
/// with an alert that says so.
///
/// # Errors
///
/// When it is over a limit of `options`, or when a qualifier or a regular expression in it is not
/// one.
pub fn parse(input: &str, options: &ParseOptions<'_>) -> Result<Query, QueryError> {
    if input.len() > options.max_length {
        return Err(QueryError::new(
            ErrorCode::QueryTooLong,
            options.max_length..input.len(),
            format!("the query has {} bytes; it may have {}", input.len(), options.max_length),
        ));
    }
    let pattern_type = find_pattern_type(input)?;
    match read(input, pattern_type, options) {
        Ok(raw) => interpret(input, &raw, pattern_type, options),
        Err(Failure::Error(error)) => Err(error),
        Err(Failure::Broken(broken)) if pattern_type == PatternType::Regexp => {
            Err(QueryError::new(
                ErrorCode::Unparseable,
                broken.position,
                format!("{}; escape it with a backslash to search for it", broken.reason),
            ))
        }
        Err(Failure::Broken(broken)) => Ok(whole_literal(input, &broken)),
    }
}

fn read(
    input: &str,
    pattern_type: PatternType,
    options: &ParseOptions<'_>,
) -> Result<Raw, Failure> {
    match pattern_type {
        PatternType::Phrase => group(&phrase(input), options),
        _ => group(&tokens(input, pattern_type)?, options),
    }
}

fn interpret(
    input: &str,
    raw: &Raw,
    pattern_type: PatternType,
    options: &ParseOptions<'_>,
) -> Result<Query, QueryError> {
    let mut interpreter = Interpreter {
        input,
        options,
        regexp: pattern_type == PatternType::Regexp,
        query_options: QueryOptions::default(),
        alerts: Vec::new(),
        filters: Vec::new(),
    };
    let root = interpreter.scope(raw, Case::Insensitive, false)?;
    hints::unsatisfiable(&simplify(root.clone()), &mut interpreter);
    Ok(Query { root, options: interpreter.query_options, alerts: interpreter.alerts })
}

/// The value of the first word that is a `patterntype:`; it decides how the rest is read.
fn find_pattern_type(input: &str) -> Result<PatternType, QueryError> {
    for (start, word) in words(input) {
        let Some((name, value)) = split_name(word) else {
            continue;
        };
        if qualifiers::find(name) != Some(Qualifier::PatternType) || value.is_empty() {
            continue;
        }
        return match value.to_ascii_lowercase().as_str() {
            "literal" => Ok(PatternType::Literal),
            "regexp" => Ok(PatternType::Regexp),
            "phrase" => Ok(PatternType::Phrase),
            other => {
                let at = start + name.len() + 1;
                let error = QueryError::new(
                    ErrorCode::InvalidValue,
                    at..at + value.len(),
                    "`patterntype:` is `literal`, `regexp` or `phrase`",
                );
                let instead = match other {
                    "regex" | "re" => "regexp",
                    "standard" | "keyword" => "literal",
                    _ => return Err(error),
                };
                let (before, after) = (&input[..at], &input[at + value.len()..]);
                Err(error.with_rewrite([before, instead, after].concat()))
            }
        };
    }
    Ok(PatternType::Literal)
}

/// The words between spaces, with where they start.
fn words(input: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &input[at..];
        let start = at + rest.find(|c: char| !c.is_whitespace())?;
        let word = input[start..].split(char::is_whitespace).next()?;
        at = start + word.len();
        Some((start, word))
    })
}

/// The qualifiers of a text that is otherwise one phrase, and the phrase.
fn phrase(input: &str) -> Vec<Token> {
    let mut rest: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    let mut text_start = None;
    let mut text_end = 0;
    let mut gap = 0;
    for (start, word) in words(input) {
        let unsigned = word.strip_prefix('-').unwrap_or(word);
        let qualifier = split_name(unsigned)
            .filter(|(_, value)| !value.is_empty())
            .and_then(|(name, _)| qualifiers::find(name));
        if qualifier.is_some()
            && let Ok(own) = tokens(word, PatternType::Literal)
        {
            found.extend(own.into_iter().map(|token| shifted(token, start)));
            // Words on the two sides of a qualifier are as far apart as it was from the second.
            gap = start + word.len();
            continue;
        }
        let space = if rest.is_empty() { start } else { gap };
        rest.push(&input[space..start]);
        rest.push(word);
        text_start.get_or_insert(start);
        text_end = start + word.len();
        gap = text_end;
    }
    if let Some(start) = text_start {
        found.push(Token::Term(Term {
            position: start..text_end,
            name: Name::None,
            value: Value { form: Form::Quoted, text: rest.concat(), position: start..text_end },
        }));
    }
    found
}

fn shifted(token: Token, by: usize) -> Token {
    let shift = |range: std::ops::Range<usize>| range.start + by..range.end + by;
    match token {
        Token::Open(at) => Token::Open(at + by),
        Token::Close(at) => Token::Close(at + by),
        Token::And(range) => Token::And(shift(range)),
        Token::Or(range) => Token::Or(shift(range)),
        Token::Not(range) => Token::Not(shift(range)),
        Token::Term(term) => Token::Term(Term {
            position: shift(term.position),
            name: term.name,
            value: Value { position: shift(term.value.position), ..term.value },
        }),
    }
}

/// The query of a text whose structure is not understood.
fn whole_literal(input: &str, broken: &Broken) -> Query {
    let text = input.trim();
    let start = input.len() - input.trim_start().len();
    Query {
        root: Node::Pattern(Pattern {
            matcher: Matcher::Literal(text.to_owned()),
            case: Case::Insensitive,
            scope: Scope::Either,
            position: start..start + text.len(),
        }),
        options: QueryOptions::default(),
        alerts: vec![Alert {
            code: AlertCode::LiteralQuery,
            message: format!(
                "the whole query is searched for as text: {}; quotes make plain what is text",
                broken.reason
            ),
            position: broken.position.clone(),
            rewrite: Some(quoted_phrase(input)),
        }],
    }
}

/// The text in quotes, followed by the qualifiers in it.
fn quoted_phrase(input: &str) -> String {
    let parts = phrase(input);
    let mut text = String::new();
    let mut qualifiers = String::new();
    for token in parts {
        match token {
            Token::Not(_) => qualifiers.push_str(" -"),
            Token::Term(term) if term.name == Name::None => text = quote(&term.value.text),
            Token::Term(term) => {
                if !qualifiers.ends_with('-') {
                    qualifiers.push(' ');
                }
                qualifiers.push_str(&input[term.position]);
            }
            _ => {}
        }
    }
    format!("{text}{qualifiers}").trim().to_owned()
}

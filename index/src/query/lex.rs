//! From text to tokens. What no rule allows makes the whole query [`Broken`].

use std::ops::Range;

use super::foreign;
use super::qualifiers::{self, Qualifier};

/// How bare words are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatternType {
    Literal,
    Regexp,
    Phrase,
}

/// A place at which the query's structure cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub position: Range<usize>,
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Open(usize),
    Close(usize),
    And(Range<usize>),
    Or(Range<usize>),
    Not(Range<usize>),
    Term(Term),
}

/// A word, a quoted text or a regular expression, with or without a qualifier before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Term {
    /// All of it.
    pub position: Range<usize>,
    pub name: Name,
    pub value: Value,
}

/// What stands before a term's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    None,
    Known(Qualifier),
    /// A name that is an error: another engine's, or a mistake.
    Other(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub form: Form,
    pub text: String,
    /// The text between the delimiters.
    pub position: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Bare,
    Quoted,
    Slashes,
}

/// The tokens of a query.
pub(super) fn tokens(input: &str, pattern_type: PatternType) -> Result<Vec<Token>, Broken> {
    let mut lexer = Lexer {
        input,
        at: 0,
        open: 0,
        regexp: pattern_type == PatternType::Regexp,
        tokens: Vec::new(),
    };
    while lexer.next()? {}
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    input: &'a str,
    at: usize,
    /// How many groups are open.
    open: usize,
    /// Whether bare words are regular expressions.
    regexp: bool,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    /// Reads one token; false at the end.
    fn next(&mut self) -> Result<bool, Broken> {
        let rest = &self.input[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        let Some(c) = self.input[self.at..].chars().next() else {
            return Ok(false);
        };
        match c {
            '(' if !self.opens_regex() => {
                self.tokens.push(Token::Open(self.at));
                self.open += 1;
                self.at += 1;
            }
            ')' => self.close()?,
            '-' if self.negates() => {
                self.tokens.push(Token::Not(self.at..self.at + 1));
                self.at += 1;
            }
            _ => self.term()?,
        }
        Ok(true)
    }

    fn close(&mut self) -> Result<(), Broken> {
        if self.open == 0 {
            return Err(self.broken(self.at, "a `)` closes no group"));
        }
        self.open -= 1;
        self.tokens.push(Token::Close(self.at));
        self.at += 1;
        self.expect_boundary(self.at)
    }

    /// Whether the `-` here stands before what it can negate.
    fn negates(&self) -> bool {
        let mut rest = self.input[self.at + 1..].chars();
        match rest.next() {
            None | Some('-' | '>' | '=' | ')') => false,
            Some(c) => !c.is_whitespace(),
        }
    }

    /// Whether the `(` here begins a regular expression and not a group.
    fn opens_regex(&self) -> bool {
        self.regexp
            && (self.input[self.at..].starts_with("(?")
                || group_end(self.input, self.at).is_some_and(|end| !self.is_boundary(end)))
    }

    fn term(&mut self) -> Result<(), Broken> {
        let start = self.at;
        let after_minus =
            matches!(self.tokens.last(), Some(Token::Not(range)) if range.end == start);
        let (name, value_start) = self.name(start);
        let value = self.value(value_start, &name)?;
        let position = start..self.at;
        let operator = match &self.input[position.clone()] {
            "AND" if !after_minus => Some(Token::And(position.clone())),
            "OR" if !after_minus => Some(Token::Or(position.clone())),
            "NOT" if !after_minus => Some(Token::Not(position.clone())),
            _ => None,
        };
        self.tokens.push(operator.unwrap_or(Token::Term(Term { position, name, value })));
        Ok(())
    }

    /// Whether a bare value of the qualifier is a regular expression, or can be one.
    fn is_regex(&self, name: &Name) -> bool {
        match name {
            Name::Known(Qualifier::File | Qualifier::Repository) => true,
            Name::Known(Qualifier::Content) | Name::None => self.regexp,
            _ => false,
        }
    }

    /// The qualifier that begins at `start`, and where its value does.
    fn name(&self, start: usize) -> (Name, usize) {
        let none = (Name::None, start);
        let Some((name, value)) = split_name(&self.input[start..]) else {
            return none;
        };
        let value_start = start + name.len() + 1;
        if self.is_boundary(value_start) {
            return none;
        }
        if let Some(qualifier) = qualifiers::find(name) {
            return (Name::Known(qualifier), value_start);
        }
        let word = value.split(char::is_whitespace).next().unwrap_or(value);
        if foreign::advice(name, word).is_some() || !qualifiers::misspelled(name).is_empty() {
            return (Name::Other(name.to_owned()), value_start);
        }
        none
    }

    fn value(&mut self, start: usize, name: &Name) -> Result<Value, Broken> {
        match self.input[start..].chars().next() {
            Some('"') => self.quoted(start),
            Some('/') => match self.slashes(start, name) {
                Some(value) => Ok(value),
                None => self.bare(start, self.is_regex(name)),
            },
            _ if *name != Name::None && is_predicate(&self.input[start..]) => self.predicate(start),
            _ => self.bare(start, self.is_regex(name)),
        }
    }

    fn quoted(&mut self, start: usize) -> Result<Value, Broken> {
        let mut text = String::new();
        let mut characters = self.input[start + 1..].char_indices().peekable();
        while let Some((offset, c)) = characters.next() {
            match (c, characters.peek()) {
                ('"', _) => {
                    let end = start + 1 + offset;
                    self.at = end + 1;
                    self.expect_boundary(self.at)?;
                    return Ok(Value { form: Form::Quoted, text, position: start + 1..end });
                }
                ('\\', Some((_, escaped @ ('"' | '\\')))) => {
                    text.push(*escaped);
                    characters.next();
                }
                _ => text.push(c),
            }
        }
        Err(self.broken(start, "a quote is not closed"))
    }

    /// The regular expression between the `/` at `start` and the next one, if that ends the word
    /// and something is between them. In `repo:/re/@rev` the revision may follow.
    fn slashes(&mut self, start: usize, name: &Name) -> Option<Value> {
        let mut escaped = false;
        let length = self.input[start + 1..].find(|c| {
            let ends = c == '/' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        let end = start + 1 + length;
        let revision = match &self.input[end + 1..] {
            rest if *name == Name::Known(Qualifier::Repository) && rest.starts_with('@') => {
                rest.find(|c: char| c.is_whitespace() || c == ')').unwrap_or(rest.len())
            }
            _ => 0,
        };
        if length == 0 || !self.is_boundary(end + 1 + revision) {
            return None;
        }
        self.at = end + 1 + revision;
        Some(Value {
            form: Form::Slashes,
            text: self.input[start + 1..end].to_owned(),
            position: start + 1..end,
        })
    }

    fn bare(&mut self, start: usize, regex: bool) -> Result<Value, Broken> {
        let end = if regex {
            regex_end(self.input, start, self.open)
        } else {
            literal_end(self.input, start, self.open)
        };
        let end = end.map_err(|at| {
            self.broken(at, "a quote in a word, or a parenthesis without its pair")
        })?;
        self.at = end;
        Ok(Value {
            form: Form::Bare,
            text: self.input[start..end].to_owned(),
            position: start..end,
        })
    }

    /// Sourcegraph's `has.file(path:x content:y)`, whole, so that it can be named in an error.
    fn predicate(&mut self, start: usize) -> Result<Value, Broken> {
        let end = self.input[start..]
            .find('(')
            .and_then(|open| group_end(self.input, start + open))
            .ok_or_else(|| self.broken(start, "a parenthesis is not closed"))?;
        self.at = end;
        self.expect_boundary(end)?;
        Ok(Value {
            form: Form::Bare,
            text: self.input[start..end].to_owned(),
            position: start..end,
        })
    }

    /// Whether a term can end before the byte.
    fn is_boundary(&self, at: usize) -> bool {
        self.input[at..].chars().next().is_none_or(|c| c.is_whitespace() || c == ')')
    }

    fn expect_boundary(&self, at: usize) -> Result<(), Broken> {
        if self.is_boundary(at) {
            Ok(())
        } else {
            Err(self.broken(at, "something follows a quote or a group without a space"))
        }
    }

    fn broken(&self, at: usize, reason: &'static str) -> Broken {
        let length = self.input[at..].chars().next().map_or(0, char::len_utf8);
        Broken { position: at..at + length, reason }
    }
}

/// Splits `name:value`. Not what is code or a URL: `a::b`, `http://x`.
pub(super) fn split_name(word: &str) -> Option<(&str, &str)> {
    let length = word.find(|c: char| !c.is_ascii_alphabetic() && c != '_' && c != '-')?;
    let (name, rest) = word.split_at(length);
    let value = rest.strip_prefix(':')?;
    let code = value.starts_with(':') || value.starts_with("//");
    let named = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.len() <= 32;
    (named && !code).then_some((name, value))
}

/// Whether the value is one of Sourcegraph's predicates.
pub(super) fn is_predicate(value: &str) -> bool {
    let word = value.split(['(', ' ', ')']).next().unwrap_or_default();
    value[word.len()..].starts_with('(')
        && (word == "has"
            || word == "contains"
            || word.starts_with("has.")
            || word.starts_with("contains."))
}

/// Where a bare word ends: at a space, or at the `)` of an open group. The error is where it has a
/// quote, or a parenthesis without its pair.
fn literal_end(input: &str, start: usize, open: usize) -> Result<usize, usize> {
    let mut opened = Vec::new();
    let mut end = input.len();
    for (offset, c) in input[start..].char_indices() {
        let at = start + offset;
        match c {
            '"' => return Err(at),
            '(' => opened.push(at),
            ')' if opened.pop().is_some() => {}
            ')' if open > 0 => return Ok(at),
            ')' => return Err(at),
            c if c.is_whitespace() => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    opened.first().map_or(Ok(end), |at| Err(*at))
}

/// Where a bare regular expression ends: as [`literal_end`], but a backslash takes the next
/// character with it, and spaces in parentheses and classes belong to it.
fn regex_end(input: &str, start: usize, open: usize) -> Result<usize, usize> {
    let mut opened = Vec::new();
    let mut at = start;
    while let Some(c) = input[at..].chars().next() {
        match c {
            '\\' => at += input[at + 1..].chars().next().map_or(0, char::len_utf8),
            '[' => {
                if let Some(end) = class_end(input, at) {
                    at = end;
                    continue;
                }
            }
            '(' => opened.push(at),
            ')' if opened.pop().is_some() => {}
            ')' if open > 0 => return Ok(at),
            ')' => return Err(at),
            c if c.is_whitespace() && opened.is_empty() => return Ok(at),
            _ => {}
        }
        at += c.len_utf8();
    }
    opened.first().map_or(Ok(input.len()), |at| Err(*at))
}

/// The byte after the class that opens at `start`.
fn class_end(input: &str, start: usize) -> Option<usize> {
    let mut at = start + 1;
    if input[at..].starts_with('^') {
        at += 1;
    }
    if input[at..].starts_with(']') {
        at += 1;
    }
    let mut depth = 1;
    while let Some(c) = input[at..].chars().next() {
        at += c.len_utf8();
        match c {
            '\\' => at += input[at..].chars().next().map_or(0, char::len_utf8),
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The byte after the `)` that closes the `(` at `start`.
fn group_end(input: &str, start: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = start;
    while let Some(c) = input[at..].chars().next() {
        match c {
            '\\' => at += input[at + 1..].chars().next().map_or(0, char::len_utf8),
            '[' => {
                if let Some(end) = class_end(input, at) {
                    at = end;
                    continue;
                }
            }
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        at += c.len_utf8();
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

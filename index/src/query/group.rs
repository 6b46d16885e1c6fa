//! From tokens to groups: NOT binds tighter than AND, AND tighter than OR.

use std::ops::Range;

use super::error::{ErrorCode, QueryError};
use super::lex::{Broken, Term, Token};
use super::options::ParseOptions;

/// A query's structure, before its terms are understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    And(Vec<Raw>),
    Or(Vec<Raw>),
    Not(Box<Raw>),
    /// What stood in parentheses.
    Group(Box<Raw>),
    Term(Term),
}

/// Why there is no structure.
pub(super) enum Failure {
    /// The text is not of the language, and may be meant as it stands.
    Broken(Broken),
    /// It is, and is too much.
    Error(QueryError),
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// The structure of the tokens; an `And` of nothing when there are none.
pub(super) fn group(tokens: &[Token], options: &ParseOptions<'_>) -> Result<Raw, Failure> {
    check_terms(tokens, options.max_terms)?;
    let mut parser = Parser { tokens, at: 0, depth: 0, max_depth: options.max_depth };
    if tokens.is_empty() {
        return Ok(Raw::And(Vec::new()));
    }
    let raw = parser.or()?;
    match parser.peek() {
        None => Ok(raw),
        Some(token) => Err(broken(position(token), "a `)` closes no group")),
    }
}

fn check_terms(tokens: &[Token], max_terms: usize) -> Result<(), Failure> {
    let over = tokens
        .iter()
        .filter_map(|token| match token {
            Token::Term(term) => Some(term),
            _ => None,
        })
        .nth(max_terms);
    match over {
        None => Ok(()),
        Some(term) => Err(Failure::Error(QueryError::new(
            ErrorCode::TooManyTerms,
            term.position.clone(),
            format!(
                "a query may have {max_terms} terms; write alternatives as one regular expression"
            ),
        ))),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    max_depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn or(&mut self) -> Result<Raw, Failure> {
        let mut parts = vec![self.and()?];
        while matches!(self.peek(), Some(Token::Or(_))) {
            self.at += 1;
            parts.push(self.and()?);
        }
        Ok(single_or(parts, Raw::Or))
    }

    fn and(&mut self) -> Result<Raw, Failure> {
        let mut parts = vec![self.not()?];
        loop {
            match self.peek() {
                None | Some(Token::Or(_) | Token::Close(_)) => break,
                Some(Token::And(_)) => self.at += 1,
                Some(_) => {}
            }
            parts.push(self.not()?);
        }
        Ok(single_or(parts, Raw::And))
    }

    fn not(&mut self) -> Result<Raw, Failure> {
        let token = self.peek().cloned();
        self.at += 1;
        match token {
            Some(Token::Term(term)) => Ok(Raw::Term(term)),
            Some(Token::Not(at)) => {
                self.descend(at)?;
                let child = self.not()?;
                self.depth -= 1;
                Ok(Raw::Not(Box::new(child)))
            }
            Some(Token::Open(at)) => {
                self.descend(at..at + 1)?;
                let child = self.or()?;
                self.depth -= 1;
                match self.peek() {
                    Some(Token::Close(_)) => self.at += 1,
                    _ => return Err(broken(at..at + 1, "a `(` is not closed")),
                }
                Ok(Raw::Group(Box::new(child)))
            }
            Some(token) => {
                Err(broken(position(&token), "an operator or a group has nothing to work on"))
            }
            None => {
                let end = self.tokens.last().map_or(0..0, position);
                Err(broken(end, "an operator has nothing after it"))
            }
        }
    }

    fn descend(&mut self, at: Range<usize>) -> Result<(), Failure> {
        self.depth += 1;
        if self.depth <= self.max_depth {
            return Ok(());
        }
        Err(Failure::Error(QueryError::new(
            ErrorCode::QueryTooDeep,
            at,
            format!(
                "groups and negations may be nested {} deep; to search for these characters, put \
                 them in quotes",
                self.max_depth
            ),
        )))
    }
}

fn single_or(mut parts: Vec<Raw>, many: fn(Vec<Raw>) -> Raw) -> Raw {
    if parts.len() == 1 { parts.swap_remove(0) } else { many(parts) }
}

fn broken(position: Range<usize>, reason: &'static str) -> Failure {
    Failure::Broken(Broken { position, reason })
}

fn position(token: &Token) -> Range<usize> {
    match token {
        Token::Open(at) | Token::Close(at) => *at..*at + 1,
        Token::And(range) | Token::Or(range) | Token::Not(range) => range.clone(),
        Token::Term(term) => term.position.clone(),
    }
}

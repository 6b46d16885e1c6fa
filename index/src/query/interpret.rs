//! From groups of terms to the typed tree.

use std::ops::Range;

use super::case;
use super::error::{Alert, AlertCode, ErrorCode, QueryError};
use super::foreign;
use super::group::Raw;
use super::hints;
use super::lex::{Form, Name, Term};
use super::names::{is_glob, path_glob};
use super::options::ParseOptions;
use super::qualifiers::{self, Qualifier};
use super::regex::syntax;
use super::tree::{Case, Filter, Matcher, Node, Pattern, QueryOptions, Scope};

/// What interpreting a query gathers beside its tree.
pub(super) struct Interpreter<'a> {
    pub input: &'a str,
    pub options: &'a ParseOptions<'a>,
    /// Whether bare words are regular expressions.
    pub regexp: bool,
    pub query_options: QueryOptions,
    pub alerts: Vec<Alert>,
    /// Where each filter was written.
    pub filters: Vec<(Filter, Range<usize>)>,
}

/// Where in the query a term stands.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    /// In parentheses.
    pub grouped: bool,
    /// Right after a NOT.
    pub negated: bool,
}

impl Interpreter<'_> {
    /// The node of a whole query, or of what stands in one pair of parentheses.
    pub fn scope(&mut self, raw: &Raw, outer: Case, grouped: bool) -> Result<Node, QueryError> {
        let case = case::of_scope(raw, outer, self)?;
        let place = Place { grouped, negated: false };
        Ok(self.node(raw, case, place)?.unwrap_or(Node::All))
    }

    /// The node of a part; `None` when it only sets options.
    fn node(&mut self, raw: &Raw, case: Case, place: Place) -> Result<Option<Node>, QueryError> {
        match raw {
            Raw::Term(term) => self.term(term, case, place),
            Raw::Group(child) => self.scope(child, case, true).map(Some),
            Raw::Not(child) => {
                let place = Place { negated: true, ..place };
                let node = self.node(child, case, place)?;
                let absorbed = matches!(&**child, Raw::Term(term) if takes_negation(term));
                Ok(node.map(|node| match absorbed {
                    true => node,
                    false => Node::Not(Box::new(node)),
                }))
            }
            Raw::And(parts) => {
                hints::lowercase_operators(parts, self);
                Ok(self.nodes(parts, case, place)?.map(Node::And))
            }
            Raw::Or(parts) => Ok(self.nodes(parts, case, place)?.map(Node::Or)),
        }
    }

    fn nodes(
        &mut self,
        parts: &[Raw],
        case: Case,
        place: Place,
    ) -> Result<Option<Vec<Node>>, QueryError> {
        let place = Place { negated: false, ..place };
        let mut nodes = Vec::with_capacity(parts.len());
        for part in parts {
            nodes.extend(self.node(part, case, place)?);
        }
        Ok((!nodes.is_empty()).then_some(nodes))
    }

    fn term(&mut self, term: &Term, case: Case, place: Place) -> Result<Option<Node>, QueryError> {
        match &term.name {
            Name::None => self.word(term, case).map(Some),
            Name::Other(name) => Err(self.unknown(name, term)),
            Name::Known(qualifier) => match qualifier {
                Qualifier::Path | Qualifier::File => self.path(*qualifier, term, case).map(Some),
                Qualifier::Content => {
                    let regex = self.regexp && term.value.form == Form::Bare;
                    self.pattern(term, regex, Scope::Content, case).map(Some)
                }
                Qualifier::Symbol => self.symbol(term, case).map(Some),
                Qualifier::Type
                | Qualifier::Select
                | Qualifier::Count
                | Qualifier::Timeout
                | Qualifier::Case
                | Qualifier::PatternType => self.option(*qualifier, term, place).map(|()| None),
                _ => self.filter(*qualifier, term, place).map(Some),
            },
        }
    }

    fn word(&mut self, term: &Term, case: Case) -> Result<Node, QueryError> {
        let bare = term.value.form == Form::Bare;
        if bare && !self.regexp {
            hints::word(term, self);
        }
        self.pattern(term, bare && self.regexp, Scope::Either, case)
    }

    /// A pattern of the value's text, which is a regular expression if it has slashes or `regex`.
    fn pattern(
        &mut self,
        term: &Term,
        regex: bool,
        scope: Scope,
        case: Case,
    ) -> Result<Node, QueryError> {
        let text = term.value.text.clone();
        let matcher = match term.value.form {
            Form::Slashes => Matcher::Regex(text),
            Form::Bare if regex => Matcher::Regex(text),
            Form::Bare | Form::Quoted => Matcher::Literal(text),
        };
        checked(Pattern { matcher, case, scope, position: term.value.position.clone() })
    }

    fn path(&mut self, qualifier: Qualifier, term: &Term, case: Case) -> Result<Node, QueryError> {
        let value = &term.value;
        self.refuse_predicate(term)?;
        if qualifier == Qualifier::File || value.form == Form::Slashes {
            return self.pattern(term, true, Scope::Path, case).map_err(|error| match qualifier {
                Qualifier::File if value.text.starts_with('*') => error
                    .with_rewrite(self.replaced(&term.position, &format!("path:{}", value.text))),
                _ => error,
            });
        }
        let matcher = match value.form {
            Form::Bare if is_glob(&value.text) => Matcher::Regex(path_glob(&value.text)),
            Form::Bare if value.text.starts_with('/') => {
                Matcher::Regex(format!(r"\A{}", regex_syntax::escape(&value.text[1..])))
            }
            _ => Matcher::Literal(value.text.clone()),
        };
        checked(Pattern { matcher, case, scope: Scope::Path, position: value.position.clone() })
    }

    fn symbol(&mut self, term: &Term, case: Case) -> Result<Node, QueryError> {
        let value = &term.value;
        let (container, name) = match value.form {
            Form::Bare => split_container(&value.text),
            _ => (None, value.text.as_str()),
        };
        let scope = Scope::Symbol { container: container.map(str::to_owned) };
        if value.form == Form::Slashes {
            return self.pattern(term, true, scope, case);
        }
        checked(Pattern {
            matcher: Matcher::Literal(name.to_owned()),
            case,
            scope,
            position: value.position.clone(),
        })
    }

    fn unknown(&self, name: &str, term: &Term) -> QueryError {
        let quoted = quote(&self.input[term.position.clone()]);
        let error = |message: String| {
            QueryError::new(
                ErrorCode::UnknownQualifier,
                term.position.clone(),
                format!("{message}; to search for the text, write `{quoted}`"),
            )
        };
        if let Some(advice) = foreign::advice(name, &term.value.text) {
            let error = error(format!("there is no qualifier `{name}:` here: {}", advice.message));
            return match advice.replacement {
                Some(replacement) => {
                    error.with_rewrite(self.replaced(&term.position, &replacement))
                }
                None => error,
            };
        }
        let near = qualifiers::misspelled(name);
        let list: Vec<String> = near.iter().map(|name| format!("`{name}:`")).collect();
        let error =
            error(format!("there is no qualifier `{name}:`; did you mean {}?", list.join(" or ")));
        match near.first() {
            Some(first) => {
                let name_end = term.position.start + name.len();
                error.with_rewrite(self.replaced(&(term.position.start..name_end), first))
            }
            None => error,
        }
    }

    pub fn alert(&mut self, alert: Alert) {
        if !self.alerts.contains(&alert) {
            self.alerts.push(alert);
        }
    }

    pub fn alert_with(
        &mut self,
        code: AlertCode,
        position: &Range<usize>,
        message: String,
        replacement: Option<&str>,
    ) {
        let rewrite = replacement.map(|replacement| self.replaced(position, replacement));
        self.alert(Alert { code, message, position: position.clone(), rewrite });
    }

    /// The query with something else in the place of `position`.
    pub fn replaced(&self, position: &Range<usize>, replacement: &str) -> String {
        let before = &self.input[..position.start];
        let after = &self.input[position.end..];
        if replacement.is_empty() {
            return format!("{} {}", before.trim_end(), after.trim_start()).trim().to_owned();
        }
        [before, replacement, after].concat()
    }
}

/// Whether a NOT before the term changes its value, instead of what it is part of.
fn takes_negation(term: &Term) -> bool {
    matches!(term.name, Name::Known(Qualifier::Archived | Qualifier::Fork | Qualifier::Case))
}

fn checked(pattern: Pattern) -> Result<Node, QueryError> {
    if matches!(pattern.matcher, Matcher::Regex(_)) {
        syntax(&pattern)?;
    }
    Ok(Node::Pattern(pattern))
}

/// Splits `Type::method`, `Type.method` and `Type#method` at the last separator.
fn split_container(text: &str) -> (Option<&str>, &str) {
    let split = ["::", ".", "#"]
        .iter()
        .filter_map(|separator| text.rfind(separator).map(|at| (at, at + separator.len())))
        .max_by_key(|(_, end)| *end);
    match split {
        Some((at, end)) if at > 0 => (Some(&text[..at]), &text[end..]),
        _ => (None, text),
    }
}

/// The text in quotes, as a term that matches it.
pub(super) fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

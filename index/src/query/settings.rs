//! The qualifiers that say what is wanted and not what matches.

use std::time::Duration;

use super::error::{AlertCode, ErrorCode, QueryError};
use super::interpret::{Interpreter, Place};
use super::lex::Term;
use super::qualifiers::Qualifier;
use super::tree::{Count, ResultType, Select};
use crate::symbols::SymbolKind;

const TYPES: &str = "`file`, `path`, `repo` or `symbol`";
const SELECTS: &str = "`repo`, `file`, `content`, `symbol`, or a kind of symbol such as \
     `symbol.function`";

impl Interpreter<'_> {
    /// Takes in an option.
    pub fn option(
        &mut self,
        qualifier: Qualifier,
        term: &Term,
        place: Place,
    ) -> Result<(), QueryError> {
        // These two were read before: one by scope, the other before the first token.
        if qualifier == Qualifier::Case {
            return Ok(());
        }
        if place.negated || place.grouped {
            let what = if place.negated {
                "cannot be negated"
            } else {
                "holds for the whole query, and cannot stand in parentheses"
            };
            let written = &self.input[term.position.clone()];
            return Err(QueryError::new(
                ErrorCode::Misplaced,
                term.position.clone(),
                format!("`{written}` {what}"),
            ));
        }
        let repeated = match qualifier {
            Qualifier::Type => {
                let before = self.query_options.result_type;
                self.query_options.result_type = self.result_type(term)?;
                before != ResultType::default() && before != self.query_options.result_type
            }
            Qualifier::Select => {
                let select = self.select(term)?;
                let before = self.query_options.select.replace(select);
                before.is_some() && before != self.query_options.select
            }
            Qualifier::Count => {
                let count = self.count(term)?;
                let before = self.query_options.count.replace(count);
                before.is_some() && before != self.query_options.count
            }
            Qualifier::Timeout => {
                let timeout = self.timeout(term)?;
                let before = self.query_options.timeout.replace(timeout);
                before.is_some() && before != self.query_options.timeout
            }
            _ => false,
        };
        if repeated {
            self.alert_with(
                AlertCode::RepeatedOption,
                &term.position,
                "this option is given more than once; this one holds".to_owned(),
                None,
            );
        }
        Ok(())
    }

    fn result_type(&self, term: &Term) -> Result<ResultType, QueryError> {
        let value = term.value.text.to_ascii_lowercase();
        let instead = match value.as_str() {
            "file" => return Ok(ResultType::File),
            "path" => return Ok(ResultType::Path),
            "repo" => return Ok(ResultType::Repository),
            "symbol" => return Ok(ResultType::Symbol),
            "issue" | "issues" | "pr" | "prs" | "wiki" | "user" | "org" | "commit" | "diff" => {
                return Err(QueryError::new(
                    ErrorCode::NotSupportedHere,
                    term.position.clone(),
                    format!("`type:{value}` cannot be searched here; what can is {TYPES}"),
                ));
            }
            "filename" => "type:path",
            "filematch" | "code" => "type:file",
            "repository" | "repositories" => "type:repo",
            _ => return Err(invalid(term, format!("`type:` is {TYPES}"))),
        };
        Err(invalid(term, format!("`type:` is {TYPES}"))
            .with_rewrite(self.replaced(&term.position, instead)))
    }

    fn select(&self, term: &Term) -> Result<Select, QueryError> {
        let value = term.value.text.to_ascii_lowercase();
        match value.as_str() {
            "repo" => Ok(Select::Repository),
            "file" => Ok(Select::File),
            "content" => Ok(Select::Content),
            "symbol" => Ok(Select::Symbol(None)),
            other => match other.strip_prefix("symbol.") {
                Some(name) => match SymbolKind::from_name(name) {
                    Some(kind) => Ok(Select::Symbol(Some(kind))),
                    None => Err(invalid(term, no_kind(name))),
                },
                None => Err(invalid(term, format!("`select:` is {SELECTS}"))),
            },
        }
    }

    fn count(&self, term: &Term) -> Result<Count, QueryError> {
        if term.value.text.eq_ignore_ascii_case("all") {
            return Ok(Count::All);
        }
        match term.value.text.parse() {
            Ok(limit) if limit > 0 => Ok(Count::Limit(limit)),
            _ => Err(invalid(term, "`count:` is a number from 1 on, or `all`".to_owned())),
        }
    }

    fn timeout(&self, term: &Term) -> Result<Duration, QueryError> {
        parse_duration(&term.value.text).filter(|duration| !duration.is_zero()).ok_or_else(|| {
            invalid(term, "`timeout:` is a duration such as `500ms`, `5s` or `1m30s`".to_owned())
        })
    }
}

fn invalid(term: &Term, message: String) -> QueryError {
    QueryError::new(ErrorCode::InvalidValue, term.value.position.clone(), message)
}

fn no_kind(name: &str) -> String {
    let kinds: Vec<&str> = SymbolKind::ALL.iter().map(|kind| kind.as_str()).collect();
    format!("definitions of the kind `{name}` are not known; the kinds are {}", kinds.join(", "))
}

/// `500ms`, `5s`, `1m30s`, `1h`; at most a day.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: u32 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let one = match &rest[..unit] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3_600),
            _ => return None,
        };
        rest = &rest[unit..];
        total = total.checked_add(one.checked_mul(count)?)?;
    }
    (total <= Duration::from_secs(86_400)).then_some(total)
}

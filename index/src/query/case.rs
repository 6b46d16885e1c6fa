//! Which case holds in a scope: the query, or a group.

use super::error::{AlertCode, ErrorCode, QueryError};
use super::group::Raw;
use super::interpret::Interpreter;
use super::lex::{Form, Name, Term};
use super::qualifiers::Qualifier;
use super::tree::Case;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Setting {
    Yes,
    No,
    Auto,
}

/// The case of the scope, from the `case:` in it, but not in a group in it.
pub(super) fn of_scope(
    raw: &Raw,
    outer: Case,
    interpreter: &mut Interpreter<'_>,
) -> Result<Case, QueryError> {
    let mut terms = Vec::new();
    collect(raw, false, &mut terms);
    let mut setting = None;
    for (term, negated) in terms {
        let this = read(term, negated, interpreter)?;
        if setting.is_some_and(|before| before != this) {
            interpreter.alert_with(
                AlertCode::RepeatedOption,
                &term.position,
                "`case:` is given more than once; this one holds".to_owned(),
                None,
            );
        }
        setting = Some(this);
    }
    let regexp = interpreter.regexp;
    Ok(match setting {
        None => outer,
        Some(Setting::Yes) => Case::Sensitive,
        Some(Setting::Auto) if has_uppercase(raw, regexp) => Case::Sensitive,
        Some(Setting::No | Setting::Auto) => Case::Insensitive,
    })
}

fn collect<'a>(raw: &'a Raw, negated: bool, terms: &mut Vec<(&'a Term, bool)>) {
    match raw {
        Raw::And(parts) | Raw::Or(parts) => {
            for part in parts {
                collect(part, false, terms);
            }
        }
        Raw::Not(child) => collect(child, !negated, terms),
        Raw::Term(term) if term.name == Name::Known(Qualifier::Case) => terms.push((term, negated)),
        Raw::Term(_) | Raw::Group(_) => {}
    }
}

fn read(term: &Term, negated: bool, interpreter: &Interpreter<'_>) -> Result<Setting, QueryError> {
    match (term.value.text.to_ascii_lowercase().as_str(), negated) {
        ("yes", false) | ("no", true) => Ok(Setting::Yes),
        ("no", false) | ("yes", true) => Ok(Setting::No),
        ("auto", false) => Ok(Setting::Auto),
        ("auto", true) => Err(QueryError::new(
            ErrorCode::Misplaced,
            term.position.clone(),
            "`case:auto` cannot be negated; write `case:yes` or `case:no`",
        )),
        (value, _) => {
            let error = QueryError::new(
                ErrorCode::InvalidValue,
                term.value.position.clone(),
                "`case:` is `yes`, `no` or `auto`",
            );
            Err(match value {
                "true" | "sensitive" => {
                    error.with_rewrite(interpreter.replaced(&term.position, "case:yes"))
                }
                "false" | "insensitive" => {
                    error.with_rewrite(interpreter.replaced(&term.position, "case:no"))
                }
                _ => error,
            })
        }
    }
}

/// Whether any text that is searched for has an upper-case letter, escapes such as `\W` apart.
fn has_uppercase(raw: &Raw, regexp: bool) -> bool {
    match raw {
        Raw::And(parts) | Raw::Or(parts) => parts.iter().any(|part| has_uppercase(part, regexp)),
        Raw::Not(child) | Raw::Group(child) => has_uppercase(child, regexp),
        Raw::Term(term) => {
            let (searched, regex) = match &term.name {
                Name::None | Name::Known(Qualifier::Content) => (true, regexp),
                Name::Known(Qualifier::File) => (true, true),
                Name::Known(Qualifier::Path | Qualifier::Symbol) => (true, false),
                _ => (false, false),
            };
            let is_regex = match term.value.form {
                Form::Slashes => true,
                Form::Bare => regex,
                Form::Quoted => false,
            };
            searched
                && if is_regex {
                    without_escapes(&term.value.text).any(char::is_uppercase)
                } else {
                    term.value.text.chars().any(char::is_uppercase)
                }
        }
    }
}

/// The characters of a regular expression but for `\W`, `\pL`, `\p{Lu}`, `(?R)` and `(?P<Name>`.
fn without_escapes(source: &str) -> impl Iterator<Item = char> {
    let mut characters = source.chars().peekable();
    std::iter::from_fn(move || {
        loop {
            let c = characters.next()?;
            if c == '\\' {
                let class = matches!(characters.next(), Some('p' | 'P'));
                if class && characters.next() == Some('{') {
                    characters.by_ref().find(|c| *c == '}');
                }
            } else if c == '(' && characters.peek() == Some(&'?') {
                characters.by_ref().find(|c| matches!(c, ':' | ')' | '>'));
            } else {
                return Some(c);
            }
        }
    })
}

//! Alerts on text that may have been meant otherwise, and on conditions that exclude each other.

use super::error::{Alert, AlertCode};
use super::group::Raw;
use super::interpret::{Interpreter, quote};
use super::lex::{Form, Name, Term, split_name};
use super::names::NameMatch;
use super::tree::{Filter, Inclusion, Node};

/// Alerts on `or`, `and` and `not` between other terms.
pub(super) fn lowercase_operators(parts: &[Raw], interpreter: &mut Interpreter<'_>) {
    for (index, part) in parts.iter().enumerate() {
        let Raw::Term(term) = part else { continue };
        if term.name != Name::None || term.value.form != Form::Bare {
            continue;
        }
        let last = index + 1 == parts.len();
        let between = match term.value.text.as_str() {
            "or" | "and" => index > 0 && !last,
            "not" => !last,
            _ => false,
        };
        if between {
            let operator = term.value.text.to_ascii_uppercase();
            interpreter.alert_with(
                AlertCode::LowercaseOperator,
                &term.position,
                format!(
                    "`{}` is searched for as text; the operator is `{operator}`",
                    term.value.text
                ),
                Some(&operator),
            );
        }
    }
}

/// Alerts on a bare word that looks like a regular expression or a qualifier.
pub(super) fn word(term: &Term, interpreter: &mut Interpreter<'_>) {
    let text = term.value.text.as_str();
    if let Some((source, flags)) = flagged_regex(text) {
        interpreter.alert_with(
            AlertCode::LooksLikeRegex,
            &term.position,
            format!(
                "`{text}` is searched for as text; flags stand in the expression: `(?{flags})`"
            ),
            Some(&format!("/(?{flags}){source}/")),
        );
    } else if looks_like_regex(text) {
        interpreter.alert_with(
            AlertCode::LooksLikeRegex,
            &term.position,
            format!("`{text}` is searched for as text; a regular expression stands in slashes"),
            Some(&format!("/{}/", text.replace('/', "\\/"))),
        );
    } else if let Some((name, value)) = split_name(text) {
        let hint = match value.is_empty() {
            true => "a qualifier's value follows it without a space",
            false => "there is no such qualifier",
        };
        interpreter.alert_with(
            AlertCode::LooksLikeQualifier,
            &term.position,
            format!("`{name}:` is searched for as text: {hint}; quotes make that plain"),
            Some(&quote(text)),
        );
    }
}

/// The expression and the flags of `/re/i`.
fn flagged_regex(text: &str) -> Option<(&str, &str)> {
    let (source, flags) = text.strip_prefix('/')?.rsplit_once('/')?;
    let is_flag = |c: char| matches!(c, 'i' | 'm' | 's' | 'x');
    let one = !source.is_empty() && !source.contains('/');
    (one && !flags.is_empty() && flags.chars().all(is_flag)).then_some((source, flags))
}

fn looks_like_regex(text: &str) -> bool {
    const SIGNS: [&str; 10] =
        [".*", ".+", "\\b", "\\w", "\\d", "\\s", "\\(", "\\.", "[a-z", "[0-9"];
    let is_word = |part: &str| {
        let mut characters = part.chars();
        part.len() > 1 && characters.all(|c| c.is_alphanumeric() || c == '_')
    };
    let alternatives = text.contains('|') && text.split('|').all(is_word);
    alternatives || SIGNS.iter().any(|sign| text.contains(sign))
}

/// Alerts on pairs of filters that no document satisfies together.
pub(super) fn unsatisfiable(root: &Node, interpreter: &mut Interpreter<'_>) {
    let Node::And(children) = root else {
        if *root == Node::Nothing {
            interpreter.alert(Alert {
                code: AlertCode::Unsatisfiable,
                message: "a term and its negation: no document satisfies both".to_owned(),
                position: 0..interpreter.input.len(),
                rewrite: None,
            });
        }
        return;
    };
    let filters: Vec<&Filter> = children
        .iter()
        .filter_map(|child| match child {
            Node::Filter(filter) => Some(filter),
            _ => None,
        })
        .collect();
    for (index, second) in filters.iter().enumerate() {
        for first in &filters[..index] {
            if exclude_each_other(first, second) {
                alert_pair(first, second, interpreter);
            }
        }
    }
}

fn alert_pair(first: &Filter, second: &Filter, interpreter: &mut Interpreter<'_>) {
    let place = |filter: &Filter| {
        let found = interpreter.filters.iter().find(|(known, _)| known == filter);
        found.map_or(0..interpreter.input.len(), |(_, position)| position.clone())
    };
    let (first, second) = (place(first), place(second));
    let written = |position: &std::ops::Range<usize>| &interpreter.input[position.clone()];
    let message =
        format!("`{}` and `{}`: no document satisfies both", written(&first), written(&second));
    let input = interpreter.input;
    let adjacent =
        input.get(first.end..second.start).is_some_and(|between| between.trim().is_empty());
    let rewrite = adjacent.then(|| {
        let (before, after) = (&input[..first.start], &input[second.end..]);
        let either = format!("({} OR {})", written(&first), written(&second));
        [before, &either, after].concat()
    });
    interpreter.alert(Alert { code: AlertCode::Unsatisfiable, message, position: second, rewrite });
}

fn exclude_each_other(first: &Filter, second: &Filter) -> bool {
    let differ = |a: &str, b: &str| !a.eq_ignore_ascii_case(b);
    match (first, second) {
        (Filter::Language(a), Filter::Language(b)) => a != b,
        (Filter::Organisation(a), Filter::Organisation(b)) => differ(a, b),
        (Filter::Repository(NameMatch::Exact(a)), Filter::Repository(NameMatch::Exact(b))) => {
            a.to_lowercase() != b.to_lowercase()
        }
        (Filter::Repository(NameMatch::Exact(name)), Filter::Organisation(organisation))
        | (Filter::Organisation(organisation), Filter::Repository(NameMatch::Exact(name))) => {
            differ(name.split('/').next().unwrap_or(name), organisation)
        }
        (Filter::Archived(a), Filter::Archived(b)) | (Filter::Fork(a), Filter::Fork(b)) => {
            a != b && *a != Inclusion::Yes && *b != Inclusion::Yes
        }
        (Filter::Visibility(a), Filter::Visibility(b)) => a != b,
        (Filter::License(a), Filter::License(b)) => differ(a, b),
        (Filter::Updated(a), Filter::Updated(b)) => a.is_disjoint(b),
        _ => false,
    }
}

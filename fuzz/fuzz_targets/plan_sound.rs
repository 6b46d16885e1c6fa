//! A plan never excludes a text that the pattern matches.
#![no_main]

use std::collections::HashSet;

use aeterna_index::plan::{MAX_GRAMS, plan};
use aeterna_index::query::regex::compile;
use aeterna_index::query::tree::{Case, Matcher, Pattern, Scope};
use aeterna_index::trigram::{Gram, fold_text, gram};
use libfuzzer_sys::fuzz_target;

fn grams_of(text: &[u8]) -> HashSet<Gram> {
    let mut folded = Vec::new();
    fold_text(text, &mut folded);
    let raw = text.windows(3);
    raw.chain(folded.windows(3)).map(|window| gram(window[0], window[1], window[2])).collect()
}

fuzz_target!(|input: (bool, bool, &str, &[u8])| {
    let (literal, sensitive, source, text) = input;
    if source.len() > 200 {
        return;
    }
    let matcher = match literal {
        true => Matcher::Literal(source.to_owned()),
        false => Matcher::Regex(source.to_owned()),
    };
    let case = match sensitive {
        true => Case::Sensitive,
        false => Case::Insensitive,
    };
    let pattern = Pattern { matcher, case, scope: Scope::Content, position: 0..source.len() };
    let Ok(plan) = plan(&pattern) else { return };
    assert!(plan.expr.gram_count() <= MAX_GRAMS);
    let Ok(regex) = compile(&pattern) else { return };
    // The pattern's own text matches it more often than what the fuzzer makes up.
    let near = [text, source.as_bytes(), text].concat();
    for text in [text, &near] {
        let Some(found) = regex.find(text) else {
            continue;
        };
        let grams = grams_of(text);
        assert!(plan.expr.matches(&|gram| grams.contains(&gram)), "{}", plan.expr);
        assert!(found.len() >= plan.min_len);
        assert!(plan.max_len.is_none_or(|max| found.len() <= max));
        assert!(plan.crosses_lines || !text[found.range()].contains(&b'\n'));
    }
});

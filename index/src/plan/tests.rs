#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::query::regex::compile;
use crate::query::tree::{Case, Matcher, Scope};
use crate::trigram::{Gram, fold_text, gram};

fn pattern(matcher: Matcher, case: Case) -> Pattern {
    Pattern { matcher, case, scope: Scope::Either, position: 0..0 }
}

fn plan_regex(source: &str) -> Plan {
    plan(&pattern(Matcher::Regex(source.into()), Case::Insensitive)).unwrap()
}

/// The grams of a unit, as the index defines them.
fn grams_of(text: &[u8]) -> HashSet<Gram> {
    let windows = |text: &[u8]| -> Vec<Gram> {
        text.windows(3).map(|window| gram(window[0], window[1], window[2])).collect()
    };
    let mut grams: HashSet<Gram> = windows(text).into_iter().collect();
    if !text.is_ascii() {
        let mut folded = Vec::new();
        fold_text(text, &mut folded);
        grams.extend(windows(&folded));
    }
    grams
}

#[track_caller]
fn assert_sound(pattern: &Pattern, text: &[u8]) {
    let Ok(plan) = plan(pattern) else { return };
    let Ok(regex) = compile(pattern) else { return };
    let Some(found) = regex.find(text) else {
        return;
    };
    let grams = grams_of(text);
    assert!(
        plan.expr.matches(&|gram| grams.contains(&gram)),
        "{pattern} matches {:?} and its plan {} does not",
        String::from_utf8_lossy(text),
        plan.expr
    );
    assert!(found.len() >= plan.min_len, "{pattern} is shorter");
    assert!(plan.max_len.is_none_or(|max| found.len() <= max));
    assert!(
        plan.crosses_lines || !text[found.range()].contains(&b'\n'),
        "{pattern} crosses a line end"
    );
    assert!(plan.expr.gram_count() <= MAX_GRAMS);
}

/// One gram for each character of the range, between two texts.
fn one_of(before: &str, range: std::ops::RangeInclusive<char>, after: &str) -> String {
    let grams: Vec<String> = range.map(|c| format!("\"{before}{c}{after}\"")).collect();
    format!("({})", grams.join(" OR "))
}

fn all_of(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let grams = characters.windows(3).map(|gram| {
        let gram: String = gram.iter().collect();
        format!("\"{gram}\"")
    });
    grams.collect::<Vec<_>>().join(" AND ")
}

#[track_caller]
fn assert_expression(source: &str, expected: &str) {
    assert_eq!(plan_regex(source).expr.to_string(), expected, "{source}");
}

#[test]
fn what_no_gram_can_narrow() {
    for source in [
        "",
        "if",
        "k",
        "[A-Z]{4}[0-9]{5}",
        "foo|",
        "foo|if",
        "(ab)+",
        "(foo)*",
        "(foo)?",
        "f.o.o",
        r"\w+",
        r"(?-u:\xC3\xA9)",
        "^$",
    ] {
        assert_expression(source, "ALL");
    }
    for source in ["[a&&b]", r"[^\s\S]foo"] {
        assert_expression(source, "NOTHING");
    }
}

#[test]
fn literals_are_all_of_their_grams() {
    assert_expression("mutex", r#""mut" AND "ute" AND "tex""#);
    assert_expression("MUTEX", r#""mut" AND "ute" AND "tex""#);
    assert_expression(r"\bfoo\b", r#""foo""#);
    assert_expression("^foo$", r#""foo""#);
    assert_expression("x{20}", r#""xxx""#);
    assert_expression(
        "(?i)straße",
        r#""str" AND "tra" AND "ra\xC3" AND "a\xC3\x9F" AND "\xC3\x9Fe""#,
    );
    assert_eq!(
        plan_regex("STRAẞE").expr,
        plan_regex("straße").expr,
        "the capital letter is folded"
    );
    assert_expression("\u{212A}ey", r#""key""#);
    assert_expression(r"(?-u:\xE2\x84\xAAey)", r#""key""#);
}

#[test]
fn alternatives_share_what_they_have_in_common() {
    assert_expression("foo|foobar", r#""foo""#);
    assert_expression("(abc|xbc)d?", r#""abc" OR "xbc""#);
    assert_expression(
        "(read|write)_lock_irqsave",
        &format!(
            r#"{} AND (("rea" AND "ead" AND "ad_" AND "d_l") OR ("wri" AND "rit" AND "ite" AND "te_" AND "e_l"))"#,
            all_of("_lock_irqsave")
        ),
    );
    assert_expression("(a|b)(c|d)e", r#""ace" OR "ade" OR "bce" OR "bde""#);
    assert_expression("foo.*bar", r#""foo" AND "bar""#);
    assert_expression("(foo.*bar|foo.*baz)", r#""foo" AND ("bar" OR "baz")"#);
    assert_expression(
        r"if *\(a",
        concat!(
            r#"("if " AND "f (" AND " (a") OR ("if(" AND "f(a") OR "#,
            r#"("if " AND "f  " AND "  (" AND " (a")"#
        ),
    );
}

#[test]
fn small_classes_and_repetitions_are_written_out() {
    assert_expression("ab{2,3}c", r#""abb" AND "bbc""#);
    assert_expression("(abc){2,}", r#""abc" AND "bca" AND "cab""#);
    assert_expression(
        "[a-z]{3}_[0-9]{4}_init",
        &format!("{} AND {}", one_of("", '0'..='9', "_i"), all_of("_init")),
    );
    assert_expression(
        r"kmalloc\([a-z]+, GFP_ATOMIC\)",
        &format!(
            "{} AND {} AND {} AND {}",
            all_of("kmalloc("),
            one_of("c(", 'a'..='z', ""),
            one_of("", 'a'..='z', ", "),
            all_of(", gfp_atomic)")
        ),
    );
    assert_expression("(?i)[kK]ey", r#""key""#);
}

#[test]
fn large_classes_still_begin_and_end_in_few_ways() {
    let text = plan_regex(r"v\d_init").expr.to_string();
    assert!(text.contains(r#""7_i""#), "{text}");
    let grams = grams_of("v٧_init".as_bytes());
    assert!(plan_regex(r"v\d_init").expr.matches(&|gram| grams.contains(&gram)));
    let grams = grams_of(b"vx_init");
    assert!(!plan_regex(r"v\d_init").expr.matches(&|gram| grams.contains(&gram)));
}

#[test]
fn bytes_that_are_not_text_are_not_planned() {
    assert_expression(r"a(?-u:\xFF)bcd", r#""bcd""#);
    assert_expression(r"(?-u:[\x80-\xFF])bcd", r#""bcd""#);
    assert_expression("[^a]bcd", r#""bcd""#);
}

#[test]
fn expressions_stay_within_their_bound() {
    let words: Vec<String> = (0..200).map(|n| format!("word{n:03}xyz{n:03}")).collect();
    let plan = plan_regex(&words.join("|"));
    assert!(plan.expr.gram_count() <= MAX_GRAMS);
    assert_ne!(plan.expr, GramExpr::All);
    let grams = grams_of(b"word123xyz123");
    assert!(plan.expr.matches(&|gram| grams.contains(&gram)));
    let grams = grams_of(b"nothing of the kind");
    assert!(!plan.expr.matches(&|gram| grams.contains(&gram)));
    let long: String = (0..2000).map(|n| char::from(b'a' + (n * n % 23) as u8)).collect();
    assert!(plan_regex(&long).expr.gram_count() <= MAX_GRAMS);
}

#[test]
fn which_patterns_cross_lines() {
    for (source, expected) in [
        ("foo", false),
        ("foo.*bar", false),
        (r"\Bfoo", true),
        (r"\bfoo\b", false),
        (r"foo\nbar", true),
        (r"foo\s+bar", true),
        ("[^a]", true),
        (r"[^a\n]", false),
        ("(?s)a.b", true),
        ("(?s-u:.)", true),
        (r"\W", true),
        (r"\w\r", false),
        ("^a$", false),
        (r"\Aa", true),
        (r"a\z", true),
        ("(?-m)^a", true),
        (r"a(\n){0}b", false),
        (r"(a|(b|\n)?)+", true),
    ] {
        assert_eq!(plan_regex(source).crosses_lines, expected, "{source}");
    }
}

#[test]
fn lengths_and_literals() {
    let plan_of = |matcher, case| plan(&pattern(matcher, case)).unwrap();
    let bounded = plan_regex("ab{2,3}é?");
    assert_eq!((bounded.min_len, bounded.max_len), (3, Some(6)));
    assert_eq!(plan_regex("a+").max_len, None);
    let literal = plan_of(Matcher::Literal("a.B".into()), Case::Sensitive);
    assert_eq!(literal.literal.as_deref(), Some(&b"a.B"[..]));
    assert_eq!(literal.min_len, 3);
    let caseless = plan_of(Matcher::Literal("-> 1".into()), Case::Insensitive);
    assert_eq!(caseless.literal.as_deref(), Some(&b"-> 1"[..]));
    let folded = plan_of(Matcher::Literal("a.b".into()), Case::Insensitive);
    assert_eq!(folded.literal, None);
    assert_eq!(plan_of(Matcher::Regex("ab".into()), Case::Sensitive).literal, None);
}

const PIECES: [&str; 64] = [
    "a",
    "b",
    "k",
    "s",
    "K",
    "S",
    "é",
    "É",
    "ſ",
    "\u{212A}",
    "ß",
    "ẞ",
    "İ",
    "ı",
    "i",
    "Σ",
    "σ",
    "ς",
    "я",
    "Я",
    "д",
    "ab",
    "abc",
    "kiss",
    "straße",
    "[a-c]",
    "[^a]",
    ".",
    "(?s:.)",
    "[0-9]",
    r"\d",
    r"\s",
    r"\w",
    r"\b",
    "^",
    "$",
    "[éк]",
    "[А-Я]",
    "(?-u:\\xC3)",
    "(?-u:\\xE2\\x84\\xAA)",
    "(?-u:[\\x80-\\xFF])",
    "(?-u:.)",
    "(?-i:K)",
    "(?i:s)",
    "(?-i:É)",
    r"\n",
    r"\r",
    r"\x{1E9E}",
    r"\p{Greek}",
    "[kſ]",
    "[[:alpha:]]",
    "0",
    "1",
    "_",
    "İi",
    "µ",
    "μ",
    "Å",
    "å",
    "ǅ",
    "ǆ",
    "A",
    "[sS]",
    r"\z",
];

fn regexes() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(&PIECES[..]).prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            4 => prop::collection::vec(inner.clone(), 2..5).prop_map(|parts| parts.concat()),
            2 => prop::collection::vec(inner.clone(), 2..4)
                .prop_map(|parts| format!("(?:{})", parts.join("|"))),
            1 => inner.clone().prop_map(|part| format!("({part})?")),
            1 => inner.clone().prop_map(|part| format!("(?:{part})*")),
            1 => inner.clone().prop_map(|part| format!("(?:{part})+")),
            1 => (inner, 0u32..3, 0u32..3)
                .prop_map(|(part, min, more)| format!("(?:{part}){{{min},{}}}", min + more)),
        ]
    })
}

/// Text out of the characters that the patterns are made of, and some bytes that are not text.
fn texts() -> impl Strategy<Value = Vec<u8>> {
    let characters = prop::sample::select(
        "abckKsSiIéÉſ\u{212A}ßẞİıΣσςяЯдДкК01_ \n\rAµμÅåǅǆǄxyzQ".chars().collect::<Vec<_>>(),
    )
    .prop_map(|c| c.to_string().into_bytes());
    let raw = prop::sample::select(vec![vec![0xC3u8], vec![0xFF], vec![0xE2, 0x84], vec![0x89]]);
    prop::collection::vec(prop_oneof![12 => characters, 1 => raw], 0..48)
        .prop_map(|parts| parts.concat())
}

/// A text that matches more often than a random one: the pieces of the pattern without its
/// operators, here and there in the other case.
fn near_texts(source: String) -> impl Strategy<Value = (String, Vec<u8>)> {
    let plain: Vec<char> = source.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
    let flips = prop::collection::vec(0u8..4, plain.len());
    (Just(source), flips, texts(), texts()).prop_map(move |(source, flips, before, after)| {
        let mut text = before;
        for (c, flip) in plain.iter().zip(flips) {
            match flip {
                0 => text.extend(c.to_uppercase().collect::<String>().bytes()),
                1 => text.extend(c.to_lowercase().collect::<String>().bytes()),
                _ => text.extend(c.to_string().bytes()),
            }
        }
        text.extend(after);
        (source, text)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn a_plan_never_excludes_a_match(
        (source, text) in regexes().prop_flat_map(near_texts),
        sensitive in any::<bool>(),
    ) {
        let case = if sensitive { Case::Sensitive } else { Case::Insensitive };
        assert_sound(&pattern(Matcher::Regex(source), case), &text);
    }

    #[test]
    fn a_literal_is_planned_as_it_is_found(
        text in texts(),
        from in 0usize..48,
        length in 0usize..12,
        sensitive in any::<bool>(),
    ) {
        let whole = String::from_utf8_lossy(&text).into_owned();
        let part: String = whole.chars().skip(from).take(length).collect();
        let other: String = part.chars().map(|c| {
            let mut upper = c.to_uppercase();
            upper.next().filter(|_| upper.next().is_none()).unwrap_or(c)
        }).collect();
        let case = if sensitive { Case::Sensitive } else { Case::Insensitive };
        assert_sound(&pattern(Matcher::Literal(part), case), whole.as_bytes());
        assert_sound(&pattern(Matcher::Literal(other), case), whole.as_bytes());
    }
}

//! Limits, messages, and what holds for every text.

use aeterna_index::plan::plan;
use aeterna_index::query::regex::compile;
use aeterna_index::query::tree::{Matcher, Node, Pattern};
use aeterna_index::query::{AlertCode, ErrorCode, QueryError, parse, simplify};
use proptest::prelude::*;

use crate::query_support::{meaning, options};

fn error(input: &str) -> QueryError {
    parse(input, &options()).unwrap_err()
}

#[test]
fn a_query_has_limits() {
    let mut small = options();
    small.max_length = 10;
    small.max_depth = 3;
    small.max_terms = 2;
    let code = |input| parse(input, &small).unwrap_err().code;
    assert_eq!(code("aaaaaaaaaaa"), ErrorCode::QueryTooLong);
    assert!(parse("aaaaaaaaaa", &small).is_ok());
    assert_eq!(code("((((a))))"), ErrorCode::QueryTooDeep);
    assert!(parse("(((a)))", &small).is_ok());
    assert_eq!(code("a b c"), ErrorCode::TooManyTerms);
    let million = "a ".repeat(500_000);
    assert_eq!(error(&million).code, ErrorCode::QueryTooLong);
    let deep = "(".repeat(4_000);
    assert_eq!(error(&deep).code, ErrorCode::QueryTooDeep);
    let negations = "NOT ".repeat(2_000);
    assert_eq!(error(&negations).code, ErrorCode::QueryTooDeep);
}

#[test]
fn messages_name_what_is_wrong() {
    for (query, expected) in [
        ("/a(?=b)/", "look-ahead (`(?=`)"),
        ("/a(?!b)/", "negative look-ahead (`(?!`)"),
        ("/(?<=a)b/", "look-behind (`(?<=`)"),
        ("/(?<!a)b/", "negative look-behind (`(?<!`)"),
        (r"/(a)\1/", "a back-reference"),
        (r"/(?<x>a)\k<x>/", "a named back-reference"),
        ("/(?P<x>a)(?P=x)/", "a named back-reference"),
        ("/(?>a)/", "an atomic group"),
        (r"/a\Kb/", "resetting the match's start"),
        ("/a(b/", "unclosed group"),
        ("/[b-a]/", "invalid character class range"),
        ("/a{999999999999}/", "decimal"),
        ("lang:rustt", "did you mean `Rust`"),
        ("langauge:rust", "did you mean `language:`"),
        ("langauge:rust", "write `\"langauge:rust\"`"),
        ("type:issue a", "`file`, `path`, `repo` or `symbol`"),
        ("label:bug", "issues, pull requests and wiki pages"),
        ("is:magic", "`vendored`"),
        ("updated:soon", "`2026-01-31`"),
        ("patterntype:magic a", "`literal`, `regexp` or `phrase`"),
        ("case:maybe a", "`yes`, `no` or `auto`"),
        ("extension:rs", "write `path:*.rs`"),
    ] {
        let error = error(query);
        assert!(error.message.contains(expected), "{query}: {}", error.message);
    }
}

#[test]
fn positions_point_into_the_query() {
    for (query, expected) in [
        ("é /a(?=b)/", "(?="),
        ("a lang:rustt", "rustt"),
        ("a AND (b OR langauge:rust)", "langauge:rust"),
        ("(a) type:issue", "type:issue"),
        ("file:a[ b", "["),
        ("patterntype:regexp a b[", "["),
        ("repo:^(a x", "("),
    ] {
        let position = match parse(query, &options()) {
            Err(error) => error.position,
            Ok(parsed) => parsed.alerts[0].position.clone(),
        };
        assert_eq!(&query[position], expected, "{query}");
    }
}

#[test]
fn a_large_regex_is_refused_when_it_is_compiled() {
    let query = parse(r"/(\w{900}){900}/", &options()).unwrap();
    let Node::Pattern(pattern) = query.root else {
        panic!("{}", query.root);
    };
    assert_eq!(compile(&pattern).unwrap_err().code, ErrorCode::RegexTooLarge);
}

#[test]
fn lines_and_case_in_compiled_patterns() {
    let matches = |query: &str, text: &str| {
        let root = parse(query, &options()).unwrap().root;
        let Node::Pattern(pattern) = root else {
            panic!("{root}");
        };
        compile(&pattern).unwrap().is_match(text.as_bytes())
    };
    assert!(matches("/^b$/", "a\r\nb\r\nc"));
    assert!(matches("/^b$/", "a\nb"));
    assert!(matches("STRASSE", "strasse"));
    assert!(!matches("STRASSE", "straße"));
    assert!(matches("straße", "STRAẞE"));
    assert!(matches("key", "\u{212A}EY"));
    assert!(matches("σ", "ς") && matches("Σ", "σ"));
    assert!(!matches("i", "İ"));
    assert!(!matches("/i/ case:yes".split(' ').next().unwrap(), "İ"));
    assert!(matches("привет", "ПРИВЕТ"));
    assert!(matches("a.b", "A.B") && !matches("a.b", "axb"));
}

fn patterns(node: &Node) -> Vec<&Pattern> {
    match node {
        Node::Pattern(pattern) => vec![pattern],
        Node::And(children) | Node::Or(children) => children.iter().flat_map(patterns).collect(),
        Node::Not(child) => patterns(child),
        _ => Vec::new(),
    }
}

/// Pieces that the language gives a meaning to, in any order.
fn queries() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "a",
        "Foo",
        "é",
        " ",
        " ",
        " ",
        "  ",
        "\"",
        "\\",
        "/",
        "(",
        ")",
        "-",
        "--",
        " OR ",
        " AND ",
        "NOT ",
        " or ",
        "repo:",
        "a/b",
        "@main",
        "path:",
        "*",
        "**",
        "?",
        "file:",
        "lang:",
        "go",
        "rust",
        "sym:",
        "::",
        "content:",
        "rev:",
        "type:",
        "path",
        "select:",
        "symbol",
        "is:",
        "fork",
        "archived:",
        "only",
        "no",
        "yes",
        "license:",
        "MIT",
        "author:",
        "updated:",
        "<30d",
        "2026-01",
        "..",
        "count:",
        "all",
        "10",
        "timeout:",
        "5s",
        "case:",
        "auto",
        "patterntype:",
        "regexp",
        "phrase",
        "literal",
        "[",
        "]",
        "{",
        "}",
        "2",
        ".*",
        "\\b",
        "|",
        "^",
        "$",
        "\n",
        "langauge:",
        "has.file(",
        "\u{3000}",
        "ß",
        ":",
        "=",
        ">",
        "(?=",
        "(?i)",
        "\\1",
        "#",
        "'",
    ]);
    prop::collection::vec(pieces, 0..14).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn every_text_is_a_query_or_an_error_within_it(input in queries()) {
        match parse(&input, &options()) {
            Err(error) => {
                prop_assert!(input.get(error.position.clone()).is_some(), "{error:?}");
                prop_assert!(!error.message.is_empty());
            }
            Ok(query) => {
                for alert in &query.alerts {
                    prop_assert!(input.get(alert.position.clone()).is_some(), "{alert:?}");
                }
                for pattern in patterns(&query.root) {
                    prop_assert!(input.get(pattern.position.clone()).is_some(), "{pattern:?}");
                    prop_assert!(plan(pattern).is_ok(), "{pattern}");
                    prop_assert!(compile(pattern).is_ok(), "{pattern}");
                }
                let once = simplify(query.root);
                prop_assert_eq!(simplify(once.clone()), once);
            }
        }
    }

    #[test]
    fn a_quoted_text_means_itself(text in "[a-z\"\\\\ ()/:é-]{0,12}") {
        let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let root = parse(&quoted, &options()).unwrap().root;
        prop_assert_eq!(root, literal(&text));
    }

    #[test]
    fn what_a_literal_query_is_rewritten_to_is_a_query(input in queries()) {
        let Ok(query) = parse(&input, &options()) else { return Ok(()) };
        let Some(alert) = query.alerts.iter().find(|alert| alert.code == AlertCode::LiteralQuery)
        else {
            return Ok(());
        };
        prop_assert_eq!(&query.root, &literal(input.trim()));
        let rewrite = alert.rewrite.clone().unwrap();
        prop_assert!(!meaning(&rewrite).contains("literal-query"), "{}", rewrite);
    }
}

fn literal(text: &str) -> Node {
    Node::Pattern(Pattern {
        matcher: Matcher::Literal(text.to_owned()),
        case: aeterna_index::query::tree::Case::Insensitive,
        scope: aeterna_index::query::tree::Scope::Either,
        position: 0..0,
    })
}

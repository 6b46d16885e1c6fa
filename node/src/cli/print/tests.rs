#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::api::search::{Position, Range, ResultType};

fn position(offset: u64, line: u32) -> Position {
    Position { offset, line, column: 1 }
}

fn result(path: &str, content: &str, start: (u64, u32), ranges: &[(u64, u64)]) -> SearchResult {
    SearchResult {
        kind: ResultType::Content,
        repository: "o/r".into(),
        repository_id: String::new(),
        commit: String::new(),
        branches: Vec::new(),
        path: path.into(),
        path_base64: None,
        path_ranges: Vec::new(),
        object: None,
        language: None,
        indexed_at: String::new(),
        chunks: vec![Chunk {
            content: content.into(),
            content_base64: None,
            start: position(start.0, start.1),
            ranges: ranges
                .iter()
                .map(|(from, to)| Range { start: position(*from, 0), end: position(*to, 0) })
                .collect(),
            symbols: Vec::new(),
            cut: false,
        }],
        ranges_cut: false,
        match_count: ranges.len() as u64,
        symbol: None,
        score: 0.0,
    }
}

fn printed(form: Form, colors: bool, terminal: bool, results: &[SearchResult]) -> String {
    let mut printer = Printer::new(Vec::new(), form, colors, terminal);
    for result in results {
        printer.result(result).unwrap();
    }
    String::from_utf8(printer.finish().unwrap()).unwrap()
}

#[test]
fn groups_have_headings_and_context_has_dashes() {
    let first = result("a.rs", "one\ntwo\nthree\n", (10, 5), &[(14, 17)]);
    let second = result("b.rs", "two", (0, 1), &[(0, 3)]);
    let text = printed(Form::Grouped, false, true, &[first, second]);
    assert_eq!(text, "o/r:a.rs\n5-one\n6:two\n7-three\n\no/r:b.rs\n1:two\n");
}

#[test]
fn a_pipe_gets_one_match_a_line() {
    let found = result("a.rs", "x two\r\ntwo\n", (0, 1), &[(2, 5), (7, 10)]);
    assert_eq!(
        printed(Form::Plain, false, false, std::slice::from_ref(&found)),
        "o/r:a.rs:1:x two\no/r:a.rs:2:two\n"
    );
    assert_eq!(printed(Form::Paths, false, false, std::slice::from_ref(&found)), "o/r:a.rs\n");
    assert_eq!(printed(Form::Counts, false, false, &[found]), "o/r:a.rs:2\n");
}

#[test]
fn colours_mark_the_match_alone() {
    let found = result("a.rs", "a two b", (0, 1), &[(2, 5)]);
    let text = printed(Form::Grouped, true, true, &[found]);
    let red = MATCH.render().to_string();
    assert!(text.contains(&format!("a {red}two{} b", MATCH.render_reset())), "{text:?}");
}

#[test]
fn a_match_over_lines_is_marked_on_each_and_an_empty_one_counts() {
    let chunk = &result("a", "ab\ncd\nef\n", (0, 1), &[(1, 7)]).chunks[0];
    let marked: Vec<_> =
        lines(chunk, b"ab\ncd\nef\n").into_iter().map(|line| line.matched).collect();
    assert_eq!(marked, [vec![(1, 2)], vec![(0, 2)], vec![(0, 1)]]);

    let chunk = &result("a", "ab\ncd\n", (0, 1), &[(3, 3)]).chunks[0];
    let marked: Vec<_> = lines(chunk, b"ab\ncd\n").into_iter().map(|line| line.matched).collect();
    assert_eq!(marked, [vec![], vec![(0, 0)]]);
}

#[test]
fn ranges_that_do_not_fit_the_text_do_not_panic() {
    for ranges in [&[(0, 100)][..], &[(50, 60)], &[(0, 2), (1, 3)], &[(2, 1)]] {
        let found = result("a", "ab\r\nc", (0, 1), ranges);
        printed(Form::Grouped, true, true, &[found]);
    }
}

#[test]
fn escape_sequences_reach_a_pipe_and_no_terminal() {
    let hostile = result("\u{1b}[2J\nx", "\u{1b}]0;owned\u{7}", (0, 1), &[(0, 1)]);
    let terminal = printed(Form::Grouped, false, true, std::slice::from_ref(&hostile));
    assert!(!terminal.contains('\u{1b}') && !terminal.contains('\u{7}'), "{terminal:?}");
    assert!(terminal.contains("\\x1b[2J\\x0ax"), "{terminal:?}");
    let plain = printed(Form::Plain, false, false, &[hostile]);
    assert_eq!(plain, "o/r:\u{1b}[2J\\nx:1:\u{1b}]0;owned\u{7}\n");
}

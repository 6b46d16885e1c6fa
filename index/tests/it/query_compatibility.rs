//! The compatibility table: what queries mean, and that the published table says the same.

use std::fmt::Write;
use std::path::Path;

use crate::query_support::{Section, meaning};
use crate::{query_rows_habits, query_rows_language};

fn sections() -> impl Iterator<Item = &'static Section> {
    let language = query_rows_language::SECTIONS.iter();
    language.chain(query_rows_habits::SECTIONS)
}

#[test]
fn queries_mean_what_the_table_says() {
    let wrong: Vec<String> = sections()
        .flat_map(|(_, rows)| rows.iter())
        .filter(|(query, expected)| meaning(query) != *expected)
        .map(|(query, expected)| format!("{query}\n  is  {}\n  not {expected}", meaning(query)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Run with `UPDATE_DOCS=1` to write the document anew.
#[test]
fn the_published_table_is_this_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/query-compatibility.md");
    let expected = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap();
    assert!(
        published == expected,
        "docs/query-compatibility.md differs from the rows of the test; run \
         `UPDATE_DOCS=1 cargo test -p aeterna-index --test it published` and review the change"
    );
}

fn document() -> String {
    let mut text = String::from(
        "# What queries mean\n\n\
         Written by a test from its rows, and held to them: see \
         `index/tests/it/query_compatibility.rs`.\n\n\
         The right column is the simplified tree, as `search --explain` prints it: `text` is \
         content or path, `case` that case matters, `=` the whole, `~` a part, and `/…/` a regular \
         expression. After it come options, and alerts with the bytes of the query that they are \
         about and the query as it could be written. Times are seconds since 1970, on 2026-11-21. \
         An error stops the search; an alert does not.\n",
    );
    for (title, rows) in sections() {
        write!(text, "\n## {title}\n\n| query | means |\n|---|---|\n").unwrap();
        for (query, expected) in *rows {
            writeln!(text, "| {} | {} |", cell(query), cell(expected)).unwrap();
        }
    }
    text
}

fn cell(text: &str) -> String {
    if text.trim().is_empty() {
        return "(nothing)".to_owned();
    }
    format!("`{}`", text.replace('|', "\\|"))
}

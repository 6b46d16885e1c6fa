//! Any text is a query or an error, both of which point into it; what is parsed can be planned.
#![no_main]

use std::time::{Duration, SystemTime};

use aeterna_index::plan::plan;
use aeterna_index::query::tree::{Node, Pattern};
use aeterna_index::query::{LanguageNames, ParseOptions, parse, simplify};
use libfuzzer_sys::fuzz_target;

struct OneLanguage;

impl LanguageNames for OneLanguage {
    fn canonical(&self, name: &str) -> Option<&'static str> {
        name.eq_ignore_ascii_case("go").then_some("Go")
    }

    fn nearest(&self, _: &str) -> Vec<&'static str> {
        vec!["Go"]
    }
}

fn patterns<'a>(node: &'a Node, found: &mut Vec<&'a Pattern>) {
    match node {
        Node::Pattern(pattern) => found.push(pattern),
        Node::And(children) | Node::Or(children) => {
            children.iter().for_each(|child| patterns(child, found));
        }
        Node::Not(child) => patterns(child, found),
        _ => {}
    }
}

fuzz_target!(|input: &str| {
    let mut options = ParseOptions::new(&OneLanguage);
    options.now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_219_200);
    match parse(input, &options) {
        Err(error) => {
            // The error about the length is about what is after the limit, wherever that falls.
            let within = error.position.end <= input.len();
            assert!(within && error.position.start <= error.position.end);
        }
        Ok(query) => {
            for alert in &query.alerts {
                assert!(input.get(alert.position.clone()).is_some());
            }
            let mut found = Vec::new();
            patterns(&query.root, &mut found);
            for pattern in found {
                assert!(input.get(pattern.position.clone()).is_some());
                assert!(plan(pattern).is_ok());
            }
            let simple = simplify(query.root);
            assert_eq!(simplify(simple.clone()), simple);
        }
    }
});

#![allow(clippy::unwrap_used)]

mod fixtures;
mod hostile;

use super::grammar::Grammar;
use super::*;
use crate::languages::Language;

/// The symbols of `code` as `kind container.name`.
fn symbols(language: &str, code: &str) -> Vec<String> {
    let language = Language::from_name(language).unwrap();
    assert!(Extractor::supports(language), "{language}");
    let symbols = Extractor::new().extract(language, code.as_bytes(), &Limits::default()).unwrap();
    let name = |symbol: &Symbol| &code[visit::bytes(&symbol.name)];
    symbols
        .iter()
        .map(|symbol| {
            assert!(symbol.extent.start <= symbol.name.start, "{}", name(symbol));
            assert!(symbol.extent.end >= symbol.name.end, "{}", name(symbol));
            let container = symbol.container.map(|index| &symbols[index as usize]);
            match container {
                Some(container) => format!("{} {}.{}", symbol.kind, name(container), name(symbol)),
                None => format!("{} {}", symbol.kind, name(symbol)),
            }
        })
        .collect()
}

#[track_caller]
fn assert_symbols(language: &str, code: &str, expected: &[&str]) {
    assert_eq!(symbols(language, code), expected);
}

#[test]
fn every_rule_is_about_a_node_of_its_grammar() {
    for grammar in Grammar::ALL {
        for (kind, _) in grammar.rules() {
            let id = grammar.language().id_for_node_kind(kind, true);
            assert_ne!(id, 0, "{grammar:?}: {kind}");
        }
    }
}

#[test]
fn every_grammar_is_for_a_language_of_linguists() {
    for grammar in Grammar::ALL {
        let languages = Language::all().filter(|&language| Grammar::of(language) == Some(*grammar));
        assert!(languages.count() > 0, "{grammar:?}");
    }
}

#[test]
fn a_language_without_a_grammar_has_no_symbols() {
    let language = Language::from_name("Brainfuck").unwrap();
    assert!(!Extractor::supports(language));
    let found = Extractor::new().extract(language, b"+++.", &Limits::default());
    assert_eq!(found.unwrap(), []);
}

#[test]
fn one_extractor_reads_several_languages() {
    let mut extractor = Extractor::new();
    for (language, code) in [("Rust", "fn a() {}"), ("Go", "func a() {}"), ("Rust", "fn a() {}")] {
        let language = Language::from_name(language).unwrap();
        let found = extractor.extract(language, code.as_bytes(), &Limits::default());
        assert_eq!(found.unwrap().len(), 1);
    }
}

#[test]
fn the_extent_is_the_whole_definition() {
    let code = "int a;\n\n/* c */ static int f(int x) /* d */\n{\n\treturn x;\n}\nint b;\n";
    let language = Language::from_name("C").unwrap();
    let found = Extractor::new().extract(language, code.as_bytes(), &Limits::default()).unwrap();
    assert_eq!(&code[visit::bytes(&found[1].name)], "f");
    assert_eq!(
        &code[visit::bytes(&found[1].extent)],
        "static int f(int x) /* d */\n{\n\treturn x;\n}"
    );
}

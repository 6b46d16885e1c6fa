//! Searches without regard to case in many scripts, against the `regex` crate on the raw bytes.

use std::collections::BTreeMap;

use regex::bytes::RegexBuilder;

use crate::support::{Memory, all, index, info, open, path};

/// Words that differ in case alone, and words that only look so.
const WORDS: [&str; 58] = [
    "Straße",
    "STRASSE",
    "strasse",
    "STRAẞE",
    "straſſe",
    "ß",
    "ẞ",
    "ss",
    "SS",
    "İstanbul",
    "istanbul",
    "ISTANBUL",
    "ıstanbul",
    "i̇stanbul",
    "İ",
    "I",
    "i",
    "ı",
    "ſ",
    "s",
    "S",
    "ſecret",
    "Secret",
    "K",
    "k",
    "\u{212a}",
    "\u{212a}elvin",
    "KELVIN",
    "kelvin",
    "Å",
    "å",
    "\u{212b}",
    "Ω",
    "ω",
    "\u{2126}",
    "ΣΊΣΥΦΟΣ",
    "σίσυφος",
    "Σίσυφος",
    "σίσυφοσ",
    "ς",
    "σ",
    "Σ",
    "Привет",
    "ПРИВЕТ",
    "привет",
    "Ёлка",
    "ёлка",
    "É",
    "é",
    "e\u{301}",
    "ǅ",
    "ǆ",
    "Ǆ",
    "ﬁ",
    "fi",
    "ᾳ",
    "ᾼ",
    "日本",
];

/// Each word at its own path, between letters and by itself.
fn files() -> Vec<(String, Vec<u8>)> {
    let texts = WORDS.iter().enumerate().flat_map(|(number, word)| {
        [
            ("alone", word.to_string()),
            ("within", format!("ab{word}cd\n")),
            ("caps", word.to_uppercase()),
        ]
        .map(|(how, text)| (format!("{how}/{number:02}"), text.into_bytes()))
    });
    texts.collect()
}

/// What a plain scan finds: matches by path.
fn scan(pattern: &str, sensitive: bool, files: &[(String, Vec<u8>)]) -> BTreeMap<String, u64> {
    let regex = RegexBuilder::new(pattern).case_insensitive(!sensitive).build().unwrap();
    let counts =
        files.iter().map(|(path, text)| (path.clone(), regex.find_iter(text).count() as u64));
    counts.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn words_in_any_case() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let files = files();
    let listed: Vec<(&str, &[u8])> =
        files.iter().map(|(path, text)| (path.as_str(), text.as_slice())).collect();
    index(&set, &source, &info(1, "a/b"), &listed);
    let found = |query: &str| -> BTreeMap<String, u64> {
        let response = all(&set, query);
        response.results.iter().map(|result| (path(result), result.match_count)).collect()
    };
    for word in WORDS {
        let literal = regex::escape(word);
        let query = format!("content:\"{word}\"");
        assert_eq!(found(&query), scan(&literal, false, &files), "{query}");
        assert_eq!(
            found(&format!("{query} case:yes")),
            scan(&literal, true, &files),
            "{query} case:yes"
        );
        for pattern in [format!("{word}c?"), format!("(?:b|x){word}"), format!("[{word}]{{2}}b*")] {
            let query = format!("content:/{pattern}/");
            assert_eq!(found(&query), scan(&pattern, false, &files), "{query}");
            let query = format!("{query} case:yes");
            assert_eq!(found(&query), scan(&pattern, true, &files), "{query}");
        }
    }
}

#[test]
fn what_simple_folding_says_of_well_known_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    index(
        &set,
        &source,
        &info(1, "a/b"),
        &[("f", "Straße İstanbul Σίσυφος Kelvin éclair".as_bytes())],
    );
    for (query, finds) in [
        ("content:STRAẞE", true),
        // Full folding would say so; simple folding does not.
        ("content:STRASSE", false),
        ("content:İSTANBUL", true),
        ("content:istanbul", false),
        ("content:ΣΊΣΥΦΟΣ", true),
        ("content:σίσυφοσ", true),
        ("content:\u{212a}elvin", true),
        ("content:ÉCLAIR", true),
        ("content:eclair", false),
        ("content:e\u{301}clair", false),
    ] {
        assert_eq!(all(&set, query).results.len(), usize::from(finds), "{query}");
    }
}

#[test]
fn paths_in_any_case() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    index(&set, &source, &info(1, "a/b"), &[("Größe/ΣΊΣΥΦΟΣ.txt", b""), ("x/привет", b"")]);
    for (query, finds) in [
        ("path:GRÖẞE", "Größe/ΣΊΣΥΦΟΣ.txt"),
        ("path:σίσυφος", "Größe/ΣΊΣΥΦΟΣ.txt"),
        ("file:/^grö.e/", "Größe/ΣΊΣΥΦΟΣ.txt"),
        ("path:*/ПРИВЕТ", "x/привет"),
    ] {
        let response = all(&set, query);
        assert_eq!(response.results.iter().map(path).collect::<Vec<_>>(), [finds], "{query}");
    }
    assert_eq!(all(&set, "path:ПРИВЕТ case:yes").results.len(), 0);
}

//! Input that is meant to break things.

use std::time::{Duration, Instant};

use super::super::grammar::Grammar;
use super::*;

fn each_language() -> impl Iterator<Item = Language> {
    Language::all().filter(|&language| Extractor::supports(language))
}

#[test]
fn too_large_is_refused() {
    let limits = Limits { size: 10, ..Limits::default() };
    let extract = |language, code: &str| {
        let language = Language::from_name(language).unwrap();
        Extractor::new().extract(language, code.as_bytes(), &limits)
    };
    let error = extract("Go", "package main\n");
    assert!(matches!(error, Err(SymbolError::TooLarge { size: 13, limit: 10 })));
    // Of C what is parsed counts, up to a point.
    assert_eq!(extract("C", "#define A 1\n").unwrap().len(), 1);
    let error = extract("C", &"#define A 1\n".repeat(100));
    assert!(matches!(error, Err(SymbolError::TooLarge { size: 1200, .. })));
}

#[test]
fn more_symbols_than_the_limit_are_cut_and_it_is_said() {
    let limits = Limits { symbols: 3, ..Limits::default() };
    let mut extractor = Extractor::new();
    for language in ["C", "Rust"] {
        let code = match language {
            "C" => "#define A 1\nint b;\nint c;\nint d;\n",
            _ => "fn a() {} fn b() {} fn c() {} fn d() {}",
        };
        let language = Language::from_name(language).unwrap();
        let found = extractor.extract(language, code.as_bytes(), &limits).unwrap();
        assert_eq!(found.len(), 3);
        assert!(extractor.was_cut());
    }
    let language = Language::from_name("C").unwrap();
    let found = extractor.extract(language, b"int a;", &limits);
    assert_eq!(found.unwrap().len(), 1);
    assert!(!extractor.was_cut());
}

#[test]
fn a_file_that_takes_too_long_fails_alone() {
    let mut extractor = Extractor::new();
    let limits = Limits { time: Duration::ZERO, ..Limits::default() };
    for language in each_language() {
        let code = String::from("<?php ") + &"struct a { int b; };\n".repeat(10_000);
        let started = Instant::now();
        let result = extractor.extract(language, code.as_bytes(), &limits);
        assert!(matches!(result, Err(SymbolError::TimedOut { .. })), "{language}");
        assert!(started.elapsed() < Duration::from_secs(2), "{language}");
        let result = extractor.extract(language, b"\n", &Limits::default());
        assert_eq!(result.unwrap(), [], "{language}");
    }
}

#[test]
fn binary_and_broken_input() {
    let mut noise = Vec::new();
    let mut state = 1u32;
    for _ in 0..20_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.push((state >> 24) as u8);
    }
    let inputs: [&[u8]; 7] = [
        b"",
        b"\0",
        b"\xff\xfe\xfd",
        b"\xef\xbb\xbfint a;",
        b"/* never closed",
        b"\"never closed\n'",
        &noise,
    ];
    let mut extractor = Extractor::new();
    for language in each_language() {
        for input in inputs {
            if let Ok(symbols) = extractor.extract(language, input, &Limits::default()) {
                for symbol in symbols {
                    assert!(symbol.name.end as usize <= input.len());
                    assert!(symbol.extent.end as usize <= input.len());
                }
            }
        }
    }
}

#[test]
fn deep_nesting_does_not_exhaust_the_stack() {
    let mut extractor = Extractor::new();
    let limits = Limits { time: Duration::from_millis(100), ..Limits::default() };
    for language in each_language() {
        for open in ["(", "[", "{", "a(", "#if 1\n"] {
            let code = open.repeat(100_000);
            // Whether it succeeds is not the point.
            let _ = extractor.extract(language, code.as_bytes(), &limits);
        }
    }
}

#[test]
fn a_deep_tree_is_walked() {
    let (open, close) = ("(".repeat(100_000), ")".repeat(100_000));
    let limits = Limits { time: Duration::from_secs(60), ..Limits::default() };
    let code = format!("fn first() {{ {open}1{close} }} fn second() {{}}");
    let language = Language::from_name("Rust").unwrap();
    let found = Extractor::new().extract(language, code.as_bytes(), &limits);
    assert_eq!(found.unwrap().len(), 2);
}

/// What is done before the parse is not under the time limit, so it has to be linear.
#[test]
fn c_that_is_meant_to_be_slow() {
    let parameters = format!("f({}x)", "a, ".repeat(50_000)) + &" int x;".repeat(50_000);
    let inputs = [
        parameters,
        "a{},".repeat(200_000),
        "static a ".repeat(200_000),
        "f() {\n".repeat(100_000),
        "struct a { ".repeat(100_000),
        "f(\n#if 1\n#else\n".repeat(50_000),
        "#if 0\n".repeat(100_000),
        "#define A\\\n".repeat(100_000),
        "\"R\"(".repeat(100_000),
        "enum a { b, ".repeat(100_000),
        "int f(a) int a; { } }".repeat(50_000),
    ];
    let mut extractor = Extractor::new();
    let limits = Limits { time: Duration::from_millis(50), ..Limits::default() };
    for language in ["C", "C++"] {
        let language = Language::from_name(language).unwrap();
        for input in &inputs {
            let started = Instant::now();
            let _ = extractor.extract(language, input.as_bytes(), &limits);
            let start = &input[..input.len().min(20)];
            assert!(started.elapsed() < Duration::from_secs(5), "{language} {start:?}");
        }
    }
}

#[test]
fn cut_off_anywhere() {
    for grammar in Grammar::ALL {
        for (language, code) in fixtures::ALL {
            let language = Language::from_name(language).unwrap();
            if Grammar::of(language) != Some(*grammar) {
                continue;
            }
            let mut extractor = Extractor::new();
            for end in (0..code.len()).step_by(23) {
                let content = &code.as_bytes()[..end];
                let found = extractor.extract(language, content, &Limits::default());
                assert!(found.unwrap().iter().all(|symbol| symbol.name.end as usize <= end));
            }
        }
    }
}

use super::*;

fn detected(path: &str, content: &str) -> &'static str {
    detect(path.as_bytes(), content.as_bytes()).map_or("", Language::name)
}

#[test]
fn names_and_aliases_in_any_case() {
    for name in ["C++", "c++", "cpp", "CPP"] {
        assert_eq!(Language::from_name(name).map(Language::name), Some("C++"));
    }
    assert_eq!(Language::from_name("golang").map(Language::name), Some("Go"));
    assert_eq!(Language::from_name("ts").map(Language::name), Some("TypeScript"));
    assert_eq!(Language::from_name("visual basic .net"), Language::from_name("Visual-Basic-.NET"));
    assert_eq!(Language::from_name("klingon"), None);
    assert!(Language::all().len() > 700);
    for language in Language::all() {
        assert_eq!(Language::from_name(language.name()), Some(language));
    }
}

#[test]
fn groups() {
    let group = |name| Language::from_name(name).map(|language| language.group().name());
    assert_eq!(group("TSX"), Some("TypeScript"));
    assert_eq!(group("Rust"), Some("Rust"));
}

#[test]
fn slips_are_answered_with_near_names() {
    assert_eq!(Language::nearest("pyhton").first(), Some(&"Python"));
    assert_eq!(Language::nearest("rsut").first(), Some(&"Rust"));
    assert!(Language::nearest("javascrip").contains(&"JavaScript"));
    assert!(Language::nearest("").is_empty());
    assert!(Language::nearest(&"x".repeat(10_000)).is_empty());
    assert!(Language::nearest("c").len() <= 5);
}

#[test]
fn by_file_name_and_extension() {
    for (path, expected) in [
        ("src/main.rs", "Rust"),
        ("Makefile", "Makefile"),
        ("a/Dockerfile", "Dockerfile"),
        ("Gemfile", "Ruby"),
        ("x.PY", "Python"),
        ("a.tsx", "TSX"),
        ("A.java", "Java"),
        ("main.go", "Go"),
        ("a.kt", "Kotlin"),
        ("a.d.ts", "TypeScript"),
        ("types.hpp", "C++"),
        ("a.sh", "Shell"),
        ("index.html", "HTML"),
        ("README.md", "Markdown"),
        ("notes.txt", "Text"),
        ("data.unknown-extension", ""),
        ("no_extension", ""),
        (".hidden", ""),
    ] {
        assert_eq!(detected(path, "x"), expected, "{path}");
    }
}

#[test]
fn by_content_where_extensions_are_shared() {
    for (path, content, expected) in [
        ("a.h", "struct a { int b; };\n", "C"),
        ("a.h", "#include <vector>\n", "C++"),
        ("a.h", "namespace a {\nclass B;\n}\n", "C++"),
        ("a.h", "@interface Foo : NSObject\n@end\n", "Objective-C"),
        ("a.m", "#import \"Foo.h\"\n@implementation Foo\n@end\n", "Objective-C"),
        ("a.m", "function y = f(x)\n% comment\nend\n", "MATLAB"),
        ("a.pl", "use strict;\nmy $x = 1;\n", "Perl"),
        ("a.pl", "parent(X, Y) :- child(Y, X).\n", "Prolog"),
        ("a.t", "use strict;\nuse warnings;\nuse Test::More;\n", "Perl"),
        ("a.ts", "export const a = 1;\n", "TypeScript"),
        ("a.ts", "<?xml version=\"1.0\"?>\n<TS version=\"2.1\"></TS>\n", "XML"),
        ("a.rs", "fn main() {}\n", "Rust"),
        ("a.rs", "#pragma version(1)\n", "RenderScript"),
        ("a.v", "module a(input b);\nendmodule\n", "Verilog"),
        ("a.pro", "HEADERS += a.h\nSOURCES += main.cpp\n", "QMake"),
        ("a.cls", "\\NeedsTeXFormat{LaTeX2e}\n", "TeX"),
        ("a.sql", "SELECT 1;\n", "SQL"),
        ("a.inc", "<?php\n", "PHP"),
        ("a.php", "<?php echo 1;", "PHP"),
    ] {
        assert_eq!(detected(path, content), expected, "{path} {content}");
    }
}

#[test]
fn by_shebang() {
    for (content, expected) in [
        ("#!/usr/bin/env python3\n", "Python"),
        ("#!/usr/bin/python2.6 -u\n", "Python"),
        ("#!/bin/bash\n", "Shell"),
        ("#! /usr/bin/env -S FOO=1 ruby\n", "Ruby"),
        ("#!/usr/bin/env node\n", "JavaScript"),
        ("#!/bin/sh\nexec tclsh \"$0\" \"$@\"\n", "Tcl"),
        ("#!/usr/bin/perl -w\n", "Perl"),
        ("#!/no/such/thing\n", ""),
        ("#!", ""),
        ("#!/usr/bin/env\n", ""),
    ] {
        assert_eq!(detected("script", content), expected, "{content}");
    }
}

#[test]
fn by_modeline() {
    for (content, expected) in [
        ("# -*- mode: ruby -*-\n", "Ruby"),
        ("/* -*- c++ -*- */\n", "C++"),
        ("/* -*- Mode: C; c-basic-offset: 8 -*- */\n", "C"),
        ("# vim: set ft=python :\n", "Python"),
        ("x\n\n// vim: ts=4:filetype=php\n", "PHP"),
        ("# vim600: syntax=perl\n", "Perl"),
        ("# vim: ft=nonsense\n", ""),
        ("text about -*- and vim: ts=3\n", ""),
    ] {
        assert_eq!(detected("file", content), expected, "{content}");
    }
}

#[test]
fn by_xml_declaration_and_manual_page() {
    assert_eq!(detected("a.zzz", "<?xml version=\"1.0\"?>\n<a/>"), "XML");
    assert_eq!(detected("git.1p", ".TH GIT 1\n.SH NAME\n"), "Roff Manpage");
}

#[test]
fn hostile_names_and_contents() {
    let long = [b'.'; 100_000];
    assert_eq!(detect(&long, &long), None);
    assert_eq!(detect(b"", b""), None);
    assert_eq!(detect(b"\xff\xfe.\xff", b"\x00\xff"), None);
    assert_eq!(detect(b"a\xff.rs", b"").map(Language::name), Some("Rust"));
}

//! Definitions: found by name once they are read, and ranked before their uses.

use aeterna_index::ShardSet;
use aeterna_index::search::{MatchKind, SkipReason, SymbolHit};

use crate::support::{
    Memory, all, index, info, open, path, paths, replace, request, search, settle, skips,
};

const SHAPES: &[u8] = b"pub struct Circle {\n    radius: f64,\n}\n\nimpl Circle {\n    pub fn area(&self) \
-> f64 {\n        self.radius\n    }\n}\n\npub struct Square;\n\nimpl Square {\n    pub fn area(&self) -> f64 {\n        \
1.0\n    }\n}\n\npub fn area() {}\n";

const FILES: [(&str, &[u8]); 7] = [
    ("src/shapes.rs", SHAPES),
    ("src/main.rs", b"mod shapes;\n\nfn main() {\n    println!(\"{}\", shapes::area());\n}\n"),
    (
        "src/uses.rs",
        b"// main main main: fn main is elsewhere\nfn helper() { crate::main(); crate::main(); }\n",
    ),
    (
        "tool.py",
        b"class Circle:\n    def area(self):\n        return main()\n\ndef main():\n    pass\n",
    ),
    ("cmd/main.go", b"package main\n\nfunc main() {\n\tarea()\n}\n"),
    ("main.txt", b"fn main fn main fn main main main\n"),
    ("docs/main.md", b"# main\n\nThe `fn main` of it, and area of a Circle.\n"),
];

fn prepared(folder: &std::path::Path) -> ShardSet {
    let (set, source) = (open(folder), Memory::default());
    index(&set, &source, &info(1, "a/b"), &FILES);
    settle(&set);
    set
}

/// Path, name, kind and container of each definition that is found, sorted.
fn definitions(set: &ShardSet, query: &str) -> Vec<String> {
    let response = all(set, query);
    let mut found: Vec<String> = response
        .results
        .iter()
        .map(|result| {
            assert_eq!(result.kind, MatchKind::Symbol, "{query}");
            let SymbolHit { name, kind, container, range } = result.symbol.as_ref().unwrap();
            let within = container.as_deref().unwrap_or("-");
            format!("{}:{} {kind} {within}.{name}", path(result), range.start.line)
        })
        .collect();
    found.sort();
    found
}

#[test]
fn definitions_come_with_maintenance() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source, repository) = (open(folder.path()), Memory::default(), info(1, "a/b"));
    index(&set, &source, &repository, &FILES);
    let shard = set.shard_of(repository.id).unwrap();
    assert!(shard.symbols_pending(repository.id));
    let early = all(&set, "sym:main");
    assert!(!early.complete && skips(&early, SkipReason::IndexStale), "{:?}", early.skipped);
    assert_eq!(all(&set, "\"fn main\"").results.len(), 4, "text is searched already");
    assert_eq!(settle(&set).0, 1);
    assert!(!shard.symbols_pending(repository.id));
    let found = all(&set, "sym:main");
    assert!(found.complete);
    assert_eq!(paths(&found), ["cmd/main.go", "src/main.rs", "tool.py"]);
    // An update has its own symbols still to be read.
    let listing = vec![crate::support::file("only.rs", source.put(b"fn main() {}\n"))];
    shard.apply(&replace(&repository, "2", listing), &source, &aeterna_index::NoProgress).unwrap();
    assert!(shard.symbols_pending(repository.id));
    settle(&set);
    assert_eq!(paths(&all(&set, "sym:main")), ["only.rs"]);
}

#[test]
fn symbols_by_name_container_and_kind() {
    let folder = tempfile::tempdir().unwrap();
    let set = prepared(folder.path());
    for (query, wanted) in [
        ("sym:main", &["cmd/main.go", "src/main.rs", "tool.py"][..]),
        ("sym:MAIN", &["cmd/main.go", "src/main.rs", "tool.py"]),
        ("sym:MAIN case:yes", &[]),
        ("sym:mai lang:python", &["tool.py"]),
        ("sym:/^m.in$/ lang:go", &["cmd/main.go"]),
        ("sym:Circle::area", &["src/shapes.rs", "tool.py"]),
        ("sym:Circle.area lang:rust", &["src/shapes.rs"]),
        ("sym:Triangle::area", &[]),
        ("sym:area -sym:Circle", &[]),
        ("sym:helper", &["src/uses.rs"]),
        ("sym:println", &[]),
        ("sym:main area", &["cmd/main.go", "src/main.rs", "tool.py"]),
        ("-sym:main lang:rust", &["src/shapes.rs", "src/uses.rs"]),
    ] {
        assert_eq!(paths(&all(&set, query)), *wanted, "{query}");
    }
}

#[test]
fn results_can_be_definitions() {
    let folder = tempfile::tempdir().unwrap();
    let set = prepared(folder.path());
    let areas = [
        "src/shapes.rs:14 method Square.area",
        "src/shapes.rs:19 function -.area",
        "src/shapes.rs:6 method Circle.area",
        "tool.py:2 method Circle.area",
    ];
    assert_eq!(definitions(&set, "area type:symbol"), areas);
    assert_eq!(definitions(&set, "sym:area select:symbol"), areas);
    assert_eq!(definitions(&set, "area select:symbol.function"), [areas[1]]);
    assert_eq!(definitions(&set, "sym:Square::area type:symbol"), [areas[0]]);
    // Qualifiers alone select every definition of a file.
    let methods = definitions(&set, "file:shapes select:symbol.method");
    assert_eq!(methods, [areas[0], areas[2]]);
    let all_of_main = definitions(&set, "file:src/main.rs type:symbol");
    assert!(all_of_main.contains(&"src/main.rs:3 function -.main".to_owned()), "{all_of_main:?}");
    assert_eq!(
        definitions(&set, "main type:symbol"),
        [
            "cmd/main.go:3 function -.main",
            "src/main.rs:3 function -.main",
            "tool.py:5 function -.main"
        ]
    );
    assert_eq!(
        definitions(&set, "/^(Circle|Square)$/ select:symbol.struct"),
        ["src/shapes.rs:1 struct -.Circle", "src/shapes.rs:11 struct -.Square"]
    );
}

#[test]
fn definitions_come_first() {
    let folder = tempfile::tempdir().unwrap();
    let set = prepared(folder.path());
    let first = |query: &str| path(&search(&set, &request(query)).unwrap().results[0]);
    assert_eq!(first("\"fn main\""), "src/main.rs");
    assert_eq!(first("fn main"), "src/main.rs");
    assert_eq!(first("fn main lang:rust"), "src/main.rs");
    assert_eq!(first("func main"), "cmd/main.go");
    assert_eq!(first("helper"), "src/uses.rs");
    assert_eq!(first("circle lang:python"), "tool.py");
}

#[test]
fn definitions_on_long_lines_are_all_found() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    // A line of several units, so that some names lie across a cut.
    let text: String =
        (0..4_000).map(|number| format!("function name{number:05}(){{}};")).collect();
    assert!(text.len() > 80 << 10);
    index(&set, &source, &info(1, "a/b"), &[("all.js", text.as_bytes())]);
    settle(&set);
    let found = definitions(&set, "/^name/ type:symbol");
    assert_eq!(found.len(), 4_000);
    let response = all(&set, "sym:/^name0/");
    assert_eq!(response.counts.matches.value, 4_000);
    assert_eq!(response.counts.lines.value, 1);
}

//! What client commands print, and how they end.

use std::process::Stdio;

use serde_json::Value;

use crate::harness::{Git, Server, aeterna, run};

const MAIN: &[u8] = b"use std::env;\n\nfn main() {\n    println!(\"needle\");\n}\n";

fn indexed() -> (Git, Server) {
    let git = Git::with_files(
        "shop",
        &[
            ("src/main.rs", MAIN),
            ("src/lib.rs", b"// calls fn main of others\n"),
            ("odd\nname.txt", b"needle \x1b[31mred\x1b[0m\n"),
            ("latin1.txt", b"caf\xe9 needle\n"),
        ],
    );
    let server = Server::start();
    server.add(&git.url());
    (git, server)
}

#[test]
fn results_behind_a_pipe_are_one_match_a_line() {
    let (_git, server) = indexed();
    let ran = server.cli(&["search", "fn main lang:rust"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[0], "owner/shop:src/main.rs:3:fn main() {", "the definition comes first");
    assert!(lines.contains(&"owner/shop:src/lib.rs:1:// calls fn main of others"), "{lines:?}");
    assert_eq!(ran.stderr, "");
}

#[test]
fn words_are_joined_and_long_forms_do_the_same() {
    let (_git, server) = indexed();
    let short = server.cli(&["search", "fn", "main", "lang:rust"]);
    let long = server.cli(&["code-search", "search", "fn main lang:rust"]);
    assert_eq!(short.stdout, long.stdout);
    assert_eq!((short.code, long.code), (0, 0));
}

#[test]
fn exit_status_is_that_of_grep() {
    let (_git, server) = indexed();
    assert_eq!(server.cli(&["search", "needle"]).code, 0);
    let nothing = server.cli(&["search", "no_such_text_anywhere"]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (1, ""));
    assert_eq!(server.cli(&["search", "/(/"]).code, 2);
    assert_eq!(server.cli(&["search"]).code, 2);
    assert_eq!(server.cli(&["search", "x", "--no-such-flag"]).code, 2);
}

#[test]
fn a_wrong_query_is_shown_with_its_place_and_no_results() {
    let (_git, server) = indexed();
    let ran = server.cli(&["search", "needle lang:rusty"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.starts_with("aeterna: "), "{}", ran.stderr);
    let marked = "  needle lang:rusty\n              ^^^^^\n";
    assert!(ran.stderr.contains(marked), "{}", ran.stderr);
    assert!(ran.stderr.contains("Rust"), "the nearest names: {}", ran.stderr);
}

#[test]
fn paths_and_counts_alone() {
    let (_git, server) = indexed();
    let mut paths: Vec<String> =
        server.cli(&["search", "-l", "needle"]).stdout.lines().map(str::to_owned).collect();
    paths.sort();
    assert_eq!(
        paths,
        ["owner/shop:latin1.txt", "owner/shop:odd\\nname.txt", "owner/shop:src/main.rs"]
    );
    let counts = server.cli(&["search", "-c", "main path:src/main.rs"]).stdout;
    let count = counts.trim().strip_prefix("owner/shop:src/main.rs:").map(str::parse::<u64>);
    assert!(matches!(count, Some(Ok(1..))), "{counts}");
}

#[test]
fn context_lines_have_dashes() {
    let (_git, server) = indexed();
    let ran = server.cli(&["search", "-C", "1", "println path:src/main.rs"]);
    assert_eq!(
        ran.stdout,
        "owner/shop:src/main.rs-3-fn main() {\n\
         owner/shop:src/main.rs:4:    println!(\"needle\");\n\
         owner/shop:src/main.rs-5-}\n"
    );
}

#[test]
fn colours_only_where_asked_for_and_escape_sequences_never() {
    let (_git, server) = indexed();
    let plain = server.cli(&["search", "fn main lang:rust"]);
    assert!(!plain.stdout.contains('\x1b'));
    let coloured = server.cli(&["search", "--color", "always", "red path:odd"]);
    assert!(coloured.stdout.contains('\x1b'), "{:?}", coloured.stdout);
    // Its own colours are there, those of the file are not.
    assert!(coloured.stdout.contains("\\x1b[31m"), "{:?}", coloured.stdout);
    assert!(!coloured.stdout.contains("\x1b[31mred\x1b[0m\n"), "{:?}", coloured.stdout);
}

#[test]
fn json_is_what_the_api_answers() {
    let (_git, server) = indexed();
    let ran = server.cli(&["search", "--json", "needle"]);
    let mut printed: Value = serde_json::from_str(&ran.stdout).unwrap();
    let mut answered = server.search("needle", "").json();
    for answer in [&mut printed, &mut answered] {
        answer["stats"]["durationMs"] = Value::Null;
    }
    assert_eq!(printed, answered);
    assert_eq!(server.cli(&["search", "--json", "no_such_text"]).code, 1);
}

#[test]
fn facets_and_explanation_take_the_place_of_results() {
    let (_git, server) = indexed();
    let facets = server.cli(&["search", "--facets", "main"]);
    assert!(facets.stdout.contains("language\tRust\t2\n"), "{}", facets.stdout);
    assert!(facets.stdout.contains("repository\towner/shop\t2\n"), "{}", facets.stdout);
    let explained = server.cli(&["search", "--explain", "needle"]);
    for heading in ["query:", "trigrams:", "candidates:", "verified:", "content read:", "time:"] {
        assert!(explained.stdout.contains(heading), "{heading}: {}", explained.stdout);
    }
}

#[test]
fn limits_page_through_and_say_what_is_left() {
    let files: Vec<(String, Vec<u8>)> =
        (0..30).map(|n| (format!("f{n:02}.txt"), b"common\n".to_vec())).collect();
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, content)| (path.as_str(), content.as_slice())).collect();
    let git = Git::with_files("many", &files);
    let server = Server::start();
    server.add(&git.url());
    let some = server.cli(&["search", "-l", "-n", "7", "common"]);
    assert_eq!(some.stdout.lines().count(), 7);
    assert!(some.stderr.contains("7 of"), "{}", some.stderr);
    let all = server.cli(&["search", "-l", "common count:all"]);
    assert_eq!(all.stdout.lines().count(), 30);
    assert_eq!(all.stderr, "");
}

#[test]
fn advice_goes_to_standard_error() {
    let (_git, server) = indexed();
    let ran = server.cli(&["search", "needle or main"]);
    assert!(ran.stderr.contains("needle OR main"), "{ran:?}");
    assert!(!ran.stdout.contains("OR"), "{ran:?}");
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let (_git, server) = indexed();
    let mut command = server.command(&["search", "needle"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn without_a_server_commands_say_how_to_start_one() {
    for arguments in [
        &["search", "x"][..],
        &["repo", "list"],
        &["repo", "add", "."],
        &["code-search", "repo", "show", "a/b"],
    ] {
        // Port 1 is reserved and nothing listens there.
        let ran = run(aeterna(arguments).env("AETERNA_SERVER", "http://127.0.0.1:1"));
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains("serve --index ."), "{ran:?}");
        assert!(ran.stderr.contains("http://127.0.0.1:1"), "{ran:?}");
    }
    let ran = run(aeterna(&["search", "x"]).env("AETERNA_SERVER", "nonsense"));
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("nonsense"), "{ran:?}");
}

#[test]
fn completions_and_man_pages_are_there() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(&mut aeterna(&["completions", shell]));
        assert_eq!(ran.code, 0);
        assert!(
            ran.stdout.contains("code-search") && ran.stdout.contains("not-indexed"),
            "{shell}"
        );
    }
    let page = run(&mut aeterna(&["man"]));
    assert!(page.stdout.contains(".TH aeterna 1"), "{}", page.stdout);
    let folder = tempfile::tempdir().unwrap();
    let ran = run(aeterna(&["man", "--dir"]).arg(folder.path()));
    assert_eq!(ran.code, 0, "{ran:?}");
    for page in ["aeterna.1", "aeterna-serve.1", "aeterna-search.1", "aeterna-repo-add.1"] {
        assert!(folder.path().join(page).is_file(), "{page}");
    }
}

#[test]
fn help_has_examples() {
    for arguments in
        [&["--help"][..], &["serve", "--help"], &["search", "--help"], &["repo", "--help"]]
    {
        let ran = run(&mut aeterna(arguments));
        assert_eq!(ran.code, 0);
        assert!(ran.stdout.contains("Example"), "{arguments:?}: {}", ran.stdout);
    }
    let version = run(&mut aeterna(&["--version"]));
    assert!(version.stdout.starts_with("aeterna "), "{}", version.stdout);
}

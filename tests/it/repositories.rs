//! The life of a repository as a user sees it.

use serde_json::{Value, json};

use crate::harness::{Git, Server};

#[test]
fn a_repository_is_added_shown_synced_and_removed() {
    let git = Git::with_files("shop", &[("a.txt", b"alpha\n")]);
    let server = Server::start();
    let added = server.post("/api/v1/repos", &json!({"url": git.url()}));
    assert_eq!(added.status, 202, "{}", added.text());
    let again = server.post("/api/v1/repos", &json!({"url": git.url()}));
    assert_eq!((again.status, &again.json()["id"]), (202, &added.json()["id"]));

    server.add(&git.url());
    let shown = server.cli(&["repo", "show", "owner/shop"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    for fact in ["owner/shop", "ready", &git.url(), git.git(&["rev-parse", "HEAD"]).trim()] {
        assert!(shown.stdout.contains(fact), "{fact}: {}", shown.stdout);
    }

    git.write("b.txt", b"alpha beta\n");
    let commit = git.commit("second");
    let synced = server.cli(&["repo", "sync", "owner/shop", "--wait", "--json"]);
    assert_eq!(synced.code, 0, "{synced:?}");
    let synced: Value = serde_json::from_str(&synced.stdout).unwrap();
    assert_eq!(synced["revisions"], json!([{"name": "main", "commit": commit}]));
    assert_eq!(server.paths("alpha"), ["owner/shop:a.txt", "owner/shop:b.txt"]);

    let reindexed = server.cli(&["repo", "reindex", "owner/shop", "--wait"]);
    assert_eq!(reindexed.code, 0, "{reindexed:?}");
    assert!(reindexed.stderr.contains("owner/shop: ready, 2 documents"), "{reindexed:?}");
    assert_eq!(server.paths("alpha").len(), 2);

    let events = server.cli(&["repo", "events", "owner/shop"]);
    for kind in ["added", "queued", "indexed"] {
        assert!(events.stdout.contains(kind), "{kind}: {}", events.stdout);
    }

    let removed = server.cli(&["repo", "rm", "owner/shop"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    assert_eq!(server.paths("alpha"), Vec::<String>::new(), "gone at once");
    assert_eq!(server.cli(&["repo", "show", "owner/shop"]).code, 2);
    server.get("/api/v1/repos/owner%2Fshop").assert_problem(404, "repository-not-found");
}

#[test]
fn lists_are_filtered_and_paged() {
    let one = Git::with_files("one", &[("a", b"x")]);
    let two = Git::with_files("two", &[("a", b"x")]);
    let server = Server::start();
    server.add(&one.url());
    server.add(&two.url());
    let plain = server.cli(&["repo", "list"]);
    let rows: Vec<Vec<&str>> =
        plain.stdout.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.len(), 2, "{}", plain.stdout);
    assert_eq!((rows[0][0], rows[0][1], rows[0][2]), ("owner/one", "ready", "1"));
    let named: Value =
        serde_json::from_str(&server.cli(&["repo", "ls", "--name", "TW", "--json"]).stdout)
            .unwrap();
    assert_eq!(named["repositories"].as_array().unwrap().len(), 1);
    assert_eq!(named["repositories"][0]["name"], "owner/two");
    assert_eq!(server.cli(&["repo", "list", "--state", "error"]).stdout, "");

    let first = server.get("/api/v1/repos?limit=1").json();
    assert_eq!(first["repositories"][0]["name"], "owner/one");
    let cursor = first["nextCursor"].as_str().unwrap();
    let second = server.get(&format!("/api/v1/repos?limit=1&cursor={cursor}")).json();
    assert_eq!(second["repositories"][0]["name"], "owner/two");
    assert_eq!(second["nextCursor"], Value::Null);
}

#[test]
fn a_relative_path_is_that_of_the_caller() {
    let git = Git::with_files("shop", &[("a.txt", b"alpha\n")]);
    let server = Server::start();
    let mut command = server.command(&["repo", "add", ".", "--wait"]);
    let output = command.current_dir(git.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(server.paths("alpha"), ["owner/shop:a.txt"]);
}

#[test]
fn branches_are_chosen_by_globs_and_searched_by_name() {
    let git = Git::with_files("shop", &[("a.txt", b"on main\n")]);
    for branch in ["release/1", "release/2", "wip"] {
        git.git(&["checkout", "-q", "-b", branch, "main"]);
        git.write("b.txt", format!("unique_{}\n", branch.replace('/', "_")).as_bytes());
        git.commit(branch);
    }
    git.git(&["checkout", "-q", "main"]);
    let server = Server::start();
    let ran = server.cli(&[
        "repo",
        "add",
        &git.url(),
        "--branch",
        "main",
        "--branch",
        "release/*",
        "--wait",
        "--json",
    ]);
    let repository: Value = serde_json::from_str(&ran.stdout).unwrap();
    let names: Vec<&str> = repository["revisions"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|revision| revision["name"].as_str())
        .collect();
    assert_eq!(names, ["main", "release/1", "release/2"]);
    assert_eq!(server.paths("unique_release_1 rev:release/1"), ["owner/shop:b.txt"]);
    assert_eq!(server.paths("unique_release_1 rev:release/2"), Vec::<String>::new());
    assert_eq!(server.paths("unique_wip"), Vec::<String>::new());
    let skipped = server.search("unique_wip rev:wip", "").json();
    assert_eq!(skipped["skipped"][0]["reason"], "revisionNotIndexed", "{skipped}");
}

#[test]
fn what_is_left_out_is_listed_with_the_reason() {
    let git = Git::new("shop");
    git.write("logo.bin", b"\0binary");
    git.write("big.txt", &b"large text\n".repeat(200));
    git.write("a.txt", b"alpha\n");
    std::os::unix::fs::symlink("a.txt", git.path().join("link")).unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:".to_owned()
        + &"0".repeat(64)
        + "\nsize 12345\n";
    git.write("video.mp4", pointer.as_bytes());
    git.commit("first");
    let options = crate::harness::ServerOptions::set(&["indexing.max_file_bytes=1024"]);
    let server = Server::start_with(&options);
    server.add(&git.url());
    let listed = server.cli(&["repo", "not-indexed", "owner/shop"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    let rows: Vec<(&str, &str)> = listed
        .stdout
        .lines()
        .filter_map(|line| {
            let mut columns = line.split('\t');
            Some((columns.next()?, columns.next()?))
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("big.txt", "too-large"),
            ("link", "symlink"),
            ("logo.bin", "binary"),
            ("video.mp4", "lfs-pointer"),
        ]
    );
    assert_eq!(
        server.paths("type:path link"),
        ["owner/shop:link"],
        "paths are searched all the same"
    );
}

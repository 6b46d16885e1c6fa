//! `author:` and `updated:`: the last changes of files, as they were told to the index.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use aeterna_index::search::SkipReason;
use aeterna_index::{ContentId, HistoryUpdate, LastChange, NoProgress, RepositoryInfo, ShardSet};

use crate::support::{
    Memory, all, file, files_of, index, info, open, paths, replace, settle, skips,
};

const ADA: &str = "Ada Lovelace <ada@example.org>";
const BOB: &str = "Bob <bob@Example.com>";

/// 2026-03-01 and 2025-07-15, in seconds since 1970.
const MARCH: i64 = 1_772_323_200;
const JULY: i64 = 1_752_537_600;

fn change(path: &str, content: ContentId, seconds: i64, author: u32) -> LastChange {
    LastChange { path: path.as_bytes().to_vec(), content, seconds, author }
}

fn history(commit: &str, changes: Vec<LastChange>) -> HistoryUpdate {
    HistoryUpdate {
        commits: BTreeMap::from([("main".to_owned(), commit.to_owned())]),
        complete: true,
        keep: false,
        authors: vec![ADA.to_owned(), BOB.to_owned()],
        changes,
    }
}

/// A repository with a file of each author and one that nobody is known to have changed.
fn prepared(set: &ShardSet, source: &Memory) -> RepositoryInfo {
    let repository = info(1, "a/b");
    let files: [(&str, &[u8]); 3] =
        [("ada.rs", b"needle a"), ("bob.rs", b"needle b"), ("nobody.rs", b"needle c")];
    index(set, source, &repository, &files);
    repository
}

fn told(set: &ShardSet, source: &Memory, repository: &RepositoryInfo) {
    told_of(set, source, repository, "c0ffee");
}

fn told_of(set: &ShardSet, source: &Memory, repository: &RepositoryInfo, commit: &str) {
    let changes = vec![
        change("ada.rs", source.put(b"needle a"), MARCH, 0),
        change("bob.rs", source.put(b"needle b"), JULY, 1),
        // Nothing that is indexed.
        change("gone.rs", source.put(b"needle b"), MARCH, 1),
    ];
    set.shard_of(repository.id)
        .unwrap()
        .set_history(repository.id, &history(commit, changes))
        .unwrap();
}

fn check(set: &ShardSet) {
    for (query, wanted) in [
        ("needle author:ada", &["ada.rs"][..]),
        ("needle author:LOVELACE", &["ada.rs"]),
        ("needle author:example.com", &["bob.rs"]),
        ("needle author:example", &["ada.rs", "bob.rs"]),
        ("needle -author:ada", &["bob.rs", "nobody.rs"]),
        ("needle author:carol", &[]),
        ("needle updated:2026-03-01", &["ada.rs"]),
        ("needle updated:2025", &["bob.rs"]),
        ("needle updated:>=2025", &["ada.rs", "bob.rs"]),
        ("needle updated:<2026", &["bob.rs"]),
        ("needle after:2026-01-01", &["ada.rs"]),
        ("needle before:2026-01-01", &["bob.rs"]),
        ("needle (author:bob OR file:nobody)", &["bob.rs", "nobody.rs"]),
        ("author:ada type:path rs", &["ada.rs"]),
    ] {
        let response = all(set, query);
        assert_eq!(paths(&response), wanted, "{query}");
        assert!(response.complete, "{query}: {:?}", response.skipped);
    }
}

#[test]
fn files_are_found_by_their_last_change() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let repository = prepared(&set, &source);
    let shard = set.shard_of(repository.id).unwrap();
    assert!(shard.history_pending(repository.id));
    let before = all(&set, "needle author:ada");
    assert!(before.results.is_empty() && !before.complete);
    assert!(skips(&before, SkipReason::IndexStale), "{:?}", before.skipped);
    assert!(all(&set, "needle").complete);

    told(&set, &source, &repository);
    assert!(!shard.history_pending(repository.id));
    check(&set);
    settle(&set);
    check(&set);
    drop(set);
    check(&open(folder.path()));
}

#[test]
fn merges_and_new_commits_keep_what_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let repository = prepared(&set, &source);
    told(&set, &source, &repository);
    let mut files = vec![
        file("ada.rs", source.put(b"needle a")),
        file("bob.rs", source.put(b"needle b")),
        file("nobody.rs", source.put(b"needle c")),
    ];
    let shard = set.shard_of(repository.id).unwrap();
    for number in 0..4 {
        files.push(file(format!("new{number}"), source.put(format!("new {number}").as_bytes())));
        let update = replace(&repository, &format!("{number:06}"), files.clone());
        shard.apply(&update, &source, &NoProgress).unwrap();
    }
    assert!(settle(&set).1 > 0, "nothing was merged");
    // The new commit's changes are not known; those of the old one's files are.
    let response = all(&set, "needle author:ada");
    assert_eq!((paths(&response), response.complete), (vec!["ada.rs".to_owned()], false));
    assert!(shard.history_pending(repository.id));
    told_of(&set, &source, &repository, "000003");
    check(&set);
}

fn histories(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let shards = ["0000", "0001"].map(|name| folder.join(name));
    let files = shards.iter().flat_map(|shard| {
        files_of(shard).into_iter().map(|(name, bytes)| (shard.join(name), bytes))
    });
    files.filter(|(path, _)| path.extension().is_some_and(|end| end == "history")).collect()
}

#[test]
fn a_damaged_history_is_as_if_it_had_not_been_read() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let repository = prepared(&set, &source);
    told(&set, &source, &repository);
    drop(set);
    let (path, bytes) = histories(folder.path()).pop().unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 16;
        fs::remove_file(&path).unwrap();
        fs::write(&path, damaged).unwrap();
        let set = open(folder.path());
        assert!(set.shard_of(repository.id).unwrap().history_pending(repository.id), "byte {at}");
        assert_eq!(all(&set, "needle").results.len(), 3);
    }
    let set = open(folder.path());
    told(&set, &source, &repository);
    check(&set);
}

#[test]
fn no_history_leaks() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let repository = prepared(&set, &source);
    for _ in 0..3 {
        told(&set, &source, &repository);
        assert_eq!(histories(folder.path()).len(), 1);
    }
    let shard = set.shard_of(repository.id).unwrap();
    shard.remove_repository(repository.id).unwrap();
    assert!(histories(folder.path()).is_empty());
    // One that comes too late is not kept.
    told(&set, &source, &repository);
    assert!(histories(folder.path()).is_empty());
    assert!(shard.history(repository.id).is_none() && !shard.history_pending(repository.id));
}

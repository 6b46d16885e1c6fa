//! The life of an index that is cut short at every point of it.

use std::collections::BTreeMap;
use std::path::Path;

use aeterna_index::{
    FileEntry, HistoryUpdate, IndexError, LastChange, NoProgress, RepositoryId, RepositoryInfo,
    RepositoryUpdate, RevisionChange, ShardSet,
};

use crate::support::{Memory, all, file, files_of, info, options, settle};

/// Operations of the script.
pub const OPERATIONS: usize = 11;

pub fn open(folder: &Path) -> Result<ShardSet, IndexError> {
    ShardSet::open(folder, 1, options())
}

fn text(name: &str, version: u32) -> Vec<u8> {
    let lines = (0..200).map(|line| format!("fn {name}_{line}() {{ /* word {version} */ }}\n"));
    lines.collect::<String>().into_bytes()
}

fn listing(source: &Memory, names: &[&str], version: u32) -> Vec<FileEntry> {
    names.iter().map(|name| file(format!("{name}.rs"), source.put(&text(name, version)))).collect()
}

fn replace(name: &str, commit: &str, files: Vec<FileEntry>) -> RevisionChange {
    RevisionChange::Replace { name: name.to_owned(), commit: commit.to_owned(), files }
}

fn one() -> RepositoryInfo {
    info(1, "a/one")
}

fn two() -> RepositoryInfo {
    info(2, "a/two")
}

fn apply(
    set: &ShardSet,
    source: &Memory,
    repository: RepositoryInfo,
    revisions: Vec<RevisionChange>,
) -> Result<(), IndexError> {
    let update = RepositoryUpdate { repository, revisions };
    set.shards()[0].apply(&update, source, &NoProgress).map(drop)
}

/// Maintains until nothing is due.
fn maintain(set: &ShardSet) -> Result<(), IndexError> {
    while set.shards()[0].maintain(&|| false)? != aeterna_index::Maintenance::Idle {}
    Ok(())
}

/// Does one operation of the script.
pub fn operation(set: &ShardSet, source: &Memory, number: usize) -> Result<(), IndexError> {
    match number {
        0 => {
            let files = listing(source, &["a", "b", "c", "d"], 1);
            apply(set, source, one(), vec![replace("main", "1", files)])
        }
        1 => {
            let files = listing(source, &["a", "x", "y"], 1);
            apply(set, source, two(), vec![replace("main", "1", files)])
        }
        2 | 5 | 8 => maintain(set),
        3 => apply(set, source, one(), vec![change(source), replace("dev", "9", dev(source))]),
        4 => {
            let files = listing(source, &["e", "f"], 3);
            apply(set, source, one(), vec![replace("release", "8", files)])
        }
        6 => {
            let info = RepositoryInfo { name: "b/renamed".to_owned(), ..one() };
            set.shards()[0].set_repository(info)
        }
        7 => set.shards()[0].remove_repository(two().id),
        9 => set_history(set, source, &["a"]),
        _ => set_history(set, source, &["a", "new"]),
    }
}

/// Someone changed these files of the first repository last.
fn set_history(set: &ShardSet, source: &Memory, names: &[&str]) -> Result<(), IndexError> {
    let change = |entry: FileEntry| LastChange {
        path: entry.path,
        content: entry.content,
        seconds: 1,
        author: 0,
    };
    let update = HistoryUpdate {
        commits: set.shards()[0].revisions(one().id).unwrap_or_default(),
        authors: vec!["Someone".to_owned()],
        changes: listing(source, names, 2).into_iter().map(change).collect(),
        ..HistoryUpdate::default()
    };
    set.shards()[0].set_history(one().id, &update)
}

/// `main` of the first repository goes on from its first commit.
fn change(source: &Memory) -> RevisionChange {
    let before = listing(source, &["a", "b"], 1);
    RevisionChange::Update {
        name: "main".to_owned(),
        from: "1".to_owned(),
        commit: "2".to_owned(),
        removed: before.into_iter().map(|entry| (entry.path, entry.content)).collect(),
        added: listing(source, &["a", "new"], 2),
    }
}

fn dev(source: &Memory) -> Vec<FileEntry> {
    listing(source, &["c", "d", "z"], 1)
}

/// What can be seen of an index, but for the order of results.
#[derive(Debug, PartialEq, Eq)]
pub struct State {
    found: Vec<String>,
    repositories: Vec<RepositoryInfo>,
    revisions: BTreeMap<RepositoryId, BTreeMap<String, String>>,
    /// How many last changes are known of the repositories that have a history.
    changes: BTreeMap<RepositoryId, usize>,
}

pub fn state(set: &ShardSet) -> State {
    let shard = &set.shards()[0];
    let response = all(set, "word OR file:z");
    assert!(response.complete, "{:?}", response.skipped);
    let mut found: Vec<String> = response
        .results
        .iter()
        .map(|result| {
            let path = String::from_utf8_lossy(&result.path).into_owned();
            let text = String::from_utf8_lossy(&result.chunks[0].content).into_owned();
            format!(
                "{} {path} {:?} {} {text}",
                result.repository.name, result.branches, result.commit
            )
        })
        .collect();
    found.sort();
    let repositories = shard.repositories();
    let revisions =
        repositories.iter().map(|info| (info.id, shard.revisions(info.id).unwrap())).collect();
    let known = |info: &RepositoryInfo| Some((info.id, shard.history(info.id)?.len()));
    let changes = repositories.iter().filter_map(known).collect();
    State { found, repositories, revisions, changes }
}

/// The state after each number of operations.
pub fn states() -> Vec<State> {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()).unwrap(), Memory::default());
    let mut states = vec![state(&set)];
    for number in 0..OPERATIONS {
        operation(&set, &source, number).unwrap();
        states.push(state(&set));
    }
    states
}

/// Checks that the folder of an open set has the files that it needs, and no other.
pub fn check_files(folder: &Path, set: &ShardSet) {
    let files = files_of(&folder.join("0000"));
    let count = |end: &str| files.keys().filter(|name| name.ends_with(end)).count() as u64;
    let stats = set.shards()[0].stats();
    assert_eq!(count(".segment"), stats.segments, "{:?}", files.keys());
    assert_eq!(count(".live"), stats.segments, "{:?}", files.keys());
    let with_symbols = stats.segments - stats.segments_without_symbols;
    assert_eq!(count(".symbols"), with_symbols, "{:?}", files.keys());
    let manifest = u64::from(files.contains_key("manifest"));
    let histories = state(set).changes.len() as u64;
    assert_eq!(count(".history"), histories, "{:?}", files.keys());
    let named = 2 * stats.segments + with_symbols + histories + manifest;
    assert_eq!(files.len() as u64, named, "{:?}", files.keys());
}

/// Does the rest of the script and checks that the end is that of an undisturbed one.
pub fn finish(folder: &Path, set: &ShardSet, from: usize, states: &[State]) {
    let source = Memory::default();
    for number in from..OPERATIONS {
        operation(set, &source, number).unwrap();
    }
    settle(set);
    assert_eq!(state(set), states[OPERATIONS]);
    check_files(folder, set);
}

//! Flipped bits, lost files and leftovers: never a wrong answer, and never a leak.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use aeterna_index::search::{SearchRequest, SkipReason, Visible};
use aeterna_index::{
    Damage, IndexError, NoProgress, RepositoryInfo, RepositoryUpdate, RevisionChange, ShardSet,
};

use crate::support::{
    Memory, Random, all, files_of, index, info, open, options, paths, request, search, settle,
    skips,
};

const FILES: [(&str, &[u8]); 3] = [
    ("src/main.rs", b"fn main() {\n    needle();\n}\n"),
    ("src/lib.rs", b"pub fn needle() {}\n"),
    ("readme.md", b"about needles\n"),
];

/// The one shard that holds something.
fn shard_folder(folder: &Path) -> PathBuf {
    let shards = ["0000", "0001"].map(|name| folder.join(name));
    shards.into_iter().find(|shard| shard.join("manifest").exists()).unwrap()
}

fn prepared(folder: &Path) -> (Memory, aeterna_index::RepositoryInfo) {
    let (source, repository) = (Memory::default(), info(1, "a/b"));
    let set = open(folder);
    index(&set, &source, &repository, &FILES);
    settle(&set);
    (source, repository)
}

/// A copy of a set.
fn copied(from: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in [".", "0000", "0001"] {
        fs::create_dir_all(folder.path().join(part)).unwrap();
        for (name, bytes) in files_of(&from.join(part)) {
            fs::write(folder.path().join(part).join(name), bytes).unwrap();
        }
    }
    folder
}

/// A copy of a set in which one bit of a file was flipped before it was opened.
fn flipped(from: &Path, name: &str, at: usize) -> (TempDir, ShardSet) {
    let folder = copied(from);
    flip(&shard_folder(folder.path()).join(name), at);
    let set = open(folder.path());
    (folder, set)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 4;
    // Replaced and not written over: files of an index never change in place.
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn damage(set: &ShardSet) -> Vec<Damage> {
    set.shards().iter().flat_map(|shard| shard.take_damage()).collect()
}

/// Checks that nothing is answered wrongly, and that indexing again heals.
fn check_damaged(set: &ShardSet, source: &Memory, repository: &RepositoryInfo, place: &str) {
    let response = all(set, "needle");
    assert!(response.results.is_empty() && !response.complete, "{place}");
    assert!(skips(&response, SkipReason::ShardRestoring), "{place}");
    let shard = set.shard_of(repository.id).unwrap();
    assert_eq!(shard.revisions(repository.id), None, "{place}");
    let update = RepositoryUpdate {
        repository: repository.clone(),
        revisions: vec![RevisionChange::Update {
            name: "main".to_owned(),
            from: "c0ffee".to_owned(),
            commit: "2".to_owned(),
            removed: Vec::new(),
            added: Vec::new(),
        }],
    };
    let refused = shard.apply(&update, source, &NoProgress);
    assert!(matches!(refused, Err(IndexError::StaleBase { held: None, .. })), "{place}");

    index(set, source, repository, &FILES);
    let response = all(set, "needle");
    assert!(response.complete, "{place}");
    assert_eq!(paths(&response), ["readme.md", "src/lib.rs", "src/main.rs"], "{place}");
    assert!(shard.revisions(repository.id).is_some(), "{place}");
}

#[test]
fn a_flipped_bit_is_found_and_indexing_again_heals() {
    let folder = tempfile::tempdir().unwrap();
    let (source, repository) = prepared(folder.path());
    for (name, good) in files_of(&shard_folder(folder.path())) {
        for at in (0..good.len()).step_by(good.len() / 40 + 1).chain([good.len() - 1]) {
            let place = format!("{name} byte {at}");
            let (other, set) = flipped(folder.path(), &name, at);
            set.shards().iter().for_each(|shard| shard.scrub().unwrap());
            let damage = damage(&set);
            assert_eq!(damage.len(), 1, "{place}");
            assert_eq!(damage[0].repositories, [repository.id], "{place}");
            assert!(shard_folder(other.path()).join("quarantine").join(&name).exists(), "{place}");
            check_damaged(&set, &source, &repository, &place);
        }
    }
}

#[test]
fn searches_never_answer_from_flipped_bits() {
    let folder = tempfile::tempdir().unwrap();
    prepared(folder.path());
    let good = ["needle", "/ne+dle/ lang:rust", "-needle", "sym:needle", "type:symbol main"]
        .map(|query| (query, paths(&all(&open(folder.path()), query))));
    for (name, bytes) in files_of(&shard_folder(folder.path())) {
        for at in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
            let (_other, set) = flipped(folder.path(), &name, at);
            for (query, wanted) in &good {
                let response = all(&set, query);
                let found = paths(&response);
                let right = if response.complete { found == *wanted } else { found.is_empty() };
                assert!(right, "{name} byte {at}: {query} finds {found:?}");
            }
        }
    }
}

#[test]
fn a_scrub_finds_what_changed_under_an_open_shard() {
    let folder = tempfile::tempdir().unwrap();
    let (source, repository) = prepared(folder.path());
    for (name, bytes) in files_of(&shard_folder(folder.path())) {
        for at in [bytes.len() / 2, bytes.len() - 1] {
            let other = copied(folder.path());
            let set = open(other.path());
            set.shards().iter().for_each(|shard| shard.scrub().unwrap());
            assert_eq!(damage(&set).len(), 0, "nothing is damaged yet");
            flip(&shard_folder(other.path()).join(&name), at);
            set.shards().iter().for_each(|shard| shard.scrub().unwrap());
            let place = format!("{name} byte {at}");
            let damage = damage(&set);
            assert_eq!(damage.len(), 1, "{place}");
            if name == "manifest" {
                // Memory still knows it.
                assert!(damage[0].repositories.is_empty());
                drop(set);
                assert_eq!(all(&open(other.path()), "needle").results.len(), 3, "{place}");
            } else {
                assert_eq!(damage[0].repositories, [repository.id], "{place}");
                check_damaged(&set, &source, &repository, &place);
            }
        }
    }
}

#[test]
fn damage_of_one_shard_leaves_the_others_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    // One repository for each of the shards, which number their files alike.
    let repositories: Vec<RepositoryInfo> = (0..2u32)
        .map(|number| {
            let ids = (1..).map(|id| info(id, &format!("a/{number}")));
            let is_there = |info: &RepositoryInfo| set.number_of(info.id) == number;
            ids.into_iter().find(is_there).unwrap()
        })
        .collect();
    // Large enough that opening reads nothing of the first page, which holds content alone.
    let mut random = Random(1);
    let noise: String = (0..20_000).map(|_| format!("needle {:016x}\n", random.next())).collect();
    let files: Vec<(&str, &[u8])> =
        FILES.into_iter().chain([("noise.txt", noise.as_bytes())]).collect();
    for repository in &repositories {
        index(&set, &source, repository, &files);
    }
    drop(set);
    let shard = folder.path().join("0000");
    let segment = files_of(&shard).into_keys().find(|name| name.ends_with(".segment")).unwrap();
    flip(&shard.join(&segment), 5);
    let set = open(folder.path());
    assert_eq!(damage(&set).len(), 0, "opening does not see it");
    let response = all(&set, "needle");
    assert!(!response.complete && skips(&response, SkipReason::ShardRestoring));
    assert_eq!(response.results.len(), 4, "those of the shard that is whole");
    assert!(response.results.iter().all(|result| result.repository.name == "a/1"));
    let damage = damage(&set);
    assert_eq!(damage.len(), 1);
    assert_eq!(damage[0].repositories, [repositories[0].id]);
    assert!(set.shards()[1].revisions(repositories[1].id).is_some());
}

#[test]
fn a_lost_manifest_is_told_until_every_repository_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let source = Memory::default();
    let set = ShardSet::open(folder.path(), 1, options()).unwrap();
    let names = ["a/back", "a/removed", "a/gone-before"];
    let repositories: Vec<RepositoryInfo> =
        (1..).zip(names).map(|(number, name)| info(number, name)).collect();
    for repository in &repositories {
        index(&set, &source, repository, &FILES);
    }
    set.shards()[0].remove_repository(repositories[2].id).unwrap();
    settle(&set);
    drop(set);
    flip(&folder.path().join("0000/manifest"), 30);
    let set = ShardSet::open(folder.path(), 1, options()).unwrap();
    let told = damage(&set);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].repositories, [repositories[0].id, repositories[1].id]);
    let only = |id| Visible::Only(Arc::new([id].into()));
    assert!(!all(&set, "needle").complete);
    let unconcerned = SearchRequest { visible: only(repositories[2].id), ..request("needle") };
    assert!(search(&set, &unconcerned).unwrap().complete, "it sees nothing that was lost");
    index(&set, &source, &repositories[0], &FILES);
    drop(set);
    let set = ShardSet::open(folder.path(), 1, options()).unwrap();
    assert!(!all(&set, "needle").complete, "one is not back yet");
    set.shards()[0].remove_repository(repositories[1].id).unwrap();
    let response = all(&set, "needle");
    assert!(response.complete && response.results.len() == 3);
}

#[test]
fn a_damaged_number_of_shards_is_counted_anew() {
    let folder = tempfile::tempdir().unwrap();
    prepared(folder.path());
    let path = folder.path().join("shards");
    for at in 0..fs::read(&path).unwrap().len() {
        flip(&path, at);
        let set = ShardSet::open(folder.path(), 9, options()).unwrap();
        assert_eq!(set.shards().len(), 2, "byte {at}");
        assert_eq!(all(&set, "needle").results.len(), 3, "byte {at}");
    }
}

#[test]
fn a_search_that_meets_damage_says_so() {
    let folder = tempfile::tempdir().unwrap();
    prepared(folder.path());
    let shard = shard_folder(folder.path());
    let segment = files_of(&shard).into_keys().find(|name| name.ends_with(".segment")).unwrap();
    let mut bytes = fs::read(shard.join(&segment)).unwrap();
    bytes[3] ^= 1;
    fs::remove_file(shard.join(&segment)).unwrap();
    fs::write(shard.join(&segment), bytes).unwrap();
    // The flip is in the first page, which holds the tables of so small a segment as well.
    let set = open(folder.path());
    let first = all(&set, "needle");
    assert!(!first.complete && first.results.is_empty());
    assert!(shard.join("quarantine").join(&segment).exists());
    assert!(!all(&set, "needle").complete);
}

#[test]
fn leftovers_are_removed_on_opening() {
    let folder = tempfile::tempdir().unwrap();
    prepared(folder.path());
    let shard = shard_folder(folder.path());
    let before = files_of(&shard);
    for name in ["0000000099.segment", "0000000098.live", "manifest.tmp", "tmp-x"] {
        fs::write(shard.join(name), b"left by a crash").unwrap();
    }
    let set = open(folder.path());
    assert_eq!(files_of(&shard), before);
    assert_eq!(all(&set, "needle").results.len(), 3);
}

#[test]
fn a_lost_segment_is_told() {
    let folder = tempfile::tempdir().unwrap();
    prepared(folder.path());
    let shard = shard_folder(folder.path());
    let segment = files_of(&shard).into_keys().find(|name| name.ends_with(".segment")).unwrap();
    fs::remove_file(shard.join(segment)).unwrap();
    let set = open(folder.path());
    assert!(!all(&set, "needle").complete);
    assert_eq!(set.shards().iter().flat_map(|shard| shard.take_damage()).count(), 1);
}

//! Flipped bits, lost files and leftovers: never a wrong answer, and never a leak.

use std::fs;
use std::path::{Path, PathBuf};

use aeterna_index::search::SkipReason;

use crate::support::{Memory, all, files_of, index, info, open, paths, settle, skips};

const FILES: [(&str, &[u8]); 3] = [
    ("src/main.rs", b"fn main() {\n    needle();\n}\n"),
    ("src/lib.rs", b"pub fn needle() {}\n"),
    ("readme.md", b"about needles\n"),
];

/// The one shard that holds something.
fn shard_folder(folder: &Path) -> PathBuf {
    let shards = ["0000", "0001"].map(|name| folder.join(name));
    shards.into_iter().find(|shard| files_of(shard).len() > 1).unwrap()
}

fn prepared(folder: &Path) -> (Memory, aeterna_index::RepositoryInfo) {
    let (source, repository) = (Memory::default(), info(1, "a/b"));
    let set = open(folder);
    index(&set, &source, &repository, &FILES);
    settle(&set);
    (source, repository)
}

#[test]
fn a_flipped_bit_is_found_and_indexing_again_heals() {
    let folder = tempfile::tempdir().unwrap();
    prepared(folder.path());
    let shard = shard_folder(folder.path());
    let files = files_of(&shard);
    for (name, good) in files.iter().filter(|(name, _)| *name != "manifest") {
        for at in (0..good.len()).step_by(good.len() / 40 + 1) {
            let other = tempfile::tempdir().unwrap();
            let (source, repository) = prepared(other.path());
            let victim = shard_folder(other.path()).join(name);
            let mut bytes = fs::read(&victim).unwrap();
            bytes[at] ^= 4;
            // Replaced and not written over: files of an index never change in place.
            fs::remove_file(&victim).unwrap();
            fs::write(&victim, bytes).unwrap();

            let set = open(other.path());
            set.shards().iter().for_each(|shard| shard.scrub().unwrap());
            let damage: Vec<_> =
                set.shards().iter().flat_map(|shard| shard.take_damage()).collect();
            assert_eq!(damage.len(), 1, "{name} byte {at}");
            assert_eq!(damage[0].repositories, [repository.id], "{name} byte {at}");
            let response = all(&set, "needle");
            assert!(response.results.is_empty() && !response.complete, "{name} byte {at}");
            assert!(skips(&response, SkipReason::ShardRestoring), "{name} byte {at}");
            assert_eq!(set.shard_of(repository.id).revisions(repository.id), None);

            index(&set, &source, &repository, &FILES);
            let response = all(&set, "needle");
            assert!(response.complete, "{name} byte {at}");
            assert_eq!(paths(&response), ["readme.md", "src/lib.rs", "src/main.rs"]);
        }
    }
}

#[test]
fn a_flipped_bit_in_the_manifest_is_an_error_on_opening() {
    let folder = tempfile::tempdir().unwrap();
    prepared(folder.path());
    let manifest = shard_folder(folder.path()).join("manifest");
    let mut bytes = fs::read(&manifest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&manifest, bytes).unwrap();
    let opened = aeterna_index::ShardSet::open(folder.path(), 2, crate::support::options());
    assert!(matches!(opened, Err(aeterna_index::IndexError::Damaged { .. })));
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

//! Whatever was indexed and however, a search finds what a scan of every document finds.

use aeterna_index::{NoProgress, ShardSet};

use crate::check::check;
use crate::generate::{self, Queries, Step};
use crate::support::{Random, open, settle};
use crate::world::{Doc, World};

/// Runs some queries; how many documents were found.
fn ask(set: &ShardSet, docs: &[Doc], random: &mut Random, queries: usize, seed: u64) -> usize {
    let mut found = 0;
    for _ in 0..queries {
        let query = Queries { random, docs }.query();
        // Each page of a large corpus costs as much as the first.
        let least = if docs.len() > 60 { 20 } else { 1 };
        let page_size = least + random.below(9);
        // Shown when the test fails.
        println!("seed {seed}, pages of {page_size}: {query}");
        found += check(set, docs, &query, page_size).unwrap_or_default();
    }
    found
}

fn fresh(seed: u64, large: bool, queries: usize) -> usize {
    let mut random = Random(seed);
    let world = generate::world(&mut random, large);
    let folder = tempfile::tempdir().unwrap();
    let set = open(folder.path());
    world.index(&set);
    if seed.is_multiple_of(2) {
        settle(&set);
    }
    ask(&set, &world.documents(), &mut random, queries, seed)
}

#[test]
fn finds_what_a_scan_finds() {
    let found: usize = (0..32).map(|seed| fresh(seed, false, 60)).sum();
    assert!(found > 8_000, "the queries have something to do with the documents: {found}");
}

#[test]
fn finds_what_a_scan_finds_in_large_files() {
    let found: usize = (1_000..1_005).map(|seed| fresh(seed, true, 24)).sum();
    assert!(found > 300, "the queries have something to do with the documents: {found}");
}

fn apply(set: &ShardSet, world: &World, step: Step) {
    match step {
        Step::Apply(update) => {
            let shard = set.shard_of(update.repository.id).unwrap();
            shard.apply(&update, &world.source, &NoProgress).unwrap();
        }
        Step::RemoveRepository(id) => set.shard_of(id).unwrap().remove_repository(id).unwrap(),
        Step::SetRepository(info) => set.shard_of(info.id).unwrap().set_repository(info).unwrap(),
    }
}

/// Everything that a search says, but for when things were indexed.
fn answers(set: &ShardSet, query: &str) -> Vec<String> {
    let response = crate::support::all(set, query);
    let results = response.results.into_iter().map(|mut result| {
        result.indexed_at = std::time::SystemTime::UNIX_EPOCH;
        let path = String::from_utf8_lossy(&result.path).into_owned();
        format!("{}/{path} score {} {result:?}", result.repository.name, result.score)
    });
    results.chain([format!("{:?}", response.counts)]).collect()
}

/// A random life of an index; afterwards it answers as one that was made in one go.
fn life(seed: u64) {
    let mut random = Random(seed);
    let mut world = generate::world(&mut random, false);
    let folder = tempfile::tempdir().unwrap();
    let mut set = open(folder.path());
    world.index(&set);
    for number in 0..20 {
        let step = generate::step(&mut random, &mut world);
        apply(&set, &world, step);
        match random.below(4) {
            0 => {
                settle(&set);
            }
            1 => {
                for shard in set.shards() {
                    shard.maintain(&|| false).unwrap();
                }
            }
            2 => {
                drop(set);
                set = open(folder.path());
            }
            _ => {}
        }
        println!("seed {seed}, step {number}");
        ask(&set, &world.documents(), &mut random, 5, seed);
    }
    settle(&set);
    let other_folder = tempfile::tempdir().unwrap();
    let other = open(other_folder.path());
    world.index(&other);
    settle(&other);
    for _ in 0..25 {
        let query = Queries { random: &mut random, docs: &world.documents() }.query();
        if crate::naive::Naive::new(&query).is_ok() {
            let (old, new) = (answers(&set, &query), answers(&other, &query));
            for (old, new) in old.iter().zip(&new) {
                assert_eq!(old, new, "seed {seed}: {query}");
            }
            assert_eq!(old.len(), new.len());
        }
    }
    check_revisions(&set, &world);
}

fn check_revisions(set: &ShardSet, world: &World) {
    let indexed: usize = set.shards().iter().map(|shard| shard.repositories().len()).sum();
    assert_eq!(indexed, world.repos.len());
    for (id, repo) in &world.repos {
        let commits =
            repo.branches.iter().map(|(name, branch)| (name.clone(), branch.commit.clone()));
        assert_eq!(set.shard_of(*id).unwrap().revisions(*id).unwrap(), commits.collect());
    }
}

#[test]
fn a_life_of_updates_ends_where_one_go_does() {
    (0..10).for_each(life);
}

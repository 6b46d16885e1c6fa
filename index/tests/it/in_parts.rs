//! Repositories that are indexed in parts, in shards of their own, are found as one.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::Duration;

use aeterna_index::search::{
    Ending, Gather, Match, Output, Place, Ranked, SearchRequest, SearchResponse, SkipReason, Step,
};
use aeterna_index::{NoProgress, Part, RepositoryInfo, ShardSet};

use crate::support::{Memory, all, file, info, options, replace, repository_id, request};

const SHARDS: u32 = 16;
const FILES: usize = 40;
const PARTS: u32 = 3;
const QUERIES: [&str; 6] = [
    "needle",
    "type:repo",
    "large type:repo",
    "needle select:repo",
    "file:1 needle",
    "lang:rust needle -file:2",
];

fn text(number: usize) -> Vec<u8> {
    "a needle in hay\n".repeat(1 + number % 5).into_bytes()
}

/// Puts what a part has of the large repository into the index, at a commit.
fn put(set: &ShardSet, source: &Memory, repository: &RepositoryInfo, commit: &str) {
    let path = |number: usize| format!("{}/{number}.rs", number % 4);
    let is_its =
        |number: &usize| repository.part.is_none_or(|part| part.has(path(*number).as_bytes()));
    let files =
        (0..FILES).filter(is_its).map(|number| file(path(number), source.put(&text(number))));
    let update = replace(repository, commit, files.collect());
    set.shard_of(repository.id).unwrap().apply(&update, source, &NoProgress).unwrap();
}

/// The identities of the large repository's parts, all in different shards.
fn parts(set: &ShardSet) -> Vec<RepositoryInfo> {
    let whole = repository_id(100);
    let mut shards = Vec::new();
    let ids = (100..).map(repository_id).filter(|id| {
        let shard = set.number_of(*id);
        let is_new = !shards.contains(&shard);
        shards.push(shard);
        is_new
    });
    let infos = (0..PARTS).zip(ids).map(|(number, id)| RepositoryInfo {
        id,
        part: Some(Part { whole, number, of: PARTS }),
        ..info(100, "acme/large")
    });
    infos.collect()
}

fn with_small(folder: &std::path::Path, source: &Memory) -> ShardSet {
    let set = ShardSet::open(folder, SHARDS, options()).unwrap();
    // One has more documents than each node has of the large one, and fewer than both have.
    for (number, name, count) in [(1, "acme/first", FILES - 5), (2, "zoo/last", 1)] {
        let files = (0..count).map(|n| file(format!("1/{n}.rs"), source.put(&text(n))));
        let update = replace(&info(number, name), "c0ffee", files.collect());
        set.shard_of(repository_id(number)).unwrap().apply(&update, source, &NoProgress).unwrap();
    }
    set
}

/// What of a result does not tell which part it is of.
fn shown(found: &Match) -> String {
    let mut found = found.clone();
    let repository = &found.repository;
    let repository =
        RepositoryInfo { id: repository.whole(), part: None, ..(**repository).clone() };
    found.repository = repository.into();
    found.indexed_at = std::time::SystemTime::UNIX_EPOCH;
    format!("{found:?}")
}

#[derive(Default)]
struct Kept {
    ranked: Mutex<Vec<Ranked>>,
    in_parts: Mutex<Vec<Ranked>>,
}

impl Output for Kept {
    fn write(&self, found: Match, into: &mut Vec<u8>) {
        into.extend_from_slice(shown(&found).as_bytes());
    }

    fn send(&self, ranked: Vec<Ranked>) -> ControlFlow<()> {
        self.ranked.lock().unwrap().extend(ranked);
        ControlFlow::Continue(())
    }

    fn in_parts(&self, found: Vec<Ranked>) -> bool {
        self.in_parts.lock().unwrap().extend(found);
        true
    }
}

/// What two nodes answer together, of which each has every second shard; which results each of the parts had.
fn gathered(set: &ShardSet, query: &str) -> (Vec<Ranked>, SearchResponse) {
    let mut gather = Gather::new(&[Place::default(); 2], 1_000);
    for source in 0..2 {
        let shards = (0..SHARDS).filter(|shard| shard % 2 == source).collect();
        let request = SearchRequest { shards: Some(shards), share: 2, ..request(query) };
        let output = Kept::default();
        let ending = Ending::from(set.search_into(&request, &output).unwrap());
        let source = source as usize;
        gather.in_parts(source, output.in_parts.into_inner().unwrap());
        gather.push(source, output.ranked.into_inner().unwrap());
        let over_the_wire = serde_json::to_vec(&ending).unwrap();
        gather.end(source, serde_json::from_slice(&over_the_wire).unwrap());
    }
    let mut taken = Vec::new();
    while let Step::Take(ranked) = gather.step() {
        taken.push(ranked);
    }
    (taken, gather.finish(Duration::ZERO).response)
}

#[test]
fn parts_are_found_as_one() {
    let (one, several) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = Memory::default();
    let whole = with_small(one.path(), &source);
    put(&whole, &source, &info(100, "acme/large"), "c0ffee");
    let split = with_small(several.path(), &source);
    let parts = parts(&split);
    parts.iter().for_each(|part| put(&split, &source, part, "c0ffee"));
    for part in &parts {
        let documents = split.shard_of(part.id).unwrap().documents(part.id);
        assert!((1..FILES as u64).contains(&documents), "{documents} of {FILES}");
        assert_eq!(split.shard_of(part.id).unwrap().part(part.id), part.part);
    }
    for query in QUERIES {
        let wanted = all(&whole, query);
        let found = all(&split, query);
        let shown = |response: &SearchResponse| -> Vec<String> {
            response.results.iter().map(self::shown).collect()
        };
        assert!(!wanted.results.is_empty(), "{query}");
        assert_eq!(shown(&found), shown(&wanted), "{query}");
        assert_eq!(found.counts, wanted.counts, "{query}");

        // Of several nodes, results of each that has a part come together.
        let (ranked, response) = gathered(&split, &format!("{query} count:all"));
        assert!(response.complete, "{query}: {:?}", response.skipped);
        assert_eq!(response.counts, wanted.counts, "{query}");
        assert_eq!(ranked.len(), wanted.results.len(), "{query}");
        for (ranked, wanted) in ranked.iter().zip(&wanted.results) {
            let first = String::from_utf8(ranked.results[0].clone()).unwrap();
            let is_large = wanted.repository.name == "acme/large";
            match ranked.key.is_repository() && is_large {
                true => assert_eq!(ranked.results.len(), 2, "{query}: {first}"),
                false => assert_eq!([first], [self::shown(wanted)], "{query}"),
            }
        }
    }
}

#[test]
fn uneven_parts_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let source = Memory::default();
    let set = with_small(folder.path(), &source);
    let parts = parts(&set);
    let said = |set: &ShardSet| {
        let (_, response) = gathered(set, "needle count:all");
        let stale = response.skipped.iter().find(|one| one.reason == SkipReason::IndexStale);
        assert_eq!(response.complete, stale.is_none(), "{:?}", response.skipped);
        stale.map(|stale| stale.items.clone())
    };
    let told = Some(vec!["acme/large".to_owned()]);
    assert_eq!(said(&set), None);
    put(&set, &source, &parts[0], "c0ffee");
    assert_eq!(said(&set), told, "two parts are missing");
    parts[1..].iter().for_each(|part| put(&set, &source, part, "c0ffee"));
    assert_eq!(said(&set), None);
    put(&set, &source, &parts[1], "decaf");
    assert_eq!(said(&set), told, "one part is of another commit");
    put(&set, &source, &parts[0], "decaf");
    put(&set, &source, &parts[2], "decaf");
    assert_eq!(said(&set), None);
    let four = parts[1].part.map(|part| Part { of: 4, ..part });
    put(&set, &source, &RepositoryInfo { part: four, ..parts[1].clone() }, "decaf");
    assert_eq!(said(&set), told, "there are to be more");
    put(&set, &source, &parts[1], "decaf");
    set.shard_of(parts[0].id).unwrap().remove_repository(parts[0].id).unwrap();
    assert_eq!(said(&set), told, "the first part is missing");
    for part in &parts[1..] {
        set.shard_of(part.id).unwrap().remove_repository(part.id).unwrap();
    }
    assert_eq!(said(&set), None);
}

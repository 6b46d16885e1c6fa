//! Results with what orders them and where a cursor stands after each; searches of some shards.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;

use aeterna_index::search::{
    Match, Output, RankKey, Ranked, Relation, SearchError, SearchRequest, SearchResponse,
    SkipReason, cursor_at, place_of,
};
use aeterna_index::{NoProgress, ShardSet};

use crate::support::{
    Memory, Random, file, info, open, options, replace, request, search, settle, skips,
};

/// Collects what is sent; a result is its repository, path and, where it is one, its definition.
#[derive(Default)]
struct Collected(Mutex<Vec<Ranked>>);

impl Output for Collected {
    fn write(&self, found: Match, into: &mut Vec<u8>) {
        into.extend_from_slice(found.repository.name.as_bytes());
        into.extend_from_slice(b" ");
        into.extend_from_slice(&found.path);
        let symbol = found.symbol.map(|symbol| format!(" {}", symbol.name));
        into.extend_from_slice(symbol.unwrap_or_default().as_bytes());
    }

    fn send(&self, ranked: Vec<Ranked>) -> ControlFlow<()> {
        self.0.lock().unwrap().extend(ranked);
        ControlFlow::Continue(())
    }
}

fn ranked(set: &ShardSet, request: &SearchRequest) -> (Vec<Ranked>, SearchResponse) {
    let output = Collected::default();
    let response = set.search_into(request, &output).unwrap();
    (output.0.into_inner().unwrap(), response)
}

fn texts(ranked: &[Ranked]) -> Vec<String> {
    let results = ranked.iter().flat_map(|ranked| ranked.results.clone());
    results.map(|text| String::from_utf8(text).unwrap()).collect()
}

/// Every result from a cursor on, page by page.
fn rest(set: &ShardSet, first: &SearchRequest, cursor: Option<String>) -> Vec<String> {
    let mut all = Vec::new();
    let mut request = SearchRequest { cursor, ..first.clone() };
    loop {
        let (page, response) = ranked(set, &request);
        all.extend(texts(&page));
        request.cursor = response.next;
        if request.cursor.is_none() {
            return all;
        }
    }
}

const DOCUMENTS: usize = 700;

/// Documents of different ranks in repositories of both shards: more than a first window holds when
/// many search together.
fn prepared(folder: &Path) -> ShardSet {
    let (set, source) = (open(folder), Memory::default());
    let mut random = Random(7);
    for number in 1..=5 {
        let repository = info(number, &format!("a/repo{number}"));
        let files = (0..DOCUMENTS / 5).map(|document| {
            let folder = random.pick(&["src", "tests", "vendor", "docs"]);
            let uses = "    word();\n".repeat(random.below(4));
            let text = match random.below(3) {
                0 => format!("fn word() {{\n{uses}}}\n"),
                1 => format!("fn words_{document}() {{ swords(); }}\nfn word_two() {{\n{uses}}}\n"),
                _ => format!("fn other() {{\n    word();\n{uses}}}\n"),
            };
            file(format!("{folder}/file{document}.rs"), source.put(text.as_bytes()))
        });
        let update = replace(&repository, "c0ffee", files.collect());
        let shard = set.shard_of(repository.id).unwrap();
        shard.apply(&update, &source, &NoProgress).unwrap();
    }
    settle(&set);
    assert!(set.shards().iter().all(|shard| shard.stats().documents > 0), "both are used");
    set
}

fn all_of(query: &str) -> SearchRequest {
    request(&format!("{query} count:all"))
}

#[test]
fn keys_ascend_and_survive_the_wire() {
    let folder = tempfile::tempdir().unwrap();
    let set = prepared(folder.path());
    for query in ["word", "word type:symbol", "word select:repo", "repo type:repo", "file:src"] {
        let (found, _) = ranked(&set, &all_of(query));
        assert!(found.len() >= 5, "{query}");
        let keys: Vec<&RankKey> = found.iter().map(|ranked| &ranked.key).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "{query}: each has a place of its own");
        for key in keys {
            assert_eq!(&RankKey::decode(&key.encode()).unwrap(), key);
        }
    }
}

#[test]
fn definitions_of_a_document_stay_together() {
    let folder = tempfile::tempdir().unwrap();
    let set = prepared(folder.path());
    let (found, response) = ranked(&set, &all_of("/word_two|words_/ type:symbol"));
    assert_eq!(found.len() as u64, response.counts.documents.value);
    assert!(found.iter().all(|document| document.results.len() == 2));
}

/// Goes on after each result; where a search of one go ends, so do they.
fn check_places(set: &ShardSet, first: &SearchRequest, step: usize) {
    let query = &first.query;
    let wanted = rest(set, first, None);
    assert!(wanted.len() > 4, "{query}");
    let (mut request, mut before) = (first.clone(), 0);
    loop {
        let (page, response) = ranked(set, &request);
        for (number, entry) in page.iter().enumerate() {
            before += entry.results.len();
            if number % step == 0 || number + 1 == page.len() {
                let cursor = cursor_at(&response.pinned, entry.window, entry.within).unwrap();
                let place = format!("{query} share {}, after {before}", first.share);
                let next = SearchRequest { cursor: Some(cursor), ..first.clone() };
                let next = texts(&ranked(set, &next).0);
                let left = &wanted[before..];
                assert_eq!(next, left[..next.len()], "{place}");
                assert!(next.len() >= left.len().min(first.page_size), "{place}");
            }
        }
        if let Some(next) = &response.next {
            let last = page.last().unwrap();
            assert_eq!(place_of(next), Some((last.window, last.within)), "{query}");
        }
        request.cursor = response.next;
        if request.cursor.is_none() {
            break;
        }
    }
    assert_eq!(before, wanted.len());
}

#[test]
fn a_search_goes_on_after_any_result() {
    let folder = tempfile::tempdir().unwrap();
    let set = prepared(folder.path());
    for share in [1, 16] {
        for query in ["word", "word type:symbol", "word type:repo"] {
            let first = SearchRequest { page_size: 41, share, ..request(query) };
            check_places(&set, &first, 17);
            check_places(&set, &SearchRequest { facets: true, ..first }, 40);
        }
    }
}

#[test]
fn many_that_search_together_look_at_less_each() {
    let folder = tempfile::tempdir().unwrap();
    let set = prepared(folder.path());
    let looked_at = |share: u32| {
        let request = SearchRequest { page_size: 5, share, explain: true, ..request("word") };
        search(&set, &request).unwrap().explain.unwrap().verified
    };
    assert_eq!(looked_at(1), DOCUMENTS as u64);
    assert!((20..DOCUMENTS as u64 / 3).contains(&looked_at(16)), "{}", looked_at(16));
    assert_eq!(looked_at(16), looked_at(u32::MAX), "the order of too few says nothing");
    assert_eq!(looked_at(0), looked_at(1));
}

#[test]
fn a_cursor_keeps_to_its_share() {
    let folder = tempfile::tempdir().unwrap();
    let set = prepared(folder.path());
    let first = SearchRequest { page_size: 50, share: 16, ..request("word") };
    let response = search(&set, &first).unwrap();
    let wanted = rest(&set, &first, response.next.clone());
    for share in [0, 1, 5] {
        assert_eq!(
            rest(&set, &SearchRequest { share, ..first.clone() }, response.next.clone()),
            wanted
        );
    }
}

fn of_shards(shards: &[u32], query: &str) -> SearchRequest {
    SearchRequest { shards: Some(shards.to_vec()), ..request(query) }
}

#[test]
fn some_shards_are_searched() {
    let folder = tempfile::tempdir().unwrap();
    let set = prepared(folder.path());
    let whole = texts(&ranked(&set, &all_of("word")).0);
    let of = |number: u32| texts(&ranked(&set, &of_shards(&[number], "word count:all")).0);
    let (first, second) = (of(0), of(1));
    assert!(!first.is_empty() && !second.is_empty());
    let mut parts = [first, second.clone()].concat();
    let mut sorted = whole.clone();
    parts.sort();
    sorted.sort();
    assert_eq!(parts, sorted);
    assert_eq!(texts(&ranked(&set, &of_shards(&[1, 0, 1], "word count:all")).0), whole);
    let response = search(&set, &of_shards(&[], "word count:all")).unwrap();
    assert!(response.results.is_empty() && response.complete);

    set.close_shard(0);
    let (found, response) = ranked(&set, &of_shards(&[0, 1, 9], "word count:all"));
    assert_eq!(texts(&found), second);
    assert!(!response.complete && skips(&response, SkipReason::ShardUnavailable));
    assert_eq!(response.skipped[0].items, ["shard 0", "shard 9"]);
    assert!(ranked(&set, &all_of("word")).1.complete, "nobody asked for the other");
}

#[test]
fn a_cursor_wants_its_shards() {
    let folder = tempfile::tempdir().unwrap();
    let set = prepared(folder.path());
    let first = SearchRequest { page_size: 10, ..request("word") };
    let of_both = search(&set, &first).unwrap().next;
    let of_one =
        search(&set, &SearchRequest { shards: Some(vec![1]), ..first.clone() }).unwrap().next;
    let go_on = |cursor: &Option<String>, shards: Option<&[u32]>| {
        let shards = shards.map(<[u32]>::to_vec);
        search(&set, &SearchRequest { shards, cursor: cursor.clone(), ..first.clone() })
    };
    let whole = rest(&set, &first, of_both.clone());
    assert!(go_on(&of_both, Some(&[0, 1])).is_ok() && go_on(&of_one, Some(&[0, 1])).is_ok());
    assert_eq!(
        rest(&set, &first, of_one.clone()),
        rest(&set, &SearchRequest { shards: Some(vec![1]), ..first.clone() }, of_one.clone()),
        "it goes on with the shards it began with"
    );
    for shards in [&[1][..], &[0], &[]] {
        let expired = go_on(&of_both, Some(shards));
        assert!(matches!(expired, Err(SearchError::ExpiredCursor)), "{shards:?}: {expired:?}");
    }
    set.close_shard(0);
    assert!(matches!(go_on(&of_both, None), Err(SearchError::ExpiredCursor)));
    assert!(go_on(&of_one, None).is_ok());
    set.open_shard(0).unwrap();
    assert_eq!(rest(&set, &first, of_both), whole, "it is back as it was");
}

#[test]
fn a_search_that_ran_out_is_not_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let set = prepared(folder.path());
    let mut limited = SearchRequest { page_size: 10, ..request("word") };
    limited.limits.matches = 40;
    let response = search(&set, &limited).unwrap();
    assert!(!response.complete && response.next.is_none());
    assert_eq!(response.pinned, "");
    assert_eq!(response.counts.matches.relation, Relation::GreaterOrEqual);
    assert_ne!(search(&set, &request("word")).unwrap().pinned, "");
}

#[test]
fn facets_list_as_many_values_as_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let set = prepared(folder.path());
    let names = |facet_values| {
        let request = SearchRequest { facets: true, facet_values, ..request("word") };
        let facets = search(&set, &request).unwrap().facets.unwrap();
        facets.repository.into_iter().map(|value| value.value).collect::<Vec<_>>()
    };
    let all = names(usize::MAX);
    assert_eq!(all.len(), 5);
    assert_eq!(names(2), all[..2]);
}

#[test]
fn options_of_another_set_make_another_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let set = prepared(folder.path());
    let next = search(&set, &SearchRequest { page_size: 3, ..request("word") }).unwrap().next;
    drop(set);
    let other = tempfile::tempdir().unwrap();
    let more = ShardSet::open(other.path(), 3, options()).unwrap();
    let refused = search(&more, &SearchRequest { cursor: next, ..request("word") });
    assert!(matches!(refused, Err(SearchError::BadCursor)), "{refused:?}");
}

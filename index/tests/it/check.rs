//! Holds the answers of a search against a plain scan.

use std::collections::BTreeMap;

use aeterna_index::ShardSet;
use aeterna_index::search::{
    Chunk, Match, MatchKind, Position, Relation, SearchRequest, SearchResponse,
};

use crate::naive::{Expected, Naive};
use crate::support::{request, search, sent};
use crate::world::Doc;

/// What tells two documents apart: repository, path, content, and whether it is a file.
type Key = (String, Vec<u8>, String, Vec<String>);

fn key_of(doc: &Doc) -> Key {
    let branches = in_order(doc.branches.iter().cloned().collect(), doc);
    (doc.info.name.clone(), doc.path.clone(), doc.content.to_string(), branches)
}

/// The default branch first.
fn in_order(mut branches: Vec<String>, doc: &Doc) -> Vec<String> {
    branches.sort_by_key(|name| (doc.info.default_branch.as_ref() != Some(name), name.clone()));
    branches
}

fn key_of_result(result: &Match) -> Key {
    let content = result.content.unwrap().to_string();
    (result.repository.name.clone(), result.path.clone(), content, result.branches.clone())
}

/// Searches every way there is and compares with the documents that a scan finds. Returns how many
/// documents matched; `None` for a query that both sides refuse.
pub fn check(set: &ShardSet, docs: &[Doc], query: &str, page_size: usize) -> Option<usize> {
    let Ok(naive) = Naive::new(query) else {
        assert!(search(set, &request(query)).is_err(), "{query}: the index answers a bad query");
        return None;
    };
    let expected: BTreeMap<Key, (&Doc, Expected)> =
        docs.iter().filter_map(|doc| Some((key_of(doc), (doc, naive.expect(doc)?)))).collect();
    let all = request(&format!("{query} count:all"));
    let all = SearchRequest { facets: true, context_lines: 2, ..all };
    let every = search(set, &all).unwrap();
    let results: Vec<String> = every.results.iter().map(|found| format!("{found:?}")).collect();
    // Written while they are verified, some of them, or none.
    for held_bytes in [usize::MAX, 1_000, 0] {
        assert_eq!(sent(set, &all, held_bytes), results, "{query}: sent, {held_bytes} bytes held");
    }
    compare(query, &expected, &every.results, 2);
    check_totals(query, &expected, &every);
    check_facets(query, &expected, &every);

    let pages = all_pages(set, &expected, &SearchRequest { page_size, ..request(query) });
    compare(query, &expected, &pages, 0);
    let order = |results: &[Match]| results.iter().map(key_of_result).collect::<Vec<_>>();
    let larger = all_pages(set, &expected, &SearchRequest { page_size: 1_000, ..request(query) });
    assert_eq!(order(&pages), order(&larger), "{query}: pages of {page_size} have another order");
    Some(expected.len())
}

/// Follows cursors to the end.
fn all_pages(
    set: &ShardSet,
    expected: &BTreeMap<Key, (&Doc, Expected)>,
    first: &SearchRequest,
) -> Vec<Match> {
    let mut results = Vec::new();
    let mut request = first.clone();
    loop {
        let response = search(set, &request).unwrap();
        let documents = response.counts.documents;
        assert!(response.results.len() <= request.page_size, "{}", request.query);
        match documents.relation {
            Relation::Equal => check_totals(&request.query, expected, &response),
            Relation::GreaterOrEqual => assert!(documents.value <= expected.len() as u64),
        }
        assert!(
            !response.results.is_empty() || response.next.is_none(),
            "{}: an empty page that is not the last",
            request.query
        );
        results.extend(response.results);
        assert!(results.len() <= expected.len(), "{}: more results than there are", request.query);
        match response.next {
            Some(next) => request.cursor = Some(next),
            None => return results,
        }
    }
}

fn compare(
    query: &str,
    expected: &BTreeMap<Key, (&Doc, Expected)>,
    results: &[Match],
    context: usize,
) {
    let mut found: Vec<Key> = results.iter().map(key_of_result).collect();
    found.sort();
    let wanted: Vec<Key> = expected.keys().cloned().collect();
    if found != wanted {
        let missing: Vec<_> = wanted.iter().filter(|key| !found.contains(key)).collect();
        let extra: Vec<_> = found.iter().filter(|key| !wanted.contains(key)).collect();
        panic!("{query}: missing {missing:?}, extra {extra:?}, or found twice");
    }
    for result in results {
        let (doc, wanted) = &expected[&key_of_result(result)];
        let place = format!("{query}: {}", String::from_utf8_lossy(&doc.path));
        check_result(&place, result, doc, wanted, context);
    }
}

/// Matches that are counted: those in the path only where there are no others.
fn matches(found: &Expected) -> usize {
    if found.hits.is_empty() { found.path.len() } else { found.hits.len() }
}

fn check_result(place: &str, result: &Match, doc: &Doc, wanted: &Expected, context: usize) {
    assert_eq!(result.match_count, matches(wanted) as u64, "{place}: matches");
    assert_eq!(result.path_ranges, wanted.path, "{place}: path");
    assert_eq!(result.language, doc.language.map(|language| language.name()), "{place}: language");
    let kind = if wanted.hits.is_empty() { MatchKind::Path } else { MatchKind::Content };
    assert_eq!(result.kind, kind, "{place}: kind");
    let text = doc.text.as_deref().unwrap_or_default();
    let mut shown = Vec::new();
    let mut before = 0;
    let lines = Lines::of(text);
    for chunk in &result.chunks {
        check_chunk(place, chunk, &lines, context);
        assert!(chunk.start.offset >= before, "{place}: chunks overlap");
        before = chunk.start.offset + chunk.content.len() as u64;
        for range in &chunk.ranges {
            for end in [&range.start, &range.end] {
                assert_eq!(*end, lines.position(end.offset as usize), "{place}: position");
            }
            shown.push((range.start.offset as usize, range.end.offset as usize));
        }
    }
    let most = wanted.hits.len().min(1_000);
    let cut = result.chunks.iter().any(|chunk| chunk.cut);
    if cut {
        assert!(shown.iter().all(|range| wanted.hits.contains(range)), "{place}: a false range");
        assert_eq!(shown.first(), wanted.hits.first(), "{place}: the first range");
    } else {
        assert_eq!(shown, wanted.hits[..most], "{place}: ranges");
    }
}

fn check_chunk(place: &str, chunk: &Chunk, lines: &Lines, context: usize) {
    let start = chunk.start.offset as usize;
    let end = start + chunk.content.len();
    assert_eq!(lines.text[start..end], chunk.content, "{place}: content of a chunk");
    assert_eq!(chunk.start, lines.position(start), "{place}: start of a chunk");
    let (Some(first), Some(last)) = (chunk.ranges.first(), chunk.ranges.last()) else {
        panic!("{place}: a chunk without a match");
    };
    assert!(start as u64 <= first.start.offset, "{place}: the first match starts in the chunk");
    // A match that is longer than a chunk may be is cut off.
    let is_long = chunk.cut && chunk.ranges.len() == 1;
    assert!(last.end.offset <= end as u64 || is_long, "{place}: the last match ends in the chunk");
    if !chunk.cut {
        let from = lines.at(first.start.offset as usize).saturating_sub(context);
        let last_byte = last.end.offset.max(last.start.offset + 1) - 1;
        let to = lines.at(last_byte as usize) + context;
        assert_eq!(start, lines.start(from), "{place}: the lines above of {chunk:?}");
        assert_eq!(end, lines.start(to + 1), "{place}: the lines below of {chunk:?}");
    }
}

/// The lines of a text.
struct Lines<'a> {
    text: &'a [u8],
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a [u8]) -> Self {
        let feeds = memchr::memchr_iter(b'\n', text).map(|feed| feed + 1);
        Self { text, starts: std::iter::once(0).chain(feeds).collect() }
    }

    /// 0-based line of a place.
    fn at(&self, place: usize) -> usize {
        self.starts.partition_point(|start| *start <= place) - 1
    }

    /// Where a line starts, or the text ends.
    fn start(&self, line: usize) -> usize {
        self.starts.get(line).copied().unwrap_or(self.text.len())
    }

    fn position(&self, place: usize) -> Position {
        let line = self.at(place);
        let before = &self.text[self.start(line)..place];
        let points = match before.is_ascii() {
            true => before.len(),
            false => before
                .utf8_chunks()
                .map(|chunk| chunk.valid().chars().count() + chunk.invalid().len())
                .sum(),
        };
        Position { offset: place as u64, line: line as u32 + 1, column: points as u32 + 1 }
    }
}

fn check_totals(
    query: &str,
    expected: &BTreeMap<Key, (&Doc, Expected)>,
    response: &SearchResponse,
) {
    let counts = &response.counts;
    let found = || expected.values().map(|(_, found)| found);
    let matches: usize = found().map(matches).sum();
    let lines: u64 = found().map(|found| found.lines).sum();
    assert_eq!(counts.documents.value, expected.len() as u64, "{query}: documents");
    assert_eq!(counts.documents.relation, Relation::Equal, "{query}: exact");
    assert_eq!(counts.matches.value, matches as u64, "{query}: matches");
    assert_eq!(counts.lines.value, lines, "{query}: lines");
}

fn check_facets(
    query: &str,
    expected: &BTreeMap<Key, (&Doc, Expected)>,
    response: &SearchResponse,
) {
    let facets = response.facets.as_ref().unwrap();
    let mut languages: BTreeMap<String, u64> = BTreeMap::new();
    let mut repositories: BTreeMap<String, u64> = BTreeMap::new();
    for (doc, _) in expected.values() {
        *repositories.entry(doc.info.name.clone()).or_default() += 1;
        if let Some(language) = doc.language {
            *languages.entry(language.name().to_owned()).or_default() += 1;
        }
    }
    for (facet, wanted) in [(&facets.language, languages), (&facets.repository, repositories)] {
        let ordered = facet.windows(2).all(|pair| {
            (std::cmp::Reverse(pair[0].count), &pair[0].value)
                < (std::cmp::Reverse(pair[1].count), &pair[1].value)
        });
        assert!(ordered, "{query}: order of {facet:?}");
        let found: BTreeMap<String, u64> =
            facet.iter().map(|value| (value.value.clone(), value.count)).collect();
        assert_eq!(found, wanted, "{query}: facets");
    }
    assert!(facets.exact, "{query}: facets are exact");
}

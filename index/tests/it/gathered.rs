//! Parts of an index searched apart, and gathered, answer as the whole does.

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use aeterna_index::search::{
    Ending, Gather, Gathered, Match, Output, Place, Progress, RankKey, Ranked, Relation,
    SearchRequest, SearchResponse, SkipReason, Skipped, Step, Summary, cursor_at, page_of,
};
use aeterna_index::{ContentId, HistoryUpdate, LastChange, NoProgress, RepositoryInfo, ShardSet};

use crate::generate::{self, Queries};
use crate::naive::Naive;
use crate::support::{
    Memory, Random, Stored, file, info, options, replace, request, search, settle,
};
use crate::world::World;

const SHARDS: u32 = 6;

/// Keeps what a part sends until it is asked for, each result as `Debug` has it.
#[derive(Default)]
struct Kept(Mutex<VecDeque<Ranked>>, Mutex<String>, Mutex<VecDeque<(usize, Ending)>>);

impl Output for Kept {
    fn write(&self, found: Match, into: &mut Vec<u8>) {
        into.extend_from_slice(format!("{found:?}").as_bytes());
    }

    fn send(&self, ranked: Vec<Ranked>) -> ControlFlow<()> {
        self.0.lock().unwrap().extend(ranked);
        ControlFlow::Continue(())
    }

    fn pause(&self, so_far: &SearchResponse) -> ControlFlow<()> {
        let sent = self.0.lock().unwrap().len();
        self.2.lock().unwrap().push_back((sent, over_the_wire(so_far.clone())));
        ControlFlow::Continue(())
    }

    fn pinned(&self, cursor: &str, _closed: &[u32]) -> bool {
        *self.1.lock().unwrap() = cursor.to_owned();
        false
    }
}

/// What a part has to say, as it comes over a wire.
#[derive(Default)]
pub struct Part {
    pub pinned: String,
    pub ranked: VecDeque<Ranked>,
    pub ending: Option<Ending>,
    /// Where it pauses: after how many results, and its end if no more are wanted.
    pauses: VecDeque<(usize, Ending)>,
    delivered: usize,
    pub is_paused: bool,
}

impl Part {
    /// Hands on so many results at most, or what follows them.
    pub fn deliver(&mut self, gather: &mut Gather, source: usize, some: usize) {
        let until = self.pauses.front().map(|(after, _)| after - self.delivered);
        let some = some.min(self.ranked.len()).min(until.unwrap_or(usize::MAX));
        match self.pauses.pop_front_if(|_| until == Some(0) && !self.is_paused) {
            _ if self.is_paused => {}
            Some((_, ending)) => {
                self.is_paused = true;
                gather.pause(source, ending);
            }
            None if self.ranked.is_empty() => {
                self.ending.take().into_iter().for_each(|ending| gather.end(source, ending));
            }
            None => {
                gather.push(source, self.ranked.drain(..some).collect());
                self.delivered += some;
            }
        }
    }
}

fn over_the_wire(response: SearchResponse) -> Ending {
    let ending = serde_json::to_vec(&Ending::from(response)).unwrap();
    serde_json::from_slice(&ending).unwrap()
}

pub fn part(set: &ShardSet, request: &SearchRequest) -> Part {
    let output = Kept::default();
    let response = set.search_into(request, &output).unwrap();
    let encoded = |ranked: Ranked| {
        let key = RankKey::decode(&ranked.key.encode()).unwrap();
        Ranked { key, ..ranked }
    };
    Part {
        pinned: output.1.into_inner().unwrap(),
        ranked: output.0.into_inner().unwrap().into_iter().map(encoded).collect(),
        ending: Some(over_the_wire(response)),
        pauses: output.2.into_inner().unwrap(),
        delivered: 0,
        is_paused: false,
    }
}

/// Cursors of the parts, as a page before left them.
type Cursors = Vec<Option<(String, Place)>>;

/// Searches each part, and takes from them what comes, in no order that is sure.
fn gather(
    set: &ShardSet,
    parts: &[Vec<u32>],
    whole: &SearchRequest,
    cursors: Option<&Cursors>,
    random: &mut Random,
) -> (Vec<String>, Gathered) {
    let at = |number: usize| cursors.map(|cursors| cursors[number].clone().unwrap());
    let mut said: Vec<Part> = (0..parts.len())
        .map(|number| {
            let cursor = at(number)
                .map(|(pinned, place)| cursor_at(&pinned, place.window, place.within).unwrap());
            let request = SearchRequest {
                shards: Some(parts[number].clone()),
                share: parts.len() as u32,
                first: random.once_in(2).then(|| 1 + random.below(6)),
                facet_values: usize::MAX,
                cursor,
                ..whole.clone()
            };
            part(set, &request)
        })
        .collect();
    let begin: Vec<Place> =
        (0..parts.len()).map(|n| at(n).map(|(_, place)| place).unwrap_or_default()).collect();
    let mut gather = Gather::new(&begin, page_of(whole).unwrap());
    let mut taken = Vec::new();
    loop {
        // Others come before they are waited for.
        if random.once_in(2) {
            let source = random.below(parts.len());
            said[source].deliver(&mut gather, source, random.below(4));
        }
        match gather.step() {
            Step::Take(ranked) => taken.extend(ranked.results),
            Step::Wait(source) => said[source].deliver(&mut gather, source, random.below(4)),
            Step::Resume(source) => said[source].is_paused = false,
            Step::Done => break,
        }
    }
    while !gather.is_over() {
        let source = random.below(parts.len());
        if !gather.end_paused(source) {
            said[source].deliver(&mut gather, source, random.below(4));
        }
    }
    let taken = taken.into_iter().map(|result| String::from_utf8(result).unwrap());
    (taken.collect(), gather.finish(Duration::from_secs(1)))
}

/// Every page.
fn all_pages(
    set: &ShardSet,
    parts: &[Vec<u32>],
    request: &SearchRequest,
    random: &mut Random,
) -> (Vec<String>, Vec<SearchResponse>) {
    let (mut results, mut responses, mut cursors) = (Vec::new(), Vec::new(), None);
    loop {
        let (page, gathered) = gather(set, parts, request, cursors.as_ref(), random);
        results.extend(page);
        responses.push(gathered.response);
        if !gathered.more {
            return (results, responses);
        }
        cursors = Some(gathered.cursors);
    }
}

/// The shards, in so many parts; some may be empty.
pub fn split(random: &mut Random, parts: usize) -> Vec<Vec<u32>> {
    let mut split = vec![Vec::new(); parts];
    (0..SHARDS).for_each(|shard| split[random.below(parts)].push(shard));
    split
}

pub fn texts(response: &SearchResponse) -> Vec<String> {
    response.results.iter().map(|result| format!("{result:?}")).collect()
}

/// What is told beside the results, but for the time and what was read.
pub fn told(response: &SearchResponse) -> Summary {
    let mut told = Summary::from(response.clone());
    told.steps.clear();
    told.explain = None;
    told.skipped.sort_by_key(|skipped| skipped.reason.as_str());
    told.skipped.iter_mut().for_each(|skipped| skipped.items.sort());
    told
}

pub fn indexed(folder: &Path, world: &World) -> ShardSet {
    let set = ShardSet::open(folder, SHARDS, options()).unwrap();
    world.index(&set);
    set
}

fn check(set: &ShardSet, query: &str, random: &mut Random) {
    let count = 1 + random.below(5);
    let parts = split(random, count);
    let place = format!("{query} in parts {parts:?}");
    let all = SearchRequest { facets: true, ..request(&format!("{query} count:all")) };
    let wanted = search(set, &all).unwrap();
    let (results, gathered) = gather(set, &parts, &all, None, random);
    assert_eq!(results, texts(&wanted), "{place}");
    assert_eq!(told(&gathered.response), told(&wanted), "{place}");
    assert!(!gathered.more && gathered.response.elapsed == Duration::from_secs(1));

    // Each page of many costs as much as the first.
    let least = 1 + results.len() / 8;
    // Pages of what is known whole are one order, and say the same each time.
    let exhaustive =
        SearchRequest { facets: true, page_size: least + random.below(9), ..request(query) };
    let (paged, responses) = all_pages(set, &parts, &exhaustive, random);
    assert_eq!(paged, results, "{place}, pages of {}", exhaustive.page_size);
    for response in &responses {
        // Advice repeats the query, which is another.
        let alerts = told(response).alerts;
        assert_eq!(told(response), Summary { alerts, ..told(&wanted) }, "{place}");
    }

    // Others have each result once.
    let page_size = least + random.below(9);
    let paged = all_pages(set, &parts, &SearchRequest { page_size, ..request(query) }, random);
    let (mut paged, mut results) = (paged.0, results);
    paged.sort();
    results.sort();
    assert_eq!(paged, results, "{place}, pages of {page_size}");
}

#[test]
fn parts_gathered_are_the_whole() {
    let mut found = 0;
    for seed in 0..8 {
        let mut random = Random(seed);
        let repositories = 6 + random.below(6);
        let world = generate::world_of(&mut random, repositories, false);
        let folder = tempfile::tempdir().unwrap();
        let set = indexed(folder.path(), &world);
        if seed % 2 == 0 {
            settle(&set);
        }
        let docs = world.documents();
        let fixed = ["type:repo", "foo select:repo", "foo type:symbol", "rev:dev foo", "rev:none"];
        let random_ones: Vec<String> =
            (0..20).map(|_| Queries { random: &mut random, docs: &docs }.query()).collect();
        for query in fixed.iter().copied().chain(random_ones.iter().map(String::as_str)) {
            println!("seed {seed}: {query}");
            let is_fixed = fixed.contains(&query);
            if is_fixed || Naive::new(query).is_ok() {
                check(&set, query, &mut random);
                found += search(&set, &request(query)).unwrap().results.len();
            }
        }
    }
    assert!(found > 1_500, "the queries have something to do with the documents: {found}");
}

/// Enough documents that pages take several windows when many search together.
#[test]
fn pages_over_many_windows_have_each_result_once() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Memory::default());
    let set = ShardSet::open(folder.path(), SHARDS, options()).unwrap();
    let mut random = Random(3);
    for number in 1..=12 {
        let repository = info(number, &format!("a/repo{number}"));
        let text = |n: usize| format!("{}word {n}\n", "word\n".repeat(n % 5));
        let files = (0..150).map(|n| file(format!("f{n}"), source.put(text(n).as_bytes())));
        let update = replace(&repository, "1", files.collect());
        set.shard_of(repository.id).unwrap().apply(&update, &source, &NoProgress).unwrap();
    }
    for parts in [2, 3, 6] {
        let parts = split(&mut random, parts);
        let all = request("word count:all");
        let mut wanted = texts(&search(&set, &all).unwrap());
        assert_eq!(gather(&set, &parts, &all, None, &mut random).0, wanted);
        let pages = SearchRequest { page_size: 37, ..request("word") };
        let (mut results, responses) = all_pages(&set, &parts, &pages, &mut random);
        assert!(responses.len() == 12 * 150 / 37 + 1, "{}", responses.len());
        assert!(responses.iter().all(|response| response.complete));
        results.sort();
        wanted.sort();
        assert_eq!(results, wanted);
    }
}

#[test]
fn a_part_that_is_not_asked_for_more_looks_no_further() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Memory::default());
    let set = ShardSet::open(folder.path(), SHARDS, options()).unwrap();
    let repository = info(1, "a/repo");
    let text = |n: usize| format!("word {n}\n{}", "line\n".repeat(2_000));
    let files = (0..200).map(|n| file(format!("f{n}"), source.put(text(n).as_bytes())));
    let update = replace(&repository, "1", files.collect());
    set.shard_of(repository.id).unwrap().apply(&update, &source, &NoProgress).unwrap();
    let asked = SearchRequest { share: 20, page_size: 200, explain: true, ..request("word") };
    let verified = |ending: &Ending| ending.summary.explain.as_ref().unwrap().verified;
    let at_once = part(&set, &asked);
    assert!(at_once.pauses.is_empty());
    let in_turn = part(&set, &SearchRequest { first: Some(12), ..asked.clone() });
    let after: Vec<usize> = in_turn.pauses.iter().map(|(after, _)| *after).collect();
    // The first window has seven: more than half of what is wanted at first.
    assert_eq!(after, [7, 14, 28, 56, 112], "as many again each time");
    let all = part(&set, &SearchRequest { first: Some(14), ..asked.clone() });
    assert_eq!(all.pauses[0].0, 7, "half of what is wanted suffices");
    let more = part(&set, &SearchRequest { first: Some(15), ..asked.clone() });
    assert_eq!(more.pauses[0].0, 14, "less than half does not");
    let looked_at: Vec<u64> = in_turn.pauses.iter().map(|(_, ending)| verified(ending)).collect();
    assert!(looked_at.is_sorted() && looked_at[0] < 10, "{looked_at:?}");
    let ending = in_turn.ending.as_ref().unwrap();
    assert_eq!(verified(ending), verified(at_once.ending.as_ref().unwrap()));
    assert_eq!(ending.summary.counts, at_once.ending.as_ref().unwrap().summary.counts);
    assert_eq!(ending.next, at_once.ending.as_ref().unwrap().next);
    assert_eq!(in_turn.ranked, at_once.ranked);
    // Where it pauses, a later page goes on.
    for (after, so_far) in &in_turn.pauses {
        let place = so_far.next.unwrap();
        let cursor = cursor_at(&so_far.pinned, place.window, place.within);
        let rest = part(&set, &SearchRequest { cursor, ..asked.clone() });
        assert_eq!(rest.ranked[0], in_turn.ranked[*after]);
    }
}

/// Two parts with a repository each, and what of it is not indexed.
fn two_parts(set: &ShardSet, source: &Memory) -> Vec<Vec<u32>> {
    let lost = |byte| {
        let id = ContentId::from_bytes(&[byte; 20]).unwrap();
        source.set(id, Stored::Missing);
        id
    };
    let one = info(1, "a/one");
    let other = (2..).map(|number| info(number, "a/other"));
    let other =
        other.into_iter().find(|other| set.number_of(other.id) != set.number_of(one.id)).unwrap();
    for (repository, branch, missing) in [(&one, "main", 2), (&other, "dev", 3)] {
        let word = source.put(b"word\n");
        let files = (0..missing).map(|number| file(format!("lost{number}"), lost(number)));
        let files = files.chain([file("here", word), file("there", word)]).collect();
        let mut update = replace(repository, "1", files);
        if let aeterna_index::RevisionChange::Replace { name, .. } = &mut update.revisions[0] {
            *name = branch.to_owned();
        }
        set.shard_of(repository.id).unwrap().apply(&update, source, &NoProgress).unwrap();
    }
    vec![vec![set.number_of(one.id)], vec![set.number_of(other.id)]]
}

#[test]
fn what_is_left_out_is_told_of_all() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Memory::default());
    let set = ShardSet::open(folder.path(), SHARDS, options()).unwrap();
    let parts = two_parts(&set, &source);
    let mut random = Random(1);
    let mut ask = |query: &str| {
        let request = request(query);
        let wanted = told(&search(&set, &request).unwrap());
        let gathered = gather(&set, &parts, &request, None, &mut random).1.response;
        assert_eq!(told(&gathered), wanted, "{query}");
        wanted.skipped
    };
    let lost = ask("word");
    assert!(lost[0].items[0].starts_with("5: "), "numbers add up: {lost:?}");
    assert!(ask("word rev:dev").iter().all(|s| s.reason != SkipReason::RevisionNotIndexed));
    for (query, share, refused) in [("word rev:dev", 1, true), ("word rev:dev", 2, false)] {
        let shards = Some(parts[0].clone());
        let request = SearchRequest { shards, share, require_complete: true, ..request(query) };
        let answer = search(&set, &request);
        assert_eq!(answer.is_err(), refused, "{query}, share {share}: {answer:?}");
    }
    let unknown = ask("word (rev:nowhere OR rev:main)");
    let unknown = unknown.iter().find(|s| s.reason == SkipReason::RevisionNotIndexed).unwrap();
    assert_eq!(unknown.items, ["nowhere"]);
}

fn unavailable() -> Skipped {
    Skipped {
        reason: SkipReason::ShardUnavailable,
        message: "the node is gone".to_owned(),
        items: vec!["shard 7".to_owned()],
    }
}

#[test]
fn a_part_that_fails_is_told_and_the_rest_answers() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Memory::default());
    let set = ShardSet::open(folder.path(), SHARDS, options()).unwrap();
    let parts = two_parts(&set, &source);
    let request = SearchRequest { page_size: 1, facets: true, ..request("word") };
    let of = |number: usize| {
        let shards = Some(parts[number].clone());
        part(&set, &SearchRequest { shards, ..request.clone() })
    };
    let (mut one, two) = (of(0), of(1));
    let mut gather = Gather::new(&[Place::default(); 3], 10);
    gather.push(0, one.ranked.drain(..).collect());
    assert!(matches!(gather.step(), Step::Wait(1)), "it may have the first");
    gather.end(0, one.ending.unwrap());
    gather.push(1, two.ranked.into_iter().collect());
    gather.fail(1, unavailable());
    gather.fail(2, unavailable());
    for _ in 0..2 {
        assert!(matches!(gather.step(), Step::Take(_)), "what it had sent is good");
    }
    assert!(matches!(gather.step(), Step::Done) && gather.is_over());
    let gathered = gather.finish(Duration::ZERO);
    let response = gathered.response;
    assert!(!response.complete && gathered.more, "the first has another page");
    assert_eq!(response.counts.documents.relation, Relation::GreaterOrEqual);
    assert_eq!(response.counts.documents.value, 2, "of the first alone");
    assert!(!response.facets.unwrap().exact);
    assert_eq!(response.skipped.iter().filter(|skipped| **skipped == unavailable()).count(), 1);
    let known: Vec<bool> = gathered.cursors.iter().map(Option::is_some).collect();
    assert_eq!(known, [true, false, false]);

    // Who does not wait for an end does not say that all was looked at.
    let gathered = Gather::new(&[Place::default()], 10).finish(Duration::ZERO);
    assert!(!gathered.response.complete && !gathered.more);
    assert_eq!(gathered.response.counts.documents.relation, Relation::GreaterOrEqual);
}

#[test]
fn what_nobody_could_be_asked_for_makes_counts_a_lower_bound() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Memory::default());
    let set = ShardSet::open(folder.path(), SHARDS, options()).unwrap();
    let parts = two_parts(&set, &source);
    let request = SearchRequest { shards: Some(parts[0].clone()), facets: true, ..request("word") };
    let missed_by = |says: fn(&mut Gather, &mut Ending)| {
        let part = part(&set, &request);
        let mut gather = Gather::new(&[Place::default()], 10);
        let mut ending = part.ending.unwrap();
        says(&mut gather, &mut ending);
        gather.push(0, part.ranked.into_iter().collect());
        gather.end(0, ending);
        while let Step::Take(_) = gather.step() {}
        gather.finish(Duration::ZERO).response
    };
    let whole = missed_by(|_, _| {});
    assert!(whole.complete && whole.facets.unwrap().exact);
    assert_eq!(whole.counts.documents.relation, Relation::Equal);
    // Whether who gathers knows it, or the source says so.
    for response in [
        missed_by(|gather, _| gather.miss(unavailable())),
        missed_by(|_, ending| ending.summary.skipped.push(unavailable())),
    ] {
        assert!(!response.complete && !response.facets.unwrap().exact);
        assert_eq!(response.counts.documents.relation, Relation::GreaterOrEqual);
        assert!(response.skipped.contains(&unavailable()));
    }
}

#[test]
fn another_answers_in_the_place_of_a_part_that_fails() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Memory::default());
    let set = ShardSet::open(folder.path(), SHARDS, options()).unwrap();
    let parts = two_parts(&set, &source);
    let request = SearchRequest { facets: true, ..request("word") };
    let of = |number: usize| {
        let shards = Some(parts[number].clone());
        part(&set, &SearchRequest { shards, facet_values: usize::MAX, ..request.clone() })
    };
    let whole = |gather: &mut Gather, source: usize, part: Part| {
        gather.push(source, part.ranked.into_iter().collect());
        gather.end(source, part.ending.unwrap());
    };
    let mut gather = Gather::new(&[Place::default(); 2], 10);
    whole(&mut gather, 0, of(0));
    // It sends something and breaks off before anything of it is taken.
    gather.push(1, of(1).ranked.into_iter().take(1).collect());
    assert!(gather.leave_out(1));
    let other = gather.add(Place::default());
    assert!(matches!(gather.step(), Step::Wait(source) if source == other));
    whole(&mut gather, other, of(1));
    assert!(!gather.leave_out(other), "it has ended");
    let mut results = Vec::new();
    while let Step::Take(ranked) = gather.step() {
        results.extend(ranked.results);
    }
    let one = part(&set, &request);
    assert_eq!(results, one.ranked.into_iter().flat_map(|one| one.results).collect::<Vec<_>>());
    let gathered = gather.finish(Duration::ZERO);
    let response = gathered.response;
    let alone = search(&set, &request).unwrap();
    assert_eq!((response.complete, &response.skipped), (alone.complete, &alone.skipped));
    assert_eq!(response.counts, alone.counts);
    let known: Vec<bool> = gathered.cursors.iter().map(Option::is_some).collect();
    assert_eq!(known, [true, false, true]);
}

#[test]
fn a_part_that_ran_out_is_not_gone_on_with() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Memory::default());
    let set = ShardSet::open(folder.path(), SHARDS, options()).unwrap();
    let parts = two_parts(&set, &source);
    let mut request = SearchRequest { page_size: 1, ..request("word") };
    let whole = part(&set, &SearchRequest { shards: Some(parts[0].clone()), ..request.clone() });
    request.limits.matches = 0;
    let stopped = part(&set, &SearchRequest { shards: Some(parts[1].clone()), ..request });
    let mut gather = Gather::new(&[Place::default(); 2], 1);
    for (source, part) in [whole, stopped].into_iter().enumerate() {
        gather.push(source, part.ranked.into_iter().collect());
        gather.end(source, part.ending.unwrap());
    }
    while let Step::Take(_) = gather.step() {}
    let gathered = gather.finish(Duration::ZERO);
    assert!(!gathered.response.complete && gathered.more);
    assert!(gathered.cursors[0].is_some() && gathered.cursors[1].is_none());
}

/// Indexes a document of each of some authors.
fn written_by(set: &ShardSet, source: &Memory, repository: &RepositoryInfo, authors: Range<u32>) {
    let word = source.put(b"word\n");
    let path = |author: u32| format!("by{author}");
    let files = authors.clone().map(|author| file(path(author), word)).collect();
    let shard = set.shard_of(repository.id).unwrap();
    shard.apply(&replace(repository, "1", files), source, &NoProgress).unwrap();
    let change = |(author, place): (u32, u32)| LastChange {
        path: path(author).into_bytes(),
        content: word,
        seconds: 1,
        author: place,
    };
    let history = HistoryUpdate {
        commits: shard.revisions(repository.id).unwrap(),
        complete: true,
        authors: authors.clone().map(|author| format!("author {author}")).collect(),
        changes: authors.zip(0..).map(change).collect(),
        ..HistoryUpdate::default()
    };
    shard.set_history(repository.id, &history).unwrap();
}

#[test]
fn facets_are_cut_after_they_are_added_up() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Memory::default());
    let set = ShardSet::open(folder.path(), SHARDS, options()).unwrap();
    let mut parts = vec![Vec::new(); 2];
    for (number, authors) in [(1, 0..800), (2, 400..1_200)] {
        let of_part = |id: &u128| set.number_of(info(*id, "").id) % 2 == number % 2;
        let id = (1..).find(of_part).unwrap();
        written_by(&set, &source, &info(id, &format!("a/{number}")), authors);
        parts[number as usize % 2] = vec![set.number_of(info(id, "").id)];
    }
    let request = SearchRequest { facets: true, ..request("word count:1") };
    let wanted = search(&set, &request).unwrap();
    let (_, gathered) = gather(&set, &parts, &request, None, &mut Random(5));
    assert_eq!(gathered.response.facets, wanted.facets);
    let authors = wanted.facets.unwrap().author;
    assert_eq!((authors.len(), authors[399].count, authors[400].count), (1_000, 2, 1));
}

#[test]
fn progress_adds_up() {
    let mut gather = Gather::new(&[Place::default(); 2], 10);
    let at = |verified| Progress { verified, candidates: 2 * verified };
    gather.progress(0, at(3));
    gather.progress(1, at(4));
    let all = gather.progress(0, at(5));
    assert_eq!((all.verified, all.candidates), (9, 18));
}

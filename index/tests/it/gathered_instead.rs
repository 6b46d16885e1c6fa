//! A part that breaks off is searched by others, whatever of it was taken: the answer is that of the whole.

use std::collections::BTreeSet;
use std::time::Duration;

use aeterna_index::search::{
    Gather, Place, SearchRequest, SearchResponse, SkipReason, Step, Summary, cursor_at, page_of,
};
use aeterna_index::{NoProgress, ShardSet};

use crate::gathered::{Part, indexed, part, split, texts, told};
use crate::generate;
use crate::support::{Memory, Random, file, info, options, replace, request, search};

/// A part of the index, and where it is gone on with.
#[derive(Clone)]
struct Source {
    shards: Vec<u32>,
    cursor: Option<(String, Place)>,
    /// Results after which it breaks off.
    breaks_after: Option<usize>,
    /// Results after which it pauses.
    first: usize,
}

impl Source {
    fn new(shards: Vec<u32>, cursor: Option<(String, Place)>, random: &mut Random) -> Self {
        let breaks_after = random.once_in(2).then(|| random.below(6));
        let first = 1 + random.below(6);
        Self { shards, cursor, breaks_after, first }
    }

    fn ask(&self, set: &ShardSet, whole: &SearchRequest, share: usize) -> Part {
        let cursor = self.cursor.as_ref();
        let cursor = cursor.map(|(pinned, at)| cursor_at(pinned, at.window, at.within).unwrap());
        let shards = Some(self.shards.clone());
        let (share, facet_values) = (share as u32, usize::MAX);
        let asked = SearchRequest { shards, share, facet_values, cursor, ..whole.clone() };
        part(set, &SearchRequest { first: Some(self.first), ..asked })
    }

    /// Who is asked in its place: one that has all of it, or several.
    fn instead(&self, random: &mut Random) -> Vec<Self> {
        let parts = match self.cursor {
            Some(_) => vec![self.shards.clone()],
            None => {
                let mut two = vec![Vec::new(); 2];
                self.shards.iter().for_each(|shard| two[random.below(2)].push(*shard));
                two
            }
        };
        // At most one in three breaks off as well, so that this comes to an end.
        let parts = parts.into_iter().map(|shards| {
            let other = Self::new(shards, self.cursor.clone(), random);
            let breaks_after = other.breaks_after.filter(|_| random.once_in(2));
            Self { breaks_after, ..other }
        });
        parts.collect()
    }
}

/// A gathering of parts that may break off.
struct Gathering<'a> {
    set: &'a ShardSet,
    whole: &'a SearchRequest,
    share: usize,
    gather: Gather,
    sources: Vec<Source>,
    said: Vec<Part>,
    taken: Vec<String>,
    broken: usize,
}

impl Gathering<'_> {
    fn begin(&mut self, source: Source) {
        let part = source.ask(self.set, self.whole, self.share);
        self.gather.begin(self.said.len(), part.pinned.clone());
        self.sources.push(source);
        self.said.push(part);
    }

    fn deliver(&mut self, number: usize, random: &mut Random) {
        let some = random.below(4);
        let (source, part) = (&mut self.sources[number], &mut self.said[number]);
        let some = some.min(part.ranked.len());
        match &mut source.breaks_after {
            Some(left) if *left <= some => {
                if !self.gather.leave_out(number) {
                    return;
                }
                self.broken += 1;
                *part = Part::default();
                for other in source.clone().instead(random) {
                    let place = other.cursor.as_ref().map(|(_, place)| *place);
                    self.gather.add(place.unwrap_or_default());
                    self.begin(other);
                }
            }
            left => {
                left.iter_mut().for_each(|left| *left -= some);
                part.deliver(&mut self.gather, number, some);
            }
        }
    }

    fn run(&mut self, random: &mut Random) {
        loop {
            match self.gather.step() {
                Step::Take(ranked) => {
                    let results = ranked.results.into_iter();
                    self.taken.extend(results.map(|result| String::from_utf8(result).unwrap()));
                }
                Step::Wait(source) => self.deliver(source, random),
                Step::Resume(source) => self.said[source].is_paused = false,
                Step::Done => break,
            }
        }
        while !self.gather.is_over() {
            let source = random.below(self.said.len());
            if !self.gather.end_paused(source) {
                self.deliver(source, random);
            }
        }
    }
}

/// Every page, the answers, and how many parts broke off.
fn all_pages(
    set: &ShardSet,
    parts: &[Vec<u32>],
    whole: &SearchRequest,
    random: &mut Random,
) -> (Vec<String>, Vec<SearchResponse>, usize) {
    let (mut results, mut responses, mut broken, mut repeats) = Default::default();
    let sources = parts.iter().map(|shards| Source::new(shards.clone(), None, random));
    let mut sources: Vec<Source> = sources.collect();
    loop {
        let place = |source: &Source| source.cursor.as_ref().map(|(_, place)| *place);
        let begin: Vec<Place> =
            sources.iter().map(|source| place(source).unwrap_or_default()).collect();
        let mut gathering = Gathering {
            set,
            whole,
            share: parts.len(),
            gather: Gather::new(&begin, page_of(whole).unwrap()),
            sources: Vec::new(),
            said: Vec::new(),
            taken: Vec::new(),
            broken: 0,
        };
        gathering.gather.pass_over(std::mem::take(&mut repeats));
        sources.into_iter().for_each(|source| gathering.begin(source));
        gathering.run(random);
        let Gathering { gather, sources: asked, taken, broken: now, .. } = gathering;
        let gathered = gather.finish(Duration::from_secs(1));
        Vec::extend(&mut results, taken);
        Vec::push(&mut responses, gathered.response);
        broken += now;
        if !gathered.more {
            return (results, responses, broken);
        }
        repeats = gathered.repeats;
        let asked = asked.into_iter().zip(gathered.cursors);
        let open = asked.filter_map(|(source, cursor)| Some((source.shards, cursor?)));
        sources = open.map(|(shards, at)| Source::new(shards, Some(at), random)).collect();
    }
}

fn check(set: &ShardSet, query: &str, random: &mut Random) -> usize {
    let count = 1 + random.below(4);
    let parts = split(random, count);
    let place = format!("{query} in parts {parts:?}");
    let all = SearchRequest { facets: true, ..request(&format!("{query} count:all")) };
    let wanted = search(set, &all).unwrap();
    let (results, responses, mut broken) = all_pages(set, &parts, &all, random);
    assert_eq!(results, texts(&wanted), "{place}");
    assert_eq!(told(&responses[0]), told(&wanted), "{place}");

    // In pages too.
    let page_size = 1 + results.len() / 6 + random.below(9);
    let exhaustive = SearchRequest { facets: true, page_size, ..request(query) };
    let (paged, responses, more) = all_pages(set, &parts, &exhaustive, random);
    assert_eq!(paged, results, "{place}, pages of {page_size}");
    for response in &responses {
        // Advice repeats the query, which is another.
        let alerts = told(response).alerts;
        assert_eq!(told(response), Summary { alerts, ..told(&wanted) }, "{place}");
    }
    broken += more;
    // Those that do not look at everything first have each result once.
    let plain = SearchRequest { page_size, ..request(query) };
    let (mut paged, responses, more) = all_pages(set, &parts, &plain, random);
    assert!(responses.iter().all(|response| response.complete == wanted.complete), "{place}");
    let mut results = results;
    paged.sort();
    results.sort();
    assert_eq!(paged, results, "{place}, pages of {page_size}");
    broken + more
}

#[test]
fn parts_that_break_off_are_searched_by_others() {
    let mut broken = 0;
    for seed in 100..108 {
        let mut random = Random(seed);
        let repositories = 5 + random.below(5);
        let world = generate::world_of(&mut random, repositories, false);
        let folder = tempfile::tempdir().unwrap();
        let set = indexed(folder.path(), &world);
        for query in ["foo", "e", "type:repo", "foo select:repo", "foo type:symbol", "type:path a"]
        {
            println!("seed {seed}: {query}");
            broken += check(&set, query, &mut random);
        }
    }
    assert!(broken > 300, "parts break off: {broken}");
}

/// Pages of several windows, which differ with who searches what.
#[test]
fn pages_over_many_windows_have_each_result_once_when_parts_break_off() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Memory::default());
    let set = ShardSet::open(folder.path(), 6, options()).unwrap();
    for number in 1..=12 {
        let repository = info(number, &format!("a/repo{number}"));
        let text = |n: usize| format!("{}word {n}\n", "word\n".repeat(n % 5));
        let files = (0..100).map(|n| file(format!("f{n}"), source.put(text(n).as_bytes())));
        let update = replace(&repository, "1", files.collect());
        set.shard_of(repository.id).unwrap().apply(&update, &source, &NoProgress).unwrap();
    }
    let mut wanted = texts(&search(&set, &request("word count:all")).unwrap());
    wanted.sort();
    for seed in 0..6 {
        let mut random = Random(seed);
        let parts = split(&mut random, 3);
        let pages = SearchRequest { page_size: 45, ..request("word") };
        let (mut results, responses, broken) = all_pages(&set, &parts, &pages, &mut random);
        assert!(responses.iter().all(|response| response.complete) && broken > 3, "{broken}");
        results.sort();
        assert_eq!(results, wanted, "seed {seed}");
    }
}

#[test]
fn a_copy_of_another_commit_goes_on_and_the_answer_says_so() {
    let source = Memory::default();
    let repository = info(1, "a/one");
    let of = |files: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let set = ShardSet::open(folder.path(), 6, options()).unwrap();
        let content = |path: &&str| file(*path, source.put(path.as_bytes()));
        let update = replace(&repository, "1", files.iter().map(content).collect());
        set.shard_of(repository.id).unwrap().apply(&update, &source, &NoProgress).unwrap();
        (folder, set)
    };
    let (_before, before) = of(&["word a", "word b", "word d"]);
    let (_after, after) = of(&["word a", "word c", "word d"]);
    let shard = before.number_of(repository.id);
    let whole = SearchRequest { facets: true, ..request("word") };
    for taken in 0..3 {
        let mut gather = Gather::new(&[Place::default()], 10);
        let ask = |set| part(set, &SearchRequest { shards: Some(vec![shard]), ..whole.clone() });
        let first = ask(&before);
        gather.begin(0, first.pinned);
        gather.push(0, first.ranked.into_iter().collect());
        let mut keys = Vec::new();
        for _ in 0..taken {
            let Step::Take(ranked) = gather.step() else { panic!("there are three") };
            keys.push(ranked.key);
        }
        assert!(gather.leave_out(0));
        let other = gather.add(Place::default());
        let second = ask(&after);
        let wanted: BTreeSet<u128> = second.ranked.iter().map(|one| one.key.identity()).collect();
        gather.begin(other, second.pinned);
        gather.push(other, second.ranked.into_iter().collect());
        gather.end(other, second.ending.unwrap());
        while let Step::Take(ranked) = gather.step() {
            keys.push(ranked.key);
        }
        let found: BTreeSet<u128> =
            keys.iter().map(aeterna_index::search::RankKey::identity).collect();
        assert_eq!(found.len(), keys.len(), "none comes twice");
        assert!(found.is_superset(&wanted), "none is missed");
        let response = gather.finish(Duration::ZERO).response;
        assert_eq!(response.counts.documents.value, 3, "as the copy counts");
        let stale =
            response.skipped.iter().find(|skipped| skipped.reason == SkipReason::IndexStale);
        assert_eq!(
            stale.map(|stale| stale.items.clone()),
            (taken > 0).then(|| vec![format!("shard {shard}")])
        );
        assert_eq!(response.complete, taken == 0);
    }
}

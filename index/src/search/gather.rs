//! The answers of several searches, each over a part of an index, as the one answer that a search
//! over all of it would give.
//!
//! A part is searched by a *source*, such as another node. It sends results in its order, and at the
//! end what it has to say beside them. Nothing here waits or knows how that comes: who gathers asks
//! for the next [`Step`].
//!
//! Sources are asked for every value of a facet. What each has left out is weighed once all have said
//! theirs: a revision that one of them does not have may be another's.
//!
//! Repositories that are indexed in parts each source tells of what it has of them, before its results: they
//! are put together first, and take their place among the others.
//!
//! A source that fails may have others in its place, whatever of it was taken: they are asked from where
//! it was, and what comes again is passed over. Counts and facets are theirs. Where what they search is
//! in another state than what it searched, the answer says so.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cursor::{place_of, states_of};
use super::output::Ranked;
use super::response::{Progress, SearchResponse, SkipReason, Skipped};
use super::summary::{Summary, Together};

/// Where the cursor of a source stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// See [`Ranked::window`].
    pub window: u64,
    /// See [`Ranked::within`].
    pub within: u64,
}

/// What a source says at its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ending {
    /// What it tells beside its results.
    pub summary: Summary,
    /// See [`SearchResponse::pinned`]: empty when one cannot go on after its results.
    pub pinned: String,
    /// Where results follow after those that it sent.
    pub next: Option<Place>,
}

impl From<SearchResponse> for Ending {
    fn from(response: SearchResponse) -> Self {
        let next = response.next.as_deref().and_then(place_of);
        Self {
            pinned: response.pinned.clone(),
            next: next.map(|(window, within)| Place { window, within }),
            summary: response.into(),
        }
    }
}

/// What there is to do next.
#[derive(Debug)]
pub enum Step {
    /// To take this as the next in order. A repository in parts has a result of each source that has a part
    /// of it: they are to be made one.
    Take(Ranked),
    /// To wait for this source: for results of it, or its end.
    Wait(usize),
    /// To ask this source, which has paused, for more; then as [`Step::Wait`].
    Resume(usize),
    /// The page is full, or nothing is left. Ends that have not come are still to be waited for.
    Done,
}

/// Results of all sources, merged.
#[derive(Debug)]
pub struct Gather {
    sources: Vec<Source>,
    /// Results that are still wanted.
    wanted: usize,
    together: Together,
    /// Results that were taken of sources that have others in their place, and of the pages before: they
    /// come once more.
    repeats: HashSet<u128>,
    /// The states that such sources searched shards in.
    before: HashMap<u32, u64>,
    /// Repositories that are indexed in parts, in order, once all sources have told of theirs.
    united: Option<VecDeque<Ranked>>,
    /// How many of these were taken, on the pages before or on this one.
    united_taken: usize,
}

#[derive(Debug)]
struct Source {
    /// In its order, not taken yet.
    ready: VecDeque<Ranked>,
    /// Whether results of it came when no more were wanted.
    passed_over: bool,
    /// What it has of repositories that are indexed in parts.
    parts: Vec<Ranked>,
    /// What of it was taken, by [`RankKey::identity`](super::RankKey::identity); until its end.
    taken: Vec<u128>,
    /// What it searches, as a cursor; empty until it says so.
    pinned: String,
    /// After the last result of it that was taken.
    at: Place,
    progress: Progress,
    /// Its end, if no more of it is wanted.
    paused: Option<Ending>,
    end: Option<End>,
}

/// How a source ended.
#[derive(Debug)]
enum End {
    /// Results may follow from here on; what it was searched in, as a cursor.
    Whole { next: Option<Place>, pinned: String },
    /// What follows is not known.
    Lost,
}

/// What was gathered.
#[derive(Debug)]
pub struct Gathered {
    /// The answer, without its results. Its cursor is to be made of `places`.
    pub response: SearchResponse,
    /// Whether results follow for the next page.
    pub more: bool,
    /// The cursor of each source for the next page, those included that have nothing more: they are
    /// asked again, since counts and what was left out are told of all. `None` for one that has
    /// failed or stopped early: what it has beyond this page is not known.
    pub cursors: Vec<Option<(String, Place)>>,
    /// Results of this page and those before that come again on later ones, for
    /// [`Gather::pass_over`].
    pub repeats: Vec<u128>,
    /// Repositories in parts that were taken on this page and those before, for [`Gather::pass_over_united`].
    pub united: usize,
}

impl Source {
    fn new(at: Place) -> Self {
        Self {
            ready: VecDeque::new(),
            passed_over: false,
            parts: Vec::new(),
            taken: Vec::new(),
            pinned: String::new(),
            at,
            progress: Progress { verified: 0, candidates: 0 },
            paused: None,
            end: None,
        }
    }
}

impl Gather {
    /// Of sources that begin at these places: the default is the beginning. `page` is how many
    /// results are wanted in all, as [`page_of`](super::page_of) tells. Sources are asked with
    /// [`SearchRequest::first`](super::SearchRequest::first), and so pause rather than end with a page of their own.
    pub fn new(begin: &[Place], page: usize) -> Self {
        Self {
            sources: begin.iter().copied().map(Source::new).collect(),
            wanted: page,
            together: Together::default(),
            repeats: HashSet::new(),
            before: HashMap::new(),
            united: None,
            united_taken: 0,
        }
    }

    /// Passes results over that come again, as a page before told in [`Gathered::repeats`].
    pub fn pass_over(&mut self, repeats: impl IntoIterator<Item = u128>) {
        self.repeats.extend(repeats);
    }

    /// Passes over as many repositories in parts as the pages before had, by [`Gathered::united`].
    pub fn pass_over_united(&mut self, taken: usize) {
        self.united_taken = taken;
    }

    /// Takes what a source has of repositories that are indexed in parts: see
    /// [`Output::in_parts`](super::Output::in_parts). It comes before the source's results.
    pub fn in_parts(&mut self, source: usize, found: Vec<Ranked>) {
        self.sources[source].parts = found;
    }

    /// Takes what a source searches: see [`Output::pinned`](super::Output::pinned).
    pub fn begin(&mut self, source: usize, pinned: String) {
        self.sources[source].pinned = pinned;
    }

    /// Takes the next results of a source.
    ///
    /// # Panics
    /// As all that take a source, if there is none with this number.
    pub fn push(&mut self, source: usize, ranked: Vec<Ranked>) {
        let source = &mut self.sources[source];
        if self.wanted == 0 {
            source.passed_over |= !ranked.is_empty();
        } else {
            source.ready.extend(ranked);
        }
    }

    /// Takes how far a source is; how far all are together.
    pub fn progress(&mut self, source: usize, progress: Progress) -> Progress {
        self.sources[source].progress = progress;
        let all = || self.sources.iter().map(|source| source.progress);
        Progress {
            verified: all().map(|progress| progress.verified).sum(),
            candidates: all().map(|progress| progress.candidates).sum(),
        }
    }

    /// A source has sent what is likely to suffice, and waits: this is its end, unless it is asked for more.
    pub fn pause(&mut self, source: usize, so_far: Ending) {
        self.sources[source].paused = Some(so_far);
    }

    /// Takes the end that a source has paused with, if it has: no more of it is wanted. Returns whether it
    /// has.
    pub fn end_paused(&mut self, source: usize) -> bool {
        match self.sources[source].paused.take() {
            Some(ending) => {
                self.end(source, ending);
                true
            }
            None => false,
        }
    }

    /// Takes the end of a source.
    pub fn end(&mut self, source: usize, ending: Ending) {
        let Ending { summary, pinned, next } = ending;
        self.together.add(summary);
        let source = &mut self.sources[source];
        source.taken = Vec::new();
        let searched = if pinned.is_empty() { &source.pinned } else { &pinned };
        let states = states_of(searched).filter(|_| !self.before.is_empty()).unwrap_or_default();
        let is_other =
            |(shard, state): &(u32, u64)| self.before.get(shard).is_some_and(|was| was != state);
        let other: Vec<_> = states.iter().filter(|state| is_other(state)).collect();
        if !other.is_empty() {
            self.together.skip(Skipped {
                reason: SkipReason::IndexStale,
                message: "a node failed, and the copy that went on for it is of another commit"
                    .to_owned(),
                items: other.into_iter().map(|(shard, _)| format!("shard {shard}")).collect(),
            });
        }
        source.end = Some(if pinned.is_empty() { End::Lost } else { End::Whole { next, pinned } });
    }

    /// A source fails, for the reason that the answer then gives. What it has sent is good.
    pub fn fail(&mut self, source: usize, why: Skipped) {
        self.together.miss(why);
        self.sources[source].end = Some(End::Lost);
    }

    /// Tells of a part of the index that no source could be asked for.
    pub fn miss(&mut self, why: Skipped) {
        self.together.miss(why);
    }

    /// Adds a source that begins at this place; returns its number.
    pub fn add(&mut self, begin: Place) -> usize {
        self.sources.push(Source::new(begin));
        self.sources.len() - 1
    }

    /// Leaves out a source that has not ended, as if it had never been asked: others are asked for what
    /// it was to search, from where it began. What of it was taken stays, and is passed over when it
    /// comes from them. Returns whether it had not ended.
    pub fn leave_out(&mut self, source: usize) -> bool {
        let source = &mut self.sources[source];
        if source.end.is_some() {
            return false;
        }
        let left = std::mem::replace(source, Source::new(source.at));
        source.end = Some(End::Lost);
        if !left.taken.is_empty() {
            self.before.extend(states_of(&left.pinned).unwrap_or_default());
            self.repeats.extend(left.taken);
        }
        true
    }

    /// Whether every source has ended.
    pub fn is_over(&self) -> bool {
        self.sources.iter().all(|source| source.end.is_some())
    }

    /// What to do next.
    pub fn step(&mut self) -> Step {
        loop {
            if self.wanted == 0 {
                return Step::Done;
            }
            // Any source that may still send could have the next one.
            let silent = |source: &Source| source.ready.is_empty() && source.end.is_none();
            let paused = |source: &Source| silent(source) && source.paused.is_some();
            if let Some(source) = self.sources.iter().position(paused) {
                self.sources[source].paused = None;
                return Step::Resume(source);
            }
            if let Some(source) = self.sources.iter().position(silent) {
                return Step::Wait(source);
            }
            self.unite();
            let Some(ranked) = self.take_first() else { return Step::Done };
            if let Some(ranked) = ranked {
                self.wanted -= 1;
                return Step::Take(ranked);
            }
        }
    }

    /// Puts repositories in parts together, as all sources have told of theirs by now.
    fn unite(&mut self) {
        if self.united.is_some() {
            return;
        }
        let mut wholes: HashMap<u128, Ranked> = HashMap::new();
        for one in self.sources.iter_mut().flat_map(|source| std::mem::take(&mut source.parts)) {
            match wholes.entry(one.key.identity()) {
                Entry::Occupied(mut whole) => {
                    let whole = whole.get_mut();
                    whole.key.unite(&one.key);
                    whole.results.extend(one.results);
                }
                Entry::Vacant(place) => drop(place.insert(one)),
            }
        }
        let mut wholes: Vec<Ranked> = wholes.into_values().collect();
        wholes.sort_by(|a, b| a.key.cmp(&b.key));
        self.united = Some(wholes.into_iter().skip(self.united_taken).collect());
    }

    /// The next of the repositories in parts, if it is before all that is ready of the sources.
    fn take_united(&mut self) -> Option<Ranked> {
        let united = self.united.as_mut()?;
        let first = &united.front()?.key;
        let others = self.sources.iter().filter_map(|source| source.ready.front());
        if others.map(|other| &other.key).any(|other| other < first) {
            return None;
        }
        self.united_taken += 1;
        united.pop_front()
    }

    /// Takes the first in order of what is ready; nothing inside where it came before.
    fn take_first(&mut self) -> Option<Option<Ranked>> {
        if let Some(united) = self.take_united() {
            return Some(Some(united));
        }
        let ready = self.sources.iter_mut().filter(|source| !source.ready.is_empty());
        let source = ready.min_by(|a, b| match (a.ready.front(), b.ready.front()) {
            (Some(a), Some(b)) => a.key.cmp(&b.key),
            (a, b) => a.is_none().cmp(&b.is_none()),
        })?;
        let ranked = source.ready.pop_front()?;
        source.at = Place { window: ranked.window, within: ranked.within };
        let identity = ranked.key.identity();
        if source.end.is_none() {
            source.taken.push(identity);
        }
        Some((!self.repeats.remove(&identity)).then_some(ranked))
    }

    /// The answer, without its results. A source that has not ended counts as lost: whoever does
    /// not wait for it says why with [`Gather::fail`]. `elapsed` is the time that all took together.
    pub fn finish(mut self, elapsed: Duration) -> Gathered {
        if !self.is_over() {
            self.together.is_short();
        }
        let mut more = self.united.is_some_and(|united| !united.is_empty());
        let cursors = self.sources.into_iter().map(|source| {
            let Some(End::Whole { next, pinned }) = source.end else { return None };
            if source.passed_over || !source.ready.is_empty() {
                more = true;
                return Some((pinned, source.at));
            }
            more |= next.is_some();
            Some((pinned, next.unwrap_or(source.at)))
        });
        let cursors = cursors.collect();
        let repeats = self.repeats.into_iter().collect();
        let united = self.united_taken;
        Gathered { response: self.together.response(elapsed), more, cursors, repeats, united }
    }
}

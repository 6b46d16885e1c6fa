//! The answers of several searches, each over a part of an index, as the one answer that a search
//! over all of it would give.
//!
//! A part is searched by a *source*, such as another node. It sends results in its order, and at the
//! end what it has to say beside them. Nothing here waits or knows how that comes: who gathers asks
//! for the next [`Step`].
//!
//! Sources are asked for every value of a facet. What each has left out is weighed once all have said
//! theirs: a revision that one of them does not have may be another's.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cursor::place_of;
use super::output::Ranked;
use super::response::{Progress, SearchResponse, Skipped};
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
    /// To take this as the next in order.
    Take(Ranked),
    /// To wait for this source: for results of it, or its end.
    Wait(usize),
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
}

#[derive(Debug)]
struct Source {
    /// In its order, not taken yet.
    ready: VecDeque<Ranked>,
    /// Whether results of it came when no more were wanted.
    passed_over: bool,
    /// Whether results of it were taken.
    taken: bool,
    /// After the last result of it that was taken.
    at: Place,
    progress: Progress,
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
}

impl Source {
    fn new(at: Place) -> Self {
        Self {
            ready: VecDeque::new(),
            passed_over: false,
            taken: false,
            at,
            progress: Progress { verified: 0, candidates: 0 },
            end: None,
        }
    }
}

impl Gather {
    /// Of sources that begin at these places: the default is the beginning. `page` is how many
    /// results are wanted in all, and of each source, as [`page_of`](super::page_of) tells.
    pub fn new(begin: &[Place], page: usize) -> Self {
        Self {
            sources: begin.iter().copied().map(Source::new).collect(),
            wanted: page,
            together: Together::default(),
        }
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

    /// Takes the end of a source.
    pub fn end(&mut self, source: usize, ending: Ending) {
        let Ending { summary, pinned, next } = ending;
        self.together.add(summary);
        self.sources[source].end =
            Some(if pinned.is_empty() { End::Lost } else { End::Whole { next, pinned } });
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

    /// Adds a source that begins at the beginning; returns its number.
    pub fn add(&mut self) -> usize {
        self.sources.push(Source::new(Place::default()));
        self.sources.len() - 1
    }

    /// Leaves out a source that has not ended, as if it had never been asked: others are asked for what
    /// it was to search. That is possible until results of it are taken; returns whether it was.
    pub fn leave_out(&mut self, source: usize) -> bool {
        let source = &mut self.sources[source];
        if source.taken || source.end.is_some() {
            return false;
        }
        *source = Source { end: Some(End::Lost), ..Source::new(source.at) };
        true
    }

    /// Whether every source has ended.
    pub fn is_over(&self) -> bool {
        self.sources.iter().all(|source| source.end.is_some())
    }

    /// What to do next.
    pub fn step(&mut self) -> Step {
        if self.wanted == 0 {
            return Step::Done;
        }
        // Any source that may still send could have the next one.
        let silent = |source: &Source| source.ready.is_empty() && source.end.is_none();
        if let Some(source) = self.sources.iter().position(silent) {
            return Step::Wait(source);
        }
        let ready = self.sources.iter_mut().filter(|source| !source.ready.is_empty());
        let first = ready.min_by(|a, b| match (a.ready.front(), b.ready.front()) {
            (Some(a), Some(b)) => a.key.cmp(&b.key),
            (a, b) => a.is_none().cmp(&b.is_none()),
        });
        let Some((source, ranked)) =
            first.and_then(|source| source.ready.pop_front().map(|ranked| (source, ranked)))
        else {
            return Step::Done;
        };
        source.taken = true;
        source.at = Place { window: ranked.window, within: ranked.within };
        self.wanted -= 1;
        Step::Take(ranked)
    }

    /// The answer, without its results. A source that has not ended counts as lost: whoever does
    /// not wait for it says why with [`Gather::fail`]. `elapsed` is the time that all took together.
    pub fn finish(mut self, elapsed: Duration) -> Gathered {
        if !self.is_over() {
            self.together.is_short();
        }
        let mut more = false;
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
        Gathered { response: self.together.response(elapsed), more, cursors }
    }
}

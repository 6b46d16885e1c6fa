//! Running a search: candidates of every segment, windows of them verified in order, a page.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::budget::{Budget, Stop};
use super::candidates::{SegmentCandidates, candidates, unknown_revisions};
use super::collect::{Collector, Page};
use super::compile::{Compiled, Expr, Linguist, compile_query};
use super::cursor::Cursor;
use super::deliver::{Delivery, written_repositories};
use super::hands::Hands;
use super::key::RankKey;
use super::output::Output;
use super::pin::{Pinned, not_open, pin};
use super::response::{
    Explain, Match, SKIPPED_ITEMS, SearchError, SearchRequest, SearchResponse, SkipReason, Skipped,
    StepTime,
};
use super::running::Running;
use super::windows::{Windows, first_window, next_window, order_of};
use crate::IndexError;
use crate::document::{OmitReason, RepositoryId};
use crate::query::tree::{Count as Wanted, QueryOptions, ResultType, Select};
use crate::query::{ParseOptions, parse};
use crate::shard::Shard;
use crate::shard::Snapshot;
use crate::shard::snapshot::Loaded;

/// Results that are looked for at a time when more are wanted.
const MOST_AGAIN: usize = 1 << 16;
/// Damaged files that one search sets aside before it gives up.
const DAMAGE_TRIES: u32 = 8;

/// Runs searches on threads of its own.
pub(crate) struct Searcher {
    pool: ThreadPool,
}

/// How a search pages.
pub(crate) struct Mode {
    /// Whether every candidate is verified before the first result is returned.
    pub(crate) exhaustive: bool,
    /// Results of a page.
    pub(crate) page: usize,
    /// Content that is looked at first.
    pub(crate) first_window: u64,
    /// Content that is looked at next, at most.
    pub(crate) next_window: u64,
    pub(crate) repositories: bool,
    pub(crate) symbols: bool,
}

/// How many results a page has that a request asks for: of definitions, documents with some.
///
/// # Errors
/// When the query is wrong.
pub fn page_of(request: &SearchRequest) -> Result<usize, SearchError> {
    let query = parse(&request.query, &ParseOptions::new(&Linguist))?;
    Ok(page(&query.options, request))
}

fn page(options: &QueryOptions, request: &SearchRequest) -> usize {
    match options.count {
        Some(Wanted::Limit(count)) => count.min(request.limits.documents),
        Some(Wanted::All) => request.limits.documents,
        None => request.page_size,
    }
}

impl Mode {
    fn of(query: &Compiled, request: &SearchRequest, cursor: &Cursor) -> Self {
        let all = query.options.count == Some(Wanted::All);
        let repositories = query.options.result_type == ResultType::Repository
            || query.options.select == Some(Select::Repository);
        let symbols = query.wants_symbols();
        let exhaustive = all || request.facets || repositories;
        Self {
            exhaustive,
            page: page(&query.options, request),
            first_window: first_window(cursor.share),
            next_window: next_window(cursor.share),
            repositories,
            symbols,
        }
    }
}

impl Searcher {
    /// With this many threads.
    pub(crate) fn new(threads: usize) -> Result<Self, IndexError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|number| format!("search-{number}"))
            .build()
            .map_err(|error| {
                IndexError::io("cannot start threads for", "searches")(std::io::Error::other(error))
            })?;
        Ok(Self { pool })
    }

    /// Answers a request over those of the open shards that it is about; `count` is how many there
    /// are, open or not. With an output, the results go there.
    pub(crate) fn search(
        &self,
        shards: &[Arc<Shard>],
        count: u32,
        request: &SearchRequest,
        output: Option<&dyn Output>,
    ) -> Result<SearchResponse, SearchError> {
        let started = Instant::now();
        let sent = Cell::new(false);
        let mut tries = 0;
        loop {
            let error = match self.run(shards, count, request, output, &sent) {
                Err(SearchError::Index(error @ IndexError::Damaged { .. })) => error,
                answer => return answer,
            };
            // What is damaged is set aside, and the rest answers.
            shards.iter().for_each(|shard| shard.report(&error));
            tries += 1;
            if request.cursor.is_some() {
                return Err(SearchError::ExpiredCursor);
            }
            let late = started.elapsed() >= request.limits.deadline;
            if tries == DAMAGE_TRIES || late || sent.get() {
                return Err(error.into());
            }
        }
    }

    fn run(
        &self,
        shards: &[Arc<Shard>],
        count: u32,
        request: &SearchRequest,
        output: Option<&dyn Output>,
        sent: &Cell<bool>,
    ) -> Result<SearchResponse, SearchError> {
        let mut steps = Steps::start();
        let mut query = compile_query(&request.query)?;
        let budget = Budget::start(&request.limits, query.options.timeout, request.cancel.clone());
        let Pinned { shards, snapshots, cursor, closed } = pin(shards, count, request)?;
        let mode = Mode::of(&query, request, &cursor);
        let beginning = || Cursor { window: 0, within: 0, ..cursor.clone() }.encode();
        let are_elsewhere = output.is_some_and(|output| output.pinned(&beginning(), &closed));
        steps.end("plan");

        let is_short = !closed.is_empty() && !are_elsewhere;
        let mut skipped = Vec::from_iter(is_short.then(|| not_open(&closed)));
        let hands = Hands::new(&self.pool, cursor.share);
        let candidates = OnceLock::new();
        let begun = hands.run(|| {
            let states = (&*shards, &*snapshots);
            let segments = all_candidates(&query, states, request, &hands, &mut skipped)?;
            sort_by_cost(&mut query.expr, &segments);
            let order = order_of(&query, &mode, &segments)?;
            let (query, segments, order) = candidates.get_or_init(|| (query, segments, order));
            steps.end("candidates");

            let (mode, budget, snapshots, hands) = (&mode, &budget, &*snapshots, &hands);
            let running =
                Running { query, mode, request, snapshots, segments, budget, output, hands };
            let collector = Collector::new(running)?;
            let windows = Windows::new(running, order, &cursor);
            let mut serving = Serving {
                cursor: &cursor,
                collector,
                windows,
                skipped,
                steps,
                had: 0,
                parts_elsewhere: false,
            };
            let most = request.first.map_or(mode.page, |first| first.clamp(1, mode.page.max(1)));
            let helping = serving.next(most)?;
            Ok::<_, SearchError>((serving, helping))
        });
        let (mut serving, mut helping) = begun?;
        loop {
            let Helping { page, delivery } = helping;
            let results = delivery.finish(sent)?;
            serving.steps.end("collect");
            serving.refuse_incomplete()?;
            let output = output.filter(|_| serving.may_go_on(&page));
            let response = serving.response(page, results);
            let Some(output) = output else { return Ok(response) };
            let paused = Instant::now();
            if output.pause(&response).is_break() {
                return Ok(response);
            }
            budget.search_again(paused.elapsed());
            serving.steps.go_on();
            // As many again as there were: few more are wanted mostly, and all seldom.
            let most = serving.had.clamp(1, MOST_AGAIN);
            helping = hands.run(|| serving.next(most))?;
        }
    }
}

/// A search that finds its page a helping at a time.
struct Serving<'a> {
    /// Where its page began.
    cursor: &'a Cursor,
    collector: Collector<'a>,
    windows: Windows<'a>,
    /// What was left out before anything was verified.
    skipped: Vec<Skipped>,
    steps: Steps,
    /// Results that were made.
    had: usize,
    /// Whether repositories in parts are put together by who takes the results.
    parts_elsewhere: bool,
}

/// What is found and sent at a time.
struct Helping<'a> {
    page: Page,
    delivery: Delivery<'a>,
}

impl<'a> Serving<'a> {
    /// Finds more, and makes the first results of it; within [`Hands::run`].
    fn next(&mut self, most: usize) -> Result<Helping<'a>, SearchError> {
        let running = self.collector.running;
        let mut page = match running.mode.repositories && self.had > 0 {
            // They are known once everything was looked at.
            true => self.windows.so_far(),
            false => self.windows.page(most, &mut self.collector)?,
        };
        self.steps.end("verify");
        self.refuse_incomplete()?;
        running.budget.allow_results();
        let delivery = if running.mode.repositories {
            let first = usize::try_from(self.cursor.within).unwrap_or(usize::MAX);
            let first = first.saturating_add(self.had);
            let all = self.repositories();
            let found = repositories_of_page(all, (first, most), &mut page);
            self.had += found.len();
            Delivery::of_repositories(running, found, first)
        } else {
            let places = std::mem::take(&mut page.places);
            self.had += page.results.len();
            Delivery::start(running, std::mem::take(&mut page.results), places)?
        };
        Ok(Helping { page, delivery })
    }

    /// Every repository that is found, but for those that are put together elsewhere.
    fn repositories(&mut self) -> Vec<(RankKey, Match)> {
        let is_part = |(_, found): &(RankKey, Match)| found.repository.part.is_some();
        let all = self.collector.repository_results();
        let (parts, mut others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_part);
        if let Some(output) = self.collector.running.output
            && self.had == 0
            && !parts.is_empty()
        {
            let parts = written_repositories(output, parts.clone(), 0);
            self.parts_elsewhere = output.in_parts(parts);
        }
        if !self.parts_elsewhere {
            others.extend(parts);
            others.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        others
    }

    /// Whether more may be wanted. Whoever merges several decides how much, and may want more than a page
    /// of one: where results come that are passed over.
    fn may_go_on(&self, page: &Page) -> bool {
        let Running { request, budget, .. } = self.collector.running;
        request.first.is_some() && page.next.is_some() && budget.stopped().is_none()
    }

    fn refuse_incomplete(&self) -> Result<(), SearchError> {
        refuse_incomplete(self.collector.running, &self.skipped)
    }

    /// The answer as it is after a helping; `results` are those that were not sent.
    fn response(&self, page: Page, results: Vec<Match>) -> SearchResponse {
        let Self { cursor, collector, steps, .. } = self;
        let running = collector.running;
        let Running { query, request, segments, budget, .. } = running;
        let skipped: Vec<Skipped> = self.skipped.iter().cloned().chain(reasons(running)).collect();
        let stopped = budget.stopped().is_some();
        let all_looked_at =
            page.looked_at == page.of && !stopped && !skipped.iter().any(Skipped::hides_documents);
        let at = |(window, within)| Cursor { window, within, ..(*cursor).clone() }.encode();
        let next = page.next.filter(|_| !stopped).map(at);
        let pinned = if stopped { String::new() } else { at((0, 0)) };
        let explain = request.explain.then(|| Explain {
            tree: query.tree.clone(),
            plan: query.plan_text(),
            segments: segments.len(),
            candidates: page.of as u64,
            verified: page.looked_at as u64,
            bytes_read: budget.bytes(),
            posting_bytes: segments.iter().map(|segment| segment.posting_bytes).sum(),
        });
        SearchResponse {
            counts: collector.counts(all_looked_at && cursor.window == 0),
            facets: request.facets.then(|| collector.facets(all_looked_at)),
            results,
            complete: !stopped && !skipped.iter().any(Skipped::is_incomplete),
            skipped,
            alerts: query.alerts.clone(),
            next,
            pinned,
            explain,
            steps: steps.times.clone(),
            parts: running.parts(),
            elapsed: steps.started.elapsed(),
        }
    }
}

/// Step times, in order.
struct Steps {
    started: Instant,
    last: Instant,
    times: Vec<StepTime>,
}

impl Steps {
    fn start() -> Self {
        let now = Instant::now();
        Self { started: now, last: now, times: Vec::new() }
    }

    fn end(&mut self, step: &'static str) {
        let now = Instant::now();
        let elapsed = now - self.last;
        match self.times.iter_mut().find(|time| time.step == step) {
            Some(time) => time.elapsed += elapsed,
            None => self.times.push(StepTime { step, elapsed }),
        }
        self.last = now;
    }

    /// After time that is no step's.
    fn go_on(&mut self) {
        self.last = Instant::now();
    }
}

fn all_candidates<'a>(
    query: &Compiled,
    (shards, snapshots): (&[Arc<Shard>], &'a [Arc<Snapshot>]),
    request: &SearchRequest,
    hands: &Hands,
    skipped: &mut Vec<Skipped>,
) -> Result<Vec<SegmentCandidates<'a>>, SearchError> {
    let parts: Vec<(usize, &Snapshot, &Loaded)> = snapshots
        .iter()
        .enumerate()
        .flat_map(|(shard, snapshot)| {
            snapshot.segments.iter().map(move |loaded| (shard, &**snapshot, loaded))
        })
        .collect();
    let of_segment = |(): &mut (), (shard, snapshot, loaded): (usize, &'a Snapshot, &'a Loaded)| {
        (shard, candidates(query, snapshot, loaded, &request.visible))
    };
    let found = hands.map(parts, 1..=1, || (), of_segment);
    let mut segments = Vec::with_capacity(found.len());
    for (shard, result) in found {
        match result {
            Ok(candidates) => segments.push(candidates),
            Err(SearchError::Index(error @ IndexError::Damaged { .. })) => {
                shards[shard].report(&error);
                skipped.push(Skipped {
                    reason: SkipReason::ShardRestoring,
                    message: "a part of the index was damaged and is being rebuilt".to_owned(),
                    items: Vec::new(),
                });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(segments)
}

/// Puts what excludes most first, so that little is read of a document that does not match.
fn sort_by_cost(expr: &mut Expr, segments: &[SegmentCandidates]) {
    match expr {
        Expr::And(children) | Expr::Or(children) => {
            children.iter_mut().for_each(|child| sort_by_cost(child, segments));
            children.sort_by_cached_key(|child| cost(child, segments));
        }
        Expr::Not(child) => sort_by_cost(child, segments),
        _ => {}
    }
}

fn cost(expr: &Expr, segments: &[SegmentCandidates]) -> u64 {
    match expr {
        Expr::All | Expr::Nothing | Expr::Filter(_) => 0,
        Expr::Atom(number) => {
            segments.iter().map(|segment| u64::from(segment.units[*number].count())).sum::<u64>()
                + 1
        }
        Expr::Not(child) => cost(child, segments),
        Expr::And(children) | Expr::Or(children) => {
            children.iter().map(|child| cost(child, segments)).sum()
        }
    }
}

/// The page's repositories; all are found at once.
fn repositories_of_page(
    mut all: Vec<(RankKey, Match)>,
    (first, most): (usize, usize),
    page: &mut Page,
) -> Vec<(RankKey, Match)> {
    let start = first.min(all.len());
    let end = all.len().min(start.saturating_add(most));
    page.next = (end < all.len()).then_some((0, end as u64));
    all.drain(start..end).collect()
}

/// Ends a search that nobody waits for, and one that has left something out and must not.
fn refuse_incomplete(running: Running, skipped: &[Skipped]) -> Result<(), SearchError> {
    if running.request.cancel.is_cancelled() {
        return Err(SearchError::Cancelled);
    }
    if !running.request.require_complete {
        return Ok(());
    }
    let skipped: Vec<Skipped> = skipped.iter().cloned().chain(reasons(running)).collect();
    let may_be_elsewhere = |skipped: &Skipped| {
        running.request.share > 1 && skipped.reason == SkipReason::RevisionNotIndexed
    };
    match skipped.iter().any(|skipped| skipped.is_incomplete() && !may_be_elsewhere(skipped)) {
        true => Err(SearchError::Incomplete(skipped)),
        false => Ok(()),
    }
}

/// What was left out, and why.
fn reasons(running: Running) -> Vec<Skipped> {
    let Running { query, request, snapshots, segments, budget, .. } = running;
    let mut skipped = Vec::new();
    let mut skip = |reason, message: String, mut items: Vec<String>| {
        items.truncate(SKIPPED_ITEMS);
        skipped.push(Skipped { reason, message, items });
    };
    match budget.stopped() {
        Some(Stop::Time) => skip(
            SkipReason::ShardTimeout,
            "the time ran out before every candidate was looked at; narrow the query, or raise `timeout:`".to_owned(),
            Vec::new(),
        ),
        Some(Stop::Bytes) => skip(
            SkipReason::MatchLimit,
            "the limit on bytes read was reached; narrow the query".to_owned(),
            Vec::new(),
        ),
        Some(Stop::Matches) => skip(
            SkipReason::MatchLimit,
            "the limit on matches was reached; narrow the query".to_owned(),
            Vec::new(),
        ),
        // A search that was cancelled has no answer to say it in.
        Some(Stop::Cancelled) | None => {}
    }
    let unknown = unknown_revisions(query, snapshots, &request.visible);
    if !unknown.is_empty() {
        skip(
            SkipReason::RevisionNotIndexed,
            "no repository that you may see has this revision in the index".to_owned(),
            unknown,
        );
    }
    let states = snapshots.iter().flat_map(|snapshot| &snapshot.manifest.repositories);
    let mut damaged: Vec<String> = states
        .filter(|(id, state)| state.damaged && request.visible.contains(id))
        .map(|(_, state)| state.info.name.clone())
        .collect();
    let lost = snapshots.iter().flat_map(|snapshot| &snapshot.manifest.lost);
    damaged.extend(lost.filter(|id| request.visible.contains(id)).map(RepositoryId::to_string));
    if !damaged.is_empty() {
        skip(
            SkipReason::ShardRestoring,
            "a part of the index was damaged and these repositories are being indexed again"
                .to_owned(),
            damaged,
        );
    }
    let mut omitted: BTreeMap<OmitReason, u64> = BTreeMap::new();
    // Links and submodules have no content that a search could be short of.
    let has_content =
        |reason: &OmitReason| !matches!(reason, OmitReason::Symlink | OmitReason::Submodule);
    let all = segments.iter().flat_map(|segment| &segment.omitted);
    for (reason, count) in all.filter(|(reason, _)| has_content(reason)) {
        *omitted.entry(*reason).or_default() += count;
    }
    if !omitted.is_empty() {
        skip(
            SkipReason::FileNotIndexed,
            "the content of some files is not in the index; `repo not-indexed` lists them"
                .to_owned(),
            omitted
                .iter()
                .map(|(reason, count)| format!("{count}: {}", reason.explain()))
                .collect(),
        );
    }
    if query.asks_for_changes() {
        let pending = snapshots.iter().flat_map(|snapshot| {
            let visible = snapshot.infos.values().filter(|info| request.visible.contains(&info.id));
            visible.filter(move |info| snapshot.history_pending(info.id))
        });
        let pending: Vec<String> = pending.map(|info| info.name.clone()).collect();
        if !pending.is_empty() {
            skip(
                SkipReason::IndexStale,
                "who changed the files of these repositories last is still being read; ask again \
                 in a moment"
                    .to_owned(),
                pending,
            );
        }
    }
    let wants_symbols = query.atoms.iter().any(|atom| atom.symbol.is_some());
    if wants_symbols && segments.iter().any(|segment| segment.loaded.symbols.is_none()) {
        skip(
            SkipReason::IndexStale,
            "symbols of some files are still being read; ask again in a moment".to_owned(),
            Vec::new(),
        );
    }
    skipped
}

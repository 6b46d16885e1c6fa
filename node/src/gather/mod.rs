//! A search over all nodes: each searches its shards, and their answers are merged in rank order.
//!
//! A node that does not answer is waited for only as long as it says that it is still at it. Others that
//! hold its shards are asked then, whatever of it was handed on; where there are none it costs its
//! shards, which the answer names, and nothing else.

mod asking;
mod busy;
mod cursor;
mod hedging;
mod held;
mod part;
mod plan;
mod remote;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aeterna_cluster::name::NodeName;
use aeterna_index::search::{
    Cancel, Ending, Gather, Output, Progress, Ranked, SearchError, SearchRequest, SearchResponse,
    SkipReason, Skipped, Step, cursor_at, page_of,
};
use tokio::runtime::Handle;

use self::asking::Asking;
pub use self::busy::Busy;
use self::cursor::{ClusterCursor, Place};
pub use self::hedging::Hedging;
use self::held::{Away, told};
pub use self::part::{Running, Wanted, start as start_part};
use self::plan::{Ask, Asked, named};
pub use self::remote::encoded;
use crate::api::result::unite_results;
use crate::cluster::Cluster;
use crate::http::AppState;
use crate::http::problem::Problem;

/// Documents that are handed on at once.
const BATCH: usize = 64;
/// Bytes of results that are handed on at once; one may be larger.
const BATCH_BYTES: usize = 256 << 10;
/// What a node may take longer than the search's own deadline, for its lines and its way here.
const DEADLINE_SLACK: Duration = Duration::from_secs(2);

/// What a node sends of its part.
#[derive(Debug)]
pub enum Part {
    /// What the node searches, and what it does not; before all others.
    Begin(Begin),
    /// What it has of repositories that are indexed in parts; before its results, where repositories are asked for.
    InParts(Vec<Ranked>),
    /// Results, in the node's order.
    Ranked(Vec<Ranked>),
    /// That it is still at it, and how far; not how far where that is not known.
    Progress(Option<Progress>),
    /// That it has sent what is likely to suffice, and waits until more is wanted; what its end is otherwise.
    Paused(Box<Ending>),
    /// The end.
    End(Box<Ending>),
    /// That it cannot answer.
    Failed(Failed),
}

/// What a node says before it sends results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Version of its shard map.
    pub map_version: u64,
    /// Those of the shards that it was asked for and does not search.
    pub away: Vec<Away>,
    /// What it searches, as a cursor of the beginning.
    pub pinned: String,
}

/// Why a node has no part in the answer.
#[derive(Clone, Debug)]
pub enum Failed {
    /// The request is wrong, or its cursor has expired: so it is for every node.
    Refused(Problem),
    /// Nothing more was heard of the node.
    Silent,
    /// The node could not be reached, or broke off.
    Broken(String),
}

impl Failed {
    /// As it is counted.
    fn outcome(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Silent => "silent",
            Self::Broken(_) => "broken",
        }
    }

    fn skipped(&self, node: &NodeName, shards: impl Iterator<Item = u32>) -> Skipped {
        let (reason, message) = match self {
            Self::Silent => (SkipReason::ShardUnavailable, format!("{node} does not answer")),
            Self::Broken(why) => {
                (SkipReason::ShardUnavailable, format!("{node} does not answer: {why}"))
            }
            Self::Refused(problem) => {
                (SkipReason::ShardUnavailable, format!("{node} refuses: {}", problem.detail()))
            }
        };
        Skipped { reason, message, items: named(shards) }
    }
}

/// The answer of the whole cluster; its results went to the output. Blocks.
///
/// # Errors
/// When the query or the cursor is wrong or gone, or the answer was to be complete and is not.
pub fn search(
    state: &Arc<AppState>,
    cluster: &Arc<Cluster>,
    request: &SearchRequest,
    output: &dyn Output,
) -> Result<SearchResponse, Problem> {
    let started = Instant::now();
    let runtime = Handle::current();
    runtime.block_on(cluster.be_attentive());
    let asked = Asked::of(cluster, request)?;
    if request.require_complete && !asked.skipped.is_empty() {
        return Err(SearchError::Incomplete(asked.skipped).into());
    }
    shed(cluster, &asked)?;
    cluster.metrics().scattered(asked.asks.len());
    let page = page_of(request)?;
    let begins: Vec<_> = asked.asks.iter().map(|ask| ask.begin).collect();
    let mut gathering = Gathering {
        state,
        runtime,
        until: started + request.limits.deadline + DEADLINE_SLACK,
        request,
        asked,
        cluster,
        gather: Gather::new(&begins, page),
        page,
        asking: Vec::new(),
        away: Vec::new(),
        slow_after: cluster.hedging().bound(),
        held_back: Vec::new(),
        room: if request.require_complete { request.limits.held_bytes } else { 0 },
    };
    gathering.gather.pass_over(gathering.asked.repeats.clone());
    gathering.gather.pass_over_united(gathering.asked.united);
    gathering.start();
    gathering.deliver(output)?;
    gathering.wait_for_ends()?;
    if request.cancel.is_cancelled() {
        return Err(SearchError::Cancelled.into());
    }
    let Gathering { mut gather, mut asked, held_back, away, .. } = gathering;
    asked.missing.extend(away.iter().map(|away| away.shard));
    for skipped in asked.skipped.iter().cloned().chain(told(&away)) {
        gather.miss(skipped);
    }
    let gathered = gather.finish(started.elapsed());
    let mut response = gathered.response;
    if request.require_complete && !response.complete {
        return Err(SearchError::Incomplete(response.skipped).into());
    }
    if !held_back.is_empty() && output.send(held_back).is_break() {
        return Err(SearchError::Cancelled.into());
    }
    asked.united = gathered.united;
    response.next = gathered.more.then(|| next(asked, gathered.cursors, gathered.repeats));
    Ok(response)
}

/// Refuses a search that a node is needed for which has just said that it has too much to do.
fn shed(cluster: &Arc<Cluster>, asked: &Asked) -> Result<(), Problem> {
    for ask in &asked.asks {
        let Some(left) = cluster.busy().left(&ask.node) else { continue };
        let shards: Vec<u32> = ask.shards.keys().copied().collect();
        if !plan::instead(cluster, ask, &shards).1.is_empty() {
            cluster.metrics().part("shed");
            return Err(Problem::busy_node(ask.node.as_str(), left));
        }
    }
    Ok(())
}

/// A search that runs on several nodes.
struct Gathering<'a> {
    state: &'a Arc<AppState>,
    runtime: Handle,
    until: Instant,
    request: &'a SearchRequest,
    asked: Asked,
    cluster: &'a Arc<Cluster>,
    gather: Gather,
    /// Results that are wanted in all.
    page: usize,
    /// The parts of all nodes that were asked.
    asking: Vec<Asking>,
    /// Shards that nobody searches who was asked for them.
    away: Vec<Away>,
    /// How long a node may take for its first results before it is slow.
    slow_after: Option<Duration>,
    /// Results of an answer that is to be complete, until it is known to be.
    held_back: Vec<Ranked>,
    /// Bytes of results that may yet be held back.
    room: usize,
}

impl Gathering<'_> {
    /// Asks every node.
    fn start(&mut self) {
        for place in 0..self.asked.asks.len() {
            self.ask(place);
        }
    }

    /// Hands results on in rank order until the page is full or none is left.
    fn deliver(&mut self, output: &dyn Output) -> Result<(), Problem> {
        let mut batch: Vec<Ranked> = Vec::new();
        let mut bytes = 0;
        loop {
            match self.gather.step() {
                Step::Take(mut ranked) => {
                    if ranked.key.is_repository() {
                        unite_results(&mut ranked.results);
                    }
                    bytes += ranked.results.iter().map(Vec::len).sum::<usize>();
                    batch.push(ranked);
                }
                Step::Resume(source) => {
                    self.cluster.metrics().resumed();
                    self.asking[source].resume();
                    continue;
                }
                Step::Wait(source) => {
                    self.receive(source, Some(output))?;
                    continue;
                }
                Step::Done => {
                    return Ok(_ = self.send(&mut batch, output));
                }
            }
            if batch.len() >= BATCH || bytes >= BATCH_BYTES {
                bytes = 0;
                if self.send(&mut batch, output).is_break() {
                    return Ok(());
                }
            }
        }
    }

    fn send(&mut self, batch: &mut Vec<Ranked>, output: &dyn Output) -> ControlFlow<()> {
        if batch.is_empty() {
            return ControlFlow::Continue(());
        }
        let bytes: usize = batch.iter().flat_map(|one| &one.results).map(Vec::len).sum();
        if self.room >= bytes && self.room > 0 {
            self.room -= bytes;
            self.held_back.append(batch);
            return ControlFlow::Continue(());
        }
        // Too much to be held: should something be missing now, the answer is broken off.
        self.room = 0;
        let mut batch = std::mem::take(batch);
        let mut all = std::mem::take(&mut self.held_back);
        all.append(&mut batch);
        let before = Instant::now();
        let sent = output.send(all);
        if sent.is_break() {
            self.request.cancel.cancel();
        }
        // The client's time is not the search's.
        self.until += before.elapsed();
        sent
    }

    /// Waits for what the nodes tell at their ends.
    fn wait_for_ends(&mut self) -> Result<(), Problem> {
        let mut source = 0;
        // Others may join while one is waited for.
        while source < self.asking.len() {
            while self.asking[source].is_open() && !self.request.cancel.is_cancelled() {
                if self.gather.end_paused(source) {
                    self.answered(source);
                } else {
                    self.receive(source, None)?;
                }
            }
            source += 1;
        }
        Ok(())
    }
}

/// Cursor of the next page.
fn next(
    asked: Asked,
    cursors: Vec<Option<(String, aeterna_index::search::Place)>>,
    repeats: Vec<u128>,
) -> String {
    let mut missing = asked.missing;
    let mut parts = Vec::new();
    // Those in whose place others are have nothing.
    for (ask, cursor) in asked.asks.iter().zip(cursors).filter(|(ask, _)| !ask.shards.is_empty()) {
        let cursor = cursor.and_then(|(pinned, at)| cursor_at(&pinned, at.window, at.within));
        match cursor {
            Some(cursor) => {
                let shards = ask.shards.iter().map(|(shard, epoch)| (*shard, *epoch)).collect();
                parts.push(Place { node: ask.node.clone(), shards, cursor });
            }
            // What they have beyond this page is not known: later pages say that it is missing.
            None => missing.extend(ask.shards.keys()),
        }
    }
    ClusterCursor { request: asked.request, parts, missing, repeats, united: asked.united }.encode()
}

/// What one of so many nodes is asked, for a page of so many results.
fn part_request(request: &SearchRequest, ask: &Ask, nodes: usize, page: usize) -> SearchRequest {
    SearchRequest {
        cursor: ask.cursor.clone(),
        share: u32::try_from(nodes).unwrap_or(u32::MAX),
        // Its part of the page: a result that is written in vain costs more than asking for more of them.
        first: Some(page.div_ceil(nodes.max(1))),
        facet_values: usize::MAX,
        cancel: Cancel::default(),
        ..request.clone()
    }
}

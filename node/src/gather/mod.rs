//! A search over all nodes: each searches its shards, and their answers are merged in rank order.
//!
//! A node that does not answer costs its shards, which the answer names, and nothing else: it is
//! waited for only as long as it says that it is still at it.

mod cursor;
mod held;
mod part;
mod plan;
mod remote;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aeterna_index::search::{
    Cancel, Ending, Gather, Output, Progress, Ranked, SearchError, SearchRequest, SearchResponse,
    SkipReason, Skipped, Step, cursor_at, page_of,
};
use tokio::runtime::Handle;

use self::cursor::{ClusterCursor, Place};
pub use self::part::{Parts, Wanted, start as start_part};
use self::plan::{Ask, Asked, named};
pub use self::remote::encoded;
use crate::cluster::Cluster;
use crate::http::AppState;
use crate::http::problem::Problem;

/// Documents that are handed on at once.
const BATCH: usize = 64;
/// What a node may take longer than the search's own deadline, for its lines and its way here.
const DEADLINE_SLACK: Duration = Duration::from_secs(2);

/// What a node sends of its part.
#[derive(Debug)]
pub enum Part {
    /// Results, in the node's order.
    Ranked(Vec<Ranked>),
    /// That it is still at it, and how far; not how far where that is not known.
    Progress(Option<Progress>),
    /// The end.
    End(Box<Ending>),
    /// That it cannot answer.
    Failed(Failed),
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
    fn skipped(&self, ask: &Ask) -> Skipped {
        let node = &ask.node;
        let (reason, message) = match self {
            Self::Silent => (SkipReason::ShardUnavailable, format!("{node} does not answer")),
            Self::Broken(why) => {
                (SkipReason::ShardUnavailable, format!("{node} does not answer: {why}"))
            }
            Self::Refused(problem) => {
                (SkipReason::ShardUnavailable, format!("{node} refuses: {}", problem.detail()))
            }
        };
        Skipped { reason, message, items: named(ask.shards.keys().copied()) }
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
    let asked = Asked::of(cluster, request)?;
    if request.require_complete && !asked.skipped.is_empty() {
        return Err(SearchError::Incomplete(asked.skipped).into());
    }
    cluster.metrics().scattered(asked.asks.len());
    let begins: Vec<_> = asked.asks.iter().map(|ask| ask.begin).collect();
    let mut gathering = Gathering {
        state,
        runtime: Handle::current(),
        until: started + request.limits.deadline + DEADLINE_SLACK,
        request,
        asked,
        cluster,
        gather: Gather::new(&begins, page_of(request)?),
        parts: Vec::new(),
        failures: 0,
        held_back: Vec::new(),
        room: if request.require_complete { request.limits.held_bytes } else { 0 },
    };
    gathering.start();
    gathering.deliver(output)?;
    gathering.wait_for_ends()?;
    if request.cancel.is_cancelled() {
        return Err(SearchError::Cancelled.into());
    }
    let Gathering { mut gather, asked, held_back, .. } = gathering;
    for skipped in &asked.skipped {
        gather.miss(skipped.clone());
    }
    let gathered = gather.finish(started.elapsed());
    let mut response = gathered.response;
    if request.require_complete && !response.complete {
        return Err(SearchError::Incomplete(response.skipped).into());
    }
    if !held_back.is_empty() && output.send(held_back).is_break() {
        return Err(SearchError::Cancelled.into());
    }
    response.next = gathered.more.then(|| next(&asked, gathered.cursors));
    Ok(response)
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
    /// Of each node that was asked; `None` once it has ended. Dropping it ends its search.
    parts: Vec<Option<Parts>>,
    failures: usize,
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

    /// Asks the node with this place among those that are asked.
    fn ask(&mut self, place: usize) {
        let _runtime = self.runtime.enter();
        let ask = &self.asked.asks[place];
        let request = part_request(self.request, ask, self.asked.asks.len());
        let patience = Duration::from_millis(self.state.config.peer_timeout_ms);
        self.parts.push(Some(if ask.node == *self.cluster.name() {
            start_part(self.state, request, &ask.shards)
        } else {
            remote::start(self.cluster, request, ask, self.until, patience)
        }));
    }

    /// Hands results on in rank order until the page is full or none is left.
    fn deliver(&mut self, output: &dyn Output) -> Result<(), Problem> {
        let mut batch: Vec<Ranked> = Vec::new();
        loop {
            match self.gather.step() {
                Step::Take(ranked) => batch.push(ranked),
                Step::Wait(source) => {
                    self.receive(source, Some(output))?;
                    continue;
                }
                Step::Done => {
                    return Ok(_ = self.send(&mut batch, output));
                }
            }
            if batch.len() >= BATCH && self.send(&mut batch, output).is_break() {
                return Ok(());
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
        while source < self.parts.len() {
            while self.parts[source].is_some() && !self.request.cancel.is_cancelled() {
                self.receive(source, None)?;
            }
            source += 1;
        }
        Ok(())
    }

    /// Takes the next part of a node.
    fn receive(&mut self, source: usize, output: Option<&dyn Output>) -> Result<(), Problem> {
        let left = self.until.saturating_duration_since(Instant::now());
        let Some(parts) = &mut self.parts[source] else { return Ok(()) };
        let part =
            self.runtime.block_on(async { tokio::time::timeout(left, parts.parts.recv()).await });
        let part = match part {
            _ if self.request.cancel.is_cancelled() => return Err(SearchError::Cancelled.into()),
            Ok(Some(part)) => part,
            Ok(None) => Part::Failed(Failed::Broken("it broke off".to_owned())),
            Err(_) => Part::Failed(Failed::Silent),
        };
        match part {
            Part::Ranked(ranked) => self.gather.push(source, ranked),
            Part::Progress(None) => {}
            Part::Progress(Some(progress)) => {
                let together = self.gather.progress(source, progress);
                if let Some(output) = output {
                    output.progress(together);
                }
            }
            Part::End(ending) => {
                self.cluster.metrics().part("answered");
                self.gather.end(source, *ending);
                self.parts[source] = None;
            }
            Part::Failed(failed) => self.failed(source, failed)?,
        }
        Ok(())
    }

    fn failed(&mut self, source: usize, failed: Failed) -> Result<(), Problem> {
        self.parts[source] = None;
        self.failures += 1;
        self.cluster.metrics().part(match &failed {
            Failed::Refused(_) => "refused",
            Failed::Silent => "silent",
            Failed::Broken(_) => "broken",
        });
        let of_request = match &failed {
            Failed::Refused(problem) => problem.is_of_request(),
            Failed::Silent | Failed::Broken(_) => false,
        };
        if !of_request && self.replace(source) {
            return Ok(());
        }
        let ask = &self.asked.asks[source];
        let skipped = failed.skipped(ask);
        match failed {
            // Where every node has too much to do, so has the cluster.
            Failed::Refused(problem)
                if problem.is_of_request()
                    || problem.is_busy() && self.failures == self.asked.asks.len() =>
            {
                return Err(problem);
            }
            _ if self.request.require_complete => {
                return Err(SearchError::Incomplete(vec![skipped]).into());
            }
            _ => {}
        }
        tracing::warn!(node = %ask.node, shards = ask.shards.len(), "{}", skipped.message);
        self.gather.fail(source, skipped);
        Ok(())
    }
}

impl Gathering<'_> {
    /// Asks others for what a node that failed was to search; returns whether there are such.
    fn replace(&mut self, source: usize) -> bool {
        let ask = &self.asked.asks[source];
        if !ask.may_be_replaced {
            return false;
        }
        let Some(instead) = plan::instead(self.cluster, ask) else { return false };
        if !self.gather.leave_out(source) {
            return false;
        }
        tracing::info!(node = %ask.node, shards = ask.shards.len(), "others are asked instead");
        // It has no part in the answer, and nothing is missing for that.
        self.asked.asks[source].shards.clear();
        for ask in instead {
            self.gather.add();
            self.asked.asks.push(ask);
            self.ask(self.asked.asks.len() - 1);
        }
        true
    }
}

/// Cursor of the next page.
fn next(asked: &Asked, cursors: Vec<Option<(String, aeterna_index::search::Place)>>) -> String {
    let mut missing = asked.missing.clone();
    let mut parts = Vec::new();
    for (ask, cursor) in asked.asks.iter().zip(cursors) {
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
    ClusterCursor { request: asked.request, parts, missing }.encode()
}

/// What one of so many nodes is asked.
fn part_request(request: &SearchRequest, ask: &Ask, nodes: usize) -> SearchRequest {
    SearchRequest {
        cursor: ask.cursor.clone(),
        share: u32::try_from(nodes).unwrap_or(u32::MAX),
        facet_values: usize::MAX,
        cancel: Cancel::default(),
        ..request.clone()
    }
}

//! A search over all nodes: each searches its shards, and their answers are merged in rank order.
//!
//! A node that does not answer costs its shards, which the answer names, and nothing else: it is
//! waited for only as long as it says that it is still at it.

mod cursor;
mod held;
mod merge;
mod part;
mod plan;
mod remote;
mod summary;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aeterna_index::search::{
    Cancel, Output, Progress, Ranked, SearchError, SearchRequest, SearchResponse, cursor_at,
};
use futures_util::future::join_all;
use tokio::runtime::Handle;

pub use self::merge::{End, Failed, Part};
pub use self::part::{CancelOnDrop, Parts, Wanted, start as start_part};
use self::cursor::{ClusterCursor, Place};
use self::merge::{Source, best};
use self::plan::{Ask, Asked};
pub use self::remote::encoded;
use crate::cluster::Cluster;
use crate::http::AppState;
use crate::http::problem::Problem;

/// Documents that are handed on at once.
const BATCH: usize = 64;
/// What a node may take longer than the search's own deadline, for its lines and its way here.
const DEADLINE_SLACK: Duration = Duration::from_secs(2);

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
    let page = plan::page_of(request);
    let runtime = Handle::current();
    let mut gathering = Gathering {
        runtime,
        patience: Duration::from_millis(state.config.peer_timeout_ms),
        until: started + request.limits.deadline + DEADLINE_SLACK,
        cancel: &request.cancel,
        sources: Vec::new(),
        guards: Vec::new(),
    };
    gathering.start(state, cluster, request, &asked);
    gathering.fill();
    gathering.refused()?;
    if request.require_complete && let Some(problem) = gathering.incomplete(&asked) {
        return Err(problem);
    }
    gathering.deliver(page, output);
    gathering.finish();
    if request.cancel.is_cancelled() {
        return Err(SearchError::Cancelled.into());
    }
    let next = gathering.next(&asked);
    let summary = summary::gathered(&asked, &gathering.sources);
    Ok(summary::response(summary, next, started.elapsed()))
}

/// A search that runs on several nodes.
struct Gathering<'a> {
    runtime: Handle,
    patience: Duration,
    until: Instant,
    cancel: &'a Cancel,
    /// In the order of what was asked.
    sources: Vec<Source>,
    /// End the searches when they are dropped.
    guards: Vec<CancelOnDrop>,
}

impl Gathering<'_> {
    /// Asks every node.
    fn start(
        &mut self,
        state: &Arc<AppState>,
        cluster: &Arc<Cluster>,
        request: &SearchRequest,
        asked: &Asked,
    ) {
        let _runtime = self.runtime.enter();
        for ask in &asked.asks {
            let request = part_request(request, ask, asked.asks.len());
            let parts = if ask.node == *cluster.name() {
                start_part(state, request, &ask.shards)
            } else {
                remote::start(cluster, request, ask, self.until)
            };
            self.sources.push(Source::new(parts.parts));
            self.guards.push(parts.guard);
        }
    }

    /// How long a node may say nothing.
    fn patience(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now()).min(self.patience)
    }

    /// Waits until every node has sent a result, or can send none.
    fn fill(&mut self) {
        let (patience, cancel) = (self.patience(), self.cancel);
        self.runtime.block_on(join_all(
            self.sources.iter_mut().map(|source| source.fill(patience, cancel)),
        ));
    }

    /// What is wrong with the request itself.
    fn refused(&self) -> Result<(), Problem> {
        let busy = |failed: &Failed| matches!(failed, Failed::Refused(problem) if problem.is_busy());
        for source in &self.sources {
            if let Some(Failed::Refused(problem)) = source.failed()
                && problem.is_of_request()
            {
                return Err(problem.clone());
            }
        }
        match self.sources.iter().map(Source::failed).collect::<Option<Vec<_>>>() {
            Some(failed) if !failed.is_empty() && failed.iter().all(|failed| busy(failed)) => {
                match failed[0] {
                    Failed::Refused(problem) => Err(problem.clone()),
                    Failed::Silent | Failed::Broken(_) => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// The problem of an answer that was to be complete, where it is known by now that it is not.
    fn incomplete(&self, asked: &Asked) -> Option<Problem> {
        let summary = summary::gathered(asked, &self.sources);
        (!summary.complete).then(|| SearchError::Incomplete(summary.skipped).into())
    }

    /// Hands results on in rank order until the page is full or none is left.
    fn deliver(&mut self, page: usize, output: &dyn Output) {
        let mut batch: Vec<Ranked> = Vec::new();
        let mut taken = 0;
        while taken < page && !self.cancel.is_cancelled() {
            let Some(at) = best(&self.sources) else { break };
            batch.extend(self.sources[at].take());
            taken += 1;
            let dry = self.sources[at].head().is_none();
            if (batch.len() >= BATCH || dry) && self.send(&mut batch, output).is_break() {
                return;
            }
            if dry {
                output.progress(self.progress());
                self.fill();
            }
        }
        let _ = self.send(&mut batch, output);
    }

    fn send(&mut self, batch: &mut Vec<Ranked>, output: &dyn Output) -> ControlFlow<()> {
        if batch.is_empty() {
            return ControlFlow::Continue(());
        }
        let before = Instant::now();
        let sent = output.send(std::mem::take(batch));
        if sent.is_break() {
            self.cancel.cancel();
        }
        // The client's time is not the search's.
        self.until += before.elapsed();
        sent
    }

    /// Waits for what the nodes tell at their ends.
    fn finish(&mut self) {
        let (patience, cancel) = (self.patience(), self.cancel);
        self.runtime.block_on(join_all(
            self.sources.iter_mut().map(|source| source.finish(patience, cancel)),
        ));
    }

    fn progress(&self) -> Progress {
        let all = self.sources.iter().map(Source::progress);
        all.fold(Progress { verified: 0, candidates: 0 }, |sum, one| Progress {
            verified: sum.verified + one.verified,
            candidates: sum.candidates + one.candidates,
        })
    }

    /// Cursor of the next page, if there is one.
    fn next(&self, asked: &Asked) -> Option<String> {
        let places: Vec<Place> = asked
            .asks
            .iter()
            .zip(&self.sources)
            .filter_map(|(ask, source)| {
                let (window, within) = source.next(ask.start)?;
                let cursor = cursor_at(&source.end()?.pinned, window, within)?;
                let shards = ask.shards.iter().map(|(shard, epoch)| (*shard, *epoch)).collect();
                Some(Place { node: ask.node.clone(), shards, cursor })
            })
            .collect();
        let cursor = ClusterCursor { request: asked.request, parts: places };
        (!cursor.parts.is_empty()).then(|| cursor.encode())
    }
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

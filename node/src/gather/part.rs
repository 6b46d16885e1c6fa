//! A node's own part of a search: the engine's results and end, sent through a bounded channel.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use aeterna_index::search::{
    Cancel, Ending, Match, Output, Progress, Ranked, SearchError, SearchRequest,
};
use tokio::sync::mpsc;

use super::held::held_of;
use super::{Failed, Part};
use crate::api::result::write_result;
use crate::http::AppState;
use crate::http::problem::Problem;
use crate::http::search::search_here;

/// Parts that wait for whoever merges them.
const PARTS_AHEAD: usize = 4;
/// Bytes of results that are sent at once; one result may be larger.
const PART_BYTES: usize = 1 << 20;
/// How often a search that has nothing to send says that it is still at it.
const SIGN_OF_LIFE: Duration = Duration::from_millis(250);

/// Shards that a node is asked for, each with the epoch that whoever asks knows.
pub type Wanted = BTreeMap<u32, u64>;

/// Where a search's parts come out. Dropping it ends the search.
#[derive(Debug)]
pub struct Parts {
    /// The parts.
    pub parts: mpsc::Receiver<Part>,
    /// Ends the search when it is dropped.
    pub _guard: CancelOnDrop,
}

/// Ends a search when it is dropped.
#[derive(Debug)]
pub struct CancelOnDrop(Cancel);

impl CancelOnDrop {
    /// Ends this one.
    pub fn new(cancel: Cancel) -> Self {
        Self(cancel)
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Starts this node's part: of the shards that are wanted those that it serves at that epoch are
/// searched, the others are told of as skipped.
pub fn start(state: &Arc<AppState>, mut request: SearchRequest, wanted: &Wanted) -> Parts {
    let (sender, parts) = mpsc::channel(PARTS_AHEAD);
    let held = held_of(&state.manager, wanted);
    request.shards = Some(held.serving);
    let skipped = held.skipped;
    let refused = request.require_complete && !skipped.is_empty();
    let guard = CancelOnDrop::new(request.cancel.clone());
    let shared = Arc::clone(state);
    let (span, signs) = (tracing::Span::current(), sender.clone());
    let searching = tokio::task::spawn_blocking(move || {
        let _entered = span.enter();
        let output = PartOutput { sender: &sender };
        let answer = match refused {
            true => Err(SearchError::Incomplete(skipped.clone()).into()),
            false => search_here(&shared, &request, &output),
        };
        let part = match answer {
            Ok(response) => {
                let mut ending = Ending::from(response);
                ending.summary.complete &= skipped.is_empty();
                ending.summary.skipped.extend(skipped);
                Part::End(Box::new(ending))
            }
            Err(problem) => Part::Failed(Failed::Refused(problem)),
        };
        // Whoever asked may have gone.
        let _ = sender.blocking_send(part);
    });
    tokio::spawn(async move {
        let mut searching = searching;
        loop {
            match tokio::time::timeout(SIGN_OF_LIFE, &mut searching).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => {
                    tracing::error!(%error, "a search ended without an answer");
                    let _ = signs.send(Part::Failed(Failed::Refused(Problem::internal()))).await;
                    return;
                }
                // A channel that is full says as much.
                Err(_) => drop(signs.try_send(Part::Progress(None))),
            }
        }
    });
    Parts { parts, _guard: guard }
}

/// Puts an engine's results into a channel.
struct PartOutput<'a> {
    sender: &'a mpsc::Sender<Part>,
}

impl Output for PartOutput<'_> {
    fn write(&self, found: Match, into: &mut Vec<u8>) {
        write_result(&found, into);
    }

    fn send(&self, ranked: Vec<Ranked>) -> ControlFlow<()> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for one in ranked {
            bytes += one.results.iter().map(Vec::len).sum::<usize>();
            batch.push(one);
            if bytes >= PART_BYTES {
                self.put(std::mem::take(&mut batch))?;
                bytes = 0;
            }
        }
        if batch.is_empty() { ControlFlow::Continue(()) } else { self.put(batch) }
    }

    fn progress(&self, progress: Progress) {
        // Another follows where this one does not fit.
        let _ = self.sender.try_send(Part::Progress(Some(progress)));
    }
}

impl PartOutput<'_> {
    fn put(&self, batch: Vec<Ranked>) -> ControlFlow<()> {
        match self.sender.blocking_send(Part::Ranked(batch)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

//! A node's own part of a search: the engine's results and end, sent through a bounded channel.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aeterna_index::search::{
    Cancel, Ending, Match, Output, Progress, Ranked, SearchError, SearchRequest, SearchResponse,
    Skipped,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use super::held::{Away, HeldOf, held_and_visible};
use super::{Begin, Failed, Part};
use crate::api::result::write_result;
use crate::cluster::Cluster;
use crate::cluster::metrics::PartRunning;
use crate::http::AppState;
use crate::http::context::ACCESS_LOG;
use crate::http::search::search_here;

/// Parts that wait for whoever merges them.
const PARTS_AHEAD: usize = 4;
/// Bytes of results that are sent at once; one result may be larger.
const PART_BYTES: usize = 256 << 10;
/// How often it is told how far a search is, at most.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// How often a search that has nothing to send says that it is still at it.
const SIGN_OF_LIFE: Duration = Duration::from_millis(250);

/// That a part of another node's search runs, within the limit on how many do.
#[derive(Debug)]
pub struct Running {
    /// Of those that may run.
    pub _permit: OwnedSemaphorePermit,
    /// How it is counted.
    pub _counted: PartRunning,
}

/// Shards that a node is asked for, each with the epoch that whoever asks knows.
pub type Wanted = BTreeMap<u32, u64>;

/// Where a search's parts come out. Dropping it ends the search.
#[derive(Debug)]
pub struct Parts {
    /// The parts.
    pub parts: mpsc::Receiver<Part>,
    /// Whether results came, or the end.
    pub heard: Arc<AtomicBool>,
    /// Asks for more of a search that has paused.
    pub more: mpsc::Sender<()>,
    /// Ends the search when it is dropped.
    pub _guard: CancelOnDrop,
}

impl Parts {
    /// Of a node that is not asked, for this reason.
    pub fn failed(failed: Failed) -> Self {
        let (sender, parts) = mpsc::channel(1);
        // There is room for one.
        let _ = sender.try_send(Part::Failed(failed));
        let guard = CancelOnDrop::new(Cancel::default());
        let (more, _) = mpsc::channel(1);
        Self { parts, heard: Arc::default(), more, _guard: guard }
    }

    /// The next part, or a sign of life when there has long been none; `None` after the last.
    pub async fn next_or_sign(&mut self) -> Option<Part> {
        timeout(SIGN_OF_LIFE, self.parts.recv()).await.unwrap_or(Some(Part::Progress(None)))
    }
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

/// Starts this node's part: of the shards that are wanted those that it may answer for are searched; at
/// its beginning it says which it does not. What may be found in them is what the tenant may find now,
/// whenever the request was made. `running` is what it holds as long as it runs.
pub fn start(
    state: &Arc<AppState>,
    cluster: &Cluster,
    mut request: SearchRequest,
    wanted: &Wanted,
    tenant: &str,
    running: Option<Running>,
) -> Parts {
    let (sender, parts) = mpsc::channel(PARTS_AHEAD);
    let (more, wanted_more) = mpsc::channel(1);
    let (map, wanted, tenant) = (cluster.map(), wanted.clone(), tenant.to_owned());
    let heard = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&heard);
    let guard = CancelOnDrop::new(request.cancel.clone());
    let shared = Arc::clone(state);
    let span = tracing::Span::current();
    // One that ends without an answer closes its channel: whoever waits for it sees that it broke off.
    tokio::task::spawn_blocking(move || {
        let _running = running;
        let _entered = span.enter();
        let started = Instant::now();
        let (HeldOf { serving, away, stale: skipped }, visible) =
            held_and_visible(&shared.manager, &map, &wanted, &tenant);
        request.shards = Some(serving);
        request.visible = visible;
        let output = PartOutput {
            begin: Begin { map_version: map.version(), away, pinned: String::new() },
            more: Mutex::new(wanted_more),
            held: Mutex::default(),
            progress: Mutex::new(started),
            heard: says,
            shards: wanted.len(),
            sender,
            skipped,
            started,
            is_logged: AtomicBool::new(false),
        };
        let refused = request.require_complete && !output.skipped.is_empty();
        let answer = match refused {
            true => Err(SearchError::Incomplete(output.skipped.clone()).into()),
            false => search_here(&shared, &request, &output),
        };
        output.end(match answer {
            Ok(response) => Part::End(Box::new(output.ending(response))),
            Err(problem) => Part::Failed(Failed::Refused(problem)),
        });
    });
    Parts { parts, heard, more, _guard: guard }
}

/// Puts an engine's results into a channel. What comes soon after one another is sent together: whoever merges
/// is woken once.
struct PartOutput {
    sender: mpsc::Sender<Part>,
    begin: Begin,
    heard: Arc<AtomicBool>,
    more: Mutex<mpsc::Receiver<()>>,
    /// What this node's copies may lack.
    skipped: Vec<Skipped>,
    /// What is to be sent next.
    held: Mutex<Vec<Part>>,
    /// When it was last told how far the search is.
    progress: Mutex<Instant>,
    started: Instant,
    shards: usize,
    /// Whether all that was done so far is in the log.
    is_logged: AtomicBool,
}

impl Output for PartOutput {
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
                self.hold(Part::Ranked(std::mem::take(&mut batch)));
                self.flush()?;
                bytes = 0;
            }
        }
        if !batch.is_empty() {
            self.hold(Part::Ranked(batch));
        }
        ControlFlow::Continue(())
    }

    fn pinned(&self, cursor: &str, closed: &[u32]) -> bool {
        let mut begin = Begin { pinned: cursor.to_owned(), ..self.begin.clone() };
        // Another node has got them just now.
        begin.away.extend(closed.iter().map(|shard| Away { shard: *shard, elsewhere: true }));
        let is_urgent = !begin.away.is_empty();
        self.hold(Part::Begin(begin));
        if is_urgent {
            // Whoever asked may have gone.
            let _ = self.flush();
        }
        true
    }

    fn in_parts(&self, found: Vec<Ranked>) -> bool {
        self.hold(Part::InParts(found));
        true
    }

    fn pause(&self, so_far: &SearchResponse) -> ControlFlow<()> {
        self.end(Part::Paused(Box::new(self.ending(so_far.clone()))));
        match lock(&self.more).blocking_recv() {
            Some(()) => {
                self.is_logged.store(false, Ordering::Relaxed);
                ControlFlow::Continue(())
            }
            // Whoever asked has enough, or has gone.
            None => ControlFlow::Break(()),
        }
    }

    fn progress(&self, progress: Progress) {
        let mut last = lock(&self.progress);
        if last.elapsed() >= PROGRESS_EVERY {
            *last = Instant::now();
            // Whoever asked may have gone, and another follows where this one does not fit.
            let _ = self.flush();
            let _ = self.sender.try_send(Part::Progress(Some(progress)));
        }
    }
}

impl PartOutput {
    fn ending(&self, response: SearchResponse) -> Ending {
        let mut ending = Ending::from(response);
        ending.summary.complete &= self.skipped.is_empty();
        ending.summary.skipped.extend(self.skipped.iter().cloned());
        ending
    }

    fn hold(&self, part: Part) {
        lock(&self.held).push(part);
    }

    /// Sends what is held.
    fn flush(&self) -> ControlFlow<()> {
        for part in std::mem::take(&mut *lock(&self.held)) {
            if matches!(part, Part::Ranked(_) | Part::Paused(_) | Part::End(_) | Part::Failed(_)) {
                self.heard.store(true, Ordering::Release);
            }
            if self.sender.blocking_send(part).is_err() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// Sends the last that there is, for now.
    fn end(&self, part: Part) {
        // The end of one that nobody wanted more of since it paused was logged then.
        if !self.is_logged.swap(true, Ordering::Relaxed) {
            let (duration_ms, shards) = (self.started.elapsed().as_secs_f64() * 1e3, self.shards);
            tracing::info!(target: ACCESS_LOG, duration_ms, shards, "searched a part");
        }
        self.hold(part);
        // Whoever asked may have gone.
        let _ = self.flush();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! What bounds one search: time, bytes and matches, checked while a document is being read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::response::Limits;

/// Why a search stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The deadline passed.
    Time,
    /// As many bytes were read as may be.
    Bytes,
    /// As many matches were counted as may be.
    Matches,
    /// Nobody waits for the answer any more.
    Cancelled,
}

/// Ends a search early, from another thread. Clones are one and the same.
///
/// ```
/// use aeterna_index::search::Cancel;
///
/// let cancel = Cancel::default();
/// let in_request = cancel.clone();
/// cancel.cancel();
/// assert!(in_request.is_cancelled());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends the search; one that has ended stays as it is.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the search is to end.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Time that there is at least to cut the lines of what was found, once the search itself has ended.
const RESULTS_TIME: Duration = Duration::from_millis(500);

/// The budget of one search, shared by its threads.
pub(crate) struct Budget {
    start: Instant,
    /// Nanoseconds from the start to the end; waiting for a reader adds to them.
    time: AtomicU64,
    bytes_limit: AtomicU64,
    matches_limit: AtomicU64,
    bytes: AtomicU64,
    matches: AtomicU64,
    /// The first reason to stop.
    reason: AtomicU8,
    halted: AtomicBool,
    cancel: Cancel,
}

impl Budget {
    /// Starts now. `timeout` is what the query asked for, at most the deadline.
    pub(crate) fn start(limits: &Limits, timeout: Option<Duration>, cancel: Cancel) -> Self {
        let time = timeout.map_or(limits.deadline, |timeout| timeout.min(limits.deadline));
        Self {
            start: Instant::now(),
            time: AtomicU64::new(nanoseconds(time)),
            bytes_limit: AtomicU64::new(limits.bytes),
            matches_limit: AtomicU64::new(limits.matches),
            bytes: AtomicU64::new(0),
            matches: AtomicU64::new(0),
            reason: AtomicU8::new(0),
            halted: AtomicBool::new(false),
            cancel,
        }
    }

    /// Counts bytes that were read; whether to go on.
    pub(crate) fn read(&self, bytes: usize) -> bool {
        let before = self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if before + bytes as u64 > self.bytes_limit.load(Ordering::Relaxed) {
            self.stop(Stop::Bytes);
        }
        self.go_on()
    }

    /// Counts matches; whether to go on.
    pub(crate) fn matched(&self, matches: u64) -> bool {
        let before = self.matches.fetch_add(matches, Ordering::Relaxed);
        if before + matches > self.matches_limit.load(Ordering::Relaxed) {
            self.stop(Stop::Matches);
        }
        self.go_on()
    }

    /// Whether nothing has run out, the time included.
    pub(crate) fn go_on(&self) -> bool {
        if !self.has_run_out() {
            if self.cancel.is_cancelled() {
                self.stop(Stop::Cancelled);
            } else if nanoseconds(self.start.elapsed()) >= self.time.load(Ordering::Relaxed) {
                self.stop(Stop::Time);
            }
        }
        !self.has_run_out()
    }

    /// Whether something has run out, as far as anyone has looked.
    pub(crate) fn has_run_out(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// Ends the search and leaves time to make results of what it found, which reads and counts some
    /// of it again: only the clock bounds that. [`stopped`](Self::stopped) still tells which limit
    /// the search met, if it met one.
    pub(crate) fn allow_results(&self) {
        self.bytes_limit.store(u64::MAX, Ordering::Relaxed);
        self.matches_limit.store(u64::MAX, Ordering::Relaxed);
        let end = self.start.elapsed() + RESULTS_TIME;
        self.time.fetch_max(nanoseconds(end), Ordering::Relaxed);
        self.halted.store(false, Ordering::Relaxed);
    }

    /// Gives time that the search could not use.
    pub(crate) fn extend(&self, waited: Duration) {
        self.time.fetch_add(nanoseconds(waited), Ordering::Relaxed);
    }

    fn stop(&self, reason: Stop) {
        let number = match reason {
            Stop::Time => 1,
            Stop::Bytes => 2,
            Stop::Matches => 3,
            Stop::Cancelled => 4,
        };
        // The first reason is the one that is told.
        let _ = self.reason.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
        self.halted.store(true, Ordering::Relaxed);
    }

    /// What has run out first.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        match self.reason.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Stop::Time),
            2 => Some(Stop::Bytes),
            3 => Some(Stop::Matches),
            _ => Some(Stop::Cancelled),
        }
    }

    /// Bytes read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2)
}

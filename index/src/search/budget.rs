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
    bytes: Meter,
    matches: Meter,
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
            bytes: Meter::new(limits.bytes),
            matches: Meter::new(limits.matches),
            reason: AtomicU8::new(0),
            halted: AtomicBool::new(false),
            cancel,
        }
    }

    /// Counts bytes that were read; whether to go on.
    pub(crate) fn read(&self, bytes: usize) -> bool {
        if !self.bytes.spend(bytes as u64) {
            self.stop(Stop::Bytes);
        }
        self.go_on()
    }

    /// Counts matches; whether to go on.
    pub(crate) fn matched(&self, matches: u64) -> bool {
        if !self.matches.spend(matches) {
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
        self.bytes.lift();
        self.matches.lift();
        let end = self.start.elapsed() + RESULTS_TIME;
        self.time.fetch_max(nanoseconds(end), Ordering::Relaxed);
        self.halted.store(false, Ordering::Relaxed);
    }

    /// Goes on with the search after results were made, and time was waited since. What making them has read
    /// and counted is not the search's.
    pub(crate) fn search_again(&self, waited: Duration) {
        self.bytes.limit_again();
        self.matches.limit_again();
        self.extend(waited);
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
        self.bytes.spent.load(Ordering::Relaxed)
    }
}

/// What is spent within a limit, which can be lifted for a while.
struct Meter {
    spent: AtomicU64,
    limit: AtomicU64,
    /// The limit once it holds again, and what was spent when it was lifted.
    lifted: (AtomicU64, AtomicU64),
}

impl Meter {
    fn new(limit: u64) -> Self {
        let lifted = (AtomicU64::new(limit), AtomicU64::new(0));
        Self { spent: AtomicU64::new(0), limit: AtomicU64::new(limit), lifted }
    }

    /// Whether it is within the limit.
    fn spend(&self, much: u64) -> bool {
        let before = self.spent.fetch_add(much, Ordering::Relaxed);
        before + much <= self.limit.load(Ordering::Relaxed)
    }

    /// For one thread, while no other spends.
    fn lift(&self) {
        self.lifted.1.store(self.spent.load(Ordering::Relaxed), Ordering::Relaxed);
        self.limit.store(u64::MAX, Ordering::Relaxed);
    }

    /// As [`lift`](Self::lift): what was spent since does not count.
    fn limit_again(&self) {
        let since = self.spent.load(Ordering::Relaxed) - self.lifted.1.load(Ordering::Relaxed);
        let limit = self.lifted.0.load(Ordering::Relaxed).saturating_add(since);
        self.lifted.0.store(limit, Ordering::Relaxed);
        self.limit.store(limit, Ordering::Relaxed);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_results_read_is_not_the_searchs_however_often_they_are_made() {
        let limits = Limits { bytes: 100, matches: 10, ..Limits::default() };
        let budget = Budget::start(&limits, None, Cancel::default());
        for _ in 0..2 {
            assert!(budget.read(40) && budget.matched(4));
            budget.allow_results();
            assert!(budget.read(1_000) && budget.matched(1_000));
            budget.search_again(Duration::ZERO);
        }
        assert!(budget.read(20) && budget.matched(2));
        assert_eq!((budget.stopped(), budget.bytes()), (None, 2_100));
        assert!(!budget.read(1));
        assert_eq!(budget.stopped(), Some(Stop::Bytes));
    }
}

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

/// The budget of one search, shared by its threads.
pub(crate) struct Budget {
    start: Instant,
    /// Nanoseconds from the start to the end; waiting for a reader adds to them.
    time: AtomicU64,
    bytes_limit: u64,
    matches_limit: u64,
    bytes: AtomicU64,
    matches: AtomicU64,
    stopped: AtomicU8,
    cancel: Cancel,
}

impl Budget {
    /// Starts now. `timeout` is what the query asked for, at most the deadline.
    pub(crate) fn start(limits: &Limits, timeout: Option<Duration>, cancel: Cancel) -> Self {
        let time = timeout.map_or(limits.deadline, |timeout| timeout.min(limits.deadline));
        Self {
            start: Instant::now(),
            time: AtomicU64::new(nanoseconds(time)),
            bytes_limit: limits.bytes,
            matches_limit: limits.matches,
            bytes: AtomicU64::new(0),
            matches: AtomicU64::new(0),
            stopped: AtomicU8::new(0),
            cancel,
        }
    }

    /// Counts bytes that were read; whether to go on.
    pub(crate) fn read(&self, bytes: usize) -> bool {
        let before = self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if before + bytes as u64 > self.bytes_limit {
            self.stop(Stop::Bytes);
        }
        self.go_on()
    }

    /// Counts matches; whether to go on.
    pub(crate) fn matched(&self, matches: u64) -> bool {
        let before = self.matches.fetch_add(matches, Ordering::Relaxed);
        if before + matches > self.matches_limit {
            self.stop(Stop::Matches);
        }
        self.go_on()
    }

    /// Whether nothing has run out, the time included.
    pub(crate) fn go_on(&self) -> bool {
        if self.stopped.load(Ordering::Relaxed) == 0 {
            if self.cancel.is_cancelled() {
                self.stop(Stop::Cancelled);
            } else if nanoseconds(self.start.elapsed()) >= self.time.load(Ordering::Relaxed) {
                self.stop(Stop::Time);
            }
        }
        self.stopped.load(Ordering::Relaxed) == 0
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
        let _ = self.stopped.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// What has run out.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        match self.stopped.load(Ordering::Relaxed) {
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

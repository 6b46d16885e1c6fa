//! What bounds one search: time, bytes and matches, checked while a document is being read.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
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
}

/// The budget of one search, shared by its threads.
pub(crate) struct Budget {
    end: Instant,
    bytes_limit: u64,
    matches_limit: u64,
    bytes: AtomicU64,
    matches: AtomicU64,
    stopped: AtomicU8,
}

impl Budget {
    /// Starts now. `timeout` is what the query asked for, at most the deadline.
    pub(crate) fn start(limits: &Limits, timeout: Option<Duration>) -> Self {
        let time = timeout.map_or(limits.deadline, |timeout| timeout.min(limits.deadline));
        Self {
            end: Instant::now() + time,
            bytes_limit: limits.bytes,
            matches_limit: limits.matches,
            bytes: AtomicU64::new(0),
            matches: AtomicU64::new(0),
            stopped: AtomicU8::new(0),
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
        if self.stopped.load(Ordering::Relaxed) == 0 && Instant::now() >= self.end {
            self.stop(Stop::Time);
        }
        self.stopped.load(Ordering::Relaxed) == 0
    }

    fn stop(&self, reason: Stop) {
        let number = match reason {
            Stop::Time => 1,
            Stop::Bytes => 2,
            Stop::Matches => 3,
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
            _ => Some(Stop::Matches),
        }
    }

    /// Bytes read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

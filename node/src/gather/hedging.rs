//! When a node that is slow is not waited for alone: another is asked for the same, and who answers first
//! is taken.
//!
//! A node is slow when it has sent no result for longer than nodes usually take, while most others that
//! are asked for the same search have: a search that is hard is so for all. How many calls are made twice
//! is bounded by a share of all calls.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Answers that the bound is derived from.
const RECENT: usize = 256;
/// The bound is so many times what all but few of them took.
const TIMES: u32 = 3;
/// Of so many answers in a thousand.
const PER_MILLE: usize = 950;
/// Calls that may be made twice in a row, after a time without.
const BURST: f64 = 10.0;

/// How long nodes take, and how many calls may be made twice.
#[derive(Debug)]
pub struct Hedging {
    least: Duration,
    /// Share of the calls that may be made twice.
    share: f64,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The last answers, the oldest overwritten.
    recent: Vec<Duration>,
    oldest: usize,
    /// Calls that may be made twice now.
    allowed: f64,
}

impl Hedging {
    /// Nothing is slow that takes less than `least`; of a hundred calls at most `percent` are made twice.
    pub fn new(least: Duration, percent: u64) -> Self {
        Self { least, share: percent as f64 / 100.0, known: Mutex::default() }
    }

    /// Notes that a node is asked for its part of a search.
    pub fn asked(&self) {
        let mut known = self.known();
        known.allowed = (known.allowed + self.share).min(BURST);
    }

    /// Notes how long a node took to answer with its first results.
    pub fn answered_after(&self, elapsed: Duration) {
        let mut known = self.known();
        if known.recent.len() < RECENT {
            known.recent.push(elapsed);
        } else {
            let oldest = known.oldest;
            known.recent[oldest] = elapsed;
            known.oldest = (oldest + 1) % RECENT;
        }
    }

    /// How long a node may take before it is slow; `None` where no call is made twice.
    pub fn bound(&self) -> Option<Duration> {
        if self.share == 0.0 {
            return None;
        }
        let mut recent = self.known().recent.clone();
        if recent.is_empty() {
            return Some(self.least);
        }
        let place = (recent.len() * PER_MILLE / 1_000).min(recent.len() - 1);
        let (_, usual, _) = recent.select_nth_unstable(place);
        Some((*usual * TIMES).max(self.least))
    }

    /// Whether so many more calls may be made now; they count as made.
    pub fn take(&self, calls: usize) -> bool {
        let mut known = self.known();
        let is_allowed = known.allowed >= calls as f64;
        if is_allowed {
            known.allowed -= calls as f64;
        }
        is_allowed
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_millis(50);

    #[test]
    fn the_bound_follows_what_is_usual() {
        let hedging = Hedging::new(LEAST, 10);
        assert_eq!(hedging.bound(), Some(LEAST));
        for number in 0..2 * RECENT as u64 {
            hedging.answered_after(Duration::from_millis(number % 100));
        }
        let bound = hedging.bound().unwrap_or_default();
        assert!((280..300).contains(&bound.as_millis()), "{bound:?}");
        // What was before is forgotten.
        (0..RECENT).for_each(|_| hedging.answered_after(Duration::from_millis(1)));
        assert_eq!(hedging.bound(), Some(LEAST));
        assert_eq!(Hedging::new(LEAST, 0).bound(), None);
    }

    #[test]
    fn of_ten_calls_one_is_made_twice() {
        let hedging = Hedging::new(LEAST, 10);
        assert!(!hedging.take(1), "none was made");
        let mut twice = 0;
        for _ in 0..1_000 {
            hedging.asked();
            twice += usize::from(hedging.take(1));
        }
        assert!((98..=100).contains(&twice), "{twice}");
        (0..10_000).for_each(|_| hedging.asked());
        let burst = (0..1_000).filter(|_| hedging.take(1)).count();
        assert_eq!(burst, BURST as usize);
    }
}

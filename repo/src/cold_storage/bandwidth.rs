//! A bound on bytes a second.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Hands out the right to move bytes at a bounded rate.
#[derive(Debug)]
pub(crate) struct Bandwidth {
    rate: Option<NonZeroU64>,
    /// When everything that was handed out so far has had its time.
    free_at: Mutex<Option<Instant>>,
}

impl Bandwidth {
    pub(crate) fn new(rate: Option<NonZeroU64>) -> Self {
        Self { rate, free_at: Mutex::new(None) }
    }

    /// Waits until `bytes` may be moved. Those who wait are served in the order of their calls.
    pub(crate) async fn take(&self, bytes: u64) {
        let wait = self.reserve(bytes, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn reserve(&self, bytes: u64, now: Instant) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = free_at.map_or(now, |at| at.max(now));
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.get());
        *free_at = Some(start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
        start - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_holds_over_time_and_no_rate_never_waits() {
        let now = Instant::now();
        let limited = Bandwidth::new(NonZeroU64::new(1_000));
        assert_eq!(limited.reserve(500, now), Duration::ZERO);
        assert_eq!(limited.reserve(500, now), Duration::from_millis(500));
        assert_eq!(limited.reserve(1, now), Duration::from_secs(1));
        // An idle time is not saved up.
        assert_eq!(limited.reserve(500, now + Duration::from_secs(60)), Duration::ZERO);
        assert_eq!(Bandwidth::new(None).reserve(u64::MAX, now), Duration::ZERO);
    }
}

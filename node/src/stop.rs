//! How the server is asked to stop, and how it says that it has.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The stages of a shutdown.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Take no new work.
    pub asked: CancellationToken,
    /// Do not wait any longer.
    pub hurry: CancellationToken,
    /// No work is left; only requests may still be answered.
    pub drained: CancellationToken,
    asked_at: Arc<OnceLock<Instant>>,
    failed: Arc<OnceLock<String>>,
}

impl Stop {
    /// Asks it to stop, as by a signal or a call. Asked once more it hurries, and so it does when it stops already
    /// for a reason of its own. Returns whether it hurries.
    pub fn ask(&self) -> bool {
        let is_first = self.asked_at.set(Instant::now()).is_ok();
        self.asked.cancel();
        if !is_first {
            tracing::warn!("stopping without waiting");
            self.hurry.cancel();
        }
        !is_first
    }

    /// Has it stop in order for a reason of its own, such as the end of its input. That comes once and often with
    /// a signal, so it hurries nothing which was asked for before.
    pub fn begin(&self) {
        // Whoever was first says when.
        let _ = self.asked_at.set(Instant::now());
        self.asked.cancel();
    }

    /// Stops in order because of what has failed; whoever looks after the process is to start it again.
    pub fn fail(&self, reason: String) {
        // The first that failed is why.
        let _ = self.failed.set(reason);
        self.begin();
    }

    /// Why it stopped by itself, if it did.
    pub fn failed(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    /// What is left, since it was asked for, of the time that a shutdown may take; all of it before.
    pub fn left_of(&self, limit: Duration) -> Duration {
        self.asked_at.get().map_or(limit, |asked| limit.saturating_sub(asked.elapsed()))
    }

    /// Turns SIGTERM and SIGINT into a shutdown, and a second one into a hurried one.
    ///
    /// # Errors
    /// When the system refuses to deliver signals.
    pub fn on_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = self.clone();
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if stop.ask() {
                    return;
                }
                tracing::info!(signal = name, "stopping; asked once more it hurries");
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_second_who_asks_hurries() {
        let stop = Stop::default();
        assert!(!stop.ask());
        assert!(stop.asked.is_cancelled() && !stop.hurry.is_cancelled());
        assert!(stop.ask());
        assert!(stop.hurry.is_cancelled());
    }

    #[test]
    fn a_reason_of_its_own_hurries_nothing() {
        let stop = Stop::default();
        stop.ask();
        stop.begin();
        stop.fail("one".to_owned());
        stop.fail("another".to_owned());
        assert!(!stop.hurry.is_cancelled());
        assert_eq!(stop.failed(), Some("one"));
        // Whoever asks then sees that it stops, and wants it sooner.
        assert!(stop.ask());
    }

    #[test]
    fn all_of_a_shutdown_has_one_limit() {
        let (stop, limit) = (Stop::default(), Duration::from_secs(30));
        assert_eq!(stop.left_of(limit), limit);
        stop.asked_at.set(Instant::now() - limit / 3).unwrap();
        // Whoever asks again begins nothing.
        stop.begin();
        stop.ask();
        assert!(stop.left_of(limit) <= limit * 2 / 3);
        assert_eq!(stop.left_of(limit / 3), Duration::ZERO);
    }
}

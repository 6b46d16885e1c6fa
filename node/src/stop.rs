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
    /// Asks it to stop, as by a signal or a call; asked once more, it hurries. Returns whether it hurries.
    pub fn ask(&self) -> bool {
        let is_first = self.asked_at.set(Instant::now()).is_ok();
        self.asked.cancel();
        if !is_first {
            tracing::warn!("stopping without waiting");
            self.hurry.cancel();
        }
        !is_first
    }

    /// Has it stop in order for a reason of its own. That hurries nothing which was asked for before.
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

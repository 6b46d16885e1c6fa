//! How the server is asked to stop, and how it says that it has.

use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{SignalKind, signal};
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
    failed: Arc<OnceLock<String>>,
}

impl Stop {
    /// Stops in order because of what has failed; whoever looks after the process is to start it again.
    pub fn fail(&self, reason: String) {
        // The first that failed is why.
        let _ = self.failed.set(reason);
        self.asked.cancel();
    }

    /// Why it stopped by itself, if it did.
    pub fn failed(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
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
            let mut next = async || {
                tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                }
            };
            let name = next().await;
            tracing::info!(signal = name, "stopping; the same signal again hurries");
            stop.asked.cancel();
            next().await;
            tracing::warn!("stopping without waiting");
            stop.hurry.cancel();
        });
        Ok(())
    }
}

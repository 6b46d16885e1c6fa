//! A thread for gossip alone.
//!
//! A heartbeat must not wait for whatever else the program does: a runtime whose threads are busy
//! with something that does not yield would make a node look dead to its peers.

use std::convert::Infallible;
use std::io;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};

/// A thread that runs tasks until this is stopped or dropped.
pub struct GossipThread {
    handle: Handle,
    /// Dropped to end it.
    running: Mutex<Option<oneshot::Sender<Infallible>>>,
    /// Closed when it has ended.
    ended: watch::Receiver<()>,
}

impl GossipThread {
    pub async fn start() -> io::Result<Self> {
        let (running, stopped) = oneshot::channel();
        let (alive, ended) = watch::channel(());
        let (sender, built) = oneshot::channel();
        let run = move || {
            // The runtime is made and dropped here: neither may happen where tasks run.
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(sender.send(Err(error))),
            };
            if sender.send(Ok(runtime.handle().clone())).is_ok() {
                // It is never sent: it ends by being dropped.
                let _ = runtime.block_on(stopped);
            }
            drop(runtime);
            drop(alive);
        };
        std::thread::Builder::new().name("gossip".to_owned()).spawn(run)?;
        let handle = built.await.map_err(io::Error::other)??;
        Ok(Self { handle, running: Mutex::new(Some(running)), ended })
    }

    /// Where tasks are spawned.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Drops all tasks; without waiting for that.
    pub fn stop(&self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Waits until all tasks are dropped, and what they had open is closed.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

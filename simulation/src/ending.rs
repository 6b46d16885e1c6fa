//! The end of a node that is told to, as by SIGTERM: it drains, leaves, and stops its part of the Raft group.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::judge::Judge;
use crate::membership::INTERVAL;
use crate::node::Life;

/// How long a node may hand over what it owns.
const DRAIN_DEADLINE: Duration = Duration::from_secs(8);

/// How far the end of a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// It hands over what it owns.
    Draining = 1,
    /// It has said that it goes.
    Left,
    /// Nothing of it runs.
    Ended,
}

/// The end of a node.
#[derive(Default)]
pub struct Ending {
    asked: Notify,
    stage: AtomicU8,
}

impl Ending {
    /// Of a node that has just started.
    pub fn begin() -> Arc<Self> {
        Arc::default()
    }

    /// Asks for it.
    pub fn ask(&self) {
        self.asked.notify_one();
    }

    /// Whether it has come so far.
    pub fn is(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::Relaxed) >= stage as u8
    }

    fn set(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }
}

/// Waits until a node is told to end, and ends it.
pub async fn run(life: Life, number: usize, judge: Arc<Judge>) {
    let ending = Arc::clone(&life.ending);
    ending.asked.notified().await;
    ending.set(Stage::Draining);
    let drained = life.supervisor.drain(DRAIN_DEADLINE).await;
    judge.log(|| format!("node {number} has drained: {drained:?}"));
    ending.set(Stage::Left);
    // Until it was told.
    sleep(2 * INTERVAL).await;
    life.consensus.shutdown().await;
    ending.set(Stage::Ended);
}

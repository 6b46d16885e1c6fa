//! Who writes in a shard, and its closing.
//!
//! A folder may get another user once its shard is closed. So whatever writes in it enters here
//! first, and closing waits until all have left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use super::lock;
use crate::options::ProgressSink;

/// Lets writers in until it is closed.
#[derive(Default)]
pub(super) struct Gate {
    /// Changed with `writers` locked, so that nobody enters once closing waits for the last.
    closed: AtomicBool,
    writers: Mutex<usize>,
    left: Condvar,
}

/// Someone who writes; ends when dropped.
pub(super) struct Writing<'a>(&'a Gate);

impl Gate {
    /// Enters; `None` once it is closed. One who is inside may enter again.
    pub(super) fn enter(&self) -> Option<Writing<'_>> {
        let mut writers = lock(&self.writers);
        if self.is_closed() {
            return None;
        }
        *writers += 1;
        Some(Writing(self))
    }

    /// Whether writers should end.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Lets nobody in any more, and waits until all have left.
    pub(super) fn close(&self) {
        let mut writers = lock(&self.writers);
        self.closed.store(true, Ordering::Release);
        while *writers > 0 {
            writers = self.left.wait(writers).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        *lock(&self.0.writers) -= 1;
        self.0.left.notify_all();
    }
}

/// Cancels when the shard is closed, or whoever asked says so.
pub(super) struct UntilClosed<'a> {
    pub(super) gate: &'a Gate,
    pub(super) progress: &'a dyn ProgressSink,
}

impl ProgressSink for UntilClosed<'_> {
    fn progress(&self, contents_done: u64, contents_total: u64, bytes_done: u64) {
        self.progress.progress(contents_done, contents_total, bytes_done);
    }

    fn cancelled(&self) -> bool {
        self.gate.is_closed() || self.progress.cancelled()
    }
}

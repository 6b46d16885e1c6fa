//! A known mistake, for the simulation to find: the feature `mistakes` is in no other build.

#[cfg(not(debug_assertions))]
compile_error!(
    "the feature `mistakes` is for the tests of the simulation, and never for a release"
);

use std::sync::atomic::{AtomicBool, Ordering};

use super::{ColdError, ColdStorage, ShardFence};

static LATE: AtomicBool = AtomicBool::new(false);

/// From now on an upload takes the next place, whoever took the shard over, or no more, in the whole
/// process.
pub fn let_former_owners_upload(late: bool) {
    LATE.store(late, Ordering::SeqCst);
}

/// Whether it does.
pub(super) fn former_owners_upload() -> bool {
    LATE.load(Ordering::SeqCst)
}

impl ColdStorage {
    /// Has the fence be where the last manifest is, whoever wrote it.
    pub(super) async fn move_fence(&self, fence: &mut ShardFence) -> Result<(), ColdError> {
        if let Some(last) = self.positions(fence.shard.into(), None).await?.last() {
            fence.position = *last;
        }
        Ok(())
    }
}

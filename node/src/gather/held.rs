//! Which of the shards that a node is asked for it can answer for.

use aeterna_index::search::{SkipReason, Skipped};
use aeterna_repo::{RepoManager, ShardState};

use super::Wanted;
use super::plan::named;

/// What is asked of a node, by whether it can answer.
#[derive(Debug, Default)]
pub struct HeldOf {
    /// Shards that are searched here.
    pub serving: Vec<u32>,
    /// What is wrong with the answer: shards that are not searched, and old copies of shards.
    pub skipped: Vec<Skipped>,
}

/// Looks at what is wanted. Who asks with an older map than this node's is answered with what is newer.
///
/// A copy answers whoever owns the shard by now: it follows all that is uploaded for it, by any owner,
/// and it is known how long ago it last was equal to that.
pub fn held_of(manager: &RepoManager, wanted: &Wanted) -> HeldOf {
    let mut held = HeldOf::default();
    let (mut restoring, mut elsewhere, mut stale) = (Vec::new(), Vec::new(), Vec::new());
    let states = manager.shard_states();
    for (shard, epoch) in wanted {
        if manager.searches(*shard).is_some_and(|held| held >= *epoch) {
            held.serving.push(*shard);
            continue;
        }
        if let Some(copy) = manager.searched_copy(*shard) {
            held.serving.push(*shard);
            if copy.is_stale {
                stale.push(*shard);
            }
            continue;
        }
        let state = states.iter().find(|held| held.shard == *shard).map(|held| &held.state);
        match state {
            Some(ShardState::Serving | ShardState::HandedOver | ShardState::Releasing) => {
                elsewhere.push(*shard);
            }
            // It is told to take it, or is about to be.
            Some(
                ShardState::Restoring { .. } | ShardState::Replica | ShardState::Failed { .. },
            )
            | None => {
                restoring.push(*shard);
            }
        }
    }
    for (reason, message, shards) in [
        (SkipReason::ShardRestoring, "shards are being restored", restoring),
        (SkipReason::ShardUnavailable, "shards have changed hands", elsewhere),
        (SkipReason::IndexStale, "shards were searched in copies that may be old", stale),
    ] {
        if !shards.is_empty() {
            let message = format!("{} {message}", shards.len());
            let items = named(shards.into_iter());
            held.skipped.push(Skipped { reason, message, items });
        }
    }
    held
}

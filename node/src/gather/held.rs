//! Which of the shards that a node is asked for it can answer for.

use aeterna_index::search::{SkipReason, Skipped};
use aeterna_repo::{RepoManager, ShardState};

use super::Wanted;
use super::plan::named;

/// What is asked of a node, by whether it can answer.
#[derive(Debug, Default)]
pub struct HeldOf {
    /// Shards that it serves at the epoch that it is asked for.
    pub serving: Vec<u32>,
    /// What it does not, and why.
    pub skipped: Vec<Skipped>,
}

/// Looks at what is wanted.
pub fn held_of(manager: &RepoManager, wanted: &Wanted) -> HeldOf {
    let mut held = HeldOf::default();
    let (mut restoring, mut elsewhere) = (Vec::new(), Vec::new());
    let states = manager.shard_states();
    for (shard, epoch) in wanted {
        if manager.searches(*shard) == Some(*epoch) {
            held.serving.push(*shard);
            continue;
        }
        let state = states.iter().find(|held| held.shard == *shard).map(|held| &held.state);
        match state {
            Some(ShardState::Serving | ShardState::HandedOver | ShardState::Releasing) => {
                elsewhere.push(*shard);
            }
            // It is told to take it, or is about to be.
            Some(ShardState::Restoring { .. } | ShardState::Failed { .. }) | None => {
                restoring.push(*shard);
            }
        }
    }
    for (reason, message, shards) in [
        (SkipReason::ShardRestoring, "shards are being restored", restoring),
        (SkipReason::ShardUnavailable, "shards have changed hands", elsewhere),
    ] {
        if !shards.is_empty() {
            let message = format!("{} {message}", shards.len());
            let items = named(shards.into_iter());
            held.skipped.push(Skipped { reason, message, items });
        }
    }
    held
}

//! What happens between two looks at the cluster, counted: new owners, ends of moves, elections.

use std::sync::Arc;

use aeterna_cluster::consensus::{RaftId, Status};
use aeterna_cluster::name::ShardId;
use aeterna_cluster::shard_map::ShardMap;

use super::Cluster;
use super::metrics::ClusterMetrics;

impl Cluster {
    /// Counts what changes in the map and in the Raft group from now on, as this node sees it.
    pub(super) async fn counts_changes(&self) {
        let mut maps = self.router.watch();
        let mut raft = self.consensus.watch_status();
        let mut map = Arc::clone(&maps.borrow_and_update());
        let mut leader = leader_of(&raft.borrow_and_update());
        loop {
            tokio::select! {
                Ok(()) = maps.changed() => {
                    let now = Arc::clone(&maps.borrow_and_update());
                    count(&map, &now, &self.metrics);
                    map = now;
                }
                Ok(()) = raft.changed() => {
                    let now = leader_of(&raft.borrow_and_update());
                    if now.is_some() && now != leader {
                        self.metrics.elected();
                        leader = now;
                    }
                }
                else => return std::future::pending().await,
            }
        }
    }
}

/// Who leads, and in which term.
fn leader_of(status: &Status) -> Option<(u64, RaftId)> {
    status.leader.map(|leader| (status.term, leader))
}

/// Counts what became of each shard between two maps.
fn count(before: &ShardMap, now: &ShardMap, metrics: &ClusterMetrics) {
    let is_same_group = before.incarnation() == now.incarnation();
    for (number, shard) in (0..).map(ShardId).zip(now.shards()) {
        let Some(was) = before.shard(number) else { continue };
        let changes = match is_same_group {
            true => shard.epoch.0.saturating_sub(was.epoch.0),
            // A group that is made anew skips epochs.
            false => u64::from(shard.epoch != was.epoch),
        };
        metrics.owners_changed(changes);
        if let Some(to) = was.moving_to.as_ref().filter(|_| shard.moving_to != was.moving_to) {
            let is_there = shard.owner.as_ref() == Some(to);
            metrics.move_ended(if is_there { "done" } else { "given-up" });
        }
    }
}

//! What this node tells the others of itself, and what it sees of its machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use aeterna_cluster::consensus;
use aeterna_cluster::gossip::{Facts, GroupFacts, Restoring};
use aeterna_cluster::name::ShardId;

use aeterna_repo::{DiskSpace, HeldShard, ShardState};

use super::Cluster;

/// How often it is told anew.
pub const TELL_EVERY: Duration = Duration::from_millis(500);

/// The disk that a folder is on; nothing of it where the system does not tell.
pub fn disk(folder: &Path) -> DiskSpace {
    DiskSpace::of(folder).unwrap_or_else(|error| {
        tracing::warn!(%error, folder = %folder.display(), "the free space is not known");
        DiskSpace::default()
    })
}

/// Threads that run or want to, in thousandths of the processors, over the last minute; 0 where the
/// system does not tell.
pub fn load_permille() -> u32 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (load * 1000.0 / processors as f64) as u32
}

/// Without a majority's answer for so long a leader can decide nothing.
const QUORUM_LOST: u64 = 5_000;

/// Whether a node leads, and a majority follows it.
pub fn leads(status: &consensus::Status) -> bool {
    let has_quorum = status.quorum_ack_millis.is_some_and(|millis| millis < QUORUM_LOST);
    status.is_leader() && (has_quorum || status.voters.len() == 1)
}

impl Cluster {
    /// What this node tells of itself now.
    pub(super) fn facts(&self) -> Facts {
        let held = self.manager.shard_states();
        let serving = held
            .iter()
            .filter(|held| matches!(held.state, ShardState::Serving | ShardState::HandedOver));
        let map = self.map();
        let is_mine =
            |shard| map.shard(shard).is_some_and(|shard| shard.owner.as_ref() == Some(&self.name));
        let copies = held.iter().filter(|held| held.following.is_some());
        let sizes = copies.map(|held| (ShardId(held.shard), held.bytes));
        let disk = disk(&self.data);
        Facts {
            // Who cannot get the map, such as for a wrong certificate, would serve nothing that it is given.
            ready: self.lacks_map().is_none(),
            draining: self.is_draining(),
            group: self.group_facts(),
            map_version: map.version(),
            load_permille: load_permille(),
            disk_total: disk.total,
            disk_free: disk.free,
            shards_serving: u32::try_from(serving.clone().count()).unwrap_or(u32::MAX),
            shard_bytes: serving.map(|shard| (ShardId(shard.shard), shard.bytes)).collect(),
            read_only_bytes: sizes.filter(|(shard, _)| is_mine(*shard)).collect(),
            restores: self.restoring(&held),
            ..self.constant_facts.clone()
        }
    }

    fn group_facts(&self) -> GroupFacts {
        let status = self.consensus.status();
        GroupFacts {
            term: status.term,
            votes: status.voters.contains_key(&status.raft_id),
            leads: leads(&status),
            committed: status.committed.unwrap_or(0),
        }
    }

    /// Shards that are being brought to this disk.
    fn restoring(&self, held: &[HeldShard]) -> BTreeMap<ShardId, Restoring> {
        let doing = self.supervisor.status().doing;
        let restoring = held.iter().filter_map(|held| {
            let ShardState::Restoring { done, total } = held.state else { return None };
            let shard = ShardId(held.shard);
            // A clock that was set back tells nothing.
            let elapsed = doing.get(&shard).and_then(|doing| doing.since.elapsed().ok());
            let elapsed_ms = elapsed.map_or(0, |elapsed| elapsed.as_millis());
            let elapsed_ms = u64::try_from(elapsed_ms).unwrap_or(u64::MAX);
            Some((shard, Restoring { done, total, elapsed_ms }))
        });
        restoring.collect()
    }
}

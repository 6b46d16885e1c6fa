//! What this node tells the others of itself, and what it sees of its machine.

use std::path::Path;
use std::time::Duration;

use aeterna_cluster::gossip::Facts;
use aeterna_cluster::name::ShardId;

use aeterna_repo::ShardState;

use super::Cluster;

/// How often it is told anew.
pub const TELL_EVERY: Duration = Duration::from_millis(500);

/// Bytes of a file system, and those of them that are free for this process; 0 where the system does
/// not tell.
pub fn disk(folder: &Path) -> (u64, u64) {
    match rustix::fs::statvfs(folder) {
        Ok(stats) => (
            stats.f_blocks.saturating_mul(stats.f_frsize),
            stats.f_bavail.saturating_mul(stats.f_frsize),
        ),
        Err(error) => {
            tracing::warn!(%error, folder = %folder.display(), "the free space is not known");
            (0, 0)
        }
    }
}

/// Threads that run or want to, in thousandths of the processors, over the last minute; 0 where the
/// system does not tell.
pub fn load_permille() -> u32 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (load * 1000.0 / processors as f64) as u32
}

impl Cluster {
    /// What this node tells of itself now.
    pub(super) fn facts(&self) -> Facts {
        let held = self.manager.shard_states();
        let serving = held
            .iter()
            .filter(|held| matches!(held.state, ShardState::Serving | ShardState::HandedOver));
        let (disk_total, disk_free) = disk(&self.data);
        Facts {
            ready: true,
            draining: self.is_draining(),
            map_version: self.map().version(),
            load_permille: load_permille(),
            disk_total,
            disk_free,
            shards_serving: u32::try_from(serving.clone().count()).unwrap_or(u32::MAX),
            shard_bytes: serving.map(|shard| (ShardId(shard.shard), shard.bytes)).collect(),
            ..self.constant_facts.clone()
        }
    }
}

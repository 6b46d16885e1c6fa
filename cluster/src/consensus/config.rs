//! Settings of the Raft group.

use std::path::PathBuf;
use std::time::Duration;

use openraft::{Config, SnapshotPolicy};
use uuid::Uuid;

use super::error::ConsensusError;
use super::limits::{
    LAG_FOR_SNAPSHOT, LOG_KEPT, MAX_APPEND_ENTRIES, SNAPSHOT_CHUNK_BYTES, SNAPSHOT_EVERY,
};
use crate::name::NodeName;
use crate::shard_map::MAX_SHARDS;

/// Settings of a node of the Raft group.
#[derive(Clone, Debug)]
pub struct ConsensusConfig {
    /// Where the log, the vote and the snapshot are; one disk of the group, whose Raft id is there
    /// too.
    pub folder: PathBuf,
    /// The cluster, as it was claimed in cold storage.
    pub cluster: Uuid,
    /// Its shards, as they were claimed with it.
    pub shards: u32,
    /// How often the Raft group was made anew after the majority of its voters was lost.
    pub incarnation: u32,
    /// This node.
    pub name: NodeName,
    /// Its gRPC address, `host:port`.
    pub address: String,
    /// How often a leader says that it does; also how long it waits for entries to be taken.
    pub heartbeat: Duration,
    /// The least and the most that a node waits for a leader, beyond the lease of the last one (which
    /// is the most), before it wants to lead.
    pub election: (Duration, Duration),
    /// How long a proposal, a change of the voters, a confirmation and a piece of a snapshot may
    /// take.
    pub rpc_timeout: Duration,
}

impl ConsensusConfig {
    /// The first incarnation of a group, with the usual times, which leave small machines room to
    /// breathe: heartbeats every 250 ms, elections
    /// 1.5 to 3 s after the lease of the last leader (3 s) is over, 5 s for a proposal.
    pub fn new(
        folder: PathBuf,
        cluster: Uuid,
        shards: u32,
        name: NodeName,
        address: String,
    ) -> Self {
        let election = (Duration::from_millis(1500), Duration::from_secs(3));
        let (heartbeat, rpc_timeout) = (Duration::from_millis(250), Duration::from_secs(5));
        let incarnation = 0;
        Self {
            folder,
            cluster,
            shards,
            incarnation,
            name,
            address,
            heartbeat,
            election,
            rpc_timeout,
        }
    }

    pub(crate) fn for_openraft(&self) -> Result<Config, ConsensusError> {
        if self.shards == 0 || self.shards > MAX_SHARDS {
            let shards = self.shards;
            let wrong = format!("a cluster has 1 to {MAX_SHARDS} shards, and not {shards}");
            return Err(ConsensusError::Settings(wrong));
        }
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let config = Config {
            cluster_name: self.cluster.to_string(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election.0),
            election_timeout_max: millis(self.election.1),
            install_snapshot_timeout: millis(self.rpc_timeout),
            max_payload_entries: MAX_APPEND_ENTRIES,
            replication_lag_threshold: LAG_FOR_SNAPSHOT,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
            snapshot_max_chunk_size: SNAPSHOT_CHUNK_BYTES,
            max_in_snapshot_log_to_keep: LOG_KEPT,
            ..Config::default()
        };
        if config.heartbeat_interval == 0 || self.rpc_timeout.is_zero() {
            let wrong = "heartbeats and proposals must have a millisecond at least".to_owned();
            return Err(ConsensusError::Settings(wrong));
        }
        config.validate().map_err(|error| ConsensusError::Settings(error.to_string()))
    }
}

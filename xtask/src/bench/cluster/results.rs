//! What a run found out, in a form that is kept.

use serde::{Deserialize, Serialize};

use crate::bench::measure::Distribution;
use crate::bench::results::{Kept, Machine};

/// Everything that is measured of clusters. A row that was not measured is missing.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ClusterRun {
    pub(crate) machine: Machine,
    pub(crate) corpus: Corpus,
    pub(crate) forward: Vec<Forward>,
    pub(crate) scatter: Option<Scatter>,
    pub(crate) kill: Option<Kill>,
    pub(crate) replicas: Option<Replicas>,
    pub(crate) rolling: Option<Rolling>,
    pub(crate) rebalance: Option<Rebalance>,
    pub(crate) model: Vec<Model>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Corpus {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// Repositories that it is spread over.
    pub(crate) repositories: usize,
    pub(crate) shards: u32,
    pub(crate) seed: u64,
}

/// A repository operation, asked of the node that owns the repository, and of another.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Forward {
    /// Method and path.
    pub(crate) operation: String,
    /// Milliseconds.
    pub(crate) right: Distribution,
    pub(crate) wrong: Distribution,
}

/// Searches over several nodes against the same over one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Scatter {
    pub(crate) nodes: usize,
    pub(crate) passes: usize,
    pub(crate) rows: Vec<ScatterRow>,
    /// Seconds of processor time that the nodes use in a second without a search: several, one.
    pub(crate) idle: (f64, f64),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ScatterRow {
    /// Such as `literals, first page`.
    pub(crate) what: String,
    /// Milliseconds; of each search the best of the passes.
    pub(crate) several: Distribution,
    pub(crate) one: Distribution,
    /// Seconds of processor time of all nodes for a pass; the median of the passes.
    pub(crate) several_cpu: f64,
    pub(crate) one_cpu: f64,
    /// Patterns whose results were the same on both.
    pub(crate) same: usize,
}

/// Owners killed, without replicas.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kill {
    /// Seconds.
    pub(crate) heartbeat_timeout: f64,
    pub(crate) kills: Vec<Killed>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Killed {
    /// Where shards were restored from.
    pub(crate) cold_storage: String,
    /// Shards that it owned.
    pub(crate) shards: usize,
    /// Seconds from the kill until the map gave every shard to a node that lives.
    pub(crate) owned: f64,
    /// Seconds from then until every shard was searched again.
    pub(crate) served: f64,
    /// Bytes that were restored in that time.
    pub(crate) bytes: u64,
    /// Of the shard with the whole corpus as one repository: bytes of its index, and seconds from
    /// when it was assigned until it was searched again.
    pub(crate) large_bytes: u64,
    pub(crate) large: f64,
    /// Patterns asked before and after, and those whose answers were the same to the byte.
    pub(crate) patterns: usize,
    pub(crate) same: usize,
}

/// Searches while something happened.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Served {
    pub(crate) searches: usize,
    /// Answered with another status than 200, or not at all.
    pub(crate) failed: usize,
    /// Answered with `complete: false`.
    pub(crate) incomplete: usize,
    /// Complete, and with other results than before.
    pub(crate) different: usize,
    /// Milliseconds.
    pub(crate) times: Distribution,
    /// What was wrong with the first that was.
    pub(crate) example: Option<String>,
}

/// Nodes killed while there are copies.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Replicas {
    pub(crate) kills: Vec<KilledCopy>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KilledCopy {
    /// What the node was, such as `the leader`.
    pub(crate) victim: String,
    /// Seconds from the kill until every shard was served by a node that lives.
    pub(crate) owned: f64,
    pub(crate) served: Served,
}

/// Every node stopped and started in turn.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rolling {
    pub(crate) nodes: usize,
    pub(crate) replicas: u32,
    /// Seconds that it took.
    pub(crate) seconds: f64,
    /// Seconds that each node took to stop, at most.
    pub(crate) longest_stop: f64,
    pub(crate) served: Served,
}

/// Nodes added, and shards moved to them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rebalance {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Bytes of all shards.
    pub(crate) bytes: u64,
    /// Bytes of the largest of them, where the run has looked.
    pub(crate) largest: Option<u64>,
    /// Bytes of shards that have another owner afterwards.
    pub(crate) moved: u64,
    /// What placement counts for these: a mebibyte more for each.
    pub(crate) moved_counted: u64,
    /// The least of that, in whole shards, after which no node has more than its share and a quarter.
    pub(crate) least: u64,
    /// The most that a node has, of the mean.
    pub(crate) before: f64,
    pub(crate) after: f64,
    pub(crate) shards_moved: usize,
    pub(crate) seconds: f64,
    pub(crate) served: Served,
}

/// A model of a large cluster, as the program `aeterna-model` prints it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Model {
    pub(crate) nodes: u32,
    pub(crate) shards: u32,
    pub(crate) repositories: u64,
    /// Bytes of gossip that a node sends in a second.
    pub(crate) gossip_bytes: f64,
    /// Bytes of the encoded map.
    pub(crate) map_bytes: u64,
    /// Nodes that are lost.
    pub(crate) lost: u32,
    /// Shards that they owned.
    pub(crate) lost_shards: u32,
    /// Milliseconds of one decision about them.
    pub(crate) decide_ms: f64,
    /// Milliseconds from when they are dead until every voter's map has new owners for all of them.
    pub(crate) reassigned_ms: f64,
    /// Bytes of the command for it.
    pub(crate) command_bytes: u64,
}

impl Kept for ClusterRun {
    const COMMAND: &'static str = "cargo xtask bench cluster";
}

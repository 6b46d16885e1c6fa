//! The state of the cluster as one node sees it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Everything is served, and everything may change.
    Green,
    /// Everything is served; something is not as it should be.
    Yellow,
    /// Something is not served.
    Red,
}

impl Health {
    /// The API's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Red => "red",
        }
    }
}

/// The cluster as the answering node sees it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Identity of the cluster, claimed once.
    pub cluster_id: String,
    /// Name of the node that answers.
    pub node: String,
    /// How the cluster is.
    pub status: Health,
    /// Why it is not green.
    pub reasons: Vec<String>,
    /// Version of the shard map that this node follows.
    pub map_version: u64,
    /// The group that agrees on the shard map.
    pub raft: Raft,
    /// Number of shards, fixed when the cluster was made.
    pub shards: u32,
    /// Every member, and whoever gossip has heard of.
    pub nodes: Vec<Node>,
    /// Shards that are not served, or not by as many nodes as they should be.
    pub unhealthy_shards: Vec<Shard>,
    /// Shards that are being copied to another node.
    pub moves: Vec<Move>,
    /// Shards that nodes bring to their disks, as far as they have told.
    pub restores: Vec<Restore>,
    /// What failed last on this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
}

/// The Raft group as the answering node sees it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Raft {
    /// What the node is in it: `leader`, `follower`, `candidate`, `learner`, `stopped`, `waiting` for room
    /// on its disk, or `outside`: of the last two it knows by gossip how the group is.
    pub role: String,
    /// Its term.
    pub term: u64,
    /// Name of the leader; missing while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// Names of those who vote.
    pub voters: Vec<String>,
    /// Those of them that are here without the disk that they vote with, as far as the node knows: their votes go
    /// to others.
    #[serde(default)]
    pub lost_voters: Vec<String>,
    /// Position of the last entry in this node's log.
    pub last_log: u64,
    /// Position up to which a majority has the log, as far as the node knows.
    pub committed: u64,
    /// Position up to which this node has applied it.
    pub applied: u64,
}

/// A node.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its name.
    pub name: String,
    /// `alive`, `suspected` (slow to answer), `joining` (heard of, no heartbeat seen yet), `draining`,
    /// `left` or `dead`.
    pub state: String,
    /// Changes at each start; 0 for one that gossip has not heard of.
    pub generation: u64,
    /// Address of its HTTP API.
    pub http: String,
    /// Address for other nodes' calls.
    pub grpc: String,
    /// Address of its gossip.
    pub gossip: String,
    /// Version of its program.
    pub version: String,
    /// Milliseconds since its heartbeat was seen to change; missing for one that was never heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_age_ms: Option<u64>,
    /// How unusual that is (phi accrual), where there is enough to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phi: Option<f64>,
    /// Busy processors, in thousandths of them all.
    pub load_permille: u32,
    /// Bytes of the disk that its data is on.
    pub disk_total: u64,
    /// Bytes of them that are free.
    pub disk_free: u64,
    /// Shards that the map gives it.
    pub shards_owned: u32,
    /// Shards of which the map makes it a replica.
    pub shards_replicated: u32,
    /// Shards that it says it serves.
    pub shards_serving: u32,
    /// Whether it votes.
    pub voter: bool,
}

/// A shard.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Shard {
    /// Its number.
    pub shard: u32,
    /// Grows by one with each change of owner.
    pub epoch: u64,
    /// Who writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Who else holds it.
    pub replicas: Vec<String>,
    /// Where it is to stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<String>,
    /// Who gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving_to: Option<String>,
    /// `serving`, `suspected` (served, by a node that is slow to answer or gone), `read-only` (searched, and not
    /// indexed until the database answers), `restoring`, `unavailable` or `unassigned`.
    pub state: String,
    /// What it waits for, where it is not as it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Bytes of its index, as far as the owner has told.
    pub bytes: u64,
}

/// A shard on its way.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    /// Its number.
    pub shard: u32,
    /// Who has it.
    pub from: String,
    /// Who gets it.
    pub to: String,
    /// Bytes of its index.
    pub bytes: u64,
    /// Bytes of them that are there.
    #[serde(default)]
    pub bytes_done: u64,
    /// Milliseconds until it is there at the speed so far; missing before there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
}

/// A shard that a node brings to its disk: as its new owner, or as a copy.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restore {
    /// Its number.
    pub shard: u32,
    /// The node.
    pub node: String,
    /// Bytes that are there.
    pub bytes_done: u64,
    /// Bytes that will be there.
    pub bytes_total: u64,
    /// Milliseconds until then at the speed so far; missing before there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
}

/// Something that failed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// When.
    pub at: String,
    /// What, and why.
    pub message: String,
}

/// All shards.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardList {
    /// Version of the shard map.
    pub map_version: u64,
    /// By their numbers.
    pub shards: Vec<Shard>,
}

/// All nodes.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeList {
    /// By their names.
    pub nodes: Vec<Node>,
}

/// A plan of who is to own what.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rebalance {
    /// Whether it is only a plan.
    pub dry_run: bool,
    /// Shards that move.
    pub moves: Vec<Move>,
    /// Bytes that move with them.
    pub bytes: u64,
    /// What each node holds before and after.
    pub nodes: Vec<Balance>,
}

/// What a node holds.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    /// Its name.
    pub name: String,
    /// Shards that it owns.
    pub shards_before: u32,
    /// Shards that it will own.
    pub shards_after: u32,
    /// Bytes of what it owns.
    pub bytes_before: u64,
    /// Bytes of what it will own.
    pub bytes_after: u64,
}

//! What the supervisor is told of the other nodes and of the Raft group.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::consensus::{RaftId, RaftNode};
use crate::gossip::Liveness;
use crate::name::{NodeName, ShardId};

/// The Raft group as this node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RaftView {
    /// Of this node's disk.
    pub id: RaftId,
    /// The term.
    pub term: u64,
    /// Whether this node believes that it leads. It may be wrong after a pause: ask
    /// [`super::ConsensusApi::confirm_leadership`] before anything is decided by it.
    pub leads: bool,
    /// Who leads, as far as this node knows.
    pub leader: Option<RaftNode>,
    /// Who votes.
    pub voters: BTreeMap<RaftId, RaftNode>,
    /// Whether a change of the voters was begun and not finished.
    pub changing: bool,
    /// Who has the log and does not vote.
    pub learners: BTreeMap<RaftId, RaftNode>,
}

/// A node as the gossip tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Grows with each start of the node.
    pub generation: u64,
    /// Its gRPC address, `host:port`.
    pub grpc: String,
    /// Of its disk; `None` when it has said nothing of it.
    pub raft_id: Option<RaftId>,
    /// Where it stands.
    pub zone: Option<String>,
    /// How much it takes, in percent of a usual node.
    pub capacity: u32,
    /// Whether it takes shards: its process is up and can serve them. It does not say whether it
    /// serves all that it owns; a node that waited for that would never be given its first.
    pub ready: bool,
    /// Whether it is about to stop.
    pub draining: bool,
    /// Whether its disk is above the high watermark: it keeps what it has and gets nothing.
    pub full: bool,
    /// Version of the shard map that it has.
    pub map_version: u64,
    /// Shards that it serves right now.
    pub shards_serving: u32,
    /// Bytes of the shards that it owns.
    pub shard_bytes: BTreeMap<ShardId, u64>,
    /// Since its own heartbeat was last seen to change, by this node's clock.
    pub heartbeat_age: Duration,
    /// Whether it is likely to be gone, sooner than its timeout says so. For reads alone.
    pub suspected: bool,
    /// What follows from that.
    pub liveness: Liveness,
}

impl PeerView {
    /// Whether its heartbeat grows, and has not timed out.
    pub fn alive(&self) -> bool {
        self.liveness == Liveness::Alive
    }

    /// Whether its heartbeat has timed out, or it said that it goes.
    pub fn gone(&self) -> bool {
        matches!(self.liveness, Liveness::Dead | Liveness::Left)
    }
}

/// All nodes that the gossip tells of, this one included.
pub type PeersView = BTreeMap<NodeName, PeerView>;

//! By what the leader decides.

use std::time::Duration;

/// By what the leader decides. Defaults are those of a cluster in production.
#[derive(Clone, Debug)]
pub struct Rules {
    /// A member that has been silent for longer is dead and loses its shards.
    pub heartbeat_timeout: Duration,
    /// How many nodes are to hold a shard, its owner included.
    pub copies: usize,
    /// Nodes that are waited for before shards get their very first owners, so that one that starts
    /// a little earlier does not get them all.
    pub expected_nodes: usize,
    /// How long the nodes must have stayed the same before shards get their very first owners.
    pub settle: Duration,
    /// After this long shards get their first owners whatever is missing.
    pub form_timeout: Duration,
    /// How long a node that was dead and has come back gets nothing new: one that flaps would make
    /// others copy for nothing.
    pub return_grace: Duration,
    /// How long a voter may be dead before another takes its place.
    pub voter_grace: Duration,
    /// How long a voter may be gone for good, because its node came back with another disk or is no
    /// member any more, before another takes its place. Of three voters, one whose disk is lost meanwhile is the
    /// second.
    pub disk_grace: Duration,
    /// After this long a node that has left, and is not back, is forgotten.
    pub member_grace: Duration,
    /// Shards that are on their way to another owner at once, at most.
    pub moves_at_once: usize,
    /// Whether shards are moved from full nodes to emptier ones unasked.
    pub rebalance: bool,
    /// Between two looks at whether the nodes are balanced.
    pub rebalance_interval: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            heartbeat_timeout: Duration::from_secs(10),
            copies: 1,
            expected_nodes: 1,
            settle: Duration::from_secs(3),
            form_timeout: Duration::from_secs(60),
            return_grace: Duration::from_secs(30),
            voter_grace: Duration::from_secs(300),
            disk_grace: Duration::from_secs(5),
            member_grace: Duration::from_secs(900),
            moves_at_once: 64,
            rebalance: false,
            rebalance_interval: Duration::from_secs(60),
        }
    }
}

/// How many are to vote in a cluster of so many members: an odd number, since an even one survives no
/// more losses than the odd one below it.
pub fn wanted_voters(members: usize) -> usize {
    match members {
        0..=2 => 1,
        3..=6 => 3,
        _ => 5,
    }
}

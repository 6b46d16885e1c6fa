//! What a node knows of the Raft group.

use std::collections::BTreeMap;

use openraft::ServerState;
use serde::Serialize;

use super::store::Store;
use super::types::{Metrics, RaftId, RaftNode};

/// What this node does in the Raft group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Follows without a vote, or is in no group.
    Learner,
    /// Votes and follows.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads, as far as it knows: only [`Consensus::confirm_leadership`](super::Consensus) makes sure.
    Leader,
    /// Does nothing until there is room on its disk.
    Waiting,
    /// Does nothing any more.
    Stopped,
}

/// What a node knows of the Raft group. It says so at once, whether the group has a leader or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// This disk.
    pub raft_id: RaftId,
    /// What it does.
    pub role: Role,
    /// The highest term that it knows.
    pub term: u64,
    /// Who leads in that term.
    pub leader: Option<RaftId>,
    /// Where the leader is.
    pub leader_node: Option<RaftNode>,
    /// Who votes; in a change of the voters, the old ones and the new.
    pub voters: BTreeMap<RaftId, RaftNode>,
    /// Who follows without a vote.
    pub learners: BTreeMap<RaftId, RaftNode>,
    /// Whether a change of the voters is not finished: see
    /// [`Consensus::settle`](super::Consensus::settle).
    pub changing: bool,
    /// Index of the last entry of the log.
    pub last_log: Option<u64>,
    /// Index of the last entry that is known to be committed.
    pub committed: Option<u64>,
    /// Index of the last entry that was applied.
    pub applied: Option<u64>,
    /// Index of the last entry in the snapshot.
    pub snapshot: Option<u64>,
    /// On the leader: milliseconds since a majority last confirmed it.
    pub quorum_ack_millis: Option<u64>,
    /// On the leader: for every other node, the last entry that it is known to have.
    pub matched: BTreeMap<RaftId, Option<u64>>,
    /// Whether a leader has said that this disk is no member any more.
    pub removed: bool,
    /// Why the Raft group has stopped on this node, if it has: by order, or since its disk failed.
    pub stopped: Option<String>,
}

impl Status {
    pub(crate) fn new(metrics: &Metrics, store: &Store, removed: bool) -> Self {
        let membership = metrics.membership_config.membership();
        let nodes = |voters: bool| {
            let is_voter = |id: &RaftId| membership.voter_ids().any(|voter| voter == *id);
            let nodes = membership.nodes().filter(|(id, _)| is_voter(id) == voters);
            nodes.map(|(id, node)| (*id, node.clone())).collect()
        };
        let stopped = metrics.running_state.as_ref().err().map(ToString::to_string);
        let role = match &stopped {
            Some(_) => Role::Stopped,
            // What it knew of the group gets old.
            None if store.is_full() => Role::Waiting,
            None => role(metrics.state),
        };
        let leader = metrics.current_leader;
        let leader = leader.filter(|_| !matches!(role, Role::Stopped | Role::Waiting));
        let matched = metrics.replication.iter().flatten();
        Self {
            raft_id: metrics.id,
            role,
            term: metrics.current_term,
            leader,
            leader_node: leader.and_then(|id| membership.get_node(&id)).cloned(),
            voters: nodes(true),
            learners: nodes(false),
            changing: membership.get_joint_config().len() > 1,
            last_log: metrics.last_log_index,
            committed: store.committed_index(),
            applied: metrics.last_applied.map(|id| id.index),
            snapshot: metrics.snapshot.map(|id| id.index),
            quorum_ack_millis: metrics.millis_since_quorum_ack,
            matched: matched.map(|(id, log)| (*id, log.map(|log| log.index))).collect(),
            removed,
            stopped,
        }
    }

    /// Whether this disk is a member of the group, as far as it knows.
    pub fn is_member(&self) -> bool {
        self.voters.contains_key(&self.raft_id) || self.learners.contains_key(&self.raft_id)
    }

    /// Whether this node leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }
}

fn role(state: ServerState) -> Role {
    match state {
        ServerState::Learner => Role::Learner,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Leader => Role::Leader,
        ServerState::Shutdown => Role::Stopped,
    }
}

//! Brings what this node holds in line with the shard map and, on the leader of the Raft group, the
//! shard map in line with who is there.
//!
//! What it needs of others are the traits here, so that a simulation can fill them in: the Raft group
//! ([`ConsensusApi`]), the gossip ([`MembershipApi`]), the shards on this node's disk ([`ShardHost`])
//! and calls to other nodes ([`PeerApi`]).
//!
//! How a shard is handed over while its owner lives: the map says where it moves to; that node copies
//! what cold storage has ([`ShardHost::replicate`]) and says so in the map; the owner stops writing
//! and uploads ([`ShardHost::hand_over`]); then *the owner* proposes the end of the move,
//! which gives the shard to the new owner under the next epoch. The new owner fences the old epoch
//! off in cold storage only after that, so nothing that was acknowledged is behind the fence.

mod activity;
mod adapters;
pub mod decide;
mod drain;
mod feed;
pub mod follow;
mod follower;
mod leader;
pub mod memory;
pub mod proposals;
mod rebalance;
pub mod rules;
mod run;
mod sizes;
pub mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::watch;

use crate::consensus::{RaftId, RaftNode};
use crate::name::{Epoch, NodeName, ShardId};
use crate::shard_map::{Command, Outcome, ShardMap};
use view::{PeersView, RaftView};

pub use activity::{Doing, Failure, SupervisorStatus};
pub use adapters::GossipAdapter;
pub use drain::Drained;
pub use rebalance::{Balance, Load, Rebalanced};
pub use run::{Parts, Supervisor, SupervisorConfig};

/// The shards on this node's disk. Each call is for one shard, and there is never more than one at a
/// time for the same shard.
#[async_trait]
pub trait ShardHost: Send + Sync + 'static {
    /// Makes this node the writer of a shard under an epoch: fences earlier ones off in cold storage,
    /// restores or keeps what is on disk, and serves it. It must be idempotent; for a shard that was
    /// handed over under this same epoch it means that the move was given up, and that the node
    /// writes again. It may take as long as a restore does, and is not dropped meanwhile.
    ///
    /// # Errors
    /// It is tried again later while the node is the owner.
    async fn activate(&self, shard: ShardId, epoch: Epoch) -> Result<(), HostError>;

    /// Makes a copy of what cold storage has of a shard that another node owns under an epoch, returns
    /// when it is whole, and keeps it up with the owner's uploads until the shard is released or this
    /// node becomes its owner ([`ShardHost::activate`]). Done for replicas, and before a shard moves
    /// here, so that little is left to copy when its owner stops writing. It must be idempotent; the
    /// epoch of a copy that is there may grow. Held as [`HeldState::Replica`]; a host that makes no
    /// copies does nothing, and activation copies all.
    ///
    /// # Errors
    /// It is tried again later.
    async fn replicate(&self, shard: ShardId, epoch: Epoch) -> Result<(), HostError> {
        let _ = (shard, epoch);
        Ok(())
    }

    /// Stops writing a shard and uploads what cold storage lacks of it. Searches may go on until
    /// [`ShardHost::release`].
    ///
    /// # Errors
    /// It is tried again later; the shard stays with this node until it has succeeded.
    async fn hand_over(&self, shard: ShardId) -> Result<(), HostError> {
        self.release(shard, true).await
    }

    /// Stops writing a shard, and serving it; uploads what cold storage lacks first if that is asked
    /// for. Without effect on a shard that is not held.
    ///
    /// # Errors
    /// It is tried again later.
    async fn release(&self, shard: ShardId, upload: bool) -> Result<(), HostError>;

    /// What is held. It does not wait.
    fn held(&self) -> Vec<Held>;
}

/// A shard on this node's disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The shard.
    pub shard: ShardId,
    /// The epoch that it is held under.
    pub epoch: Epoch,
    /// How it is.
    pub state: HeldState,
    /// Bytes of its index.
    pub bytes: u64,
}

/// How a shard on this node's disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldState {
    /// It is being restored or opened.
    Opening,
    /// It is served and written.
    Serving,
    /// It is a whole copy of what another node writes.
    Replica,
    /// It is served and not written any more: it is on its way to another node.
    HandedOver,
    /// It is being closed.
    Closing,
    /// It is not served, and nothing is being done about it.
    Failed,
}

/// Why something was not done for a shard.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HostError {
    /// Another node owns it by now: this node's map is old.
    #[error("shard {shard} has an owner under epoch {by} already; this node's map is old")]
    Fenced {
        /// The shard.
        shard: ShardId,
        /// The higher epoch that was found.
        by: Epoch,
    },
    /// It is done as far as it can be, and waits for something else, such as the database; it is to be asked for
    /// again soon.
    #[error("{0}")]
    Waits(String),
    /// Anything else, such as cold storage that does not answer.
    #[error("{0}")]
    Failed(String),
}

/// Why a command was not applied, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProposeFailure {
    /// Another node leads.
    #[error("this node does not lead the Raft group{}", match leader {
        Some(leader) => format!("; {} at {} does", leader.name, leader.address),
        None => "; nobody does, as far as it knows".to_owned(),
    })]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<RaftNode>,
    },
    /// It is not known whether it was applied, or will be.
    #[error("no answer of the Raft group in {0:?}; whether the command was applied is not known")]
    Timeout(Duration),
    /// It cannot be done now, and can be a little later.
    #[error("{0}")]
    NotYet(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// The Raft group.
#[async_trait]
pub trait ConsensusApi: Send + Sync + 'static {
    /// How it is.
    fn status(&self) -> RaftView;

    /// The map as this node's log has it: empty and old on a node that is no member of the group.
    fn watch_map(&self) -> watch::Receiver<Arc<ShardMap>>;

    /// Has a command applied, when this node leads.
    ///
    /// # Errors
    /// See [`ProposeFailure`].
    async fn propose(&self, command: Command) -> Result<Outcome, ProposeFailure>;

    /// Makes sure that this node leads now, by asking a quorum.
    ///
    /// # Errors
    /// See [`ProposeFailure`].
    async fn confirm_leadership(&self) -> Result<(), ProposeFailure>;

    /// Brings the log to a node that is to vote; for a member of the group, notes where it is now.
    ///
    /// # Errors
    /// See [`ProposeFailure`].
    async fn add_learner(&self, id: RaftId, member: RaftNode) -> Result<(), ProposeFailure>;

    /// Lets learners vote and takes votes away, in one change.
    ///
    /// # Errors
    /// See [`ProposeFailure`].
    async fn change_voters(
        &self,
        add: &BTreeSet<RaftId>,
        remove: &BTreeSet<RaftId>,
    ) -> Result<(), ProposeFailure>;

    /// Finishes a change of the voters that was begun and not finished.
    ///
    /// # Errors
    /// See [`ProposeFailure`].
    async fn settle(&self) -> Result<(), ProposeFailure>;

    /// Takes a voter's vote and its log, or a learner's log.
    ///
    /// # Errors
    /// See [`ProposeFailure`].
    async fn remove(&self, id: RaftId) -> Result<(), ProposeFailure>;
}

/// The gossip.
pub trait MembershipApi: Send + Sync + 'static {
    /// All nodes, this one included, as they are now.
    fn peers(&self) -> Arc<PeersView>;
}

/// What a node answered to a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// It leads, and has applied it.
    Applied(Outcome),
    /// It does not lead.
    NotLeader {
        /// Who does, as far as it knows.
        leader: Option<RaftNode>,
    },
}

/// Calls to other nodes.
#[async_trait]
pub trait PeerApi: Send + Sync + 'static {
    /// A node's shard map, when it is newer than a version.
    ///
    /// # Errors
    /// That the node did not answer in time, or what it said was wrong with the call.
    async fn pull_map(
        &self,
        from: &RaftNode,
        newer_than: u64,
        deadline: Duration,
    ) -> Result<Option<ShardMap>, PeerFailure>;

    /// Has a node propose a command.
    ///
    /// # Errors
    /// That the node did not answer in time, or what it said was wrong with the call. The command may
    /// be applied nevertheless.
    async fn propose(
        &self,
        to: &RaftNode,
        command: &Command,
        deadline: Duration,
    ) -> Result<Proposed, PeerFailure>;

    /// Learns where nodes are now.
    fn set_addresses(&self, addresses: BTreeMap<NodeName, String>);
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{node} at {address}: {detail}")]
pub struct PeerFailure {
    /// The node that was called.
    pub node: NodeName,
    /// Where.
    pub address: String,
    /// What went wrong.
    pub detail: String,
}

impl PeerFailure {
    /// Of a call to a node.
    pub fn of(node: &RaftNode, detail: String) -> Self {
        Self { node: node.name.clone(), address: node.address.clone(), detail }
    }
}

//! The Raft group and the gossip as the supervisor wants them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use super::view::{PeerView, PeersView, RaftView};
use super::{ConsensusApi, MembershipApi, ProposeFailure};
use crate::consensus::{Consensus, ProposeError, RaftId, RaftNode};
use crate::gossip::{Facts, Membership, Peer};
use crate::name::NodeName;
use crate::shard_map::{Command, Outcome, ShardMap};

#[async_trait]
impl ConsensusApi for Consensus {
    fn status(&self) -> RaftView {
        let status = Consensus::status(self);
        RaftView {
            id: status.raft_id,
            term: status.term,
            leads: status.is_leader(),
            leader: status.leader_node,
            voters: status.voters,
            changing: status.changing,
            learners: status.learners,
        }
    }

    fn watch_map(&self) -> watch::Receiver<Arc<ShardMap>> {
        Consensus::watch_map(self)
    }

    async fn propose(&self, command: Command) -> Result<Outcome, ProposeFailure> {
        Ok(Consensus::propose(self, command).await?)
    }

    async fn confirm_leadership(&self) -> Result<(), ProposeFailure> {
        Ok(Consensus::confirm_leadership(self).await?)
    }

    async fn add_learner(&self, id: RaftId, member: RaftNode) -> Result<(), ProposeFailure> {
        Ok(Consensus::add_learner(self, id, member).await?)
    }

    async fn change_voters(
        &self,
        add: &BTreeSet<RaftId>,
        remove: &BTreeSet<RaftId>,
    ) -> Result<(), ProposeFailure> {
        Ok(Consensus::change_voters(self, add, remove).await?)
    }

    async fn settle(&self) -> Result<(), ProposeFailure> {
        Ok(Consensus::settle(self).await?)
    }

    async fn remove(&self, id: RaftId) -> Result<(), ProposeFailure> {
        Ok(Consensus::remove(self, id).await?)
    }
}

impl From<ProposeError> for ProposeFailure {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotLeader { leader } => Self::NotLeader { leader },
            // Others of the group may go on.
            ProposeError::Stopped(_) => Self::NotLeader { leader: None },
            ProposeError::Timeout { after } => Self::Timeout(after),
            ProposeError::Behind { .. } | ProposeError::ChangeUnderWay(_) => {
                Self::NotYet(error.to_string())
            }
            error => Self::Failed(error.to_string()),
        }
    }
}

/// The gossip as the supervisor wants it.
pub struct GossipAdapter {
    peers: watch::Receiver<Arc<BTreeMap<NodeName, Peer>>>,
    /// Thousandths of a disk that are in use when it is full.
    disk_full_permille: u64,
    /// What was last made, and of what.
    made: Mutex<Option<Made>>,
}

struct Made {
    of: Arc<BTreeMap<NodeName, Peer>>,
    view: Arc<PeersView>,
}

impl GossipAdapter {
    /// A node whose disk is in use by more than so many thousandths gets no new shards.
    pub fn new(membership: &Membership, disk_full_permille: u64) -> Arc<Self> {
        Arc::new(Self { peers: membership.peers(), disk_full_permille, made: Mutex::default() })
    }

    fn view(&self, peer: &Peer) -> PeerView {
        let Facts { grpc, raft_id, zone, capacity, ready, draining, map_version, .. } =
            &*peer.facts;
        PeerView {
            generation: peer.generation,
            grpc: grpc.clone(),
            raft_id: Some(RaftId(*raft_id)).filter(|id| id.0 != 0),
            zone: zone.clone(),
            capacity: *capacity,
            ready: *ready,
            draining: *draining,
            full: self.is_full(&peer.facts),
            map_version: *map_version,
            shards_serving: peer.facts.shards_serving,
            shard_bytes: peer.facts.shard_bytes.clone(),
            heartbeat_age: peer.heartbeat_age,
            suspected: peer.suspected,
            liveness: peer.liveness,
        }
    }

    fn is_full(&self, facts: &Facts) -> bool {
        let used = facts.disk_total.saturating_sub(facts.disk_free);
        u128::from(used) * 1_000
            > u128::from(facts.disk_total) * u128::from(self.disk_full_permille)
    }
}

impl MembershipApi for GossipAdapter {
    fn peers(&self) -> Arc<PeersView> {
        let of = Arc::clone(&self.peers.borrow());
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*made
            && Arc::ptr_eq(&made.of, &of)
        {
            return Arc::clone(&made.view);
        }
        let view = of.iter().map(|(name, peer)| (name.clone(), self.view(peer)));
        let view = Arc::new(view.collect::<PeersView>());
        *made = Some(Made { of, view: Arc::clone(&view) });
        view
    }
}

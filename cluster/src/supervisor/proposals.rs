//! Commands for the shard map, from any node: to whoever leads the Raft group.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::{ConsensusApi, MembershipApi, PeerApi, ProposeFailure, Proposed};
use crate::consensus::RaftNode;
use crate::name::NodeName;
use crate::shard_map::{Command, Outcome};

/// Times that one node's word on who leads is followed in a row.
const HOPS: usize = 4;
/// Nodes that are asked who leads before there is a pause.
const ASKED: usize = 64;
/// The pause; elections take seconds.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a node may take to apply a command.
const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// Finds the leader and has it apply commands.
pub struct Proposals {
    me: NodeName,
    consensus: Arc<dyn ConsensusApi>,
    membership: Arc<dyn MembershipApi>,
    peers: Arc<dyn PeerApi>,
    /// Who led when it was last known.
    leader: Mutex<Option<RaftNode>>,
}

impl Proposals {
    /// Of a node.
    pub fn new(
        me: NodeName,
        consensus: Arc<dyn ConsensusApi>,
        membership: Arc<dyn MembershipApi>,
        peers: Arc<dyn PeerApi>,
    ) -> Arc<Self> {
        Arc::new(Self { me, consensus, membership, peers, leader: Mutex::default() })
    }

    /// Who leads, as far as this node knows: by its own log, else by what it was last told.
    pub fn leader(&self) -> Option<RaftNode> {
        self.consensus.status().leader.or_else(|| self.known())
    }

    /// Has a command applied by whoever leads; waits for a leader until the deadline.
    ///
    /// # Errors
    /// [`ProposeFailure::NotLeader`] when none was found in time: the command was not applied. After
    /// any other error it may have been, or be yet: look at the map.
    pub async fn propose(
        &self,
        command: &Command,
        deadline: Duration,
    ) -> Result<Outcome, ProposeFailure> {
        let end = Instant::now() + deadline;
        let mut asking = false;
        let found = timeout_at(end, async {
            loop {
                asking = true;
                if let Some(outcome) = self.round(command, end).await? {
                    return Ok(outcome);
                }
                asking = false;
                sleep(PAUSE).await;
            }
        });
        match (found.await, asking) {
            (Ok(found), _) => found,
            (Err(_), false) => Err(ProposeFailure::NotLeader { leader: None }),
            (Err(_), true) => Err(ProposeFailure::Timeout(deadline)),
        }
    }

    /// Asks this node, who is known to lead, and then the others; `None` when nobody leads.
    async fn round(
        &self,
        command: &Command,
        end: Instant,
    ) -> Result<Option<Outcome>, ProposeFailure> {
        let hint = match self.consensus.propose(command.clone()).await {
            Ok(outcome) => return Ok(Some(outcome)),
            Err(ProposeFailure::NotLeader { leader }) => leader,
            Err(error) => return Err(error),
        };
        let hint = hint.or_else(|| self.known()).filter(|node| node.name != self.me);
        if let Some(hint) = hint
            && let Some(outcome) = self.follow(hint, command, end).await?
        {
            return Ok(Some(outcome));
        }
        self.set_known(None);
        for node in self.others() {
            if let Some(outcome) = self.follow(node, command, end).await? {
                return Ok(Some(outcome));
            }
        }
        Ok(None)
    }

    /// Asks a node, and whom it names, and so on.
    async fn follow(
        &self,
        first: RaftNode,
        command: &Command,
        end: Instant,
    ) -> Result<Option<Outcome>, ProposeFailure> {
        let mut node = first;
        for _ in 0..HOPS {
            let deadline = end.saturating_duration_since(Instant::now()).min(CALL_DEADLINE);
            match self.peers.propose(&node, command, deadline).await {
                Ok(Proposed::Applied(outcome)) => {
                    self.set_known(Some(node));
                    return Ok(Some(outcome));
                }
                Ok(Proposed::NotLeader { leader: Some(leader) }) if leader.name != node.name => {
                    node = leader;
                }
                Ok(Proposed::NotLeader { .. }) => return Ok(None),
                Err(error) => {
                    tracing::debug!(%error, "a proposal was not answered");
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    fn others(&self) -> Vec<RaftNode> {
        let view = self.membership.peers();
        let others = view.iter().filter(|(name, peer)| **name != self.me && peer.alive());
        let node = |name: &NodeName, address: &str| RaftNode {
            name: name.clone(),
            address: address.to_owned(),
        };
        others.map(|(name, peer)| node(name, &peer.grpc)).take(ASKED).collect()
    }

    fn known(&self) -> Option<RaftNode> {
        self.leader.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_known(&self, leader: Option<RaftNode>) {
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner) = leader;
    }
}

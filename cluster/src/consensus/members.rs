//! Who takes part in the Raft group. openraft changes the voters by a joint majority of the old ones
//! and the new, however many differ, so that no moment has two majorities.

use std::collections::{BTreeMap, BTreeSet};

use openraft::ChangeMembers;
use openraft::error::ChangeMembershipError;
use tokio::time::timeout;

use super::limits::LAG_FOR_VOTE;
use super::types::{RaftId, RaftNode};
use super::{Consensus, ProposeError, write_error};

/// Who takes part, as the group's task knows it at this moment: metrics come a little later.
struct Members {
    /// The voters; while they change, the old ones and then the wanted ones.
    voters: Vec<BTreeSet<RaftId>>,
    nodes: BTreeMap<RaftId, RaftNode>,
}

impl Members {
    fn votes(&self, id: RaftId) -> bool {
        self.voters.iter().any(|voters| voters.contains(&id))
    }

    /// The voters once the change that is under way, if any, is finished.
    fn wanted(&self) -> BTreeSet<RaftId> {
        self.voters.last().cloned().unwrap_or_default()
    }
}

impl Consensus {
    /// Has a disk follow the log without a vote. For one that takes part already, notes where it is
    /// now, if that has changed.
    ///
    /// # Errors
    ///
    /// As [`Consensus::propose`], and [`ProposeError::ChangeUnderWay`].
    pub async fn add_learner(&self, id: RaftId, node: RaftNode) -> Result<(), ProposeError> {
        let node = BTreeMap::from([(id, node)]);
        let known = self.members().await?.nodes;
        match known.get(&id) {
            Some(known) if *known == node[&id] => Ok(()),
            // A message says which disk it is for: no other one answers at a wrong address.
            Some(_) => self.change(ChangeMembers::SetNodes(node), true).await,
            None => self.change(ChangeMembers::AddNodes(node), true).await,
        }
    }

    /// Gives learners a vote, once they have nearly all of the log, and takes votes away, in one
    /// change: there is no moment with only some of it done. Who loses the vote leaves the group; where
    /// that is the leader itself, another one is elected.
    ///
    /// # Errors
    ///
    /// As [`Consensus::propose`], [`ProposeError::ChangeUnderWay`], [`ProposeError::UnknownLearner`],
    /// [`ProposeError::Behind`] and [`ProposeError::LastVoter`].
    pub async fn change_voters(
        &self,
        add: &BTreeSet<RaftId>,
        remove: &BTreeSet<RaftId>,
    ) -> Result<(), ProposeError> {
        let members = self.members().await?;
        for id in add {
            if !members.nodes.contains_key(id) {
                return Err(ProposeError::UnknownLearner(*id));
            }
            if !members.votes(*id) {
                self.has_caught_up(*id)?;
            }
        }
        let before = members.wanted();
        let wanted: BTreeSet<RaftId> =
            before.union(add).filter(|id| !remove.contains(id)).copied().collect();
        if wanted.is_empty() {
            let last = before.last().copied().unwrap_or(self.raft_id);
            return Err(ProposeError::LastVoter(last));
        }
        match members.voters.as_slice() {
            [voters] if *voters == wanted => Ok(()),
            _ => self.change(ChangeMembers::ReplaceAllVoters(wanted), false).await,
        }
    }

    /// Removes a disk from the group, voter or learner. Where the leader removes itself, another one
    /// is elected.
    ///
    /// # Errors
    ///
    /// As [`Consensus::propose`], [`ProposeError::ChangeUnderWay`] and [`ProposeError::LastVoter`].
    pub async fn remove(&self, id: RaftId) -> Result<(), ProposeError> {
        let members = self.members().await?;
        if members.votes(id) {
            self.change_voters(&BTreeSet::new(), &BTreeSet::from([id])).await
        } else if members.nodes.contains_key(&id) {
            self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id])), true).await
        } else {
            Ok(())
        }
    }

    /// Finishes a change of the voters whose leader was lost in the middle of it
    /// ([`Status::changing`](super::Status::changing)).
    ///
    /// # Errors
    ///
    /// As [`Consensus::propose`].
    pub async fn settle(&self) -> Result<(), ProposeError> {
        let members = self.members().await?;
        match members.voters.len() {
            0 | 1 => Ok(()),
            _ => self.change(ChangeMembers::ReplaceAllVoters(members.wanted()), true).await,
        }
    }

    /// Whether a learner has answered this leader, and has nearly all of the log.
    fn has_caught_up(&self, id: RaftId) -> Result<(), ProposeError> {
        let metrics = self.raft.metrics().borrow().clone();
        let Some(replication) = metrics.replication else {
            return Err(ProposeError::NotLeader { leader: self.status().leader_node });
        };
        let log = metrics.last_log_index.map_or(0, |last| last + 1);
        let has = replication.get(&id).copied().flatten().map(|last| last.index + 1);
        let behind = log.saturating_sub(has.unwrap_or(0));
        match has {
            Some(_) if behind <= LAG_FOR_VOTE => Ok(()),
            _ => Err(ProposeError::Behind { id, behind }),
        }
    }

    async fn members(&self) -> Result<Members, ProposeError> {
        let found = self.raft.with_raft_state(|state| {
            let membership = state.membership_state.effective().membership();
            let nodes = membership.nodes().map(|(id, node)| (*id, node.clone()));
            Members { voters: membership.get_joint_config().clone(), nodes: nodes.collect() }
        });
        let after = self.config.rpc_timeout;
        match timeout(after, found).await {
            Ok(found) => found.map_err(|error| ProposeError::Stopped(error.to_string())),
            Err(_) => Err(ProposeError::Timeout { after }),
        }
    }

    async fn change(
        &self,
        change: ChangeMembers<RaftId, RaftNode>,
        retain: bool,
    ) -> Result<(), ProposeError> {
        let after = self.config.rpc_timeout;
        match timeout(after, self.raft.change_membership(change, retain)).await {
            Ok(changed) => changed.map(drop).map_err(write_error),
            Err(_) => Err(ProposeError::Timeout { after }),
        }
    }
}

pub(super) fn refused(error: ChangeMembershipError<RaftId>) -> ProposeError {
    match error {
        ChangeMembershipError::InProgress(error) => ProposeError::ChangeUnderWay(error.to_string()),
        ChangeMembershipError::LearnerNotFound(error) => {
            ProposeError::UnknownLearner(error.node_id)
        }
        // Not reached: the last voter is refused before.
        ChangeMembershipError::EmptyMembership(error) => {
            ProposeError::ChangeUnderWay(error.to_string())
        }
    }
}

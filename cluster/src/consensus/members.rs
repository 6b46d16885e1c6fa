//! Who takes part in the Raft group. Each change is of one disk; openraft makes it by a joint
//! majority of the old voters and the new, so that no moment has two majorities.

use std::collections::{BTreeMap, BTreeSet};

use openraft::ChangeMembers;
use openraft::error::ChangeMembershipError;
use tokio::time::timeout;

use super::limits::LAG_FOR_VOTE;
use super::types::{RaftId, RaftNode};
use super::{Consensus, ProposeError, write_error};

impl Consensus {
    /// Has a disk follow the log without a vote. For one that takes part already, notes where it is
    /// now, if that has changed.
    ///
    /// # Errors
    ///
    /// As [`Consensus::propose`], and [`ProposeError::ChangeUnderWay`].
    pub async fn add_learner(&self, id: RaftId, node: RaftNode) -> Result<(), ProposeError> {
        let status = self.status();
        match status.voters.get(&id).or(status.learners.get(&id)) {
            Some(known) if *known == node => Ok(()),
            // A message says which disk it is for: no other one answers at a wrong address.
            Some(_) => {
                self.change(ChangeMembers::SetNodes(BTreeMap::from([(id, node)])), true).await
            }
            None => self.change(ChangeMembers::AddNodes(BTreeMap::from([(id, node)])), true).await,
        }
    }

    /// Gives a learner a vote, once it has nearly all of the log.
    ///
    /// # Errors
    ///
    /// As [`Consensus::propose`], [`ProposeError::ChangeUnderWay`], [`ProposeError::UnknownLearner`]
    /// and [`ProposeError::Behind`].
    pub async fn promote(&self, id: RaftId) -> Result<(), ProposeError> {
        let status = self.status();
        if status.voters.contains_key(&id) && !status.changing {
            return Ok(());
        }
        if status.is_leader() && status.learners.contains_key(&id) {
            let has = status.matched.get(&id).copied().flatten();
            let log = status.last_log.map_or(0, |last| last + 1);
            let behind = log - has.map_or(0, |has| has + 1).min(log);
            if has.is_none() || behind > LAG_FOR_VOTE {
                return Err(ProposeError::Behind { id, behind });
            }
        }
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id])), true).await
    }

    /// Takes a voter's vote away; it follows on as a learner.
    ///
    /// # Errors
    ///
    /// As [`Consensus::propose`], [`ProposeError::ChangeUnderWay`] and [`ProposeError::LastVoter`].
    pub async fn demote(&self, id: RaftId) -> Result<(), ProposeError> {
        self.remove_voter(id, true).await
    }

    /// Removes a disk from the group, voter or learner. Where the leader removes itself, another one
    /// is elected.
    ///
    /// # Errors
    ///
    /// As [`Consensus::propose`], [`ProposeError::ChangeUnderWay`] and [`ProposeError::LastVoter`].
    pub async fn remove(&self, id: RaftId) -> Result<(), ProposeError> {
        let status = self.status();
        if status.voters.contains_key(&id) {
            self.remove_voter(id, false).await?;
        } else if status.learners.contains_key(&id) {
            self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id])), true).await?;
        }
        Ok(())
    }

    /// Finishes a change of the voters whose leader was lost in the middle of it
    /// ([`Status::changing`](super::Status::changing)).
    ///
    /// # Errors
    ///
    /// As [`Consensus::propose`].
    pub async fn settle(&self) -> Result<(), ProposeError> {
        let metrics = self.raft.metrics().borrow().clone();
        let configs = metrics.membership_config.membership().get_joint_config().clone();
        match configs.last() {
            Some(wanted) if configs.len() > 1 => {
                self.change(ChangeMembers::ReplaceAllVoters(wanted.clone()), true).await
            }
            _ => Ok(()),
        }
    }

    async fn remove_voter(&self, id: RaftId, retain: bool) -> Result<(), ProposeError> {
        let status = self.status();
        if !status.voters.contains_key(&id) {
            return Ok(());
        }
        if status.voters.len() == 1 {
            return Err(ProposeError::LastVoter(id));
        }
        self.change(ChangeMembers::RemoveVoters(BTreeSet::from([id])), retain).await
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

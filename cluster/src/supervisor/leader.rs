//! The task that brings the shard map in line with who is there, on whichever node leads.
//!
//! Nothing is done before a quorum has confirmed that this node leads, and then only what is still
//! right by what is seen after that. Changes of the Raft group run beside the rest, one at a time:
//! a node that is slow to get the log must not keep shards without an owner.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::activity::Activity;
use super::decide::{self, Action, Situation, decide};
use super::memory::Memory;
use super::rules::Rules;
use super::{ConsensusApi, MembershipApi, ProposeFailure};

/// What the leader works with.
pub(super) struct Leader {
    pub consensus: Arc<dyn ConsensusApi>,
    pub membership: Arc<dyn MembershipApi>,
    pub activity: Arc<Activity>,
    pub rules: Arc<Rules>,
    /// Kept on every node: whoever comes to lead has seen before.
    pub memory: Arc<Mutex<Memory>>,
    pub tick: Duration,
}

impl Leader {
    pub async fn run(self) {
        let start = Instant::now();
        let mut change: Option<JoinHandle<()>> = None;
        let mut ticks = interval(self.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.decide(start, false).is_empty() {
                continue;
            }
            if let Err(error) = self.consensus.confirm_leadership().await {
                tracing::debug!(%error, "nothing is decided without a quorum");
                continue;
            }
            // Time has passed, and the map may have changed.
            let actions = self.decide(start, true);
            self.carry_out(actions, &mut change).await;
        }
    }

    /// What is to be done by what is to be seen now; it is done only if leadership is confirmed.
    fn decide(&self, start: Instant, is_confirmed: bool) -> Vec<Action> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let map = Arc::clone(&self.consensus.watch_map().borrow());
        let (peers, raft) = (self.membership.peers(), self.consensus.status());
        let now = start.elapsed();
        self.activity.set_leads(raft.leads);
        memory.observe(&map, &peers, &raft, now, &self.rules);
        let situation = Situation {
            map: &map,
            peers: &peers,
            raft: &raft,
            memory: &memory,
            rules: &self.rules,
            now,
        };
        let actions = decide(&situation);
        let has_balanced = raft.leads && decide::looks_for_balance(&situation);
        if has_balanced && (is_confirmed || actions.is_empty()) {
            memory.set_balanced(now);
        }
        actions
    }

    async fn carry_out(&self, actions: Vec<Action>, change: &mut Option<JoinHandle<()>>) {
        for action in actions {
            let Action::Propose(command) = action else {
                if change.as_ref().is_none_or(JoinHandle::is_finished) {
                    let consensus = Arc::clone(&self.consensus);
                    *change = Some(tokio::spawn(change_group(
                        consensus,
                        action,
                        Arc::clone(&self.activity),
                    )));
                }
                continue;
            };
            tracing::info!(?command, "proposing");
            match self.consensus.propose(command).await {
                Ok(outcome) => {
                    for refusal in outcome.iter().filter_map(|result| result.as_ref().err()) {
                        tracing::info!(%refusal, "a proposal came too late");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a proposal was not applied");
                    self.activity.note(&format!("a proposal was not applied: {error}"));
                    return;
                }
            }
        }
    }
}

async fn change_group(consensus: Arc<dyn ConsensusApi>, action: Action, activity: Arc<Activity>) {
    let result = match &action {
        Action::Propose(_) => Ok(()),
        Action::AddLearner { id, member } => consensus.add_learner(*id, member.clone()).await,
        Action::ChangeVoters { add, remove } => consensus.change_voters(add, remove).await,
        Action::Settle => consensus.settle().await,
        Action::RemoveLearner(id) => consensus.remove(*id).await,
    };
    match result {
        Ok(()) => tracing::info!(?action, "the Raft group has changed"),
        // Such as a learner that has not got the whole log yet.
        Err(ProposeFailure::NotYet(why)) => tracing::debug!(?action, why, "not yet"),
        Err(error) => {
            tracing::warn!(?action, %error, "the Raft group has not changed");
            activity.note(&format!("the Raft group has not changed ({action:?}): {error}"));
        }
    }
}

//! The task that brings the shard map in line with who is there, on whichever node leads.
//!
//! Nothing is done before a quorum has confirmed that this node leads, and then only what is still
//! right by what is seen after that. Changes of the Raft group run beside the rest, one at a time:
//! a node that is slow to get the log must not keep shards without an owner.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::activity::Activity;
use super::decide::{self, Action, Situation, decide};
use super::memory::Memory;
use super::rules::Rules;
use super::view::{PeersView, RaftView};
use super::{ConsensusApi, MembershipApi, ProposeFailure};
use crate::shard_map::ShardMap;

/// What the leader works with.
pub(super) struct Leader {
    pub consensus: Arc<dyn ConsensusApi>,
    pub membership: Arc<dyn MembershipApi>,
    pub activity: Arc<Activity>,
    pub rules: Rules,
    pub tick: Duration,
}

/// What is to be seen at one moment.
struct Sight {
    map: Arc<ShardMap>,
    peers: Arc<PeersView>,
    raft: RaftView,
    now: Duration,
}

impl Leader {
    pub async fn run(self) {
        let start = Instant::now();
        let mut memory = Memory::default();
        let mut change: Option<JoinHandle<()>> = None;
        let mut ticks = interval(self.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let sight = self.look(&mut memory, start);
            self.activity.set_leads(sight.raft.leads);
            if self.decide(&sight, &memory).is_empty() {
                self.note_balance(&sight, &mut memory);
                continue;
            }
            if let Err(error) = self.consensus.confirm_leadership().await {
                tracing::debug!(%error, "nothing is decided without a quorum");
                continue;
            }
            let sight = self.look(&mut memory, start);
            let actions = self.decide(&sight, &memory);
            self.note_balance(&sight, &mut memory);
            self.carry_out(actions, &mut change).await;
        }
    }

    fn look(&self, memory: &mut Memory, start: Instant) -> Sight {
        let sight = Sight {
            map: Arc::clone(&self.consensus.watch_map().borrow()),
            peers: self.membership.peers(),
            raft: self.consensus.status(),
            now: start.elapsed(),
        };
        memory.observe(&sight.map, &sight.peers, &sight.raft, sight.now, &self.rules);
        sight
    }

    fn situation<'a>(&'a self, sight: &'a Sight, memory: &'a Memory) -> Situation<'a> {
        let Sight { map, peers, raft, now } = sight;
        Situation { map, peers, raft, memory, rules: &self.rules, now: *now }
    }

    fn decide(&self, sight: &Sight, memory: &Memory) -> Vec<Action> {
        decide(&self.situation(sight, memory))
    }

    fn note_balance(&self, sight: &Sight, memory: &mut Memory) {
        if sight.raft.leads && decide::looks_for_balance(&self.situation(sight, memory)) {
            memory.set_balanced(sight.now);
        }
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
        Action::Promote(id) => consensus.promote(*id).await,
        Action::Settle => consensus.settle().await,
        Action::RemoveMember(id) => consensus.remove(*id).await,
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

//! Moving shards for balance, by hand: the plan, and what it would change.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use super::decide::{self, Situation};
use super::run::Supervisor;
use super::view::RaftView;
use super::{PeersView, ProposeFailure};
use crate::name::{NodeName, ShardId};
use crate::placement::{self, Input, Plan};
use crate::shard_map::{Command, Refusal};

/// What a node holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Shards that it owns.
    pub shards: u64,
    /// Shards of others that it has a copy of.
    pub replicas: u64,
    /// Bytes of all of them, as far as is known.
    pub bytes: u64,
}

/// What is to be moved, and what for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// What is to change.
    pub plan: Plan,
    /// What each member holds now; what is on its way counts as being there.
    pub before: BTreeMap<NodeName, Load>,
    /// What each member would hold.
    pub after: BTreeMap<NodeName, Load>,
}

/// What came of carrying a plan out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebalanced {
    /// The plan.
    pub balance: Balance,
    /// Shards whose move has begun, or whose replicas have changed.
    pub begun: Vec<ShardId>,
    /// Shards that have changed hands since the plan was made, and stay.
    pub refused: Vec<(ShardId, Refusal)>,
}

impl Supervisor {
    /// What would have to be moved so that no member holds more than its share by a quarter, as this
    /// node sees the cluster.
    pub fn plan_rebalance(&self) -> Balance {
        self.with_situation(|situation| {
            let input = decide::placement_input(situation);
            let plan = placement::rebalance(&input);
            let before = loads(&input, None);
            let after = loads(&input, Some(&plan));
            Balance { plan, before, after }
        })
    }

    /// Begins all that [`Self::plan_rebalance`] says. Nodes that own shards then hand them over, a few
    /// at a time.
    ///
    /// # Errors
    /// When the Raft group does not answer until the deadline; part of the plan may be begun.
    pub async fn rebalance(&self, deadline: Duration) -> Result<Rebalanced, ProposeFailure> {
        let end = Instant::now() + deadline;
        let balance = self.plan_rebalance();
        let plan = balance.plan.clone();
        let commands = self.with_situation(|situation| decide::carry_out(situation, plan));
        let mut rebalanced = Rebalanced { balance, ..Rebalanced::default() };
        for command in commands {
            let shards = shards_of(&command);
            let left = end.saturating_duration_since(Instant::now());
            let outcome = self.proposals().propose(&command, left).await?;
            for (shard, result) in shards.into_iter().zip(outcome) {
                match result {
                    Ok(()) => rebalanced.begun.push(shard),
                    Err(refusal) => rebalanced.refused.push((shard, refusal)),
                }
            }
        }
        Ok(rebalanced)
    }

    fn with_situation<T>(&self, think: impl FnOnce(&Situation) -> T) -> T {
        let mut memory = self.memory().lock().unwrap_or_else(PoisonError::into_inner);
        let (map, peers) = (self.router().map(), self.membership().peers());
        // Who asks has seen these sizes in the list of shards, maybe before the leader's loop has.
        memory.learn_sizes(&map, &peers);
        let (peers, raft): (&PeersView, _) = (&peers, RaftView::default());
        let (rules, now) = (self.rules(), memory.looked_at());
        think(&Situation { map: &map, peers, raft: &raft, memory: &memory, rules, now })
    }
}

fn shards_of(command: &Command) -> Vec<ShardId> {
    match command {
        Command::BeginMove { shard, .. } => vec![*shard],
        Command::Assign { assignments } => {
            assignments.iter().map(|assignment| assignment.shard).collect()
        }
        _ => Vec::new(),
    }
}

fn loads(input: &Input, plan: Option<&Plan>) -> BTreeMap<NodeName, Load> {
    let mut loads: BTreeMap<NodeName, Load> =
        input.nodes.keys().map(|name| (name.clone(), Load::default())).collect();
    let changes = plan.into_iter().flat_map(|plan| &plan.changes);
    let changes: BTreeMap<ShardId, _> = changes.map(|change| (change.shard, change)).collect();
    for (number, shard) in (0u32..).map(ShardId).zip(&input.shards) {
        let (owner, replicas) = match changes.get(&number) {
            Some(change) => (Some(&change.owner), &change.replicas),
            None => (shard.owner.as_ref(), &shard.replicas),
        };
        if let Some(load) = owner.and_then(|owner| loads.get_mut(owner)) {
            load.shards += 1;
            load.bytes = load.bytes.saturating_add(shard.bytes);
        }
        for replica in replicas {
            let Some(load) = loads.get_mut(replica) else { continue };
            load.replicas += 1;
            load.bytes = load.bytes.saturating_add(shard.bytes);
        }
    }
    loads
}

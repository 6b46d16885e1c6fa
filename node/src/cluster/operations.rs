//! Changes of the shard map that a person asks for. They are commands like any other: the leader has
//! them agreed on.

use std::time::Duration;

use aeterna_cluster::name::{NodeName, ShardId};
use aeterna_cluster::shard_map::{Command, Refusal};
use aeterna_cluster::supervisor::ProposeFailure;
use axum::http::StatusCode;

use super::Cluster;
use crate::api::cluster::{Balance, Move, Rebalance, Shard};
use crate::http::problem::Problem;

/// Time for the cluster to agree on a change.
const PROPOSE_DEADLINE: Duration = Duration::from_secs(10);
/// Time to agree on all changes of a plan.
const REBALANCE_DEADLINE: Duration = Duration::from_secs(60);
/// Time to see the map with it.
const REFRESH_DEADLINE: Duration = Duration::from_secs(1);

impl Cluster {
    /// Has a shard moved to a node; to the one that has it, what is under way is given up.
    ///
    /// # Errors
    /// When there is no such shard or node, it cannot go there, or nobody leads.
    pub async fn move_shard(&self, shard: u32, to: &str) -> Result<Shard, Problem> {
        let map = self.map();
        let Some(now) = map.shard(ShardId(shard)) else { return self.shard(shard) };
        let (to, shard_id, seen) = (self.member(to)?, ShardId(shard), now.epoch);
        let stays = now.moving_to.is_some() && now.owner.as_ref() == Some(&to);
        self.change(match stays {
            true => Command::AbortMove { shard: shard_id, seen },
            false => Command::BeginMove { shard: shard_id, seen, to },
        })
        .await?;
        self.shard(shard)
    }

    /// Has a shard kept on a node, or no longer.
    ///
    /// # Errors
    /// As [`Self::move_shard`].
    pub async fn pin_shard(&self, shard: u32, to: Option<&str>) -> Result<Shard, Problem> {
        self.shard(shard)?;
        let node = to.map(|to| self.member(to)).transpose()?;
        self.change(Command::Pin { shard: ShardId(shard), node }).await?;
        self.shard(shard)
    }

    /// Has shards moved from nodes that hold too much, unless it is only asked what would move.
    ///
    /// # Errors
    /// When nobody leads, or shards are not served: what they weigh is not known, and they come first.
    pub async fn rebalance(&self, dry_run: bool) -> Result<Rebalance, Problem> {
        let before = self.shards().shards;
        let is_served = |shard: &&Shard| matches!(shard.state.as_str(), "serving" | "suspected");
        let waiting = before.len() - before.iter().filter(is_served).count();
        if waiting > 0 && !dry_run {
            let detail = format!(
                "{waiting} shards are not served yet; balance the nodes when they are (`aeterna cluster status` shows what they wait for)"
            );
            return Err(Problem::new(StatusCode::CONFLICT, "shards-restoring", detail));
        }
        let balance = match dry_run {
            true => self.supervisor.plan_rebalance(),
            false => {
                let begun = self.supervisor.rebalance(REBALANCE_DEADLINE).await;
                begun.map_err(undecided)?.balance
            }
        };
        let moves = balance.plan.changes.iter().filter_map(|change| {
            let shard = before.get(change.shard.0 as usize)?;
            let from = shard.owner.clone().filter(|from| from != change.owner.as_str())?;
            let (shard, bytes) = (change.shard.0, shard.bytes);
            let to = change.owner.to_string();
            Some(Move { shard, from, to, bytes, bytes_done: 0, remaining_ms: None })
        });
        let nodes = balance.before.iter().map(|(name, before)| {
            let after = balance.after.get(name).copied().unwrap_or_default();
            let count = |shards: u64| u32::try_from(shards).unwrap_or(u32::MAX);
            Balance {
                name: name.to_string(),
                shards_before: count(before.shards),
                shards_after: count(after.shards),
                bytes_before: before.bytes,
                bytes_after: after.bytes,
            }
        });
        Ok(Rebalance {
            dry_run,
            moves: moves.collect(),
            bytes: balance.plan.bytes,
            nodes: nodes.collect(),
        })
    }

    /// Has a node hand over what it owns.
    ///
    /// # Errors
    /// When there is no such node, no other one could take its shards, or nobody leads.
    pub async fn drain_node(&self, name: &str) -> Result<(), Problem> {
        let node = self.member(name)?;
        if !self.others_take_shards(&node) {
            let detail = format!(
                "no other node could take what {node} owns; start another one, or stop this one without draining it"
            );
            return Err(Problem::new(StatusCode::CONFLICT, "nobody-takes-over", detail));
        }
        self.change(Command::Leave { node }).await
    }

    /// Forgets a node.
    ///
    /// # Errors
    /// When there is no such node, it is alive or owns shards, or nobody leads.
    pub async fn remove_node(&self, name: &str) -> Result<(), Problem> {
        let node = self.member(name)?;
        if self.peers().get(&node).is_some_and(|peer| peer.alive()) {
            let detail = format!("{node} is alive and would join again; stop it first");
            return Err(Problem::new(StatusCode::CONFLICT, "node-alive", detail));
        }
        self.change(Command::Remove { node }).await
    }

    fn others_take_shards(&self, node: &NodeName) -> bool {
        let peers = self.peers();
        self.map().members().iter().any(|(name, member)| {
            let peer = peers.get(name);
            let takes = peer.is_some_and(|peer| peer.alive() && !peer.facts.draining);
            name != node && !member.leaving && takes
        })
    }

    fn member(&self, name: &str) -> Result<NodeName, Problem> {
        let map = self.map();
        let known = name.parse::<NodeName>().ok().filter(|name| map.members().contains_key(name));
        known.ok_or_else(|| {
            let names: Vec<&str> = map.members().keys().map(NodeName::as_str).collect();
            let shown: String = name.escape_debug().take(80).collect();
            Problem::new(
                StatusCode::NOT_FOUND,
                "no-such-node",
                format!(
                    "there is no node `{shown}` in the cluster; there are: {}",
                    names.join(", ")
                ),
            )
        })
    }

    /// Has a command agreed on, wherever the leader is.
    async fn change(&self, command: Command) -> Result<(), Problem> {
        let before = self.map().version();
        let outcome = self.supervisor.proposals().propose(&command, PROPOSE_DEADLINE).await;
        let outcome = outcome.map_err(undecided)?;
        // What was agreed on is to be seen in the answer.
        if let Err(error) = self.router.refresh(before + 1, REFRESH_DEADLINE).await {
            tracing::debug!(%error, "the change is not seen yet");
        }
        outcome.into_iter().find_map(Result::err).map_or(Ok(()), |refusal| Err(refused(&refusal)))
    }
}

fn undecided(failure: ProposeFailure) -> Problem {
    Problem::unavailable(
        "no-leader",
        format!("the cluster cannot agree on anything now: {failure}; try again in a moment"),
    )
}

fn refused(refusal: &Refusal) -> Problem {
    Problem::new(StatusCode::CONFLICT, "refused", refusal.to_string())
}

//! A person who moves shards by hand, at random, as `node::cluster::operations` has it done.

use std::sync::Arc;
use std::time::Duration;

use aeterna_cluster::consensus::RaftNode;
use aeterna_cluster::name::{NodeName, ShardId};
use aeterna_cluster::shard_map::Command;
use aeterna_cluster::supervisor::{PeerApi, PeerFailure, Proposed};

use crate::calls::Calls;
use crate::chance::Chance;
use crate::judge::Judge;
use crate::node::{Size, name_of};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// Times that a node's word on who leads is followed.
const HOPS: usize = 3;

/// Who moves shards.
pub struct Operator {
    /// How it asks.
    pub calls: Arc<Calls>,
    /// The cluster.
    pub size: Size,
    /// Who is told.
    pub judge: Arc<Judge>,
}

fn node(number: usize) -> RaftNode {
    let name = name_of(number);
    RaftNode { address: name.to_string(), name }
}

impl Operator {
    /// Has a shard moved to a node, through any node; what is wrong with that is told in the log.
    pub async fn act(&self, chance: &mut Chance) {
        let (through, to) = (chance.index(self.size.nodes), chance.index(self.size.nodes));
        let shard = ShardId(u32::try_from(chance.below(self.size.shards.into())).unwrap_or(0));
        let told = match self.change(&node(through), shard, name_of(to)).await {
            Ok(told) => told,
            Err(error) => error.to_string(),
        };
        self.judge.log(|| format!("shard {shard} is to go to node {to}: {told}"));
    }

    async fn change(
        &self,
        through: &RaftNode,
        shard: ShardId,
        to: NodeName,
    ) -> Result<String, PeerFailure> {
        let map = self.calls.pull_map(through, 0, PATIENCE).await?;
        let Some(now) = map.as_ref().and_then(|map| map.shard(shard)) else {
            return Ok("there is no map yet".to_owned());
        };
        let stays = now.moving_to.is_some() && now.owner.as_ref() == Some(&to);
        let seen = now.epoch;
        let command = match stays {
            true => Command::AbortMove { shard, seen },
            false => Command::BeginMove { shard, seen, to },
        };
        let mut asked = through.clone();
        for _ in 0..HOPS {
            match self.calls.propose(&asked, &command, PATIENCE).await? {
                Proposed::Applied(outcome) => return Ok(format!("{outcome:?}")),
                Proposed::NotLeader { leader: Some(leader) } => asked = leader,
                Proposed::NotLeader { leader: None } => break,
            }
        }
        Ok("nobody leads".to_owned())
    }
}

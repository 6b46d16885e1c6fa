//! The table of the cluster's nodes in the database, for whoever looks there.

use std::collections::BTreeSet;
use std::time::Duration;

use aeterna_cluster::gossip::Liveness;
use aeterna_repo::ManagerError;
use aeterna_repo::catalog::{NodeFacts, NodeStatus};

use super::Cluster;

/// Time to write a row while the node drains: it must not wait for a database that is away.
const WRITE_DEADLINE: Duration = Duration::from_secs(2);
/// How often a node's row is written.
const WRITE_EVERY: Duration = Duration::from_secs(5);

impl Cluster {
    /// Keeps this node's row up to date, and as the leader those of nodes that cannot; once it drains, it
    /// writes its row itself.
    pub(super) async fn registers(&self) {
        let mut is_told = false;
        loop {
            if self.is_draining() {
                return std::future::pending().await;
            }
            let written = self.write_rows().await;
            if let (Err(error), false) = (&written, is_told) {
                tracing::warn!(%error, "the table of nodes in the database is not kept up to date");
            }
            is_told = written.is_err();
            tokio::time::sleep(WRITE_EVERY).await;
        }
    }

    async fn write_rows(&self) -> Result<(), ManagerError> {
        self.write_row(NodeStatus::Active).await?;
        if self.consensus.status().leader_node.is_none_or(|node| node.name != self.name) {
            return Ok(());
        }
        let catalog = self.manager.catalog();
        let peers = self.peers();
        for (name, peer) in peers.iter().filter(|(_, peer)| peer.liveness == Liveness::Dead) {
            catalog.write_dead_node(name.as_str(), peer.generation).await?;
        }
        let map = self.map();
        let members: BTreeSet<&str> = map.members().keys().map(|name| name.as_str()).collect();
        for row in catalog.nodes().await? {
            let is_heard =
                peers.iter().any(|(name, peer)| name.as_str() == row.shard_id && peer.alive());
            if !members.contains(row.shard_id.as_str())
                && !is_heard
                && row.status != NodeStatus::Active.as_str()
            {
                catalog.forget_node(&row.shard_id).await?;
            }
        }
        Ok(())
    }

    /// Writes this node's row; that it cannot be is told in the log.
    pub(super) async fn register(&self, status: NodeStatus) {
        let status_word = status.as_str();
        match tokio::time::timeout(WRITE_DEADLINE, self.write_row(status)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, status = status_word, "the node's row cannot be written");
            }
            Err(_) => {
                tracing::warn!(status = status_word, "the node's row could not be written in time");
            }
        }
    }

    async fn write_row(&self, status: NodeStatus) -> Result<(), ManagerError> {
        let facts = self.facts();
        let node = NodeFacts {
            name: self.name.to_string(),
            generation: self.generation,
            http: facts.http,
            grpc: facts.grpc,
            version: facts.version,
            status,
            shards_serving: u64::from(facts.shards_serving),
            index_bytes: facts.shard_bytes.values().sum(),
            disk_total: facts.disk_total,
            disk_free: facts.disk_free,
            started_at: i64::try_from(self.generation).unwrap_or(i64::MAX),
        };
        Ok(self.manager.catalog().write_node(&node).await?)
    }
}

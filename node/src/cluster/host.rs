//! The shards on this node's disk, for the cluster's supervisor.

use std::sync::Arc;
use std::time::Instant;

use aeterna_cluster::name::{Epoch, ShardId};
use aeterna_cluster::supervisor::{Held, HeldState, HostError, ShardHost};
use aeterna_repo::{ManagerError, RepoManager, ShardSource, ShardState};
use async_trait::async_trait;

use super::metrics::ClusterMetrics;

/// Holds shards in the manager of repositories.
pub struct Host {
    manager: Arc<RepoManager>,
    metrics: Arc<ClusterMetrics>,
}

impl Host {
    /// Over this manager.
    pub fn new(manager: Arc<RepoManager>, metrics: Arc<ClusterMetrics>) -> Self {
        Self { manager, metrics }
    }
}

fn host_error(shard: ShardId, epoch: Epoch, error: &ManagerError) -> HostError {
    match error.is_fenced() {
        // A later one is there; which one, the map will tell.
        true => HostError::Fenced { shard, by: epoch.next() },
        false => HostError::Failed(error.to_string()),
    }
}

fn source(source: ShardSource) -> &'static str {
    match source {
        ShardSource::Local => "local",
        ShardSource::ColdStorage => "cold-storage",
        ShardSource::Empty => "empty",
    }
}

#[async_trait]
impl ShardHost for Host {
    async fn activate(&self, shard: ShardId, epoch: Epoch) -> Result<(), HostError> {
        let begun = Instant::now();
        let quiet = Arc::new(|_, _| {});
        let activated = self.manager.activate_shard(shard.0, epoch.0, quiet).await;
        match activated {
            Ok(activated) => {
                // What waits was restored the first time, and is asked for again.
                if !activated.awaits_catalog || activated.bytes > 0 {
                    let source = source(activated.source);
                    self.metrics.restored(source, activated.bytes, begun.elapsed());
                }
                match activated.awaits_catalog {
                    true => Err(HostError::Waits("for the database to answer".to_owned())),
                    false => Ok(()),
                }
            }
            Err(error) => {
                self.metrics.restore_failed();
                Err(host_error(shard, epoch, &error))
            }
        }
    }

    async fn replicate(&self, shard: ShardId, epoch: Epoch) -> Result<(), HostError> {
        let quiet = Arc::new(|_, _| {});
        let replicated = self.manager.replicate_shard(shard.0, epoch.0, quiet).await;
        replicated.map_err(|error| HostError::Failed(error.to_string()))
    }

    async fn hand_over(&self, shard: ShardId) -> Result<(), HostError> {
        let handed_over = self.manager.hand_over_shard(shard.0).await;
        handed_over.map_err(|error| HostError::Failed(error.to_string()))
    }

    async fn release(&self, shard: ShardId, upload: bool) -> Result<(), HostError> {
        let released = self.manager.release_shard(shard.0, upload).await;
        released.map_err(|error| HostError::Failed(error.to_string()))
    }

    fn held(&self) -> Vec<Held> {
        let held = self.manager.shard_states().into_iter().map(|held| Held {
            shard: ShardId(held.shard),
            epoch: Epoch(held.epoch),
            state: match held.state {
                ShardState::Restoring { .. } => HeldState::Opening,
                ShardState::Serving => HeldState::Serving,
                ShardState::HandedOver => HeldState::HandedOver,
                ShardState::Replica => HeldState::Replica,
                ShardState::Releasing => HeldState::Closing,
                ShardState::Failed { .. } => HeldState::Failed,
            },
            bytes: held.bytes,
        });
        held.collect()
    }
}

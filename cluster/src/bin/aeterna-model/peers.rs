//! What the nodes of the model see of each other, and how they reach each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aeterna_cluster::consensus::{Consensus, RaftId, RaftNode, RaftTransport, TransportError};
use aeterna_cluster::name::{Epoch, NodeName, ShardId};
use aeterna_cluster::shard_map::{Command, ShardMap};
use aeterna_cluster::supervisor::view::PeersView;
use aeterna_cluster::supervisor::{
    Held, HeldState, HostError, MembershipApi, PeerApi, PeerFailure, Proposed, ShardHost,
};
use async_trait::async_trait;
use tokio::time::{sleep, timeout};

/// One way of a message, as within a data centre.
const LATENCY: Duration = Duration::from_millis(1);

/// The network of the voters.
#[derive(Default)]
pub struct Net {
    listeners: Mutex<BTreeMap<NodeName, Arc<Consensus>>>,
}

impl Net {
    pub fn listen(&self, name: NodeName, consensus: Arc<Consensus>) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.insert(name, consensus);
    }

    fn at(&self, name: &NodeName) -> Option<Arc<Consensus>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

/// A node's way to others.
pub struct Wire(pub Arc<Net>);

#[async_trait]
impl RaftTransport for Wire {
    async fn call(
        &self,
        target: RaftId,
        node: &RaftNode,
        kind: &'static str,
        payload: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        let unreachable = |why: String| TransportError::Unreachable(why);
        let listener = self.0.at(&node.name);
        let listener = listener.ok_or_else(|| unreachable("nobody listens".to_owned()))?;
        // What was sent is answered, whether anyone still waits for it or not.
        let answer = tokio::spawn(async move {
            sleep(LATENCY).await;
            let answer = listener.receive(kind, target, &payload).await;
            sleep(LATENCY).await;
            answer
        });
        match timeout(deadline, answer).await {
            Err(_) => Err(TransportError::Timeout(deadline)),
            Ok(Err(error)) => Err(unreachable(error.to_string())),
            Ok(Ok(answer)) => answer.map_err(|error| unreachable(error.to_string())),
        }
    }
}

#[async_trait]
impl PeerApi for Wire {
    async fn pull_map(
        &self,
        from: &RaftNode,
        newer_than: u64,
        _: Duration,
    ) -> Result<Option<ShardMap>, PeerFailure> {
        sleep(2 * LATENCY).await;
        let map = self.0.at(&from.name).map(|listener| listener.map());
        Ok(map.filter(|map| map.version() > newer_than).map(|map| (*map).clone()))
    }

    async fn propose(
        &self,
        to: &RaftNode,
        command: &Command,
        _: Duration,
    ) -> Result<Proposed, PeerFailure> {
        let failed = |detail: String| PeerFailure::of(to, detail);
        sleep(2 * LATENCY).await;
        let listener = self.0.at(&to.name).ok_or_else(|| failed("nobody listens".to_owned()))?;
        let outcome = listener.propose(command.clone()).await;
        outcome.map(Proposed::Applied).map_err(|error| failed(error.to_string()))
    }

    fn set_addresses(&self, _: BTreeMap<NodeName, String>) {}
}

/// What gossip would tell, the same to all.
#[derive(Default)]
pub struct Seen(Mutex<Arc<PeersView>>);

impl Seen {
    pub fn set(&self, view: PeersView) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }
}

impl MembershipApi for Seen {
    fn peers(&self) -> Arc<PeersView> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Holds shards without anything in them.
#[derive(Default)]
pub struct Hollow(Mutex<BTreeMap<ShardId, Epoch>>);

impl Hollow {
    fn held_shards(&self) -> std::sync::MutexGuard<'_, BTreeMap<ShardId, Epoch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ShardHost for Hollow {
    async fn activate(&self, shard: ShardId, epoch: Epoch) -> Result<(), HostError> {
        self.held_shards().insert(shard, epoch);
        Ok(())
    }

    async fn release(&self, shard: ShardId, _: bool) -> Result<(), HostError> {
        self.held_shards().remove(&shard);
        Ok(())
    }

    fn held(&self) -> Vec<Held> {
        let held = self.held_shards().clone().into_iter();
        held.map(|(shard, epoch)| Held { shard, epoch, state: HeldState::Serving, bytes: 0 })
            .collect()
    }
}

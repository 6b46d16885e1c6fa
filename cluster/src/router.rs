//! Who is to be asked about a shard: the newest shard map that this node knows, with where the nodes
//! are now.
//!
//! Nodes that take part in the Raft group have the map from there; all others pull it from any node
//! whose gossip shows a newer version. A map is never replaced by an older one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::consensus::RaftNode;
use crate::name::{Epoch, NodeName, ShardId};
use crate::shard_map::ShardMap;
use crate::supervisor::view::PeersView;
use crate::supervisor::{MembershipApi, PeerApi, PeerFailure};

/// Nodes that are asked for a newer map at one refresh, at most.
const ASKED: usize = 4;
/// How long one of them may take.
const PULL_DEADLINE: Duration = Duration::from_secs(1);

/// A node that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: NodeName,
    /// Its gRPC address, `host:port`; empty for this node itself, as long as it knows none.
    pub address: String,
    /// Whether it is likely to be gone, though not for long enough to be sure.
    pub suspected: bool,
}

/// Who owns a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The node.
    pub target: Target,
    /// The epoch that it owns it under.
    pub epoch: Epoch,
}

/// Why nobody can be asked about a shard.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unavailable {
    /// The cluster has fewer shards.
    #[error("there is no shard {0}")]
    UnknownShard(ShardId),
    /// It was never given to anyone, or this node has no shard map yet.
    #[error("nobody owns it yet")]
    NoOwner,
    /// This node does not know where its owner is.
    #[error("its owner {0} has not been heard of")]
    NotHeardOf(NodeName),
    /// Its owner is gone, and no other node has it yet.
    #[error("its owner {0} is down; another node gets it")]
    Down(NodeName),
}

/// Whom to ask for a search of all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchPlan {
    /// Version of the map that it was made of.
    pub map_version: u64,
    /// Each node and the shards to be searched there, by the nodes' names: those that it owns, and
    /// those that it has a copy of and whose owner is gone, or likely to be.
    pub by_node: Vec<(Target, Vec<(ShardId, Epoch)>)>,
    /// Shards that nobody can be asked about, and why.
    pub unavailable: Vec<(ShardId, Unavailable)>,
}

/// Why there is no newer map.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "no node has shown a shard map of version {wanted}; the newest known is {have}{}",
    match last { Some(failure) => format!(" (last tried: {failure})"), None => String::new() }
)]
pub struct NoNewerMap {
    /// The version that was wanted.
    pub wanted: u64,
    /// The version that there is.
    pub have: u64,
    /// Why the node that was asked last did not answer.
    pub last: Option<PeerFailure>,
}

/// Knows who is to be asked about a shard.
pub struct Router {
    me: NodeName,
    map: watch::Sender<Arc<ShardMap>>,
    membership: Arc<dyn MembershipApi>,
    peers: Arc<dyn PeerApi>,
    /// One pulls, others wait for what comes of it.
    pulling: tokio::sync::Mutex<()>,
    planned: Mutex<Option<Planned>>,
    attended: Mutex<Instant>,
}

/// A plan, and what it was made of.
struct Planned {
    map: Arc<ShardMap>,
    view: Arc<PeersView>,
    plan: Arc<SearchPlan>,
}

impl Router {
    /// Of a node in a cluster of so many shards, with no map yet.
    pub fn new(
        me: NodeName,
        cluster: Uuid,
        shards: u32,
        membership: Arc<dyn MembershipApi>,
        peers: Arc<dyn PeerApi>,
    ) -> Arc<Self> {
        let map = watch::Sender::new(Arc::new(ShardMap::new(cluster, shards)));
        let (pulling, planned) = Default::default();
        let attended = Mutex::new(Instant::now());
        Arc::new(Self { me, map, membership, peers, pulling, planned, attended })
    }

    /// This node.
    pub fn me(&self) -> &NodeName {
        &self.me
    }

    /// The newest map that is known; of version 0 and without owners before there is one.
    pub fn map(&self) -> Arc<ShardMap> {
        Arc::clone(&self.map.borrow())
    }

    /// [`Self::map`], and each one after it.
    pub fn watch(&self) -> watch::Receiver<Arc<ShardMap>> {
        self.map.subscribe()
    }

    /// The shard of what has this hash.
    pub fn shard_of(&self, hash: u64) -> ShardId {
        let shards = self.map.borrow().shards().len().max(1) as u64;
        ShardId(u32::try_from(hash % shards).unwrap_or(0))
    }

    /// Notes that it was just looked for a newer map.
    pub(crate) fn attend(&self) {
        *self.attended.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// For how long nobody has looked for a newer map: fractions of a second, unless this process was
    /// paused or is overloaded, or the supervisor does not run. The map may be old then.
    pub fn unattended_for(&self) -> Duration {
        self.attended.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Takes a map in, if it is a newer one of this cluster.
    pub fn offer(&self, map: &Arc<ShardMap>) -> bool {
        self.map.send_if_modified(|known| {
            let same_cluster = map.cluster() == known.cluster();
            let is_newer = map.version() > known.version();
            let fits = same_cluster && map.shards().len() == known.shards().len();
            if fits && is_newer {
                *known = Arc::clone(map);
            }
            fits && is_newer
        })
    }

    /// Who owns a shard, when that node can be asked.
    ///
    /// # Errors
    /// Why nobody can be asked.
    pub fn owner(&self, shard: ShardId) -> Result<Owner, Unavailable> {
        let map = self.map();
        let entry = map.shard(shard).ok_or(Unavailable::UnknownShard(shard))?;
        let owner = entry.owner.as_ref().ok_or(Unavailable::NoOwner)?;
        let target = self.target(owner, &self.membership.peers())?;
        Ok(Owner { target, epoch: entry.epoch })
    }

    /// Who can be asked for a search of a shard: its owner, and those that have a copy of it or are to
    /// have one, those last that are likely to be gone; with the epoch by this node's map.
    pub fn holders(&self, shard: ShardId) -> (Vec<Target>, Epoch) {
        let (map, view) = (self.map(), self.membership.peers());
        let Some(entry) = map.shard(shard) else { return Default::default() };
        let copied = entry.moving_to.iter().filter(|_| entry.copied);
        let names = entry.owner.iter().chain(&entry.replicas).chain(copied);
        let mut targets: Vec<_> = names.filter_map(|name| self.target(name, &view).ok()).collect();
        targets.sort_by_key(|target| target.suspected);
        (targets, entry.epoch)
    }

    /// The newest version of the map that any node has told of which may be asked for it.
    pub fn newest_heard_of(&self) -> u64 {
        let view = self.membership.peers();
        let present = view.values().filter(|peer| !peer.gone());
        present.map(|peer| peer.map_version).max().unwrap_or(0)
    }

    /// Whom to ask for a search of all shards.
    pub fn plan_search(&self) -> Arc<SearchPlan> {
        let (map, view) = (self.map(), self.membership.peers());
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*planned
            && Arc::ptr_eq(&known.map, &map)
            && Arc::ptr_eq(&known.view, &view)
        {
            return Arc::clone(&known.plan);
        }
        let plan = Arc::new(self.plan(&map, &view));
        *planned = Some(Planned { map, view, plan: Arc::clone(&plan) });
        plan
    }

    fn plan(&self, map: &ShardMap, view: &PeersView) -> SearchPlan {
        let mut plan = SearchPlan { map_version: map.version(), ..SearchPlan::default() };
        let mut targets: BTreeMap<&NodeName, Result<Target, Unavailable>> = BTreeMap::new();
        let mut by_node: BTreeMap<&NodeName, Vec<(ShardId, Epoch)>> = BTreeMap::new();
        for (number, shard) in (0u32..).map(ShardId).zip(map.shards()) {
            let Some(owner) = &shard.owner else {
                plan.unavailable.push((number, Unavailable::NoOwner));
                continue;
            };
            // The owner has the newest; but one that is likely to be gone is asked last.
            let best = [owner].into_iter().chain(&shard.replicas).filter_map(|name| {
                let target = targets.entry(name).or_insert_with(|| self.target(name, view));
                let target = target.as_ref().ok()?;
                Some((target.suspected, name != owner, name))
            });
            let best = best.min();
            match best {
                Some((_, _, name)) => by_node.entry(name).or_default().push((number, shard.epoch)),
                None => {
                    let why = targets.get(owner).cloned().and_then(Result::err);
                    plan.unavailable.push((number, why.unwrap_or(Unavailable::NoOwner)));
                }
            }
        }
        for (name, shards) in by_node {
            if let Some(Ok(target)) = targets.remove(name) {
                plan.by_node.push((target, shards));
            }
        }
        plan
    }

    fn target(&self, name: &NodeName, view: &PeersView) -> Result<Target, Unavailable> {
        let is_me = *name == self.me;
        match view.get(name) {
            Some(peer) if is_me || !peer.gone() => Ok(Target {
                name: name.clone(),
                address: peer.grpc.clone(),
                suspected: peer.suspected && !is_me,
            }),
            None if is_me => {
                let address = String::new();
                Ok(Target { name: name.clone(), address, suspected: false })
            }
            Some(_) => Err(Unavailable::Down(name.clone())),
            None => Err(Unavailable::NotHeardOf(name.clone())),
        }
    }

    /// Pulls a map of at least this version from those who have a newer one than this node, the newest
    /// first; such as when a node refused an epoch. What comes is taken in, even when it is older
    /// than wanted.
    ///
    /// # Errors
    /// [`NoNewerMap`], when the deadline passes or nobody else can be asked.
    pub async fn refresh(
        &self,
        at_least: u64,
        deadline: Duration,
    ) -> Result<Arc<ShardMap>, NoNewerMap> {
        let deadline = Instant::now() + deadline;
        let mut last = None;
        let pulled = timeout_at(deadline, self.pull(at_least, &mut last)).await;
        let map = self.map();
        match map.version() >= at_least {
            true => Ok(map),
            false => {
                let last = last.filter(|_| pulled.is_ok());
                Err(NoNewerMap { wanted: at_least, have: map.version(), last })
            }
        }
    }

    async fn pull(&self, at_least: u64, last: &mut Option<PeerFailure>) {
        let _one_at_a_time = self.pulling.lock().await;
        for node in self.sources() {
            let have = self.map.borrow().version();
            if have >= at_least {
                return;
            }
            match self.peers.pull_map(&node, have, PULL_DEADLINE).await {
                Ok(Some(map)) => _ = self.offer(&Arc::new(map)),
                Ok(None) => {}
                Err(failure) => *last = Some(failure),
            }
        }
    }

    /// Who may have a newer map: those who say so first.
    fn sources(&self) -> Vec<RaftNode> {
        let view = self.membership.peers();
        let others = view.iter().filter(|(name, peer)| **name != self.me && !peer.gone());
        let mut others: Vec<_> = others.collect();
        others.sort_by_key(|(_, peer)| (std::cmp::Reverse(peer.map_version), peer.suspected));
        let node = |(name, peer): (&NodeName, &crate::supervisor::view::PeerView)| RaftNode {
            name: name.clone(),
            address: peer.grpc.clone(),
        };
        others.into_iter().take(ASKED).map(node).collect()
    }
}

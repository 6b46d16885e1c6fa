//! The rest of a cluster, in memory: one state machine that everyone proposes to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aeterna_cluster::consensus::{RaftId, RaftNode};
use aeterna_cluster::gossip::Liveness;
use aeterna_cluster::name::{NodeName, ShardId};
use aeterna_cluster::router::Router;
use aeterna_cluster::shard_map::{Assignment, Command, Outcome, ShardMap};
use aeterna_cluster::supervisor::view::{PeerView, PeersView, RaftView};
use aeterna_cluster::supervisor::{
    ConsensusApi, MembershipApi, Parts, PeerApi, PeerFailure, ProposeFailure, Proposed, ShardHost,
};
use async_trait::async_trait;
use tokio::sync::watch;
use uuid::Uuid;

pub const CLUSTER: Uuid = Uuid::from_u128(3);

pub fn name(number: u64) -> NodeName {
    format!("node-{number}").parse().unwrap()
}

pub fn peer(number: u64) -> PeerView {
    PeerView {
        generation: 1,
        grpc: format!("127.0.0.1:{}", 7_000 + number),
        raft_id: Some(RaftId(100 + number)),
        zone: None,
        capacity: 100,
        ready: true,
        draining: false,
        full: false,
        map_version: 0,
        shards_serving: 0,
        shard_bytes: BTreeMap::new(),
        heartbeat_age: Duration::ZERO,
        suspected: false,
        liveness: Liveness::Alive,
    }
}

/// What everyone sees: the map, the gossip, the Raft group.
pub struct Fake {
    pub map: watch::Sender<Arc<ShardMap>>,
    pub peers: Mutex<Arc<PeersView>>,
    pub raft: Mutex<RaftView>,
    pub commands: Mutex<Vec<Command>>,
    /// How often node 0 has said that it is back, which it does after each start.
    pub returns: AtomicUsize,
    /// How long it takes until it is heard.
    pub return_takes: Mutex<Duration>,
    pub changes: Mutex<Vec<String>>,
    /// Whether a quorum says that this node leads.
    pub has_quorum: watch::Sender<bool>,
    /// How often leadership was to be confirmed.
    pub confirmations: watch::Sender<u64>,
    /// Who applies proposals, of those who are asked by a call.
    pub leader: Mutex<Option<NodeName>>,
    /// Who was asked.
    pub asked: Mutex<Vec<NodeName>>,
    /// What others have as the shard map.
    pub remote: Mutex<BTreeMap<NodeName, ShardMap>>,
    pub addresses: Mutex<BTreeMap<NodeName, String>>,
}

impl Fake {
    /// So many nodes, all members; node 0 is this one, and leads.
    pub fn new(nodes: u64, shards: u32) -> Arc<Self> {
        let mut map = ShardMap::new(CLUSTER, shards);
        for number in 0..nodes {
            map.apply(Command::Join { node: name(number), zone: None, capacity: 100 });
        }
        let voter = RaftNode { name: name(0), address: peer(0).grpc };
        let voters = BTreeMap::from([(RaftId(100), voter)]);
        let raft =
            RaftView { id: RaftId(100), term: 1, leads: true, voters, ..RaftView::default() };
        Arc::new(Self {
            map: watch::Sender::new(Arc::new(map)),
            peers: Mutex::new(Arc::new((0..nodes).map(|n| (name(n), peer(n))).collect())),
            raft: Mutex::new(raft),
            commands: Mutex::default(),
            returns: AtomicUsize::default(),
            return_takes: Mutex::default(),
            changes: Mutex::default(),
            has_quorum: watch::Sender::new(true),
            confirmations: watch::Sender::new(0),
            leader: Mutex::default(),
            asked: Mutex::default(),
            remote: Mutex::default(),
            addresses: Mutex::default(),
        })
    }

    /// One that another node leads, which applies what it is asked to.
    pub fn that_follows(nodes: u64, shards: u32) -> Arc<Self> {
        let fake = Self::new(nodes, shards);
        fake.raft.lock().unwrap().leads = false;
        *fake.leader.lock().unwrap() = Some(name(1));
        fake
    }

    pub fn parts(self: &Arc<Self>, host: Arc<dyn ShardHost>) -> Parts {
        let shards = u32::try_from(self.map.borrow().shards().len()).unwrap();
        let router = Router::new(name(0), CLUSTER, shards, self.clone(), self.clone());
        Parts {
            consensus: self.clone(),
            membership: self.clone(),
            host,
            peers: self.clone(),
            router,
        }
    }

    pub fn apply(&self, command: Command) -> Outcome {
        let mut outcome = Vec::new();
        self.map.send_modify(|map| {
            let mut changed = ShardMap::clone(map);
            outcome = changed.apply(command);
            *map = Arc::new(changed);
        });
        outcome
    }

    fn note(&self, command: &Command) {
        match command {
            Command::Join { node, .. } if *node == name(0) => {
                self.returns.fetch_add(1, Ordering::Relaxed);
            }
            other => self.commands.lock().unwrap().push(other.clone()),
        }
    }

    pub fn assign(&self, shard: u32, owner: u64) {
        let shard = ShardId(shard);
        let seen = self.map.borrow().shard(shard).unwrap().epoch;
        let assignment = Assignment { shard, seen, owner: name(owner), replicas: Vec::new() };
        assert_eq!(self.apply(Command::Assign { assignments: vec![assignment] }), [Ok(())]);
    }

    pub fn see(&self, number: u64, change: impl FnOnce(&mut PeerView)) {
        let mut peers = self.peers.lock().unwrap();
        let mut changed = PeersView::clone(&peers);
        change(changed.entry(name(number)).or_insert_with(|| peer(number)));
        *peers = Arc::new(changed);
    }

    fn change(&self, what: String) -> Result<(), ProposeFailure> {
        self.changes.lock().unwrap().push(what);
        Ok(())
    }
}

#[async_trait]
impl ConsensusApi for Fake {
    fn status(&self) -> RaftView {
        self.raft.lock().unwrap().clone()
    }

    fn watch_map(&self) -> watch::Receiver<Arc<ShardMap>> {
        self.map.subscribe()
    }

    async fn propose(&self, command: Command) -> Result<Outcome, ProposeFailure> {
        if !self.raft.lock().unwrap().leads {
            return Err(ProposeFailure::NotLeader { leader: None });
        }
        self.note(&command);
        Ok(self.apply(command))
    }

    async fn confirm_leadership(&self) -> Result<(), ProposeFailure> {
        let has_quorum = *self.has_quorum.borrow();
        self.confirmations.send_modify(|count| *count += 1);
        match has_quorum {
            true => Ok(()),
            false => Err(ProposeFailure::NotLeader { leader: None }),
        }
    }

    async fn add_learner(&self, id: RaftId, _member: RaftNode) -> Result<(), ProposeFailure> {
        self.change(format!("add {id}"))
    }

    async fn change_voters(
        &self,
        add: &BTreeSet<RaftId>,
        remove: &BTreeSet<RaftId>,
    ) -> Result<(), ProposeFailure> {
        self.change(format!("votes for {add:?}, none for {remove:?}"))
    }

    async fn settle(&self) -> Result<(), ProposeFailure> {
        self.change("settle".to_owned())
    }

    async fn remove(&self, id: RaftId) -> Result<(), ProposeFailure> {
        self.change(format!("remove {id}"))
    }
}

impl MembershipApi for Fake {
    fn peers(&self) -> Arc<PeersView> {
        Arc::clone(&self.peers.lock().unwrap())
    }
}

#[async_trait]
impl PeerApi for Fake {
    async fn pull_map(
        &self,
        from: &RaftNode,
        newer_than: u64,
        _deadline: Duration,
    ) -> Result<Option<ShardMap>, PeerFailure> {
        self.asked.lock().unwrap().push(from.name.clone());
        match self.remote.lock().unwrap().get(&from.name) {
            Some(map) => Ok(Some(map.clone()).filter(|map| map.version() > newer_than)),
            None => Err(PeerFailure::of(from, "nobody listens".to_owned())),
        }
    }

    async fn propose(
        &self,
        to: &RaftNode,
        command: &Command,
        _deadline: Duration,
    ) -> Result<Proposed, PeerFailure> {
        self.asked.lock().unwrap().push(to.name.clone());
        if matches!(command, Command::Join { node, .. } if *node == name(0)) {
            let takes = *self.return_takes.lock().unwrap();
            tokio::time::sleep(takes).await;
        }
        let leader = self.leader.lock().unwrap().clone();
        if leader.as_ref() == Some(&to.name) {
            self.note(command);
            return Ok(Proposed::Applied(self.apply(command.clone())));
        }
        Ok(Proposed::NotLeader { leader: None })
    }

    fn set_addresses(&self, addresses: BTreeMap<NodeName, String>) {
        *self.addresses.lock().unwrap() = addresses;
    }
}

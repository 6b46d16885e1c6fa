//! Nodes of a Raft group in one process: real files, and a network that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aeterna_cluster::consensus::{
    Consensus, ConsensusConfig, ConsensusError, ProposeError, RaftId, RaftNode, RaftTransport,
    Status, TransportError,
};
use aeterna_cluster::name::NodeName;
use aeterna_cluster::shard_map::{Command, Outcome, ShardMap};
use async_trait::async_trait;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

pub const CLUSTER: Uuid = Uuid::from_u128(0x0c0ffee0_0000_4000_8000_000000000001);
pub const SHARDS: u32 = 8;
/// Longer than anything takes on a machine that does much else: a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits for what must come.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Says of a message from one address to another whether it is lost.
pub type Loss = Box<dyn Fn(&str, &str, &[u8]) -> bool + Send>;

/// Who listens where, and who cannot hear whom.
#[derive(Default)]
pub struct Net {
    listeners: Mutex<BTreeMap<String, Arc<Consensus>>>,
    cut: Mutex<BTreeSet<(String, String)>>,
    pub loss: Mutex<Option<Loss>>,
    /// Kinds and sizes of messages that were delivered.
    pub sent: Mutex<Vec<(&'static str, usize)>>,
}

impl Net {
    fn loses(&self, from: &str, to: &str, payload: &[u8]) -> bool {
        let cut = self.cut.lock().unwrap().contains(&(from.to_owned(), to.to_owned()));
        cut || self.loss.lock().unwrap().as_ref().is_some_and(|loss| loss(from, to, payload))
    }
}

struct Wire {
    net: Arc<Net>,
    from: String,
}

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
        let unreachable = |why: &str| TransportError::Unreachable(why.to_owned());
        if self.net.loses(&self.from, &node.address, &payload) {
            return Err(unreachable("cut off"));
        }
        let listener = self.net.listeners.lock().unwrap().get(&node.address).cloned();
        let listener = listener.ok_or_else(|| unreachable("nobody listens"))?;
        self.net.sent.lock().unwrap().push((kind, payload.len()));
        // As over a network: what was sent is answered, whether anyone still waits for it or not.
        let answer = tokio::spawn(async move { listener.receive(kind, target, &payload).await });
        match timeout(deadline, answer).await {
            Err(_) => Err(TransportError::Timeout(deadline)),
            Ok(Err(error)) => Err(unreachable(&error.to_string())),
            Ok(Ok(answer)) => answer.map_err(|error| unreachable(&error.to_string())),
        }
    }
}

/// A group under test.
pub struct Group {
    pub net: Arc<Net>,
    nodes: Mutex<BTreeMap<usize, Arc<Consensus>>>,
    folders: TempDir,
    /// Which folder a node has: another one after its disk was lost.
    disks: Mutex<BTreeMap<usize, usize>>,
    changed: watch::Sender<u64>,
    shards: u32,
    /// What nodes are told when they are opened.
    pub incarnation: AtomicU32,
}

pub fn name(number: usize) -> NodeName {
    format!("node-{number}").parse().unwrap()
}

fn address(number: usize) -> String {
    format!("node-{number}:1")
}

pub fn node(number: usize) -> RaftNode {
    RaftNode { name: name(number), address: address(number) }
}

/// A command that changes something whenever it is applied.
pub fn join(node: usize, capacity: u32) -> Command {
    Command::Join { node: name(node), zone: None, capacity }
}

pub fn capacity(map: &ShardMap, node: usize) -> Option<u32> {
    map.members().get(&name(node)).map(|member| member.capacity)
}

impl Group {
    pub fn new(shards: u32) -> Self {
        Self {
            net: Arc::default(),
            nodes: Mutex::default(),
            folders: tempfile::tempdir().unwrap(),
            disks: Mutex::default(),
            changed: watch::Sender::new(0),
            shards,
            incarnation: AtomicU32::new(0),
        }
    }

    /// A group of so many voters, made by the first.
    pub async fn of(voters: usize) -> Self {
        Self::with_shards(voters, SHARDS).await
    }

    pub async fn with_shards(voters: usize, shards: u32) -> Self {
        let group = Self::new(shards);
        group.open(0).await;
        soon("initialisation", group.node(0).initialize()).await.unwrap();
        for number in 1..voters {
            group.open(number).await;
            group.add_voter(number).await;
        }
        group
    }

    pub fn folder(&self, number: usize) -> PathBuf {
        let disk = self.disks.lock().unwrap().get(&number).copied().unwrap_or_default();
        self.folders.path().join(format!("{number}-{disk}")).join("raft")
    }

    pub fn config(&self, number: usize) -> ConsensusConfig {
        let (folder, millis) = (self.folder(number), Duration::from_millis);
        ConsensusConfig {
            incarnation: self.incarnation.load(Ordering::Relaxed),
            heartbeat: millis(100),
            election: (millis(500), millis(1000)),
            rpc_timeout: millis(5000),
            ..ConsensusConfig::new(folder, CLUSTER, self.shards, name(number), address(number))
        }
    }

    pub async fn try_open(&self, config: ConsensusConfig) -> Result<Consensus, ConsensusError> {
        let wire = Wire { net: self.net.clone(), from: config.address.clone() };
        Consensus::open(config, Arc::new(wire)).await
    }

    pub async fn open(&self, number: usize) {
        let opened = soon("opening", self.try_open(self.config(number))).await.unwrap();
        let opened = Arc::new(opened);
        let (mut status, changed) = (opened.watch_status(), self.changed.clone());
        tokio::spawn(async move {
            while status.changed().await.is_ok() {
                changed.send_modify(|count| *count += 1);
            }
        });
        self.net.listeners.lock().unwrap().insert(address(number), opened.clone());
        self.nodes.lock().unwrap().insert(number, opened);
    }

    /// Stops a node; its disk stays as it is.
    pub async fn stop(&self, number: usize) {
        self.net.listeners.lock().unwrap().remove(&address(number));
        let node = self.nodes.lock().unwrap().remove(&number).unwrap();
        soon("shutdown", node.shutdown()).await;
    }

    /// Stops a node and starts it again: it must not have forgotten what it showed.
    pub async fn restart(&self, number: usize) {
        let node = self.node(number);
        self.stop(number).await;
        let (map, status) = (node.map(), node.status());
        self.open(number).await;
        let again = self.node(number);
        assert_eq!(again.raft_id(), node.raft_id());
        assert!(again.map().version() >= map.version(), "an older map");
        assert!(again.status().term >= status.term, "an older term");
    }

    /// Gives a stopped node an empty disk.
    pub fn lose_disk(&self, number: usize) {
        assert!(!self.numbers().contains(&number));
        *self.disks.lock().unwrap().entry(number).or_default() += 1;
    }

    /// Lets nothing through between one side and the other.
    pub fn cut(&self, one: &[usize], other: &[usize]) {
        self.cut_from(one, other);
        self.cut_from(other, one);
    }

    /// Lets nothing through from one side to the other.
    pub fn cut_from(&self, from: &[usize], to: &[usize]) {
        let mut cut = self.net.cut.lock().unwrap();
        for (from, to) in from.iter().flat_map(|from| to.iter().map(move |to| (from, to))) {
            cut.insert((address(*from), address(*to)));
        }
    }

    pub fn heal(&self) {
        self.net.cut.lock().unwrap().clear();
    }

    pub fn node(&self, number: usize) -> Arc<Consensus> {
        self.nodes.lock().unwrap()[&number].clone()
    }

    pub fn id(&self, number: usize) -> RaftId {
        self.node(number).raft_id()
    }

    /// The nodes that run.
    pub fn numbers(&self) -> Vec<usize> {
        self.nodes.lock().unwrap().keys().copied().collect()
    }

    /// A node that leads and has made sure of it.
    pub async fn leader(&self) -> usize {
        self.leader_among(|_| true).await
    }

    pub async fn leader_among(&self, wanted: impl Fn(usize) -> bool) -> usize {
        let mut changed = self.changed.subscribe();
        let found = async {
            loop {
                changed.borrow_and_update();
                let nodes = self.nodes.lock().unwrap().clone();
                for (number, node) in nodes.into_iter().filter(|(number, _)| wanted(*number)) {
                    if node.status().is_leader() && node.confirm_leadership().await.is_ok() {
                        return number;
                    }
                }
                // A leader whose majority is away may get it back without any status that changes.
                let _ = timeout(Duration::from_millis(200), changed.changed()).await;
            }
        };
        soon("a leader", found).await
    }

    /// Has the leader do something until it is done, whoever leads meanwhile.
    pub async fn lead<T, F: Future<Output = Result<T, ProposeError>>>(
        &self,
        what: impl Fn(Arc<Consensus>) -> F,
    ) -> T {
        let done = async {
            loop {
                let leader = self.leader().await;
                // It may have been stopped meanwhile.
                let leader = self.nodes.lock().unwrap().get(&leader).cloned();
                let Some(leader) = leader else { continue };
                match what(leader).await {
                    Ok(done) => return done,
                    Err(
                        ProposeError::NotLeader { .. }
                        | ProposeError::Stopped(_)
                        | ProposeError::Timeout { .. }
                        | ProposeError::NoQuorum(_)
                        | ProposeError::Behind { .. }
                        | ProposeError::ChangeUnderWay(_),
                    ) => tokio::time::sleep(Duration::from_millis(50)).await,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        soon("what the leader was asked for", done).await
    }

    pub async fn propose(&self, command: Command) -> Outcome {
        self.lead(|leader| {
            let command = command.clone();
            async move { leader.propose(command).await }
        })
        .await
    }

    pub async fn add_learner(&self, number: usize) {
        let (id, at) = (self.id(number), node(number));
        self.lead(|leader| {
            let at = at.clone();
            async move { leader.add_learner(id, at).await }
        })
        .await;
    }

    pub async fn add_voter(&self, number: usize) {
        self.add_learner(number).await;
        self.change_voters(&[self.id(number)], &[]).await;
    }

    pub async fn change_voters(&self, add: &[RaftId], remove: &[RaftId]) {
        let ids = |ids: &[RaftId]| ids.iter().copied().collect::<BTreeSet<_>>();
        let (add, remove) = (ids(add), ids(remove));
        self.lead(|leader| {
            let (add, remove) = (add.clone(), remove.clone());
            async move { leader.change_voters(&add, &remove).await }
        })
        .await;
    }

    pub async fn remove(&self, id: RaftId) {
        self.lead(|leader| async move { leader.remove(id).await }).await;
    }

    /// Waits until a node's view of the group is as it should be.
    pub async fn status(&self, number: usize, what: impl Fn(&Status) -> bool) -> Status {
        let mut statuses = self.node(number).watch_status();
        soon(&format!("the status on node {number}"), statuses.wait_for(|status| what(status)))
            .await
            .unwrap()
            .clone()
    }

    /// Waits until a node's map is as it should be.
    pub async fn sees(&self, number: usize, what: impl Fn(&ShardMap) -> bool) -> Arc<ShardMap> {
        let mut maps = self.node(number).watch_map();
        soon(&format!("the map on node {number}"), maps.wait_for(|map| what(map)))
            .await
            .unwrap()
            .clone()
    }

    /// Waits until all nodes that run have the same map, and returns it.
    pub async fn same_map(&self) -> Arc<ShardMap> {
        let leader = self.leader().await;
        let map = self.node(leader).map();
        for number in self.numbers() {
            let version = map.version();
            assert_eq!(self.sees(number, |map| map.version() >= version).await, map);
        }
        map
    }
}

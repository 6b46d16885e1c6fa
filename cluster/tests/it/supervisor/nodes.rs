//! Whole nodes in one process: Raft on disk, gossip and gRPC over loopback; only the shards are
//! numbers.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aeterna_cluster::consensus::{Consensus, ConsensusConfig};
use aeterna_cluster::gossip::seal::{ClusterKey, ClusterKeys};
use aeterna_cluster::gossip::{Facts, GossipConfig, Membership};
use aeterna_cluster::name::{Epoch, NodeName, ShardId};
use aeterna_cluster::peers::{Answers, Guard, Peers, PeersConfig, system_clock};
use aeterna_cluster::router::Router;
use aeterna_cluster::shard_map::ShardMap;
use aeterna_cluster::supervisor::rules::Rules;
use aeterna_cluster::supervisor::{GossipAdapter, Parts, ShardHost, Supervisor, SupervisorConfig};
use aeterna_proto::node_server::{Node as NodeService, NodeServer};
use aeterna_proto::{
    ForwardRequest, ForwardResponse, ProposeRequest, ProposeResponse, RaftRequest, RaftResponse,
    ResumeRequest, ResumeResponse, SearchPart, SearchRequest, ShardMapRequest, ShardMapResponse,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::codegen::BoxStream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::host::{Cold, Host};

pub const CLUSTER: Uuid = Uuid::from_u128(0x5e1f);
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);
/// Whatever a test waits for has come long before.
const PATIENCE: Duration = Duration::from_secs(60);

/// The answers of one node, as the program gives them, without searches.
pub struct Service(pub Answers);

#[tonic::async_trait]
impl NodeService for Service {
    async fn raft(&self, request: Request<RaftRequest>) -> Result<Response<RaftResponse>, Status> {
        self.0.raft(request.into_inner()).await.map(Response::new)
    }

    async fn shard_map(
        &self,
        request: Request<ShardMapRequest>,
    ) -> Result<Response<ShardMapResponse>, Status> {
        self.0.shard_map(request.get_ref()).map(Response::new)
    }

    async fn propose(
        &self,
        request: Request<ProposeRequest>,
    ) -> Result<Response<ProposeResponse>, Status> {
        self.0.propose(request.into_inner()).await.map(Response::new)
    }

    type SearchStream = BoxStream<SearchPart>;

    async fn search(
        &self,
        _request: Request<SearchRequest>,
    ) -> Result<Response<Self::SearchStream>, Status> {
        Err(Status::unimplemented("no searches here"))
    }

    async fn resume(
        &self,
        _request: Request<ResumeRequest>,
    ) -> Result<Response<ResumeResponse>, Status> {
        Err(Status::unimplemented("no searches here"))
    }

    async fn forward(
        &self,
        _request: Request<ForwardRequest>,
    ) -> Result<Response<ForwardResponse>, Status> {
        Err(Status::unimplemented("no requests here"))
    }
}

/// One node.
pub struct Node {
    pub name: NodeName,
    pub consensus: Arc<Consensus>,
    pub membership: Arc<Membership>,
    pub router: Arc<Router>,
    pub host: Arc<Host>,
    pub supervisor: Option<Supervisor>,
    facts: tokio::sync::watch::Sender<Facts>,
    tasks: Vec<AbortHandle>,
    /// Ends the server, with all connections.
    stop: CancellationToken,
}

/// A cluster.
pub struct Nodes {
    folder: TempDir,
    pub cold: Arc<Cold>,
    pub nodes: BTreeMap<usize, Node>,
    shards: u32,
    seed: Option<SocketAddr>,
    generation: u64,
    pub rules: Rules,
}

pub fn name(number: usize) -> NodeName {
    format!("node-{number}").parse().unwrap()
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

pub fn keys() -> ClusterKeys {
    ClusterKeys { current: ClusterKey::new(&[7; 32]).unwrap(), other: None }
}

impl Nodes {
    pub fn new(shards: u32) -> Self {
        let rules = Rules {
            heartbeat_timeout: HEARTBEAT_TIMEOUT,
            settle: Duration::from_millis(500),
            ..Rules::default()
        };
        let (cold, nodes) = Default::default();
        let folder = tempfile::tempdir().unwrap();
        Self { folder, cold, nodes, shards, seed: None, generation: 0, rules }
    }

    /// So many nodes that have shared the shards out.
    pub async fn settled(nodes: usize, shards: u32) -> Self {
        let mut all = Self::new(shards);
        all.rules.expected_nodes = nodes;
        for number in 0..nodes {
            all.start(number).await;
        }
        all.until("every shard is served", Nodes::all_served).await;
        all
    }

    /// Starts a node; the very first one has claimed the cluster.
    pub async fn start(&mut self, number: usize) {
        self.generation += 1;
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let grpc = listener.local_addr().unwrap().to_string();
        let peers_config = PeersConfig {
            cluster: CLUSTER,
            name: name(number),
            keys: Some(keys()),
            tls: None,
            connect_timeout: Duration::from_secs(1),
            clock: system_clock(),
        };
        let peers = Peers::new(&peers_config).unwrap();
        let consensus = self.consensus(number, &grpc, Arc::clone(&peers)).await;
        if self.seed.is_none() {
            consensus.initialize().await.unwrap();
        }
        let facts = Facts {
            http: grpc.clone(),
            grpc,
            raft_id: consensus.raft_id().0,
            version: "1.0.0".into(),
            capacity: 100,
            ready: true,
            ..Facts::default()
        };
        let membership = Membership::start(self.gossip(number), facts.clone()).await.unwrap();
        let membership = Arc::new(membership);
        self.seed.get_or_insert(membership.address());
        let view = GossipAdapter::new(&membership, 900);
        let router = Router::new(name(number), CLUSTER, self.shards, view.clone(), peers.clone());
        let host = Arc::new(Host::new(name(number), &self.cold).that_serves_on());
        let config = SupervisorConfig {
            rules: self.rules.clone(),
            tick: Duration::from_millis(50),
            ..SupervisorConfig::default()
        };
        let parts = Parts {
            consensus: consensus.clone(),
            membership: view,
            host: host.clone(),
            peers,
            router: router.clone(),
        };
        let supervisor = Supervisor::start(config, parts);
        let answers = Answers {
            consensus: consensus.clone(),
            router: router.clone(),
            proposals: Arc::clone(supervisor.proposals()),
        };
        let guard = Guard::new(&peers_config).unwrap();
        let service = guard.wrap(NodeServer::new(Service(answers)));
        let server = Server::builder();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            let incoming = TcpIncoming::from(listener);
            server.serve_with_incoming_shutdown(service, incoming, stopped).await.unwrap();
        });
        let facts = tokio::sync::watch::Sender::new(facts);
        let telling = tell(membership.clone(), router.clone(), host.clone(), facts.subscribe());
        let tasks = vec![tokio::spawn(telling).abort_handle()];
        let supervisor = Some(supervisor);
        let name = name(number);
        let node =
            Node { name, consensus, membership, router, host, supervisor, facts, tasks, stop };
        self.nodes.insert(number, node);
    }

    async fn consensus(&self, number: usize, grpc: &str, peers: Arc<Peers>) -> Arc<Consensus> {
        let folder = self.folder.path().join(number.to_string());
        let config = ConsensusConfig {
            heartbeat: Duration::from_millis(100),
            election: (Duration::from_millis(400), Duration::from_millis(800)),
            ..ConsensusConfig::new(folder, CLUSTER, self.shards, name(number), grpc.to_owned())
        };
        Arc::new(Consensus::open(config, peers).await.unwrap())
    }

    fn gossip(&self, number: usize) -> GossipConfig {
        GossipConfig {
            cluster: CLUSTER,
            name: name(number),
            generation: self.generation,
            listen: loopback(),
            advertise: loopback(),
            join: self.seed.iter().map(SocketAddr::to_string).collect(),
            keys: Some(keys()),
            interval: Duration::from_millis(50),
            heartbeat_timeout: HEARTBEAT_TIMEOUT,
            grace: Duration::from_secs(60),
        }
    }

    /// Ends a node as SIGKILL would.
    pub async fn kill(&mut self, number: usize) {
        let node = self.nodes.remove(&number).unwrap();
        node.stop.cancel();
        node.tasks.iter().for_each(AbortHandle::abort);
        let Node { consensus, membership, supervisor, .. } = node;
        drop((supervisor, membership));
        consensus.shutdown().await;
    }

    /// Removes what a killed node had on its disk.
    pub fn lose_disk(&self, number: usize) {
        std::fs::remove_dir_all(self.folder.path().join(number.to_string())).unwrap();
    }

    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[&number]
    }

    /// Who leads, in the eyes of whoever does.
    pub fn leader(&self) -> Option<usize> {
        let mut leaders = self.nodes.iter().filter(|(_, node)| {
            let status = node.consensus.status();
            status.is_leader() && status.quorum_ack_millis.is_none_or(|millis| millis < 1_000)
        });
        leaders.next().map(|(number, _)| *number)
    }

    /// Whether so many vote, and all of them know it. In the middle of a change from two to three, the
    /// loss of one of the two would be the loss of a majority.
    pub fn vote(&self, voters: usize) -> bool {
        let knows = |number: &usize| {
            let status = self.node(*number).consensus.status();
            status.voters.len() == voters && !status.changing
        };
        self.voters().len() == voters && self.voters().iter().all(knows)
    }

    /// Those who vote.
    pub fn voters(&self) -> Vec<usize> {
        let voters = self.nodes.iter().filter(|(_, node)| {
            let status = node.consensus.status();
            status.voters.contains_key(&status.raft_id)
        });
        voters.map(|(number, _)| *number).collect()
    }

    /// The newest map that anyone has.
    pub fn map(&self) -> Arc<ShardMap> {
        let maps = self.nodes.values().map(|node| node.router.map());
        maps.max_by_key(|map| map.version()).unwrap()
    }

    /// Whether every shard is served by its owner, under its epoch, and by no other node, replicas have
    /// their copies, and all nodes know it.
    pub fn all_served(&self) -> bool {
        let map = self.map();
        let shards = (0u32..).map(ShardId).zip(map.shards());
        let owned = |name: &NodeName| -> BTreeMap<ShardId, Epoch> {
            let owned = shards.clone().filter(|(_, shard)| shard.owner.as_ref() == Some(name));
            owned.map(|(number, shard)| (number, shard.epoch)).collect()
        };
        let copied = |name: &NodeName| -> BTreeMap<ShardId, Epoch> {
            let copied = shards.clone().filter(|(_, shard)| shard.replicas.contains(name));
            copied.map(|(number, shard)| (number, shard.epoch)).collect()
        };
        let is_right = |node: &Node| {
            node.host.serving() == owned(&node.name)
                && node.host.copies() == copied(&node.name)
                && node.host.held().len() == node.host.serving().len() + node.host.copies().len()
                && node.router.map() == map
        };
        map.shards().iter().all(|shard| shard.owner.is_some() && shard.moving_to.is_none())
            && self.nodes.values().all(is_right)
            && self.nodes.values().map(|node| node.host.serving().len()).sum::<usize>()
                == map.shards().len()
    }

    pub fn owned(&self, number: usize) -> Vec<ShardId> {
        let map = self.map();
        let shards = (0u32..).map(ShardId).zip(map.shards());
        let mine = shards.filter(|(_, shard)| shard.owner == Some(name(number)));
        mine.map(|(number, _)| number).collect()
    }

    /// Waits for what must come.
    pub async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let waited = timeout(PATIENCE, async {
            while !is_so(self) {
                sleep(Duration::from_millis(20)).await;
            }
        });
        if waited.await.is_err() {
            let states = self.nodes.values().map(|node| {
                let supervisor = node.supervisor.as_ref().map(Supervisor::status);
                format!("{}: {supervisor:#?} {:#?}", node.name, node.consensus.status())
            });
            let states: Vec<String> = states.collect();
            panic!("not within {PATIENCE:?}: {what}; {:#?}; {}", self.map(), states.join("\n"));
        }
    }

    pub async fn tell(&self, number: usize, change: impl FnOnce(&mut Facts)) {
        self.node(number).facts.send_modify(change);
    }
}

/// Waits for what must come.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

/// Has the gossip tell what changes while a node runs.
async fn tell(
    membership: Arc<Membership>,
    router: Arc<Router>,
    host: Arc<Host>,
    mut facts: tokio::sync::watch::Receiver<Facts>,
) {
    let mut maps = router.watch();
    loop {
        let map_version = maps.borrow_and_update().version();
        let shards_serving = u32::try_from(host.serving().len()).unwrap();
        let told = facts.borrow_and_update().clone();
        membership.update(Facts { map_version, shards_serving, ..told }).await;
        tokio::select! {
            changed = maps.changed() => if changed.is_err() { return },
            changed = facts.changed() => if changed.is_err() { return },
            () = sleep(Duration::from_millis(100)) => {}
        }
    }
}

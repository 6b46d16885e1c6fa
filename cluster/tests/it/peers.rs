//! Calls between nodes over loopback, and those that are refused.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aeterna_cluster::consensus::{RaftId, RaftNode, RaftTransport, TransportError};
use aeterna_cluster::gossip::seal::{ClusterKey, ClusterKeys};
use aeterna_cluster::name::NodeName;
use aeterna_cluster::peers::{
    Caller, Guard, PeerTls, Peers, PeersConfig, PeersError, Refusal, system_clock,
};
use aeterna_cluster::shard_map::{Command, ShardMap};
use aeterna_cluster::supervisor::{PeerApi, Proposed};
use aeterna_proto::node_client::NodeClient;
use aeterna_proto::node_server::{Node, NodeServer};
use aeterna_proto::{
    ForwardRequest, ForwardResponse, ProposeRequest, ProposeResponse, RaftRequest, RaftResponse,
    ResumeRequest, ResumeResponse, SearchPart, SearchRequest, ShardMapRequest, ShardMapResponse,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::codegen::BoxStream;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

const CLUSTER: Uuid = Uuid::from_u128(77);
const DEADLINE: Duration = Duration::from_secs(20);

fn name(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn keys(current: u8, other: Option<u8>) -> ClusterKeys {
    let key = |byte| ClusterKey::new(&[byte; 32]).unwrap();
    ClusterKeys { current: key(current), other: other.map(key) }
}

fn config(node: &str) -> PeersConfig {
    PeersConfig {
        cluster: CLUSTER,
        name: name(node),
        keys: Some(keys(1, None)),
        tls: None,
        connect_timeout: Duration::from_secs(2),
        clock: system_clock(),
    }
}

/// A node that remembers what it was asked, and answers simply.
#[derive(Default)]
struct Callee {
    seen: Mutex<Vec<(Option<Caller>, MetadataMap)>>,
}

impl Callee {
    fn see<T>(&self, request: &Request<T>) {
        let caller = request.extensions().get::<Caller>().cloned();
        self.seen.lock().unwrap().push((caller, request.metadata().clone()));
    }
}

struct Service(Arc<Callee>);

#[tonic::async_trait]
impl Node for Service {
    async fn raft(&self, request: Request<RaftRequest>) -> Result<Response<RaftResponse>, Status> {
        self.0.see(&request);
        let RaftRequest { kind, target, payload } = request.into_inner();
        match kind.as_str() {
            "append" => Ok(Response::new(RaftResponse { payload })),
            "vote" => Err(Status::failed_precondition(format!("this is not {target}"))),
            _ => std::future::pending().await,
        }
    }

    async fn shard_map(
        &self,
        request: Request<ShardMapRequest>,
    ) -> Result<Response<ShardMapResponse>, Status> {
        let map = match request.get_ref().version {
            0 => ShardMap::new(CLUSTER, 4).to_bytes().unwrap(),
            1 => b"\x01nonsense".to_vec(),
            _ => Vec::new(),
        };
        Ok(Response::new(ShardMapResponse { version: 2, map: map.into() }))
    }

    async fn propose(
        &self,
        _request: Request<ProposeRequest>,
    ) -> Result<Response<ProposeResponse>, Status> {
        let (leader, leader_address) = ("b".to_owned(), "127.0.0.1:9".to_owned());
        Ok(Response::new(ProposeResponse { leader, leader_address, ..Default::default() }))
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
        let body = vec![0; 8 << 20].into();
        Ok(Response::new(ForwardResponse { status: 200, body, ..Default::default() }))
    }
}

/// The node `callee` on loopback.
struct Running {
    callee: Arc<Callee>,
    guard: Arc<Guard>,
    address: String,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(config: &PeersConfig) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (callee, guard) = (Arc::new(Callee::default()), Guard::new(config).unwrap());
        let service = guard.wrap(NodeServer::new(Service(Arc::clone(&callee))));
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let tls = config.tls.clone();
        let task = tokio::spawn(async move {
            let incoming = TcpIncoming::from(listener);
            let server = Server::builder();
            let server = match tls {
                Some(tls) => server.tls_config(tls.server()).unwrap(),
                None => server,
            };
            server.serve_with_incoming_shutdown(service, incoming, stopped).await.unwrap();
        });
        Self { callee, guard, address, stop, task }
    }

    /// Ends, with all connections.
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    fn node(&self) -> RaftNode {
        RaftNode { name: name("callee"), address: self.address.clone() }
    }

    /// What comes of a call with these settings.
    async fn call(&self, config: &PeersConfig, to: &str) -> Result<Vec<u8>, TransportError> {
        let node = RaftNode { name: name(to), ..self.node() };
        let peers = Peers::new(config).unwrap();
        peers.call(RaftId(5), &node, "append", b"hello".to_vec(), DEADLINE).await
    }

    /// The reason for which calls were refused, once each.
    fn refused(&self) -> Vec<Refusal> {
        let mut all = Vec::new();
        for reason in Refusal::ALL {
            all.extend((0..self.guard.refused(reason)).map(|_| reason));
        }
        all
    }
}

#[tokio::test]
async fn who_has_the_key_is_heard() {
    let node = Running::start(&config("callee")).await;
    assert_eq!(node.call(&config("caller"), "callee").await.unwrap(), b"hello");
    let seen = node.callee.seen.lock().unwrap();
    let [(caller, metadata)] = &seen[..] else { panic!("{} calls", seen.len()) };
    assert_eq!(*caller, Some(Caller(name("caller"))));
    let header = |name: &str| metadata.get(name).unwrap().to_str().unwrap();
    assert_eq!(header("aeterna-cluster"), CLUSTER.to_string());
    assert_eq!((header("aeterna-from"), header("aeterna-to")), ("caller", "callee"));
    assert!(metadata.contains_key("grpc-timeout"));
    assert_eq!(node.refused(), []);
}

#[tokio::test]
async fn who_does_not_belong_here_is_refused_and_counted() {
    let node = Running::start(&config("callee")).await;
    let caller = config("caller");
    let late = |late_ms: i64| -> PeersConfig {
        let clock = system_clock();
        let clock = Arc::new(move || clock().saturating_add_signed(late_ms));
        PeersConfig { clock, ..config("caller") }
    };
    let cases = [
        (PeersConfig { keys: Some(keys(2, None)), ..config("caller") }, "callee", Refusal::Key),
        (PeersConfig { keys: None, ..config("caller") }, "callee", Refusal::NoProof),
        (
            PeersConfig { cluster: Uuid::from_u128(78), ..config("caller") },
            "callee",
            Refusal::Cluster,
        ),
        (late(-130_000), "callee", Refusal::Clock),
        (late(130_000), "callee", Refusal::Clock),
        (late(600_000), "callee", Refusal::Clock),
        (caller, "another", Refusal::Target),
    ];
    let mut refused = Vec::new();
    for (config, to, reason) in cases {
        let error = node.call(&config, to).await.unwrap_err();
        assert!(error.to_string().contains(&reason.to_string()), "{error}");
        refused.push(reason);
        refused.sort_unstable();
        assert_eq!(node.refused(), refused);
    }
    assert!(node.callee.seen.lock().unwrap().is_empty(), "nothing of it was heard");
}

#[tokio::test]
async fn what_was_heard_once_is_not_heard_again() {
    let node = Running::start(&config("callee")).await;
    node.call(&config("caller"), "callee").await.unwrap();
    let metadata = node.callee.seen.lock().unwrap()[0].1.clone();
    let mut thief = NodeClient::connect(format!("http://{}", node.address)).await.unwrap();
    let headers = ["aeterna-cluster", "aeterna-from", "aeterna-to", "aeterna-proof"];
    let stolen = |headers: &[&'static str]| {
        let mut stolen = MetadataMap::new();
        for header in headers {
            stolen.insert(*header, metadata.get(*header).unwrap().clone());
        }
        stolen
    };
    let mut request = Request::new(RaftRequest { kind: "append".into(), ..Default::default() });
    *request.metadata_mut() = stolen(&headers);
    let status = thief.raft(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    // Neither for another method, nor without what it says of itself.
    let mut request = Request::new(ProposeRequest::default());
    *request.metadata_mut() = stolen(&headers);
    thief.propose(request).await.unwrap_err();
    let mut request = Request::new(ProposeRequest::default());
    *request.metadata_mut() = stolen(&headers[1..]);
    thief.propose(request).await.unwrap_err();
    let mut request = Request::new(ProposeRequest::default());
    *request.metadata_mut() = stolen(&headers);
    request.metadata_mut().insert("aeterna-to", "../callee".parse().unwrap());
    thief.propose(request).await.unwrap_err();
    assert_eq!(
        node.refused(),
        [Refusal::NoProof, Refusal::Malformed, Refusal::Forged, Refusal::Replayed]
    );
}

#[tokio::test]
async fn keys_are_replaced_while_nodes_talk() {
    let both = PeersConfig { keys: Some(keys(1, Some(2))), ..config("callee") };
    let node = Running::start(&both).await;
    for key in [1, 2] {
        let caller = PeersConfig { keys: Some(keys(key, None)), ..config("caller") };
        assert_eq!(node.call(&caller, "callee").await.unwrap(), b"hello");
    }
}

#[tokio::test]
async fn without_keys_names_and_clusters_still_count() {
    let node = Running::start(&PeersConfig { keys: None, ..config("callee") }).await;
    let caller = PeersConfig { keys: None, ..config("caller") };
    assert_eq!(node.call(&caller, "callee").await.unwrap(), b"hello");
    node.call(&caller, "another").await.unwrap_err();
    let stranger = PeersConfig { cluster: Uuid::nil(), ..caller };
    node.call(&stranger, "callee").await.unwrap_err();
    assert_eq!(node.refused(), [Refusal::Cluster, Refusal::Target]);
}

/// Makes certificates.
struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        Self(Issuer::new(params, key), certificate)
    }

    /// For a node that trusts those who have one of `trusted`.
    fn certify(&self, server_name: &str, trusted: &Self) -> PeerTls {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![server_name.to_owned()]).unwrap();
        PeerTls {
            authorities: trusted.1.clone().into(),
            certificate: params.signed_by(&key, &self.0).unwrap().pem().into(),
            key: key.serialize_pem().into(),
            server_name: Some("node.test".to_owned()),
        }
    }
}

#[tokio::test]
async fn with_certificates_both_sides_have_one() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let of = |tls: Option<PeerTls>| PeersConfig { tls, ..config("caller") };
    let callee = PeersConfig { tls: Some(ours.certify("node.test", &ours)), ..config("callee") };
    let node = Running::start(&callee).await;
    let good = of(Some(ours.certify("node.test", &ours)));
    assert_eq!(node.call(&good, "callee").await.unwrap(), b"hello");
    let strangers = [
        // Without certificates; with one of another authority; one that does not trust ours.
        of(None),
        of(Some(theirs.certify("node.test", &ours))),
        of(Some(ours.certify("node.test", &theirs))),
    ];
    for stranger in strangers {
        let error = node.call(&stranger, "callee").await.unwrap_err();
        assert!(matches!(error, TransportError::Unreachable(_)), "{error}");
    }
    assert_eq!(node.callee.seen.lock().unwrap().len(), 1);
    // One that has the name of something else is not called.
    let other = PeersConfig { tls: Some(ours.certify("other.test", &ours)), ..config("callee") };
    Running::start(&other).await.call(&good, "callee").await.unwrap_err();
    // What is no certificate is told at the start, and no key is shown.
    let bad = PeerTls { certificate: b"secret".to_vec(), ..ours.certify("node.test", &ours) };
    assert!(!format!("{bad:?}").contains("BEGIN"));
    let error = Peers::new(&of(Some(bad))).unwrap_err();
    assert!(matches!(error, PeersError::Tls(_)), "{error}");
}

#[tokio::test]
async fn failures_say_what_they_are() {
    let node = Running::start(&config("callee")).await;
    let peers = Peers::new(&config("caller")).unwrap();
    let call = |kind: &'static str, node: RaftNode, deadline: Duration| {
        let peers = Arc::clone(&peers);
        async move { peers.call(RaftId(5), &node, kind, Vec::new(), deadline).await }
    };
    let refused = call("vote", node.node(), DEADLINE).await.unwrap_err();
    assert!(refused.to_string().contains("this is not 5"), "{refused}");
    let since = Instant::now();
    let short = Duration::from_millis(300);
    let silent = call("silence", node.node(), short).await;
    assert_eq!(silent, Err(TransportError::Timeout(short)));
    assert!(since.elapsed() < DEADLINE / 2);
    let nobody = RaftNode { address: free_address().await, ..node.node() };
    let unreachable = call("append", nobody, DEADLINE).await.unwrap_err();
    assert!(matches!(unreachable, TransportError::Unreachable(_)), "{unreachable}");
    for address in ["", "callee", "a b:1", "user@127.0.0.1:1", "127.0.0.1:1/path", "http://a:1"] {
        let error = peers.node(&name("callee"), address).unwrap_err();
        assert!(matches!(error, PeersError::Address { .. }), "{address}: {error}");
    }
}

async fn free_address() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn a_node_is_called_where_it_is_now() {
    let node = Running::start(&config("callee")).await;
    let peers = Peers::new(&config("caller")).unwrap();
    let before = RaftNode { address: free_address().await, ..node.node() };
    peers.set_addresses(BTreeMap::from([(name("callee"), node.address.clone())]));
    let answer = peers.call(RaftId(5), &before, "append", b"x".to_vec(), DEADLINE).await;
    assert_eq!(answer.unwrap(), b"x");
}

#[tokio::test]
async fn a_node_that_was_restarted_is_reached_again() {
    let node = Running::start(&config("callee")).await;
    let peers = Peers::new(&config("caller")).unwrap();
    let at = node.node();
    let call = || peers.call(RaftId(5), &at, "append", b"x".to_vec(), DEADLINE);
    call().await.unwrap();
    node.stop().await;
    call().await.unwrap_err();
    let listener = TcpListener::bind(&at.address).await.unwrap();
    let guard = Guard::new(&config("callee")).unwrap();
    let service = guard.wrap(NodeServer::new(Service(Arc::default())));
    let incoming = TcpIncoming::from(listener);
    let server = Server::builder();
    let task = tokio::spawn(async move { server.serve_with_incoming(service, incoming).await });
    let again = tokio::time::timeout(DEADLINE, async { while call().await.is_err() {} });
    again.await.unwrap();
    task.abort();
}

#[tokio::test]
async fn maps_and_proposals() {
    let node = Running::start(&config("callee")).await;
    let peers = Peers::new(&config("caller")).unwrap();
    let map = peers.pull_map(&node.node(), 0, DEADLINE).await.unwrap();
    assert_eq!(map, Some(ShardMap::new(CLUSTER, 4)));
    let nonsense = peers.pull_map(&node.node(), 1, DEADLINE).await.unwrap_err();
    assert!(nonsense.to_string().contains("cannot be read"), "{nonsense}");
    assert_eq!(peers.pull_map(&node.node(), 2, DEADLINE).await, Ok(None));
    let leave = Command::Leave { node: name("caller") };
    let proposed = peers.propose(&node.node(), &leave, DEADLINE).await.unwrap();
    let leader = Some(RaftNode { name: name("b"), address: "127.0.0.1:9".to_owned() });
    assert_eq!(proposed, Proposed::NotLeader { leader });
    // Answers of requests may be large.
    let mut client = peers.node(&name("callee"), &node.address).unwrap();
    let response = client.forward(ForwardRequest::default()).await.unwrap();
    assert_eq!(response.into_inner().body.len(), 8 << 20);
}

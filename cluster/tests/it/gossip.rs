//! Real nodes that gossip over loopback.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aeterna_cluster::gossip::{Facts, GossipConfig, Liveness, Membership, Peer};
use aeterna_cluster::name::NodeName;
use tokio::time::timeout;
use uuid::Uuid;

const CLUSTER: Uuid = Uuid::from_u128(7);
const INTERVAL: Duration = Duration::from_millis(50);
const TIMEOUT: Duration = Duration::from_millis(1_500);
/// Whatever a test waits for has come long before.
const PATIENCE: Duration = Duration::from_secs(30);

type Peers = BTreeMap<NodeName, Peer>;

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn name(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn config(node: &str, generation: u64, join: &[SocketAddr]) -> GossipConfig {
    GossipConfig {
        cluster: CLUSTER,
        name: name(node),
        generation,
        listen: loopback(0),
        advertise: loopback(0),
        join: join.iter().map(SocketAddr::to_string).collect(),
        keys: None,
        interval: INTERVAL,
        heartbeat_timeout: TIMEOUT,
        grace: Duration::from_secs(60),
    }
}

fn facts(node: &str) -> Facts {
    Facts {
        http: format!("{node}:8080"),
        grpc: format!("{node}:9090"),
        raft_id: 1,
        version: "1.0.0".into(),
        capacity: 100,
        ready: true,
        ..Facts::default()
    }
}

async fn start(node: &str, generation: u64, join: &[SocketAddr]) -> Membership {
    Membership::start(config(node, generation, join), facts(node)).await.unwrap()
}

/// Waits until a node sees what is expected.
async fn until(node: &Membership, expected: impl Fn(&Peers) -> bool) -> Arc<Peers> {
    let mut peers = node.peers();
    let seen = timeout(PATIENCE, peers.wait_for(|peers| expected(peers))).await;
    match seen {
        Ok(seen) => Arc::clone(&seen.unwrap()),
        Err(_) => panic!("this never came: {:#?}", node.peers().borrow()),
    }
}

fn alive(peers: &Peers) -> Vec<&str> {
    peers.values().filter(|peer| peer.alive()).map(|peer| peer.name.as_str()).collect()
}

#[tokio::test]
async fn three_nodes_find_each_other_through_one() {
    let first = start("a", 1, &[]).await;
    let seed = [first.address()];
    let second = start("b", 1, &seed).await;
    let third = start("c", 1, &seed).await;
    for node in [&first, &second, &third] {
        let peers = until(node, |peers| alive(peers) == ["a", "b", "c"]).await;
        for peer in peers.values() {
            assert_eq!(*peer.facts, facts(peer.name.as_str()));
        }
        assert_eq!(peers[&name("a")].gossip, first.address());
    }

    // One that crashes is dead after the timeout, and not before; the others stay alive.
    drop(third);
    let peers = until(&first, |peers| !peers[&name("c")].alive()).await;
    let dead = &peers[&name("c")];
    assert_eq!(dead.liveness, Liveness::Dead);
    assert!(dead.heartbeat_age > TIMEOUT && dead.suspected, "{dead:?}");
    assert_eq!(alive(&peers), ["a", "b"]);

    // It starts again: a later generation takes its place.
    let third = start("c", 2, &seed).await;
    for node in [&first, &second, &third] {
        let peers = until(node, |peers| alive(peers) == ["a", "b", "c"]).await;
        assert_eq!(peers[&name("c")].generation, 2);
        assert_eq!(peers[&name("c")].gossip, third.address());
    }
}

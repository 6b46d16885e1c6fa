//! Real nodes that gossip over loopback.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aeterna_cluster::gossip::resolve::{Resolve, ResolveError};
use aeterna_cluster::gossip::seal::{ClusterKey, ClusterKeys, Rejection, Sealer};
use aeterna_cluster::gossip::{
    Counters, Facts, GossipConfig, GossipError, Liveness, Membership, Peer,
};
use aeterna_cluster::name::{NodeName, ShardId};
use async_trait::async_trait;
use tokio::net::UdpSocket;
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

/// Waits until a node has counted what is expected.
async fn until_counted(node: &Membership, expected: impl Fn(&Counters) -> bool) {
    let mut peers = node.peers();
    let counted = timeout(PATIENCE, async {
        while !expected(&node.counters()) {
            peers.changed().await.unwrap();
        }
    });
    assert!(counted.await.is_ok(), "this never came: {:#?}", node.counters());
}

fn key(byte: u8) -> ClusterKey {
    ClusterKey::new(&[byte; 32]).unwrap()
}

fn keys(current: u8, other: Option<u8>) -> ClusterKeys {
    ClusterKeys { current: key(current), other: other.map(key) }
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
    let peers = until(&first, |peers| alive(peers) == ["a", "b"]).await;
    let dead = &peers[&name("c")];
    assert_eq!(dead.liveness, Liveness::Dead);
    assert!(dead.heartbeat_age > TIMEOUT && dead.suspected, "{dead:?}");

    // It starts again: a later generation takes its place.
    let third = start("c", 2, &seed).await;
    for node in [&first, &second, &third] {
        let peers = until(node, |peers| alive(peers) == ["a", "b", "c"]).await;
        assert_eq!(peers[&name("c")].generation, 2);
        assert_eq!(peers[&name("c")].gossip, third.address());
    }
}

#[tokio::test]
async fn what_changes_is_told() {
    let first = start("a", 1, &[]).await;
    let second = start("b", 1, &[first.address()]).await;
    let mut told = Facts { zone: Some("z".into()), map_version: 2, ..facts("b") };
    told.shard_bytes = [(ShardId(3), 1 << 20), (ShardId(700), 1 << 30)].into();
    second.update(told.clone()).await;
    let is_told = |told: Facts| {
        move |peers: &Peers| peers.get(&name("b")).is_some_and(|peer| *peer.facts == told)
    };
    until(&first, is_told(told.clone())).await;
    told.shard_bytes.remove(&ShardId(700));
    (told.zone, told.draining, told.ready) = (None, true, false);
    second.update(told.clone()).await;
    until(&first, is_told(told.clone())).await;
    // What nobody would believe is not told, and the rest is.
    second.update(Facts { http: "no address".into(), map_version: 3, ..told.clone() }).await;
    until(&first, is_told(Facts { map_version: 3, ..told })).await;
}

#[tokio::test]
async fn whoever_leaves_is_gone_at_once() {
    let first = start("a", 1, &[]).await;
    let second = start("b", 1, &[first.address()]).await;
    until(&first, |peers| alive(peers) == ["a", "b"]).await;
    second.leave().await;
    tokio::select! {
        biased;
        error = second.failed() => panic!("it has left, and failed: {error}"),
        () = std::future::ready(()) => {}
    }
    let peers = until(&first, |peers| peers[&name("b")].gone()).await;
    let left = &peers[&name("b")];
    assert_eq!(left.liveness, Liveness::Left);
    assert!(left.heartbeat_age < TIMEOUT, "{left:?}");
}

#[tokio::test]
async fn strangers_are_counted_and_change_nothing() {
    let with = |node: &str, keys, join: &[SocketAddr]| GossipConfig {
        keys: Some(keys),
        ..config(node, 1, join)
    };
    let first = Membership::start(with("a", keys(1, None), &[]), facts("a")).await.unwrap();
    let seed = [first.address()];
    let second = Membership::start(with("b", keys(1, None), &seed), facts("b")).await.unwrap();
    let wrong_key = Membership::start(with("c", keys(2, None), &seed), facts("c")).await.unwrap();
    let mut other = with("d", keys(1, None), &seed);
    other.cluster = Uuid::from_u128(8);
    let wrong_cluster = Membership::start(other, facts("d")).await.unwrap();
    let keyless = start("e", 1, &seed).await;
    let stranger = UdpSocket::bind(loopback(0)).await.unwrap();
    stranger.send_to(b"GET / HTTP/1.1\r\n\r\n", first.address()).await.unwrap();
    stranger.send_to(&[9; 60_000], first.address()).await.unwrap();
    // A member whose clock is ten minutes off.
    let slow = UdpSocket::bind(loopback(0)).await.unwrap();
    let mut sealer = Sealer::new(&keys(1, None).current, config("f", 1, &[]).cluster).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let ago = u64::try_from((now - Duration::from_secs(600)).as_millis()).unwrap();
    for packet in sealer.seal(b"hello", ago).unwrap() {
        slow.send_to(&packet, first.address()).await.unwrap();
    }
    until_counted(&first, |counters| {
        let of = |reason| counters.refused[&reason];
        // Two kinds of strangers, several times each.
        of(Rejection::Key) >= 8
            && of(Rejection::Cluster) >= 4
            && of(Rejection::Malformed) == 1
            && of(Rejection::Version) == 1
            && of(Rejection::Clock) == 1
            && counters.clocks_off == [slow.local_addr().unwrap()]
    })
    .await;
    let peers = until(&first, |peers| alive(peers) == ["a", "b"]).await;
    assert_eq!(peers.len(), 2);
    assert_eq!(first.counters().refused[&Rejection::Forged], 0);
    for lonely in [&wrong_key, &wrong_cluster, &keyless] {
        assert_eq!(lonely.peers().borrow().len(), 1);
    }
    drop(second);
}

#[tokio::test]
async fn keys_are_replaced_while_nodes_run() {
    let with = |node: &str, join: &[SocketAddr]| GossipConfig {
        keys: Some(keys(1, None)),
        ..config(node, 1, join)
    };
    let first = Membership::start(with("a", &[]), facts("a")).await.unwrap();
    let joining = with("b", &[first.address()]);
    let second = Membership::start(joining, facts("b")).await.unwrap();
    let nodes = [&first, &second];
    // All nodes learn the new key, then all use it, then all forget the old one.
    for step in [keys(1, Some(2)), keys(2, Some(1)), keys(2, None)] {
        for node in nodes {
            node.replace_keys(&step).unwrap();
            let next = node.peers().borrow()[&name("a")].facts.map_version + 1;
            first.update(Facts { map_version: next, ..facts("a") }).await;
            for other in nodes {
                until(other, |peers| {
                    alive(peers) == ["a", "b"] && peers[&name("a")].facts.map_version == next
                })
                .await;
            }
        }
    }
    for node in nodes {
        assert_eq!(node.counters().refused[&Rejection::Key], 0);
    }
    let late = Membership::start(with("c", &[first.address()]), facts("c")).await.unwrap();
    until_counted(&first, |counters| counters.refused[&Rejection::Key] > 0).await;
    assert_eq!(late.peers().borrow().len(), 1);
}

#[tokio::test]
async fn the_earlier_of_two_nodes_with_one_name_learns_it() {
    let first = start("a", 1, &[]).await;
    let witness = start("b", 1, &[first.address()]).await;
    let second = start("a", 2, &[witness.address()]).await;
    let mut superseded = first.superseded();
    timeout(PATIENCE, superseded.wait_for(|is| *is)).await.unwrap().unwrap();
    let peers = until(&witness, |peers| {
        peers.get(&name("a")).is_some_and(|peer| peer.generation == 2 && peer.alive())
    })
    .await;
    assert_eq!(peers[&name("a")].gossip, second.address());
    assert!(!*second.superseded().borrow());
}

/// Names that can be given addresses while a test runs.
#[derive(Default)]
struct Names {
    hosts: Mutex<BTreeMap<String, Vec<IpAddr>>>,
    services: Mutex<BTreeMap<String, Vec<(String, u16)>>>,
}

#[async_trait]
impl Resolve for Names {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let found = self.hosts.lock().unwrap().get(host).cloned();
        found.ok_or_else(|| ResolveError("no such host".into()))
    }

    async fn targets(&self, service: &str) -> Result<Vec<(String, u16)>, ResolveError> {
        let found = self.services.lock().unwrap().get(service).cloned();
        found.ok_or_else(|| ResolveError("no such service".into()))
    }
}

#[tokio::test]
async fn names_are_resolved_until_somebody_is_found() {
    let first = start("a", 1, &[]).await;
    let names = Arc::new(Names::default());
    let join = |node: &str, seed: &str| {
        let config = GossipConfig { join: vec![seed.to_owned()], ..config(node, 1, &[]) };
        Membership::start_with(config, facts(node), Arc::clone(&names) as Arc<dyn Resolve>)
    };
    let by_host = format!("later.test:{}", first.address().port());
    let second = join("b", &by_host).await.unwrap();
    let third = join("c", "_gossip._udp.later.test").await.unwrap();
    assert_eq!(first.peers().borrow().len(), 1);
    // IPv6 comes first, and this node cannot send there.
    let addresses = vec!["::1".parse().unwrap(), Ipv4Addr::LOCALHOST.into()];
    names.hosts.lock().unwrap().insert("later.test".into(), addresses);
    until(&first, |peers| alive(peers).contains(&"b")).await;
    let targets = vec![("gone.test".into(), 1), ("later.test".into(), first.address().port())];
    names.services.lock().unwrap().insert("_gossip._udp.later.test".into(), targets);
    for node in [&first, &second, &third] {
        until(node, |peers| alive(peers) == ["a", "b", "c"]).await;
    }
}

#[tokio::test]
async fn two_halves_find_each_other() {
    let names = Arc::new(Names::default());
    let join = |node: &str, seeds: Vec<String>| {
        let config = GossipConfig { join: seeds, ..config(node, 1, &[]) };
        Membership::start_with(config, facts(node), Arc::clone(&names) as Arc<dyn Resolve>)
    };
    let first = join("a", vec![]).await.unwrap();
    let third = join("c", vec![]).await.unwrap();
    // These know one that they are with, and one that they do not find yet.
    let other_half = format!("c.test:{}", third.address().port());
    let second = join("b", vec![first.address().to_string(), other_half]).await.unwrap();
    let fourth = join("d", vec![third.address().to_string()]).await.unwrap();
    until(&second, |peers| alive(peers) == ["a", "b"]).await;
    until(&fourth, |peers| alive(peers) == ["c", "d"]).await;
    let address = vec![Ipv4Addr::LOCALHOST.into()];
    names.hosts.lock().unwrap().insert("c.test".into(), address);
    for node in [&first, &second, &third, &fourth] {
        until(node, |peers| alive(peers) == ["a", "b", "c", "d"]).await;
    }
}

#[tokio::test]
async fn a_node_with_much_to_say_is_heard() {
    let first = start("a", 1, &[]).await;
    // More than fits into several messages of the largest size.
    let sizes = (0..65_536u32).map(|shard| {
        (ShardId(shard), u64::from(shard.wrapping_mul(2_654_435_761)) << (shard % 30))
    });
    let much = Facts { shard_bytes: sizes.collect(), ..facts("b") };
    let joining = config("b", 1, &[first.address()]);
    let second = Membership::start(joining, much.clone()).await.unwrap();
    let peers = until(&first, |peers| alive(peers) == ["a", "b"]).await;
    let told = &peers[&name("b")].facts.shard_bytes;
    assert_eq!(told.len(), much.shard_bytes.len(), "whoever is shown is known whole");
    for (shard, bytes) in &much.shard_bytes {
        assert!(told[shard].abs_diff(*bytes) as f64 <= *bytes as f64 * 0.03, "{shard}");
    }
    assert!(second.counters().bytes_sent > 65_507);
    assert_eq!(second.counters().send_failures, 0);
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_the_start() {
    let refused = async |config: GossipConfig, facts: Facts| {
        Membership::start(config, facts).await.map(|_| ()).unwrap_err()
    };
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let good = || (config("a", 1, &[]), facts("a"));
    let change = async |change: fn(&mut GossipConfig, &mut Facts)| {
        let (mut config, mut facts) = good();
        change(&mut config, &mut facts);
        refused(config, facts).await
    };
    for (listen, advertise) in [(any, loopback(0)), (loopback(0), ([10, 0, 0, 1], 1).into())] {
        let error = refused(GossipConfig { listen, advertise, ..good().0 }, good().1).await;
        assert!(matches!(error, GossipError::NoKey { .. }), "{error}");
    }
    let keyed = GossipConfig { keys: Some(keys(1, None)), listen: any, ..good().0 };
    assert!(Membership::start(keyed.clone(), good().1).await.is_ok());
    let error = refused(GossipConfig { advertise: any, ..keyed }, good().1).await;
    assert!(matches!(error, GossipError::Advertise(_)), "{error}");
    let error = change(|config, _| config.join.push("http://a/".into())).await;
    assert!(matches!(error, GossipError::Seed(_)), "{error}");
    let error = change(|config, _| config.heartbeat_timeout = INTERVAL).await;
    assert!(matches!(error, GossipError::Time(_)), "{error}");
    let error = change(|_, facts| facts.grpc = "no address".into()).await;
    assert!(matches!(error, GossipError::Fact(_)), "{error}");
    let taken = start("a", 1, &[]).await;
    let error = refused(GossipConfig { listen: taken.address(), ..good().0 }, good().1).await;
    assert!(matches!(error, GossipError::Bind { .. }), "{error}");
    assert!(error.to_string().contains(&taken.address().to_string()), "{error}");
}

#[tokio::test]
async fn nodes_of_both_families_gossip() {
    let any: SocketAddr = (Ipv6Addr::UNSPECIFIED, 0).into();
    if UdpSocket::bind(any).await.is_err() {
        eprintln!("this machine has no IPv6");
        return;
    }
    let over_both = |node: &str, join: &[SocketAddr]| GossipConfig {
        listen: any,
        keys: Some(keys(1, None)),
        ..config(node, 1, join)
    };
    let first = Membership::start(over_both("a", &[]), facts("a")).await.unwrap();
    let over_ipv4 = GossipConfig { listen: loopback(0), ..over_both("b", &[first.address()]) };
    let second = Membership::start(over_ipv4, facts("b")).await.unwrap();
    let joining = over_both("c", &[second.address()]);
    let third = Membership::start(joining, facts("c")).await.unwrap();
    for node in [&first, &second, &third] {
        until(node, |peers| alive(peers) == ["a", "b", "c"]).await;
        assert_eq!(node.counters().send_failures, 0);
    }
}

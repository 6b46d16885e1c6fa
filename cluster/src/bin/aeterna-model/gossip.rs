//! How much the nodes gossip: real ones, over loopback, sealed as in production.
//!
//! In slow motion: so many nodes on a few processors cannot gossip twice a second, and how much is sent
//! in an interval does not depend on how long it is.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aeterna_cluster::gossip::seal::{ClusterKey, ClusterKeys};
use aeterna_cluster::gossip::{Facts, GossipConfig, Membership};
use aeterna_cluster::name::ShardId;
use anyhow::{Result, bail};
use uuid::Uuid;

use crate::Model;
use crate::sizes::mixed;

/// The interval of a node in production.
const INTERVAL: Duration = Duration::from_millis(500);
/// Its interval here, for each of the nodes.
const SLOW_MOTION: Duration = Duration::from_millis(10);
/// Intervals in which everyone is to hear of everyone.
const PATIENCE: u32 = 200;
/// Intervals that are measured.
const MEASURED: u32 = 6;
/// Nodes that others are told of at first.
const SEEDS: usize = 3;
/// The load that a node tells is the system's, which changes every five seconds: one interval in ten.
const LOAD_CHANGES: u64 = 10;
/// A node that indexes has a shard of another size now and then.
const SIZE_CHANGES: u64 = 40;
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A node, and what it says of itself.
struct Gossiper {
    membership: Membership,
    facts: Facts,
}

/// Bytes that a node sends in a second, as a mean over nodes that know each other.
pub async fn bytes_a_second(model: Model, shards: &[u64]) -> Result<f64> {
    let interval = INTERVAL.max(SLOW_MOTION * model.nodes);
    let mut nodes = start(model, shards, interval).await?;
    acquainted(&nodes, interval).await?;
    let before = sent(&nodes);
    for round in 0..MEASURED {
        live(&mut nodes, u64::from(round)).await;
        tokio::time::sleep(interval).await;
    }
    let bytes = sent(&nodes) - before;
    Ok(bytes as f64 / f64::from(model.nodes) / f64::from(MEASURED) / INTERVAL.as_secs_f64())
}

async fn start(model: Model, shards: &[u64], interval: Duration) -> Result<Vec<Gossiper>> {
    let keys = ClusterKeys { current: ClusterKey::new(&[7; 32])?, other: None };
    let mut join = Vec::new();
    let mut nodes = Vec::new();
    for number in 0..model.nodes {
        let name = format!("code-search-indexer-{number}");
        let config = GossipConfig {
            cluster: Uuid::from_u128(1),
            name: name.parse()?,
            generation: 1_795_000_000_000 + u64::from(number),
            listen: LOOPBACK,
            advertise: LOOPBACK,
            join: join.clone(),
            keys: Some(keys.clone()),
            interval,
            heartbeat_timeout: interval * 40,
            grace: interval * 400,
        };
        let facts = facts(model, shards, number);
        let membership = Membership::start(config, facts.clone()).await?;
        if join.len() < SEEDS {
            join.push(membership.address().to_string());
        }
        nodes.push(Gossiper { membership, facts });
    }
    Ok(nodes)
}

fn facts(model: Model, shards: &[u64], number: u32) -> Facts {
    let owned = (0..model.shards).zip(shards).filter(|(shard, _)| shard % model.nodes == number);
    let [_, _, high, low] = number.to_be_bytes();
    Facts {
        http: format!("10.1.{high}.{low}:8080"),
        grpc: format!("10.1.{high}.{low}:8081"),
        raft_id: mixed(u64::from(number)),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        zone: Some(format!("eu-1{}", ["a", "b", "c"][number as usize % 3])),
        capacity: 100,
        ready: true,
        map_version: 1,
        load_permille: 300,
        disk_total: 1 << 40,
        disk_free: 1 << 39,
        shards_serving: model.shards / model.nodes,
        shard_bytes: owned.map(|(shard, bytes)| (ShardId(shard), *bytes)).collect(),
        ..Facts::default()
    }
}

/// Waits until every node has heard of every other.
async fn acquainted(nodes: &[Gossiper], interval: Duration) -> Result<()> {
    for _ in 0..PATIENCE {
        tokio::time::sleep(interval).await;
        let knows_all = |node: &Gossiper| {
            let peers = Arc::clone(&node.membership.peers().borrow());
            peers.values().filter(|peer| peer.alive()).count() == nodes.len()
        };
        if nodes.iter().all(knows_all) {
            return Ok(());
        }
    }
    let known = nodes.iter().map(|node| node.membership.peers().borrow().len()).min();
    bail!("a node knows {known:?} of {} after {PATIENCE} intervals", nodes.len())
}

/// What changes of the nodes in an interval.
async fn live(nodes: &mut [Gossiper], round: u64) {
    for (number, node) in (round..).zip(nodes) {
        if number % LOAD_CHANGES == 0 {
            node.facts.load_permille = (mixed(number + round) % 1_000) as u32;
        }
        if number % SIZE_CHANGES == 0
            && let Some(bytes) = node.facts.shard_bytes.values_mut().next()
        {
            *bytes += *bytes / 8;
        }
        node.membership.update(node.facts.clone()).await;
    }
}

fn sent(nodes: &[Gossiper]) -> u64 {
    nodes.iter().map(|node| node.membership.counters().bytes_sent).sum()
}

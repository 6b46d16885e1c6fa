//! A disk that fails under a node that leads.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::disk::Shared;
use crate::consensus::{
    Consensus, ConsensusConfig, ProposeError, RaftId, RaftNode, RaftTransport, Role, TransportError,
};
use crate::name::NodeName;
use crate::shard_map::{Command, ShardMap};

struct Nobody;

#[async_trait]
impl RaftTransport for Nobody {
    async fn call(
        &self,
        _: RaftId,
        _: &RaftNode,
        _: &'static str,
        _: Vec<u8>,
        _: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        Err(TransportError::Unreachable("there is nobody".to_owned()))
    }
}

async fn start(disk: &Shared) -> Consensus {
    let (name, cluster) = ("node-0".parse().unwrap(), Uuid::from_u128(7));
    let config = ConsensusConfig::new(PathBuf::new(), cluster, 8, name, "node-0:1".to_owned());
    Consensus::with_store(config, Arc::new(Nobody), disk.open().unwrap()).await.unwrap()
}

fn join(number: u32) -> Command {
    let node = format!("node-{number}").parse().unwrap();
    Command::Join { node, zone: None, capacity: 100 }
}

fn has(map: &ShardMap, number: u32) -> bool {
    let name: NodeName = format!("node-{number}").parse().unwrap();
    map.members().contains_key(&name)
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_disk_fails_says_so_and_acknowledges_nothing_more() {
    let disk = Shared::default();
    let node = start(&disk).await;
    node.initialize().await.unwrap();
    assert_eq!(node.propose(join(1)).await, Ok(vec![Ok(())]));

    disk.disk().left = Some(0);
    let refused = node.propose(join(2)).await;
    assert!(matches!(refused, Err(ProposeError::Stopped(_))), "{refused:?}");
    let mut statuses = node.watch_status();
    let status = statuses.wait_for(|status| status.role == Role::Stopped).await.unwrap().clone();
    assert!(status.stopped.unwrap().contains("the power is lost"));
    assert!(status.leader.is_none());
    assert!(node.confirm_leadership().await.is_err());
    assert!(has(&node.map(), 1) && !has(&node.map(), 2));
    node.shutdown().await;

    // What it had acknowledged is there when the disk is back.
    let image = disk.disk().after_loss(1);
    let again = start(&Shared::with(image)).await;
    assert_eq!(again.raft_id(), node.raft_id());
    assert!(has(&again.map(), 1));
    let mut statuses = again.watch_status();
    statuses.wait_for(|status| status.is_leader()).await.unwrap();
    assert_eq!(again.propose(join(2)).await, Ok(vec![Ok(())]));
    again.shutdown().await;
}

#[tokio::test]
async fn a_full_disk_is_waited_for() {
    let disk = Shared::default();
    let node = start(&disk).await;
    node.initialize().await.unwrap();
    assert_eq!(node.propose(join(1)).await, Ok(vec![Ok(())]));

    disk.disk().full = true;
    let late = node.propose(join(2)).await;
    assert!(matches!(late, Err(ProposeError::Timeout { .. })), "{late:?}");
    let status = node.status();
    assert_eq!((status.role, status.leader, status.stopped), (Role::Waiting, None, None));
    assert!(has(&node.map(), 1) && !has(&node.map(), 2));

    disk.disk().full = false;
    let mut maps = node.watch_map();
    maps.wait_for(|map| has(map, 2)).await.unwrap();
    assert!(node.status().is_leader());
    assert_eq!(node.propose(join(3)).await, Ok(vec![Ok(())]));

    // Who stops does not wait for room, and has forgotten nothing.
    disk.disk().full = true;
    let late = node.propose(join(4)).await;
    assert!(matches!(late, Err(ProposeError::Timeout { .. })), "{late:?}");
    node.shutdown().await;
    disk.disk().full = false;
    let image = disk.disk().after_loss(1);
    let again = start(&Shared::with(image)).await;
    assert_eq!(again.raft_id(), node.raft_id());
    assert!(has(&again.map(), 3) && !has(&again.map(), 4));
    again.shutdown().await;
}

//! Files that are not as they should be.

use aeterna_cluster::consensus::{ConsensusConfig, ConsensusError, Role};
use uuid::Uuid;

use super::group::{CLUSTER, Group, SHARDS, join, soon};

async fn refused(group: &Group, config: ConsensusConfig) -> String {
    match group.try_open(config).await {
        Ok(_) => panic!("it opened"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_of_another_cluster_is_refused_and_left_alone() {
    let group = Group::of(1).await;
    let id = group.id(0);
    group.stop(0).await;
    let other = Uuid::from_u128(9);
    let config = ConsensusConfig { cluster: other, ..group.config(0) };
    let error = refused(&group, config).await;
    assert!(error.contains(&CLUSTER.to_string()) && error.contains(&other.to_string()), "{error}");
    group.open(0).await;
    assert_eq!(group.id(0), id);
}

#[tokio::test(start_paused = true)]
async fn a_disk_with_another_number_of_shards_is_refused() {
    let group = Group::of(1).await;
    group.propose(join(0, 1)).await;
    group.stop(0).await;
    let error = refused(&group, ConsensusConfig { shards: SHARDS + 1, ..group.config(0) }).await;
    assert!(error.contains("8 shards") && error.contains("with 9"), "{error}");
    for shards in [0, 1 << 20] {
        let error = refused(&group, ConsensusConfig { shards, ..group.config(0) }).await;
        assert!(error.contains(&shards.to_string()), "{error}");
    }
    group.open(0).await;
    assert_eq!(group.propose(join(0, 2)).await, [Ok(())]);
}

#[tokio::test(start_paused = true)]
async fn a_disk_is_opened_once() {
    let group = Group::of(1).await;
    let error = refused(&group, group.config(0)).await;
    assert!(error.contains("another process"), "{error}");
    assert_eq!(group.propose(join(0, 1)).await, [Ok(())]);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_file_is_named_with_what_to_do() {
    let group = Group::of(1).await;
    group.stop(0).await;
    let file = group.folder(0).join("raft.redb");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, vec![0xa5; bytes.len()]).unwrap();
    let error = refused(&group, group.config(0)).await;
    assert!(error.contains("raft.redb") && error.contains("move it away"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn settings_that_contradict_each_other_are_refused() {
    let group = Group::new(SHARDS);
    let good = group.config(0);
    let election = (good.election.1, good.election.0);
    let heartbeat = good.election.0;
    for bad in [
        ConsensusConfig { election, ..good.clone() },
        ConsensusConfig { heartbeat, ..good.clone() },
        ConsensusConfig { rpc_timeout: std::time::Duration::ZERO, ..good.clone() },
    ] {
        assert!(matches!(group.try_open(bad).await, Err(ConsensusError::Settings(_))));
    }
    assert!(!good.folder.exists(), "nothing was made");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_stopped_says_so() {
    let group = Group::of(1).await;
    let node = group.node(0);
    let mut status = node.watch_status();
    group.stop(0).await;
    let stopped = status.wait_for(|status| status.role == Role::Stopped).await.unwrap().clone();
    assert!(stopped.stopped.is_some() && stopped.leader.is_none());
    assert!(node.propose(join(0, 1)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_is_dropped_lets_go_of_the_disk() {
    let group = Group::new(SHARDS);
    let first = group.try_open(group.config(0)).await.unwrap();
    let id = first.raft_id();
    drop(first);
    let again = async {
        loop {
            match group.try_open(group.config(0)).await {
                Ok(again) => return again,
                Err(ConsensusError::Open { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    assert_eq!(soon("the disk", again).await.raft_id(), id);
}

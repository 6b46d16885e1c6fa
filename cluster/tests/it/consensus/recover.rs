//! The group made anew from what is left of it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use aeterna_cluster::consensus::{ConsensusError, ProposeError, RaftDisk, Remains};
use aeterna_cluster::name::{Epoch, ShardId};
use aeterna_cluster::shard_map::{Assignment, Command, ShardMap};

use super::group::{CLUSTER, Group, SHARDS, capacity, join, name, node, soon};

async fn remains(group: &Group, number: usize) -> Option<Remains> {
    let disk = RaftDisk::open(&group.folder(number)).await.unwrap();
    let remains = disk.remains(CLUSTER, SHARDS).await.unwrap();
    disk.close().await;
    remains
}

/// Makes the group anew on the disk of a node that is stopped.
async fn recover(group: &Group, number: usize, incarnation: u32, known: &[(u32, u64)]) {
    let disk = RaftDisk::open(&group.folder(number)).await.unwrap();
    let remains = disk.remains(CLUSTER, SHARDS).await.unwrap();
    let map = remains.as_ref().and_then(|remains| remains.map.clone());
    let known: BTreeMap<ShardId, Epoch> =
        known.iter().map(|(shard, epoch)| (ShardId(*shard), Epoch(*epoch))).collect();
    let map = map.unwrap_or_else(|| ShardMap::new(CLUSTER, SHARDS)).made_anew(incarnation, &known);
    disk.make_anew(node(number), incarnation, map, remains.as_ref()).await.unwrap();
    group.incarnation.store(incarnation, Ordering::Relaxed);
    group.open(number).await;
}

#[tokio::test(start_paused = true)]
async fn one_survivor_makes_the_group_anew_and_nothing_of_the_old_one_disturbs_it() {
    let group = Group::of(5).await;
    for number in 0..5 {
        group.propose(join(number, 100)).await;
    }
    group.same_map().await;
    let leader = group.leader().await;
    let others: Vec<usize> = (0..5).filter(|number| *number != leader).collect();
    let [survivor, running, away, lost] = others[..] else { panic!("five voters") };
    for number in [leader, lost, away, survivor] {
        group.stop(number).await;
    }
    let left = remains(&group, survivor).await.unwrap();
    assert_eq!((left.voters.len(), left.map.as_ref().unwrap().members().len()), (5, 5));
    // The one that runs asks for votes, in ever higher terms.
    group.status(running, |status| status.term > 20).await;
    recover(&group, survivor, 1, &[(0, 3)]).await;
    assert_eq!(group.leader_among(|number| number == survivor).await, survivor);
    let status = group.node(survivor).status();
    assert_eq!((status.voters.len(), status.learners.len()), (1, 0));
    assert_ne!(group.id(survivor), left.raft_id);
    assert_eq!(group.node(survivor).map().incarnation(), 1);
    assert_eq!(group.propose(join(9, 50)).await, [Ok(())]);

    // It is refused, whatever the new leader sends it, and keeps what it has.
    let before = group.node(running).map();
    let (id, none) = (group.id(running), Default::default());
    group.node(survivor).add_learner(id, node(running)).await.unwrap();
    assert_eq!(group.propose(join(9, 51)).await, [Ok(())]);
    let early = group.node(survivor).change_voters(&[id].into(), &none).await;
    assert!(matches!(early, Err(ProposeError::Behind { .. })), "{early:?}");
    assert_eq!(group.node(running).map(), before);
    assert!(group.node(survivor).status().term < group.node(running).status().term);
    group.remove(id).await;

    // Started again, each is a new disk of the new group; what it had is kept aside.
    group.stop(running).await;
    for number in [running, away] {
        group.open(number).await;
        assert!(!left.voters.contains_key(&group.id(number)));
        assert!(group.folder(number).join("raft.before-1.redb").exists());
        group.add_learner(number).await;
    }
    group.change_voters(&[group.id(running), group.id(away)], &[]).await;
    group.stop(survivor).await;
    assert_eq!(group.propose(join(9, 52)).await, [Ok(())]);
    group.open(survivor).await;
    let map = group.same_map().await;
    assert_eq!((map.members().len(), capacity(&map, 9)), (6, Some(52)));
}

#[tokio::test(start_paused = true)]
async fn what_the_log_has_counts_to_its_last_entry() {
    let group = Group::of(3).await;
    group.propose(join(0, 1)).await;
    group.same_map().await;
    let leader = group.leader().await;
    let others: Vec<usize> = (0..3).filter(|number| *number != leader).collect();
    // It may have been acknowledged, as far as what is left can tell.
    group.cut(&[leader], &others);
    let proposed = group.node(leader).propose(join(0, 2)).await;
    assert!(proposed.is_err(), "{proposed:?}");
    assert_eq!(capacity(&group.node(leader).map(), 0), Some(1));
    group.stop(leader).await;
    let left = remains(&group, leader).await.unwrap();
    assert_eq!(capacity(&left.map.unwrap(), 0), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_group_is_made_anew_from_nothing() {
    let group = Group::new(SHARDS);
    assert!(remains(&group, 0).await.is_none());
    recover(&group, 0, 3, &[(2, 40)]).await;
    assert_eq!(group.leader().await, 0);
    let map = group.node(0).map();
    assert_eq!((map.incarnation(), map.members().len()), (3, 0));
    let seen = map.shard(ShardId(2)).unwrap().epoch;
    assert!(seen > Epoch(40));
    assert_eq!(group.propose(join(0, 100)).await, [Ok(())]);
    let assignment = Assignment { shard: ShardId(2), seen, owner: name(0), replicas: Vec::new() };
    let assigned = Command::Assign { assignments: vec![assignment] };
    assert_eq!(group.propose(assigned).await, [Ok(())]);

    // A disk that was in no group yet need not be told.
    group.incarnation.store(0, Ordering::Relaxed);
    group.open(1).await;
    assert_eq!(group.node(1).incarnation(), 0);
    group.add_voter(1).await;
    assert_eq!(group.node(1).incarnation(), 3);
    group.restart(1).await;
    assert_eq!(group.node(1).incarnation(), 3);
    group.restart(0).await;
    let map = group.same_map().await;
    assert_eq!(map.shard(ShardId(2)).unwrap().owner, Some(name(0)));
}

#[tokio::test(start_paused = true)]
async fn when_the_disk_that_recovered_is_lost_too_an_older_one_makes_the_group_anew_again() {
    let group = Group::of(3).await;
    group.propose(join(0, 1)).await;
    group.same_map().await;
    for number in 0..3 {
        group.stop(number).await;
    }
    recover(&group, 0, 1, &[]).await;
    assert_eq!(group.propose(join(0, 2)).await, [Ok(())]);
    group.stop(0).await;

    // Being started, it puts what it had aside and waits for a group that is no more.
    group.open(1).await;
    group.stop(1).await;
    let left = remains(&group, 1).await.unwrap();
    assert_eq!((left.incarnation, left.voters.len(), left.map), (1, 0, None));
    recover(&group, 1, 2, &[(0, 1_003)]).await;
    assert_eq!(group.leader_among(|number| number == 1).await, 1);
    let map = group.node(1).map();
    assert_eq!((map.incarnation(), map.members().len()), (2, 0));
    assert!(map.shard(ShardId(0)).unwrap().epoch > Epoch(1_003));
    // One that was away all the time.
    group.open(2).await;
    group.add_voter(2).await;
    assert_eq!(group.propose(join(2, 3)).await, [Ok(())]);
    group.sees(2, |map| map.incarnation() == 2 && capacity(map, 2) == Some(3)).await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_in_use_or_of_another_cluster_is_not_touched() {
    let group = Group::of(1).await;
    assert!(matches!(RaftDisk::open(&group.folder(0)).await, Err(ConsensusError::Open { .. })));
    group.stop(0).await;
    let disk = RaftDisk::open(&group.folder(0)).await.unwrap();
    let other = disk.remains(uuid::Uuid::from_u128(9), SHARDS).await;
    assert!(matches!(other, Err(ConsensusError::OtherDisk { .. })), "{other:?}");
    let other = disk.remains(CLUSTER, SHARDS + 1).await;
    assert!(other.unwrap_err().to_string().contains("8 shards"));
    disk.close().await;
    group.open(0).await;
    assert_eq!(soon("the group", group.propose(join(0, 1))).await, [Ok(())]);
}

//! Nodes, disks and messages that are lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use aeterna_cluster::consensus::ProposeError;

use super::group::{Group, capacity, join, node, soon};

// On threads and in real time, for what those find.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_voters_restart_at_any_moment() {
    let group = Arc::new(Group::of(3).await);
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let client = {
        let (group, stop, acknowledged) = (group.clone(), stop.clone(), acknowledged.clone());
        tokio::spawn(async move {
            for number in 1.. {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                assert_eq!(group.propose(join(0, number)).await, [Ok(())]);
                acknowledged.store(number, Ordering::SeqCst);
            }
        })
    };
    for round in 0..9 {
        // The leader every other time.
        let victim = if round % 2 == 0 { group.leader().await } else { round % 3 };
        let before = acknowledged.load(Ordering::SeqCst);
        group.restart(victim).await;
        // At least one command a round, so that each restart meets another state.
        let leader = group.leader().await;
        group.sees(leader, |map| capacity(map, 0) > Some(before)).await;
        assert!(capacity(&group.node(leader).map(), 0) >= Some(before));
    }
    stop.store(true, Ordering::SeqCst);
    soon("the client", client).await.unwrap();
    let map = group.same_map().await;
    assert_eq!(capacity(&map, 0), Some(acknowledged.load(Ordering::SeqCst)));
}

#[tokio::test(start_paused = true)]
async fn a_group_comes_back_from_a_loss_of_all_its_power() {
    let group = Group::of(3).await;
    for number in 1..=20 {
        group.propose(join(0, number)).await;
    }
    let map = group.same_map().await;
    for number in 0..3 {
        group.stop(number).await;
    }
    for number in 0..3 {
        group.open(number).await;
        // Before anybody leads.
        assert!(group.node(number).map().version() >= map.version());
    }
    assert_eq!(group.same_map().await, map);
    assert_eq!(group.propose(join(0, 100)).await, [Ok(())]);
}

#[tokio::test(start_paused = true)]
async fn a_vote_survives_a_restart() {
    let group = Group::of(3).await;
    let leader = group.leader().await;
    let term = group.node(leader).status().term;
    for number in 0..3 {
        group.status(number, |status| status.term == term).await;
    }
    for number in 0..3 {
        group.stop(number).await;
    }
    // Alone: nobody tells it of the term.
    group.open(1).await;
    assert!(group.node(1).status().term >= term);
}

#[tokio::test(start_paused = true)]
async fn the_minority_may_be_lost_and_the_majority_may_come_back() {
    let group = Group::of(5).await;
    assert_eq!(group.propose(join(0, 1)).await, [Ok(())]);
    let leader = group.leader().await;
    let others: Vec<usize> = (0..5).filter(|number| *number != leader).collect();
    group.stop(leader).await;
    group.stop(others[0]).await;
    assert_eq!(group.propose(join(0, 2)).await, [Ok(())]);

    // Now the majority is away: whoever leads says nothing that it cannot stand up for.
    let second = group.leader().await;
    let third = *others.iter().find(|number| **number != second && **number != others[0]).unwrap();
    group.stop(third).await;
    let stuck = group.node(second).propose(join(0, 3)).await;
    assert!(matches!(stuck, Err(ProposeError::Timeout { .. })), "{stuck:?}");
    assert!(group.node(second).confirm_leadership().await.is_err());
    assert_eq!(capacity(&group.node(second).map(), 0), Some(2));

    group.open(third).await;
    assert_eq!(group.propose(join(0, 4)).await, [Ok(())]);
    assert_eq!(capacity(&*group.same_map().await, 0), Some(4));
}

#[tokio::test(start_paused = true)]
async fn a_voter_whose_disk_was_lost_is_replaced() {
    let group = Group::of(3).await;
    assert_eq!(group.propose(join(0, 1)).await, [Ok(())]);
    let victim = (group.leader().await + 1) % 3;
    let old = group.id(victim);
    group.stop(victim).await;
    group.lose_disk(victim);
    group.open(victim).await;
    let new = group.id(victim);
    assert_ne!(old, new);
    // What is for the old disk is not for the new one.
    let leader = group.leader().await;
    assert_eq!(group.node(victim).status().last_log, None);
    assert_eq!(group.node(leader).status().voters[&old], node(victim));

    // The replacement first.
    group.add_voter(victim).await;
    group.remove(old).await;
    let leader = group.leader().await;
    let status = group.status(leader, |status| status.voters.len() == 3).await;
    assert!(status.voters.contains_key(&new) && !status.voters.contains_key(&old));

    // The new disk counts: with it and one other there is a majority.
    let third = (0..3).find(|number| *number != victim && *number != leader).unwrap();
    group.stop(third).await;
    assert_eq!(group.propose(join(0, 2)).await, [Ok(())]);
    group.sees(victim, |map| capacity(map, 0) == Some(2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_acknowledges_nothing() {
    let group = Group::of(3).await;
    assert_eq!(group.propose(join(0, 1)).await, [Ok(())]);
    let old = group.leader().await;
    let rest: Vec<usize> = (0..3).filter(|number| *number != old).collect();
    group.cut(&[old], &rest);

    let late = {
        let old = group.node(old);
        tokio::spawn(async move { old.propose(join(0, 66)).await })
    };
    let new = group.leader_among(|number| number != old).await;
    assert_eq!(group.node(new).propose(join(0, 2)).await, Ok(vec![Ok(())]));
    assert!(group.node(old).confirm_leadership().await.is_err());
    let late = soon("the late proposal", late).await.unwrap();
    assert!(late.is_err(), "{late:?}");
    assert_eq!(capacity(&group.node(old).map(), 0), Some(1), "an old map, and no other");

    group.heal();
    group.sees(old, |map| capacity(map, 0) == Some(2)).await;
    assert_eq!(group.propose(join(0, 3)).await, [Ok(())]);
    assert_eq!(capacity(&*group.same_map().await, 0), Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_follower_names_the_leader() {
    let group = Group::of(3).await;
    let leader = group.leader().await;
    let other = (leader + 1) % 3;
    let term = group.node(leader).status().term;
    group.status(other, |status| status.term == term && status.leader.is_some()).await;
    let refused = group.node(other).propose(join(0, 1)).await;
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: Some(node(leader)) }));
    let unsure = group.node(other).confirm_leadership().await;
    assert_eq!(unsure, Err(ProposeError::NotLeader { leader: Some(node(leader)) }));
}

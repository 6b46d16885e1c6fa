//! Groups that are made, grow and shrink.

use std::collections::BTreeSet;

use aeterna_cluster::consensus::{ProposeError, RaftId, Role};
use aeterna_cluster::shard_map::Refusal;

use super::group::{CLUSTER, Group, SHARDS, capacity, join, name, node, soon};

#[tokio::test(start_paused = true)]
async fn three_nodes_agree_on_the_map() {
    let group = Group::of(3).await;
    let leader = group.leader().await;
    let status = group.status(leader, |status| status.voters.len() == 3).await;
    assert_eq!(status.leader, Some(group.id(leader)));
    assert_eq!(status.leader_node, Some(node(leader)));

    for number in 0..3 {
        assert_eq!(group.propose(join(number, 100)).await, [Ok(())]);
    }
    let refused = group.propose(join(1, 0)).await;
    assert_eq!(refused, [Err(Refusal::NoCapacity(name(1)))]);
    let map = group.same_map().await;
    assert_eq!((map.cluster(), map.shards().len()), (CLUSTER, SHARDS as usize));
    assert_eq!(map.version(), 3);
    assert_eq!(capacity(&map, 2), Some(100));
}

#[tokio::test(start_paused = true)]
async fn initialising_again_changes_nothing() {
    let group = Group::of(1).await;
    group.propose(join(0, 100)).await;
    group.node(0).initialize().await.unwrap();
    group.restart(0).await;
    group.node(0).initialize().await.unwrap();
    group.leader().await;
    assert_eq!(capacity(&group.node(0).map(), 0), Some(100));
    assert_eq!(group.propose(join(0, 200)).await, [Ok(())]);
}

#[tokio::test(start_paused = true)]
async fn a_node_of_no_group_waits() {
    let group = Group::new(SHARDS);
    group.open(0).await;
    let refused = group.node(0).propose(join(0, 100)).await;
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: None }));
    let status = group.node(0).status();
    assert_eq!((status.role, status.last_log), (Role::Learner, None));
    assert_eq!(group.node(0).map().version(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_group_grows_to_five_and_shrinks_to_one() {
    let group = Group::of(1).await;
    for number in 0..5 {
        if number > 0 {
            group.open(number).await;
            group.add_voter(number).await;
        }
        assert_eq!(group.propose(join(number, 100)).await, [Ok(())]);
    }
    let all = group.same_map().await;
    assert_eq!(all.members().len(), 5);

    // The leader each time, so that another one must follow it; nobody tells it to stop.
    for left in (1..5).rev() {
        let leader = group.leader().await;
        group.remove(group.id(leader)).await;
        group.stop(leader).await;
        assert_eq!(group.propose(join(9, left)).await, [Ok(())]);
    }
    let last = group.leader().await;
    let status = group.status(last, |status| status.voters.len() == 1).await;
    assert_eq!(status.voters.into_keys().collect::<Vec<_>>(), [group.id(last)]);
    let alone = group.node(last).remove(group.id(last)).await;
    assert_eq!(alone, Err(ProposeError::LastVoter(group.id(last))));
    let map = group.same_map().await;
    assert_eq!(map.members().len(), 6);
    assert_eq!(capacity(&map, 9), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_nobody_has_heard_from_gets_no_vote() {
    let group = Group::of(1).await;
    let silent = RaftId(4711);
    let (silents, none) = (BTreeSet::from([silent]), BTreeSet::new());
    let unknown = group.node(0).change_voters(&silents, &none).await;
    assert_eq!(unknown, Err(ProposeError::UnknownLearner(silent)));
    group.node(0).add_learner(silent, node(7)).await.unwrap();
    let early = group.node(0).change_voters(&silents, &none).await;
    assert!(matches!(early, Err(ProposeError::Behind { id, .. }) if id == silent), "{early:?}");
    // It costs the group nothing.
    assert_eq!(group.propose(join(0, 100)).await, [Ok(())]);
    group.remove(silent).await;
    group.status(0, |status| status.learners.is_empty()).await;
    // Once more is no error.
    group.node(0).remove(silent).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_voter_may_move_to_another_address() {
    let group = Group::of(3).await;
    let leader = group.leader().await;
    let other = (leader + 1) % 3;
    let (id, moved) = (group.id(other), node(8));
    group.node(leader).add_learner(id, moved.clone()).await.unwrap();
    let status = group.node(leader).status();
    assert_eq!((status.voters.len(), &status.voters[&id]), (3, &moved));
    // Nobody listens there: it is a minority that is lost.
    assert_eq!(group.propose(join(0, 100)).await, [Ok(())]);
    group.node(leader).add_learner(id, node(other)).await.unwrap();
    group.sees(other, |map| capacity(map, 0) == Some(100)).await;
}

#[tokio::test(start_paused = true)]
async fn who_was_removed_learns_it_and_stops_asking_for_votes() {
    let group = Group::of(3).await;
    let leader = group.leader().await;
    let gone = (leader + 1) % 3;
    let rest: Vec<usize> = (0..3).filter(|number| *number != gone).collect();
    group.cut(&[gone], &rest);
    group.remove(group.id(gone)).await;
    group.heal();
    let before = group.status(gone, |status| status.removed).await;
    assert_ne!(before.role, Role::Leader);
    // Nothing is to happen: that cannot be awaited. An election may have begun just before.
    tokio::time::sleep(group.config(gone).election.1 * 6).await;
    let after = group.node(gone).status();
    assert!(after.term <= before.term + 1, "{before:?} {after:?}");
    assert_eq!(group.propose(join(0, 100)).await, [Ok(())]);

    group.add_voter(gone).await;
    group.status(gone, |status| !status.removed).await;
    group.sees(gone, |map| capacity(map, 0) == Some(100)).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_leader_was_lost_is_finished_by_the_next() {
    let group = Group::of(3).await;
    group.open(3).await;
    group.add_learner(3).await;
    let leader = group.leader().await;
    let newcomer = group.id(3);
    group.status(leader, |status| status.matched.get(&newcomer).is_some_and(Option::is_some)).await;

    // The old voters and the new together are written, the new alone are not.
    let from = node(leader).address;
    *group.net.loss.lock().unwrap() = Some(Box::new(move |sender, _, payload| {
        let text = String::from_utf8_lossy(payload);
        let uniform = text.contains("\"Membership\":{\"configs\":[[") && !text.contains("],[");
        sender == from && uniform && text.contains(&newcomer.to_string())
    }));
    let half = {
        let leader = group.node(leader);
        let (add, none) = (BTreeSet::from([newcomer]), BTreeSet::new());
        tokio::spawn(async move { leader.change_voters(&add, &none).await })
    };
    let rest: Vec<usize> = (0..3).filter(|number| *number != leader).collect();
    for number in &rest {
        group.status(*number, |status| status.changing).await;
    }
    group.stop(leader).await;
    assert!(soon("the change", half).await.unwrap().is_err());
    *group.net.loss.lock().unwrap() = None;

    let next = group.leader().await;
    assert!(group.node(next).status().changing);
    group.lead(|leader| async move { leader.settle().await }).await;
    let status = group.status(next, |status| !status.changing).await;
    assert_eq!(status.voters.len(), 4);
    assert!(status.voters.contains_key(&newcomer));
    assert_eq!(group.propose(join(0, 100)).await, [Ok(())]);
}

/// Stops the leader for as long as it takes to see that the others go on without it.
async fn goes_on_without_its_leader(group: &Group, capacity: u32) {
    let leader = group.leader().await;
    group.stop(leader).await;
    assert_eq!(group.propose(join(9, capacity)).await, [Ok(())]);
    group.open(leader).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_that_grows_or_shrinks_can_lose_its_leader_after_every_step() {
    let group = Group::of(1).await;
    let mut step = 1;
    for pair in [[1, 2], [3, 4]] {
        for number in pair {
            group.open(number).await;
            group.add_learner(number).await;
        }
        group.change_voters(&pair.map(|number| group.id(number)), &[]).await;
        goes_on_without_its_leader(&group, step).await;
        step += 1;
    }
    let leader = group.leader().await;
    let status = group.status(leader, |status| !status.changing).await;
    assert_eq!(status.voters.len(), 5);

    // The leader among those who go.
    let gone = [leader, (leader + 1) % 5];
    group.change_voters(&[], &gone.map(|number| group.id(number))).await;
    for number in gone {
        group.stop(number).await;
    }
    goes_on_without_its_leader(&group, step).await;
    let leader = group.leader().await;
    let status = group.status(leader, |status| !status.changing).await;
    assert_eq!((status.voters.len(), status.learners.len()), (3, 0));
    let map = group.same_map().await;
    assert_eq!(capacity(&map, 9), Some(step));
}

#[tokio::test(start_paused = true)]
async fn a_lost_voter_is_replaced_in_one_change_and_the_leader_can_go_next() {
    let group = Group::of(3).await;
    let leader = group.leader().await;
    let lost = (leader + 1) % 3;
    let lost_id = group.id(lost);
    group.stop(lost).await;
    group.lose_disk(lost);
    group.open(lost).await;
    group.add_learner(lost).await;
    group.change_voters(&[group.id(lost)], &[lost_id]).await;
    goes_on_without_its_leader(&group, 1).await;
    let leader = group.leader().await;
    let status = group.status(leader, |status| !status.changing).await;
    assert_eq!((status.voters.len(), status.learners.len()), (3, 0));
    assert!(!status.voters.contains_key(&lost_id));
}

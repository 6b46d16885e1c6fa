//! Who votes.

use super::*;

fn votes(add: &[u64], remove: &[u64]) -> Action {
    let ids = |ids: &[u64]| ids.iter().copied().map(RaftId).collect();
    Action::ChangeVoters { add: ids(add), remove: ids(remove) }
}

#[test]
fn voters_grow_from_one_to_three_to_five() {
    let mut world = World::settled(1, 4);
    assert_eq!(world.voters(), [100]);
    world.hear(1);
    world.run(secs(60));
    assert_eq!(world.voters(), [100], "two are no better than one");
    world.hear(2);
    let actions = world.run(secs(10));
    let changes: Vec<&Action> =
        actions.iter().filter(|action| !matches!(action, Action::Propose(_))).collect();
    assert_eq!(
        changes,
        [
            &Action::AddLearner { id: RaftId(101), member: member(1) },
            &Action::AddLearner { id: RaftId(102), member: member(2) },
            &votes(&[101, 102], &[]),
        ]
    );
    for number in 3..6 {
        world.hear(number);
    }
    world.run(secs(60));
    assert_eq!(world.voters(), [100, 101, 102]);
    world.hear(6);
    world.run(secs(60));
    assert_eq!((world.voters().len(), world.raft.learners.len()), (5, 0));
}

#[test]
fn one_change_of_the_voters_at_a_time() {
    let mut world = World::new(7, 4);
    world.run(TICK);
    let actions = world.look();
    let changes = actions.iter().filter(|action| !matches!(action, Action::Propose(_)));
    assert_eq!(changes.count(), 1);
}

#[test]
fn voters_stand_in_different_zones() {
    let mut world = World::new(6, 4);
    for (number, zone) in ["a", "a", "a", "b", "b", "c"].into_iter().enumerate() {
        world.peers.get_mut(&name(number as u64)).unwrap().zone = Some(zone.to_owned());
    }
    world.run(secs(20));
    assert_eq!(world.voters(), [100, 103, 105]);
}

#[test]
fn a_dead_voter_is_replaced_late_and_its_replacement_comes_first() {
    let mut world = World::settled(4, 8);
    assert_eq!(world.voters(), [100, 101, 102]);
    world.silence(1);
    // A pod that is restarted, or whose node is, comes back.
    world.run(secs(300));
    assert_eq!(world.voters(), [100, 101, 102]);
    let actions = world.run(secs(20));
    assert_eq!(
        actions,
        [Action::AddLearner { id: RaftId(103), member: member(3) }, votes(&[103], &[101]),]
    );
    // When it is back, there are enough.
    world.hear(1);
    assert_eq!(world.run(secs(600)), []);
}

#[test]
fn two_lost_voters_with_one_replacement_leave_no_even_number() {
    let mut world = World::settled(8, 8);
    let voters = world.voters();
    assert_eq!(voters.len(), 5);
    let lost: Vec<u64> = voters.iter().copied().filter(|id| *id != 100).take(2).collect();
    // Of the other three, one could vote.
    let others: Vec<u64> = (101..108).filter(|id| !voters.contains(id)).collect();
    for id in lost.iter().chain(&others[1..]) {
        world.silence(id - 100);
    }
    let actions = world.run(secs(400));
    let changes = actions.iter().filter(|action| matches!(action, Action::ChangeVoters { .. }));
    // One takes the place of one; the other's vote is kept, as there is nobody for it.
    let changes: Vec<&Action> = changes.collect();
    assert_eq!(changes, [&votes(&others[..1], &lost[1..])], "{actions:?}");
}

#[test]
fn a_dead_voter_without_replacement_stays() {
    let mut world = World::settled(3, 8);
    world.silence(1);
    world.run(secs(3_000));
    assert_eq!(world.voters(), [100, 101, 102]);
}

#[test]
fn who_returns_without_its_disk_votes_soon_where_nobody_else_can() {
    for (nodes, next) in [(3, 201), (4, 103)] {
        let mut world = World::settled(nodes, 8);
        world.silence(1);
        world.run(secs(60));
        world.hear(1);
        world.peers.get_mut(&name(1)).unwrap().raft_id = Some(RaftId(201));
        let actions = world.run(secs(7));
        let changes = actions.iter().filter(|action| matches!(action, Action::ChangeVoters { .. }));
        assert_eq!(changes.collect::<Vec<_>>(), [&votes(&[next], &[101])], "{actions:?}");
    }
}

#[test]
fn a_voter_whose_disk_is_lost_is_replaced_soon() {
    let mut world = World::settled(3, 8);
    world.peers.get_mut(&name(1)).unwrap().raft_id = Some(RaftId(201));
    assert_eq!(world.run(secs(4)), []);
    let actions = world.run(secs(3));
    assert_eq!(
        actions,
        [Action::AddLearner { id: RaftId(201), member: member(1) }, votes(&[201], &[101]),]
    );
}

#[test]
fn voters_shrink_with_the_cluster() {
    let mut world = World::settled(7, 0);
    assert_eq!(world.voters().len(), 5);
    let gone: Vec<u64> = world.voters().into_iter().filter(|id| *id != 100).take(2).collect();
    for id in &gone {
        let number = id - 100;
        world.peers.remove(&name(number));
        world.map.apply(Command::Remove { node: name(number) });
    }
    let actions = world.run(secs(60));
    assert_eq!(world.voters().len(), 3);
    assert!(actions.contains(&votes(&[], &gone)), "{actions:?}");
    // This node's own vote goes last.
    for number in 1..7 {
        world.map.apply(Command::Leave { node: name(number) });
        world.peers.remove(&name(number));
        world.map.apply(Command::Remove { node: name(number) });
    }
    assert_eq!(world.map.members().len(), 1);
    world.run(secs(120));
    // Two of three are gone at once: without them nothing can be decided, so nothing is tried.
    assert_eq!(world.voters().len(), 3);
}

#[test]
fn live_voters_shrink_in_one_change() {
    let mut world = World::settled(7, 0);
    let others: Vec<u64> =
        (1..7).filter(|number| !world.voters().contains(&(100 + number))).collect();
    for number in &others {
        world.peers.remove(&name(*number));
        world.map.apply(Command::Remove { node: name(*number) });
    }
    world.run(secs(60));
    assert_eq!(world.voters().len(), 3);
    assert!(world.voters().contains(&100));
    assert_eq!(world.raft.learners.len(), 0);
}

#[test]
fn of_too_many_voters_the_silent_go_first() {
    let mut world = World::settled(7, 0);
    let voters = world.voters();
    let silent = voters.iter().copied().find(|id| *id != 100).unwrap();
    world.silence(silent - 100);
    world.run(secs(20));
    assert_eq!(world.voters(), voters);
    for number in (101..107).filter(|id| !voters.contains(id)).map(|id| id - 100) {
        world.peers.remove(&name(number));
        world.map.apply(Command::Remove { node: name(number) });
    }
    world.run(secs(5));
    assert_eq!(world.voters().len(), 3);
    assert!(!world.voters().contains(&silent), "{silent} of {:?}", world.voters());
}

#[test]
fn a_change_that_was_not_finished_comes_first() {
    let mut world = World::settled(3, 0);
    world.raft.changing = true;
    world.peers.get_mut(&name(1)).unwrap().grpc = "127.0.0.1:9".to_owned();
    let member = RaftNode { name: name(1), address: "127.0.0.1:9".to_owned() };
    assert_eq!(world.run(TICK), [Action::Settle]);
    assert_eq!(world.run(secs(5)), [Action::AddLearner { id: RaftId(101), member }]);
}

#[test]
fn learners_that_die_are_let_go() {
    let mut world = World::settled(2, 0);
    world.hear(2);
    world.run(TICK);
    world.carry_out(&Action::AddLearner { id: RaftId(109), member: member(9) });
    world.run(secs(60));
    assert_eq!(world.voters(), [100, 101, 102]);
    assert_eq!(world.raft.learners.len(), 0);
}

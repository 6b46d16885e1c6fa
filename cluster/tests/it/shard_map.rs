//! The shard map under any commands.

use std::collections::BTreeMap;

use aeterna_cluster::name::{Epoch, NodeName, ShardId};
use aeterna_cluster::shard_map::{Assignment, Command, Refusal, ShardMap};
use proptest::prelude::*;
use uuid::Uuid;

const SHARDS: u32 = 4;

fn name(number: u8) -> NodeName {
    format!("node-{number}").parse().unwrap()
}

fn map() -> ShardMap {
    let mut map = ShardMap::new(Uuid::from_u128(7), SHARDS);
    for number in 0..3 {
        let join = Command::Join { node: name(number), zone: None, capacity: 100 };
        assert_eq!(map.apply(join), [Ok(())]);
    }
    map
}

fn assign(shard: u32, seen: u64, owner: u8, replicas: &[u8]) -> Command {
    let replicas = replicas.iter().map(|number| name(*number)).collect();
    let (shard, seen) = (ShardId(shard), Epoch(seen));
    Command::Assign { assignments: vec![Assignment { shard, seen, owner: name(owner), replicas }] }
}

fn commands() -> impl Strategy<Value = Command> {
    let node = || (0u8..5).prop_map(name);
    // One shard and one epoch more than there are.
    let shard = || (0..=SHARDS).prop_map(ShardId);
    let epoch = || (0u64..4).prop_map(Epoch);
    let assignment = (shard(), epoch(), node(), prop::collection::vec(node(), 0..3))
        .prop_map(|(shard, seen, owner, replicas)| Assignment { shard, seen, owner, replicas });
    prop_oneof![
        (node(), 0u32..3).prop_map(|(node, capacity)| Command::Join { node, zone: None, capacity }),
        node().prop_map(|node| Command::Leave { node }),
        node().prop_map(|node| Command::Remove { node }),
        prop::collection::vec(assignment, 0..4)
            .prop_map(|assignments| Command::Assign { assignments }),
        (shard(), epoch(), node()).prop_map(|(shard, seen, to)| Command::BeginMove {
            shard,
            seen,
            to
        }),
        (shard(), epoch()).prop_map(|(shard, seen)| Command::Copied { shard, seen }),
        (shard(), epoch()).prop_map(|(shard, seen)| Command::EndMove { shard, seen }),
        (shard(), epoch()).prop_map(|(shard, seen)| Command::AbortMove { shard, seen }),
        (shard(), prop::option::of(node())).prop_map(|(shard, node)| Command::Pin { shard, node }),
    ]
}

proptest! {
    #[test]
    fn no_commands_break_it(commands in prop::collection::vec(commands(), 1..200)) {
        let mut map = map();
        let mut again = map.clone();
        for command in commands {
            let before = map.clone();
            let outcome = map.apply(command.clone());
            prop_assert_eq!(map.broken_invariant(), None, "{:?}", command);
            let changed = outcome.iter().any(Result::is_ok);
            prop_assert_eq!(map.version(), before.version() + u64::from(changed));
            if !changed {
                prop_assert_eq!(&map, &before);
            }
            for (now, before) in map.shards().iter().zip(before.shards()) {
                let same_owner = now.owner == before.owner;
                let grown = now.epoch.0 - before.epoch.0;
                // A command may assign one shard more than once.
                prop_assert!(if same_owner { grown != 1 } else { grown >= 1 }, "{:?}", command);
                prop_assert!(before.owner.is_none() || now.owner.is_some());
            }
            prop_assert_eq!(again.apply(command), outcome);
        }
        prop_assert_eq!(again, map);
    }
}

#[test]
fn who_comes_too_late_changes_nothing() {
    let mut map = map();
    assert_eq!(map.apply(assign(0, 0, 0, &[])), [Ok(())]);
    assert_eq!(map.apply(assign(0, 1, 1, &[2])), [Ok(())]);
    let late = map.apply(assign(0, 1, 2, &[]));
    let stale = Refusal::StaleEpoch { shard: ShardId(0), seen: Epoch(1), now: Epoch(2) };
    assert_eq!(late, [Err(stale)]);
    let shard = map.shard(ShardId(0)).unwrap();
    assert_eq!((&shard.owner, shard.epoch), (&Some(name(1)), Epoch(2)));
}

#[test]
fn new_replicas_are_no_new_owner() {
    let mut map = map();
    map.apply(assign(0, 0, 0, &[]));
    assert_eq!(map.apply(assign(0, 1, 0, &[2, 1])), [Ok(())]);
    let shard = map.shard(ShardId(0)).unwrap();
    assert_eq!((shard.epoch, &*shard.replicas), (Epoch(1), &[name(1), name(2)][..]));
    let twice = Refusal::NamedTwice { shard: ShardId(0), node: name(1) };
    assert_eq!(map.apply(assign(0, 1, 0, &[1, 1])), [Err(twice.clone())]);
    assert_eq!(map.apply(assign(0, 1, 1, &[1])), [Err(twice)]);
}

#[test]
fn a_shard_moves_under_a_new_epoch() {
    let mut map = map();
    let (shard, seen) = (ShardId(0), Epoch(1));
    let begin = |to: u8| Command::BeginMove { shard, seen, to: name(to) };
    assert_eq!(
        map.apply(Command::BeginMove { shard, seen: Epoch(0), to: name(1) }),
        [Err(Refusal::NoOwner(shard))]
    );
    map.apply(assign(0, 0, 0, &[1]));
    assert_eq!(map.apply(begin(0)), [Err(Refusal::OwnsIt { shard, node: name(0) })]);
    assert_eq!(map.apply(Command::EndMove { shard, seen }), [Err(Refusal::NotMoving(shard))]);
    assert_eq!(map.apply(begin(1)), [Ok(())]);
    // The same again is the same; another one is not.
    assert_eq!(map.apply(begin(1)), [Ok(())]);
    assert_eq!(map.apply(begin(2)), [Err(Refusal::Moving { shard, to: name(1) })]);
    assert_eq!(map.apply(Command::Copied { shard, seen }), [Ok(())]);
    assert!(map.shard(shard).unwrap().copied);
    assert_eq!(map.apply(Command::EndMove { shard, seen }), [Ok(())]);
    let moved = map.shard(shard).unwrap();
    assert_eq!((&moved.owner, moved.epoch), (&Some(name(1)), Epoch(2)));
    assert!(moved.replicas.is_empty() && moved.moving_to.is_none() && !moved.copied);
    let late = Command::Copied { shard, seen: Epoch(2) };
    assert_eq!(map.apply(late), [Err(Refusal::NotMoving(shard))]);
    // An owner that died meanwhile has another one by now: the copy is of the wrong epoch.
    map.apply(Command::BeginMove { shard, seen: Epoch(2), to: name(2) });
    map.apply(assign(0, 2, 0, &[]));
    let stale = Refusal::StaleEpoch { shard, seen: Epoch(2), now: Epoch(3) };
    assert_eq!(map.apply(Command::EndMove { shard, seen: Epoch(2) }), [Err(stale)]);
}

#[test]
fn members_go_when_they_own_nothing() {
    let mut map = map();
    map.apply(assign(0, 0, 0, &[1]));
    map.apply(Command::Pin { shard: ShardId(1), node: Some(name(1)) });
    let remove = |number: u8| Command::Remove { node: name(number) };
    let owns = Refusal::StillOwns { node: name(0), shards: 1 };
    assert_eq!(map.apply(remove(0)), [Err(owns)]);
    assert_eq!(map.apply(remove(1)), [Ok(())]);
    assert_eq!(map.broken_invariant(), None);
    assert_eq!(map.apply(remove(1)), [Err(Refusal::UnknownNode(name(1)))]);
    map.apply(remove(2));
    let mut alone = ShardMap::new(Uuid::from_u128(7), 1);
    alone.apply(Command::Join { node: name(0), zone: None, capacity: 1 });
    assert_eq!(alone.apply(remove(0)), [Err(Refusal::LastMember(name(0)))]);
}

#[test]
fn a_map_that_is_made_anew_is_newer_than_all_before_and_above_all_epochs() {
    let mut map = map();
    for (shard, owner) in [(0, 0), (1, 1)] {
        assert_eq!(map.apply(assign(shard, 0, owner, &[])), [Ok(())]);
    }
    let begin = Command::BeginMove { shard: ShardId(1), seen: Epoch(1), to: name(0) };
    assert_eq!(map.apply(begin), [Ok(())]);
    let known = BTreeMap::from([(ShardId(1), Epoch(7)), (ShardId(2), Epoch(5))]);
    let anew = map.clone().made_anew(1, &known);
    assert_eq!((anew.incarnation(), map.incarnation()), (1, 0));
    assert!(anew.version() > map.version() && anew.broken_invariant().is_none());
    assert_eq!((anew.members(), anew.cluster()), (map.members(), map.cluster()));
    for (shard, above) in [(0, 1), (1, 7), (2, 5)] {
        let shard = anew.shard(ShardId(shard)).unwrap();
        assert!(shard.epoch > Epoch(above) && shard.moving_to.is_none(), "{shard:?}");
    }
    assert_eq!(anew.shard(ShardId(1)).unwrap().owner, Some(name(1)));
    assert_eq!(ShardMap::from_bytes(&anew.to_bytes().unwrap()).unwrap(), anew);
    // Who had no owner gets one under the next epoch, and only so.
    let mut anew = anew;
    let epoch = anew.shard(ShardId(2)).unwrap().epoch;
    assert!(anew.apply(assign(2, 5, 0, &[])).iter().all(Result::is_err));
    assert_eq!(anew.apply(assign(2, epoch.0, 0, &[])), [Ok(())]);
    assert_eq!(anew.shard(ShardId(2)).unwrap().epoch, epoch.next());
    assert!(anew.clone().made_anew(2, &BTreeMap::new()).version() > anew.version());
}

#[test]
fn a_map_from_the_future_is_refused_by_its_version() {
    let mut bytes = map().to_bytes().unwrap();
    bytes[0] += 1;
    let error = ShardMap::from_bytes(&bytes).unwrap_err().to_string();
    assert!(error.contains("has version 2, and this node reads version 1"), "{error}");
}

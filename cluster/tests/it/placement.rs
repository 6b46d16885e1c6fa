//! Plans over generated clusters.

use std::collections::{BTreeMap, BTreeSet};

use aeterna_cluster::name::{NodeName, ShardId};
use aeterna_cluster::placement::{
    Input, Node, OVERLOAD_PERCENT, Plan, Reason, SHARD_OVERHEAD, Shard, State, rebalance, repair,
};
use proptest::prelude::*;

fn name(number: usize) -> NodeName {
    format!("node-{number}").parse().unwrap()
}

fn node(zone: Option<&str>) -> Node {
    Node { state: State::Active, capacity: 100, zone: zone.map(str::to_owned) }
}

fn cluster(nodes: usize, sizes: &[u64], copies: usize) -> Input {
    Input {
        nodes: (0..nodes).map(|number| (name(number), node(None))).collect(),
        shards: sizes.iter().map(|bytes| Shard { bytes: *bytes, ..Shard::default() }).collect(),
        copies,
    }
}

fn apply(input: &mut Input, plan: &Plan) {
    for change in &plan.changes {
        let shard = &mut input.shards[change.shard.0 as usize];
        shard.owner = Some(change.owner.clone());
        shard.replicas = change.replicas.clone();
    }
}

fn placed(mut input: Input) -> Input {
    let plan = repair(&input);
    apply(&mut input, &plan);
    input
}

fn loads(input: &Input) -> BTreeMap<&NodeName, u64> {
    let mut loads: BTreeMap<&NodeName, u64> = input.nodes.keys().map(|name| (name, 0)).collect();
    for shard in &input.shards {
        for holder in shard.owner.iter().chain(&shard.replicas) {
            *loads.get_mut(holder).unwrap() += shard.bytes + SHARD_OVERHEAD;
        }
    }
    loads
}

fn largest(input: &Input) -> u64 {
    input.shards.iter().map(|shard| shard.bytes + SHARD_OVERHEAD).max().unwrap_or(0)
}

/// What a node may hold: a quarter more than its share, or a share and a shard where shards are
/// larger than that quarter.
fn bound(input: &Input, of: &NodeName) -> u64 {
    let capacity = |node: &Node| u64::from(node.capacity);
    let takes = |node: &&Node| matches!(node.state, State::Active | State::Full);
    let all: u64 = input.nodes.values().filter(takes).map(capacity).sum();
    let copies = input.copies.min(input.nodes.values().filter(takes).count()) as u64;
    let total: u64 = input.shards.iter().map(|shard| shard.bytes + SHARD_OVERHEAD).sum();
    let share = total * copies * capacity(&input.nodes[of]) / all;
    (share * OVERLOAD_PERCENT / 100).max(share + largest(input))
}

fn assert_balanced(input: &Input) {
    for (node, load) in loads(input) {
        assert!(load <= bound(input, node), "{node} holds {load} of {}", bound(input, node));
    }
}

/// Every shard has its owner and its copies, each on another node that may hold it.
fn assert_whole(input: &Input) {
    let takes: BTreeSet<&NodeName> = input
        .nodes
        .iter()
        .filter(|(_, node)| matches!(node.state, State::Active | State::Full))
        .map(|(name, _)| name)
        .collect();
    for (number, shard) in input.shards.iter().enumerate() {
        let holders: Vec<&NodeName> = shard.owner.iter().chain(&shard.replicas).collect();
        let different: BTreeSet<&NodeName> = holders.iter().copied().collect();
        assert_eq!(different.len(), holders.len(), "{number}: {holders:?}");
        assert_eq!(holders.len(), input.copies.min(takes.len()), "{number}: {holders:?}");
        assert!(different.is_subset(&takes), "{number}: {holders:?}");
    }
}

fn sizes() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(0u64..64 << 20, 64..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn new_shards_are_spread(nodes in 1usize..12, sizes in sizes(), copies in 1usize..4) {
        let input = cluster(nodes, &sizes, copies);
        let plan = repair(&input);
        prop_assert!(plan.changes.iter().all(|change| change.reason == Reason::New));
        let input = placed(input);
        assert_whole(&input);
        assert_balanced(&input);
        prop_assert_eq!(repair(&input), Plan::default());
        prop_assert_eq!(rebalance(&input), Plan::default());
    }

    #[test]
    fn capacity_counts(
        capacities in prop::collection::vec(50u32..400, 2..8), sizes in sizes(), copies in 1usize..2
    ) {
        let mut input = cluster(capacities.len(), &sizes, copies);
        for (number, capacity) in capacities.iter().enumerate() {
            input.nodes.get_mut(&name(number)).unwrap().capacity = *capacity;
        }
        let input = placed(input);
        assert_whole(&input);
        assert_balanced(&input);
    }

    #[test]
    fn a_lost_node_s_shards_move_and_no_others(
        nodes in 3usize..10, lost in 0usize..3, sizes in sizes(), copies in 1usize..3
    ) {
        let mut input = placed(cluster(nodes, &sizes, copies));
        let before = input.clone();
        input.nodes.get_mut(&name(lost)).unwrap().state = State::Dead;
        let plan = repair(&input);
        for change in &plan.changes {
            let shard = &before.shards[change.shard.0 as usize];
            let holders: Vec<&NodeName> = shard.owner.iter().chain(&shard.replicas).collect();
            prop_assert!(holders.contains(&&name(lost)), "{:?}", change);
            prop_assert_eq!(change.reason, Reason::Lost);
            // A replica becomes the owner: only the lost copy is made again.
            prop_assert_eq!(change.copied_to.len(), 1);
            if shard.owner == Some(name(lost)) && copies > 1 {
                prop_assert!(shard.replicas.contains(&change.owner));
            }
        }
        let held: u64 = before.shards.iter()
            .filter(|shard| shard.owner.iter().chain(&shard.replicas).any(|node| *node == name(lost)))
            .map(|shard| shard.bytes).sum();
        prop_assert_eq!(plan.bytes, held);
        apply(&mut input, &plan);
        assert_whole(&input);
        if copies == 1 {
            assert_balanced(&input);
        }
        let plan = rebalance(&input);
        apply(&mut input, &plan);
        assert_whole(&input);
        assert_balanced(&input);
    }

    #[test]
    fn new_nodes_take_no_more_than_balance_needs(
        nodes in 2usize..8, joining in 1usize..4, sizes in sizes(), copies in 1usize..3
    ) {
        let mut input = placed(cluster(nodes, &sizes, copies));
        for number in nodes..nodes + joining {
            input.nodes.insert(name(number), node(None));
        }
        prop_assert_eq!(repair(&input), Plan::default());
        // Each node has to hand over what it holds beyond its bound, in whole shards.
        let largest = largest(&input);
        let share_bound = |node: &NodeName| {
            let total: u64 = input.shards.iter().map(|shard| shard.bytes + SHARD_OVERHEAD).sum();
            let share = total * copies as u64 / input.nodes.len() as u64;
            let _ = node;
            share * OVERLOAD_PERCENT / 100
        };
        let excess: Vec<u64> = loads(&input).into_iter()
            .map(|(node, load)| load.saturating_sub(share_bound(node)))
            .filter(|excess| *excess > 0)
            .collect();
        let plan = rebalance(&input);
        let least: u64 = excess.iter().sum();
        let rounding = largest / 4 * excess.len() as u64;
        prop_assert!(plan.bytes <= least + least / 10 + rounding, "{} of {}", plan.bytes, least);
        for change in &plan.changes {
            prop_assert_eq!(change.reason, Reason::Balance);
        }
        apply(&mut input, &plan);
        assert_whole(&input);
        assert_balanced(&input);
        prop_assert_eq!(rebalance(&input), Plan::default());
    }

    #[test]
    fn copies_stand_in_different_zones(
        zones in prop::collection::vec(2usize..4, 2..4), sizes in sizes(), copies in 2usize..4
    ) {
        let mut input = cluster(0, &sizes, copies);
        for (zone, nodes) in zones.iter().enumerate() {
            for number in 0..*nodes {
                let named = format!("z{zone}-{number}").parse().unwrap();
                input.nodes.insert(named, node(Some(&format!("zone-{zone}"))));
            }
        }
        let input = placed(input);
        assert_whole(&input);
        if zones.len() >= copies {
            for shard in &input.shards {
                let holders = shard.owner.iter().chain(&shard.replicas);
                let zones: BTreeSet<_> = holders.map(|name| &input.nodes[name].zone).collect();
                prop_assert_eq!(zones.len(), copies);
            }
        }
    }
}

#[test]
fn who_leaves_hands_everything_over_and_who_is_full_takes_nothing() {
    let mut input = placed(cluster(4, &[1 << 20; 40], 2));
    let before = loads(&input)[&name(1)];
    input.nodes.get_mut(&name(0)).unwrap().state = State::Leaving;
    input.nodes.get_mut(&name(1)).unwrap().state = State::Full;
    let plan = repair(&input);
    assert!(plan.changes.iter().all(|change| change.reason == Reason::Leaving), "{plan:?}");
    assert!(plan.changes.iter().all(|change| !change.copied_to.contains(&name(1))));
    apply(&mut input, &plan);
    assert_whole(&input);
    assert_eq!(loads(&input)[&name(0)], 0);
    assert_eq!(loads(&input)[&name(1)], before);
}

#[test]
fn without_anyone_to_hold_it_a_shard_has_no_home() {
    let mut input = cluster(2, &[1, 2], 1);
    for node in input.nodes.values_mut() {
        node.state = State::Dead;
    }
    assert_eq!(repair(&input).homeless, [ShardId(0), ShardId(1)]);
    // Whoever is leaving keeps what nobody else can take.
    input.nodes.get_mut(&name(0)).unwrap().state = State::Leaving;
    input.shards[0].owner = Some(name(0));
    let plan = repair(&input);
    assert_eq!((plan.homeless, plan.changes.len()), (vec![ShardId(1)], 0));
}

#[test]
fn a_pin_holds() {
    let mut input = placed(cluster(3, &[1 << 20; 12], 1));
    let elsewhere = input.shards.iter().position(|shard| shard.owner != Some(name(2))).unwrap();
    input.shards[elsewhere].pin = Some(name(2));
    let plan = repair(&input);
    let [change] = plan.changes.as_slice() else { panic!("{plan:?}") };
    assert_eq!((&change.owner, change.reason), (&name(2), Reason::Pinned));
    apply(&mut input, &plan);
    // Also when the node holds too much.
    for shard in &mut input.shards {
        shard.owner = Some(name(2));
        shard.pin = Some(name(2));
    }
    assert_eq!(rebalance(&input), Plan::default());
    // But not when it is gone.
    input.nodes.get_mut(&name(2)).unwrap().state = State::Dead;
    let plan = repair(&input);
    assert_eq!(plan.changes.len(), 12);
    assert!(plan.changes.iter().all(|change| change.reason == Reason::Lost));
}

#[test]
fn the_same_input_gives_the_same_plan() {
    let sizes: Vec<u64> = (0..100).map(|number| number * 77_777).collect();
    let plan = repair(&cluster(7, &sizes, 2));
    assert_eq!(plan, repair(&cluster(7, &sizes, 2)));
    // Written down once: placement must not depend on the build, the machine or the process.
    let owners: Vec<&str> =
        plan.changes.iter().take(5).map(|change| change.owner.as_str()).collect();
    assert_eq!(owners, ["node-5", "node-3", "node-1", "node-1", "node-4"]);
}

//! As few bytes as possible from nodes that hold too much.

use super::Reason;
use super::world::World;

/// Steps that an excess is divided into when the shards that make it up are chosen.
const STEPS: u64 = 4_096;

/// Separates copies, and then relieves nodes, the fullest first.
pub(super) fn run(world: &mut World) {
    for shard in 0..world.shards.len() {
        separate(world, shard);
    }
    let mut nodes: Vec<usize> = (0..world.names.len()).filter(|node| world.stays(*node)).collect();
    nodes.sort_by_key(|node| (std::cmp::Reverse(world.fullness(*node)), *node));
    for node in nodes {
        relieve(world, node);
    }
}

/// Moves replicas away that stand too close to another holder.
fn separate(world: &mut World, shard: usize) {
    for place in 0..world.shards[shard].replicas.len() {
        let node = world.shards[shard].replicas[place];
        let others = others_of(world, shard, node);
        if world.is_apart(&others, node) {
            continue;
        }
        if let Some(new) = world.pick(shard, &others).filter(|new| world.is_apart(&others, *new)) {
            hand_over(world, shard, node, new, Reason::Apart);
        }
    }
}

fn others_of(world: &World, shard: usize, node: usize) -> Vec<usize> {
    world.holders(shard).into_iter().filter(|holder| *holder != node).collect()
}

fn hand_over(world: &mut World, shard: usize, from: usize, to: usize, reason: Reason) {
    world.give(from, shard);
    world.take(to, shard);
    let held = &mut world.shards[shard];
    let places = held.owner.iter_mut().chain(&mut held.replicas);
    places.filter(|holder| **holder == from).for_each(|holder| *holder = to);
    world.because(shard, reason);
}

/// Moves shards off a node until it holds no more than its bound, or until none of them has anywhere
/// to go.
fn relieve(world: &mut World, node: usize) {
    let is_pinned = |world: &World, shard: usize| {
        world.shards[shard].owner == Some(node)
            && world.input.shards[shard].pin.as_ref() == Some(world.names[node])
    };
    let mut movable: Vec<usize> = (0..world.shards.len())
        .filter(|shard| world.holders(*shard).contains(&node) && !is_pinned(world, *shard))
        .collect();
    while world.load(node) > world.bound(node) {
        let excess = world.load(node) - world.bound(node);
        let weights: Vec<u64> = movable.iter().map(|shard| world.weight(*shard)).collect();
        let mut chosen: Vec<usize> =
            smallest_sum(&weights, excess).into_iter().map(|place| movable[place]).collect();
        if chosen.is_empty() {
            return;
        }
        movable.retain(|shard| !chosen.contains(shard));
        // What is large finds room first.
        chosen.sort_by_key(|shard| (std::cmp::Reverse(world.weight(*shard)), *shard));
        for shard in chosen {
            if let Some(to) = receiver(world, shard, node) {
                hand_over(world, shard, node, to, Reason::Balance);
            }
        }
    }
}

/// The least full node that can take a shard over and stays within its own bound.
fn receiver(world: &World, shard: usize, from: usize) -> Option<usize> {
    let others = others_of(world, shard, from);
    let can_take = |node: &usize| {
        *node != from
            && world.is_active(*node)
            && world.is_apart(&others, *node)
            && world.load(*node).saturating_add(world.weight(shard)) <= world.bound(*node)
    };
    let nodes = (0..world.names.len()).filter(can_take);
    nodes.min_by_key(|node| (world.fullness(*node), *node))
}

/// Places of the weights that add up to at least `wanted` and to as little more as can be, or of
/// all when they are less; by dynamic programming over sums in [`STEPS`] steps.
fn smallest_sum(weights: &[u64], wanted: u64) -> Vec<usize> {
    if weights.iter().fold(0u64, |sum, weight| sum.saturating_add(*weight)) <= wanted {
        return (0..weights.len()).collect();
    }
    let step = wanted.div_ceil(STEPS).max(1);
    let target = usize::try_from(wanted.div_ceil(step)).unwrap_or(usize::MAX);
    // How each sum below the target was reached first: by which weight, from which sum.
    let mut reached: Vec<Option<(usize, usize)>> = vec![None; target];
    let mut best: Option<(usize, usize, usize)> = None;
    for (place, weight) in weights.iter().enumerate() {
        let weight = usize::try_from(weight / step).unwrap_or(usize::MAX);
        if weight == 0 {
            continue;
        }
        for from in (0..target).rev() {
            if from > 0 && reached[from].is_none() {
                continue;
            }
            let sum = from.saturating_add(weight);
            if sum < target {
                reached[sum].get_or_insert((place, from));
            } else if best.is_none_or(|(least, _, _)| sum < least) {
                best = Some((sum, place, from));
            }
        }
    }
    // Only tiny weights, each less than a step, are left: the largest of them.
    let Some((_, last, mut sum)) = best else {
        let largest = (0..weights.len()).max_by_key(|place| (weights[*place], *place));
        return largest.into_iter().collect();
    };
    let mut chosen = vec![last];
    while sum > 0
        && let Some((place, from)) = reached[sum]
    {
        chosen.push(place);
        sum = from;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_sum_that_is_enough() {
        let sum = |weights: &[u64], wanted| {
            let chosen = smallest_sum(weights, wanted);
            chosen.iter().map(|place| weights[*place]).sum::<u64>()
        };
        assert_eq!(sum(&[5, 7, 11], 12), 12);
        assert_eq!(sum(&[5, 7, 11], 13), 16);
        assert_eq!(sum(&[5, 7, 11], 1), 5);
        assert_eq!(sum(&[5, 7, 11], 23), 23);
        assert_eq!(sum(&[5, 7, 11], 99), 23);
        assert_eq!(sum(&[], 1), 0);
        // Within a step of each weight that is chosen.
        let large: Vec<u64> = (1..=100).map(|n| n * 1_000_003).collect();
        let found = sum(&large, 200_000_000);
        assert!((200_000_000..202_000_000).contains(&found), "{found}");
    }
}

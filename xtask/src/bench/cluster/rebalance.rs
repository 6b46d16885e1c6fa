//! Nodes are added, and get their share of the shards while everything is searched.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use super::load::{self, Question, Rotation};
use super::results::Rebalance;
use super::world::{Shard, World};

/// How long is searched before shards move, and after they have.
const MARGIN: Duration = Duration::from_secs(3);
const REBALANCE: &str = "/api/v1/cluster/rebalance";
/// What placement counts for a shard beside its bytes (`SHARD_OVERHEAD` in `cluster/`).
const OVERHEAD: u64 = 1 << 20;
/// Bytes of a step in the search for the least.
const STEP: u64 = 64 << 10;

/// Adds two nodes.
pub(super) fn measure(world: &mut World, questions: &[Question]) -> Result<Rebalance> {
    let from = world.nodes.len();
    let rotation = Rotation::without(world, &[]);
    let before = world.shards(0)?;
    let ((seconds, after), served) = load::while_searching(&rotation, questions, || {
        std::thread::sleep(MARGIN);
        world.add_node()?;
        world.add_node()?;
        world.settled(0)?;
        members(world)?;
        let begun = Instant::now();
        world.nodes[0].client().post(REBALANCE, &json!({}))?.json()?;
        let after = world.wait("balanced", |world| {
            let shards = world.shards(0)?;
            Ok((!shards.iter().any(|shard| shard.is_moving)).then_some(shards))
        })?;
        world.settled(0)?;
        let seconds = begun.elapsed().as_secs_f64();
        std::thread::sleep(MARGIN);
        Ok((seconds, after))
    })?;
    let to = world.nodes.len();
    let moved = before.iter().zip(&after).filter(|(before, after)| before.owner != after.owner);
    let result = Rebalance {
        from,
        to,
        bytes: before.iter().map(|shard| shard.bytes).sum(),
        largest: before.iter().map(|shard| shard.bytes).max(),
        moved: moved.clone().map(|(shard, _)| shard.bytes).sum(),
        moved_counted: moved.clone().map(|(shard, _)| weight(shard)).sum(),
        least: least(&before, to),
        before: imbalance(&before, to),
        after: imbalance(&with_bytes_of(&before, &after), to),
        shards_moved: moved.count(),
        seconds,
        served,
    };
    println!("{result:?}");
    Ok(result)
}

/// Waits until every node is a member that shards may be given to.
fn members(world: &World) -> Result<()> {
    let dry_run = json!({ "dryRun": true });
    world.wait("members", |world| {
        let plan = world.nodes[0].client().post(REBALANCE, &dry_run)?.json()?;
        let known = plan["nodes"].as_array().map_or(0, Vec::len);
        Ok((known == world.nodes.len()).then_some(()))
    })
}

/// Where shards are after they were moved, as large as they were before: whoever has just got one has not told yet
/// how large it is.
fn with_bytes_of(before: &[Shard], after: &[Shard]) -> Vec<Shard> {
    let both = before.iter().zip(after);
    both.map(|(before, after)| Shard { bytes: before.bytes, ..after.clone() }).collect()
}

/// What placement counts of a shard.
fn weight(shard: &Shard) -> u64 {
    shard.bytes + OVERHEAD
}

fn loads(shards: &[Shard]) -> BTreeMap<&str, Vec<&Shard>> {
    let mut loads: BTreeMap<&str, Vec<&Shard>> = BTreeMap::new();
    for shard in shards {
        loads.entry(shard.owner.as_deref().unwrap_or_default()).or_default().push(shard);
    }
    loads
}

/// The most that a node has, of the mean of so many.
fn imbalance(shards: &[Shard], nodes: usize) -> f64 {
    let total: u64 = shards.iter().map(weight).sum();
    let most =
        loads(shards).values().map(|shards| shards.iter().copied().map(weight).sum::<u64>()).max();
    most.unwrap_or_default() as f64 * nodes as f64 / total.max(1) as f64
}

/// The least that must move, in whole shards and by what placement counts, for no node to have more than
/// its share and a quarter: from each node that has more, the lightest set of its shards that is enough.
fn least(shards: &[Shard], nodes: usize) -> u64 {
    let total: u64 = shards.iter().map(weight).sum();
    let bound = total * 125 / 100 / nodes as u64;
    let of_node = |owned: &Vec<&Shard>| {
        let weights: Vec<u64> = owned.iter().copied().map(weight).collect();
        lightest(&weights, weights.iter().sum::<u64>().saturating_sub(bound))
    };
    loads(shards).values().map(of_node).sum()
}

/// The least sum of some of the weights that is as much as is wanted, to a few steps.
fn lightest(weights: &[u64], wanted: u64) -> u64 {
    let sum: u64 = weights.iter().sum();
    let steps = |weight: u64| usize::try_from(weight / STEP).unwrap_or(usize::MAX);
    // For each sum in steps, the exact one that comes to it.
    let mut sums: Vec<Option<u64>> = vec![None; steps(sum) + 1];
    sums[0] = Some(0);
    for weight in weights {
        for place in (0..sums.len()).rev() {
            let Some(sum) = sums[place].map(|sum| sum + weight) else { continue };
            if let Some(entry) = sums.get_mut(steps(sum)) {
                entry.get_or_insert(sum);
            }
        }
    }
    sums.into_iter().flatten().find(|sum| *sum >= wanted).unwrap_or(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(owner: &str, megabytes: u64) -> Shard {
        Shard { owner: Some(owner.to_owned()), is_moving: false, bytes: megabytes << 20 }
    }

    #[test]
    fn the_least_is_in_whole_shards() {
        // Weights 10, 20, 30 and 40 MiB: all of 100 on one node of two, which may have 62.5.
        let one = [9, 19, 29, 39].map(|megabytes| shard("a", megabytes));
        assert_eq!(least(&one, 2), 40 << 20);
        // Two that are lighter together than one.
        let one = [10, 26, 33, 27].map(|megabytes| shard("a", megabytes));
        assert_eq!(least(&one, 2), (11 + 27) << 20);
        let balanced = [shard("a", 10), shard("b", 10)];
        assert_eq!(least(&balanced, 2), 0);
        assert!((imbalance(&balanced, 2) - 1.0).abs() < 1e-9);
        assert!((imbalance(&balanced, 4) - 2.0).abs() < 1e-9);
    }
}

//! Holders for what has none, or too few.

use super::Reason;
use super::world::World;

/// Largest shards first: what is small fits in between.
pub(super) fn run(world: &mut World) {
    let mut shards: Vec<usize> = (0..world.shards.len()).collect();
    shards.sort_by_key(|shard| (std::cmp::Reverse(world.weight(*shard)), *shard));
    for shard in &shards {
        let_go_of_the_lost(world, *shard);
    }
    // Owners first, for all: a shard that is served matters more than a second copy of another.
    for shard in &shards {
        find_owner(world, *shard);
    }
    for shard in &shards {
        find_replicas(world, *shard);
    }
}

/// Replicas that cannot stay go at once. An owner that is leaving stays until there is another.
fn let_go_of_the_lost(world: &mut World, shard: usize) {
    let before = &world.input.shards[shard];
    let held = &world.shards[shard];
    let unknown = before.owner.is_some() && held.owner.is_none()
        || before.replicas.len() > held.replicas.len();
    if unknown {
        world.because(shard, Reason::Lost);
    }
    let (staying, lost): (Vec<usize>, Vec<usize>) =
        world.shards[shard].replicas.iter().partition(|node| world.stays(**node));
    for node in lost {
        world.give(node, shard);
        let leaving = world.state(node) == super::State::Leaving;
        world.because(shard, if leaving { Reason::Leaving } else { Reason::Lost });
    }
    world.shards[shard].replicas = staying;
    if let Some(owner) = world.shards[shard].owner
        && world.state(owner) == super::State::Dead
    {
        world.give(owner, shard);
        world.shards[shard].owner = None;
        world.because(shard, Reason::Lost);
    }
}

fn find_owner(world: &mut World, shard: usize) {
    let now = world.shards[shard].owner;
    let pin = world.input.shards[shard].pin.as_ref();
    let pin = pin.and_then(|pin| world.number(pin));
    let pin = pin.filter(|pin| world.is_active(*pin));
    let is_settled = match (now, pin) {
        (Some(now), Some(pin)) => now == pin,
        (Some(now), None) => world.stays(now),
        (None, _) => false,
    };
    if is_settled {
        return;
    }
    let replicas = world.shards[shard].replicas.clone();
    let promoted = replicas.iter().copied().min_by_key(|node| (world.fullness(*node), *node));
    let new = match pin {
        Some(pin) => Some(pin),
        None => promoted.or_else(|| world.pick(shard, &now.into_iter().collect::<Vec<_>>())),
    };
    // With nowhere to go, whoever is leaving keeps it.
    let Some(new) = new else { return };
    if let Some(now) = now {
        world.give(now, shard);
    }
    if replicas.contains(&new) {
        world.shards[shard].replicas.retain(|replica| *replica != new);
    } else {
        world.take(new, shard);
    }
    world.shards[shard].owner = Some(new);
    world.because(
        shard,
        match (now, pin) {
            (_, Some(_)) => Reason::Pinned,
            (Some(_), None) => Reason::Leaving,
            (None, None) => Reason::New,
        },
    );
}

fn find_replicas(world: &mut World, shard: usize) {
    let Some(owner) = world.shards[shard].owner else { return };
    // Surplus ones go, from the fullest nodes.
    let mut kept: Vec<usize> = Vec::new();
    let mut replicas = world.shards[shard].replicas.clone();
    replicas.sort_by_key(|node| (world.fullness(*node), *node));
    for replica in replicas {
        if kept.len() + 1 < world.copies() && replica != owner && !kept.contains(&replica) {
            kept.push(replica);
        } else {
            world.give(replica, shard);
            world.because(shard, Reason::Copies);
        }
    }
    while kept.len() + 1 < world.copies() {
        let others: Vec<usize> = [owner].into_iter().chain(kept.iter().copied()).collect();
        let Some(new) = world.pick(shard, &others) else { break };
        world.take(new, shard);
        kept.push(new);
        world.because(shard, Reason::Copies);
    }
    world.shards[shard].replicas = kept;
}

//! Nodes are killed while others have copies of their shards.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::load::{self, Question, Rotation};
use super::results::{KilledCopy, Replicas};
use super::world::{World, shards};

/// How long is searched before a kill, and after everything is well again.
const MARGIN: Duration = Duration::from_secs(3);

/// Kills the leader of the Raft group, and a node that is none. Clients ask the others: what is under
/// way at a node that dies cannot be answered by it.
pub(super) fn measure(world: &mut World, questions: &[Question]) -> Result<Replicas> {
    let mut kills = Vec::new();
    for victim in ["the leader", "another node"] {
        world.settled(0)?;
        world.copied()?;
        let leader = world.leader()?;
        let place = match victim {
            "the leader" => leader,
            _ => other_than(world, leader)?,
        };
        let via = (place + 1) % world.nodes.len();
        let rotation = Rotation::without(world, &[place]);
        let name = world.nodes[place].name.clone();
        println!("killing {name}, {victim}");
        let (owned, served) = load::while_searching(&rotation, questions, || {
            std::thread::sleep(MARGIN);
            let killed = Instant::now();
            world.nodes[place].kill()?;
            let owned = world.wait("owned again", |world| {
                let shards = shards(&world.nodes[via])?;
                let all =
                    shards.iter().all(|shard| shard.owner.as_ref().is_some_and(|n| *n != name));
                Ok(all.then(|| killed.elapsed()))
            })?;
            world.settled(via)?;
            std::thread::sleep(MARGIN);
            Ok(owned)
        })?;
        kills.push(KilledCopy { victim: victim.to_owned(), owned: owned.as_secs_f64(), served });
        world.start_node(place)?;
    }
    world.settled(0)?;
    Ok(Replicas { kills })
}

/// The place of the node that owns most shards of those that do not lead: one that was just back may own none.
fn other_than(world: &World, leader: usize) -> Result<usize> {
    let shards = world.shards(leader)?;
    let owned = |place: &usize| {
        let name = world.nodes[*place].name.as_str();
        shards.iter().filter(|shard| shard.owner.as_deref() == Some(name)).count()
    };
    let others = (0..world.nodes.len()).filter(|place| *place != leader);
    others.max_by_key(owned).context("there is no other node")
}

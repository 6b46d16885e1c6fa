//! Every node is stopped and started again, one after the other, under load.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::load::{self, Question, Rotation};
use super::results::Rolling;
use super::world::World;

/// How long is searched before the first node is stopped, and after the last is back.
const MARGIN: Duration = Duration::from_secs(3);

/// A node is taken out of the service when it is told to stop, as Kubernetes does; the next one follows
/// once it is back and every shard has its copies, which is when `aeterna cluster status` succeeds.
pub(super) fn measure(world: &mut World, questions: &[Question]) -> Result<Rolling> {
    world.settled(0)?;
    world.copied()?;
    let rotation = Rotation::without(world, &[]);
    let begun = Instant::now();
    let (longest_stop, served) = load::while_searching(&rotation, questions, || {
        std::thread::sleep(MARGIN);
        let mut longest = Duration::ZERO;
        for place in 0..world.nodes.len() {
            rotation.set(place, false);
            let stopping = Instant::now();
            world.nodes[place].shut_down()?;
            let stopped = stopping.elapsed();
            longest = longest.max(stopped);
            world.start_node(place)?;
            rotation.set(place, true);
            world.settled(place)?;
            world.copied()?;
            let back = stopping.elapsed();
            println!("node-{}: stopped after {stopped:.1?}, back after {back:.1?}", place + 1);
        }
        std::thread::sleep(MARGIN);
        Ok(longest)
    })?;
    Ok(Rolling {
        nodes: world.nodes.len(),
        replicas: world.replicas(),
        seconds: begun.elapsed().as_secs_f64(),
        longest_stop: longest_stop.as_secs_f64(),
        served,
    })
}

//! Owners are killed while nobody else has their shards: until all are owned, restored and searched
//! again.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::load::said;
use super::results::Killed;
use super::world::{Shard, World, shards};
use crate::bench::engines::Want;
use crate::bench::engines::aeterna;
use crate::bench::patterns::Pattern;

const RESTORED_BYTES: &str = "code_search_restored_bytes_total";

/// Kills the owner of the repository `large`, and brings the node back afterwards.
pub(super) fn measure(
    world: &mut World,
    large: &str,
    patterns: &[Pattern],
    cold_storage: &str,
) -> Result<Killed> {
    world.settled(0)?;
    world.uploaded()?;
    let number = shard_of(world, large)?;
    let before = world.shards(0)?;
    let owner = before[number].owner.clone().context("the large repository has no owner")?;
    let victim = world.place_of(&owner)?;
    let via = (victim + 1) % world.nodes.len();
    let answers = answers(world, via, patterns)?;
    let restored = restored(world, victim)?;

    let killed = Instant::now();
    world.nodes[victim].kill()?;
    let (owned, large_owned) = reassigned(world, via, &owner, number, killed)?;
    let pattern = patterns.first().context("nothing to search for")?;
    let large_served = searched(world, via, pattern, Some(large))?;
    let served = searched(world, via, pattern, None)?;

    let after = self::answers(world, via, patterns)?;
    let same = answers.iter().zip(&after).filter(|(before, after)| before == after).count();
    let bytes = self::restored(world, victim)? - restored;
    world.start_node(victim)?;
    world.settled(via)?;
    let result = Killed {
        cold_storage: cold_storage.to_owned(),
        shards: before.iter().filter(|shard| shard.owner.as_ref() == Some(&owner)).count(),
        owned: (owned - killed).as_secs_f64(),
        served: (served - owned).as_secs_f64(),
        bytes: bytes as u64,
        large_bytes: before[number].bytes,
        large: (large_served - large_owned).as_secs_f64(),
        patterns: patterns.len(),
        same,
    };
    println!("{owner} killed: {result:?}");
    Ok(result)
}

fn shard_of(world: &World, repository: &str) -> Result<usize> {
    let repositories = world.repositories()?;
    let shard = repositories.get(repository).and_then(|one| one["shard"].as_u64());
    usize::try_from(shard.context("the large repository is not listed")?).context("a large number")
}

/// Waits until every shard, and one of them, has an owner that lives: when that was seen.
fn reassigned(
    world: &World,
    via: usize,
    dead: &str,
    number: usize,
    killed: Instant,
) -> Result<(Instant, Instant)> {
    let node = &world.nodes[via];
    let is_owned = |shard: &Shard| shard.owner.as_deref().is_some_and(|owner| owner != dead);
    let mut one = None;
    let all = world.wait("owned again", |_| {
        let shards = shards(node)?;
        if shards.get(number).is_some_and(is_owned) {
            one.get_or_insert_with(Instant::now);
        }
        Ok(shards.iter().all(is_owned).then(Instant::now))
    })?;
    println!("owned again {:.2} s after the kill", (all - killed).as_secs_f64());
    Ok((all, one.unwrap_or(all)))
}

/// Waits until an answer, of one repository or of all, is complete and has something: when it was.
fn searched(
    world: &World,
    via: usize,
    pattern: &Pattern,
    repository: Option<&str>,
) -> Result<Instant> {
    let client = world.nodes[via].client();
    world.wait("searched again", |_| {
        let said = said(&aeterna::search(client, pattern, Want::FirstPage, repository)?)?;
        let found = said.about["stats"]["documentCount"]["value"].as_u64().unwrap_or_default();
        Ok((said.is_complete() && found > 0).then(Instant::now))
    })
}

/// The whole answers of a cluster that nothing is missing from.
fn answers(world: &World, via: usize, patterns: &[Pattern]) -> Result<Vec<(Vec<u8>, Value)>> {
    let client = world.nodes[via].client();
    let answer = |pattern: &Pattern| {
        let said = said(&aeterna::search(client, pattern, Want::Every, None)?)?;
        if !said.is_complete() {
            bail!("an incomplete answer for {}: {}", pattern.text, said.about["skipped"]);
        }
        Ok(said.substance())
    };
    patterns.iter().map(answer).collect()
}

/// Bytes that the nodes but one have restored since they were started.
fn restored(world: &World, but: usize) -> Result<f64> {
    let others = world.nodes.iter().enumerate().filter(|(place, _)| *place != but);
    others.map(|(_, node)| node.metric(RESTORED_BYTES)).sum()
}

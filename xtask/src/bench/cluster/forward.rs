//! A repository operation asked of the node that owns the repository, and of one that does not.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::results::Forward;
use super::spread::Part;
use super::world::World;
use crate::bench::measure::Distribution;

/// Repositories that are asked about.
const REPOSITORIES: usize = 40;
/// How often each is asked about, each way.
const ROUNDS: usize = 50;
/// Rounds that warm connections and caches up.
const WARM: usize = 2;

/// A repository to be asked about, and who owns it.
struct Target<'a> {
    id: String,
    owner: usize,
    part: &'a Part,
}

/// Asks each way in turns, so that what else the machine does falls on both.
pub(super) fn measure(world: &World, parts: &[Part]) -> Result<Vec<Forward>> {
    let targets = targets(world, parts)?;
    let file = |target: &Target| vec![("path", target.part.file.clone())];
    let rows = [
        ask(world, &targets, "GET /api/v1/repos/{id}", "", |_| Vec::new())?,
        ask(world, &targets, "GET /api/v1/repos/{id}/file", "/file", file)?,
    ];
    for row in &rows {
        let (right, wrong) = (row.right, row.wrong);
        println!(
            "{}: p50 {:.2} and {:.2} ms, p95 {:.2} and {:.2} ms",
            row.operation, right.p50, wrong.p50, right.p95, wrong.p95
        );
    }
    Ok(rows.into())
}

fn targets<'a>(world: &World, parts: &'a [Part]) -> Result<Vec<Target<'a>>> {
    let shards = world.shards(0)?;
    let repositories = world.repositories()?;
    let step = (parts.len() / REPOSITORIES).max(1);
    let target = |part: &'a Part| {
        let known = repositories.get(&part.name).context("a repository is not listed")?;
        let id = known["id"].as_str().context("a repository without an id")?.to_owned();
        let shard = known["shard"].as_u64().and_then(|shard| usize::try_from(shard).ok());
        let shard = shard.and_then(|shard| shards.get(shard));
        let owner = shard.and_then(|shard| shard.owner.as_deref());
        let owner = world.place_of(owner.context("a repository without an owner")?)?;
        Ok(Target { id, owner, part })
    };
    parts.iter().step_by(step).take(REPOSITORIES).map(target).collect()
}

fn ask(
    world: &World,
    targets: &[Target],
    operation: &str,
    below: &str,
    parameters: impl Fn(&Target) -> Vec<(&'static str, String)>,
) -> Result<Forward> {
    let (mut right, mut wrong) = (Vec::new(), Vec::new());
    for round in 0..WARM + ROUNDS {
        for target in targets {
            let parameters = parameters(target);
            let other = (target.owner + 1 + round % (world.nodes.len() - 1)) % world.nodes.len();
            let mut both = [(target.owner, &mut right), (other, &mut wrong)];
            // Whoever is asked second finds the processor's caches warm.
            if round % 2 == 1 {
                both.reverse();
            }
            for (place, times) in both {
                let time = time(world, place, target, below, &parameters)?;
                if round >= WARM {
                    times.push(time);
                }
            }
        }
    }
    let (right, wrong) = (Distribution::of(&right), Distribution::of(&wrong));
    Ok(Forward { operation: operation.to_owned(), right, wrong })
}

fn time(
    world: &World,
    place: usize,
    target: &Target,
    below: &str,
    parameters: &[(&'static str, String)],
) -> Result<Duration> {
    let path = format!("/api/v1/repos/{}{below}", target.id);
    let parameters: Vec<(&str, &str)> =
        parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = world.nodes[place].client().get(&path, &parameters)?;
    if answer.status != 200 {
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        bail!("{path} of {}: status {}: {said}", target.part.name, answer.status);
    }
    Ok(answer.elapsed)
}

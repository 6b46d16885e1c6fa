//! The same searches over several nodes and over one, which hold the same repositories.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::load::said;
use super::results::{Scatter, ScatterRow};
use super::world::World;
use crate::bench::engines::Want;
use crate::bench::engines::aeterna;
use crate::bench::measure::Distribution;
use crate::bench::patterns::Pattern;

/// How often everything is asked; of each search the best time counts, of processor time the median.
const PASSES: usize = 3;
/// How long nothing is asked, to see what the nodes use by themselves.
const IDLE: Duration = Duration::from_secs(4);

/// Seconds of processor time in a second that nodes may use by themselves while they are measured.
const QUIET: f64 = 0.1;
/// How long they may work on what they were given before.
const QUIET_DEADLINE: Duration = Duration::from_secs(600);

/// One set of patterns.
pub(super) struct Set<'a> {
    pub(super) name: &'static str,
    pub(super) patterns: &'a [Pattern],
    pub(super) want: Want,
}

/// One pass over a set.
struct Pass {
    times: Vec<Duration>,
    cpu: f64,
}

/// Asks both clusters in turns.
pub(super) fn measure(several: &World, one: &World, sets: &[Set]) -> Result<Scatter> {
    let idle = (quiet(several)?, quiet(one)?);
    let mut rows = Vec::new();
    for set in sets {
        let same = same(several, one, set)?;
        let (mut of_several, mut of_one) = (Vec::new(), Vec::new());
        for _ in 0..PASSES {
            of_several.push(pass(several, set)?);
            of_one.push(pass(one, set)?);
        }
        let row = ScatterRow {
            what: format!("{}, {}", set.name, set.want.name()),
            several: best(&of_several),
            one: best(&of_one),
            several_cpu: median(&of_several),
            one_cpu: median(&of_one),
            same,
        };
        println!(
            "{}: p50 {:.2} and {:.2} ms, processor time {:.2} and {:.2} s ({:.2} times), the same {} of {}",
            row.what,
            row.several.p50,
            row.one.p50,
            row.several_cpu,
            row.one_cpu,
            row.several_cpu / row.one_cpu,
            row.same,
            set.patterns.len()
        );
        rows.push(row);
    }
    Ok(Scatter { nodes: several.nodes.len(), passes: PASSES, rows, idle })
}

fn cpu(world: &World) -> Result<f64> {
    world.running().map(|node| node.cpu()).sum()
}

/// Seconds of processor time in a second without a search.
fn idle(world: &World) -> Result<f64> {
    let (before, begun) = (cpu(world)?, Instant::now());
    std::thread::sleep(IDLE);
    Ok((cpu(world)? - before) / begun.elapsed().as_secs_f64())
}

/// Waits until nodes have done what comes after indexing; what they use then.
fn quiet(world: &World) -> Result<f64> {
    let until = Instant::now() + QUIET_DEADLINE;
    loop {
        let idle = idle(world)?;
        if idle <= QUIET {
            return Ok(idle);
        }
        if Instant::now() > until {
            bail!(
                "the nodes still use {idle:.2} s of processor time a second, and nothing is asked"
            );
        }
    }
}

fn pass(world: &World, set: &Set) -> Result<Pass> {
    let client = world.running().next().context("no node runs")?.client();
    let before = cpu(world)?;
    let mut times = Vec::with_capacity(set.patterns.len());
    for pattern in set.patterns {
        let answer = aeterna::search(client, pattern, set.want, None)?;
        times.push(answer.elapsed);
    }
    Ok(Pass { times, cpu: cpu(world)? - before })
}

/// Patterns with as many documents, lines and matches on both, as far as both know how many; it also warms
/// everything up. The order is left out: what was indexed first comes first among equals.
fn same(several: &World, one: &World, set: &Set) -> Result<usize> {
    let mut same = 0;
    for pattern in set.patterns {
        let ask = |world: &World| -> Result<Value> {
            let client = world.running().next().context("no node runs")?.client();
            let mut about = said(&aeterna::search(client, pattern, set.want, None)?)?.substance().1;
            if let Some(about) = about.as_object_mut() {
                about.remove("alerts");
            }
            Ok(about)
        };
        let (mut of_several, mut of_one) = (ask(several)?, ask(one)?);
        leave_out_bounds(&mut of_several, &mut of_one);
        same += usize::from(of_several == of_one);
    }
    Ok(same)
}

/// Takes counts out that one of two answers has only a bound of: where it stops is its own affair.
fn leave_out_bounds(one: &mut Value, other: &mut Value) {
    let is_bound = |about: &Value, name: &str| about["stats"][name]["relation"] == "gte";
    for name in ["documentCount", "lineCount", "matchCount"] {
        if is_bound(one, name) || is_bound(other, name) {
            for about in [&mut *one, &mut *other] {
                about["stats"][name].take();
            }
        }
    }
}

fn best(passes: &[Pass]) -> Distribution {
    let count = passes.first().map_or(0, |pass| pass.times.len());
    let best = |place: usize| passes.iter().filter_map(|pass| pass.times.get(place)).min();
    let times: Vec<Duration> = (0..count).filter_map(best).copied().collect();
    Distribution::of(&times)
}

fn median(passes: &[Pass]) -> f64 {
    let mut times: Vec<f64> = passes.iter().map(|pass| pass.cpu).collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_not_compared() {
        let about = |count: u64, relation: &str, complete: bool| {
            let documents = serde_json::json!({"value": count, "relation": relation});
            serde_json::json!({"complete": complete, "stats": {"documentCount": documents}})
        };
        let are_same = |mut one: Value, mut other: Value| {
            leave_out_bounds(&mut one, &mut other);
            one == other
        };
        assert!(are_same(about(50, "gte", true), about(61, "gte", true)));
        assert!(are_same(about(50, "gte", true), about(61, "eq", true)));
        assert!(!are_same(about(60, "eq", true), about(61, "eq", true)));
        assert!(!are_same(about(50, "gte", true), about(50, "gte", false)));
    }

    #[test]
    fn the_best_time_and_the_median_of_the_processor_count() {
        let pass = |milliseconds: [u64; 2], cpu| Pass {
            times: milliseconds.map(Duration::from_millis).to_vec(),
            cpu,
        };
        let passes = [pass([5, 9], 1.0), pass([7, 2], 3.0), pass([6, 3], 2.0)];
        let best = best(&passes);
        assert_eq!((best.p50, best.max, best.count), (2.0, 5.0, 2));
        assert!((median(&passes) - 2.0).abs() < 1e-9);
    }
}

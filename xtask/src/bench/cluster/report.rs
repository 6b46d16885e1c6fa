//! The part of `docs/benchmarks.md` about clusters, with what is wanted and whether it is reached.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};

use super::results::{ClusterRun, Kill, Model, Rebalance, Replicas, Rolling, Scatter, Served};
use crate::bench::measure::to_f64;
use crate::bench::report::{DOCUMENT, bytes, ratio, replaced};
use crate::paths;

const BEGIN: &str = "<!-- written by `cargo xtask bench cluster`: begin -->";
const END: &str = "<!-- written by `cargo xtask bench cluster`: end -->";
/// What an operation may take longer through the wrong node, in milliseconds.
const FORWARD: f64 = 1.0;
/// What a search over several nodes may take of one node's processor time, and longer, in milliseconds.
const SCATTER: (f64, f64) = (1.3, 2.0);
/// Seconds beyond the timeout in which shards are owned again.
const OWNED: f64 = 2.0;
/// Bytes of index that are restored in a second, at least; seconds for the large repository.
const RESTORE: (f64, f64) = (150e6, 5.0);
/// Bytes moved, of the least possible.
const MOVED: f64 = 1.1;
/// What a figure of the model may grow faster than the model, for what differs from run to run.
const GROWTH: f64 = 1.05;

/// Replaces the tables in the document.
pub(super) fn write(run: &ClusterRun) -> Result<()> {
    let document = paths::workspace()?.join(DOCUMENT);
    let text = fs::read_to_string(&document).with_context(|| format!("cannot read {DOCUMENT}"))?;
    fs::write(&document, replaced(&text, &tables(run)?, (BEGIN, END))?)?;
    println!("\n{DOCUMENT} is written");
    Ok(())
}

/// What is wanted, what was measured, and whether it is enough.
struct Verdict {
    wanted: String,
    measured: String,
    is_met: bool,
}

impl Verdict {
    fn new(wanted: impl Into<String>, measured: impl Into<String>, is_met: bool) -> Self {
        Self { wanted: wanted.into(), measured: measured.into(), is_met }
    }
}

fn tables(run: &ClusterRun) -> Result<String> {
    let mut text = String::new();
    head(&mut text, run)?;
    let verdicts = verdicts(run);
    writeln!(text, "\n| wanted | measured | |\n|---|---|---|")?;
    for verdict in &verdicts {
        let word = if verdict.is_met { "met" } else { "**missed**" };
        writeln!(text, "| {} | {} | {word} |", verdict.wanted, verdict.measured)?;
    }
    forward(&mut text, run)?;
    if let Some(row) = &run.scatter {
        scatter(&mut text, row)?;
    }
    if let Some(row) = &run.kill {
        kill(&mut text, row)?;
    }
    load(&mut text, run)?;
    if let Some(row) = &run.rebalance {
        rebalance(&mut text, row)?;
    }
    if !run.model.is_empty() {
        model(&mut text, &run.model)?;
    }
    Ok(text)
}

fn head(text: &mut String, run: &ClusterRun) -> Result<()> {
    let (machine, corpus) = (&run.machine, &run.corpus);
    let versions: Vec<String> =
        machine.versions.iter().map(|(name, version)| format!("{name}: {version}")).collect();
    writeln!(
        text,
        "{}, {} cores, {} of memory; {}, {}; {}. {}.\n",
        machine.processor,
        machine.cores,
        bytes(machine.memory),
        machine.system,
        machine.kernel,
        machine.date,
        versions.join("; ")
    )?;
    writeln!(
        text,
        "Corpus: {}, {}, spread over {} repositories in {} shards, seed {}.",
        corpus.name,
        bytes(corpus.bytes),
        corpus.repositories,
        corpus.shards,
        corpus.seed
    )?;
    Ok(())
}

fn verdicts(run: &ClusterRun) -> Vec<Verdict> {
    let mut all = Vec::new();
    for row in &run.forward {
        let more = row.wrong.p50 - row.right.p50;
        all.push(Verdict::new(
            format!("`{}` through the wrong node: at most {FORWARD} ms more at p50", row.operation),
            format!("{more:.2} ms more"),
            more <= FORWARD,
        ));
    }
    for row in run.scatter.iter().flat_map(|scatter| &scatter.rows) {
        let (cpu, more) = (row.several_cpu / row.one_cpu, row.several.p50 - row.one.p50);
        all.push(Verdict::new(
            format!(
                "{}, over five nodes: at most {} times one node's processor time, {} ms more at p50",
                row.what, SCATTER.0, SCATTER.1
            ),
            format!("{cpu:.2} times, {more:.2} ms more"),
            cpu <= SCATTER.0 && more <= SCATTER.1,
        ));
    }
    all.extend(run.kill.iter().flat_map(kill_verdicts));
    for row in run.replicas.iter().flat_map(|row| &row.kills) {
        all.push(served_verdict(&format!("{} killed, two copies", row.victim), &row.served));
    }
    if let Some(row) = &run.rolling {
        all.push(served_verdict("rolling restart, two copies", &row.served));
    }
    if let Some(row) = &run.rebalance {
        let part = to_f64(row.moved_counted) / to_f64(row.least.max(1));
        all.push(Verdict::new(
            format!("{} → {} nodes: no failed search; bytes moved at most {MOVED} times the least possible", row.from, row.to),
            format!("{} of {} failed; {part:.2} times", row.served.failed, row.served.searches),
            row.served.failed == 0 && part <= MOVED,
        ));
    }
    all.extend(model_verdict(&run.model));
    all
}

fn kill_verdicts(row: &Kill) -> Vec<Verdict> {
    let most =
        |of: fn(&super::results::Killed) -> f64| row.kills.iter().map(of).fold(0.0, f64::max);
    let owned = most(|kill| kill.owned);
    let from_s3 = || row.kills.iter().filter(|kill| kill.cold_storage == "S3");
    let slowest = from_s3().filter_map(large_rate).min_by(f64::total_cmp).unwrap_or(0.0);
    let large = from_s3().map(|kill| kill.large).fold(0.0, f64::max);
    let same: usize = row.kills.iter().map(|kill| kill.same).sum();
    let patterns: usize = row.kills.iter().map(|kill| kill.patterns).sum();
    vec![
        Verdict::new(
            format!(
                "an owner killed, no replicas: every shard owned again within the timeout + {OWNED} s"
            ),
            format!("timeout + {:.1} s at most", owned - row.heartbeat_timeout),
            owned <= row.heartbeat_timeout + OWNED,
        ),
        Verdict::new(
            format!(
                "restored from S3 at {} a second or more, the large repository within {} s",
                bytes(RESTORE.0 as u64),
                RESTORE.1
            ),
            format!("{} a second, {large:.1} s", bytes(slowest as u64)),
            slowest >= RESTORE.0 && large <= RESTORE.1,
        ),
        Verdict::new(
            "the same results as before, byte for byte",
            format!("{same} of {patterns} answers"),
            same == patterns,
        ),
    ]
}

/// Bytes a second from when the large repository's shard was assigned until it was searched; `None` where it was not
/// restored, as its new owner had its files since an earlier time. Sizes of shards are known within a few percent.
fn large_rate(kill: &super::results::Killed) -> Option<f64> {
    let is_restored = kill.bytes > kill.large_bytes / 2;
    is_restored.then(|| to_f64(kill.large_bytes) / kill.large.max(1e-9))
}

fn served_verdict(what: &str, served: &Served) -> Verdict {
    Verdict::new(
        format!("{what}: no failed and no incomplete answer"),
        format!(
            "{} failed, {} incomplete, {} with other results, of {}",
            served.failed, served.incomplete, served.different, served.searches
        ),
        served.failed + served.incomplete + served.different == 0,
    )
}

/// A figure of the model.
type Figure = fn(&Model) -> f64;

/// The figures that must not grow faster than it.
const GROWING: [(&str, Figure); 4] = [
    ("gossip of a node", |model| model.gossip_bytes),
    ("map", |model| to_f64(model.map_bytes)),
    // Which shards a tenth of the nodes owns is chance: the same part of them in each model.
    ("decision about a shard, times the shards", |model| {
        model.decide_ms / f64::from(model.lost_shards.max(1)) * f64::from(model.shards)
    }),
    ("reassignment", |model| model.reassigned_ms),
];

/// How much faster a figure grows than the model from one size to another: 1 is linear.
fn growth(small: &Model, large: &Model, of: Figure) -> f64 {
    of(large) / of(small).max(1e-9) * f64::from(small.nodes) / f64::from(large.nodes)
}

fn model_verdict(models: &[Model]) -> Option<Verdict> {
    let ([small, ..], [.., large]) = (models, models) else { return None };
    let growths = GROWING.map(|(name, of)| (name, growth(small, large, of)));
    let shown = growths.map(|(name, growth)| format!("{name} {growth:.2}"));
    Some(Verdict::new(
        format!("model of {} nodes: no figure grows faster than the model", large.nodes),
        format!("growth ÷ the model's since {} nodes: {}", small.nodes, shown.join(", ")),
        growths.iter().all(|(_, growth)| *growth <= GROWTH),
    ))
}

fn forward(text: &mut String, run: &ClusterRun) -> Result<()> {
    if run.forward.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n### Through the wrong node\n")?;
    writeln!(text, "Milliseconds, over kept connections, the two in turns.\n")?;
    writeln!(
        text,
        "| operation | asked | right: p50 | p95 | wrong: p50 | p95 |\n|---|---|---|---|---|---|"
    )?;
    for row in &run.forward {
        let (right, wrong) = (row.right, row.wrong);
        writeln!(
            text,
            "| `{}` | {} | {:.2} | {:.2} | {:.2} | {:.2} |",
            row.operation, right.count, right.p50, right.p95, wrong.p50, wrong.p95
        )?;
    }
    Ok(())
}

fn scatter(text: &mut String, scatter: &Scatter) -> Result<()> {
    writeln!(text, "\n### Over {} nodes and over one\n", scatter.nodes)?;
    writeln!(
        text,
        "Milliseconds, each search's best of {} passes; seconds of processor time of all nodes for a pass, the median. \
         While nothing is asked they use {:.3} and {:.3} s a second.\n",
        scatter.passes, scatter.idle.0, scatter.idle.1
    )?;
    writeln!(
        text,
        "| | searches | same results | over {}: p50 | p95 | CPU s | over one: p50 | p95 | CPU s | CPU ÷ one's |\n|---|---|---|---|---|---|---|---|---|---|",
        scatter.nodes
    )?;
    for row in &scatter.rows {
        writeln!(
            text,
            "| {} | {} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {} |",
            row.what,
            row.several.count,
            row.same,
            row.several.p50,
            row.several.p95,
            row.several_cpu,
            row.one.p50,
            row.one.p95,
            row.one_cpu,
            ratio(row.several_cpu, row.one_cpu)
        )?;
    }
    Ok(())
}

fn kill(text: &mut String, row: &Kill) -> Result<()> {
    writeln!(text, "\n### An owner is killed\n")?;
    writeln!(
        text,
        "No replicas, a heartbeat timeout of {:.0} s. The victim owns the corpus as one large repository, beside its share \
         of the rest.\n",
        row.heartbeat_timeout
    )?;
    writeln!(
        text,
        "| cold storage | its shards | owned again after s | all searched again s later | bytes of them | large: bytes | searched s after it was assigned | bytes a second | same answers |\n|---|---|---|---|---|---|---|---|---|"
    )?;
    for kill in &row.kills {
        writeln!(
            text,
            "| {} | {} | {:.2} | {:.2} | {} | {} | {:.2} | {} | {} of {} |",
            kill.cold_storage,
            kill.shards,
            kill.owned,
            kill.served,
            bytes(kill.bytes),
            bytes(kill.large_bytes),
            kill.large,
            large_rate(kill)
                .map_or_else(|| "its files were there".to_owned(), |rate| bytes(rate as u64)),
            kill.same,
            kill.patterns
        )?;
    }
    Ok(())
}

fn load(text: &mut String, run: &ClusterRun) -> Result<()> {
    let mut rows: Vec<(String, &Served)> = Vec::new();
    for row in run.replicas.iter().flat_map(|row: &Replicas| &row.kills) {
        rows.push((
            format!("{} killed, two copies; owned again after {:.1} s", row.victim, row.owned),
            &row.served,
        ));
    }
    if let Some(row) = &run.rolling {
        rows.push((rolling(row), &row.served));
    }
    if let Some(row) = &run.rebalance {
        rows.push((format!("{} → {} nodes", row.from, row.to), &row.served));
    }
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n### Searched meanwhile\n")?;
    writeln!(
        text,
        "{} first pages a second; where a page has all results there are, it is compared with what it was before. Clients ask the nodes that are not about to be \
         stopped or killed.\n",
        super::load::PER_SECOND
    )?;
    writeln!(
        text,
        "| | searches | failed | incomplete | other results | p50 | p95 | p99 | max |\n|---|---|---|---|---|---|---|---|---|"
    )?;
    for (what, served) in &rows {
        let times = served.times;
        writeln!(
            text,
            "| {what} | {} | {} | {} | {} | {:.1} | {:.1} | {:.1} | {:.1} |",
            served.searches,
            served.failed,
            served.incomplete,
            served.different,
            times.p50,
            times.p95,
            times.p99,
            times.max
        )?;
    }
    for (what, served) in rows {
        if let Some(example) = &served.example {
            writeln!(
                text,
                "\n{what}, the first that was not as before: {}",
                example.replace('|', "\\|")
            )?;
        }
    }
    Ok(())
}

fn rolling(row: &Rolling) -> String {
    format!(
        "rolling restart of {} nodes in {:.0} s, {} copies; stopped within {:.1} s each",
        row.nodes, row.seconds, row.replicas, row.longest_stop
    )
}

fn rebalance(text: &mut String, row: &Rebalance) -> Result<()> {
    writeln!(text, "\n### {} → {} nodes\n", row.from, row.to)?;
    writeln!(
        text,
        "The least is in whole shards, for no node to have more than its share and a quarter; placement counts a mebibyte \
         for each shard beside its bytes.\n"
    )?;
    writeln!(
        text,
        "| index | largest shard | moved | as counted | least | counted ÷ least | shards moved | seconds | fullest node ÷ mean before | after |\n|---|---|---|---|---|---|---|---|---|---|"
    )?;
    writeln!(
        text,
        "| {} | {} | {} | {} | {} | {} | {} | {:.1} | {:.2} | {:.2} |",
        bytes(row.bytes),
        row.largest.map_or_else(|| "not recorded".to_owned(), bytes),
        bytes(row.moved),
        bytes(row.moved_counted),
        bytes(row.least),
        ratio(to_f64(row.moved_counted), to_f64(row.least)),
        row.shards_moved,
        row.seconds,
        row.before,
        row.after
    )?;
    Ok(())
}

fn model(text: &mut String, models: &[Model]) -> Result<()> {
    writeln!(text, "\n### The model\n")?;
    writeln!(
        text,
        "The real gossip, state machine, Raft group of five and leader's decisions, in one process; nodes that hold \
         nothing. A tenth of the nodes is lost at once.\n"
    )?;
    writeln!(
        text,
        "| nodes | shards | repositories | gossip a node and second | map | shards lost | one decision | reassigned after | in commands of |\n|---|---|---|---|---|---|---|---|---|"
    )?;
    for model in models {
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {:.1} ms | {:.0} ms | {} |",
            model.nodes,
            model.shards,
            model.repositories,
            bytes(model.gossip_bytes as u64),
            bytes(model.map_bytes),
            model.lost_shards,
            model.decide_ms,
            model.reassigned_ms,
            bytes(model.command_bytes)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::cluster::results::Forward;
    use crate::bench::measure::Distribution;

    #[test]
    fn what_is_missed_is_said() {
        let times = |p50| Distribution { p50, ..Distribution::default() };
        let row =
            |wrong| Forward { operation: "GET".into(), right: times(1.0), wrong: times(wrong) };
        let run = ClusterRun { forward: vec![row(1.9), row(2.1)], ..ClusterRun::default() };
        let said: Vec<bool> = verdicts(&run).iter().map(|verdict| verdict.is_met).collect();
        assert_eq!(said, [true, false]);
        let text = tables(&run).unwrap();
        assert!(text.contains("0.90 ms more | met") && text.contains("1.10 ms more | **missed**"));
    }

    #[test]
    fn growth_is_against_the_models() {
        let model = |nodes, gossip_bytes| Model {
            nodes,
            shards: nodes * 8,
            repositories: 1,
            gossip_bytes,
            map_bytes: u64::from(nodes),
            lost: 1,
            lost_shards: nodes,
            decide_ms: f64::from(nodes),
            reassigned_ms: 1.0,
            command_bytes: 1,
        };
        let is_met = |gossip| model_verdict(&[model(10, 1.0), model(100, gossip)]).unwrap().is_met;
        assert!(is_met(10.0) && !is_met(11.0));
        assert!(model_verdict(&[]).is_none());
    }
}

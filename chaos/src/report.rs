//! What a run came to, for a person.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::Options;
use crate::check::Verdict;
use crate::figures::{self, Counts, Distribution, Recovery};
use crate::history::Entry;
use crate::plot;
use crate::world::{HEARTBEAT_TIMEOUT, SHARDS};

/// Violations that are printed at most: the history has them all.
const SHOWN: usize = 40;

/// Prints the verdict.
pub(crate) fn tell(verdict: &Verdict) {
    for violation in verdict.violations.iter().take(SHOWN) {
        println!("VIOLATION {violation}");
    }
    println!(
        "{} answers of searches, {} maps, {} changes of owner: {} violations",
        verdict.answers,
        verdict.maps,
        verdict.epochs,
        verdict.violations.len()
    );
}

/// Writes the report, and its plot beside it.
pub(crate) fn write(
    path: &Path,
    options: &Options,
    entries: &[Entry],
    verdict: &Verdict,
) -> Result<()> {
    let recoveries = figures::recoveries(entries);
    let picture = path.with_extension("svg");
    let name = picture.file_name().context("a report needs a file name")?.to_string_lossy();
    let mut text = String::new();
    head(&mut text, options, entries, verdict);
    text.push_str(&faults(&recoveries));
    let _ = writeln!(text, "\n![Seconds until searches were complete again]({name})\n");
    text.push_str(&operations(entries));
    for (path, content) in [(path, &text), (&picture, &plot::recoveries(&recoveries))] {
        fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn head(text: &mut String, options: &Options, entries: &[Entry], verdict: &Verdict) {
    let Options { seed, minutes, nodes, replicas, .. } = options;
    let only: Vec<String> = options.only.iter().map(|kind| kind.name()).collect();
    let only = if only.is_empty() { String::new() } else { format!(" --only {}", only.join(",")) };
    let faults = entries.iter().filter(|entry| matches!(entry, Entry::Fault(_))).count();
    let Verdict { answers, maps, epochs, stepped_back, .. } = verdict;
    let _ = writeln!(
        text,
        "# A run of chaos\n\n`cargo xtask chaos --seed {seed} --minutes {minutes} --nodes {nodes} --replicas {replicas}{only}`: \
         {nodes} nodes, {SHARDS} shards, {replicas} a shard, dead after {HEARTBEAT_TIMEOUT} s.\n\n\
         {faults} faults; {answers} answers of searches compared with the model, {maps} versions of the shard map, \
         {epochs} changes of owner.\n\n\
         **{} violations.** {stepped_back} times a complete answer lacked what an earlier one had found and nobody \
         had been told was indexed.\n",
        verdict.violations.len()
    );
    for violation in verdict.violations.iter().take(SHOWN) {
        let _ = writeln!(text, "- {violation}");
    }
}

/// Recovery by kind of fault.
fn faults(recoveries: &[Recovery]) -> String {
    let mut kinds: BTreeMap<&str, Vec<&Recovery>> = BTreeMap::new();
    for recovery in recoveries {
        kinds.entry(&recovery.fault).or_default().push(recovery);
    }
    let mut text = String::from(
        "\nSeconds from the fault to the end of the last search that was not complete, through nodes that could be \
         expected to answer: of a rolling restart, those after it.\n\n\
         | fault | times | without any such search | p50 | p95 | max | searches | not complete |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for (kind, of) in &kinds {
        row(&mut text, kind, of);
    }
    row(&mut text, "**all**", &recoveries.iter().collect::<Vec<_>>());
    text
}

fn row(text: &mut String, kind: &str, of: &[&Recovery]) {
    let Distribution { p50, p95, max } =
        Distribution::of(of.iter().map(|recovery| recovery.seconds).collect());
    let unseen = of.iter().filter(|recovery| recovery.bad == 0).count();
    let sum = |count: fn(&Recovery) -> usize| of.iter().map(|one| count(one)).sum::<usize>();
    let _ = writeln!(
        text,
        "| {kind} | {} | {unseen} | {p50:.1} | {p95:.1} | {max:.1} | {} | {} |",
        of.len(),
        sum(|one| one.searches),
        sum(|one| one.bad)
    );
}

/// How calls ended.
fn operations(entries: &[Entry]) -> String {
    let mut text = String::from(
        "Calls through whichever node, those that were down included.\n\n\
         | call | all | done | incomplete | refused | no answer |\n|---|---|---|---|---|---|\n",
    );
    for (call, counts) in figures::counts(entries) {
        let Counts { all, done, incomplete, refused, failed } = counts;
        let _ = writeln!(text, "| {call} | {all} | {done} | {incomplete} | {refused} | {failed} |");
    }
    text.push_str("\n| call | why not | times |\n|---|---|---|\n");
    for ((call, why), times) in figures::refusals(entries) {
        let _ = writeln!(text, "| {call} | {why} | {times} |");
    }
    text
}

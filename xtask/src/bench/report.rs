//! `docs/benchmarks.md`: tables of the last run, between marks; what people wrote around them stays.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result, bail};

use super::measure::to_f64;
use super::plot;
use super::results::{Indexing, Latency, Run};
use crate::paths;

pub(super) const DOCUMENT: &str = "docs/benchmarks.md";
const PLOT: &str = "docs/benchmarks.svg";
const BEGIN: &str = "<!-- written by `cargo xtask bench`: begin -->";
const END: &str = "<!-- written by `cargo xtask bench`: end -->";
const OURS: &str = "Aeterna";

/// Writes the document and its plot.
pub(super) fn write(run: &Run) -> Result<()> {
    let root = paths::workspace()?;
    let document = root.join(DOCUMENT);
    let text = match fs::read_to_string(&document) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            format!("# Benchmarks\n\n{BEGIN}\n{END}\n")
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {DOCUMENT}")),
    };
    fs::write(&document, replaced(&text, &tables(run)?, (BEGIN, END))?)?;
    fs::write(root.join(PLOT), plot::latencies(&run.latencies))?;
    println!("\n{DOCUMENT} and {PLOT} are written");
    Ok(())
}

/// `text` with `tables` between two marks.
pub(super) fn replaced(text: &str, tables: &str, (begin, end): (&str, &str)) -> Result<String> {
    let Some((before, rest)) = text.split_once(begin) else {
        bail!("{DOCUMENT} has no line `{begin}`: nothing can be replaced");
    };
    let Some((_, after)) = rest.split_once(end) else {
        bail!("{DOCUMENT} has no line `{end}`: nothing can be replaced");
    };
    Ok(format!("{before}{begin}\n\n{}\n{end}{after}", tables.trim_end()))
}

fn tables(run: &Run) -> Result<String> {
    let mut text = String::new();
    machine(&mut text, run)?;
    if !run.indexing.is_empty() {
        indexing(&mut text, run)?;
    }
    serving(&mut text, run)?;
    if !run.latencies.is_empty() {
        latencies(&mut text, run)?;
    }
    agreement(&mut text, run)?;
    if !run.push.is_empty() {
        push(&mut text, run)?;
    }
    load(&mut text, run)?;
    if !run.scale.is_empty() {
        scale(&mut text, run)?;
    }
    if !run.relevance.is_empty() {
        relevance(&mut text, run)?;
    }
    Ok(text)
}

fn machine(text: &mut String, run: &Run) -> Result<()> {
    let machine = &run.machine;
    let corpus = &run.corpus;
    writeln!(text, "## Machine, versions, corpus\n")?;
    writeln!(
        text,
        "{}, {} cores, {} of memory; {}, {}; {}. Page cache warm.\n",
        machine.processor,
        machine.cores,
        bytes(machine.memory),
        machine.system,
        machine.kernel,
        machine.date
    )?;
    writeln!(
        text,
        "Corpus: {}, {} files, {}, one commit `{}`. {} literals and {} regexes, seed {}.\n",
        corpus.name,
        corpus.files,
        bytes(corpus.bytes),
        corpus.commit,
        corpus.literals,
        corpus.regexes,
        corpus.seed
    )?;
    writeln!(text, "| program | version |\n|---|---|")?;
    for (name, version) in &machine.versions {
        writeln!(text, "| {name} | {version} |")?;
    }
    writeln!(text, "\n| program | command |\n|---|---|")?;
    for (name, command) in &run.commands {
        writeln!(text, "| {name} | `{}` |", command.replace('|', "\\|"))?;
    }
    Ok(())
}

fn indexing(text: &mut String, run: &Run) -> Result<()> {
    writeln!(text, "\n## Indexing\n")?;
    writeln!(
        text,
        "| | wall s | CPU s | peak memory | index ÷ corpus | beside it | Zoekt's wall ÷ this |\n|---|---|---|---|---|---|---|"
    )?;
    for row in &run.indexing {
        let beside: Vec<String> =
            row.beside.iter().map(|(name, size)| format!("{name} {}", bytes(*size))).collect();
        let ratio = peer_of(run, row).map_or("—".to_owned(), |peer| ratio(peer.wall, row.wall));
        writeln!(
            text,
            "| {} | {:.1} | {:.1} | {} | {:.2} | {} | {ratio} |",
            row.name,
            row.wall,
            row.cpu,
            bytes(row.peak_memory),
            to_f64(row.index_size) / to_f64(run.corpus.bytes.max(1)),
            if beside.is_empty() { "—".to_owned() } else { beside.join(", ") },
        )?;
    }
    Ok(())
}

/// The row of Zoekt's that does the same work.
fn peer_of<'a>(run: &'a Run, row: &Indexing) -> Option<&'a Indexing> {
    let what = if row.name.contains("with symbols") { "with ctags" } else { "without symbols" };
    let peer = |other: &&Indexing| other.name.starts_with("Zoekt") && other.name.contains(what);
    run.indexing.iter().find(peer).filter(|_| row.name.starts_with(OURS))
}

fn serving(text: &mut String, run: &Run) -> Result<()> {
    if run.serving.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n## Memory of the servers\n")?;
    writeln!(
        text,
        "Own memory leaves out pages of mapped files, which the system may take back at any time.\n"
    )?;
    writeln!(
        text,
        "| | own, started | own, after all searches | resident, after all searches |\n|---|---|---|---|"
    )?;
    for row in &run.serving {
        let searched = row.searched.unwrap_or(row.started);
        writeln!(
            text,
            "| {} | {} | {} | {} |",
            row.name,
            bytes(row.started.anonymous),
            bytes(searched.anonymous),
            bytes(searched.resident)
        )?;
    }
    Ok(())
}

fn latencies(text: &mut String, run: &Run) -> Result<()> {
    writeln!(text, "\n## Searching\n")?;
    writeln!(
        text,
        "Milliseconds until the last byte of the answer: over HTTP for servers, of the whole process for ripgrep and \
         csearch, which count lines and print no text. A first page has 50 files with their lines and one line of \
         context. The better of the repetitions.\n"
    )?;
    writeln!(text, "![Latencies](benchmarks.svg)")?;
    for (set, want) in groups(&run.latencies) {
        writeln!(text, "\n### {set}, {want}\n")?;
        writeln!(
            text,
            "| | searches | p50 | p95 | p99 | max | mean | p50, p95 ÷ Zoekt's | slowest |\n|---|---|---|---|---|---|---|---|---|"
        )?;
        let group = |row: &&Latency| row.set == set && row.want == want;
        let zoekt = run.latencies.iter().filter(group).find(|row| row.engine == "Zoekt");
        for row in run.latencies.iter().filter(group) {
            let times = row.times;
            let against = zoekt.map_or("—".to_owned(), |zoekt| {
                format!(
                    "{}, {}",
                    ratio(times.p50, zoekt.times.p50),
                    ratio(times.p95, zoekt.times.p95)
                )
            });
            let slowest = row.slowest.first().map_or(String::new(), |(pattern, _)| code(pattern));
            writeln!(
                text,
                "| {} | {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {against} | {slowest} |",
                row.engine, times.count, times.p50, times.p95, times.p99, times.max, times.mean
            )?;
        }
    }
    for against in &run.against_scan {
        writeln!(
            text,
            "\nAeterna's {}, pattern by pattern, against ripgrep's scan that counts lines: {} of {} are slower; the worst \
             takes {:.2} of the scan's time.\n",
            against.want,
            against.slower.len(),
            against.patterns,
            against.worst_ratio
        )?;
        for (pattern, ours, scan) in against.slower.iter().take(10) {
            writeln!(text, "- {}: {ours:.0} ms, ripgrep {scan:.0} ms", code(pattern))?;
        }
    }
    Ok(())
}

fn groups(latencies: &[Latency]) -> Vec<(String, String)> {
    let mut groups: Vec<(String, String)> = Vec::new();
    for row in latencies {
        let group = (row.set.clone(), row.want.clone());
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups.sort();
    groups
}

fn agreement(text: &mut String, run: &Run) -> Result<()> {
    if run.agreement.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n## Do the answers agree?\n")?;
    writeln!(
        text,
        "The matching lines of every file, compared with ripgrep's, for every literal and regex.\n"
    )?;
    writeln!(
        text,
        "| | patterns | the same | differences, as (pattern, file) |\n|---|---|---|---|"
    )?;
    for row in &run.agreement {
        let reasons: Vec<String> =
            row.reasons.iter().map(|(reason, (count, _))| format!("{count} × {reason}")).collect();
        writeln!(
            text,
            "| {} | {} | {} | {} |",
            row.engine,
            row.patterns,
            row.same,
            if reasons.is_empty() { "none".to_owned() } else { reasons.join("; ") }
        )?;
    }
    for row in &run.agreement {
        for (reason, (_, example)) in &row.reasons {
            writeln!(text, "\n{}, {reason}: for example {}", row.engine, code(example))?;
        }
    }
    Ok(())
}

fn push(text: &mut String, run: &Run) -> Result<()> {
    writeln!(text, "\n## A push\n")?;
    writeln!(
        text,
        "Milliseconds, the median of several pushes: from asking for it until all changed files are found, and what \
         the engine says went into indexing them.\n"
    )?;
    writeln!(text, "| | changed files | searchable after | of that indexing |\n|---|---|---|---|")?;
    for row in &run.push {
        let indexing = median(&row.indexing).map_or("—".to_owned(), |time| format!("{time:.0}"));
        let searchable = median(&row.searchable).unwrap_or_default();
        writeln!(text, "| {} | {} | {searchable:.0} | {indexing} |", row.engine, row.files)?;
    }
    Ok(())
}

fn load(text: &mut String, run: &Run) -> Result<()> {
    let Some(load) = &run.load else { return Ok(()) };
    writeln!(text, "\n## {} clients\n", load.clients)?;
    writeln!(
        text,
        "First pages of one repository; each client asks ten times a second, or as fast as it is answered.\n"
    )?;
    writeln!(text, "| | searches | p50 | p95 | p99 | max |\n|---|---|---|---|---|---|")?;
    for (name, count, times) in [
        ("idle", load.searches_idle, load.idle),
        (
            "while a repository like the corpus is indexed",
            load.searches_while_indexing,
            load.while_indexing,
        ),
    ] {
        writeln!(
            text,
            "| {name} | {count} | {:.1} | {:.1} | {:.1} | {:.1} |",
            times.p50, times.p95, times.p99, times.max
        )?;
    }
    writeln!(
        text,
        "\np95 while indexing ÷ idle: {}",
        ratio(load.while_indexing.p95, load.idle.p95)
    )?;
    Ok(())
}

fn scale(text: &mut String, run: &Run) -> Result<()> {
    writeln!(text, "\n## Many times the corpus\n")?;
    writeln!(
        text,
        "One repository for each top-level folder of each copy; every file differs between copies. All on one server. \
         Peak memory has the pages of mapped files in it, which the system may take back; own memory has not.\n"
    )?;
    writeln!(
        text,
        "| times | repositories | size | wall s | s ÷ GB | CPU s | peak memory | own memory | index ÷ size | first page p50 | p95 |\n|---|---|---|---|---|---|---|---|---|---|---|"
    )?;
    for row in &run.scale {
        let gigabytes = to_f64(row.bytes) / 1e9;
        writeln!(
            text,
            "| {} | {} | {} | {:.0} | {:.1} | {:.0} | {} | {} | {:.2} | {:.1} | {:.1} |",
            row.times,
            row.repositories,
            bytes(row.bytes),
            row.wall,
            row.wall / gigabytes,
            row.cpu,
            bytes(row.peak_memory),
            bytes(row.anonymous),
            to_f64(row.index_size) / to_f64(row.bytes.max(1)),
            row.first_page.p50,
            row.first_page.p95
        )?;
    }
    Ok(())
}

fn relevance(text: &mut String, run: &Run) -> Result<()> {
    writeln!(text, "\n## Relevance\n")?;
    writeln!(
        text,
        "Labelled queries over public repositories; [the rule, and Zoekt's figures on the same]\
         (../benches/relevance/README.md).\n"
    )?;
    writeln!(text, "| half | queries | recall@1 | recall@5 | MRR@10 |\n|---|---|---|---|---|")?;
    for row in &run.relevance {
        writeln!(
            text,
            "| {} | {} | {:.2} | {:.2} | {:.2} |",
            row.split, row.queries, row.recall_at_1, row.recall_at_5, row.mrr
        )?;
    }
    Ok(())
}

/// `1.30 GB`, `256 MB`: powers of ten, as disks are sold.
pub(super) fn bytes(count: u64) -> String {
    let count = to_f64(count);
    if count >= 1e9 {
        format!("{:.2} GB", count / 1e9)
    } else if count >= 1e6 {
        format!("{:.0} MB", count / 1e6)
    } else {
        format!("{:.0} kB", count / 1e3)
    }
}

pub(super) fn ratio(one: f64, other: f64) -> String {
    if other <= 0.0 { "—".to_owned() } else { format!("{:.2}", one / other) }
}

fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// Text in backquotes that cannot break a table.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'").replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_stays() {
        let text = format!("# Title\n{BEGIN}\nold\n{END}\n## What is left\n");
        let marks = (BEGIN, END);
        let new = replaced(&text, "new\n", marks).unwrap();
        assert_eq!(new, format!("# Title\n{BEGIN}\n\nnew\n{END}\n## What is left\n"));
        assert_eq!(replaced(&new, "new\n", marks).unwrap(), new);
        assert!(replaced("# Title", "new", marks).is_err());
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!(bytes(1_299_000_000), "1.30 GB");
        assert_eq!(bytes(256_400_000), "256 MB");
        assert_eq!(code("a|`b`"), "`a\\|'b'`");
        assert_eq!(ratio(1.0, 0.0), "—");
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    }

    #[test]
    fn a_run_without_some_parts_is_still_a_report() {
        assert!(tables(&Run::default()).unwrap().contains("## Machine"));
    }
}

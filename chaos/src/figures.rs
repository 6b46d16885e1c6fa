//! What a history says of times and counts.

use std::collections::BTreeMap;

use crate::check::JUDGE;
use crate::history::{Answer, Entry, FaultRecord, Micros, Operation};

/// How searches went while and after something was broken.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recovery {
    /// The fault's kind.
    pub(crate) fault: String,
    /// Searches through nodes that could be expected to answer.
    pub(crate) searches: usize,
    /// Those of them that had no complete answer.
    pub(crate) bad: usize,
    /// Seconds from the fault until the last of these had ended; 0 where there was none.
    pub(crate) seconds: f64,
}

/// How calls of one kind ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// All.
    pub(crate) all: usize,
    /// With a complete answer, or done.
    pub(crate) done: usize,
    /// With an answer that says that something is missing.
    pub(crate) incomplete: usize,
    /// With another answer.
    pub(crate) refused: usize,
    /// Without an answer.
    pub(crate) failed: usize,
}

/// Half, 19 of 20, and all are at most this.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Distribution {
    /// The median.
    pub(crate) p50: f64,
    /// The 95th percentile.
    pub(crate) p95: f64,
    /// The greatest.
    pub(crate) max: f64,
}

impl Distribution {
    /// Of these numbers; zeros where there are none.
    pub(crate) fn of(mut numbers: Vec<f64>) -> Self {
        numbers.sort_by(f64::total_cmp);
        let last = numbers.len().saturating_sub(1);
        let at = |percent: usize| {
            let place = (last * percent).div_ceil(100);
            numbers.get(place).copied().unwrap_or_default()
        };
        Self { p50: at(50), p95: at(95), max: at(100) }
    }
}

/// Every fault's recovery, in order.
pub(crate) fn recoveries(entries: &[Entry]) -> Vec<Recovery> {
    let faults: Vec<&FaultRecord> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Fault(fault) => Some(fault),
            _ => None,
        })
        .collect();
    let ends = faults.iter().skip(1).map(|fault| fault.span.begun).chain([Micros::MAX]);
    let searches: Vec<&Operation> = operations(entries)
        .filter(|operation| operation.client != JUDGE && operation.call.word() == "search")
        .collect();
    faults.iter().zip(ends).map(|(fault, end)| recovery(fault, end, &searches)).collect()
}

fn recovery(fault: &FaultRecord, end: Micros, searches: &[&Operation]) -> Recovery {
    let begun = fault.span.begun;
    let counts = |operation: &&&Operation| {
        let span = operation.span;
        let is_expected = !fault.nodes.contains(&operation.node) || span.begun > fault.span.ended;
        span.ended >= begun && span.begun < end && is_expected
    };
    let searches: Vec<&&Operation> = searches.iter().filter(counts).collect();
    let is_bad = |operation: &&&&Operation| {
        !matches!(operation.answer, Answer::Found { complete: true, .. })
    };
    let last = searches.iter().filter(is_bad).map(|operation| operation.span.ended).max();
    let micros = last.map_or(0, |last| last.saturating_sub(begun));
    Recovery {
        fault: fault.fault.clone(),
        searches: searches.len(),
        bad: searches.iter().filter(is_bad).count(),
        seconds: micros as f64 / 1e6,
    }
}

fn operations(entries: &[Entry]) -> impl Iterator<Item = &Operation> {
    entries.iter().filter_map(|entry| match entry {
        Entry::Operation(operation) => Some(operation),
        _ => None,
    })
}

/// How the clients' calls ended, by their kind.
pub(crate) fn counts(entries: &[Entry]) -> BTreeMap<&'static str, Counts> {
    let mut counts: BTreeMap<&'static str, Counts> = BTreeMap::new();
    for operation in operations(entries).filter(|operation| operation.client != JUDGE) {
        let counts = counts.entry(operation.call.word()).or_default();
        counts.all += 1;
        let (Counts { done, incomplete, refused, failed, .. }, answer) =
            (counts, &operation.answer);
        *match answer {
            Answer::Found { complete: false, .. } => incomplete,
            Answer::Refused { code, .. } if code == "incomplete" => incomplete,
            Answer::Refused { .. } => refused,
            Answer::Failed(_) => failed,
            _ => done,
        } += 1;
    }
    counts
}

/// How often an answer was refused, by call and word.
pub(crate) fn refusals(entries: &[Entry]) -> BTreeMap<(&'static str, String), usize> {
    let mut refusals = BTreeMap::new();
    for operation in operations(entries).filter(|operation| operation.client != JUDGE) {
        let why = match &operation.answer {
            Answer::Refused { status, code } => format!("{status} {code}"),
            Answer::Failed(error) => format!("no answer: {error}"),
            _ => continue,
        };
        *refusals.entry((operation.call.word(), why)).or_default() += 1;
    }
    refusals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Call, Span};

    fn search(node: &str, begun: Micros, complete: bool) -> Entry {
        let span = Span { begun, ended: begun + 500_000 };
        let (skipped, repositories) = (Vec::new(), BTreeMap::new());
        Entry::Operation(Operation {
            client: "searcher".to_owned(),
            node: node.to_owned(),
            span,
            call: Call::Search { require_complete: false },
            answer: Answer::Found { complete, skipped, repositories },
        })
    }

    fn fault(number: u32, begun: Micros, ended: Micros) -> Entry {
        Entry::Fault(FaultRecord {
            number,
            fault: "pause".to_owned(),
            detail: String::new(),
            nodes: vec!["node-1".to_owned()],
            span: Span { begun, ended },
            settled: ended,
        })
    }

    #[test]
    fn a_fault_lasts_until_the_last_search_that_lacked_something() {
        let second = 1_000_000;
        let history = [
            search("node-2", 5 * second, false),
            fault(1, 10 * second, 15 * second),
            search("node-2", 11 * second, false),
            search("node-2", 13 * second, false),
            search("node-2", 14 * second, true),
            // It was paused; that says nothing of the others.
            search("node-1", 14 * second, false),
            search("node-1", 16 * second, true),
            fault(2, 20 * second, 21 * second),
            search("node-2", 22 * second, true),
        ];
        let recoveries = recoveries(&history);
        let numbers: Vec<_> =
            recoveries.iter().map(|one| (one.searches, one.bad, one.seconds)).collect();
        assert_eq!(numbers, [(4, 2, 3.5), (1, 0, 0.0)]);
    }

    #[test]
    fn percentiles_are_of_the_numbers_that_there_are() {
        let hundred = (0..=100).map(f64::from).collect();
        assert_eq!(Distribution::of(hundred), Distribution { p50: 50.0, p95: 95.0, max: 100.0 });
        assert_eq!(Distribution::of(vec![2.0]), Distribution { p50: 2.0, p95: 2.0, max: 2.0 });
        assert_eq!(Distribution::of(Vec::new()).max, 0.0);
    }
}

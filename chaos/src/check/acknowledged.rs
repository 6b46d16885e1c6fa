//! At the end, when all is whole again: nothing that was acknowledged is lost, and every node finds the same, which
//! is all that there is.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Facts, Repository};
use super::{JUDGE, Verdict};
use crate::history::{Answer, Call, Entry, Operation, Seen};

/// Checks what the judge was answered.
pub(super) fn check(entries: &[Entry], facts: &Facts, verdict: &mut Verdict) {
    let asked = entries.iter().filter_map(|entry| match entry {
        Entry::Operation(operation) if operation.client == JUDGE => Some(operation),
        _ => None,
    });
    let asked: Vec<&Operation> = asked.collect();
    // A run that was cut off has no end to be checked.
    if asked.is_empty() {
        return;
    }
    let mut last: BTreeMap<&str, &Operation> = BTreeMap::new();
    let mut unasked: BTreeMap<&str, &Operation> = BTreeMap::new();
    let mut synced: BTreeSet<&str> = BTreeSet::new();
    for operation in &asked {
        match (&operation.call, &operation.answer) {
            (Call::Show(name), Answer::Shown { .. } | Answer::Unknown) => {
                last.insert(name, operation);
                if !synced.contains(name.as_str()) {
                    unasked.insert(name, operation);
                }
            }
            (Call::Sync(name), _) => _ = synced.insert(name),
            _ => {}
        }
    }
    for (name, repository) in facts {
        if repository.add_begun.is_some() {
            kept(name, repository, last.get(name.as_str()).copied(), verdict);
            if let Some(unasked) = unasked.get(name.as_str()) {
                promises(name, repository, unasked, verdict);
            }
        }
    }
    let there: BTreeSet<&str> = last
        .iter()
        .filter(|(_, operation)| matches!(operation.answer, Answer::Shown { .. }))
        .map(|(name, _)| *name)
        .collect();
    found(&asked, &there, facts, verdict);
}

/// A repository that was added is there unless its removal was asked for; one that was removed is not.
fn kept(name: &str, repository: &Repository, last: Option<&Operation>, verdict: &mut Verdict) {
    let Some(last) = last else {
        return verdict.violation(0, format!("at the end nobody could be asked about {name}"));
    };
    let at = last.span.ended;
    match &last.answer {
        Answer::Unknown if repository.added.is_some() && repository.remove_begun.is_none() => {
            verdict.violation(at, format!("at the end {name} is lost, which was added"));
        }
        Answer::Shown { .. } if repository.removed.is_some() => {
            verdict.violation(at, format!("at the end {name} is there, which was removed"));
        }
        Answer::Shown { state, .. } if state != "ready" => {
            verdict.violation(at, format!("at the end {name} is `{state}`"));
        }
        _ => {}
    }
}

/// What somebody was told will be indexed is, before anyone asks for it again.
fn promises(name: &str, repository: &Repository, unasked: &Operation, verdict: &mut Verdict) {
    let Answer::Shown { commit, .. } = &unasked.answer else { return };
    let place = |id: &String| repository.commits.iter().position(|(commit, _)| commit == id);
    let number = commit.as_ref().and_then(place).map_or(0, |place| place + 1);
    if (number as u64) < u64::from(repository.promised) {
        let promised = repository.promised;
        let what = format!("at the end {name} is at commit {number}, {promised} was promised");
        verdict.violation(unasked.span.ended, what);
    }
}

/// The last search of the judge through each node has exactly the newest commit of what is there.
fn found(asked: &[&Operation], there: &BTreeSet<&str>, facts: &Facts, verdict: &mut Verdict) {
    let mut last: BTreeMap<&str, &Operation> = BTreeMap::new();
    for operation in asked {
        if matches!(operation.call, Call::Search { .. }) {
            last.insert(&operation.node, operation);
        }
    }
    if last.is_empty() {
        verdict.violation(0, "at the end no node was searched through");
    }
    for (node, operation) in last {
        let at = operation.span.ended;
        let Answer::Found { complete: true, repositories, .. } = &operation.answer else {
            verdict.violation(at, format!("at the end {node} answers {:?}", operation.answer));
            continue;
        };
        let names: BTreeSet<&str> = repositories.keys().map(String::as_str).collect();
        for name in names.symmetric_difference(there) {
            let how = if names.contains(name) { "finds" } else { "does not find" };
            verdict.violation(at, format!("at the end {node} {how} {name}"));
        }
        for (name, seen) in repositories {
            let newest =
                facts.get(name).map_or(0, |repository| repository.newest(operation.span.begun));
            if !matches!(seen, Seen::Commit { number, .. } if *number == newest) {
                verdict.violation(
                    at,
                    format!("at the end {node} finds {name} as {seen:?}, not {newest}"),
                );
            }
        }
    }
}

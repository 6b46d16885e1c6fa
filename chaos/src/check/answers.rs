//! An answer that says that it is complete is what the model holds at some moment between request and answer.

use std::collections::BTreeMap;

use super::facts::{Facts, Repository};
use super::{Rules, Verdict};
use crate::history::{Answer, Call, Entry, Operation, Seen};

/// Checks every answer, whole or not, and every refusal to know a repository.
pub(super) fn check(entries: &[Entry], facts: &Facts, rules: Rules, verdict: &mut Verdict) {
    for entry in entries {
        let Entry::Operation(operation) = entry else { continue };
        match &operation.answer {
            Answer::Found { complete, repositories, .. } => {
                verdict.answers += 1;
                let judged = Judged { operation, rules, complete: *complete };
                judged.check(repositories, facts, verdict);
            }
            Answer::Unknown => unknown(operation, facts, verdict),
            _ => {}
        }
    }
}

/// Nobody is told that a repository is not there that was added and never removed.
fn unknown(operation: &Operation, facts: &Facts, verdict: &mut Verdict) {
    let Some(name) = operation.call.repository() else { return };
    let Some(repository) = facts.get(name) else { return };
    let is_added = repository.added.is_some_and(|added| added < operation.span.begun);
    let is_removal = matches!(operation.call, Call::Remove(_));
    let asked_before = repository.remove_begun.is_some_and(|begun| begun < operation.span.begun);
    let may_be_gone =
        if is_removal { asked_before } else { repository.may_be_gone(operation.span.ended) };
    if is_added && !may_be_gone {
        let what = format!("{} says that it does not know {name}, which was added", operation.node);
        verdict.violation(operation.span.ended, what);
    }
}

struct Judged<'a> {
    operation: &'a Operation,
    rules: Rules,
    complete: bool,
}

impl Judged<'_> {
    fn check(&self, found: &BTreeMap<String, Seen>, facts: &Facts, verdict: &mut Verdict) {
        for name in found.keys().filter(|name| !facts.contains_key(*name)) {
            self.violation(verdict, &format!("{name}, which never was"));
        }
        for (name, repository) in facts {
            match found.get(name) {
                Some(seen) => self.present(name, repository, seen, verdict),
                None if self.complete => self.absent(name, repository, verdict),
                None => {}
            }
        }
    }

    fn violation(&self, verdict: &mut Verdict, what: &str) {
        let Operation { client, node, span, .. } = self.operation;
        let complete = if self.complete { "complete" } else { "incomplete" };
        let begun = crate::history::clock(span.begun);
        verdict.violation(
            span.ended,
            format!("{client} got from {node} ({complete}, asked at {begun}): {what}"),
        );
    }

    fn present(&self, name: &str, repository: &Repository, seen: &Seen, verdict: &mut Verdict) {
        let span = self.operation.span;
        // What only comes and goes is nobody's promise: a part that was left out is said to be.
        let Seen::Commit { number, id } = seen else {
            if self.complete {
                self.violation(verdict, &format!("{name} as no commit has it: {seen:?}"));
            }
            return;
        };
        let place = usize::try_from(*number).unwrap_or(usize::MAX).wrapping_sub(1);
        if repository.commits.get(place).is_none_or(|(commit, _)| commit != id) {
            self.violation(verdict, &format!("{name} at commit {number}, with the id {id}"));
        }
        if *number > repository.newest(span.ended) {
            self.violation(verdict, &format!("{name} at commit {number}, before there was one"));
        }
        if repository.add_begun.is_none_or(|begun| begun > span.ended) {
            self.violation(verdict, &format!("{name}, which nobody had asked for"));
        }
        let since = span.begun.saturating_sub(self.rules.staleness);
        if repository.removed.is_some_and(|removed| removed < since) {
            self.violation(verdict, &format!("{name} at commit {number}, which had been removed"));
        }
        if !self.complete {
            return;
        }
        if let Some(shown) = repository.shown.before(since).filter(|shown| shown > number) {
            let what = format!("{name} at commit {number}, when {shown} was said to be indexed");
            self.violation(verdict, &what);
        } else if repository.found.before(since).is_some_and(|found| found > *number) {
            verdict.stepped_back += 1;
        }
    }

    fn absent(&self, name: &str, repository: &Repository, verdict: &mut Verdict) {
        let span = self.operation.span;
        if repository.may_be_gone(span.ended) {
            return;
        }
        let since = span.begun.saturating_sub(self.rules.staleness);
        if let Some(shown) = repository.shown.before(since) {
            let what = format!("nothing of {name}, of which commit {shown} was said to be indexed");
            self.violation(verdict, &what);
        } else if repository.found.before(since).is_some() {
            verdict.stepped_back += 1;
        }
    }
}

//! What the history says of each repository: the model that answers are compared with.

use std::collections::{BTreeMap, HashMap};

use super::JUDGE;
use crate::history::{Answer, Call, Entry, Micros, Operation, Seen};

/// A number that only grows, and since when it was at least that.
#[derive(Clone, Debug, Default)]
pub(super) struct Floor(Vec<(Micros, u32)>);

impl Floor {
    fn raise(&mut self, at: Micros, number: u32) {
        self.0.push((at, number));
    }

    fn finish(&mut self) {
        self.0.sort_unstable();
        let mut most = 0;
        for (_, number) in &mut self.0 {
            most = most.max(*number);
            *number = most;
        }
    }

    /// The most that was known before a time.
    pub(super) fn before(&self, at: Micros) -> Option<u32> {
        let known = self.0.partition_point(|(known, _)| *known < at);
        known.checked_sub(1).map(|last| self.0[last].1)
    }
}

/// A repository.
#[derive(Clone, Debug, Default)]
pub(super) struct Repository {
    /// Its commits: id, and when each began to be there.
    pub(super) commits: Vec<(String, Micros)>,
    /// When it was first asked for.
    pub(super) add_begun: Option<Micros>,
    /// When that was first acknowledged.
    pub(super) added: Option<Micros>,
    /// When it was first asked to be removed.
    pub(super) remove_begun: Option<Micros>,
    /// When that was first acknowledged, or it was first said to be gone after it had been asked for.
    pub(super) removed: Option<Micros>,
    /// The commits that were said to be indexed.
    pub(super) shown: Floor,
    /// The commits that complete answers had.
    pub(super) found: Floor,
    /// The newest commit that somebody was promised.
    pub(super) promised: u32,
}

/// All repositories by name.
pub(super) type Facts = BTreeMap<String, Repository>;

/// Reads the model off a history.
pub(super) fn gather(entries: &[Entry]) -> Facts {
    let mut facts = Facts::new();
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    for entry in entries {
        if let Entry::Push(push) = entry {
            let repository = facts.entry(push.repository.clone()).or_default();
            repository.commits.push((push.id.clone(), push.span.begun));
            numbers.insert(&push.id, push.number);
        }
    }
    for entry in entries {
        if let Entry::Operation(operation) = entry {
            take(operation, &numbers, &mut facts);
        }
    }
    for repository in facts.values_mut() {
        repository.shown.finish();
        repository.found.finish();
    }
    facts
}

fn earlier(known: &mut Option<Micros>, at: Micros) {
    *known = Some(known.map_or(at, |known| known.min(at)));
}

fn take(operation: &Operation, numbers: &HashMap<&str, u32>, facts: &mut Facts) {
    let (begun, ended) = (operation.span.begun, operation.span.ended);
    if let Answer::Found { complete: true, repositories, .. } = &operation.answer {
        for (name, seen) in repositories {
            if let (Seen::Commit { number, .. }, Some(repository)) = (seen, facts.get_mut(name)) {
                repository.found.raise(ended, *number);
            }
        }
    }
    let Some(name) = operation.call.repository() else { return };
    let repository = facts.entry(name.to_owned()).or_default();
    match (&operation.call, &operation.answer) {
        (Call::Add(_), answer) => {
            earlier(&mut repository.add_begun, begun);
            if *answer == Answer::Accepted {
                earlier(&mut repository.added, ended);
                repository.promise(begun);
            }
        }
        // What the judge asks for, nobody was promised before.
        (Call::Sync(_), Answer::Accepted) if operation.client != JUDGE => repository.promise(begun),
        (Call::Remove(_), answer) => {
            earlier(&mut repository.remove_begun, begun);
            if matches!(answer, Answer::Accepted | Answer::Unknown) {
                earlier(&mut repository.removed, ended);
            }
        }
        (Call::Show(_), Answer::Shown { commit: Some(commit), .. }) => {
            if let Some(number) = numbers.get(commit.as_str()) {
                repository.shown.raise(ended, *number);
            }
        }
        (Call::Show(_), Answer::Unknown) if repository.remove_begun.is_some() => {
            earlier(&mut repository.removed, ended);
        }
        _ => {}
    }
}

impl Repository {
    /// What was there when it was asked for will be indexed.
    fn promise(&mut self, asked: Micros) {
        let there = self.commits.iter().filter(|(_, begun)| *begun < asked).count();
        self.promised = self.promised.max(u32::try_from(there).unwrap_or(u32::MAX));
    }

    /// Number of the newest commit that there was at a time.
    pub(super) fn newest(&self, at: Micros) -> u32 {
        let there = self.commits.iter().filter(|(_, begun)| *begun < at).count();
        u32::try_from(there).unwrap_or(u32::MAX)
    }

    /// Whether it may be missing from an answer that ended at a time.
    pub(super) fn may_be_gone(&self, at: Micros) -> bool {
        self.remove_begun.is_some_and(|begun| begun < at)
    }
}

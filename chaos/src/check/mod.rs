//! What a history shows to be wrong: pure functions of its entries.

mod acknowledged;
mod answers;
mod facts;
mod ownership;
#[cfg(test)]
mod tests;

use crate::history::{Entry, Micros, clock};

/// The client that asks at the end, when nothing is broken and nobody changes anything.
pub(crate) const JUDGE: &str = "judge";

/// What is allowed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    /// How old a complete answer may be: with replicas, a copy may be behind its owner.
    pub(crate) staleness: Micros,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// What must not be, each with when it was seen.
    pub(crate) violations: Vec<String>,
    /// Answers that were compared.
    pub(crate) answers: usize,
    /// Complete answers with an older commit than one before had, which nobody had acknowledged: nothing
    /// promises that there are none.
    pub(crate) stepped_back: usize,
    /// Versions of the shard map that were seen.
    pub(crate) maps: usize,
    /// Changes of an owner that were seen.
    pub(crate) epochs: u64,
}

/// Judges a whole history.
pub(crate) fn judge(entries: &[Entry], rules: Rules) -> Verdict {
    let mut verdict = Verdict::default();
    let facts = facts::gather(entries);
    answers::check(entries, &facts, rules, &mut verdict);
    acknowledged::check(entries, &facts, &mut verdict);
    ownership::check(entries, &mut verdict);
    for entry in entries {
        match entry {
            Entry::Ended(ended) => {
                let what = format!("{} ended by itself with {}", ended.node, ended.status);
                verdict.violation(ended.at, what);
            }
            Entry::Wrong(wrong) => verdict.violation(wrong.at, wrong.what.clone()),
            _ => {}
        }
    }
    verdict
}

impl Verdict {
    fn violation(&mut self, at: Micros, what: impl AsRef<str>) {
        self.violations.push(format!("{} {}", clock(at), what.as_ref()));
    }
}

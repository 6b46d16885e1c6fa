//! How often cold storage was asked, what came of it, and how much was moved: for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// What cold storage is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColdAction {
    /// To give an object or a part of one.
    Read,
    /// Whether there is an object, and its size.
    Head,
    /// To take an object or a part of one.
    Write,
    /// Which objects there are.
    List,
    /// To remove an object.
    Remove,
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColdOutcome {
    /// An answer, also that there is no such object or that there is one already.
    Answered,
    /// An attempt failed and another one followed.
    Retried,
    /// Every attempt failed.
    Failed,
    /// It is not allowed.
    Denied,
}

impl ColdAction {
    /// Every action.
    pub const ALL: [Self; 5] = [Self::Read, Self::Head, Self::Write, Self::List, Self::Remove];

    /// The label for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Head => "head",
            Self::Write => "write",
            Self::List => "list",
            Self::Remove => "remove",
        }
    }

    /// For a sentence about its failure.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Read => "reading",
            Self::Head => "looking for",
            Self::Write => "writing",
            Self::List => "listing",
            Self::Remove => "removing",
        }
    }
}

impl ColdOutcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Answered, Self::Retried, Self::Failed, Self::Denied];

    /// The label for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Retried => "retried",
            Self::Failed => "failed",
            Self::Denied => "denied",
        }
    }
}

/// What happened since cold storage was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColdCounts {
    /// Calls by action and outcome, those of zero left out.
    pub calls: Vec<(ColdAction, ColdOutcome, u64)>,
    /// Bytes that were sent.
    pub sent: u64,
    /// Bytes that were fetched.
    pub fetched: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    calls: [[AtomicU64; ColdOutcome::ALL.len()]; ColdAction::ALL.len()],
    sent: AtomicU64,
    fetched: AtomicU64,
}

impl Counters {
    pub(crate) fn count(&self, action: ColdAction, outcome: ColdOutcome) {
        self.calls[action as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn fetched(&self, bytes: u64) {
        self.fetched.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> ColdCounts {
        let mut calls = Vec::new();
        for action in ColdAction::ALL {
            for outcome in ColdOutcome::ALL {
                let number = self.calls[action as usize][outcome as usize].load(Ordering::Relaxed);
                if number > 0 {
                    calls.push((action, outcome, number));
                }
            }
        }
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ColdCounts { calls, sent: load(&self.sent), fetched: load(&self.fetched) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_and_outcome_has_a_counter_of_its_own() {
        let counters = Counters::default();
        let mut number = 0;
        for action in ColdAction::ALL {
            for outcome in ColdOutcome::ALL {
                number += 1;
                (0..number).for_each(|_| counters.count(action, outcome));
            }
        }
        let counts = counters.read().calls;
        assert_eq!(counts.len(), 20);
        assert!((1..).zip(&counts).all(|(number, (_, _, counted))| *counted == number));
    }
}

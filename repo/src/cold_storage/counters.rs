//! How often cold storage was asked, what came of it, and how much was moved: for metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    pub fn verb(self) -> &'static str {
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

/// What cold storage does not do at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColdTrouble {
    /// What it was asked for in vain.
    pub action: ColdAction,
    /// For how long.
    pub lasts: Duration,
    /// The last answer, for a person.
    pub reason: String,
}

/// A failure that is older says nothing of the present: whatever waits for cold storage has asked again by
/// then.
const PRESENT: Duration = Duration::from_secs(150);

/// How an action fails.
#[derive(Clone, Debug)]
struct Failing {
    since: Instant,
    last: Instant,
    reason: String,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    failing: [Mutex<Option<Failing>>; ColdAction::ALL.len()],
    calls: [[AtomicU64; ColdOutcome::ALL.len()]; ColdAction::ALL.len()],
    sent: AtomicU64,
    fetched: AtomicU64,
}

impl Counters {
    pub(crate) fn count(&self, action: ColdAction, outcome: ColdOutcome) {
        self.calls[action as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an action that is given up.
    pub(crate) fn failed(&self, action: ColdAction, outcome: ColdOutcome, reason: &str) {
        self.count(action, outcome);
        let mut failing = self.failing_at(action);
        let last = Instant::now();
        let since = failing.as_ref().map_or(last, |before| before.since);
        *failing = Some(Failing { since, last, reason: reason.to_owned() });
    }

    /// Counts an action that was answered.
    pub(crate) fn answered(&self, action: ColdAction) {
        self.count(action, ColdOutcome::Answered);
        *self.failing_at(action) = None;
    }

    fn failing_at(&self, action: ColdAction) -> MutexGuard<'_, Option<Failing>> {
        self.failing[action as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The action that has failed for the longest time and was not answered since.
    pub(crate) fn trouble(&self) -> Option<ColdTrouble> {
        let troubles = ColdAction::ALL.into_iter().filter_map(|action| {
            let Failing { since, last, reason } = self.failing_at(action).clone()?;
            let is_present = last.elapsed() < PRESENT;
            is_present.then(|| ColdTrouble { action, lasts: since.elapsed(), reason })
        });
        troubles.max_by_key(|trouble| trouble.lasts)
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
    fn what_fails_is_told_until_it_is_answered() {
        let counters = Counters::default();
        assert_eq!(counters.trouble(), None);
        counters.failed(ColdAction::Write, ColdOutcome::Denied, "no right to write");
        counters.answered(ColdAction::Read);
        counters.failed(ColdAction::Write, ColdOutcome::Failed, "no answer");
        let trouble = counters.trouble();
        let told = trouble.map(|trouble| (trouble.action, trouble.reason));
        assert_eq!(told, Some((ColdAction::Write, "no answer".to_owned())));
        counters.answered(ColdAction::Write);
        assert_eq!(counters.trouble(), None);
    }

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

//! What the supervisor does right now, and what failed: for the status of the cluster.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::name::ShardId;

use super::follow::Step;

/// Failures that are remembered.
const FAILURES: usize = 32;
/// Characters of a failure that are remembered.
const FAILURE_LENGTH: usize = 400;

/// What is done with a shard, or is to be tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doing {
    /// What.
    pub step: Step,
    /// Since when.
    pub since: SystemTime,
    /// How often it has failed in a row.
    pub failures: u32,
}

/// Something that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub at: SystemTime,
    /// What, and why.
    pub what: String,
}

/// What a node's supervisor does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SupervisorStatus {
    /// What is done with each shard of this node that something is done with.
    pub doing: BTreeMap<ShardId, Doing>,
    /// What failed, the last first.
    pub failures: Vec<Failure>,
    /// Whether this node decides for the cluster.
    pub leads: bool,
}

/// What is noted as it happens.
#[derive(Default)]
pub(super) struct Activity {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    doing: BTreeMap<ShardId, Doing>,
    failures: VecDeque<Failure>,
    leads: bool,
}

impl Activity {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin(&self, shard: ShardId, step: Step) {
        let mut inner = self.lock();
        let before = inner.doing.get(&shard).filter(|doing| doing.step == step);
        let failures = before.map_or(0, |doing| doing.failures);
        let since = before.map_or_else(SystemTime::now, |doing| doing.since);
        inner.doing.insert(shard, Doing { step, since, failures });
    }

    pub fn end(&self, shard: ShardId) {
        self.lock().doing.remove(&shard);
    }

    pub fn fail(&self, shard: ShardId, error: &str) {
        let mut inner = self.lock();
        let Some(doing) = inner.doing.get_mut(&shard) else { return };
        doing.failures = doing.failures.saturating_add(1);
        let what = format!("shard {shard}, {:?}: {error}", doing.step);
        inner.note(&what);
    }

    pub fn note(&self, what: &str) {
        self.lock().note(what);
    }

    pub fn set_leads(&self, leads: bool) {
        self.lock().leads = leads;
    }

    pub fn status(&self) -> SupervisorStatus {
        let inner = self.lock();
        let failures = inner.failures.iter().rev().cloned().collect();
        SupervisorStatus { doing: inner.doing.clone(), failures, leads: inner.leads }
    }
}

impl Inner {
    fn note(&mut self, what: &str) {
        if self.failures.len() == FAILURES {
            self.failures.pop_front();
        }
        self.failures.push_back(Failure { at: SystemTime::now(), what: shortened(what) });
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(FAILURE_LENGTH).collect()
}

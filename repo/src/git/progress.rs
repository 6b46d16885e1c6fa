//! Counting what gix receives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gix::progress::{Count, Id, MessageLevel, NestedProgress, Step, StepShared, Unit};

use crate::repository::{Phase, Progress};

/// Bytes of the pack that is received (`gix_pack::bundle::write::ProgressId::ReadPackBytes`).
const READ_PACK_BYTES: Id = *b"BWRB";
/// Objects of the pack received (`gix_pack::index::write::ProgressId::IndexObjects`).
const INDEX_OBJECTS: Id = *b"IWIO";
/// Objects whose deltas are resolved (`gix_pack::index::write::ProgressId::ResolveObjects`).
const RESOLVE_OBJECTS: Id = *b"IWRO";

#[derive(Default)]
struct Counter {
    done: StepShared,
    total: AtomicUsize,
}

impl Counter {
    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed) as u64
    }

    fn total(&self) -> Option<u64> {
        Some(self.total.load(Ordering::Relaxed) as u64).filter(|total| *total > 0)
    }
}

/// What a fetch has received so far.
#[derive(Default)]
pub(crate) struct Counters {
    bytes: Counter,
    objects: Counter,
    resolved: Counter,
}

impl Counters {
    /// Bytes received.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.done()
    }

    /// Grows whenever anything happens.
    pub(crate) fn activity(&self) -> u64 {
        self.bytes.done() + self.objects.done() + self.resolved.done()
    }

    /// As shown to users.
    pub(crate) fn progress(&self) -> Progress {
        if self.resolved.done() > 0 {
            let total = self.resolved.total();
            return Progress::new(Phase::Resolving, self.resolved.done(), total, self.bytes());
        }
        match self.objects.total() {
            Some(total) => {
                Progress::new(Phase::Fetching, self.objects.done(), Some(total), self.bytes())
            }
            None => Progress::new(Phase::Fetching, self.bytes(), None, self.bytes()),
        }
    }
}

/// A node of gix's tree of progress; those that are known count into [`Counters`].
pub(crate) struct Meter {
    counters: Arc<Counters>,
    id: Id,
    own: StepShared,
}

impl Meter {
    pub(crate) fn new(counters: Arc<Counters>) -> Self {
        Self { counters, id: gix::progress::UNKNOWN, own: StepShared::default() }
    }

    fn counter_of(&self) -> Option<&Counter> {
        match self.id {
            READ_PACK_BYTES => Some(&self.counters.bytes),
            INDEX_OBJECTS => Some(&self.counters.objects),
            RESOLVE_OBJECTS => Some(&self.counters.resolved),
            _ => None,
        }
    }

    fn shared(&self) -> &StepShared {
        self.counter_of().map_or(&self.own, |counter| &counter.done)
    }
}

impl Count for Meter {
    fn set(&self, step: Step) {
        self.shared().store(step, Ordering::Relaxed);
    }

    fn step(&self) -> Step {
        self.shared().load(Ordering::Relaxed)
    }

    fn inc_by(&self, step: Step) {
        self.shared().fetch_add(step, Ordering::Relaxed);
    }

    fn counter(&self) -> StepShared {
        self.shared().clone()
    }
}

impl gix::Progress for Meter {
    fn init(&mut self, max: Option<Step>, _unit: Option<Unit>) {
        if let (Some(counter), Some(max)) = (self.counter_of(), max) {
            counter.total.store(max, Ordering::Relaxed);
        }
    }

    fn set_max(&mut self, max: Option<Step>) -> Option<Step> {
        self.init(max, None);
        None
    }

    fn set_name(&mut self, _name: String) {}

    fn name(&self) -> Option<String> {
        None
    }

    fn id(&self) -> Id {
        self.id
    }

    fn message(&self, _level: MessageLevel, _message: String) {}
}

impl NestedProgress for Meter {
    type SubProgress = Self;

    fn add_child(&mut self, name: impl Into<String>) -> Self {
        self.add_child_with_id(name, gix::progress::UNKNOWN)
    }

    fn add_child_with_id(&mut self, _name: impl Into<String>, id: Id) -> Self {
        Self { counters: self.counters.clone(), id, own: StepShared::default() }
    }
}

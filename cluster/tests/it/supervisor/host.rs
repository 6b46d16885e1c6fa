//! Shards that are numbers, and a cold storage that fences.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aeterna_cluster::name::{Epoch, NodeName, ShardId};
use aeterna_cluster::supervisor::{Held, HeldState, HostError, ShardHost};
use async_trait::async_trait;
use tokio::sync::watch;

/// What one node did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Activated(ShardId, Epoch),
    Copied(ShardId, Epoch),
    HandedOver(ShardId),
    Released(ShardId, bool),
}

/// What all nodes share.
#[derive(Default)]
pub struct Cold {
    shards: Mutex<BTreeMap<ShardId, Stored>>,
    events: Mutex<Vec<(NodeName, Event)>>,
}

#[derive(Clone, Copy, Default)]
struct Stored {
    fence: Epoch,
    writes: u64,
}

impl Cold {
    pub fn events(&self) -> Vec<(NodeName, Event)> {
        self.events.lock().unwrap().clone()
    }

    pub fn of(&self, shard: ShardId) -> Vec<(NodeName, Event)> {
        let is_of = |event: &Event| match event {
            Event::Activated(number, _)
            | Event::Copied(number, _)
            | Event::HandedOver(number)
            | Event::Released(number, _) => *number == shard,
        };
        self.events().into_iter().filter(|(_, event)| is_of(event)).collect()
    }
}

/// The shards on one node's disk.
pub struct Host {
    name: NodeName,
    cold: Arc<Cold>,
    held: Mutex<BTreeMap<ShardId, Open>>,
    /// Closed while activations are to wait.
    gate: watch::Sender<bool>,
    /// Calls that are to fail.
    failures: Mutex<u32>,
    at_once: Mutex<(usize, usize)>,
    serves_on: bool,
}

#[derive(Clone, Copy)]
struct Open {
    epoch: Epoch,
    state: HeldState,
    writes: u64,
}

impl Host {
    pub fn new(name: NodeName, cold: &Arc<Cold>) -> Self {
        Self {
            name,
            cold: Arc::clone(cold),
            held: Mutex::default(),
            gate: watch::Sender::new(true),
            failures: Mutex::default(),
            at_once: Mutex::default(),
            serves_on: false,
        }
    }

    /// A host that answers searches of a shard until it is released, and makes copies.
    pub fn that_serves_on(mut self) -> Self {
        self.serves_on = true;
        self
    }

    pub fn set_gate(&self, is_open: bool) {
        self.gate.send_replace(is_open);
    }

    pub fn fail(&self, times: u32) {
        *self.failures.lock().unwrap() = times;
    }

    pub fn failures_left(&self) -> u32 {
        *self.failures.lock().unwrap()
    }

    /// How many activations there were at one time, at most.
    pub fn most_at_once(&self) -> usize {
        self.at_once.lock().unwrap().1
    }

    /// The copies of other nodes' shards, with their epochs.
    pub fn copies(&self) -> BTreeMap<ShardId, Epoch> {
        let held = self.held.lock().unwrap();
        let copies = held.iter().filter(|(_, open)| open.state == HeldState::Replica);
        copies.map(|(shard, open)| (*shard, open.epoch)).collect()
    }

    /// As many shards as are served, with their epochs.
    pub fn serving(&self) -> BTreeMap<ShardId, Epoch> {
        let held = self.held.lock().unwrap();
        let serving = held.iter().filter(|(_, open)| open.state == HeldState::Serving);
        serving.map(|(shard, open)| (*shard, open.epoch)).collect()
    }

    /// Changes a shard, as a sync of a repository does.
    pub fn write(&self, shard: ShardId) {
        let mut held = self.held.lock().unwrap();
        let open = held.get_mut(&shard).unwrap();
        assert_eq!(open.state, HeldState::Serving);
        open.writes += 1;
    }

    pub fn writes(&self, shard: ShardId) -> Option<u64> {
        self.held.lock().unwrap().get(&shard).map(|open| open.writes)
    }

    pub fn lose(&self, shard: ShardId) {
        self.held.lock().unwrap().get_mut(&shard).unwrap().state = HeldState::Failed;
    }

    fn note(&self, event: Event) {
        self.cold.events.lock().unwrap().push((self.name.clone(), event));
    }

    fn may_fail(&self) -> Result<(), HostError> {
        let mut failures = self.failures.lock().unwrap();
        match failures.checked_sub(1) {
            Some(left) => {
                *failures = left;
                Err(HostError::Failed("cold storage does not answer".to_owned()))
            }
            None => Ok(()),
        }
    }

    fn upload(&self, shard: ShardId) -> Result<(), HostError> {
        let held = self.held.lock().unwrap();
        let Some(open) = held.get(&shard) else { return Ok(()) };
        let mut shards = self.cold.shards.lock().unwrap();
        let stored = shards.entry(shard).or_default();
        if stored.fence > open.epoch {
            return Err(HostError::Fenced { shard, by: stored.fence });
        }
        stored.writes = open.writes;
        Ok(())
    }
}

#[async_trait]
impl ShardHost for Host {
    async fn activate(&self, shard: ShardId, epoch: Epoch) -> Result<(), HostError> {
        {
            let mut at_once = self.at_once.lock().unwrap();
            at_once.0 += 1;
            at_once.1 = at_once.1.max(at_once.0);
        }
        let _ = self.gate.subscribe().wait_for(|is_open| *is_open).await;
        self.at_once.lock().unwrap().0 -= 1;
        self.may_fail()?;
        let stored = {
            let mut shards = self.cold.shards.lock().unwrap();
            let stored = shards.entry(shard).or_default();
            if stored.fence > epoch {
                return Err(HostError::Fenced { shard, by: stored.fence });
            }
            stored.fence = epoch;
            *stored
        };
        let mut held = self.held.lock().unwrap();
        let before =
            held.get(&shard).filter(|open| open.epoch == epoch && open.state != HeldState::Replica);
        let before = before.map(|open| open.writes);
        let writes = before.unwrap_or(stored.writes);
        held.insert(shard, Open { epoch, state: HeldState::Serving, writes });
        drop(held);
        self.note(Event::Activated(shard, epoch));
        Ok(())
    }

    async fn replicate(&self, shard: ShardId, epoch: Epoch) -> Result<(), HostError> {
        self.may_fail()?;
        if self.serves_on {
            let stored = self.cold.shards.lock().unwrap().get(&shard).copied().unwrap_or_default();
            let copy = Open { epoch, state: HeldState::Replica, writes: stored.writes };
            self.held.lock().unwrap().insert(shard, copy);
            self.note(Event::Copied(shard, epoch));
        }
        Ok(())
    }

    async fn hand_over(&self, shard: ShardId) -> Result<(), HostError> {
        if !self.serves_on {
            return self.release(shard, true).await;
        }
        self.may_fail()?;
        self.upload(shard)?;
        if let Some(open) = self.held.lock().unwrap().get_mut(&shard) {
            open.state = HeldState::HandedOver;
        }
        self.note(Event::HandedOver(shard));
        Ok(())
    }

    async fn release(&self, shard: ShardId, upload: bool) -> Result<(), HostError> {
        self.may_fail()?;
        if upload {
            self.upload(shard)?;
        }
        if self.held.lock().unwrap().remove(&shard).is_some() {
            self.note(Event::Released(shard, upload));
        }
        Ok(())
    }

    fn held(&self) -> Vec<Held> {
        let held = self.held.lock().unwrap();
        held.iter()
            .map(|(shard, open)| Held {
                shard: *shard,
                epoch: open.epoch,
                state: open.state,
                bytes: 0,
            })
            .collect()
    }
}

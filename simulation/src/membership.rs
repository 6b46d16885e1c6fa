//! Who is alive, by heartbeats that nodes tell each other of: what chitchat does, whose random choice
//! of partners cannot be seeded, with everyone as a partner.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aeterna_cluster::consensus::RaftId;
use aeterna_cluster::gossip::Liveness;
use aeterna_cluster::name::{NodeName, ShardId};
use aeterna_cluster::supervisor::MembershipApi;
use aeterna_cluster::supervisor::view::{PeerView, PeersView};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// How often a node tells.
pub const INTERVAL: Duration = Duration::from_millis(500);

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Grows with each start.
    pub generation: u64,
    /// Grows with each interval.
    pub heartbeat: u64,
    /// Of its disk.
    pub raft_id: u64,
    /// Whether it takes shards.
    pub ready: bool,
    /// Whether it is about to stop.
    pub draining: bool,
    /// Whether it has gone.
    pub left: bool,
    /// Version of the shard map that it has.
    pub map_version: u64,
    /// Shards that it serves, with their bytes.
    pub serving: BTreeMap<u32, u64>,
}

struct Known {
    facts: Facts,
    since: Instant,
    /// Whether its heartbeat was seen to grow: what was heard at second hand may be long gone.
    is_seen: bool,
}

struct State {
    known: BTreeMap<NodeName, Known>,
    view: Arc<PeersView>,
    made: Instant,
}

/// A node's part in it.
pub struct Heartbeats {
    me: NodeName,
    timeout: Duration,
    state: Mutex<State>,
}

impl Heartbeats {
    /// Of a node that has not heard of anyone.
    pub fn new(me: NodeName, timeout: Duration) -> Arc<Self> {
        let state = State { known: BTreeMap::new(), view: Arc::default(), made: Instant::now() };
        Arc::new(Self { me, timeout, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what this node says of itself, and gives what it is to tell others: that, and what it has
    /// heard of them.
    pub fn beat(&self, mine: Facts) -> Vec<u8> {
        let mut state = self.lock();
        state.take(&self.me, mine);
        let told: BTreeMap<&NodeName, &Facts> =
            state.known.iter().map(|(name, known)| (name, &known.facts)).collect();
        // Facts are plain data.
        let told = serde_json::to_vec(&told).unwrap_or_default();
        self.renew(&mut state);
        told
    }

    /// Takes in what another node has told.
    pub fn hear(&self, told: &[u8]) {
        let Ok(told) = serde_json::from_slice::<BTreeMap<NodeName, Facts>>(told) else { return };
        let mut state = self.lock();
        for (name, facts) in told {
            if name != self.me {
                state.take(&name, facts);
            }
        }
        self.renew(&mut state);
    }

    fn renew(&self, state: &mut State) {
        let now = Instant::now();
        let view = state.known.iter().map(|(name, known)| {
            let age = match *name == self.me {
                true => Duration::ZERO,
                false => now.saturating_duration_since(known.since),
            };
            (name.clone(), self.view_of(name, known, age))
        });
        state.view = Arc::new(view.collect());
        state.made = now;
    }

    fn view_of(&self, name: &NodeName, known: &Known, age: Duration) -> PeerView {
        let facts = &known.facts;
        let liveness = if facts.left {
            Liveness::Left
        } else if age > self.timeout {
            Liveness::Dead
        } else if known.is_seen || *name == self.me {
            Liveness::Alive
        } else {
            Liveness::HeardOf
        };
        let bytes = facts.serving.iter().map(|(shard, bytes)| (ShardId(*shard), *bytes));
        PeerView {
            generation: facts.generation,
            grpc: name.to_string(),
            raft_id: Some(RaftId(facts.raft_id)),
            zone: None,
            capacity: 100,
            ready: facts.ready,
            draining: facts.draining,
            full: false,
            map_version: facts.map_version,
            shards_serving: u32::try_from(facts.serving.len()).unwrap_or(u32::MAX),
            shard_bytes: bytes.collect(),
            heartbeat_age: age,
            suspected: age > self.timeout / 2,
            liveness,
        }
    }
}

impl State {
    fn take(&mut self, name: &NodeName, facts: Facts) {
        let now = Instant::now();
        match self.known.get_mut(name) {
            None => {
                self.known.insert(name.clone(), Known { facts, since: now, is_seen: false });
            }
            Some(known) => {
                let was = (known.facts.generation, known.facts.heartbeat);
                let is = (facts.generation, facts.heartbeat);
                if is > was {
                    let is_seen = known.is_seen || is.0 == was.0;
                    *known = Known { facts, since: now, is_seen };
                }
            }
        }
    }
}

impl MembershipApi for Heartbeats {
    fn peers(&self) -> Arc<PeersView> {
        let mut state = self.lock();
        if Instant::now().saturating_duration_since(state.made) >= INTERVAL / 2 {
            self.renew(&mut state);
        }
        Arc::clone(&state.view)
    }
}

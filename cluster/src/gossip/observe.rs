//! From what chitchat knows to who is alive.
//!
//! A peer is alive while its heartbeat grows, by this node's clock: what others say of it is not
//! asked. A peer whose heartbeat has not grown under this node's eyes was only heard of, maybe years
//! after its death. While this process does not run (SIGSTOP, a machine that is suspended) nobody
//! grows older: it could not have heard anyone.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::ChitchatId;
use tokio::time::Instant;

use super::counters::Counting;
use super::facts::Facts;
use super::keys;
use crate::name::NodeName;

/// What is known of a peer's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Others know it; its heartbeat has not been seen to grow yet, nor for longer than the timeout
    /// not to grow. Nothing may be decided on it.
    HeardOf,
    /// Its heartbeat has grown within the timeout.
    Alive,
    /// Its heartbeat has not grown for longer than the timeout.
    Dead,
    /// It said that it goes.
    Left,
}

/// A node of the cluster.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its stable name.
    pub name: NodeName,
    /// Which of its starts this is.
    pub generation: u64,
    /// Where its gossip is reached.
    pub gossip: SocketAddr,
    /// What it says of itself.
    pub facts: Arc<Facts>,
    /// How long ago its heartbeat was seen to grow, or, before that, since it was heard of.
    pub heartbeat_age: Duration,
    /// What follows from that.
    pub liveness: Liveness,
    /// Whether its heartbeat is later than its habit makes probable: it may be better not to ask it,
    /// but it keeps what it owns.
    pub suspected: bool,
    /// How improbably late its heartbeat is; `None` while its habit is not known.
    pub phi: Option<f64>,
}

impl Peer {
    /// Whether its heartbeat has grown within the timeout.
    pub fn alive(&self) -> bool {
        self.liveness == Liveness::Alive
    }

    /// Whether it is known to be gone: silent for longer than the timeout, or by its own word.
    pub fn gone(&self) -> bool {
        matches!(self.liveness, Liveness::Dead | Liveness::Left)
    }
}

/// What chitchat knows of one start of a node.
#[derive(Clone, Debug)]
pub struct Sight {
    pub id: ChitchatId,
    pub heartbeat: u64,
    /// The highest version among its values.
    pub version: u64,
    /// Those of its values that are newer than what [`Observer::version`] says.
    pub news: Vec<(String, String)>,
    /// chitchat's failure detector takes it for dead.
    pub suspected: bool,
    /// After how long without a heartbeat it will.
    pub patience: Option<Duration>,
}

/// What was seen so far.
pub struct Observer {
    me: ChitchatId,
    heartbeat_timeout: Duration,
    phi_threshold: f64,
    counting: Arc<Counting>,
    clock: Listening,
    known: HashMap<ChitchatId, Known>,
    superseded: Option<ChitchatId>,
}

struct Known {
    heartbeat: u64,
    /// By [`Listening`].
    grew_at: Duration,
    has_grown: bool,
    version: u64,
    /// As they were told.
    told: Facts,
    /// As they can be.
    facts: Arc<Facts>,
    left: bool,
}

impl Observer {
    pub fn new(
        me: ChitchatId,
        interval: Duration,
        heartbeat_timeout: Duration,
        phi_threshold: f64,
        counting: Arc<Counting>,
    ) -> Self {
        let longest = (4 * interval).max(Duration::from_secs(1)).min(heartbeat_timeout / 2);
        Self {
            me,
            heartbeat_timeout,
            phi_threshold,
            counting,
            clock: Listening { last: None, heard: Duration::ZERO, longest },
            known: HashMap::new(),
            superseded: None,
        }
    }

    /// Up to which version values of a start of a node were read.
    pub fn version(&self, id: &ChitchatId) -> u64 {
        self.known.get(id).map_or(0, |known| known.version)
    }

    /// A later start of a node with this one's name that lives, or lived, at the same time.
    pub fn superseded(&self) -> Option<&ChitchatId> {
        self.superseded.as_ref()
    }

    /// Takes in all that chitchat knows; gives who there is.
    pub fn observe(&mut self, now: Instant, sights: Vec<Sight>) -> BTreeMap<NodeName, Peer> {
        let now = self.clock.advance(now);
        let mut before = std::mem::take(&mut self.known);
        let mut peers: BTreeMap<NodeName, (Rank, Peer)> = BTreeMap::new();
        for sight in sights {
            let mut known = before.remove(&sight.id).unwrap_or_else(|| Known::new(&sight, now));
            known.take(&sight, now, &self.counting);
            if let Some(peer) = self.peer(&sight, &known, now) {
                let rank = Rank::of(&peer);
                let better = peers.get(&peer.name).is_none_or(|(other, _)| rank > *other);
                if better {
                    peers.insert(peer.name.clone(), (rank, peer));
                }
            }
            self.known.insert(sight.id, known);
        }
        peers.into_iter().map(|(name, (_, peer))| (name, peer)).collect()
    }

    fn peer(&mut self, sight: &Sight, known: &Known, now: Duration) -> Option<Peer> {
        let is_me = sight.id == self.me;
        let heartbeat_age = if is_me { Duration::ZERO } else { now - known.grew_at };
        let liveness = match () {
            () if is_me => Liveness::Alive,
            () if known.left => Liveness::Left,
            () if heartbeat_age > self.heartbeat_timeout => Liveness::Dead,
            () if known.has_grown => Liveness::Alive,
            () => Liveness::HeardOf,
        };
        let later = (sight.id.generation_id, sight.id.gossip_advertise_addr)
            > (self.me.generation_id, self.me.gossip_advertise_addr);
        if liveness == Liveness::Alive && sight.id.node_id == self.me.node_id && later {
            self.superseded.get_or_insert_with(|| sight.id.clone());
        }
        let name = sight.id.node_id.parse().ok()?;
        if !known.facts.complete() {
            return None;
        }
        let phi = sight.patience.filter(|patience| !is_me && !patience.is_zero()).map(|patience| {
            heartbeat_age.as_secs_f64() / patience.as_secs_f64() * self.phi_threshold
        });
        Some(Peer {
            name,
            generation: sight.id.generation_id,
            gossip: sight.id.gossip_advertise_addr,
            facts: Arc::clone(&known.facts),
            heartbeat_age,
            liveness,
            suspected: !is_me
                && (sight.suspected || phi.is_some_and(|phi| phi > self.phi_threshold)),
            phi,
        })
    }
}

impl Known {
    fn new(sight: &Sight, now: Duration) -> Self {
        Self {
            heartbeat: sight.heartbeat,
            grew_at: now,
            has_grown: false,
            version: 0,
            told: Facts::default(),
            facts: Arc::default(),
            left: false,
        }
    }

    fn take(&mut self, sight: &Sight, now: Duration, counting: &Counting) {
        if sight.heartbeat > self.heartbeat {
            // The first number that chitchat hears of a node is no beat that it heard.
            self.has_grown |= self.heartbeat > 0;
            self.heartbeat = sight.heartbeat;
            self.grew_at = now;
        }
        if sight.news.is_empty() {
            return;
        }
        for (key, value) in &sight.news {
            self.left |= key == keys::LEFT && value == "1";
            if let Err(error) = self.told.take(key, value) {
                counting.hostile_value(&sight.id.node_id, &error);
            }
        }
        let disk_free = self.told.disk_free.min(self.told.disk_total);
        self.facts = Arc::new(Facts { disk_free, ..self.told.clone() });
        self.version = sight.version;
    }
}

/// Which start of a node stands for it: a later one, except that one that is gone does not stand for
/// one that lives. (A node whose clock was set back starts with a lower generation.)
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    present: bool,
    generation: u64,
    gossip: SocketAddr,
}

impl Rank {
    fn of(peer: &Peer) -> Self {
        Self { present: !peer.gone(), generation: peer.generation, gossip: peer.gossip }
    }
}

/// A clock that stands still while this process does not run.
struct Listening {
    last: Option<Instant>,
    heard: Duration,
    /// What one step counts, at most.
    longest: Duration,
}

impl Listening {
    fn advance(&mut self, now: Instant) -> Duration {
        let step = self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.last = Some(now);
        self.heard += step.min(self.longest);
        self.heard
    }
}

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
    /// Whether it may be better not to ask it: it is not alive, or its heartbeat is later than its
    /// habit makes probable. It keeps what it owns.
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
    /// Nobody is suspected within this time.
    unsuspected: Duration,
    /// How often was looked.
    look: u64,
    known: HashMap<ChitchatId, Known>,
    superseded: Option<ChitchatId>,
}

struct Known {
    /// `None` when nobody can be called so.
    name: Option<NodeName>,
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
    /// In which look it was seen last.
    seen: u64,
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
            unsuspected: (4 * interval).min(heartbeat_timeout / 2),
            look: 0,
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
        self.look += 1;
        let mut known = std::mem::take(&mut self.known);
        let mut peers: BTreeMap<NodeName, (Rank, Peer)> = BTreeMap::new();
        for sight in &sights {
            if !known.contains_key(&sight.id) {
                known.insert(sight.id.clone(), Known::new(sight, now, &self.counting));
            }
            let Some(known) = known.get_mut(&sight.id) else { continue };
            known.seen = self.look;
            known.take(sight, now, &self.counting);
            let Some(peer) = self.peer(sight, known, now) else { continue };
            let rank = Rank::of(&peer);
            if peers.get(&peer.name).is_none_or(|(other, _)| rank > *other) {
                peers.insert(peer.name.clone(), (rank, peer));
            }
        }
        known.retain(|_, known| known.seen == self.look);
        self.known = known;
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
        let name = known.name.clone()?;
        if !known.facts.complete() {
            return None;
        }
        let phi = sight.patience.filter(|patience| !is_me && !patience.is_zero()).map(|patience| {
            heartbeat_age.as_secs_f64() / patience.as_secs_f64() * self.phi_threshold
        });
        let improbable = sight.suspected || phi.is_some_and(|phi| phi > self.phi_threshold);
        let late = heartbeat_age > self.unsuspected && improbable;
        Some(Peer {
            name,
            generation: sight.id.generation_id,
            gossip: sight.id.gossip_advertise_addr,
            facts: Arc::clone(&known.facts),
            heartbeat_age,
            liveness,
            suspected: liveness != Liveness::Alive || late,
            phi,
        })
    }
}

impl Known {
    fn new(sight: &Sight, now: Duration, counting: &Counting) -> Self {
        let name = sight.id.node_id.parse();
        let name = name.inspect_err(|error| counting.hostile_value(&sight.id.node_id, error)).ok();
        Self {
            name,
            heartbeat: sight.heartbeat,
            grew_at: now,
            has_grown: false,
            version: 0,
            told: Facts::default(),
            facts: Arc::default(),
            left: false,
            seen: 0,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(500);
    const TIMEOUT: Duration = Duration::from_secs(10);

    fn id(name: &str, generation: u64) -> ChitchatId {
        ChitchatId::new(name, generation, ([127, 0, 0, 1], 7946).into())
    }

    fn sight(name: &str, generation: u64, heartbeat: u64) -> Sight {
        let news = [(keys::HTTP, "x:1"), (keys::GRPC, "x:2")];
        Sight {
            id: id(name, generation),
            heartbeat,
            version: 2,
            news: news.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            suspected: false,
            patience: Some(Duration::from_secs(4)),
        }
    }

    struct World {
        observer: Observer,
        counting: Arc<Counting>,
        now: Instant,
    }

    impl World {
        fn new(me: &str, generation: u64) -> Self {
            let counting = Arc::new(Counting::default());
            let me = id(me, generation);
            let observer = Observer::new(me, INTERVAL, TIMEOUT, 8.0, Arc::clone(&counting));
            Self { observer, counting, now: Instant::now() }
        }

        /// What is seen in the next interval.
        fn tick(&mut self, sights: &[Sight]) -> BTreeMap<NodeName, Peer> {
            self.now += INTERVAL;
            self.observer.observe(self.now, sights.to_vec())
        }

        /// What is seen at last, when the same is seen for so long.
        fn seconds(&mut self, seconds: u32, sights: &[Sight]) -> BTreeMap<NodeName, Peer> {
            (0..seconds * 2).map(|_| self.tick(sights)).last().unwrap()
        }
    }

    fn peer(peers: &BTreeMap<NodeName, Peer>, name: &str) -> Peer {
        peers[&name.parse::<NodeName>().unwrap()].clone()
    }

    #[test]
    fn a_peer_lives_while_its_heartbeat_grows() {
        let mut world = World::new("me", 1);
        let me = peer(&world.tick(&[sight("me", 1, 1)]), "me");
        assert!(me.alive() && !me.suspected && me.phi.is_none());
        let of = |peers| {
            let peer = peer(&peers, "a");
            (peer.liveness, peer.heartbeat_age.as_millis(), peer.suspected)
        };
        assert_eq!(of(world.tick(&[sight("a", 1, 5)])), (Liveness::HeardOf, 0, true));
        assert_eq!(of(world.tick(&[sight("a", 1, 5)])), (Liveness::HeardOf, 500, true));
        assert_eq!(of(world.tick(&[sight("a", 1, 6)])), (Liveness::Alive, 0, false));
        assert_eq!(of(world.seconds(4, &[sight("a", 1, 6)])), (Liveness::Alive, 4_000, false));
        // Later than it used to be (the habit here: 8.0 at 4 s), and not dead for that.
        assert_eq!(of(world.tick(&[sight("a", 1, 6)])), (Liveness::Alive, 4_500, true));
        assert_eq!(of(world.tick(&[sight("a", 1, 7)])), (Liveness::Alive, 0, false));
        assert_eq!(of(world.seconds(10, &[sight("a", 1, 7)])).0, Liveness::Alive);
        assert_eq!(of(world.tick(&[sight("a", 1, 7)])), (Liveness::Dead, 10_500, true));
        // A number that goes back is no life.
        assert_eq!(of(world.tick(&[sight("a", 1, 3)])).0, Liveness::Dead);
        assert_eq!(of(world.tick(&[sight("a", 1, 8)])).0, Liveness::Alive);
    }

    #[test]
    fn who_was_dead_before_is_never_alive() {
        let mut world = World::new("me", 1);
        for _ in 0..20 {
            assert_eq!(peer(&world.tick(&[sight("a", 1, 5)]), "a").liveness, Liveness::HeardOf);
        }
        assert_eq!(peer(&world.seconds(1, &[sight("a", 1, 5)]), "a").liveness, Liveness::Dead);
    }

    #[test]
    fn nobody_dies_while_this_process_does_not_run() {
        let mut world = World::new("me", 1);
        world.tick(&[sight("a", 1, 5)]);
        world.tick(&[sight("a", 1, 6)]);
        world.now += Duration::from_secs(3_600);
        let a = peer(&world.tick(&[sight("a", 1, 6)]), "a");
        assert_eq!(a.liveness, Liveness::Alive);
        assert!(a.heartbeat_age <= 4 * INTERVAL, "{a:?}");
        assert_eq!(peer(&world.seconds(9, &[sight("a", 1, 6)]), "a").liveness, Liveness::Dead);
    }

    #[test]
    fn a_later_start_takes_the_place_of_an_earlier_one() {
        let mut world = World::new("me", 1);
        let generation = |peers| peer(&peers, "a").generation;
        world.tick(&[sight("a", 5, 1)]);
        assert_eq!(generation(world.tick(&[sight("a", 5, 2)])), 5);
        assert_eq!(generation(world.tick(&[sight("a", 5, 3), sight("a", 6, 1)])), 6);
        // An earlier one that lives on does not come back while the later one lives.
        assert_eq!(generation(world.tick(&[sight("a", 5, 4), sight("a", 6, 2)])), 6);
        // A later one that is dead stands for nobody: this node's clock was set back.
        for beat in 5..30 {
            world.tick(&[sight("a", 5, beat), sight("a", 6, 2)]);
        }
        assert_eq!(generation(world.tick(&[sight("a", 5, 40), sight("a", 6, 2)])), 5);
        assert_eq!(generation(world.tick(&[sight("a", 6, 2)])), 6);
        assert!(world.tick(&[]).is_empty());
    }

    #[test]
    fn the_earlier_of_two_with_one_name_learns_it() {
        let mut world = World::new("me", 5);
        world.tick(&[sight("me", 5, 1), sight("me", 4, 1), sight("me", 6, 1), sight("a", 9, 1)]);
        world.tick(&[sight("me", 5, 2), sight("me", 4, 2), sight("me", 6, 1), sight("a", 9, 2)]);
        assert_eq!(world.observer.superseded(), None, "one that was only heard of may be dead");
        world.tick(&[sight("me", 5, 3), sight("me", 6, 2)]);
        assert_eq!(world.observer.superseded(), Some(&id("me", 6)));
        world.seconds(60, &[sight("me", 5, 4)]);
        assert!(world.observer.superseded().is_some(), "it never turns back");
    }

    #[test]
    fn who_says_that_it_goes_is_gone() {
        let mut world = World::new("me", 1);
        world.tick(&[sight("a", 1, 1)]);
        world.tick(&[sight("a", 1, 2)]);
        let mut last = sight("a", 1, 3);
        last.news = vec![(keys::LEFT.to_owned(), "1".to_owned())];
        last.version = 3;
        assert_eq!(peer(&world.tick(&[last]), "a").liveness, Liveness::Left);
        // Its last beats may come after its last word.
        let later = Sight { news: Vec::new(), ..sight("a", 1, 9) };
        let a = peer(&world.tick(&[later]), "a");
        assert!(a.liveness == Liveness::Left && a.gone() && !a.alive() && a.suspected);
    }

    #[test]
    fn what_is_hostile_is_counted_and_changes_nothing() {
        let mut world = World::new("me", 1);
        let mut hostile = sight("a", 1, 2);
        hostile.news.push((keys::DISK_TOTAL.to_owned(), "100".to_owned()));
        hostile.news.push((keys::DISK_FREE.to_owned(), "101".to_owned()));
        hostile.news.push((keys::CAPACITY.to_owned(), "-1".to_owned()));
        hostile.news.push((keys::HTTP.to_owned(), "\u{1b}[2J".to_owned()));
        let peers = world.tick(&[hostile, sight("../a", 1, 2)]);
        assert_eq!(peers.len(), 1);
        let facts = &peer(&peers, "a").facts;
        assert_eq!((facts.http.as_str(), facts.capacity, facts.disk_free), ("x:1", 0, 100));
        assert_eq!(world.counting.read().hostile_values, 3);
        // Whoever has not said where it is, yet, is not shown.
        let unknown = Sight { news: Vec::new(), version: 0, ..sight("b", 1, 1) };
        assert!(world.tick(&[unknown]).is_empty());
    }
}

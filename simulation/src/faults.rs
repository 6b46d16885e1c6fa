//! What goes wrong, as a seed has it.

use std::fmt;
use std::time::Duration;

use crate::chance::Chance;
use crate::remote::Weather;

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Two nodes do not hear each other.
    Apart(usize, usize),
    /// What one node says, another does not hear.
    Deaf {
        /// Who says.
        from: usize,
        /// Who does not hear.
        to: usize,
    },
    /// Nobody hears a node, and it hears nobody.
    Alone(usize),
    /// Messages get lost, so many in a thousand.
    Loss(u64),
    /// Messages take up to so long, and overtake each other.
    Delay(Duration),
    /// A node crashes.
    Crash(usize),
    /// A node crashes, and its disks are lost.
    CrashWithDisks(usize),
    /// A node is told to end: it hands over what it owns, leaves, is down for a while and starts again with its
    /// disks.
    Drain(usize),
    /// A node stops for a while, and then goes on as if nothing had been.
    Pause(usize),
    /// A node stops in the middle of indexing or uploading, for longer than it takes to be dead.
    PauseAtWork(usize),
    /// A node's disk takes up to so long for each access.
    SlowDisk(usize, Duration),
    /// A node's clock goes at so many thousandths of the true rate.
    Clock(usize, u64),
    /// A node does not reach the object store.
    NoStore(usize),
    /// A node does not reach the database.
    NoDatabase(usize),
    /// The object store answers badly.
    BadStore,
    /// The database answers badly.
    BadDatabase,
    /// The leader crashes, and comes back to crash right after each vote that it gives; the two other
    /// voters do not hear each other.
    CrashAtVotes {
        /// Who leads.
        leader: usize,
        /// The two others.
        others: (usize, usize),
    },
}

/// How the object store is under [`Fault::BadStore`].
pub const BAD_STORE: Weather = Weather {
    latency: Duration::from_millis(200),
    refused: 60,
    lost: 60,
    unanswered: 80,
    delayed: 120,
    delay: Duration::from_secs(6),
};

/// How the database is under [`Fault::BadDatabase`]: requests are done in time, or not.
pub const BAD_DATABASE: Weather = Weather {
    latency: Duration::from_millis(150),
    refused: 60,
    lost: 60,
    unanswered: 60,
    delayed: 0,
    delay: Duration::ZERO,
};

/// A kind of fault.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    /// One that concerns a node, or it and another.
    make: fn(usize, usize, &mut Chance) -> Fault,
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const fn kind(name: &'static str, make: fn(usize, usize, &mut Chance) -> Fault) -> Kind {
    Kind { name, make }
}

const KINDS: [Kind; 17] = [
    kind("Apart", |one, other, _| Fault::Apart(one, other)),
    kind("Deaf", |from, to, _| Fault::Deaf { from, to }),
    kind("Alone", |one, _, _| Fault::Alone(one)),
    kind("Loss", |_, _, chance| Fault::Loss(chance.between(20, 300))),
    kind("Delay", |_, _, chance| Fault::Delay(chance.millis(100, 1_500))),
    kind("Crash", |one, _, _| Fault::Crash(one)),
    kind("CrashWithDisks", |one, _, _| Fault::CrashWithDisks(one)),
    kind("Drain", |one, _, _| Fault::Drain(one)),
    kind("Pause", |one, _, _| Fault::Pause(one)),
    kind("PauseAtWork", |one, _, _| Fault::PauseAtWork(one)),
    kind("SlowDisk", |one, _, chance| Fault::SlowDisk(one, chance.millis(50, 800))),
    kind("Clock", |one, _, chance| Fault::Clock(one, chance.between(850, 1_150))),
    kind("NoStore", |one, _, _| Fault::NoStore(one)),
    kind("NoDatabase", |one, _, _| Fault::NoDatabase(one)),
    kind("BadStore", |_, _, _| Fault::BadStore),
    kind("BadDatabase", |_, _, _| Fault::BadDatabase),
    // Whoever is the leader by then.
    kind("CrashAtVotes", |one, other, _| Fault::CrashAtVotes { leader: one, others: (one, other) }),
];

/// What a seed is about: how often each kind of fault is chosen.
#[derive(Clone, Debug)]
pub struct Plan {
    nodes: usize,
    weights: Vec<(u64, Kind)>,
    /// Between two faults, at most.
    pub pause: Duration,
    /// How long one lasts, at most.
    pub lasts: Duration,
}

impl Plan {
    /// Of a seed, for so many nodes.
    pub fn new(chance: &mut Chance, nodes: usize) -> Self {
        // Each seed has its own favourites: what goes wrong together finds more than all at once.
        let weights = KINDS.map(|kind| {
            let weight = match chance.below(4) {
                0 => 0,
                1 => 1,
                2 => 3,
                _ => 8,
            };
            (weight, kind)
        });
        let pause = chance.millis(1_000, 4_000);
        let lasts = chance.millis(2_000, 9_000);
        Self { nodes, weights: weights.to_vec(), pause, lasts }
    }

    /// The next fault.
    pub fn next(&self, chance: &mut Chance) -> Option<Fault> {
        let all: u64 = self.weights.iter().map(|(weight, _)| weight).sum();
        if all == 0 {
            return None;
        }
        let mut drawn = chance.below(all);
        for (weight, kind) in &self.weights {
            if drawn < *weight {
                let one = chance.index(self.nodes);
                let other = (one + 1 + chance.index(self.nodes - 1)) % self.nodes;
                return Some((kind.make)(one, other, chance));
            }
            drawn -= weight;
        }
        None
    }
}

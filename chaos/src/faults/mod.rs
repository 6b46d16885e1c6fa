//! What is broken, and in which order.

mod inject;

use clap::ValueEnum;

use crate::random::Random;

pub(crate) use inject::inject;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// SIGKILL of a node
    KillOne,
    /// SIGKILL of two nodes at once
    KillTwo,
    /// SIGKILL of the node that leads
    KillLeader,
    /// SIGKILL while a shard is moved: of who has it, who gets it, or who leads
    KillDuringMove,
    /// SIGKILL of a node, then of one that restores its shards
    KillDuringRestore,
    /// SIGKILL of a node that has something to upload
    KillDuringUpload,
    /// SIGTERM, and SIGKILL before the node has handed everything over
    KillDuringDrain,
    /// SIGKILL of a node, which comes back with an empty disk
    LoseDisk,
    /// SIGSTOP and SIGCONT of a node
    Pause,
    /// SIGSTOP and SIGCONT of the node that leads
    PauseLeader,
    /// A node and the others lose what they send to each other
    CutOff,
    /// What a node sends to the others is lost, or what they send to it
    CutOneWay,
    /// The nodes fall into two groups
    Split,
    /// A node reaches neither database nor object store
    CutFromServers,
    /// A node's disk is full
    FillDisk,
    /// SIGKILL of the object store, which is started again
    RestartStore,
    /// SIGSTOP and SIGCONT of the object store
    PauseStore,
    /// The database is stopped (SIGINT) and started again
    RestartDatabase,
    /// The database is stopped without its clients' leave or its own order (SIGQUIT), and started again
    CrashDatabase,
    /// Every node in turn is stopped (SIGTERM) and started again
    RollingRestart,
}

impl Kind {
    /// Its name, as `--only` takes it.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// A fault of the schedule.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// What.
    pub(crate) kind: Kind,
    /// Milliseconds in which nothing is broken, before.
    pub(crate) gap: u64,
    /// Milliseconds that it lasts.
    pub(crate) hold: u64,
    /// What chooses whom it meets.
    pub(crate) random: Random,
}

/// A schedule without end: every kind once, in some order, then every kind again.
pub(crate) struct Schedule {
    random: Random,
    kinds: Vec<Kind>,
    deck: Vec<Kind>,
}

impl Schedule {
    /// The schedule of a seed; of all kinds where none is named.
    pub(crate) fn new(seed: u64, only: &[Kind]) -> Self {
        let kinds = match only {
            [] => Kind::value_variants(),
            only => only,
        };
        Self { random: Random::named(seed, "schedule"), kinds: kinds.to_vec(), deck: Vec::new() }
    }
}

impl Iterator for Schedule {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.deck.is_empty() {
            self.deck.clone_from(&self.kinds);
            self.random.shuffle(&mut self.deck);
        }
        let kind = self.deck.pop()?;
        let random = &mut self.random;
        let gap = random.within(500, 3000);
        // Some are over before anyone is known to be dead.
        let hold = random.within(500, 9000);
        Some(Step { kind, gap, hold, random: Random::new(random.below(u64::MAX)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_schedule_in_which_every_kind_has_its_turn() {
        let all = Kind::value_variants().len();
        let take = |seed| {
            let steps = Schedule::new(seed, &[]).take(2 * all);
            steps.map(|step| (step.kind, step.gap, step.hold)).collect::<Vec<_>>()
        };
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
        for round in take(1).chunks(all) {
            let mut kinds: Vec<Kind> = round.iter().map(|(kind, ..)| *kind).collect();
            kinds.sort_unstable();
            assert_eq!(kinds, Kind::value_variants());
        }
    }

    #[test]
    fn only_what_is_named_is_broken() {
        let kinds: Vec<Kind> =
            Schedule::new(1, &[Kind::Pause]).take(3).map(|step| step.kind).collect();
        assert_eq!(kinds, [Kind::Pause; 3]);
    }
}

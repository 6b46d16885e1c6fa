//! A machine that a node runs on: its clock, its disks, and the moments at which it crashes.
//!
//! Its software runs on a tokio runtime of one thread whose time is that of the simulation. Crashing
//! drops the runtime with everything in it; pausing leaves it alone for a while, and then its clock
//! jumps, as that of a process that was stopped does.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Runtime;

use crate::chance::Chance;
use crate::disk::{Disk, Speed};
use crate::network::Wire;

/// How fast the clock of a machine goes, in thousandths of the true time.
pub const TRUE_RATE: u64 = 1_000;
/// The longest that an access to a disk takes when nothing is wrong.
pub const USUAL_ACCESS: Duration = Duration::from_millis(5);

/// A runtime whose clock follows the simulation's.
pub struct Clock {
    runtime: Runtime,
    /// By its own clock, in thousandths of a millisecond: what it has to go on for.
    owed: u64,
    rate: u64,
}

impl Clock {
    /// A runtime with a true clock.
    ///
    /// # Errors
    ///
    /// When the system gives no runtime.
    pub fn new() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .context("cannot make a runtime")?;
        Ok(Self { runtime, owed: 0, rate: TRUE_RATE })
    }

    /// Starts something.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Goes on for a while of true time.
    pub fn go_on(&mut self, while_of: Duration) {
        let millis = self.owe(while_of);
        self.runtime.block_on(async { tokio::time::sleep(millis).await });
    }

    /// Has been stopped for a while of true time.
    pub fn jump(&mut self, while_of: Duration) {
        let millis = self.owe(while_of);
        self.runtime.block_on(async { tokio::time::advance(millis).await });
    }

    fn owe(&mut self, while_of: Duration) -> Duration {
        self.owed += u64::try_from(while_of.as_millis()).unwrap_or(u64::MAX) * self.rate;
        let millis = self.owed / 1_000;
        self.owed %= 1_000;
        Duration::from_millis(millis)
    }
}

/// What a machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It runs.
    Running,
    /// It has crashed, and starts again then.
    Down {
        /// When.
        until: Duration,
    },
    /// It is stopped, and goes on then.
    Paused {
        /// Since when.
        since: Duration,
        /// When.
        until: Duration,
    },
}

/// A machine.
pub struct Machine {
    /// How often it has started.
    pub life: u64,
    /// What it is doing.
    pub doing: Doing,
    /// Its connection.
    pub wire: Arc<Wire>,
    /// Its disk for the Raft group.
    pub disk: Disk,
    /// How fast that is.
    pub speed: Arc<Speed>,
    /// Its disk for shards.
    pub folder: PathBuf,
    /// How fast its clock goes, in thousandths.
    pub rate: u64,
    clock: Option<Clock>,
    chance: Chance,
}

impl Machine {
    /// A machine that has never run.
    pub fn new(wire: Arc<Wire>, folder: PathBuf, mut chance: Chance) -> Self {
        let speed = Speed::new(chance.fork(), USUAL_ACCESS);
        Self {
            life: 0,
            doing: Doing::Down { until: Duration::ZERO },
            wire,
            disk: Disk::default(),
            speed,
            folder,
            rate: TRUE_RATE,
            clock: None,
            chance,
        }
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.doing == Doing::Running
    }

    /// Starts software, that begins a new life.
    ///
    /// # Errors
    ///
    /// When this machine, the real one, gives no runtime or folder.
    pub fn start(
        &mut self,
        software: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        fs::create_dir_all(&self.folder).context("cannot make a folder for a simulated disk")?;
        let mut clock = Clock::new()?;
        clock.rate = self.rate;
        clock.spawn(software);
        self.clock = Some(clock);
        self.doing = Doing::Running;
        Ok(())
    }

    /// Loses its power until then.
    pub fn crash(&mut self, until: Duration) {
        self.wire.unplug();
        // First, so that nothing is written while the software ends.
        self.disk = self.disk.crash(&mut self.chance);
        self.clock = None;
        self.doing = Doing::Down { until };
    }

    /// Loses its disks, too.
    ///
    /// # Errors
    ///
    /// When a folder of this machine, the real one, cannot be removed.
    pub fn lose_disks(&mut self) -> anyhow::Result<()> {
        self.disk = Disk::default();
        crate::index::empty(&self.folder).context("cannot empty a simulated disk")
    }

    /// Is stopped from now until then.
    pub fn pause(&mut self, now: Duration, until: Duration) {
        self.doing = Doing::Paused { since: now, until };
    }

    /// Goes on, until `now` has come.
    pub fn tick(&mut self, now: Duration, tick: Duration) {
        let Some(clock) = &mut self.clock else { return };
        clock.rate = self.rate;
        match self.doing {
            Doing::Running => clock.go_on(tick),
            Doing::Paused { since, until } if now >= until => {
                clock.jump(now.saturating_sub(since));
                self.doing = Doing::Running;
            }
            Doing::Paused { .. } | Doing::Down { .. } => {}
        }
    }
}

/// What several may look at.
pub fn shared<T>(value: T) -> Arc<Mutex<T>> {
    Arc::new(Mutex::new(value))
}

/// What is in it.
pub fn look<T: Clone>(shared: &Mutex<T>) -> T {
    shared.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

//! One simulation: a cluster, its clients and its bad days, all as a seed has it.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use aeterna_cluster::consensus::Status;
use aeterna_cluster::name::NodeName;
use aeterna_cluster::shard_map::{Shard, ShardMap};
use anyhow::Context;
use object_store::memory::InMemory;
use tempfile::TempDir;

use crate::catalog::{Catalog, Database};
use crate::chance::Chance;
use crate::client::Clients;
use crate::ending::Stage;
use crate::judge::Judge;
use crate::machine::{Clock, Doing, Machine, look, shared};
use crate::network;
use crate::node::{self, KnownClaim, Life, Setup, Size};
use crate::remote::Remote;
use crate::store::{Shelf, Store};

/// The step of all clocks.
pub const TICK: Duration = Duration::from_millis(20);
/// The longest that a message takes when nothing is wrong.
pub const USUAL_DELAY: Duration = Duration::from_millis(40);

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What the threads of simulations are called, and then the seed.
pub const THREAD: &str = "seed-";

/// Notes panics of simulated nodes, which would else end a task and be forgotten.
pub fn note_panics() {
    static NOTING: Once = Once::new();
    NOTING.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            if thread.name().is_some_and(|name| name.starts_with(THREAD)) {
                PANIC.with_borrow_mut(|noted| _ = noted.get_or_insert_with(|| info.to_string()));
            } else {
                before(info);
            }
        }));
    });
}

/// What has panicked on this thread, and is forgotten now.
pub fn panicked() -> Option<String> {
    PANIC.take()
}

/// A node's machine, and what of the node outlives its crashes.
pub struct Place {
    /// The machine.
    pub machine: Machine,
    /// The node while it takes part.
    pub life: Arc<Mutex<Option<Life>>>,
    known: Arc<Mutex<KnownClaim>>,
    /// For how long it is down once it has ended, when it was told to.
    pub ending: Option<Duration>,
    /// The newest term that was seen.
    pub term: u64,
    /// The maps that were seen last: the router's and the log's.
    maps: Option<[Arc<ShardMap>; 2]>,
}

/// A cluster that is simulated.
pub struct Cluster {
    network: turmoil::Sim<'static>,
    /// The time since it began.
    pub now: Duration,
    /// The nodes.
    pub places: Vec<Place>,
    /// The way to the object store.
    pub store: Arc<Remote>,
    /// The way to the database.
    pub database: Arc<Remote>,
    /// Who watches.
    pub judge: Arc<Judge>,
    /// The clients.
    pub clients: Arc<Clients>,
    /// How many nodes and shards.
    pub size: Size,
    /// What clients do next, and the like.
    pub chance: Chance,
    client_clock: Clock,
    tables: Arc<Database>,
    shelf: Shelf,
    _folder: TempDir,
}

fn folder() -> anyhow::Result<TempDir> {
    let builder = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("aeterna-simulation-");
        builder
    };
    // Nothing of it has to outlive this process: in memory, where there is such a place.
    let made = builder().tempdir_in("/dev/shm").or_else(|_| builder().tempdir());
    made.context("cannot make a folder for simulated disks")
}

impl Cluster {
    /// A cluster whose nodes start now.
    ///
    /// # Errors
    ///
    /// When this machine, the real one, cannot simulate.
    pub fn new(seed: u64) -> anyhow::Result<Self> {
        let mut chance = Chance::new(seed);
        let size = Size {
            nodes: usize::try_from(chance.between(3, 5))?,
            shards: u32::try_from(chance.between(2, 6))?,
            // Copies cost time, and what goes wrong without them must be found, too.
            copies: if chance.permille(333) { 2 } else { 1 },
        };
        let folder = folder()?;
        let mut network = turmoil::Builder::new()
            .rng_seed(chance.next())
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(100_000))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(USUAL_DELAY)
            .repair_rate(0.4)
            .udp_capacity(1 << 16)
            .build();
        let wires = network::connect(&mut network, size.nodes + 1);
        let judge = Arc::new(Judge::default());
        let client_clock = Clock::new()?;
        let wire = &wires[size.nodes];
        let clients = Clients::start(wire, size, &judge, &client_clock, &mut chance);
        let places = wires.into_iter().take(size.nodes).enumerate().map(|(number, wire)| {
            let path = folder.path().join(network::host_name(number));
            let token = chance.next();
            Place {
                machine: Machine::new(wire, path, chance.fork()),
                life: shared(None),
                known: shared(KnownClaim { token, claim: None }),
                ending: None,
                term: 0,
                maps: None,
            }
        });
        let places = places.collect();
        Ok(Self {
            network,
            now: Duration::ZERO,
            places,
            store: Arc::new(Remote::new(chance.fork())),
            database: Arc::new(Remote::new(chance.fork())),
            judge,
            clients,
            size,
            chance,
            client_clock,
            tables: Arc::default(),
            shelf: Arc::new(InMemory::new()),
            _folder: folder,
        })
    }

    /// The network, to make it worse or better.
    pub fn network(&mut self) -> &mut turmoil::Sim<'static> {
        &mut self.network
    }

    /// One tick for everyone.
    ///
    /// # Errors
    ///
    /// When this machine, the real one, cannot go on.
    pub fn step(&mut self) -> anyhow::Result<()> {
        self.now += TICK;
        self.judge.set_now(self.now);
        let stepped = self.network.step();
        stepped.map_err(|error| anyhow::anyhow!("the simulated network: {error}"))?;
        self.store.arrive(self.now);
        self.database.arrive(self.now);
        for number in 0..self.places.len() {
            if let Doing::Down { until } = self.places[number].machine.doing
                && self.now >= until
            {
                self.start(number)?;
            }
            self.places[number].machine.tick(self.now, TICK);
            let has_ended = |life: Life| life.ending.is(Stage::Ended);
            if let Some(down) = self.places[number].ending
                && look(&self.places[number].life).is_some_and(has_ended)
            {
                self.judge.log(|| format!("node {number} has ended"));
                self.crash(number, down, false)?;
            }
        }
        self.client_clock.go_on(TICK);
        if let Some(panic) = panicked() {
            self.judge.wrong(panic);
        }
        self.look();
        Ok(())
    }

    fn start(&mut self, number: usize) -> anyhow::Result<()> {
        let election = self.chance.millis(600, 1_200);
        let place = &mut self.places[number];
        let machine = &mut place.machine;
        machine.life += 1;
        let (life, speed) = (machine.life, Arc::clone(&machine.speed));
        self.judge.log(|| format!("node {number} starts, life {life}"));
        let setup = Setup {
            number,
            life,
            size: self.size,
            disk: machine.disk.clone(),
            speed,
            folder: machine.folder.clone(),
            known: Arc::clone(&place.known),
            election,
            packets: machine.wire.listen(),
            wire: Arc::clone(&machine.wire),
            store: Store::new(number, Arc::clone(&self.shelf), Arc::clone(&self.store)),
            catalog: Catalog::new(
                number,
                Arc::clone(&self.tables),
                Arc::clone(&self.database),
                Arc::clone(&self.judge),
            ),
            judge: Arc::clone(&self.judge),
        };
        machine.start(node::run(setup, Arc::clone(&place.life)))
    }

    /// A node loses its power for a while, and its disks where that is said.
    ///
    /// # Errors
    ///
    /// When this machine, the real one, cannot go on.
    pub fn crash(&mut self, number: usize, down: Duration, with_disks: bool) -> anyhow::Result<()> {
        let place = &mut self.places[number];
        place.machine.crash(self.now + down);
        (place.maps, place.ending) = (None, None);
        let life = place.life.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(life);
        if with_disks {
            place.machine.lose_disks()?;
            let token = self.chance.next();
            *place.known.lock().unwrap_or_else(PoisonError::into_inner) =
                KnownClaim { token, claim: None };
        }
        Ok(())
    }

    /// A node is told to end, and to start again a while after that.
    pub fn end(&mut self, number: usize, down: Duration) {
        let place = &mut self.places[number];
        if let Some(life) = look(&place.life) {
            life.ending.ask();
            place.ending = Some(down);
        }
    }

    /// Those who take part.
    pub fn lives(&self) -> Vec<(usize, Life)> {
        let lives = self.places.iter().enumerate();
        lives.filter_map(|(number, place)| Some((number, look(&place.life)?))).collect()
    }

    /// What is always true, is looked at.
    fn look(&mut self) {
        for (number, life) in self.lives() {
            if !self.places[number].machine.is_running() {
                continue;
            }
            let name = network::host_name(number);
            let maps = [life.router.map(), life.consensus.map()];
            let place = &mut self.places[number];
            for (at, map) in maps.iter().enumerate() {
                if place.maps.as_ref().is_none_or(|seen| !Arc::ptr_eq(&seen[at], map)) {
                    self.judge.see_map(&name, map);
                }
            }
            if let Some([older, _]) = &place.maps
                && older.version() > maps[0].version()
            {
                self.judge.wrong(format!("{name} goes by an older shard map than before"));
            }
            place.maps = Some(maps);
            let status = life.consensus.status();
            place.term = status.term;
            if status.is_leader() {
                self.judge.see_leader(status.term, status.raft_id.0);
            }
            if let Some((index, term, disk)) = life.consensus.last_applied() {
                self.judge.see_applied(&name, index, (term, disk.0));
            }
            if let Some(why) = status.stopped {
                self.judge.wrong(format!("the Raft group of {name} has stopped: {why}"));
            }
        }
    }

    /// What is still to be waited for, if anything is, before everything is as it should be.
    pub fn unsettled(&self) -> Option<String> {
        let lives = self.lives();
        if lives.len() < self.places.len() {
            return Some("not all nodes take part".to_owned());
        }
        if self.places.iter().any(|place| place.ending.is_some()) {
            return Some("a node has not ended".to_owned());
        }
        if self.clients.are_busy() {
            return Some("clients wait for answers".to_owned());
        }
        let maps: Vec<_> = lives.iter().map(|(_, life)| life.router.map()).collect();
        let versions: Vec<u64> = maps.iter().map(|map| map.version()).collect();
        let map = maps.first()?;
        if versions.iter().any(|version| *version != map.version()) {
            return Some(format!("nodes have shard maps of versions {versions:?}"));
        }
        let mut members = map.members().iter();
        if let Some((name, _)) = members.find(|(_, member)| member.leaving) {
            return Some(format!("{name} is back, and leaves by the shard map"));
        }
        for (number, shard) in (0u32..).zip(map.shards()) {
            let owner = shard.owner.as_ref().map(crate::calls::number_of);
            let life = owner.and_then(|owner| lives.iter().find(|(number, _)| *number == owner));
            let served = life.and_then(|(_, life)| life.host.writes(number));
            if served != Some(shard.epoch.0) {
                return Some(format!("shard {number} is not served: {shard:?}"));
            }
            if let Some(left) = self.unsettled_copies(number, shard, &lives) {
                return Some(left);
            }
            let planned = self.tables.rows(number).planned;
            if !planned.is_empty() {
                return Some(format!("{planned:?} of shard {number} are not indexed"));
            }
        }
        let statuses: Vec<_> = lives.iter().map(|(_, life)| life.consensus.status()).collect();
        let leads = statuses.iter().filter(|status| status.is_leader());
        match leads.max_by_key(|status| status.term) {
            None => {
                let sees = |status: &Status| (status.raft_id, status.term, status.voters.clone());
                let seen: Vec<_> = statuses.iter().map(sees).collect();
                Some(format!("nobody leads the Raft group; disks, terms and voters are {seen:?}"))
            }
            Some(status) if status.changing || status.voters.len() != 3 => {
                Some(format!("the Raft group has these voters: {:?}", status.voters))
            }
            Some(_) => None,
        }
    }

    /// What is still to be waited for of a shard's copies.
    fn unsettled_copies(
        &self,
        number: u32,
        shard: &Shard,
        lives: &[(usize, Life)],
    ) -> Option<String> {
        if shard.replicas.len() + 1 != self.size.copies {
            return Some(format!(
                "shard {number} is to be on {} nodes: {shard:?}",
                self.size.copies
            ));
        }
        let life_of = |name: &NodeName| {
            let wanted = crate::calls::number_of(name);
            lives.iter().find(|(number, _)| *number == wanted).map(|(_, life)| life)
        };
        let owned = shard.owner.as_ref().and_then(life_of)?.host.documents(number);
        let is_behind = |name: &&NodeName| {
            let copy = life_of(name).and_then(|life| life.host.copy_of(number));
            copy != owned.clone().map(|documents| (shard.epoch.0, documents))
        };
        let behind = shard.replicas.iter().find(is_behind)?;
        Some(format!("the copy of shard {number} on {behind} is behind"))
    }

    /// Has the clients read everything; what is wrong so far, if anything is, is in the result.
    pub fn read_everything(&self) -> Arc<Mutex<Option<String>>> {
        let left = shared(Some("clients read everything".to_owned()));
        let (clients, told) = (Arc::clone(&self.clients), Arc::clone(&left));
        self.client_clock.spawn(async move {
            let left = clients.read_all().await;
            *told.lock().unwrap_or_else(PoisonError::into_inner) = left;
        });
        left
    }
}

//! How each kind of fault is done, and put right.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{Kind, Step};
use crate::history::{FaultRecord, Micros, Span};
use crate::http::Request;
use crate::network::SERVERS;
use crate::random::Random;
use crate::world::World;

/// Longer than a node may take to stop, or the others to see that it is back.
const STOP: Duration = Duration::from_secs(45);
/// How long the moment that a fault wants is waited for.
const MOMENT: Duration = Duration::from_secs(15);
const ASK: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What was done.
struct Done {
    detail: String,
    nodes: Vec<usize>,
}

impl Done {
    fn new(detail: impl Into<String>, nodes: &[usize]) -> Self {
        Self { detail: detail.into(), nodes: nodes.to_vec() }
    }
}

/// Breaks something for a while, puts it right, waits until every node answers, and then until all is served: at
/// most for `bound`.
///
/// # Errors
/// When what was broken cannot be put right, or the cluster does not recover.
pub(crate) fn inject(
    world: &World,
    number: u32,
    step: Step,
    bound: Duration,
) -> Result<FaultRecord> {
    let begun = world.history.now();
    let kind = step.kind;
    let mut fault = Fault { world, hold: step.hold, random: step.random };
    let done = fault.run(kind).with_context(|| kind.name())?;
    for node in &world.nodes {
        node.wait_until_it_answers()?;
    }
    let ended: Micros = world.history.now();
    world.settle(bound).with_context(|| format!("after {}: {}", kind.name(), done.detail))?;
    Ok(FaultRecord {
        number,
        fault: kind.name(),
        detail: done.detail,
        nodes: done.nodes.iter().map(|place| world.nodes[*place].name.clone()).collect(),
        span: Span { begun, ended },
        settled: world.history.now(),
    })
}

struct Fault<'a> {
    world: &'a World,
    hold: u64,
    random: Random,
}

impl Fault<'_> {
    fn run(&mut self, kind: Kind) -> Result<Done> {
        match kind {
            Kind::KillOne => {
                let victim = self.any();
                self.kill(&[victim])
            }
            Kind::KillTwo => {
                let mut all: Vec<usize> = (0..self.world.nodes.len()).collect();
                self.random.shuffle(&mut all);
                self.kill(&all[..2])
            }
            Kind::KillLeader => {
                let victim = self.leader()?;
                self.kill(&[victim])
            }
            Kind::KillDuringMove => self.kill_during_move(),
            Kind::KillDuringRestore => self.kill_during_restore(),
            Kind::KillDuringUpload => self.kill_during_upload(),
            Kind::KillDuringDrain => self.kill_during_drain(),
            Kind::LoseDisk => self.lose_disk(),
            Kind::Pause => {
                let victim = self.any();
                self.pause(victim)
            }
            Kind::PauseLeader => {
                let victim = self.leader()?;
                self.pause(victim)
            }
            Kind::CutOff => {
                let victim = self.any();
                self.split(&[victim], true, true)
            }
            Kind::CutOneWay => {
                let victim = self.any();
                let is_mute = self.random.percent(50);
                self.split(&[victim], is_mute, !is_mute)
            }
            Kind::Split => {
                let mut all: Vec<usize> = (0..self.world.nodes.len()).collect();
                self.random.shuffle(&mut all);
                self.split(&all[..self.world.nodes.len() / 2], true, true)
            }
            Kind::CutFromServers => self.cut_from_servers(),
            Kind::FillDisk => self.fill_disk(),
            Kind::RestartStore => {
                self.world.store.restart(Signal::SIGKILL)?;
                Ok(Done::new("the object store was killed and is back", &[]))
            }
            Kind::PauseStore => {
                self.world.store.signal(Signal::SIGSTOP)?;
                self.wait();
                self.world.store.signal(Signal::SIGCONT)?;
                Ok(Done::new(format!("the object store paused for {} ms", self.hold), &[]))
            }
            Kind::RestartDatabase => {
                self.world.database.restart(Signal::SIGINT)?;
                Ok(Done::new("the database was stopped and is back", &[]))
            }
            Kind::CrashDatabase => {
                self.world.database.restart(Signal::SIGQUIT)?;
                Ok(Done::new("the database was stopped at once and is back", &[]))
            }
            Kind::RollingRestart => self.rolling_restart(),
        }
    }

    fn wait(&self) {
        std::thread::sleep(Duration::from_millis(self.hold));
    }

    fn any(&mut self) -> usize {
        self.random.place(self.world.nodes.len())
    }

    /// Some node that is none of these.
    fn other(&mut self, than: &[usize]) -> usize {
        let left: Vec<usize> =
            (0..self.world.nodes.len()).filter(|place| !than.contains(place)).collect();
        left[self.random.place(left.len())]
    }

    fn leader(&self) -> Result<usize> {
        self.world.leader().context("nobody leads")
    }

    fn name(&self, place: usize) -> &str {
        &self.world.nodes[place].name
    }

    fn names(&self, places: &[usize]) -> String {
        places.iter().map(|place| self.name(*place)).collect::<Vec<_>>().join(", ")
    }

    fn kill(&self, victims: &[usize]) -> Result<Done> {
        for victim in victims {
            self.world.nodes[*victim].kill()?;
        }
        self.wait();
        for victim in victims {
            self.world.nodes[*victim].start()?;
        }
        let names = self.names(victims);
        Ok(Done::new(format!("{names} killed, started {} ms later", self.hold), victims))
    }

    fn kill_during_move(&mut self) -> Result<Done> {
        let map = self.get(0, "/api/v1/cluster/shards").context("node-1 does not answer")?;
        let shards = map["shards"].as_array().map(Vec::as_slice).unwrap_or_default();
        let shard = shards.get(self.random.place(shards.len())).context("a map without shards")?;
        let owner = shard["owner"].as_str().and_then(|owner| self.world.place(owner));
        let owner = owner.context("a shard without an owner")?;
        let number = shard["shard"].as_u64().unwrap_or_default();
        let to = self.other(&[owner]);
        let target = format!("/api/v1/cluster/shards/{number}/move");
        let body = json!({"to": self.name(to)});
        let via = &self.world.nodes[self.any()];
        let moved = Request::new("POST", target).json(&body).send(&via.host, ASK);
        let status = moved.map_or_else(|error| error.to_string(), |reply| reply.status.to_string());
        std::thread::sleep(Duration::from_millis(self.random.below(300)));
        let victim = [owner, to, self.leader()?][self.random.place(3)];
        let done = self.kill(&[victim])?;
        let (from, to) = (self.name(owner), self.name(to));
        let detail = format!("shard {number} on its way from {from} to {to} ({status})");
        Ok(Done { detail: format!("{detail}; {}", done.detail), ..done })
    }

    fn kill_during_restore(&mut self) -> Result<Done> {
        let first = self.any();
        self.world.nodes[first].kill()?;
        let via = self.other(&[first]);
        let second = self.moment(|fault| {
            let status = fault.get(via, "/api/v1/cluster")?;
            let unhealthy = status["unhealthyShards"].as_array()?.clone();
            let restoring = unhealthy.iter().filter(|shard| shard["state"] == "restoring");
            let owners = restoring.filter_map(|shard| fault.world.place(shard["owner"].as_str()?));
            owners.filter(|owner| *owner != first).last()
        });
        let victims: Vec<usize> = [Some(first), second].into_iter().flatten().collect();
        if let Some(second) = second {
            self.world.nodes[second].kill()?;
        }
        self.wait();
        for victim in &victims {
            self.world.nodes[*victim].start()?;
        }
        let detail = match second {
            Some(second) => {
                format!("{} killed, then {}, which restored", self.name(first), self.name(second))
            }
            None => format!("{} killed; no restore was seen", self.name(first)),
        };
        Ok(Done::new(detail, &victims))
    }

    fn kill_during_upload(&mut self) -> Result<Done> {
        let victim = self.moment(|fault| {
            (0..fault.world.nodes.len()).find(|place| {
                let metrics = fault.world.nodes[*place].get("/metrics");
                metrics.is_some_and(|metrics| is_ahead(&metrics.text()))
            })
        });
        // All writers may wait for a node whose disk was full.
        let seen = victim.is_some();
        let victim = victim.unwrap_or_else(|| self.any());
        let done = self.kill(&[victim])?;
        let unseen = if seen { "" } else { "; no upload was seen" };
        Ok(Done { detail: format!("{}{unseen}", done.detail), ..done })
    }

    fn kill_during_drain(&mut self) -> Result<Done> {
        let victim = self.any();
        let node = &self.world.nodes[victim];
        node.signal(Signal::SIGTERM)?;
        let after = self.random.below(600);
        // It may be through by then.
        let is_through = node.wait(Duration::from_millis(after))?.is_some();
        if !is_through {
            node.kill()?;
        }
        self.wait();
        node.start()?;
        let when = if is_through { "had ended before" } else { "killed" };
        Ok(Done::new(format!("{} asked to stop, {when} {after} ms later", node.name), &[victim]))
    }

    fn lose_disk(&mut self) -> Result<Done> {
        let victim = self.any();
        let node = &self.world.nodes[victim];
        node.kill()?;
        node.lose_disk()?;
        self.wait();
        node.start()?;
        let name = &node.name;
        Ok(Done::new(
            format!("{name} killed, started without its data {} ms later", self.hold),
            &[victim],
        ))
    }

    fn pause(&self, victim: usize) -> Result<Done> {
        let node = &self.world.nodes[victim];
        node.signal(Signal::SIGSTOP)?;
        self.wait();
        node.signal(Signal::SIGCONT)?;
        Ok(Done::new(format!("{} paused for {} ms", node.name, self.hold), &[victim]))
    }

    /// Some lose what they send to the others, or what the others send to them.
    fn split(&self, some: &[usize], out: bool, into: bool) -> Result<Done> {
        let nodes = &self.world.nodes;
        let others = (0..nodes.len()).filter(|place| !some.contains(place));
        let pairs: Vec<(usize, usize)> =
            others.flat_map(|other| some.iter().map(move |one| (*one, other))).collect();
        let mut ways = Vec::new();
        for (one, other) in pairs {
            ways.extend(out.then_some((one, other)));
            ways.extend(into.then_some((other, one)));
        }
        for (from, to) in &ways {
            nodes[*from].host.lose(nodes[*to].host.address)?;
        }
        self.wait();
        for (from, to) in &ways {
            nodes[*from].host.deliver(nodes[*to].host.address)?;
        }
        let how = match (out, into) {
            (true, true) => "cut off from the others",
            (true, false) => "not heard by the others",
            (false, _) => "not hearing the others",
        };
        Ok(Done::new(format!("{} {how} for {} ms", self.names(some), self.hold), some))
    }

    fn cut_from_servers(&mut self) -> Result<Done> {
        let victim = self.any();
        let node = &self.world.nodes[victim];
        node.host.lose(SERVERS)?;
        self.wait();
        node.host.deliver(SERVERS)?;
        let name = &node.name;
        Ok(Done::new(
            format!("{name} without database and object store for {} ms", self.hold),
            &[victim],
        ))
    }

    fn fill_disk(&mut self) -> Result<Done> {
        let victim = self.any();
        let node = &self.world.nodes[victim];
        node.fill_disk()?;
        self.wait();
        node.free_disk()?;
        Ok(Done::new(format!("{}'s disk full for {} ms", node.name, self.hold), &[victim]))
    }

    fn rolling_restart(&mut self) -> Result<Done> {
        let mut all: Vec<usize> = (0..self.world.nodes.len()).collect();
        self.random.shuffle(&mut all);
        for place in &all {
            let node = &self.world.nodes[*place];
            node.signal(Signal::SIGTERM)?;
            match node.wait(STOP)? {
                Some(status) if status.success() => {}
                Some(status) => {
                    self.world.history.wrong(format!("{} stopped with {status}", node.name))
                }
                None => {
                    self.world.history.wrong(format!("{} did not stop within {STOP:?}", node.name));
                    node.kill()?;
                }
            }
            node.start()?;
            node.wait_until_it_answers()?;
            self.world.settle(STOP)?;
        }
        Ok(Done::new(format!("restarted in turn: {}", self.names(&all)), &all))
    }

    fn get(&self, place: usize, target: &str) -> Option<Value> {
        self.world.nodes[place].get(target).map(|reply| reply.json())
    }

    /// Looks for something that comes and goes, for a while.
    fn moment<T>(&self, look: impl Fn(&Self) -> Option<T>) -> Option<T> {
        let until = Instant::now() + MOMENT;
        loop {
            let found = look(self);
            if found.is_some() || Instant::now() >= until {
                return found;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Whether metrics say that cold storage lacks something of a node's shards.
fn is_ahead(metrics: &str) -> bool {
    metrics
        .lines()
        .filter_map(|line| line.strip_prefix("code_search_shards_not_uploaded "))
        .any(|value| value.trim() != "0")
}

//! A seed from its first step to its verdict: a phase in which all that can go wrong does, and then
//! one in which everything heals and must come to rest.

use std::panic::catch_unwind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aeterna_cluster::consensus::Status;

use crate::chance::Chance;
use crate::faults::{BAD_DATABASE, BAD_STORE, Fault, Plan};
use crate::machine::{Doing, TRUE_RATE, USUAL_ACCESS, look};
use crate::network::host_name;
use crate::node::HEARTBEAT_TIMEOUT;
use crate::randomness;
use crate::remote::Weather;
use crate::simulation::{Cluster, THREAD, USUAL_DELAY, note_panics, panicked};

/// How long things go wrong.
const STORM: Duration = Duration::from_secs(40);
/// How long it may take until everything is well again.
const HEALING: Duration = Duration::from_secs(120);
/// How long everything must have stayed well.
const CALM: Duration = Duration::from_secs(1);
/// Crashes that one node suffers for its votes.
const CRASHES_AT_VOTES: u32 = 4;
/// The least time that it is so.
const ELECTIONS: Duration = Duration::from_secs(12);
/// How long a leader is away until others want to lead.
const LEADERLESS: Duration = Duration::from_secs(4);

/// What came of a seed.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was wrong, if anything was.
    pub wrong: Option<String>,
    /// Of everything that was logged.
    pub hash: u64,
    /// The last lines of the log.
    pub lines: Vec<String>,
    /// How much time has passed in it.
    pub simulated: Duration,
}

/// Something that ends.
struct Passing {
    until: Duration,
    fault: Fault,
}

struct Storm {
    chance: Chance,
    plan: Plan,
    passing: Vec<Passing>,
    next: Duration,
    /// Who crashes at votes, how often it still does, and the term in which it last did.
    at_votes: Option<(usize, u32, u64)>,
    /// Who is paused in the middle of its work.
    at_work: Option<usize>,
}

/// Simulates a seed, on a thread of its own.
///
/// # Errors
///
/// When this machine cannot simulate; what is wrong in the simulation is in the report.
pub fn run(seed: u64) -> anyhow::Result<Report> {
    note_panics();
    let thread = std::thread::Builder::new().name(format!("{THREAD}{seed}"));
    let simulating = thread.spawn(move || {
        randomness::seed_this_thread(seed)?;
        let simulated = catch_unwind(|| simulate(seed));
        simulated.unwrap_or_else(|_| {
            let what = panicked().unwrap_or_default();
            Err(anyhow::anyhow!("the simulation itself panicked: {what}"))
        })
    });
    let ended = simulating?.join();
    ended.unwrap_or_else(|_| Err(anyhow::anyhow!("a thread ended without a result")))
}

fn simulate(seed: u64) -> anyhow::Result<Report> {
    let mut cluster = Cluster::new(seed)?;
    let mut chance = cluster.chance.fork();
    let plan = Plan::new(&mut chance, cluster.size.nodes);
    let size = cluster.size;
    cluster.judge.log(|| format!("{size:?}, {plan:?}"));
    let (passing, next) = Default::default();
    let mut storm = Storm { chance, plan, passing, next, at_votes: None, at_work: None };
    while cluster.now < STORM && cluster.judge.verdict().is_none() {
        storm.go_on(&mut cluster)?;
        cluster.step()?;
    }
    if cluster.judge.verdict().is_none() {
        storm.end(&mut cluster);
        heal(&mut cluster)?;
    }
    let judge = Arc::clone(&cluster.judge);
    Ok(Report {
        wrong: judge.verdict(),
        hash: judge.hash(),
        lines: judge.lines(),
        simulated: cluster.now,
    })
}

/// Everything is well from now on, and must be so for good before long.
fn heal(cluster: &mut Cluster) -> anyhow::Result<()> {
    cluster.judge.log(|| "everything heals".to_owned());
    let deadline = cluster.now + HEALING;
    cluster.clients.stop();
    let mut since = None;
    let mut reading: Option<Arc<Mutex<Option<String>>>> = None;
    let mut next_reading = Duration::ZERO;
    while cluster.judge.verdict().is_none() {
        cluster.step()?;
        let left = cluster.unsettled();
        since = left.is_none().then_some(since.unwrap_or(cluster.now));
        let is_calm = since.is_some_and(|since| cluster.now - since >= CALM);
        let read = reading.as_deref().map(look);
        if is_calm && read == Some(None) {
            cluster.judge.log(|| "all is well".to_owned());
            return Ok(());
        }
        if is_calm && cluster.now >= next_reading {
            reading = Some(cluster.read_everything());
            next_reading = cluster.now + Duration::from_secs(10);
        }
        if cluster.now >= deadline {
            let left = left.or(read.flatten()).unwrap_or_default();
            cluster.judge.wrong(format!("{HEALING:?} after everything has healed: {left}"));
        }
    }
    Ok(())
}

impl Storm {
    /// What begins and what ends now.
    fn go_on(&mut self, cluster: &mut Cluster) -> anyhow::Result<()> {
        let now = cluster.now;
        let (over, passing) = self.passing.drain(..).partition(|fault| fault.until <= now);
        self.passing = passing;
        for Passing { fault, .. } in over {
            end(&fault, cluster);
        }
        self.crash_at_votes(cluster)?;
        self.pause_at_work(cluster);
        if now >= self.next {
            let most = u64::try_from(self.plan.pause.as_millis())?;
            self.next = now + self.chance.millis(most / 4, most);
            if let Some(fault) = self.plan.next(&mut self.chance) {
                self.begin(fault, cluster)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, mut fault: Fault, cluster: &mut Cluster) -> anyhow::Result<()> {
        let most = u64::try_from(self.plan.lasts.as_millis())?;
        let mut lasts = self.chance.millis(most / 8, most);
        if let Fault::CrashAtVotes { leader, others } = &mut fault {
            let Some(group) = whole_group(cluster) else { return Ok(()) };
            (*leader, *others) = group;
            lasts = lasts.max(ELECTIONS);
        }
        let is_running =
            |number: usize, cluster: &Cluster| cluster.places[number].machine.is_running();
        match &fault {
            Fault::Crash(node) | Fault::Drain(node) | Fault::Pause(node)
                if !is_running(*node, cluster) =>
            {
                return Ok(());
            }
            // What a majority has lost is lost, and a voter whose disk is lost counts until another has
            // taken its place.
            Fault::CrashWithDisks(node)
                if !is_running(*node, cluster) || whole_group(cluster).is_none() =>
            {
                return Ok(());
            }
            _ => {}
        }
        cluster.judge.log(|| format!("{fault:?} for {lasts:?}"));
        match fault {
            Fault::Apart(one, other) => {
                cluster.network().partition(host_name(one), host_name(other));
            }
            Fault::Deaf { from, to } => {
                cluster.network().partition_oneway(host_name(from), host_name(to));
            }
            Fault::Alone(node) => each_other(cluster, node, |network, one, other| {
                network.partition(one, other);
            }),
            Fault::Loss(permille) => cluster.network().set_fail_rate(permille as f64 / 1e3),
            Fault::Delay(most) => cluster.network().set_max_message_latency(most),
            Fault::Crash(node) => cluster.crash(node, lasts, false)?,
            Fault::CrashWithDisks(node) => {
                cluster.crash(node, lasts.max(Duration::from_secs(1)), true)?;
            }
            Fault::Drain(node) => cluster.end(node, lasts),
            Fault::Pause(node) => {
                let now = cluster.now;
                cluster.places[node].machine.pause(now, now + lasts);
            }
            Fault::PauseAtWork(node) => self.at_work = Some(node),
            Fault::SlowDisk(node, most) => cluster.places[node].machine.speed.set(most),
            Fault::Clock(node, rate) => cluster.places[node].machine.rate = rate,
            Fault::NoStore(node) => cluster.store.set_cut(node, true),
            Fault::NoDatabase(node) => cluster.database.set_cut(node, true),
            Fault::BadStore => cluster.store.set_weather(BAD_STORE),
            Fault::BadDatabase => cluster.database.set_weather(BAD_DATABASE),
            Fault::CrashAtVotes { leader, others: (one, other) } => {
                cluster.network().partition(host_name(one), host_name(other));
                self.at_votes = Some((leader, CRASHES_AT_VOTES, cluster.places[leader].term));
                // For so long that the others want to lead: one that is back at once leads on.
                cluster.crash(leader, LEADERLESS, false)?;
            }
        }
        self.passing.push(Passing { until: cluster.now + lasts, fault });
        Ok(())
    }

    fn crash_at_votes(&mut self, cluster: &mut Cluster) -> anyhow::Result<()> {
        let Some((node, left, term)) = self.at_votes else { return Ok(()) };
        let place = &cluster.places[node];
        if !place.machine.is_running() || place.term <= term || left == 0 {
            return Ok(());
        }
        let term = place.term;
        let leads = look(&place.life).is_some_and(|life| life.consensus.status().is_leader());
        if leads {
            self.at_votes = Some((node, left, term));
        } else {
            self.at_votes = Some((node, left - 1, term));
            cluster.judge.log(|| format!("node {node} crashes in term {term}"));
            let down = self.chance.millis(20, 150);
            cluster.crash(node, down, false)?;
        }
        Ok(())
    }

    fn pause_at_work(&mut self, cluster: &mut Cluster) {
        let Some(node) = self.at_work else { return };
        let now = cluster.now;
        let place = &mut cluster.places[node];
        let is_at_work = look(&place.life).is_some_and(|life| life.host.is_at_work());
        if place.machine.is_running() && is_at_work {
            let lasts = HEARTBEAT_TIMEOUT + self.chance.millis(1_000, 5_000);
            place.machine.pause(now, now + lasts);
            cluster.judge.log(|| format!("node {node} is paused at work for {lasts:?}"));
            self.at_work = None;
        }
    }

    /// Everything heals.
    fn end(&mut self, cluster: &mut Cluster) {
        for Passing { fault, .. } in self.passing.drain(..) {
            end(&fault, cluster);
        }
        // Links that a lossy network has broken mend when they are used, which may be long after.
        for node in 0..cluster.places.len() {
            each_other(cluster, node, |network, one, other| network.repair(one, other));
        }
        for place in &mut cluster.places {
            match &mut place.machine.doing {
                Doing::Running => {}
                Doing::Down { until } | Doing::Paused { until, .. } => *until = cluster.now,
            }
            // Who is about to end does, and starts at once.
            place.ending = place.ending.map(|_| Duration::ZERO);
        }
    }
}

fn each_other(
    cluster: &mut Cluster,
    node: usize,
    act: impl Fn(&mut turmoil::Sim<'static>, String, String),
) {
    // The clients, too.
    let all = cluster.places.len() + 1;
    for other in (0..all).filter(|other| *other != node) {
        act(cluster.network(), host_name(node), host_name(other));
    }
}

fn end(fault: &Fault, cluster: &mut Cluster) {
    match *fault {
        Fault::Apart(one, other) => cluster.network().repair(host_name(one), host_name(other)),
        Fault::Deaf { from, to } => cluster.network().repair_oneway(host_name(from), host_name(to)),
        Fault::Alone(node) => each_other(cluster, node, |network, one, other| {
            network.repair(one, other);
        }),
        Fault::Loss(_) => cluster.network().set_fail_rate(0.0),
        Fault::Delay(_) => cluster.network().set_max_message_latency(USUAL_DELAY),
        // Machines know by themselves.
        Fault::Crash(_)
        | Fault::CrashWithDisks(_)
        | Fault::Drain(_)
        | Fault::Pause(_)
        | Fault::PauseAtWork(_) => {}
        Fault::SlowDisk(node, _) => {
            cluster.places[node].machine.speed.set(USUAL_ACCESS);
        }
        Fault::Clock(node, _) => cluster.places[node].machine.rate = TRUE_RATE,
        Fault::NoStore(node) => cluster.store.set_cut(node, false),
        Fault::NoDatabase(node) => cluster.database.set_cut(node, false),
        Fault::BadStore => cluster.store.set_weather(Weather::FAIR),
        Fault::BadDatabase => cluster.database.set_weather(Weather::FAIR),
        Fault::CrashAtVotes { others: (one, other), .. } => {
            cluster.network().repair(host_name(one), host_name(other));
        }
    }
}

/// The leader and the two other voters, when all are there and of one mind who votes, and a majority has
/// confirmed just now that this is the Raft group.
fn whole_group(cluster: &Cluster) -> Option<(usize, (usize, usize))> {
    let lives = cluster.lives().into_iter();
    let running = lives.filter(|(number, _)| cluster.places[*number].machine.is_running());
    let statuses: Vec<(usize, Status)> =
        running.map(|(number, life)| (number, life.consensus.status())).collect();
    let is_confirmed = |status: &Status| {
        status.is_leader() && status.quorum_ack_millis.is_some_and(|millis| millis < 500)
    };
    let leaders = statuses.iter().filter(|(_, status)| is_confirmed(status));
    let (leader, status) = leaders.max_by_key(|(_, status)| status.term)?;
    // Who leads goes by the newest change of the voters, which nobody else may have yet: without it the
    // others go by those before.
    let voters = statuses.iter().filter(|(_, one)| {
        status.voters.contains_key(&one.raft_id) && one.voters == status.voters && !one.changing
    });
    let others: Vec<usize> =
        voters.map(|(number, _)| *number).filter(|number| number != leader).collect();
    match others[..] {
        [one, other] if !status.changing && status.voters.len() == 3 => {
            Some((*leader, (one, other)))
        }
        _ => None,
    }
}

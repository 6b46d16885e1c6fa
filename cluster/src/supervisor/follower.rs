//! The task that brings what this node holds in line with the shard map.
//!
//! It looks at the map and at what the host holds, again and again, and starts what is missing: so
//! many steps of a kind at a time, one for a shard, the smallest shards first. A step that failed is
//! tried again, later and later; what the map says by then decides whether it still makes sense.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::activity::Activity;
use super::follow::{Holding, Step, closing_steps, next_steps};
use super::proposals::Proposals;
use super::sizes::Sizes;
use super::view::PeersView;
use super::{Held, HostError, MembershipApi, ShardHost};
use crate::name::{Epoch, ShardId};
use crate::router::Router;
use crate::shard_map::{Command, Refusal, ShardMap};

/// Steps that cost little, such as closing a shard, that are under way at once.
const CHEAP_AT_ONCE: usize = 16;
/// How long to wait after the first failure; twice as long after each one that follows.
const FIRST_RETRY: Duration = Duration::from_millis(250);
/// How long to wait, at most.
const LAST_RETRY: Duration = Duration::from_secs(30);
/// How long to wait before a step that waits for something else is tried again.
const WAIT_RETRY: Duration = Duration::from_secs(2);
/// How long a proposal may take.
const PROPOSE_DEADLINE: Duration = Duration::from_secs(10);
/// How long the map may take to show what was proposed.
const MAP_DELAY: Duration = Duration::from_secs(2);

/// What the follower is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// To do what the map says.
    #[default]
    Follow,
    /// To upload and close everything: nobody takes it, and this node stops.
    Close,
}

/// How much is done at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub activations: usize,
    pub hand_overs: usize,
    pub tick: Duration,
}

/// What the follower works with.
pub(super) struct Follower {
    pub host: Arc<dyn ShardHost>,
    pub router: Arc<Router>,
    pub membership: Arc<dyn MembershipApi>,
    pub proposals: Arc<Proposals>,
    pub activity: Arc<Activity>,
    pub limits: Limits,
    pub mode: watch::Receiver<Mode>,
}

type Finished = (ShardId, Step, Result<(), StepError>);

#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("how far the move is cannot be told: {0}")]
    Propose(#[from] super::ProposeFailure),
    #[error("the host has panicked; see the log")]
    Panicked,
}

/// What is remembered between two looks.
#[derive(Default)]
struct Memory {
    handed_over: BTreeMap<ShardId, Epoch>,
    copied: BTreeMap<ShardId, Epoch>,
    busy: BTreeMap<ShardId, Step>,
    running: BTreeMap<Id, ShardId>,
    retries: BTreeMap<ShardId, Retry>,
    sizes: Sizes,
    /// The peers that sizes were last learnt from.
    seen: Option<Arc<PeersView>>,
}

/// When a step may be tried again.
struct Retry {
    step: Step,
    failures: u32,
    at: Instant,
}

impl Follower {
    pub async fn run(mut self) {
        let mut memory = Memory::default();
        let mut tasks: JoinSet<Finished> = JoinSet::new();
        let mut maps = self.router.watch();
        loop {
            let map = Arc::clone(&maps.borrow_and_update());
            self.start_steps(&map, &mut memory, &mut tasks);
            let next = self.wake_at(&memory);
            tokio::select! {
                changed = maps.changed() => if changed.is_err() { return },
                changed = self.mode.changed() => if changed.is_err() { return },
                Some(finished) = tasks.join_next_with_id() => self.finish(finished, &mut memory),
                () = sleep_until(next) => {}
            }
        }
    }

    fn wake_at(&self, memory: &Memory) -> Instant {
        let now = Instant::now();
        let retries = memory.retries.values().map(|retry| retry.at).filter(|at| *at > now);
        retries.chain([now + self.limits.tick]).min().unwrap_or(now + self.limits.tick)
    }

    fn start_steps(&self, map: &ShardMap, memory: &mut Memory, tasks: &mut JoinSet<Finished>) {
        let held: BTreeMap<ShardId, Held> =
            self.host.held().into_iter().map(|held| (held.shard, held)).collect();
        memory.learn(map, &held, self.membership.peers());
        let me = self.router.me();
        memory.handed_over.retain(|shard, epoch| {
            let entry = map.shard(*shard);
            entry.is_some_and(|entry| entry.owner.as_ref() == Some(me) && entry.epoch == *epoch)
        });
        memory.copied.retain(|shard, epoch| {
            let entry = map.shard(*shard);
            entry.is_some_and(|entry| {
                let is_wanted = entry.moving_to.as_ref() == Some(me) || entry.replicas.contains(me);
                is_wanted && entry.epoch == *epoch
            })
        });
        let holding =
            Holding { held: &held, handed_over: &memory.handed_over, copied: &memory.copied };
        let mut steps = match *self.mode.borrow() {
            Mode::Follow => next_steps(map, me, holding),
            Mode::Close => closing_steps(map, me, holding),
        };
        steps.retain(|shard, step| self.makes_sense(map, *shard, *step));
        for shard in memory.retries.keys().copied().collect::<Vec<_>>() {
            if !steps.contains_key(&shard) && !memory.busy.contains_key(&shard) {
                memory.retries.remove(&shard);
                self.activity.end(shard);
            }
        }
        for (shard, step) in memory.due(steps) {
            if memory.busy.values().filter(|busy| same_kind(**busy, step)).count()
                >= self.limits.at_once(step)
            {
                continue;
            }
            memory.busy.insert(shard, step);
            self.activity.begin(shard, step);
            let task = tasks.spawn(self.step(map, shard, step));
            memory.running.insert(task.id(), shard);
        }
    }

    /// A shard is not handed over to a node that cannot take it now: the leader will think of another.
    fn makes_sense(&self, map: &ShardMap, shard: ShardId, step: Step) -> bool {
        match step {
            Step::HandOver(_) | Step::EndMove(_) => {
                let to = map.shard(shard).and_then(|shard| shard.moving_to.as_ref());
                let peers = self.membership.peers();
                to.and_then(|to| peers.get(to)).is_some_and(|peer| peer.alive())
            }
            Step::Activate(_)
            | Step::Replicate(_)
            | Step::TellCopied(_)
            | Step::Release
            | Step::Close => true,
        }
    }

    fn step(
        &self,
        map: &ShardMap,
        shard: ShardId,
        step: Step,
    ) -> impl Future<Output = Finished> + Send + use<> {
        let (host, proposals) = (Arc::clone(&self.host), Arc::clone(&self.proposals));
        tracing::debug!(%shard, ?step, map = map.version(), "a shard changes hands");
        async move {
            let result = match step {
                Step::Activate(epoch) => host.activate(shard, epoch).await.map_err(Into::into),
                Step::Replicate(epoch) => host.replicate(shard, epoch).await.map_err(Into::into),
                Step::HandOver(_) => host.hand_over(shard).await.map_err(Into::into),
                Step::Release => host.release(shard, false).await.map_err(Into::into),
                Step::Close => host.release(shard, true).await.map_err(Into::into),
                Step::TellCopied(seen) => tell(&proposals, Command::Copied { shard, seen }).await,
                Step::EndMove(seen) => tell(&proposals, Command::EndMove { shard, seen }).await,
            };
            (shard, step, result)
        }
    }

    fn finish(&self, finished: Result<(Id, Finished), JoinError>, memory: &mut Memory) {
        let (shard, step, result) = match finished {
            Ok((id, finished)) => {
                memory.running.remove(&id);
                finished
            }
            Err(error) => {
                let Some(shard) = memory.running.remove(&error.id()) else { return };
                let Some(step) = memory.busy.get(&shard).copied() else { return };
                (shard, step, Err(StepError::Panicked))
            }
        };
        memory.busy.remove(&shard);
        match result {
            Ok(()) => {
                memory.succeeded(shard, step);
                self.activity.end(shard);
            }
            Err(StepError::Host(HostError::Waits(what))) => {
                let at = Instant::now() + WAIT_RETRY;
                memory.retries.insert(shard, Retry { step, failures: 0, at });
                tracing::debug!(%shard, ?step, what, "a step for a shard waits");
            }
            Err(error) => {
                let delay = memory.failed(shard, step);
                tracing::warn!(%shard, ?step, %error, ?delay, "a step for a shard failed");
                self.activity.fail(shard, &error.to_string());
            }
        }
    }
}

/// Proposes how far a move is.
async fn tell(proposals: &Proposals, command: Command) -> Result<(), StepError> {
    let outcome = proposals.propose(&command, PROPOSE_DEADLINE).await?;
    match outcome.first() {
        // The map will say what happened instead.
        None | Some(Ok(()) | Err(Refusal::StaleEpoch { .. } | Refusal::NotMoving(_))) => Ok(()),
        Some(Err(refusal)) => Err(super::ProposeFailure::Failed(refusal.to_string()).into()),
    }
}

impl Limits {
    fn at_once(&self, step: Step) -> usize {
        match step {
            Step::Activate(_) | Step::Replicate(_) => self.activations,
            Step::HandOver(_) | Step::Close => self.hand_overs,
            Step::TellCopied(_) | Step::EndMove(_) | Step::Release => CHEAP_AT_ONCE,
        }
    }
}

fn same_kind(one: Step, other: Step) -> bool {
    std::mem::discriminant(&one) == std::mem::discriminant(&other)
}

impl Memory {
    /// Sizes, of what is held and of what others say that they own.
    fn learn(&mut self, map: &ShardMap, held: &BTreeMap<ShardId, Held>, peers: Arc<PeersView>) {
        if !self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &peers)) {
            self.sizes.learn(map, &peers);
            self.seen = Some(peers);
        }
        for held in held.values().filter(|held| held.bytes > 0) {
            self.sizes.set(held.shard, held.bytes);
        }
    }

    /// What can be started now, the smallest first.
    fn due(&self, steps: BTreeMap<ShardId, Step>) -> Vec<(ShardId, Step)> {
        let now = Instant::now();
        let waits = |shard: &ShardId, step: &Step| {
            let retry = self.retries.get(shard);
            retry.is_some_and(|retry| retry.step == *step && retry.at > now)
        };
        let mut due: Vec<(ShardId, Step)> = steps
            .into_iter()
            .filter(|(shard, step)| !self.busy.contains_key(shard) && !waits(shard, step))
            .collect();
        due.sort_by_key(|(shard, _)| (self.sizes.of(*shard), *shard));
        due
    }

    fn succeeded(&mut self, shard: ShardId, step: Step) {
        self.retries.remove(&shard);
        match step {
            Step::HandOver(epoch) => _ = self.handed_over.insert(shard, epoch),
            Step::Replicate(epoch) => _ = self.copied.insert(shard, epoch),
            Step::Activate(_) | Step::Release | Step::Close => {
                self.handed_over.remove(&shard);
                self.copied.remove(&shard);
            }
            Step::TellCopied(_) | Step::EndMove(_) => {
                let at = Instant::now() + MAP_DELAY;
                self.retries.insert(shard, Retry { step, failures: 0, at });
            }
        }
    }

    fn failed(&mut self, shard: ShardId, step: Step) -> Duration {
        let before = self.retries.get(&shard).filter(|retry| retry.step == step);
        let failures = before.map_or(0, |retry| retry.failures).saturating_add(1);
        let delay = FIRST_RETRY.saturating_mul(1 << (failures - 1).min(16)).min(LAST_RETRY);
        self.retries.insert(shard, Retry { step, failures, at: Instant::now() + delay });
        delay
    }
}

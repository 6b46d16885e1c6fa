//! The supervisor's tasks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::activity::{Activity, SupervisorStatus};
use super::follower::{Follower, Limits, Mode};
use super::leader::Leader;
use super::memory::Memory;
use super::proposals::Proposals;
use super::rules::Rules;
use super::{ConsensusApi, MembershipApi, PeerApi, ShardHost, feed};
use crate::router::Router;
use crate::shard_map::{Command, ShardMap};

/// How long after its start a node that finds itself leaving, from before its restart, says that it
/// is back, or for as long as that is not agreed on. Later it was told to leave while it ran, and leaves.
const HOMECOMING: Duration = Duration::from_secs(30);
/// How often it looks whether it does.
const HOMECOMING_LOOK: Duration = Duration::from_secs(1);
/// How long one attempt to say so may take.
const PROPOSE_DEADLINE: Duration = Duration::from_secs(10);

/// Settings of a node's supervisor.
#[derive(Clone, Debug)]
pub struct SupervisorConfig {
    /// By what the leader decides.
    pub rules: Rules,
    /// How often it is looked whether there is something to do, beside when the map changes.
    pub tick: Duration,
    /// Shards that are restored at once.
    pub activations_at_once: usize,
    /// Shards that are uploaded for another owner at once.
    pub hand_overs_at_once: usize,
}

impl Default for SupervisorConfig {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            tick: Duration::from_millis(250),
            activations_at_once: 4,
            hand_overs_at_once: 4,
        }
    }
}

/// What a supervisor works with.
#[derive(Clone)]
pub struct Parts {
    /// The Raft group.
    pub consensus: Arc<dyn ConsensusApi>,
    /// The gossip.
    pub membership: Arc<dyn MembershipApi>,
    /// The shards on this node's disk.
    pub host: Arc<dyn ShardHost>,
    /// Calls to other nodes.
    pub peers: Arc<dyn PeerApi>,
    /// Where the shard map goes.
    pub router: Arc<Router>,
}

/// A node's supervisor. Dropping it ends its tasks at once, as a crash would; steps that the host is
/// at then are dropped, too.
pub struct Supervisor {
    parts: Parts,
    proposals: Arc<Proposals>,
    activity: Arc<Activity>,
    rules: Arc<Rules>,
    memory: Arc<Mutex<Memory>>,
    mode: watch::Sender<Mode>,
    /// Whether it drains. Held while the node says that it is back: what it says of itself is said in order.
    draining: Arc<Draining>,
    failed: watch::Sender<Option<&'static str>>,
    tasks: Vec<AbortHandle>,
}

impl Supervisor {
    /// Begins to follow the map, and to lead when this node does. To be called within a runtime.
    pub fn start(config: SupervisorConfig, parts: Parts) -> Self {
        let Parts { consensus, membership, host, peers, router } = parts.clone();
        let me = router.me().clone();
        let proposals =
            Proposals::new(me, Arc::clone(&consensus), Arc::clone(&membership), Arc::clone(&peers));
        let activity = Arc::new(Activity::default());
        let mode = watch::Sender::new(Mode::Follow);
        let draining = Arc::new(Draining::new(false));
        let follower = Follower {
            host,
            router: Arc::clone(&router),
            membership: Arc::clone(&membership),
            proposals: Arc::clone(&proposals),
            activity: Arc::clone(&activity),
            limits: Limits {
                activations: config.activations_at_once.max(1),
                hand_overs: config.hand_overs_at_once.max(1),
                tick: config.tick,
            },
            mode: mode.subscribe(),
        };
        let rules = Arc::new(config.rules);
        let memory = Arc::new(Mutex::new(Memory::default()));
        let leader = Leader {
            consensus: Arc::clone(&consensus),
            membership: Arc::clone(&membership),
            activity: Arc::clone(&activity),
            rules: Arc::clone(&rules),
            memory: Arc::clone(&memory),
            tick: config.tick,
        };
        let home = Homecoming {
            router: Arc::clone(&router),
            consensus: Arc::clone(&consensus),
            membership: Arc::clone(&membership),
            proposals: Arc::clone(&proposals),
            draining: Arc::clone(&draining),
        };
        let feed = feed::run(router, consensus, membership, peers, config.tick);
        let failed = watch::Sender::new(None);
        let tasks = vec![
            watched("the follower of the shard map", &failed, follower.run()),
            watched("the leader's decisions", &failed, leader.run()),
            watched("the feed of shard maps", &failed, feed),
            watched("the return after a restart", &failed, home.run()),
        ];
        Self { parts, proposals, activity, rules, memory, mode, draining, failed, tasks }
    }

    /// Waits until one of the tasks has failed, by a panic: what it is. The node is to be restarted
    /// then.
    pub async fn failed(&self) -> &'static str {
        let mut failed = self.failed.subscribe();
        // The sender lives as long as this.
        let name = failed.wait_for(Option::is_some).await;
        name.ok().and_then(|name| *name).unwrap_or("the supervisor")
    }

    /// What is being done, and what failed.
    pub fn status(&self) -> SupervisorStatus {
        self.activity.status()
    }

    /// The way to have commands applied, from any node.
    pub fn proposals(&self) -> &Arc<Proposals> {
        &self.proposals
    }

    /// Who is to be asked about a shard.
    pub fn router(&self) -> &Arc<Router> {
        &self.parts.router
    }

    pub(super) fn membership(&self) -> &dyn MembershipApi {
        &*self.parts.membership
    }

    pub(super) fn host(&self) -> &dyn ShardHost {
        &*self.parts.host
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(super) fn memory(&self) -> &Mutex<Memory> {
        &self.memory
    }

    pub(super) fn set_mode(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Has the node say no more that it is back.
    pub(super) async fn begin_drain(&self) {
        *self.draining.lock().await = true;
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Starts a task whose panic is told.
fn watched(
    name: &'static str,
    failed: &watch::Sender<Option<&'static str>>,
    task: impl Future<Output = ()> + Send + 'static,
) -> AbortHandle {
    let failed = failed.clone();
    let task = AbortOnDropHandle::new(tokio::spawn(task));
    let watching = tokio::spawn(async move {
        if task.await.is_err_and(|error| error.is_panic()) {
            failed.send_replace(Some(name));
        }
    });
    watching.abort_handle()
}

/// Whether a node drains.
type Draining = tokio::sync::Mutex<bool>;

/// Says that this node is back, as it may have left before it was restarted. It says so in any case: that it leaves
/// may be in the log of a node that does not lead yet, and is agreed on long after this node is up again.
struct Homecoming {
    router: Arc<Router>,
    consensus: Arc<dyn ConsensusApi>,
    membership: Arc<dyn MembershipApi>,
    proposals: Arc<Proposals>,
    draining: Arc<Draining>,
}

impl Homecoming {
    async fn run(self) {
        let end = Instant::now() + HOMECOMING;
        let mut maps = self.router.watch();
        let (mut is_back, mut has_failed) = (false, false);
        while !is_back || Instant::now() < end {
            let draining = self.draining.lock().await;
            if *draining {
                return;
            }
            let map = Arc::clone(&maps.borrow_and_update());
            let me = self.router.me();
            match map.members().get(me).map(|member| member.leaving) {
                Some(true) => is_back |= self.join(&mut has_failed).await,
                Some(false) if self.is_up_to_date(&map) => {
                    is_back = is_back || self.join(&mut has_failed).await;
                    // Whoever says from now on that it leaves means it.
                    if is_back {
                        return;
                    }
                }
                Some(false) | None => {}
            }
            drop(draining);
            tokio::select! {
                changed = maps.changed() => if changed.is_err() { return },
                () = sleep(HOMECOMING_LOOK) => {}
            }
        }
    }

    /// Returns whether that is agreed on: what was said before is so or will never be.
    async fn join(&self, has_failed: &mut bool) -> bool {
        let (me, peers) = (self.router.me(), self.membership.peers());
        let Some(peer) = peers.get(me) else { return false };
        let (node, zone) = (me.clone(), peer.zone.clone());
        let join = Command::Join { node, zone, capacity: peer.capacity.max(1) };
        let joined = self.proposals.propose(&join, PROPOSE_DEADLINE).await;
        match &joined {
            // It is said again every second.
            Err(error) if *has_failed => tracing::debug!(%error, "nor now"),
            Err(error) => tracing::warn!(%error, "this node cannot say yet that it is back"),
            Ok(_) => {}
        }
        *has_failed = joined.is_err();
        joined.is_ok()
    }

    /// Whether nobody shows a newer map: what this disk had may be older than what it left.
    fn is_up_to_date(&self, map: &ShardMap) -> bool {
        let peers = self.membership.peers();
        let others = peers.iter().filter(|(name, peer)| *name != self.router.me() && peer.alive());
        let mut versions = others.map(|(_, peer)| peer.map_version).peekable();
        match versions.peek() {
            Some(_) => versions.all(|version| version <= map.version()),
            None => self.consensus.status().leads,
        }
    }
}

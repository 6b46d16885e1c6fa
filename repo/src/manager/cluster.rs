//! The shards that a node of a cluster holds, and how each is.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aeterna_index::{IndexError, RepositoryId};
use serde::Serialize;
use tokio::sync::{Mutex as Turn, Notify, watch};

use super::inner::{Inner, lock};
use super::mirrors::MirrorCounters;
use super::replicas::{Compared, Copied, Following};
use crate::ManagerError;
use crate::catalog::{Catalog, CatalogError, Fence};
use crate::cold_storage::{ColdError, ColdManifest, ShardFence};
use crate::config::ClusterShards;

/// Generation of an index that nothing was uploaded of.
const NEVER: u64 = u64::MAX;
/// How long the catalog may take to answer before a shard is searched without it.
const ANSWER_DEADLINE: Duration = Duration::from_secs(4);
/// How long it is not asked again after it has not answered: no shorter, so that only one waits for it.
const CATALOG_REST: Duration = ANSWER_DEADLINE;

/// How a shard that is held is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum ShardState {
    /// It is taken over: fenced, fetched from cold storage where need be, and opened.
    Restoring {
        /// Bytes that were fetched.
        done: u64,
        /// Bytes to fetch; 0 until that is known.
        total: u64,
    },
    /// It is searched, indexed and uploaded.
    Serving,
    /// It is searched and not indexed: another node is to own it, and cold storage has all of it.
    HandedOver,
    /// It is a copy of what another node owns, or this one once the catalog answers, and is searched. What is
    /// uploaded for it is followed.
    Replica,
    /// It is let go of: what runs is stopped, and what cold storage lacks is uploaded.
    Releasing,
    /// It is not served. It may be activated again, or released.
    Failed {
        /// Why, for a person.
        error: String,
    },
}

/// A shard that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldShard {
    /// The shard.
    pub shard: u32,
    /// The epoch that it is held under.
    pub epoch: u64,
    /// How it is.
    #[serde(flatten)]
    pub state: ShardState,
    /// Bytes of its index on this node's disk.
    pub bytes: u64,
    /// Generation of its index.
    pub generation: u64,
    /// Generation that cold storage has; `None` when it has nothing of it.
    pub uploaded_generation: Option<u64>,
    /// For how long cold storage has lacked a part of it, in milliseconds; `None` while it lacks nothing.
    pub upload_waits_ms: Option<u64>,
    /// Why the last upload failed; `None` after one that did not.
    pub upload_error: Option<String>,
    /// Of a copy, also while this node becomes its owner: what it is equal to.
    pub following: Option<Following>,
}

/// A copy of a shard that may be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchedCopy {
    /// The epoch of the owner that it follows.
    pub epoch: u64,
    /// How long ago it was last known that it has all that its owner has uploaded.
    pub behind: Duration,
    /// Whether that is longer than [`ClusterShards::stale_after`].
    pub is_stale: bool,
}

/// Where an activated shard's index came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShardSource {
    /// This node's disk had it.
    Local,
    /// It was fetched from cold storage.
    ColdStorage,
    /// There was nothing: the shard is new, or what it held is indexed again.
    Empty,
}

/// What activating a shard did.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Activated {
    /// Where its index came from.
    pub source: ShardSource,
    /// Bytes that were fetched.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Files that cold storage has lost: the repositories that they held are indexed again.
    pub lost: Vec<String>,
    /// Whether the catalog does not answer, without which nothing can be claimed: until it is asked for again and
    /// the catalog answers, the shard is a copy of what cold storage has ([`ShardState::Replica`]).
    pub awaits_catalog: bool,
}

impl Activated {
    /// Of a shard that was there.
    pub(crate) fn at_once() -> Self {
        let (source, lost, awaits_catalog) = (ShardSource::Local, Vec::new(), false);
        Self { source, bytes: 0, seconds: 0.0, lost, awaits_catalog }
    }
}

/// A shard that this node holds or is taking over.
pub(crate) struct Held {
    pub(crate) shard: u32,
    pub(crate) epoch: u64,
    state: Mutex<ShardState>,
    uploaded: AtomicU64,
    /// Since when cold storage lacks what was committed.
    ahead_since: Mutex<Option<Instant>>,
    /// What was restored and may not be durable yet.
    unsynced: Mutex<Option<ColdManifest>>,
    /// Why uploads fail, how often in a row, and when the next is due.
    failing: Mutex<Option<Failing>>,
    /// What uploads are made under; taken for as long as one runs.
    pub(crate) fence: Turn<Option<ShardFence>>,
    /// Set once it is let go of.
    ended: watch::Sender<bool>,
    /// When garbage was collected last.
    collected: Mutex<Instant>,
    /// Of a copy, what it is of; kept while this node becomes the owner.
    copied: Mutex<Option<Copied>>,
    /// Ends a look for something newer.
    pub(crate) stop: Notify,
}

struct Failing {
    error: String,
    wait: Duration,
    again: Instant,
}

impl Held {
    pub(crate) fn new(shard: u32, epoch: u64) -> Self {
        Self {
            shard,
            epoch,
            state: Mutex::new(ShardState::Restoring { done: 0, total: 0 }),
            uploaded: AtomicU64::new(NEVER),
            ahead_since: Mutex::default(),
            unsynced: Mutex::default(),
            failing: Mutex::default(),
            fence: Turn::default(),
            ended: watch::Sender::new(false),
            collected: Mutex::new(Instant::now()),
            copied: Mutex::default(),
            stop: Notify::new(),
        }
    }

    /// The same copy under another epoch of its owner, or of this node as its owner to be.
    pub(crate) fn under(&self, epoch: u64, state: ShardState) -> Self {
        let held = Self::new(self.shard, epoch);
        held.set_copied(self.copied());
        held.set_state(state);
        held
    }

    pub(crate) fn is_replica(&self) -> bool {
        matches!(*lock(&self.state), ShardState::Replica)
    }

    pub(crate) fn copied(&self) -> Option<Copied> {
        lock(&self.copied).clone()
    }

    pub(crate) fn with_copied<T>(&self, look: impl FnOnce(&Copied) -> T) -> Option<T> {
        lock(&self.copied).as_ref().map(look)
    }

    pub(crate) fn set_copied(&self, copied: Option<Copied>) {
        *lock(&self.copied) = copied;
    }

    /// How far behind a copy is, as long as it is searched.
    pub(crate) fn behind(&self) -> Option<Duration> {
        let is_open =
            matches!(*lock(&self.state), ShardState::Replica | ShardState::Restoring { .. });
        lock(&self.copied).as_ref().filter(|_| is_open).map(Copied::behind)
    }

    pub(crate) fn is_serving(&self) -> bool {
        matches!(*lock(&self.state), ShardState::Serving)
    }

    /// Whether searches may read it.
    pub(crate) fn is_searched(&self) -> bool {
        matches!(*lock(&self.state), ShardState::Serving | ShardState::HandedOver)
    }

    pub(crate) fn state(&self) -> ShardState {
        lock(&self.state).clone()
    }

    pub(crate) fn set_state(&self, to: ShardState) {
        *lock(&self.state) = to;
    }

    pub(crate) fn uploaded(&self) -> Option<u64> {
        Some(self.uploaded.load(Ordering::Acquire)).filter(|generation| *generation != NEVER)
    }

    /// Keeps since when cold storage lacks what was committed.
    pub(crate) fn set_ahead(&self, is_ahead: bool) {
        let mut since = lock(&self.ahead_since);
        *since = is_ahead.then(|| since.unwrap_or_else(Instant::now));
    }

    fn upload_waits(&self) -> Option<Duration> {
        lock(&self.ahead_since).map(|since| since.elapsed())
    }

    pub(crate) fn set_uploaded(&self, generation: Option<u64>) {
        self.uploaded.store(generation.unwrap_or(NEVER), Ordering::Release);
        *lock(&self.failing) = None;
    }

    /// What was restored and has to become durable before anything is uploaded: a manifest says that
    /// this disk has all that it builds on.
    pub(crate) fn unsynced(&self) -> Option<ColdManifest> {
        lock(&self.unsynced).clone()
    }

    pub(crate) fn is_unsynced(&self) -> bool {
        lock(&self.unsynced).is_some()
    }

    pub(crate) fn set_unsynced(&self, content: Option<ColdManifest>) {
        *lock(&self.unsynced) = content;
    }

    /// Keeps why an upload failed, and has the next wait longer.
    pub(crate) fn upload_failed(&self, error: String, config: &ClusterShards) {
        let mut failing = lock(&self.failing);
        let wait = failing
            .as_ref()
            .map_or(config.upload_retry, |failing| failing.wait * 2)
            .min(config.upload_retry_longest);
        *failing = Some(Failing { error, wait, again: Instant::now() + wait });
    }

    /// Whether a failure was so short ago that an upload has to wait.
    pub(crate) fn upload_rests(&self) -> bool {
        lock(&self.failing).as_ref().is_some_and(|failing| failing.again > Instant::now())
    }

    /// Makes what is uploaded be given up.
    pub(crate) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Waits until the shard is let go of.
    pub(crate) async fn ended(&self) {
        // The sender lives as long as this.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Whether garbage was not collected for so long; it counts as collected then.
    pub(crate) fn collects_garbage(&self, every: Duration) -> bool {
        let mut collected = lock(&self.collected);
        let is_due = collected.elapsed() >= every;
        if is_due {
            *collected = Instant::now();
        }
        is_due
    }

    fn upload_error(&self) -> Option<String> {
        lock(&self.failing).as_ref().map(|failing| failing.error.clone())
    }
}

/// What the manager of a cluster's node knows beside its repositories.
pub(crate) struct Cluster {
    pub(crate) config: ClusterShards,
    held: Mutex<BTreeMap<u32, Arc<Held>>>,
    /// Whether cold storage was seen to be this cluster's.
    is_ours: AtomicBool,
    /// Taken while a shard is activated or released.
    turns: Mutex<HashMap<u32, Arc<Turn<()>>>>,
    /// Wakes the task that uploads.
    pub(crate) upload: Notify,
    /// Wakes the task that keeps copies up with their owners.
    pub(crate) follow: Notify,
    /// What of the catalog copies were last compared with.
    pub(crate) compared: Turn<Compared>,
    /// How mirrors came here again.
    pub(crate) mirrors: MirrorCounters,
    /// Until when the catalog, which has not answered, is not asked again.
    catalog_rests: Mutex<Option<Instant>>,
}

impl Cluster {
    pub(crate) fn new(config: ClusterShards) -> Self {
        let (held, turns, is_ours, compared) = Default::default();
        let (upload, follow, mirrors, catalog_rests) = Default::default();
        Self { config, held, is_ours, turns, upload, follow, compared, mirrors, catalog_rests }
    }

    /// Asks the catalog what can do without its answer for a while; `None` when it does not answer. Who asks soon
    /// after that is not kept waiting.
    pub(crate) async fn ask_catalog<T>(
        &self,
        question: impl Future<Output = Result<T, CatalogError>>,
    ) -> Result<Option<T>, CatalogError> {
        if !self.may_ask_catalog() {
            return Ok(None);
        }
        let answer = tokio::time::timeout(ANSWER_DEADLINE, question).await.ok();
        // A refusal is an answer, too.
        let is_away = |error: &CatalogError| error.is_unavailable();
        let answer = answer.filter(|answer| !answer.as_ref().is_err_and(is_away));
        *lock(&self.catalog_rests) = answer.is_none().then(|| Instant::now() + CATALOG_REST);
        answer.transpose()
    }

    /// Whether the catalog has not answered just now, or is being asked whether it does again.
    pub(crate) fn is_catalog_away(&self) -> bool {
        lock(&self.catalog_rests).is_some_and(|until| Instant::now() < until)
    }

    /// Whether the catalog has answered last time, or it is time to ask again; then others are not to ask meanwhile.
    fn may_ask_catalog(&self) -> bool {
        let mut rests = lock(&self.catalog_rests);
        let now = Instant::now();
        match *rests {
            Some(until) if now < until => return false,
            Some(_) => *rests = Some(now + CATALOG_REST),
            None => {}
        }
        true
    }

    /// Fails when cold storage is another cluster's: its shards have the same numbers as ours. Asked once,
    /// as a claim never changes.
    pub(crate) async fn check_claim(&self) -> Result<(), ColdError> {
        if !self.is_ours.load(Ordering::Acquire) {
            self.config.cold.check_claim(self.config.cluster).await?;
            self.is_ours.store(true, Ordering::Release);
        }
        Ok(())
    }

    pub(crate) fn turn(&self, shard: u32) -> Arc<Turn<()>> {
        lock(&self.turns).entry(shard).or_default().clone()
    }

    pub(crate) fn held(&self, shard: u32) -> Option<Arc<Held>> {
        lock(&self.held).get(&shard).cloned()
    }

    pub(crate) fn all_held(&self) -> Vec<Arc<Held>> {
        lock(&self.held).values().cloned().collect()
    }

    pub(crate) fn hold(&self, held: Arc<Held>) {
        lock(&self.held).insert(held.shard, held);
    }

    pub(crate) fn forget(&self, shard: u32) {
        lock(&self.held).remove(&shard);
    }
}

impl Inner {
    /// Whether jobs of a repository may run here.
    pub(crate) fn runs(&self, id: RepositoryId) -> bool {
        self.writes(self.index.number_of(id))
    }

    /// Whether a shard may be written here.
    pub(crate) fn writes(&self, shard: u32) -> bool {
        self.cluster
            .as_ref()
            .is_none_or(|cluster| cluster.held(shard).is_some_and(|held| held.is_serving()))
    }

    /// The catalog as changes of a repository are made in it: fenced, in a cluster, by the epoch
    /// that its shard is held under.
    pub(crate) fn catalog_of(&self, id: RepositoryId) -> Result<Catalog, ManagerError> {
        let Some(cluster) = &self.cluster else { return Ok(self.catalog.clone()) };
        let shard = self.index.number_of(id);
        match cluster.held(shard) {
            Some(held) if !held.is_replica() => {
                Ok(self.catalog.under(Fence { shard, epoch: held.epoch }))
            }
            _ => Err(IndexError::NotHeld { shard }.into()),
        }
    }

    /// The catalog, or for each shard that is served here the catalog fenced by its epoch.
    pub(crate) fn catalogs(&self) -> Vec<Catalog> {
        let Some(cluster) = &self.cluster else { return vec![self.catalog.clone()] };
        let serving = cluster.all_held().into_iter().filter(|held| held.is_serving());
        serving
            .map(|held| self.catalog.under(Fence { shard: held.shard, epoch: held.epoch }))
            .collect()
    }

    /// Fails unless the shard of a repository is served here.
    pub(crate) fn check_held(&self, id: RepositoryId) -> Result<(), ManagerError> {
        if self.runs(id) {
            return Ok(());
        }
        Err(IndexError::NotHeld { shard: self.index.number_of(id) }.into())
    }

    /// Stops serving a shard that another node owns now.
    pub(crate) fn fenced(&self, shard: u32, error: &ManagerError) {
        let Some(held) = self.cluster.as_ref().and_then(|cluster| cluster.held(shard)) else {
            return;
        };
        tracing::warn!(shard, epoch = held.epoch, %error, "the shard is no longer served here");
        held.set_state(ShardState::Failed { error: error.to_string() });
        self.cancel_shard(shard);
    }

    pub(crate) fn shard_states(&self) -> Vec<HeldShard> {
        let held = self.cluster.iter().flat_map(|cluster| cluster.all_held());
        held.map(|held| {
            let open = self.index.shard(held.shard);
            HeldShard {
                shard: held.shard,
                epoch: held.epoch,
                state: held.state(),
                bytes: open.as_ref().map_or(0, |shard| shard.bytes()),
                generation: open.as_ref().map_or(0, |shard| shard.generation()),
                uploaded_generation: held.uploaded(),
                upload_waits_ms: held
                    .upload_waits()
                    .map(|waits| u64::try_from(waits.as_millis()).unwrap_or(u64::MAX)),
                upload_error: held.upload_error(),
                following: held.copied().map(|copied| copied.following()),
            }
        })
        .collect()
    }
}

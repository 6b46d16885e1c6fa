//! The shards on a node's disk, as `repo::manager` keeps them: taken over under a fence in the catalog
//! and in cold storage, restored or kept, brought together with the catalog, indexed, uploaded, handed
//! over; and copies of those of other nodes. Cold storage is the real one; what is indexed is a model ([`crate::index`]).

mod copies;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aeterna_cluster::name::{Epoch, ShardId};
use aeterna_cluster::supervisor::{Held, HeldState, HostError, ShardHost};
use aeterna_repo::cold_storage::{ColdError, ColdManifest, ColdStorage, ShardFence};
use async_trait::async_trait;
use tokio::sync::Notify;

use self::copies::Copied;
use crate::catalog::{Catalog, CatalogError, Document, Right};
use crate::index::{Index, Places, empty};
use crate::judge::Judge;
use crate::mistakes::{Mistake, is_made};

/// What a node's shards need.
pub struct Parts {
    /// The node.
    pub node: usize,
    /// Where its shards are.
    pub disk: PathBuf,
    /// The object store.
    pub cold: ColdStorage,
    /// The database.
    pub catalog: Catalog,
    /// Who is told.
    pub judge: Arc<Judge>,
}

/// The shards on a node's disk.
pub struct Host {
    parts: Parts,
    shards: Mutex<BTreeMap<u32, Arc<Shard>>>,
    turns: Mutex<BTreeMap<u32, Arc<tokio::sync::Mutex<()>>>>,
    /// Batches of documents and uploads that were begun and are not finished.
    under_way: AtomicUsize,
}

/// Something that counts as under way until it is dropped.
struct UnderWay<'a>(&'a AtomicUsize);

impl<'a> UnderWay<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A shard that is held.
pub struct Shard {
    right: Right,
    inner: Mutex<Inner>,
    /// What uploads are made under.
    fence: tokio::sync::Mutex<Option<ShardFence>>,
    /// Held by whoever indexes.
    indexing: tokio::sync::Mutex<()>,
    /// Ends a look for something newer.
    stop: Notify,
}

/// What has come of taking a shard over.
enum Taken {
    Serves,
    /// The database does not answer, without which nothing can be claimed: it is a copy until then.
    Waits,
}

#[derive(Clone)]
struct Inner {
    state: HeldState,
    index: Index,
    /// Documents that were indexed and are not any more, until they are again.
    missing: BTreeSet<Document>,
    /// The generation that cold storage has.
    uploaded: Option<u64>,
    /// Of a copy, what it is of; kept while this node becomes the owner.
    copied: Option<Copied>,
}

impl Shard {
    fn new(right: Right) -> Arc<Self> {
        let inner = Inner {
            state: HeldState::Opening,
            index: Index::default(),
            missing: BTreeSet::new(),
            uploaded: None,
            copied: None,
        };
        Self::of(right, inner)
    }

    fn of(right: Right, inner: Inner) -> Arc<Self> {
        let (fence, indexing) = Default::default();
        Arc::new(Self { right, inner: Mutex::new(inner), fence, indexing, stop: Notify::new() })
    }

    /// The same copy under another epoch of its owner, or of this node as its owner to be.
    fn under(&self, right: Right, state: HeldState) -> Arc<Self> {
        Self::of(right, Inner { state, ..self.lock().clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> HeldState {
        self.lock().state
    }

    fn set_state(&self, state: HeldState) {
        self.lock().state = state;
    }

    fn is_serving(&self) -> bool {
        self.state() == HeldState::Serving
    }

    fn is_replica(&self) -> bool {
        self.state() == HeldState::Replica
    }

    /// Whether it is a copy, or was one when it began to be taken over.
    fn is_copy(&self) -> bool {
        self.lock().copied.is_some()
    }
}

impl Host {
    /// Of a node that holds nothing yet.
    pub fn new(parts: Parts) -> Arc<Self> {
        let (shards, turns, under_way) = Default::default();
        Arc::new(Self { parts, shards, turns, under_way })
    }

    /// Whether documents are being indexed or uploaded at this moment.
    pub fn is_at_work(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) > 0
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Shard>>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, shard: u32) -> Option<Arc<Shard>> {
        self.lock().get(&shard).cloned()
    }

    fn all(&self) -> Vec<Arc<Shard>> {
        self.lock().values().cloned().collect()
    }

    fn turn(&self, shard: u32) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(shard).or_default())
    }

    fn say(&self, what: impl FnOnce() -> String) {
        self.parts.judge.log(|| format!("node {}: {}", self.parts.node, what()));
    }

    /// The epoch that a shard is written under here.
    pub fn writes(&self, shard: u32) -> Option<u64> {
        let held = self.shard(shard)?;
        held.is_serving().then_some(held.right.epoch)
    }

    /// Shards that are written here, and under which epoch.
    pub fn serving(&self) -> BTreeMap<u32, u64> {
        let all = self.all();
        let serving = all.iter().filter(|shard| shard.is_serving());
        serving.map(|shard| (shard.right.shard, shard.right.epoch)).collect()
    }

    /// Adds a document to a shard that is held under an epoch; it is kept once this returns.
    pub async fn add(&self, right: Right, document: Document) -> Result<(), String> {
        if self.writes(right.shard) != Some(right.epoch) {
            return Err("stale epoch".to_owned());
        }
        let added = self.parts.catalog.add(right, document).await;
        added.map_err(|error| format!("{error:?}"))
    }

    /// Indexes what there is to index.
    pub async fn work(&self) {
        for shard in self.all() {
            if shard.is_serving() {
                self.index(&shard).await;
            }
        }
    }

    async fn index(&self, shard: &Arc<Shard>) {
        let _indexing = shard.indexing.lock().await;
        let Ok(rows) = self.parts.catalog.rows_of(shard.right.shard).await else { return };
        let planned: Vec<Document> = rows.planned.into_iter().collect();
        {
            // A closed shard writes nothing.
            let mut inner = shard.lock();
            if inner.state != HeldState::Serving || planned.is_empty() {
                return;
            }
            let has = |document: &&Document| !inner.index.documents().contains(document);
            let new: Vec<Document> = planned.iter().filter(has).copied().collect();
            if !new.is_empty()
                && let Err(error) = inner.index.commit(&new)
            {
                self.parts.judge.wrong(format!("an index cannot be written: {error}"));
            }
            let Inner { index, missing, .. } = &mut *inner;
            missing.retain(|document| !index.documents().contains(document));
        }
        let _under_way = UnderWay::begin(&self.under_way);
        for document in planned {
            if !shard.is_serving() {
                return;
            }
            match self.parts.catalog.indexed(shard.right, document).await {
                Ok(()) => {}
                Err(CatalogError::Fenced) => return self.fenced(shard),
                // It is planned yet.
                Err(CatalogError::Unavailable) => return,
            }
        }
    }

    /// Uploads what cold storage lacks.
    pub async fn upload_all(&self) {
        for shard in self.all() {
            if shard.is_serving() {
                match self.upload(&shard).await {
                    Err(error) if error.is_fenced() => self.fenced(&shard),
                    // It is tried again.
                    Ok(()) | Err(_) => {}
                }
            }
        }
    }

    async fn upload(&self, shard: &Shard) -> Result<(), ColdError> {
        let mut fence = shard.fence.lock().await;
        let Some(fence) = fence.as_mut() else { return Ok(()) };
        let places = Places::new(&self.parts.disk, shard.right.shard);
        let (generation, documents) = {
            let inner = shard.lock();
            let generation = inner.index.generation();
            if generation == 0 || inner.uploaded == Some(generation) {
                return Ok(());
            }
            self.disk(inner.index.export(&places.exported))?;
            (generation, inner.index.documents().clone())
        };
        let _under_way = UnderWay::begin(&self.under_way);
        let begun = self.parts.judge.begin_upload(shard.right.shard, &documents);
        let quiet = Arc::new(|_, _| {});
        let cold = &self.parts.cold;
        let manifest = cold.upload(fence, &places.exported, generation, quiet).await?;
        self.parts.judge.uploaded(shard.right, begun, &documents);
        self.disk(places.write_origin(Some(&manifest)))?;
        shard.lock().uploaded = Some(generation);
        self.say(|| {
            let (at, count) = (manifest.position, documents.len());
            format!("uploaded shard {}, {at}: {count} documents", shard.right.shard)
        });
        Ok(())
    }

    /// A node's disk is a folder of this machine: that it fails is no part of a simulation.
    fn disk<T>(&self, done: io::Result<T>) -> Result<T, ColdError> {
        done.map_err(|source| {
            self.parts.judge.wrong(format!("a folder cannot be used: {source}"));
            let (action, path) = ("cannot use", self.parts.disk.clone());
            ColdError::Io { action, path, source }
        })
    }

    /// Another node owns it: it is not served any more.
    fn fenced(&self, shard: &Shard) {
        self.say(|| format!("fenced off from shard {}", shard.right.shard));
        shard.set_state(HeldState::Failed);
    }

    async fn take_over(&self, shard: &Arc<Shard>) -> Result<Taken, HostError> {
        let Right { shard: number, epoch } = shard.right;
        let failed = |error: ColdError| match error {
            ColdError::Fenced { by, .. } => {
                HostError::Fenced { shard: ShardId(number), by: Epoch(by.epoch) }
            }
            other => HostError::Failed(other.to_string()),
        };
        match self.parts.catalog.raise_epoch(shard.right).await {
            Ok(()) => {}
            Err(CatalogError::Fenced) => {
                return Err(HostError::Fenced { shard: ShardId(number), by: Epoch(epoch + 1) });
            }
            Err(CatalogError::Unavailable) => {
                if !shard.is_copy() {
                    self.copy(shard, true).await.map_err(failed)?;
                }
                return Ok(Taken::Waits);
            }
        }
        let uploaded = self.parts.judge.uploads_of(number, u64::MAX);
        let mut fence = self.parts.cold.fence(number, epoch).await.map_err(failed)?;
        self.parts.judge.fenced(shard.right);
        if is_made(Mistake::ServedBeforeWhole) {
            shard.set_state(HeldState::Serving);
        }
        let content = fence.content.take();
        let content = match shard.is_copy() {
            true => self.catch_up(shard, content).await,
            false => self.prepare(number, content).await,
        };
        let content = content.map_err(failed)?;
        let places = Places::new(&self.parts.disk, number);
        let index = self.disk(Index::open(&places.folder)).map_err(failed)?;
        self.parts.judge.restored(shard.right, &uploaded, index.documents());
        {
            let mut inner = shard.lock();
            inner.uploaded = content.as_ref().map(|content| content.generation);
            inner.index = index;
        }
        fence.content = content;
        *shard.fence.lock().await = Some(fence);
        self.reconcile(shard).await?;
        Ok(Taken::Serves)
    }

    /// Has the folder hold what cold storage has, or what has gone on from it.
    async fn prepare(
        &self,
        shard: u32,
        content: Option<ColdManifest>,
    ) -> Result<Option<ColdManifest>, ColdError> {
        let places = Places::new(&self.parts.disk, shard);
        if !places.is_current(content.as_ref()) {
            if let Some(content) = &content {
                self.disk(empty(&places.restoring))?;
                let quiet = Arc::new(|_, _| {});
                self.parts.cold.restore(content, &places.restoring, quiet).await?;
            }
            self.disk(places.install(content.is_some()))?;
            self.say(|| format!("restored shard {shard} ({})", content.is_some()));
        }
        self.disk(places.write_origin(content.as_ref()))?;
        Ok(content)
    }

    /// Plans to index again what the catalog says is indexed and the index has not.
    async fn reconcile(&self, shard: &Shard) -> Result<(), HostError> {
        let failed = |error: CatalogError| HostError::Failed(format!("{error:?}"));
        let rows = self.parts.catalog.rows_of(shard.right.shard).await.map_err(failed)?;
        let missing: BTreeSet<Document> =
            rows.indexed.difference(shard.lock().index.documents()).copied().collect();
        for document in &missing {
            self.parts.catalog.plan(shard.right, *document).await.map_err(failed)?;
        }
        shard.lock().missing = missing;
        Ok(())
    }

    /// Lets go of a shard. The caller has its turn.
    async fn let_go(&self, shard: &Shard, upload: bool) {
        let served = shard.is_serving();
        shard.set_state(HeldState::Closing);
        drop(shard.indexing.lock().await);
        if upload && served {
            // As the manager does: that it fails does not keep the shard.
            let _ = self.upload(shard).await;
        }
        *shard.fence.lock().await = None;
        self.lock().remove(&shard.right.shard);
        self.say(|| format!("let go of shard {}", shard.right.shard));
    }
}

#[async_trait]
impl ShardHost for Host {
    async fn activate(&self, shard: ShardId, epoch: Epoch) -> Result<(), HostError> {
        let right = Right { shard: shard.0, epoch: epoch.0 };
        let turn = self.turn(shard.0);
        let _turn = turn.lock().await;
        let before = self.shard(shard.0);
        if let Some(held) = &before {
            if held.right.epoch > epoch.0 {
                return Err(HostError::Fenced { shard, by: Epoch(held.right.epoch) });
            }
            let is_open = matches!(held.state(), HeldState::Serving | HeldState::HandedOver);
            if held.right == right && is_open {
                held.set_state(HeldState::Serving);
                return Ok(());
            }
            if !held.is_replica() {
                self.let_go(held, false).await;
            }
        }
        // A copy is searched until it is this node's own.
        let copy = before.filter(|held| held.is_replica());
        let copied_under = copy.as_ref().map_or(right, |copy| copy.right);
        let held = match copy {
            Some(copy) => copy.under(right, HeldState::Opening),
            None => Shard::new(right),
        };
        self.lock().insert(shard.0, Arc::clone(&held));
        self.say(|| format!("takes shard {shard} over under epoch {epoch}"));
        let taken = self.take_over(&held).await;
        if !matches!(taken, Ok(Taken::Serves)) && held.is_copy() {
            self.lock().insert(shard.0, held.under(copied_under, HeldState::Replica));
        }
        match taken {
            Ok(Taken::Serves) => {
                let mut inner = held.lock();
                (inner.copied, inner.state) = (None, HeldState::Serving);
                self.parts.judge.serves(self.parts.node, right);
                Ok(())
            }
            Ok(Taken::Waits) => Err(HostError::Waits("for the database to answer".to_owned())),
            Err(error) => {
                self.say(|| format!("shard {shard} cannot be taken over: {error}"));
                held.set_state(HeldState::Failed);
                Err(error)
            }
        }
    }

    async fn replicate(&self, shard: ShardId, epoch: Epoch) -> Result<(), HostError> {
        let right = Right { shard: shard.0, epoch: epoch.0 };
        let turn = self.turn(shard.0);
        let _turn = turn.lock().await;
        if let Some(held) = self.shard(shard.0) {
            if held.right.epoch > epoch.0 {
                return Err(HostError::Failed("a later epoch is known".to_owned()));
            }
            if held.is_replica() {
                self.lock().insert(shard.0, held.under(right, HeldState::Replica));
                return Ok(());
            }
            self.let_go(&held, false).await;
        }
        let held = Shard::new(right);
        self.lock().insert(shard.0, Arc::clone(&held));
        match self.copy(&held, false).await {
            Ok(()) => {
                held.set_state(HeldState::Replica);
                Ok(())
            }
            Err(error) => {
                held.set_state(HeldState::Closing);
                self.lock().remove(&shard.0);
                Err(HostError::Failed(error.to_string()))
            }
        }
    }

    async fn hand_over(&self, shard: ShardId) -> Result<(), HostError> {
        let turn = self.turn(shard.0);
        let _turn = turn.lock().await;
        let missing = || HostError::Failed("the shard is not served".to_owned());
        let held = self.shard(shard.0).ok_or_else(missing)?;
        match held.state() {
            HeldState::HandedOver => return Ok(()),
            HeldState::Serving => {}
            _ => return Err(missing()),
        }
        held.set_state(HeldState::HandedOver);
        drop(held.indexing.lock().await);
        let uploaded = self.upload(&held).await;
        if uploaded.is_err() {
            held.set_state(HeldState::Serving);
        }
        uploaded.map_err(|error| HostError::Failed(error.to_string()))
    }

    async fn release(&self, shard: ShardId, upload: bool) -> Result<(), HostError> {
        if let Some(held) = self.shard(shard.0) {
            held.stop.notify_one();
        }
        let turn = self.turn(shard.0);
        let _turn = turn.lock().await;
        if let Some(held) = self.shard(shard.0) {
            self.let_go(&held, upload).await;
        }
        Ok(())
    }

    fn held(&self) -> Vec<Held> {
        let all = self.all();
        let held = all.iter().map(|shard| {
            let inner = shard.lock();
            Held {
                shard: ShardId(shard.right.shard),
                epoch: Epoch(shard.right.epoch),
                state: inner.state,
                bytes: 100 * inner.index.documents().len() as u64,
            }
        });
        held.collect()
    }
}

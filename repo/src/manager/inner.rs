//! What the manager's parts share.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aeterna_index::search::Visible;
use aeterna_index::{RepositoryId, Shard, ShardSet};
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};

use super::cluster::Cluster;
use super::mirrors::MirrorWork;
use super::parts::PlaceParts;
use super::types::Pause;
use crate::ManagerError;
use crate::catalog::{Catalog, Job, JobKind, Record};
use crate::config::ManagerConfig;
use crate::repository::{EventKind, Progress, Readiness, Repository, State};

/// How often watchers are told of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// A job that runs.
pub(crate) struct Running {
    /// Set to make it stop.
    pub(crate) cancel: Arc<AtomicBool>,
    /// Whether it takes room on the disk.
    pub(crate) fills_disk: bool,
    /// Whether it was made to stop because the disk is nearly full.
    pub(crate) crowded_out: bool,
    progress: Option<Progress>,
    told: Instant,
}

/// A flag that a thread waits for.
#[derive(Default)]
pub(crate) struct Signal {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    pub(crate) fn raise(&self) {
        *lock(&self.set) = true;
        self.changed.notify_all();
    }

    /// Waits until it is raised or the time is over; returns whether it was, and lowers it.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let set = lock(&self.set);
        let waited = self.changed.wait_timeout_while(set, time, |set| !*set);
        let (mut set, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut set)
    }
}

/// State shared by the manager, its scheduler, jobs and maintenance.
pub(crate) struct Inner {
    pub(crate) config: ManagerConfig,
    pub(crate) catalog: Catalog,
    pub(crate) index: Arc<ShardSet>,
    /// The shards that are held; `None` when all are, for ever.
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) running: Mutex<HashMap<RepositoryId, Running>>,
    watchers: Mutex<HashMap<RepositoryId, watch::Sender<Repository>>>,
    visible: RwLock<HashMap<String, Arc<HashSet<RepositoryId>>>>,
    pub(crate) pause: Mutex<Option<Pause>>,
    /// Set while a disk is nearly full.
    pub(crate) crowded: Mutex<Option<Pause>>,
    pub(crate) failed_tasks: Mutex<Vec<String>>,
    pub(crate) stopping: AtomicBool,
    /// Wakes who waits for nothing but the end.
    pub(crate) stopped: Notify,
    /// Wakes the scheduler.
    pub(crate) wake: Notify,
    /// Told of the end of each job.
    ended: Notify,
    /// Wakes the maintenance thread.
    pub(crate) maintain: Signal,
    /// Repositories whose last changes are to be read.
    pub(crate) history_pending: Mutex<BTreeSet<RepositoryId>>,
    /// Wakes the thread that reads them.
    pub(crate) history: Signal,
    /// What is to be done with mirrors in a cluster.
    pub(crate) mirrors_pending: Mutex<BTreeMap<RepositoryId, MirrorWork>>,
    /// Wakes the thread that does it.
    pub(crate) mirrors: Signal,
    /// Repositories whose symbols are not searchable yet.
    pub(crate) symbols_pending: Mutex<HashSet<RepositoryId>>,
    /// Names of repositories of which the index here is not what the catalog says was indexed, as their shard's
    /// last owner died before it had uploaded that; until they are indexed again.
    pub(crate) outdated: Mutex<HashMap<RepositoryId, String>>,
    /// Chooses the shards of further parts.
    pub(crate) place_parts: OnceLock<Arc<PlaceParts>>,
}

/// Has searches see a repository of a tenant, or not; returns whether that changes anything.
fn change_visible(
    visible: &mut HashMap<String, Arc<HashSet<RepositoryId>>>,
    tenant: &str,
    (id, is_visible): (RepositoryId, bool),
) -> bool {
    let ids = visible.entry(tenant.to_owned()).or_default();
    // Searches that run have the set: it is copied only when it changes.
    let changes = ids.contains(&id) != is_visible;
    if changes {
        let ids = Arc::make_mut(ids);
        _ = if is_visible { ids.insert(id) } else { ids.remove(&id) };
    }
    changes
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    pub(crate) fn new(config: ManagerConfig, catalog: Catalog, index: Arc<ShardSet>) -> Self {
        let cluster = config.cluster.clone().map(|config| Arc::new(Cluster::new(config)));
        Self {
            config,
            catalog,
            index,
            cluster,
            running: Mutex::default(),
            watchers: Mutex::default(),
            visible: RwLock::default(),
            pause: Mutex::default(),
            crowded: Mutex::default(),
            failed_tasks: Mutex::default(),
            stopping: AtomicBool::new(false),
            stopped: Notify::new(),
            wake: Notify::new(),
            ended: Notify::new(),
            maintain: Signal::default(),
            history_pending: Mutex::default(),
            history: Signal::default(),
            mirrors_pending: Mutex::default(),
            mirrors: Signal::default(),
            symbols_pending: Mutex::default(),
            outdated: Mutex::default(),
            place_parts: OnceLock::new(),
        }
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Makes every part stop as soon as it can.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        for running in lock(&self.running).values() {
            running.cancel.store(true, Ordering::Release);
        }
        self.stopped.notify_one();
        self.wake.notify_one();
        self.maintain.raise();
        self.history.raise();
        self.mirrors.raise();
        if let Some(cluster) = &self.cluster {
            cluster.upload.notify_one();
            cluster.follow.notify_one();
        }
    }

    /// The shards that are open and written here.
    pub(crate) fn own_shards(&self) -> Vec<Arc<Shard>> {
        let mut shards = self.index.shards();
        shards.retain(|shard| self.writes(shard.number()));
        shards
    }

    /// Has the last changes of a repository's files read, where some are not known.
    pub(crate) fn read_history(&self, id: RepositoryId) {
        if self.index.shard_of(id).is_ok_and(|shard| shard.history_pending(id)) {
            lock(&self.history_pending).insert(id);
            self.history.raise();
        }
    }

    pub(crate) fn mirror_path(&self, id: RepositoryId) -> PathBuf {
        self.config.base_path.join(id.to_string())
    }

    /// Takes a repository for a job; `None` when a job of it runs already. One that fills the disk is
    /// stopped while there is little room.
    pub(crate) fn begin(&self, id: RepositoryId, fills_disk: bool) -> Option<Arc<AtomicBool>> {
        let mut running = lock(&self.running);
        if running.contains_key(&id) {
            return None;
        }
        let cancel = Arc::new(AtomicBool::new(self.stopping()));
        let told = Instant::now();
        let (shared, progress, crowded_out) = (cancel.clone(), None, false);
        running.insert(id, Running { cancel: shared, fills_disk, crowded_out, progress, told });
        Some(cancel)
    }

    pub(crate) fn end(&self, id: RepositoryId) {
        lock(&self.running).remove(&id);
        self.wake.notify_one();
        self.ended.notify_waiters();
        if let Some(cluster) = &self.cluster {
            cluster.upload.notify_one();
        }
    }

    /// Makes the running job of a repository stop, if there is one.
    pub(crate) fn cancel(&self, id: RepositoryId) {
        if let Some(running) = lock(&self.running).get(&id) {
            running.cancel.store(true, Ordering::Release);
        }
    }

    /// Makes the running jobs of a shard's repositories stop; returns how many there are.
    pub(crate) fn cancel_shard(&self, shard: u32) -> usize {
        let running = lock(&self.running);
        let jobs = running.iter().filter(|(id, _)| self.index.number_of(**id) == shard);
        jobs.map(|(_, running)| running.cancel.store(true, Ordering::Release)).count()
    }

    /// Stops the jobs of a shard's repositories and waits for their end. No more may start.
    pub(crate) async fn stop_jobs(&self, shard: u32) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.cancel_shard(shard) == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Keeps how far a job is, and tells watchers now and then.
    pub(crate) fn report(&self, id: RepositoryId, progress: Progress) {
        {
            let mut running = lock(&self.running);
            let Some(running) = running.get_mut(&id) else { return };
            let new_phase = running.progress.is_none_or(|before| before.phase != progress.phase);
            running.progress = Some(progress);
            if !new_phase && running.told.elapsed() < PROGRESS_EVERY {
                return;
            }
            running.told = Instant::now();
        }
        if let Some(sender) = lock(&self.watchers).get(&id) {
            sender.send_if_modified(|repository| {
                repository.progress = Some(progress);
                true
            });
        }
    }

    /// A record as users see it.
    pub(crate) fn complete(&self, record: Record, jobs: &[Job]) -> Repository {
        let mut repository = record.repository;
        let id = repository.id;
        let running = lock(&self.running);
        repository.progress = running.get(&id).and_then(|running| running.progress);
        let now = crate::catalog::now();
        let due = |job: &&Job| job.next_attempt_at.is_some_and(|at| at <= now);
        let waiting = jobs.iter().filter(due).filter(|job| !running.contains_key(&job.repository));
        repository.queue_position = waiting
            .enumerate()
            .find(|(_, job)| job.repository == id)
            .and_then(|(position, _)| u32::try_from(position).ok());
        drop(running);
        let readiness = |pending: bool| match repository.indexed_at {
            Some(_) if !pending => Readiness::Ready,
            _ => Readiness::Pending,
        };
        // What another node indexes, that node knows: here it counts as done.
        let shard = self.index.shard_of(id).ok().filter(|_| self.runs(id));
        let pending = |look: fn(&Shard, RepositoryId) -> bool| {
            shard.as_ref().is_some_and(|shard| look(shard, id))
        };
        repository.symbols = readiness(pending(Shard::symbols_pending));
        repository.last_changes = readiness(pending(Shard::history_pending));
        repository.shard = self.index.number_of(id);
        self.complete_parts(&mut repository, &record.others);
        repository
    }

    /// Tells watchers of a repository what the catalog has of it now.
    pub(crate) async fn publish(&self, id: RepositoryId) -> Result<(), ManagerError> {
        if !lock(&self.watchers).contains_key(&id) {
            return Ok(());
        }
        let jobs = self.catalog.jobs().await?;
        let record = self.catalog.record(id).await?;
        let mut watchers = lock(&self.watchers);
        match record.filter(|record| !record.removed) {
            Some(record) => {
                let repository = self.complete(record, &jobs);
                if let Some(sender) = watchers.get(&id) {
                    sender.send_replace(repository);
                }
            }
            // Watchers see the end of the channel.
            None => drop(watchers.remove(&id)),
        }
        watchers.retain(|_, sender| sender.receiver_count() > 0);
        Ok(())
    }

    /// Tells those who watch repositories in parts how the other parts are, which nobody else does. Returns
    /// whether there are any.
    pub(crate) async fn publish_parts(&self) -> Result<bool, ManagerError> {
        let watched: Vec<RepositoryId> = {
            let watchers = lock(&self.watchers);
            let of = watchers.iter().filter(|(_, sender)| sender.borrow().is_in_parts());
            of.map(|(id, _)| *id).collect()
        };
        for id in &watched {
            self.publish(*id).await?;
        }
        Ok(!watched.is_empty())
    }

    pub(crate) fn watch(&self, repository: Repository) -> watch::Receiver<Repository> {
        let mut watchers = lock(&self.watchers);
        let sender =
            watchers.entry(repository.id).or_insert_with(|| watch::channel(repository.clone()).0);
        sender.send_replace(repository);
        sender.subscribe()
    }

    pub(crate) fn forget_watchers(&self, id: RepositoryId) {
        lock(&self.watchers).remove(&id);
    }

    pub(crate) async fn set_state(&self, id: RepositoryId, to: State) -> Result<(), ManagerError> {
        self.catalog_of(id)?.set_state(id, to).await?;
        self.publish(id).await
    }

    /// Records an event. That one is lost must not stop the work: it is in the log too.
    pub(crate) async fn event(&self, id: RepositoryId, kind: EventKind, message: &str) {
        tracing::info!(repository = %id, event = kind.as_str(), "{message}");
        let recorded = match self.catalog_of(id) {
            Ok(catalog) => catalog.add_event(id, kind, message).await.map_err(ManagerError::from),
            Err(error) => Err(error),
        };
        if let Err(error) = recorded {
            tracing::warn!(repository = %id, %error, "an event could not be recorded");
        }
    }

    pub(crate) async fn request(
        &self,
        id: RepositoryId,
        kind: JobKind,
    ) -> Result<(), ManagerError> {
        self.catalog_of(id)?.request_job(id, kind).await?;
        self.publish(id).await?;
        self.wake.notify_one();
        Ok(())
    }

    pub(crate) fn visible(&self, tenant: &str) -> Visible {
        let visible = self.visible.read().unwrap_or_else(PoisonError::into_inner);
        Visible::Only(visible.get(tenant).cloned().unwrap_or_default())
    }

    /// Has searches see a repository; returns whether they did not.
    pub(crate) fn show(&self, tenant: &str, id: RepositoryId) -> bool {
        let mut visible = self.visible.write().unwrap_or_else(PoisonError::into_inner);
        change_visible(&mut visible, tenant, (id, true))
    }

    pub(crate) fn hide(&self, tenant: &str, id: RepositoryId) {
        let mut visible = self.visible.write().unwrap_or_else(PoisonError::into_inner);
        change_visible(&mut visible, tenant, (id, false));
    }

    /// Hides every repository of a shard, and forgets what was still to be done with them.
    pub(crate) fn hide_shard(&self, shard: u32) {
        let other = |id: &RepositoryId| self.index.number_of(*id) != shard;
        let mut visible = self.visible.write().unwrap_or_else(PoisonError::into_inner);
        for ids in visible.values_mut() {
            Arc::make_mut(ids).retain(other);
        }
        drop(visible);
        lock(&self.symbols_pending).retain(other);
        lock(&self.outdated).retain(|id, _| other(id));
        lock(&self.history_pending).retain(other);
        lock(&self.mirrors_pending).retain(|id, _| other(id));
        lock(&self.watchers).retain(|id, _| other(id));
    }

    /// Has searches see these repositories of a shard, each given with its tenant, and no others of it, if `still`
    /// says that it is to be so.
    pub(crate) fn show_only<'a>(
        &self,
        shard: u32,
        still: impl Fn() -> bool,
        repositories: impl Iterator<Item = (&'a str, RepositoryId)>,
    ) {
        let mut visible = self.visible.write().unwrap_or_else(PoisonError::into_inner);
        if !still() {
            return;
        }
        let mut wanted: HashMap<&str, HashSet<RepositoryId>> = HashMap::new();
        let mut present = HashSet::new();
        for (tenant, id) in repositories {
            wanted.entry(tenant).or_default().insert(id);
            present.insert(id);
        }
        for tenant in wanted.keys() {
            visible.entry((*tenant).to_owned()).or_default();
        }
        let is_of_it = |id: &RepositoryId| self.index.number_of(*id) == shard;
        for (tenant, ids) in visible.iter_mut() {
            let wanted = wanted.remove(tenant.as_str()).unwrap_or_default();
            let known = ids.iter().filter(|id| is_of_it(id));
            // Searches that run have the set: it is copied only when it changes.
            if known.clone().count() != wanted.len() || !known.clone().all(|id| wanted.contains(id))
            {
                let ids = Arc::make_mut(ids);
                ids.retain(|id| !is_of_it(id));
                ids.extend(wanted);
            }
        }
        lock(&self.outdated).retain(|id, _| !is_of_it(id) || present.contains(id));
    }

    /// Has searches see these repositories unless they were removed, if `still` says that it is to be so.
    pub(crate) fn show_as_recorded(&self, still: impl Fn() -> bool, records: &[Record]) {
        let mut visible = self.visible.write().unwrap_or_else(PoisonError::into_inner);
        if still() {
            for Record { repository, removed, .. } in records {
                change_visible(&mut visible, &repository.tenant, (repository.id, !removed));
            }
        }
    }

    /// Starts no jobs for a while.
    pub(crate) fn pause(&self, reason: String) {
        let since = OffsetDateTime::now_utc();
        let until = since + self.config.disk_full_pause;
        tracing::error!(%reason, %until, "indexing waits");
        *lock(&self.pause) = Some(Pause { reason, since, until });
    }

    /// The pause, unless its time is over.
    pub(crate) fn paused(&self) -> Option<Pause> {
        if let Some(crowded) = self.crowded() {
            return Some(crowded);
        }
        let mut pause = lock(&self.pause);
        if pause.as_ref().is_some_and(|pause| pause.until <= OffsetDateTime::now_utc()) {
            *pause = None;
        }
        pause.clone()
    }
}

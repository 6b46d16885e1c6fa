//! One owner of the catalog, the mirrors, the index and the jobs that bring them together.
//!
//! What is to be done with a repository is a row of the catalog before it starts and until it is
//! done: a restart continues it. Long work runs on threads of its own, see `blocking`.

mod blocking;
mod browse;
mod cluster;
mod history;
mod indexing;
mod inner;
mod job;
mod maintenance;
mod mirrors;
mod names;
mod parts;
mod reconcile;
mod replicas;
mod restoring;
mod scheduler;
mod shards;
mod types;
mod uploads;
mod watermark;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use aeterna_index::search::Visible;
use aeterna_index::{RepositoryId, ShardSet};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub use cluster::{Activated, HeldShard, SearchedCopy, ShardSource, ShardState};
pub use mirrors::RestoredMirrors;
pub use parts::PlaceParts;
pub use replicas::Following;
pub use types::{
    AddRepository, Added, FileContent, Health, ListFilter, NotIndexed, Pause, TreeEntry, TreeKind,
};

use self::browse::Reading;
use self::inner::{Inner, lock};
use self::names::{check_globs, check_name, shortened};
use crate::ManagerError;
use crate::catalog::{Catalog, Inserted, JobKind, NewRepository, Record};
use crate::config::ManagerConfig;
use crate::git::RemoteUrl;
use crate::repository::{Event, EventKind, Repository, State};

/// Names tried for a repository whose own is taken: `name-2` and so on.
const NAME_TRIES: u32 = 100;
/// How long the catalog may take to answer before it counts as not answering.
const CATALOG_PATIENCE: Duration = Duration::from_secs(2);
/// How long a shutdown waits for work that was told to stop.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(20);

/// The owner of all repositories of a node.
pub struct RepoManager {
    inner: Arc<Inner>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// Threads that work behind everything else.
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl RepoManager {
    /// Opens the catalog, the index and the mirrors, brings them together, and starts the work
    /// that is due. To be called in a multi-threaded tokio runtime, which must outlive the manager.
    ///
    /// # Errors
    /// When a folder cannot be made, the catalog not be reached, or another process has the index.
    pub async fn open(config: ManagerConfig) -> Result<Arc<Self>, ManagerError> {
        create_folder(&config.base_path)?;
        // SQLite makes its file and not the folder of it.
        if let Some(folder) = config.database.sqlite_folder() {
            create_folder(&folder)?;
        }
        // The index's lock also keeps a second process away from the mirrors.
        let opening = config.clone();
        let index = blocking::run("open-index", move || open_index(&opening)).await?;
        let catalog =
            Catalog::open(&config.database, config.database_connections, config.max_events).await?;
        if let Some(cluster) = &config.cluster {
            let number_of = |id| index.number_of(id);
            catalog.join_cluster(cluster.cluster, cluster.shards, number_of).await?;
        }
        let inner = Arc::new(Inner::new(config, catalog, Arc::new(index)));
        reconcile::reconcile(&inner).await?;
        let threads = vec![
            start_thread("maintenance", &inner, maintenance::run)?,
            start_thread("history", &inner, history::run)?,
            start_thread("mirrors", &inner, mirrors::run)?,
        ];
        let tasks = vec![
            start_task("scheduler", &inner, scheduler::run(inner.clone())),
            start_task("uploads", &inner, uploads::run(inner.clone())),
            start_task("replicas", &inner, replicas::run(inner.clone())),
            start_task("watermark", &inner, watermark::run(inner.clone())),
        ];
        Ok(Arc::new(Self { inner, tasks: Mutex::new(tasks), threads: Mutex::new(threads) }))
    }

    /// Adds a repository and starts to index it. The same URL again gives the one that exists.
    ///
    /// # Errors
    /// When the URL, name or globs are not usable, or the given name belongs to another URL.
    pub async fn add(&self, add: AddRepository) -> Result<Added, ManagerError> {
        self.add_as(RepositoryId(Uuid::now_v7()), add).await
    }

    /// [`RepoManager::add`] with the identity that it gets if it is new: in a cluster that says
    /// which shard it belongs to, and so which node has to be asked.
    ///
    /// # Errors
    /// As [`RepoManager::add`], and when the shard is not held here (`shard-not-held`).
    pub async fn add_as(
        &self,
        id: RepositoryId,
        add: AddRepository,
    ) -> Result<Added, ManagerError> {
        self.check_running()?;
        self.inner.check_held(id)?;
        let catalog = self.inner.catalog_of(id)?;
        check_globs(&add.branches)?;
        if let Some(name) = &add.name {
            check_name(name)?;
        }
        let url = self.parse_url(&add.url).await?;
        let mut new = NewRepository {
            id,
            tenant: add.tenant,
            name: add.name.clone().unwrap_or_else(|| url.default_name()),
            url: url.to_string(),
            url_key: url.key(),
            branches: add.branches,
            state: State::Approved,
        };
        let wanted = new.name.clone();
        for number in 2..=NAME_TRIES {
            let inserted = catalog.insert(&new).await;
            // Also where it is not known whether it is in the catalog: its job is, too, if it is.
            self.inner.wake.notify_one();
            crate::failpoint!("add-unheard");
            match inserted? {
                Inserted::New(record) => return self.added(record).await,
                Inserted::SameUrl(record) => {
                    check_branches(&record.repository, &new.branches)?;
                    let repository = self.complete(record).await?;
                    return Ok(Added { repository, created: false });
                }
                Inserted::NameTaken(_) if add.name.is_none() => {
                    new.name = format!("{wanted}-{number}");
                }
                Inserted::NameTaken(other) => return Err(name_taken(&other)),
            }
        }
        Err(ManagerError::NameTaken { name: wanted, url: "several repositories".to_owned() })
    }

    async fn added(&self, record: Record) -> Result<Added, ManagerError> {
        let id = record.repository.id;
        self.inner.show(&record.repository.tenant, id);
        let message = format!("added from {}", record.repository.url);
        self.inner.event(id, EventKind::Added, &message).await;
        self.inner.publish(id).await?;
        let repository = self.complete(record).await?;
        Ok(Added { repository, created: true })
    }

    async fn parse_url(&self, url: &str) -> Result<RemoteUrl, ManagerError> {
        // A local path is looked at on disk.
        let (url, config) = (url.to_owned(), self.inner.config.git.clone());
        blocking::run("parse-url", move || Ok(RemoteUrl::parse(&url, &config)?)).await
    }

    /// The repositories of a tenant that the filter lets through, by name.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn list(&self, filter: &ListFilter) -> Result<Vec<Repository>, ManagerError> {
        let jobs = self.inner.catalog.jobs().await?;
        let (mut filter, wanted) = (filter.clone(), filter.limit as usize);
        let mut found = Vec::new();
        loop {
            let records = self.inner.catalog.list(&filter).await?;
            let is_last = records.len() < filter.limit as usize;
            filter.after = records.last().map(|last| last.repository.name.clone());
            let all = records.into_iter().map(|record| self.inner.complete(record, &jobs));
            // One in parts may be in another state than its first part.
            found.extend(all.filter(|one| filter.state.is_none_or(|state| one.state == state)));
            if is_last || found.len() >= wanted {
                found.truncate(wanted);
                return Ok(found);
            }
        }
    }

    /// A repository of a tenant.
    ///
    /// # Errors
    /// [`ManagerError::NotFound`], or when the catalog fails.
    pub async fn get(&self, tenant: &str, id: RepositoryId) -> Result<Repository, ManagerError> {
        let record = self.inner.catalog.record(id).await?;
        match record.filter(|record| !record.removed && record.repository.tenant == tenant) {
            Some(record) => self.complete(record).await,
            None => Err(ManagerError::NotFound { what: id.to_string() }),
        }
    }

    /// The repository of a tenant that has this id, name, or URL.
    ///
    /// # Errors
    /// [`ManagerError::NotFound`], or when the catalog fails.
    pub async fn resolve(&self, tenant: &str, what: &str) -> Result<Repository, ManagerError> {
        if let Ok(id) = Uuid::parse_str(what) {
            return self.get(tenant, RepositoryId(id)).await;
        }
        if let Some(record) = self.inner.catalog.find_name(tenant, what).await? {
            return self.complete(record).await;
        }
        if let Ok(url) = self.parse_url(what).await
            && let Some(record) = self.inner.catalog.find_url(tenant, &url.key()).await?
        {
            return self.complete(record).await;
        }
        Err(ManagerError::NotFound { what: shortened(what) })
    }

    async fn complete(&self, record: Record) -> Result<Repository, ManagerError> {
        let jobs = self.inner.catalog.jobs().await?;
        Ok(self.inner.complete(record, &jobs))
    }

    /// The repository, whatever its tenant: who may see it was decided by the caller.
    async fn existing(&self, id: RepositoryId) -> Result<Record, ManagerError> {
        let record = self.inner.catalog.record(id).await?.filter(|record| !record.removed);
        record.ok_or_else(|| ManagerError::NotFound { what: id.to_string() })
    }

    /// Has a repository fetched and what changed indexed; asked for twice it is done once.
    ///
    /// # Errors
    /// [`ManagerError::NotFound`], or when the catalog fails.
    pub async fn sync(&self, id: RepositoryId) -> Result<(), ManagerError> {
        self.request(id, JobKind::Sync, "a sync was asked for").await
    }

    /// Has a repository fetched and all of it indexed again; meanwhile what was indexed stays.
    ///
    /// # Errors
    /// [`ManagerError::NotFound`], or when the catalog fails.
    pub async fn reindex(&self, id: RepositoryId) -> Result<(), ManagerError> {
        self.request(id, JobKind::Reindex, "a new indexing was asked for").await
    }

    async fn request(
        &self,
        id: RepositoryId,
        kind: JobKind,
        message: &str,
    ) -> Result<(), ManagerError> {
        self.check_running()?;
        self.inner.check_held(id)?;
        self.existing(id).await?;
        self.inner.event(id, EventKind::Queued, message).await;
        self.inner.request(id, kind).await
    }

    /// Removes a repository: from now on nothing finds it. Its files go in the background, and
    /// work on it stops.
    ///
    /// # Errors
    /// [`ManagerError::NotFound`], or when the catalog fails.
    pub async fn remove(&self, id: RepositoryId) -> Result<(), ManagerError> {
        self.check_running()?;
        self.inner.check_held(id)?;
        let record = self.existing(id).await?;
        let marked = self.inner.catalog_of(id)?.mark_removed(id).await;
        // As after an addition.
        self.inner.wake.notify_one();
        crate::failpoint!("remove-unheard");
        marked?;
        self.inner.hide(&record.repository.tenant, id);
        self.inner.cancel(id);
        self.inner.publish(id).await
    }

    /// The newest events of a repository, newest first.
    ///
    /// # Errors
    /// [`ManagerError::NotFound`], or when the catalog fails.
    pub async fn events(&self, id: RepositoryId, limit: u32) -> Result<Vec<Event>, ManagerError> {
        self.existing(id).await?;
        Ok(self.inner.catalog.events(id, limit).await?)
    }

    /// Files whose content is not in the index, by path, after a path.
    ///
    /// # Errors
    /// [`ManagerError::NotFound`], or when the catalog or the index fails.
    pub async fn not_indexed(
        &self,
        id: RepositoryId,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<NotIndexed>, ManagerError> {
        self.existing(id).await?;
        let index = self.inner.index.clone();
        blocking::run("not-indexed", move || {
            let files = index.shard_of(id)?.omitted(id, after.as_deref(), limit)?;
            let files = files.into_iter().map(|file| NotIndexed {
                path: file.path,
                reason: file.reason,
                revisions: file.revisions,
            });
            Ok(files.collect())
        })
        .await
    }

    /// The bytes of a file. `revision` is an indexed branch or tag, the id of its commit or seven
    /// or more digits of it, or the default branch when `None`.
    ///
    /// # Errors
    /// As [`ManagerError`] tells: the revision, path or object cannot be had, or is too large.
    pub async fn file(
        &self,
        id: RepositoryId,
        revision: Option<&str>,
        path: &[u8],
    ) -> Result<FileContent, ManagerError> {
        self.inner.check_held(id)?;
        let repository = self.existing(id).await?.repository;
        let reading = Reading::new(&self.inner, repository, revision, path)?;
        blocking::run("file", move || reading.file()).await
    }

    /// The entries of a folder, by name; `revision` as in [`RepoManager::file`], the path empty
    /// for the root.
    ///
    /// # Errors
    /// As [`RepoManager::file`].
    pub async fn tree(
        &self,
        id: RepositoryId,
        revision: Option<&str>,
        path: &[u8],
    ) -> Result<Vec<TreeEntry>, ManagerError> {
        self.inner.check_held(id)?;
        let repository = self.existing(id).await?.repository;
        let reading = Reading::new(&self.inner, repository, revision, path)?;
        blocking::run("tree", move || reading.tree()).await
    }

    /// Follows a repository: its state now, and each change. The channel ends with the repository.
    ///
    /// # Errors
    /// [`ManagerError::NotFound`], or when the catalog fails.
    pub async fn watch(
        &self,
        id: RepositoryId,
    ) -> Result<watch::Receiver<Repository>, ManagerError> {
        self.inner.check_held(id)?;
        let record = self.existing(id).await?;
        let repository = self.complete(record).await?;
        let receiver = self.inner.watch(repository);
        // What changed between reading and watching.
        self.inner.publish(id).await?;
        Ok(receiver)
    }

    /// The catalog.
    pub fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    /// The search index.
    pub fn index(&self) -> &Arc<ShardSet> {
        &self.inner.index
    }

    /// The repositories of a tenant that a search may see.
    pub fn visible(&self, tenant: &str) -> Visible {
        self.inner.visible(tenant)
    }

    /// How the manager is.
    pub async fn health(&self) -> Health {
        // Whoever asks wants to know now, not when the database's own deadlines are over.
        let jobs = tokio::time::timeout(CATALOG_PATIENCE, self.inner.catalog.jobs()).await;
        let jobs = jobs.ok().and_then(Result::ok);
        let running = lock(&self.inner.running).len();
        Health {
            catalog: jobs.is_some(),
            failed_tasks: lock(&self.inner.failed_tasks).clone(),
            paused: self.inner.paused(),
            running,
            waiting: jobs.map_or(0, |jobs| jobs.len().saturating_sub(running)),
        }
    }

    fn check_running(&self) -> Result<(), ManagerError> {
        if self.inner.stopping() { Err(ManagerError::ShuttingDown) } else { Ok(()) }
    }

    /// Stops all work, which continues at the next start, and closes the catalog.
    pub async fn shutdown(&self) {
        self.inner.stop();
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        let threads = std::mem::take(&mut *lock(&self.threads));
        let stopped = async {
            for task in tasks {
                if let Err(error) = task.await {
                    tracing::error!(%error, "a task ended badly");
                }
            }
            for thread in threads {
                let name = thread.thread().name().unwrap_or_default().to_owned();
                let joined = blocking::run("join", move || Ok(thread.join().is_ok())).await;
                if !matches!(joined, Ok(true)) {
                    tracing::error!(name, "a thread ended badly");
                }
            }
        };
        if tokio::time::timeout(SHUTDOWN_WAIT, stopped).await.is_err() {
            tracing::warn!("some work did not stop in time; it continues at the next start");
        }
        self.inner.catalog.close().await;
    }
}

impl Drop for RepoManager {
    fn drop(&mut self) {
        self.inner.stop();
    }
}

impl std::fmt::Debug for RepoManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RepoManager").field("base_path", &self.inner.config.base_path).finish()
    }
}

/// Refuses to answer with a repository that has other branches than were asked for.
fn check_branches(existing: &Repository, wanted: &[String]) -> Result<(), ManagerError> {
    if wanted.is_empty() || wanted == existing.branches {
        return Ok(());
    }
    let branches = match existing.branches.as_slice() {
        [] => "its default one".to_owned(),
        globs => globs.join(", "),
    };
    Err(ManagerError::OtherBranches { name: existing.name.clone(), branches })
}

fn name_taken(other: &Record) -> ManagerError {
    let Repository { name, url, .. } = &other.repository;
    ManagerError::NameTaken { name: name.clone(), url: url.clone() }
}

fn create_folder(path: &Path) -> Result<(), ManagerError> {
    fs::create_dir_all(path).map_err(|source| ManagerError::Io {
        action: "cannot create the folder",
        path: path.to_owned(),
        source,
    })
}

/// Starts a thread whose end before the manager's is told of in [`Health`].
fn start_thread(
    name: &'static str,
    inner: &Arc<Inner>,
    run: fn(&Arc<Inner>, &tokio::runtime::Handle),
) -> Result<thread::JoinHandle<()>, ManagerError> {
    let (inner, runtime) = (inner.clone(), tokio::runtime::Handle::current());
    let work = move || {
        let run = std::panic::AssertUnwindSafe(|| run(&inner, &runtime));
        if std::panic::catch_unwind(run).is_err() {
            lock(&inner.failed_tasks).push(name.to_owned());
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|source| ManagerError::Io {
        action: "cannot start the thread",
        path: name.into(),
        source,
    })
}

/// Starts a task, and one that sees it end.
fn start_task(
    name: &'static str,
    inner: &Arc<Inner>,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let inner = inner.clone();
    tokio::spawn(async move {
        if let Err(error) = tokio::spawn(task).await {
            tracing::error!(name, %error, "a task of the manager failed");
            lock(&inner.failed_tasks).push(name.to_owned());
        }
    })
}

/// The index with every shard open, or in a cluster with none: the node is told which to hold.
fn open_index(config: &ManagerConfig) -> Result<ShardSet, ManagerError> {
    let (path, options) = (&config.index_path, config.index.clone());
    let Some(cluster) = &config.cluster else {
        return Ok(ShardSet::open(path, config.shards, options)?);
    };
    let index = ShardSet::open_none(path, cluster.shards, options)?;
    restoring::remove_leftovers(path)?;
    Ok(index)
}

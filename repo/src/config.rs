//! What a [`crate::RepoManager`] is opened with; each limit has a name and a default.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aeterna_index::ShardOptions;
use uuid::Uuid;

use crate::cold_storage::ColdStorage;
use crate::disk::DiskProbe;

/// Settings of a [`crate::RepoManager`].
#[derive(Clone, Debug)]
pub struct ManagerConfig {
    /// Folder of the mirrors (`CODE_SEARCH_BASE_PATH`), one folder for each repository id.
    pub base_path: PathBuf,
    /// Folder of the search index.
    pub index_path: PathBuf,
    /// The catalog: `sqlite://path` or `postgres://…` (`DATABASE_URL`). May hold a password, and
    /// is therefore in no log and no error.
    pub database: DatabaseUrl,
    /// Connections to the catalog at most.
    pub database_connections: u32,
    /// Shards of a new index; an existing one keeps its number.
    pub shards: u32,
    /// Settings of the index.
    pub index: ShardOptions,
    /// Repositories that are fetched or indexed at the same time.
    pub workers: usize,
    /// What may be fetched, and for how long.
    pub git: GitConfig,
    /// How failed jobs are tried again.
    pub retry: RetryConfig,
    /// How long indexing waits after the disk was full.
    pub disk_full_pause: Duration,
    /// Percent of a disk that are in use when fetching and indexing stop until there is room again.
    pub disk_critical_percent: u64,
    /// How often it is looked how full the disks are.
    pub disk_look_every: Duration,
    /// Who tells how full they are.
    pub disk: DiskProbe,
    /// Syncs every repository this often; `None`, the default, syncs only when asked to.
    pub sync_interval: Option<Duration>,
    /// Revisions of one repository that are indexed at most.
    pub max_revisions: usize,
    /// Tree entries that are listed in memory before they are handed to the index: revisions are
    /// applied in batches of about so many.
    pub batch_entries: usize,
    /// Events kept for each repository.
    pub max_events: u32,
    /// Told of every indexing how long it took, from what was fetched until it could be searched.
    pub indexed: Observer,
    /// Commits of one repository that are read at most for the last changes of its files.
    pub history_commits: u64,
    /// Niceness of the threads that fetch, index, merge segments, read symbols and read last changes.
    pub background_nice: i32,
    /// Set for a node of a cluster, which holds the shards that it is told to; `None` for one that
    /// holds all there are.
    pub cluster: Option<ClusterShards>,
}

/// What a node of a cluster needs to hold some of its shards.
#[derive(Clone, Debug)]
pub struct ClusterShards {
    /// The cluster's identity.
    pub cluster: Uuid,
    /// Shards of the cluster; fixed when it is founded.
    pub shards: u32,
    /// Where shards are kept beside their owners' disks.
    pub cold: Arc<ColdStorage>,
    /// Shards that are uploaded at the same time.
    pub uploads: usize,
    /// Wait after an upload failed; twice as long after each further failure.
    pub upload_retry: Duration,
    /// Longest wait between two attempts to upload a shard.
    pub upload_retry_longest: Duration,
    /// How often what cold storage no longer needs of a shard is removed, after an upload.
    pub garbage_every: Duration,
    /// How old that must be: someone may be restoring it.
    pub garbage_grace: Duration,
    /// How often mirrors of other nodes' shards are looked for on this node's disk. One that is
    /// found twice is removed.
    pub mirrors_every: Duration,
    /// How often it is looked whether the owner of a copied shard has uploaded something; what the
    /// catalog says of its repositories is looked at as often, but at least every second.
    pub follow_every: Duration,
    /// How often a copy's shard is listed instead of only asking for its owner's next manifest: what a new
    /// owner has written is found though nobody has told of it.
    pub list_every: Duration,
    /// A copy that has not been known to be up to date for longer counts as stale.
    pub stale_after: Duration,
    /// Copied shards that are looked at, or brought up to date, at the same time.
    pub follows: usize,
    /// Bytes of different contents, over all indexed revisions, that are indexed in one part: a repository
    /// with more is indexed in several, each in a shard of its own.
    pub part_bytes: u64,
    /// How often it is looked for jobs that another node has asked for: those of parts.
    pub jobs_every: Duration,
}

impl ClusterShards {
    /// The defaults.
    pub fn new(cluster: Uuid, shards: u32, cold: Arc<ColdStorage>) -> Self {
        Self {
            cluster,
            shards,
            cold,
            uploads: 2,
            upload_retry: Duration::from_secs(1),
            upload_retry_longest: Duration::from_secs(60),
            garbage_every: Duration::from_secs(3600),
            garbage_grace: Duration::from_secs(24 * 3600),
            mirrors_every: Duration::from_secs(6 * 3600),
            follow_every: Duration::from_secs(1),
            list_every: Duration::from_secs(30),
            stale_after: Duration::from_secs(10),
            follows: 4,
            part_bytes: 4 << 30,
            jobs_every: Duration::from_secs(3),
        }
    }
}

impl ManagerConfig {
    /// The defaults with everything under one data folder and SQLite as the catalog.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        let data = data.into();
        Self {
            base_path: data.join("repositories"),
            index_path: data.join("index"),
            database: DatabaseUrl::sqlite(&data.join("catalog.db")),
            database_connections: 8,
            shards: 16,
            index: ShardOptions::default(),
            workers: 2,
            git: GitConfig::default(),
            retry: RetryConfig::default(),
            disk_full_pause: Duration::from_secs(30),
            disk_critical_percent: 98,
            disk_look_every: Duration::from_secs(5),
            disk: DiskProbe::default(),
            sync_interval: None,
            max_revisions: 10_000,
            batch_entries: 1_000_000,
            max_events: 500,
            indexed: Observer::default(),
            history_commits: 2_000_000,
            background_nice: 15,
            cluster: None,
        }
    }
}

/// Someone who wants to know how long something took.
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<dyn Fn(Duration) + Send + Sync>>);

impl Observer {
    /// Calls `tell` each time; it must not wait.
    pub fn new(tell: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }

    pub(crate) fn tell(&self, elapsed: Duration) {
        if let Some(tell) = &self.0 {
            tell(elapsed);
        }
    }
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Observer" } else { "nobody" })
    }
}

/// The catalog's address; its `Debug` shows the kind of database alone.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// From `sqlite:…` or `postgres:…`; what it is worth shows when it is opened.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// A SQLite file.
    pub fn sqlite(path: &Path) -> Self {
        let path = path.to_string_lossy();
        let path = path.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
        Self(format!("sqlite://{path}"))
    }

    /// A SQLite file's path.
    pub(crate) fn sqlite_path(&self) -> Option<PathBuf> {
        let path = self.0.strip_prefix("sqlite://")?.split('?').next()?;
        let path = path.replace("%23", "#").replace("%3F", "?").replace("%25", "%");
        (!path.is_empty() && path != ":memory:").then(|| PathBuf::from(path))
    }

    /// The folder of a SQLite file.
    pub(crate) fn sqlite_folder(&self) -> Option<PathBuf> {
        self.sqlite_path()?.parent().map(Path::to_owned)
    }

    /// The address with its password, for the driver alone.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `sqlite`, `postgres` or `unknown`.
    pub fn kind(&self) -> &'static str {
        match self.0.split(':').next() {
            Some("sqlite") => "sqlite",
            Some("postgres" | "postgresql") => "postgres",
            _ => "unknown",
        }
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DatabaseUrl({})", self.kind())
    }
}

/// What may be fetched, and for how long.
#[derive(Clone, Debug)]
pub struct GitConfig {
    /// Whether plain paths and `file://` may be added: whoever may add them reads every repository
    /// that this process can read.
    pub allow_local_paths: bool,
    /// Whether `http://` may be added. Nothing protects it on its way.
    pub allow_http: bool,
    /// Whether `http://` may be added when its host is a loopback address.
    pub allow_loopback_http: bool,
    /// The program that speaks ssh.
    pub ssh_program: PathBuf,
    /// The program that makes and reads git bundles.
    pub git_program: PathBuf,
    /// Time that making or reading one bundle may take.
    pub bundle_timeout: Duration,
    /// Time that one fetch may take.
    pub fetch_timeout: Duration,
    /// Time that connecting may take.
    pub connect_timeout: Duration,
    /// A fetch that receives nothing for so long has failed.
    pub stall_timeout: Duration,
    /// Bytes that a mirror may take on disk, checked while receiving.
    pub max_repository_bytes: u64,
    /// Files of one revision that are listed at most.
    pub max_files: usize,
    /// Bytes of one file that [`crate::RepoManager::file`] returns at most.
    pub max_file_bytes: u64,
    /// Bytes of pack delta bases that each reading thread caches.
    pub delta_cache_bytes: usize,
}

impl Default for GitConfig {
    fn default() -> Self {
        Self {
            allow_local_paths: true,
            allow_http: false,
            allow_loopback_http: false,
            ssh_program: PathBuf::from("ssh"),
            git_program: PathBuf::from("git"),
            bundle_timeout: Duration::from_secs(3600),
            fetch_timeout: Duration::from_secs(2 * 3600),
            connect_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_secs(60),
            max_repository_bytes: 64 << 30,
            max_files: 5_000_000,
            max_file_bytes: 32 << 20,
            delta_cache_bytes: 48 << 20,
        }
    }
}

/// How failed jobs are tried again: after `first`, then twice as long each time up to `longest`.
#[derive(Clone, Debug)]
pub struct RetryConfig {
    /// Attempts in all.
    pub attempts: u32,
    /// Wait after the first failure.
    pub first: Duration,
    /// Longest wait.
    pub longest: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { attempts: 8, first: Duration::from_secs(5), longest: Duration::from_secs(1800) }
    }
}

impl RetryConfig {
    /// The wait after `failures` failed attempts; `None` when there is no further one.
    pub fn wait(&self, failures: u32) -> Option<Duration> {
        if failures == 0 || failures >= self.attempts {
            return None;
        }
        let doubled = self.first.checked_mul(1u32.checked_shl(failures - 1).unwrap_or(u32::MAX));
        Some(doubled.unwrap_or(self.longest).min(self.longest))
    }
}

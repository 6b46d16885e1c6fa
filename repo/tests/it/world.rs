//! Nodes that share a catalog and cold storage, with a folder each.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aeterna_index::search::SearchRequest;
use aeterna_index::{RepositoryId, ShardSet};
use aeterna_repo::cold_storage::{ColdProgress, ColdStorage, ColdStorageConfig};
use aeterna_repo::{
    ClusterShards, DEFAULT_TENANT, DatabaseUrl, ManagerConfig, RepoManager, ShardSource,
};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::{Origin, PATIENCE, add, test_git};

pub const SHARDS: u32 = 4;
pub const CLUSTER: Uuid = Uuid::from_u128(7);

/// What the nodes of a cluster share.
pub struct World {
    folder: TempDir,
    pub cold: Arc<ColdStorage>,
}

impl World {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let config = ColdStorageConfig::Local { folder: folder.path().join("cold") };
        let cold = Arc::new(ColdStorage::open(config).unwrap());
        Self { folder, cold }
    }

    pub fn cold_folder(&self) -> PathBuf {
        self.folder.path().join("cold")
    }

    pub fn database(&self) -> DatabaseUrl {
        DatabaseUrl::sqlite(&self.folder.path().join("catalog.db"))
    }

    pub fn config(&self, node: &str) -> ManagerConfig {
        let mut config = ManagerConfig::new(self.folder.path().join(node));
        config.database = self.database();
        config.git = test_git();
        let mut cluster = ClusterShards::new(CLUSTER, SHARDS, self.cold.clone());
        cluster.upload_retry = Duration::from_millis(20);
        config.cluster = Some(cluster);
        config
    }

    pub async fn open(&self, node: &str) -> Arc<RepoManager> {
        RepoManager::open(self.config(node)).await.unwrap()
    }

    /// A node that owns every shard under epoch 1, with repositories in all of them, everything
    /// uploaded.
    pub async fn owner(&self, node: &str) -> Owner {
        let manager = self.open(node).await;
        activate_all(&manager, 1).await;
        let repositories = filled(&manager).await;
        settled(&manager).await;
        let found = search(&manager, "needle count:all");
        Owner { manager, repositories, found }
    }
}

/// See [`World::owner`].
pub struct Owner {
    pub manager: Arc<RepoManager>,
    pub repositories: Vec<(Origin, RepositoryId)>,
    /// What a search for all of them finds.
    pub found: Vec<String>,
}

pub fn quiet() -> ColdProgress {
    Arc::new(|_, _| {})
}

/// Activates every shard and tells where each came from.
pub async fn activate_all(manager: &RepoManager, epoch: u64) -> Vec<ShardSource> {
    let mut sources = Vec::new();
    for shard in 0..SHARDS {
        sources.push(manager.activate_shard(shard, epoch, quiet()).await.unwrap().source);
    }
    sources
}

/// Waits until cold storage has all that the shards have committed and nothing more is to be done.
pub async fn settled(manager: &RepoManager) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let states = manager.shard_states();
        let is_uploaded = |generation, uploaded: Option<u64>| uploaded.unwrap_or(0) == generation;
        let uploaded =
            states.iter().all(|held| is_uploaded(held.generation, held.uploaded_generation));
        let idle = manager.index().shards().iter().all(|shard| {
            let pending = |id| shard.symbols_pending(id) || shard.history_pending(id);
            shard.repositories().iter().all(|info| !pending(info.id))
        });
        if uploaded && idle {
            return;
        }
        assert!(Instant::now() < deadline, "not settled: {states:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Every result of a search, as it is sent.
pub fn search(manager: &RepoManager, query: &str) -> Vec<String> {
    let visible = manager.visible(DEFAULT_TENANT);
    let request = SearchRequest { context_lines: 1, ..SearchRequest::new(query, visible) };
    let response = manager.index().search(&request).unwrap();
    response.results.iter().map(|result| format!("{result:?}")).collect()
}

/// Repositories with a file each, enough for every shard to have one.
pub async fn filled(manager: &RepoManager) -> Vec<(Origin, RepositoryId)> {
    let (mut filled, mut shards) = (Vec::new(), BTreeSet::new());
    while shards.len() < SHARDS as usize {
        let text = format!("needle number {}\nfn found_it() {{}}\n", filled.len());
        let origin = Origin::with_file("src/lib.rs", &text);
        let repository = add(manager, &origin.url(), &[]).await;
        shards.insert(number_of(manager.index(), repository.id));
        filled.push((origin, repository.id));
    }
    filled
}

pub fn number_of(index: &ShardSet, id: RepositoryId) -> u32 {
    index.number_of(id)
}

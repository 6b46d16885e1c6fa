//! What a start makes of what the last process left behind.

use std::fs;

use aeterna_index::{ContentReader, ContentSource, ReadError};
use aeterna_index::{NoProgress, RepositoryId, RepositoryInfo, RepositoryUpdate, ShardSet};
use aeterna_repo::catalog::{Catalog, Inserted, JobKind, NewRepository};
use aeterna_repo::{DEFAULT_TENANT, EventKind, RepoManager, State};
use uuid::Uuid;

use crate::support::{Node, Origin, add, gone, ready, sync, wait};

struct Nothing;

impl ContentSource for Nothing {
    fn reader(&self) -> Result<Box<dyn ContentReader + '_>, ReadError> {
        Err(ReadError::Missing)
    }
}

async fn catalog(node: &Node) -> Catalog {
    Catalog::open(&node.config().database, 2, 100).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_after_a_restart() {
    let node = Node::new();
    let origin = Origin::with_file("a", "x");
    let manager = node.open().await;
    let before = add(&manager, &origin.url(), &[]).await;
    manager.shutdown().await;
    drop(manager);
    let manager = node.open().await;
    let after = manager.get(DEFAULT_TENANT, before.id).await.unwrap();
    assert_eq!(after.revisions, before.revisions);
    assert_eq!(after.state, State::Ready);
    let file = manager.file(before.id, None, b"a").await.unwrap();
    assert_eq!(file.content, b"x");
    assert!(matches!(
        manager.visible(DEFAULT_TENANT),
        aeterna_index::search::Visible::Only(ids) if ids.contains(&before.id)
    ));
    origin.write("b", b"y");
    origin.commit("pushed");
    sync(&manager, before.id).await;
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_was_cut_off_continues_by_itself() {
    let origin = Origin::with_file("a", "x");
    for state in [State::Approved, State::Cloning, State::Indexing] {
        for job in [true, false] {
            let node = Node::new();
            node.open().await.shutdown().await;
            let left = catalog(&node).await;
            let new = NewRepository {
                id: RepositoryId(Uuid::now_v7()),
                tenant: DEFAULT_TENANT.to_owned(),
                name: "a/b".to_owned(),
                url: origin.url(),
                url_key: origin.url(),
                branches: Vec::new(),
                state,
            };
            assert!(matches!(left.insert(&new).await.unwrap(), Inserted::New(_)));
            if job {
                left.request_job(new.id, JobKind::Sync).await.unwrap();
            }
            left.close().await;
            let half = node.config().base_path.join(format!("tmp-{}", new.id));
            fs::create_dir_all(half.join("objects/pack")).unwrap();
            fs::write(half.join("objects/pack/copying"), "half").unwrap();
            let manager = node.open().await;
            let repository = ready(&manager, new.id).await;
            assert_eq!(repository.revisions.len(), 1, "{state} {job}");
            assert!(!half.exists());
            let events = manager.events(new.id, 10).await.unwrap();
            let recovered = events.iter().any(|event| event.kind == EventKind::Recovered);
            assert_eq!(recovered, state != State::Approved, "{state} {job}");
            manager.shutdown().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_was_cut_off_continues() {
    let node = Node::new();
    let origin = Origin::with_file("a", "x");
    let manager = node.open().await;
    let repository = add(&manager, &origin.url(), &[]).await;
    manager.shutdown().await;
    drop(manager);
    let left = catalog(&node).await;
    left.mark_removed(repository.id).await.unwrap();
    left.close().await;
    let manager = node.open().await;
    assert!(manager.get(DEFAULT_TENANT, repository.id).await.is_err());
    gone(&manager, repository.id, &node).await;
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_was_lost_is_built_again() {
    let node = Node::new();
    let origin = Origin::with_file("a", "x");
    let manager = node.open().await;
    let before = add(&manager, &origin.url(), &[]).await;
    manager.shutdown().await;
    drop(manager);
    fs::remove_dir_all(node.config().index_path).unwrap();
    let manager = node.open().await;
    let after = wait(&manager, before.id, |repository| {
        repository.state == State::Ready && repository.indexed_at > before.indexed_at
    })
    .await;
    assert_eq!(after.revisions, before.revisions);
    assert_eq!(after.document_count, before.document_count);
    let indexed = manager.index().shard_of(before.id).unwrap().revisions(before.id).unwrap();
    assert_eq!(indexed.len(), 1);
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_was_lost_or_damaged_is_fetched_again() {
    let node = Node::new();
    let origin = Origin::with_file("a", "x");
    origin.pack();
    let manager = node.open().await;
    let repository = add(&manager, &origin.url(), &[]).await;
    let mirror = node.config().base_path.join(repository.id.to_string());
    fs::remove_dir_all(&mirror).unwrap();
    let missing = manager.file(repository.id, None, b"a").await.unwrap_err();
    assert_eq!(missing.code(), "repository-not-cloned");
    sync(&manager, repository.id).await;
    assert!(manager.file(repository.id, None, b"a").await.is_ok());
    for entry in fs::read_dir(mirror.join("objects/pack")).unwrap() {
        let path = entry.unwrap().path();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "nonsense").unwrap();
    }
    sync(&manager, repository.id).await;
    assert!(manager.file(repository.id, None, b"a").await.is_ok());
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_catalog_does_not_know_is_cleaned_up() {
    let node = Node::new();
    let config = node.config();
    let stranger = RepositoryId(Uuid::now_v7());
    {
        let set = ShardSet::open(&config.index_path, config.shards, config.index.clone()).unwrap();
        let repository = RepositoryInfo {
            id: stranger,
            tenant: DEFAULT_TENANT.to_owned(),
            name: "a/stranger".to_owned(),
            default_branch: None,
            fork: false,
            archived: false,
            public: false,
            license: None,
            part: None,
        };
        let update = RepositoryUpdate { repository, revisions: Vec::new() };
        set.shard_of(stranger).unwrap().apply(&update, &Nothing, &NoProgress).unwrap();
    }
    let folders = [format!("tmp-{stranger}"), format!("tmp-{stranger}.old"), stranger.to_string()];
    for folder in &folders {
        fs::create_dir_all(config.base_path.join(folder).join("objects")).unwrap();
    }
    fs::create_dir_all(config.base_path.join("somebody else's")).unwrap();
    let manager = RepoManager::open(node.config()).await.unwrap();
    assert_eq!(manager.index().shard_of(stranger).unwrap().revisions(stranger), None);
    for folder in &folders {
        assert!(!config.base_path.join(folder).exists(), "{folder}");
    }
    assert!(config.base_path.join("somebody else's").exists());
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_refused() {
    let node = Node::new();
    let manager = node.open().await;
    let error = RepoManager::open(node.config()).await.unwrap_err();
    assert_eq!(error.code(), "index-failed");
    assert!(error.to_string().contains("another process"), "{error}");
    manager.shutdown().await;
}

//! What happens when each step of the work fails, or the disk is full.
//!
//! Failpoints are global to the process: each test takes the [`fail::FailScenario`], which one
//! test at a time can have.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aeterna_index::RepositoryId;
use aeterna_index::search::Visible;
use aeterna_repo::catalog::{Catalog, Fence};
use aeterna_repo::cold_storage::{ColdProgress, ColdStorage, ColdStorageConfig};
use aeterna_repo::{
    AddRepository, ClusterShards, DEFAULT_TENANT, DatabaseUrl, DiskProbe, DiskSpace, EventKind,
    ManagerConfig, RepoManager, Repository, RetryConfig, ShardSource, ShardState, State,
};
use fail::FailScenario;
use tempfile::TempDir;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);

/// Every place between a request and its end.
const STEPS: [&str; 6] =
    ["fetch-objects", "fetch-refs", "fetch-rename", "job-fetched", "index-apply", "job-indexed"];

fn git(folder: &Path, arguments: &[&str]) {
    let status = Command::new("git")
        .args(["-c", "user.name=A", "-c", "user.email=a@example.org"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .status();
    assert!(status.unwrap().success(), "git {arguments:?}");
}

fn origin() -> TempDir {
    let folder = TempDir::new().unwrap();
    git(folder.path(), &["init", "-q", "-b", "main"]);
    push(&folder, "first");
    folder
}

fn push(origin: &TempDir, text: &str) {
    std::fs::write(origin.path().join("file"), text).unwrap();
    git(origin.path(), &["add", "-A"]);
    git(origin.path(), &["commit", "-q", "-m", "push"]);
}

fn config(data: &TempDir) -> ManagerConfig {
    let mut config = ManagerConfig::new(data.path());
    config.shards = 1;
    config.disk_full_pause = Duration::from_millis(200);
    config.retry = RetryConfig {
        attempts: 5,
        first: Duration::from_millis(10),
        longest: Duration::from_millis(50),
    };
    config
}

async fn open(data: &TempDir) -> Arc<RepoManager> {
    RepoManager::open(config(data)).await.unwrap()
}

async fn add(manager: &RepoManager, origin: &TempDir) -> RepositoryId {
    let add = AddRepository {
        tenant: DEFAULT_TENANT.to_owned(),
        url: origin.path().to_str().unwrap().to_owned(),
        name: None,
        branches: Vec::new(),
    };
    manager.add(add).await.unwrap().repository.id
}

async fn wait(
    manager: &RepoManager,
    id: RepositoryId,
    wanted: impl Fn(&Repository) -> bool,
) -> Repository {
    let mut receiver = manager.watch(id).await.unwrap();
    let waiting = async {
        loop {
            let repository = receiver.borrow_and_update().clone();
            if wanted(&repository) {
                return repository;
            }
            receiver.changed().await.expect("the repository is gone");
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("in time")
}

async fn content(manager: &RepoManager, id: RepositoryId) -> Vec<u8> {
    manager.file(id, None, b"file").await.unwrap().content
}

/// Nothing but the repository's own mirror is left of all attempts.
fn only_mirror(data: &TempDir, id: RepositoryId) {
    let folders: Vec<_> = std::fs::read_dir(config(data).base_path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, [id.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_is_tried_again() {
    for step in STEPS {
        let scenario = FailScenario::setup();
        fail::cfg(step, "2*return->off").unwrap();
        let (data, origin) = (TempDir::new().unwrap(), origin());
        let manager = open(&data).await;
        let id = add(&manager, &origin).await;
        let failed = wait(&manager, id, |now| now.attempts == 2).await;
        assert!(failed.last_error.unwrap().contains(step));
        let ready = wait(&manager, id, |now| now.state == State::Ready).await;
        assert_eq!(
            (ready.attempts, ready.last_error, ready.document_count),
            (0, None, 1),
            "{step}"
        );
        assert_eq!(content(&manager, id).await, b"first");
        only_mirror(&data, id);
        manager.shutdown().await;
        scenario.teardown();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_leaves_what_was_indexed() {
    // The rename belongs to a new mirror, which a sync does not make.
    for step in STEPS.into_iter().filter(|step| *step != "fetch-rename") {
        let scenario = FailScenario::setup();
        let (data, origin) = (TempDir::new().unwrap(), origin());
        let manager = open(&data).await;
        let id = add(&manager, &origin).await;
        let before = wait(&manager, id, |now| now.state == State::Ready).await;
        push(&origin, "second");
        fail::cfg(step, "return").unwrap();
        manager.sync(id).await.unwrap();
        let given_up = wait(&manager, id, |now| now.attempts == 5).await;
        assert_eq!(given_up.revisions, before.revisions, "{step}");
        assert_eq!(content(&manager, id).await, b"first", "{step}");
        fail::remove(step);
        manager.sync(id).await.unwrap();
        wait(&manager, id, |now| now.state == State::Ready && now.indexed_at > before.indexed_at)
            .await;
        assert_eq!(content(&manager, id).await, b"second", "{step}");
        manager.shutdown().await;
        scenario.teardown();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_pauses_indexing_and_loses_nothing() {
    for step in STEPS {
        let scenario = FailScenario::setup();
        fail::cfg(step, "1*return(full)->off").unwrap();
        let (data, origin) = (TempDir::new().unwrap(), origin());
        let manager = open(&data).await;
        let id = add(&manager, &origin).await;
        let paused = wait(&manager, id, |now| now.state == State::Error).await;
        assert_eq!(paused.last_error_code.as_deref(), Some("disk-full"), "{step}");
        assert_eq!(paused.attempts, 0, "a full disk is not the repository's failure");
        assert!(paused.next_attempt_at.is_some());
        assert!(manager.health().await.paused.is_some(), "{step}");
        wait(&manager, id, |now| now.state == State::Ready).await;
        assert!(manager.health().await.paused.is_none());
        let events = manager.events(id, 100).await.unwrap();
        assert!(events.iter().any(|event| event.kind == EventKind::Paused));
        manager.shutdown().await;
        scenario.teardown();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_runs_when_the_disk_is_nearly_full_is_stopped_and_done_when_there_is_room() {
    for step in ["fetch-objects", "job-fetched"] {
        let scenario = FailScenario::setup();
        fail::cfg(step, "pause").unwrap();
        let (data, origin) = (TempDir::new().unwrap(), origin());
        let used = Arc::new(AtomicU64::new(50));
        let mut config = config(&data);
        let told = used.clone();
        config.disk = DiskProbe::new(move |_| {
            Ok(DiskSpace { total: 100, free: 100 - told.load(Ordering::Acquire) })
        });
        config.disk_look_every = Duration::from_millis(5);
        let manager = RepoManager::open(config).await.unwrap();
        let id = add(&manager, &origin).await;
        wait(&manager, id, |now| now.state == State::Cloning).await;
        used.store(98, Ordering::Release);
        while manager.health().await.paused.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Whoever was seen to begin by the look that saw the disk is stopped by the same look.
        fail::remove(step);
        let stopped = wait(&manager, id, |now| now.state == State::Error).await;
        assert_eq!(stopped.last_error_code.as_deref(), Some("disk-nearly-full"), "{step}");
        assert_eq!(stopped.attempts, 0, "it is not the repository's failure");
        let events = manager.events(id, 100).await.unwrap();
        assert!(events.iter().any(|event| event.kind == EventKind::Paused), "{events:?}");
        used.store(97, Ordering::Release);
        wait(&manager, id, |now| now.state == State::Ready).await;
        only_mirror(&data, id);
        manager.shutdown().await;
        scenario.teardown();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_fails_its_job_alone() {
    for step in ["fetch-objects", "index-apply"] {
        let scenario = FailScenario::setup();
        fail::cfg(step, "1*panic->off").unwrap();
        let (data, origin) = (TempDir::new().unwrap(), origin());
        let manager = open(&data).await;
        let id = add(&manager, &origin).await;
        wait(&manager, id, |now| now.state == State::Ready).await;
        let events = manager.events(id, 100).await.unwrap();
        let told = events.iter().find(|event| event.kind == EventKind::Failed).unwrap();
        assert!(told.message.contains("panicked"), "{told:?}");
        assert!(manager.health().await.failed_tasks.is_empty());
        manager.shutdown().await;
        scenario.teardown();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_fails_is_done_in_the_end() {
    for step in ["remove-index", "remove-mirror", "remove-row"] {
        let scenario = FailScenario::setup();
        let (data, origin) = (TempDir::new().unwrap(), origin());
        let manager = open(&data).await;
        let id = add(&manager, &origin).await;
        wait(&manager, id, |now| now.state == State::Ready).await;
        fail::cfg(step, "return").unwrap();
        manager.remove(id).await.unwrap();
        assert!(manager.get(DEFAULT_TENANT, id).await.is_err());
        manager.shutdown().await;
        drop(manager);
        fail::remove(step);
        // A new start finds the removal and ends it.
        let manager = open(&data).await;
        let mirrors = config(&data).base_path;
        tokio::time::timeout(PATIENCE, async {
            while std::fs::read_dir(&mirrors).unwrap().count() > 0
                || manager.index().shard_of(id).unwrap().revisions(id).is_some()
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("removed in time");
        manager.shutdown().await;
        scenario.teardown();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_catalog_has_done_is_finished_where_nobody_heard_of_it() {
    let scenario = FailScenario::setup();
    fail::cfg("add-unheard", "return").unwrap();
    let (data, origin) = (TempDir::new().unwrap(), origin());
    let manager = open(&data).await;
    let url = origin.path().to_str().unwrap().to_owned();
    let tenant = DEFAULT_TENANT.to_owned();
    let adding = AddRepository { tenant, url: url.clone(), name: None, branches: Vec::new() };
    manager.add(adding).await.unwrap_err();
    fail::remove("add-unheard");
    let id = manager.resolve(DEFAULT_TENANT, &url).await.unwrap().id;
    wait(&manager, id, |now| now.state == State::Ready).await;
    assert!(is_seen(&manager, id), "what is indexed is found");
    fail::cfg("remove-unheard", "return").unwrap();
    manager.remove(id).await.unwrap_err();
    fail::remove("remove-unheard");
    assert!(manager.get(DEFAULT_TENANT, id).await.is_err(), "hidden all the same");
    tokio::time::timeout(PATIENCE, async {
        while manager.index().shard_of(id).unwrap().revisions(id).is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("removed in time");
    assert!(!is_seen(&manager, id));
    manager.shutdown().await;
    scenario.teardown();
}

/// A manager of a cluster with one shard, which shares all but its folder with others.
async fn member(shared: &TempDir, name: &str) -> Arc<RepoManager> {
    let folder = shared.path().join("cold");
    let cold = ColdStorage::open(ColdStorageConfig::Local { folder }).unwrap();
    let mut config = ManagerConfig::new(shared.path().join(name));
    config.database = DatabaseUrl::sqlite(&shared.path().join("catalog.db"));
    config.cluster = Some(ClusterShards::new(Uuid::from_u128(1), 1, Arc::new(cold)));
    RepoManager::open(config).await.unwrap()
}

/// A repository in the one shard, which its owner has let go of with all of it in cold storage.
async fn indexed_and_released(shared: &TempDir, origin: &TempDir) -> RepositoryId {
    let owner = member(shared, "a").await;
    owner.activate_shard(0, 1, quiet()).await.unwrap();
    let id = add(&owner, origin).await;
    wait(&owner, id, |now| now.state == State::Ready).await;
    owner.release_shard(0, true).await.unwrap();
    owner.shutdown().await;
    id
}

fn quiet() -> ColdProgress {
    Arc::new(|_, _| {})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_wakes_up_after_its_shard_was_taken_over_changes_nothing() {
    for step in ["job-fetched", "job-indexed"] {
        let scenario = FailScenario::setup();
        let (shared, origin) = (TempDir::new().unwrap(), origin());
        let a = member(&shared, "a").await;
        a.activate_shard(0, 1, quiet()).await.unwrap();
        let id = add(&a, &origin).await;
        wait(&a, id, |now| now.state == State::Ready).await;
        push(&origin, "second");
        fail::cfg(step, "pause").unwrap();
        a.sync(id).await.unwrap();
        let waits = if step == "job-fetched" { State::Cloning } else { State::Indexing };
        wait(&a, id, |now| now.state == waits).await;
        // The failpoint holds every job of the process: the successor starts once it is lifted.
        let b = member(&shared, "b").await;
        let before = b.get(DEFAULT_TENANT, id).await.unwrap();
        let database = DatabaseUrl::sqlite(&shared.path().join("catalog.db"));
        let catalog = Catalog::open(&database, 1, 100).await.unwrap();
        catalog.raise_epoch(Fence { shard: 0, epoch: 2 }).await.unwrap();
        fail::remove(step);
        let deadline = Instant::now() + PATIENCE;
        while a.holds(0).is_some() {
            assert!(Instant::now() < deadline, "{:?}", a.shard_states());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let after = b.get(DEFAULT_TENANT, id).await.unwrap();
        assert_eq!((after.state, after.indexed_at), (before.state, before.indexed_at), "{step}");
        assert_eq!(after.revisions, before.revisions, "{step}");
        assert!(after.next_attempt_at.is_some(), "{step}: the job is the successor's");
        b.activate_shard(0, 3, quiet()).await.unwrap();
        let ready = wait(&b, id, |now| now.state == State::Ready).await;
        assert_ne!(ready.revisions, before.revisions);
        assert_eq!(content(&b, id).await, b"second");
        a.shutdown().await;
        b.shutdown().await;
        scenario.teardown();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_indexing_that_was_cut_off_is_not_older_than_anything() {
    let scenario = FailScenario::setup();
    let (shared, origin) = (TempDir::new().unwrap(), origin());
    let a = member(&shared, "a").await;
    a.activate_shard(0, 1, quiet()).await.unwrap();
    // It is in the index, and the catalog never hears of it.
    fail::cfg("job-indexed", "return").unwrap();
    let id = add(&a, &origin).await;
    wait(&a, id, |now| now.state == State::Error).await;
    a.release_shard(0, true).await.unwrap();
    a.shutdown().await;
    let b = member(&shared, "b").await;
    let activated = b.activate_shard(0, 2, quiet()).await.unwrap();
    assert_eq!(activated.source, ShardSource::ColdStorage);
    assert!(b.index().shard_of(id).unwrap().revisions(id).is_some());
    assert_eq!(b.outdated(&[0]), [""; 0]);
    fail::remove("job-indexed");
    b.sync(id).await.unwrap();
    wait(&b, id, |now| now.state == State::Ready).await;
    assert_eq!(b.outdated(&[0]), [""; 0]);
    b.shutdown().await;
    scenario.teardown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_cannot_be_restored_says_so_and_is_taken_over_when_it_can_be() {
    let scenario = FailScenario::setup();
    let shared = TempDir::new().unwrap();
    let a = member(&shared, "a").await;
    fail::cfg("shard-restored", "1*return").unwrap();
    let failed = a.activate_shard(0, 1, quiet()).await.unwrap_err().to_string();
    let state = a.shard_states().remove(0).state;
    assert_eq!(state, ShardState::Failed { error: failed });
    assert_eq!(a.holds(0), None);
    a.activate_shard(0, 1, quiet()).await.unwrap();
    assert_eq!(a.holds(0), Some(1));
    a.shutdown().await;
    scenario.teardown();
}

fn is_seen(manager: &RepoManager, id: RepositoryId) -> bool {
    match manager.visible(DEFAULT_TENANT) {
        Visible::Only(ids) => ids.contains(&id),
        Visible::All => true,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_that_becomes_its_own_finds_nothing_that_was_removed_meanwhile() {
    let scenario = FailScenario::setup();
    let (shared, origin) = (TempDir::new().unwrap(), origin());
    let id = indexed_and_released(&shared, &origin).await;
    let b = member(&shared, "b").await;
    b.replicate_shard(0, 1, quiet()).await.unwrap();
    assert!(is_seen(&b, id));
    fail::cfg("shard-restored", "pause").unwrap();
    let taker = b.clone();
    let taking_over = tokio::spawn(async move { taker.activate_shard(0, 2, quiet()).await });
    let database = DatabaseUrl::sqlite(&shared.path().join("catalog.db"));
    let catalog = Catalog::open(&database, 1, 100).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while catalog.under(Fence { shard: 0, epoch: 2 }).mark_removed(id).await.is_err() {
        assert!(Instant::now() < deadline, "{:?}", b.shard_states());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(b.searched_copy(0).is_some(), "it is searched as a copy");
    b.compare_copies().await.unwrap();
    assert!(!is_seen(&b, id));
    fail::remove("shard-restored");
    taking_over.await.unwrap().unwrap();
    assert!(!is_seen(&b, id));
    b.shutdown().await;
    scenario.teardown();
}

/// What a machine that lost its power leaves of files that were never synced.
fn lose_unsynced(index: &Path) {
    for entry in std::fs::read_dir(index.join("0000")).unwrap() {
        let path = entry.unwrap().path();
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(length / 2).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_shard_is_served_before_it_is_durable_and_restored_anew_after_a_crash() {
    let scenario = FailScenario::setup();
    let (shared, origin) = (TempDir::new().unwrap(), origin());
    let id = indexed_and_released(&shared, &origin).await;
    fail::cfg("sync-shard", "pause").unwrap();
    let b = member(&shared, "b").await;
    let source = b.activate_shard(0, 2, quiet()).await.unwrap().source;
    assert_eq!((source, b.holds(0)), (ShardSource::ColdStorage, Some(2)), "served unsynced");
    // What is committed on top is lost with what it builds on, and done again.
    push(&origin, "second");
    b.sync(id).await.unwrap();
    let ready = |now: &Repository| now.state == State::Ready && now.next_attempt_at.is_none();
    let before = b.get(DEFAULT_TENANT, id).await.unwrap().indexed_at;
    wait(&b, id, |now| ready(now) && now.indexed_at >= before).await;
    let uploaded = b.shard_states().remove(0).uploaded_generation;
    assert_ne!(uploaded, Some(b.shard_states().remove(0).generation), "uploads wait for it");
    b.shutdown().await;
    drop(b);
    let index = shared.path().join("b/index");
    assert!(!index.join("0000.origin").exists(), "not said to be whole");
    lose_unsynced(&index);
    // The thread that synced ends; nobody waits for it any more, and it says nothing.
    fail::remove("sync-shard");
    let b = member(&shared, "b").await;
    let source = b.activate_shard(0, 2, quiet()).await.unwrap().source;
    assert_eq!(source, ShardSource::ColdStorage);
    wait(&b, id, |now| ready(now) && now.revisions.len() == 1).await;
    let deadline = Instant::now() + PATIENCE;
    while content(&b, id).await != b"second" || !index.join("0000.origin").exists() {
        assert!(Instant::now() < deadline, "{:?}", b.shard_states());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    b.release_shard(0, true).await.unwrap();
    let source = b.activate_shard(0, 3, quiet()).await.unwrap().source;
    assert_eq!(source, ShardSource::Local, "durable by now");
    b.shutdown().await;
    scenario.teardown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_shard_that_cannot_be_synced_is_given_up_and_restored_anew() {
    let scenario = FailScenario::setup();
    let (shared, origin) = (TempDir::new().unwrap(), origin());
    let id = indexed_and_released(&shared, &origin).await;
    fail::cfg("sync-shard", "1*return->off").unwrap();
    let b = member(&shared, "b").await;
    b.activate_shard(0, 2, quiet()).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !matches!(b.shard_states().remove(0).state, ShardState::Failed { .. }) {
        assert!(Instant::now() < deadline, "{:?}", b.shard_states());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let source = b.activate_shard(0, 2, quiet()).await.unwrap().source;
    assert_eq!(source, ShardSource::ColdStorage);
    assert!(b.index().shard_of(id).unwrap().revisions(id).is_some());
    b.shutdown().await;
    scenario.teardown();
}

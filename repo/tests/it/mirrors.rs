//! Mirrors in cold storage as git bundles, and what a shard's new owner makes of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use aeterna_index::RepositoryId;
use aeterna_repo::cold_storage::{ColdFile, Depth, Place};
use aeterna_repo::{DEFAULT_TENANT, EventKind, RepoManager, State};
use tempfile::TempDir;

use crate::support::{Origin, PATIENCE, add, git, ready, sync, wait};
use crate::world::{World, activate_all, search, settled};

/// Waits until cold storage has the mirror with so many bundles, for a commit.
async fn bundled(
    world: &World,
    id: RepositoryId,
    bundles: usize,
    commit: &str,
) -> BTreeMap<String, ColdFile> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let newest = world.cold.newest_mirror(id.0).await.unwrap();
        if let Some(files) = newest.and_then(|manifest| manifest.files) {
            let refs = fs::read_to_string(world.cold_folder().join(&files["packed-refs"].key));
            let number = files.keys().filter(|name| name.ends_with(".bundle")).count();
            if refs.unwrap().contains(commit) {
                assert_eq!(number, bundles, "{files:?}");
                return files;
            }
        }
        assert!(Instant::now() < deadline, "no bundle in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn bundle(world: &World, files: &BTreeMap<String, ColdFile>, name: &str) -> PathBuf {
    world.cold_folder().join(&files[name].key)
}

async fn content(manager: &RepoManager, id: RepositoryId, path: &str) -> Vec<u8> {
    manager.file(id, None, path.as_bytes()).await.unwrap().content
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_are_what_git_reads() {
    for format in ["sha1", "sha256"] {
        let world = World::new();
        let manager = world.open("a").await;
        activate_all(&manager, 1).await;
        let origin = Origin::with_format(format);
        origin.write("a", b"one");
        let first = origin.commit("first");
        origin.git(&["branch", "side"]);
        let id = add(&manager, &origin.url(), &["*"]).await.id;
        bundled(&world, id, 1, &first).await;
        origin.write("b", b"two");
        let second = origin.commit("second");
        sync(&manager, id).await;
        let files = bundled(&world, id, 2, &second).await;
        // A tag on what is there brings no objects: no bundle is made for it.
        origin.git(&["tag", "v1", &first]);
        origin.git(&["branch", "-D", "side"]);
        sync(&manager, id).await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let newest = world.cold.newest_mirror(id.0).await.unwrap().unwrap();
            let newest = newest.files.unwrap();
            if newest["packed-refs"] != files["packed-refs"] {
                assert_eq!(newest["000001.bundle"], files["000001.bundle"]);
                assert!(!newest.contains_key("000002.bundle"));
                break;
            }
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let clone = TempDir::new().unwrap();
        let full = bundle(&world, &files, "000000.bundle");
        let full = full.to_str().unwrap();
        git(clone.path(), &["clone", "-q", full, "clone"]);
        let clone = clone.path().join("clone");
        assert_eq!(git(&clone, &["rev-parse", "HEAD"]), first);
        let more = bundle(&world, &files, "000001.bundle");
        git(&clone, &["bundle", "verify", more.to_str().unwrap()]);
        git(&clone, &["pull", "-q", more.to_str().unwrap(), "main"]);
        assert_eq!(fs::read(clone.join("b")).unwrap(), b"two");
        let verified =
            world.cold.verify(Place::Mirror(id.0), Depth::Contents, &|_| {}).await.unwrap();
        // Both states name the first bundle.
        assert_eq!((verified.problems, verified.files), (Vec::new(), 9));
        manager.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_owner_has_the_mirror_though_the_remote_is_gone() {
    let world = World::new();
    let a = world.open("a").await;
    activate_all(&a, 1).await;
    let origin = Origin::with_file("a", "needle");
    let first = origin.head();
    let id = add(&a, &origin.url(), &[]).await.id;
    bundled(&world, id, 1, &first).await;
    origin.write("b", b"needle two");
    let second = origin.commit("second");
    sync(&a, id).await;
    bundled(&world, id, 2, &second).await;
    settled(&a).await;
    drop(a);
    let url = origin.url();
    drop(origin);
    assert!(!PathBuf::from(url).exists());
    let b = world.open("b").await;
    activate_all(&b, 2).await;
    let deadline = Instant::now() + PATIENCE;
    while b.events(id, 20).await.unwrap().iter().all(|event| event.kind != EventKind::Restored) {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(content(&b, id, "b").await, b"needle two");
    assert_eq!(search(&b, "needle count:all").len(), 2);
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_index_and_remote_a_repository_is_indexed_from_its_bundles() {
    let world = World::new();
    let a = world.open("a").await;
    activate_all(&a, 1).await;
    let origin = Origin::with_file("a", "needle");
    let id = add(&a, &origin.url(), &[]).await.id;
    bundled(&world, id, 1, &origin.head()).await;
    settled(&a).await;
    a.shutdown().await;
    drop((a, origin));
    fs::remove_dir_all(world.cold_folder().join("shards")).unwrap();
    let b = world.open("b").await;
    activate_all(&b, 2).await;
    let failed = wait(&b, id, |now| now.state == State::Error && now.progress.is_none()).await;
    assert!(failed.next_attempt_at.is_some() || failed.last_error.is_some());
    let events = b.events(id, 20).await.unwrap();
    assert_eq!(search(&b, "needle count:all").len(), 1, "{events:?}");
    assert!(events.iter().any(|event| event.message.contains("indexed meanwhile")), "{events:?}");
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_whose_bundle_is_lost_is_fetched_again() {
    let world = World::new();
    let a = world.open("a").await;
    activate_all(&a, 1).await;
    let origin = Origin::with_file("a", "needle");
    let id = add(&a, &origin.url(), &[]).await.id;
    let files = bundled(&world, id, 1, &origin.head()).await;
    settled(&a).await;
    a.shutdown().await;
    drop(a);
    fs::write(bundle(&world, &files, "000000.bundle"), b"nonsense").unwrap();
    let b = world.open("b").await;
    activate_all(&b, 2).await;
    let deadline = Instant::now() + PATIENCE;
    while b.file(id, None, b"a").await.is_err() {
        assert!(Instant::now() < deadline, "{:?}", b.events(id, 20).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ready(&b, id).await;
    let events = b.events(id, 20).await.unwrap();
    assert!(events.iter().any(|event| event.kind == EventKind::Damaged), "{events:?}");
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_rewritten_or_removed_leaves_nothing_wrong_behind() {
    let world = World::new();
    let a = world.open("a").await;
    activate_all(&a, 1).await;
    let origin = Origin::with_file("a", "one");
    let id = add(&a, &origin.url(), &[]).await.id;
    bundled(&world, id, 1, &origin.head()).await;
    origin.git(&["checkout", "-q", "--orphan", "other"]);
    origin.write("a", b"rewritten");
    let rewritten = origin.commit("rewritten");
    origin.git(&["branch", "-f", "main", "other"]);
    origin.git(&["checkout", "-q", "main"]);
    origin.git(&["branch", "-D", "other"]);
    origin.git(&["reflog", "expire", "--expire=now", "--all"]);
    origin.git(&["gc", "-q", "--prune=now"]);
    sync(&a, id).await;
    let deadline = Instant::now() + PATIENCE;
    let files = loop {
        let newest = world.cold.newest_mirror(id.0).await.unwrap().unwrap().files.unwrap();
        let refs = fs::read_to_string(world.cold_folder().join(&newest["packed-refs"].key));
        if refs.unwrap().contains(&rewritten) {
            break newest;
        }
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(files.contains_key("000000.bundle"));
    settled(&a).await;
    a.shutdown().await;
    drop(a);
    let b = world.open("b").await;
    activate_all(&b, 2).await;
    let deadline = Instant::now() + PATIENCE;
    while b.file(id, None, b"a").await.is_err() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(content(&b, id, "a").await, b"rewritten");
    b.remove(id).await.unwrap();
    let place = world.cold_folder().join(format!("mirrors/{id}"));
    let is_empty = || {
        let mut left = vec![place.clone()];
        while let Some(path) = left.pop() {
            match fs::read_dir(&path) {
                Ok(entries) => left.extend(entries.map(|entry| entry.unwrap().path())),
                Err(_) if path.is_file() => return false,
                Err(_) => {}
            }
        }
        true
    };
    let deadline = Instant::now() + PATIENCE;
    while !is_empty() || b.get(DEFAULT_TENANT, id).await.is_ok() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    b.shutdown().await;
}

//! Shards that move between nodes: two managers with a folder each, one catalog and one cold storage.

use std::time::{Duration, Instant};

use aeterna_index::RepositoryId;
use aeterna_repo::catalog::{Catalog, JobKind};
use aeterna_repo::cold_storage::Depth;
use aeterna_repo::{
    ClusterShards, DEFAULT_TENANT, EventKind, RepoManager, ShardSource, ShardState, State,
};
use uuid::Uuid;

use crate::support::{Origin, PATIENCE, add, ready, sync, wait};
use crate::world::{
    CLUSTER, Owner, SHARDS, World, activate_all, filled, number_of, quiet, search, settled,
};

async fn catalog(world: &World) -> Catalog {
    Catalog::open(&world.database(), 2, 100).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_whose_owner_died_is_restored_and_the_dead_one_changes_nothing() {
    let world = World::new();
    let a = world.open("a").await;
    assert_eq!(activate_all(&a, 1).await, [ShardSource::Empty; SHARDS as usize]);
    let repositories = filled(&a).await;
    settled(&a).await;
    let before = search(&a, "needle count:all");
    assert_eq!(before.len(), repositories.len());
    let shared = catalog(&world).await;

    // It is not told anything, and goes on for a while beside its successor.
    let b = world.open("b").await;
    assert_eq!(activate_all(&b, 2).await, [ShardSource::ColdStorage; SHARDS as usize]);
    assert_eq!(search(&b, "needle count:all"), before);
    let (origin, id) = &repositories[0];
    let known = shared.record(*id).await.unwrap();
    let refused = a.sync(*id).await.unwrap_err();
    assert!(refused.is_fenced(), "{refused}");
    assert_eq!(refused.code(), "fenced");
    assert!(a.remove(*id).await.unwrap_err().is_fenced());
    assert_eq!(shared.record(*id).await.unwrap(), known);
    assert_eq!(shared.job(*id).await.unwrap(), None);
    let shard = number_of(a.index(), *id);
    // A job that is asked for by the successor is not run by the former owner.
    drop(a);

    origin.write("src/more.rs", b"needle once more");
    origin.commit("more");
    sync(&b, *id).await;
    settled(&b).await;
    assert_eq!(search(&b, "needle count:all").len(), before.len() + 1);
    let newest = world.cold.newest(shard).await.unwrap().unwrap();
    assert_eq!(newest.position.epoch, 2);
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_upload_is_refused_and_the_shard_no_longer_served() {
    let world = World::new();
    let Owner { manager: a, repositories, .. } = world.owner("a").await;
    let id = repositories[0].1;
    let shard = number_of(a.index(), id);
    world.cold.fence(shard, 2).await.unwrap();
    // The index changes without the catalog being asked.
    a.index().shard_of(id).unwrap().remove_repository(id).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while a.holds(shard).is_some() {
        assert!(Instant::now() < deadline, "{:?}", a.shard_states());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let state = a.shard_states().into_iter().find(|held| held.shard == shard).unwrap();
    assert!(matches!(state.state, ShardState::Failed { ref error } if error.contains("epoch 2")));
    let newest = world.cold.newest(shard).await.unwrap().unwrap();
    assert_eq!(newest.position.epoch, 2, "what the former owner uploaded is not there");
    assert_eq!(a.activate_shard(shard, 1, quiet()).await.unwrap_err().code(), "fenced");
    a.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_handed_over_takes_its_last_commit_along() {
    let world = World::new();
    let (a, b) = (world.open("a").await, world.open("b").await);
    activate_all(&a, 1).await;
    let repositories = filled(&a).await;
    settled(&a).await;
    let before = search(&a, "needle count:all");
    let (_, id) = &repositories[0];
    let shard = number_of(a.index(), *id);
    a.release_shard(shard, true).await.unwrap();
    assert_eq!(a.holds(shard), None);
    assert_eq!(a.sync(*id).await.unwrap_err().code(), "shard-not-held");
    assert!(search(&a, "needle count:all").len() < before.len());
    let activated = b.activate_shard(shard, 2, quiet()).await.unwrap();
    assert_eq!(activated.source, ShardSource::ColdStorage);
    assert_eq!(b.holds(shard), Some(2));
    let mut both = search(&a, "needle count:all");
    both.extend(search(&b, "needle count:all"));
    both.sort();
    let mut wanted = before;
    wanted.sort();
    assert_eq!(both, wanted);
    // Back again: what is on the disk is older than what cold storage has, or not.
    b.release_shard(shard, true).await.unwrap();
    let activated = a.activate_shard(shard, 3, quiet()).await.unwrap();
    assert_eq!(activated.source, ShardSource::Local, "nothing has changed meanwhile");
    let stale = a.activate_shard(shard, 2, quiet()).await.unwrap_err();
    assert_eq!(stale.code(), "stale-epoch");
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_with_an_old_disk_takes_what_is_newer() {
    let world = World::new();
    let Owner { manager: a, repositories, .. } = world.owner("a").await;
    a.shutdown().await;
    drop(a);
    let b = world.open("b").await;
    activate_all(&b, 2).await;
    let (origin, id) = &repositories[0];
    origin.write("src/more.rs", b"needle once more");
    origin.commit("more");
    sync(&b, *id).await;
    settled(&b).await;
    let before = search(&b, "needle count:all");
    let shard = number_of(b.index(), *id);
    b.shutdown().await;
    drop(b);
    let a = world.open("a").await;
    for number in 0..SHARDS {
        // The other node may have merged segments of more than the one shard.
        let is_old = world.cold.newest(number).await.unwrap().unwrap().origin.epoch == 1;
        assert!(!(is_old && number == shard));
        let wanted = if is_old { ShardSource::Local } else { ShardSource::ColdStorage };
        let activated = a.activate_shard(number, 3, quiet()).await.unwrap();
        assert_eq!(activated.source, wanted, "shard {number}");
    }
    assert_eq!(search(&a, "needle count:all"), before);
    a.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_uploaded_is_indexed_again() {
    let world = World::new();
    let Owner { manager: a, repositories, found: before } = world.owner("a").await;
    a.shutdown().await;
    drop(a);
    let shard = { world.open("x").await.index().number_of(repositories[0].1) };
    let files = world.cold_folder().join(format!("shards/{shard:04}"));
    std::fs::remove_dir_all(files).unwrap();
    let b = world.open("b").await;
    for number in 0..SHARDS {
        let activated = b.activate_shard(number, 2, quiet()).await.unwrap();
        let wanted = if number == shard { ShardSource::Empty } else { ShardSource::ColdStorage };
        assert_eq!(activated.source, wanted);
    }
    let id = repositories[0].1;
    let events = b.events(id, 20).await.unwrap();
    assert!(events.iter().any(|event| event.kind == EventKind::Recovered), "{events:?}");
    for (_, id) in &repositories {
        wait(&b, *id, |repository| {
            repository.next_attempt_at.is_none() && repository.progress.is_none()
        })
        .await;
        ready(&b, *id).await;
    }
    let (mut after, mut before) = (search(&b, "needle count:all"), before);
    // When it was indexed is part of a result.
    assert_eq!(after.len(), before.len());
    after.retain(|result| before.contains(result));
    before.retain(|result| after.contains(result));
    assert!(!after.is_empty() && after == before);
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_it_was_is_named_until_it_is_indexed_again() {
    let world = World::new();
    let Owner { manager: a, repositories, .. } = world.owner("a").await;
    let (origin, id) = &repositories[0];
    let name = a.get(DEFAULT_TENANT, *id).await.unwrap().name;
    let shard = number_of(a.index(), *id);
    a.shutdown().await;
    drop(a);
    // Neither the index nor the mirror was uploaded, and nothing can be fetched.
    std::fs::remove_dir_all(world.cold_folder().join(format!("shards/{shard:04}"))).unwrap();
    std::fs::remove_dir_all(world.cold_folder().join("mirrors")).unwrap();
    let (git, gone) = (origin.path().join(".git"), origin.path().join("gone"));
    std::fs::rename(&git, &gone).unwrap();
    let b = world.open("b").await;
    activate_all(&b, 2).await;
    assert!(b.outdated(&[shard]).contains(&name), "{:?}", b.outdated(&[shard]));
    let others: Vec<u32> = (0..SHARDS).filter(|other| *other != shard).collect();
    assert_eq!(b.outdated(&others), [""; 0]);
    std::fs::rename(&gone, &git).unwrap();
    b.sync(*id).await.unwrap();
    wait(&b, *id, |repository| repository.state == State::Ready).await;
    let deadline = Instant::now() + PATIENCE;
    while b.outdated(&[shard]).contains(&name) {
        assert!(Instant::now() < deadline, "{:?}", b.outdated(&[shard]));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_files_are_told_and_their_repositories_indexed_again() {
    let world = World::new();
    let Owner { manager: a, repositories, .. } = world.owner("a").await;
    let count = search(&a, "needle count:all").len();
    let id = repositories[0].1;
    let shard = number_of(a.index(), id);
    a.shutdown().await;
    drop(a);
    let manifest = world.cold.newest(shard).await.unwrap().unwrap();
    let segments: Vec<_> = manifest
        .files()
        .filter(|(name, _)| name.ends_with(".segment"))
        .map(|(_, file)| world.cold_folder().join(&file.key))
        .collect();
    std::fs::remove_file(&segments[0]).unwrap();
    if let Some(other) = segments.get(1) {
        std::fs::write(other, b"damaged").unwrap();
    }
    let b = world.open("b").await;
    let mut lost = Vec::new();
    for number in 0..SHARDS {
        lost.extend(b.activate_shard(number, 2, quiet()).await.unwrap().lost);
    }
    assert_eq!(lost.len(), segments.len().min(2), "{lost:?}");
    let deadline = Instant::now() + PATIENCE;
    while search(&b, "needle count:all").len() < count {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    settled(&b).await;
    b.shutdown().await;
    // The next one finds all of it.
    let c = world.open("c").await;
    assert_eq!(activate_all(&c, 3).await, [ShardSource::ColdStorage; SHARDS as usize]);
    assert_eq!(search(&c, "needle count:all").len(), count);
    c.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_clusters_and_counts_are_refused() {
    let world = World::new();
    world.open("a").await.shutdown().await;
    for (cluster, shards) in [(Uuid::from_u128(8), SHARDS), (CLUSTER, SHARDS + 1)] {
        let mut config = world.config(&format!("with {shards}"));
        config.cluster = Some(ClusterShards::new(cluster, shards, world.cold.clone()));
        let refused = RepoManager::open(config).await.unwrap_err().to_string();
        assert!(refused.contains("belongs to the cluster"), "{refused}");
    }
    let mut config = world.config("a");
    config.cluster = Some(ClusterShards::new(CLUSTER, SHARDS + 1, world.cold.clone()));
    assert!(RepoManager::open(config).await.is_err(), "the folder has another number");
    let mut config = world.config("c");
    config.cluster = None;
    let single = RepoManager::open(config).await.unwrap();
    assert_eq!(single.release_shard(0, true).await.unwrap_err().code(), "no-cluster");
    assert_eq!(single.holds(0), None);
    single.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_other_nodes_shards_are_left_alone() {
    let world = World::new();
    let (a, b) = (world.open("a").await, world.open("b").await);
    activate_all(&a, 1).await;
    let repositories = filled(&a).await;
    let id = repositories[0].1;
    settled(&a).await;
    let other = (0..SHARDS).find(|shard| *shard != number_of(a.index(), id)).unwrap();
    a.release_shard(other, true).await.unwrap();
    b.activate_shard(other, 2, quiet()).await.unwrap();
    let shared = catalog(&world).await;
    shared.request_job(id, JobKind::Sync).await.unwrap();
    let theirs = repositories.iter().find(|(_, id)| number_of(a.index(), *id) == other).unwrap().1;
    // Whatever `b` does now it does after it has looked at the job that is not its own.
    sync(&b, theirs).await;
    assert!(!shared.events(id, 100).await.unwrap().is_empty());
    assert_eq!(b.get(DEFAULT_TENANT, id).await.unwrap().id, id, "any node can tell of it");
    let request = |url: &str| crate::support::adding(url);
    let origin = Origin::with_file("a", "x");
    let new = loop {
        let id = RepositoryId(Uuid::now_v7());
        if number_of(b.index(), id) != other {
            break id;
        }
    };
    let refused = b.add_as(new, request(&origin.url())).await.unwrap_err();
    assert_eq!(refused.code(), "shard-not-held");
    assert_eq!(a.add_as(new, request(&origin.url())).await.unwrap().repository.id, new);
    ready(&a, new).await;
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn older_content_is_taken_where_the_newest_is_of_no_use() {
    let world = World::new();
    let a = world.open("a").await;
    activate_all(&a, 1).await;
    let origin = Origin::with_file("a", "needle one");
    let id = add(&a, &origin.url(), &[]).await.id;
    settled(&a).await;
    origin.write("b", b"needle two");
    origin.commit("second");
    sync(&a, id).await;
    settled(&a).await;
    let shard = number_of(a.index(), id);
    a.shutdown().await;
    drop(a);
    let newest = world.cold.newest(shard).await.unwrap().unwrap();
    let key = &newest.files.as_ref().unwrap()["manifest"].key;
    std::fs::remove_file(world.cold_folder().join(key)).unwrap();
    let b = world.open("b").await;
    let activated = b.activate_shard(shard, 2, quiet()).await.unwrap();
    assert_eq!((activated.source, activated.lost.len()), (ShardSource::ColdStorage, 1));
    let deadline = Instant::now() + PATIENCE;
    while search(&b, "needle count:all").len() < 2 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    settled(&b).await;
    // Files of what went on from there have names that the lost content had, too.
    let audit = world.cold.verify(shard, Depth::Contents, &|_| {}).await.unwrap();
    let lost: Vec<_> = audit.problems.iter().map(|lost| (&lost.key, lost.is_needed)).collect();
    assert_eq!(lost, [(key, false)], "only what was lost is missing, and nothing needs it");
    b.shutdown().await;
    let c = world.open("c").await;
    assert_eq!(c.activate_shard(shard, 3, quiet()).await.unwrap().source, ShardSource::ColdStorage);
    assert_eq!(search(&c, "needle count:all").len(), 2);
    c.shutdown().await;
}

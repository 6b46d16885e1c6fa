//! Shards that are taken over while the catalog does not answer: two managers with a folder each, one catalog and
//! one cold storage.

use std::time::{Duration, Instant};

use aeterna_repo::{Activated, RepoManager, ShardSource, ShardState};
use sqlx::{Connection, Executor, SqliteConnection};

use crate::support::{PATIENCE, sync};
use crate::world::{Owner, SHARDS, World, activate_all, number_of, quiet, search, settled};

/// Keeps everyone from changing the catalog until it is dropped.
async fn lock(world: &World) -> SqliteConnection {
    let mut connection = SqliteConnection::connect(world.database().expose()).await.unwrap();
    connection.execute("BEGIN IMMEDIATE").await.unwrap();
    connection
}

async fn activate(manager: &RepoManager, epoch: u64) -> Vec<Activated> {
    let mut all = Vec::new();
    for shard in 0..SHARDS {
        all.push(manager.activate_shard(shard, epoch, quiet()).await.unwrap());
    }
    all
}

/// Asks again until every shard is this node's own.
async fn activated(manager: &RepoManager, epoch: u64) -> Vec<Activated> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let all = activate(manager, epoch).await;
        if all.iter().all(|activated| !activated.awaits_catalog) {
            return all;
        }
        assert!(Instant::now() < deadline, "{all:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_nodes_shards_are_searched_while_the_catalog_is_away() {
    let world = World::new();
    let Owner { manager: a, repositories, found: before } = world.owner("a").await;
    let b = world.open("b").await;
    let locked = lock(&world).await;
    let begun = Instant::now();
    let all = activate(&b, 2).await;
    assert!(all.iter().all(|activated| activated.awaits_catalog), "{all:?}");
    assert!(all.iter().all(|activated| activated.source == ShardSource::ColdStorage), "{all:?}");
    // Only the first waits for it.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(search(&b, "needle count:all"), before);
    for shard in 0..SHARDS {
        assert_eq!((b.holds(shard), b.searches(shard)), (None, None));
        assert!(b.searched_copy(shard).is_some());
    }
    assert!(b.shard_states().iter().all(|held| held.state == ShardState::Replica));
    // Nothing was claimed: who owned them until now still does, as long as nobody else can say so.
    let shard = number_of(b.index(), repositories[0].1);
    let newest = world.cold.newest(shard).await.unwrap().unwrap();
    assert_eq!(newest.position.epoch, 1);
    assert_eq!(b.sync(repositories[0].1).await.unwrap_err().code(), "shard-not-held");

    drop(locked);
    let all = activated(&b, 2).await;
    assert!(all.iter().all(|activated| activated.source == ShardSource::Local), "{all:?}");
    assert_eq!(search(&b, "needle count:all"), before);
    assert_eq!(b.holds(shard), Some(2));
    assert!(a.sync(repositories[0].1).await.unwrap_err().is_fenced());
    let (origin, id) = &repositories[0];
    origin.write("src/more.rs", b"needle once more");
    origin.commit("more");
    drop(a);
    sync(&b, *id).await;
    settled(&b).await;
    assert_eq!(search(&b, "needle count:all").len(), before.len() + 1);
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_its_own_disk_has_is_kept_while_the_catalog_is_away() {
    let world = World::new();
    let Owner { manager: a, repositories, found: before } = world.owner("a").await;
    // Nothing can be written below a file.
    let shards = world.cold_folder().join("shards");
    let away = world.cold_folder().join("away");
    std::fs::rename(&shards, &away).unwrap();
    std::fs::write(&shards, "").unwrap();
    let (origin, id) = &repositories[0];
    origin.write("src/more.rs", b"needle once more");
    origin.commit("more");
    sync(&a, *id).await;
    let after = search(&a, "needle count:all");
    assert_eq!(after.len(), before.len() + 1);
    a.shutdown().await;
    drop(a);
    std::fs::remove_file(&shards).unwrap();
    std::fs::rename(&away, &shards).unwrap();

    let mut config = world.config("a");
    if let Some(cluster) = &mut config.cluster {
        cluster.follow_every = Duration::from_millis(10);
        cluster.list_every = Duration::from_millis(10);
    }
    let a = RepoManager::open(config).await.unwrap();
    let locked = lock(&world).await;
    let all = activate(&a, 2).await;
    assert!(all.iter().all(|activated| activated.awaits_catalog && activated.bytes == 0));
    assert_eq!(search(&a, "needle count:all"), after);
    // Whoever fences a shard off writes again, under its epoch, what was uploaded: that is older than this disk.
    let shard = number_of(a.index(), *id);
    let fence = world.cold.fence(shard, 2).await.unwrap();
    let same = fence.content.unwrap().position;
    let deadline = Instant::now() + PATIENCE;
    let seen =
        || a.shard_states().into_iter().find(|held| held.shard == shard)?.following?.position;
    while seen() != Some(same) {
        assert!(Instant::now() < deadline, "{:?} is not {same}", seen());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(search(&a, "needle count:all"), after);
    drop(locked);
    activated(&a, 2).await;
    assert_eq!(search(&a, "needle count:all"), after);
    settled(&a).await;
    a.shutdown().await;
    drop(a);
    // It came to cold storage, too.
    let b = world.open("b").await;
    assert_eq!(activate_all(&b, 3).await, [ShardSource::ColdStorage; SHARDS as usize]);
    assert_eq!(search(&b, "needle count:all"), after);
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_node_uploads_meanwhile_comes_in_the_place_of_what_the_disk_had() {
    let world = World::new();
    let Owner { manager: a, repositories, .. } = world.owner("a").await;
    a.shutdown().await;
    drop(a);
    let a = world.open("a").await;
    let b = world.open("b").await;
    let locked = lock(&world).await;
    activate(&a, 2).await;
    drop(locked);
    // It was paused, and another node was given the shards.
    activate_all(&b, 3).await;
    let (origin, id) = &repositories[0];
    origin.write("src/more.rs", b"needle once more");
    origin.commit("more");
    sync(&b, *id).await;
    settled(&b).await;
    let after = search(&b, "needle count:all");
    let shard = number_of(a.index(), *id);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match a.activate_shard(shard, 2, quiet()).await {
            Err(error) if error.is_fenced() => break,
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    b.shutdown().await;
    drop(b);
    activated(&a, 4).await;
    assert_eq!(search(&a, "needle count:all"), after);
    a.shutdown().await;
}

//! Copies of shards that another node owns: two managers with a folder each, one catalog and one cold
//! storage.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aeterna_index::RepositoryId;
use aeterna_repo::{RepoManager, ShardSource, ShardState};

use crate::shards::{World, activate_all, filled, number_of, quiet, search, settled};
use crate::support::{PATIENCE, sync};

/// A node that follows quickly.
async fn follower(world: &World, node: &str) -> Arc<RepoManager> {
    let mut config = world.config(node);
    if let Some(cluster) = &mut config.cluster {
        cluster.follow_every = Duration::from_millis(10);
    }
    RepoManager::open(config).await.unwrap()
}

async fn replicate_all(manager: &RepoManager, epoch: u64) {
    for shard in 0..manager.index().count() {
        manager.replicate_shard(shard, epoch, quiet()).await.unwrap();
    }
}

/// Waits until a search finds what is wanted.
async fn found(manager: &RepoManager, query: &str, wanted: &[String]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = search(manager, query);
        if found == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?} is not {wanted:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until every copy is equal to the newest upload of its owner.
async fn followed(world: &World, manager: &RepoManager) {
    let deadline = Instant::now() + PATIENCE;
    for shard in 0..manager.index().count() {
        let newest = world.cold.newest(shard).await.unwrap().unwrap().position;
        let position = || {
            let states = manager.shard_states();
            states.into_iter().find(|held| held.shard == shard)?.following?.position
        };
        while position() != Some(newest) {
            assert!(Instant::now() < deadline, "{:?} is not {newest}", position());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn state(manager: &RepoManager, shard: u32) -> ShardState {
    let states = manager.shard_states();
    states.into_iter().find(|held| held.shard == shard).unwrap().state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_follows_its_owner_and_claims_nothing() {
    let world = World::new();
    let a = world.open("a").await;
    activate_all(&a, 1).await;
    let repositories = filled(&a).await;
    settled(&a).await;
    let before = search(&a, "needle count:all");

    let b = follower(&world, "b").await;
    replicate_all(&b, 1).await;
    assert_eq!(search(&b, "needle count:all"), before);
    let (origin, id) = &repositories[0];
    let shard = number_of(b.index(), *id);
    assert_eq!((b.holds(shard), b.searches(shard)), (None, None));
    assert_eq!(state(&b, shard), ShardState::Replica);
    assert_eq!(b.searched_copy(shard).unwrap().epoch, 1);
    assert_eq!(b.sync(*id).await.unwrap_err().not_held(), Some(shard));

    // What the owner commits comes, and the owner goes on undisturbed.
    origin.write("src/more.rs", b"needle once more");
    origin.commit("more");
    sync(&a, *id).await;
    settled(&a).await;
    let after = search(&a, "needle count:all");
    assert_eq!(after.len(), before.len() + 1);
    followed(&world, &b).await;
    assert_eq!(search(&b, "needle count:all"), after);
    let newest = world.cold.newest(shard).await.unwrap().unwrap();
    assert_eq!(newest.position.epoch, 1, "a copy writes nothing in cold storage");
    assert!(!b.searched_copy(shard).unwrap().is_stale);

    b.release_shard(shard, true).await.unwrap();
    assert_eq!(b.searched_copy(shard), None);
    assert!(b.shard_states().iter().all(|held| held.shard != shard));
    assert!(search(&b, "needle count:all").len() < after.len());
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_of_a_copy_miss_nothing_while_it_is_replaced_and_taken_over() {
    let world = World::new();
    let a = world.open("a").await;
    activate_all(&a, 1).await;
    let repositories = filled(&a).await;
    settled(&a).await;
    let least = search(&a, "needle count:all").len();
    let b = follower(&world, "b").await;
    replicate_all(&b, 1).await;

    let done = Arc::new(AtomicBool::new(false));
    let (searching, ended) = (b.clone(), done.clone());
    let searches = tokio::task::spawn_blocking(move || {
        let shards = searching.index().count();
        let mut least = usize::MAX;
        while !ended.load(Ordering::Acquire) {
            least = least.min(search(&searching, "needle count:all").len());
            for shard in 0..shards {
                let copy = searching.searched_copy(shard).is_some();
                assert!(copy || searching.searches(shard).is_some(), "nobody answers for {shard}");
            }
        }
        least
    });
    let (origin, id) = &repositories[0];
    for number in 0..5 {
        origin.write(&format!("src/more{number}.rs"), b"needle once more");
        origin.commit("more");
        sync(&a, *id).await;
    }
    settled(&a).await;
    let last = search(&a, "needle count:all");
    assert_eq!(last.len(), least + 5);
    followed(&world, &b).await;
    assert_eq!(search(&b, "needle count:all"), last);

    // The owner is gone without a word: its copy becomes the shard, with nothing to fetch.
    drop(a);
    assert_eq!(activate_all(&b, 2).await, [ShardSource::Local; 4]);
    done.store(true, Ordering::Release);
    assert_eq!(searches.await.unwrap(), least);
    assert_eq!(search(&b, "needle count:all"), last);
    origin.write("src/new.rs", b"needle of the new owner");
    origin.commit("new");
    sync(&b, *id).await;
    settled(&b).await;
    assert_eq!(search(&b, "needle count:all").len(), last.len() + 1);
    let shard = number_of(b.index(), *id);
    assert_eq!(world.cold.newest(shard).await.unwrap().unwrap().position.epoch, 2);
    let refused = b.replicate_shard(shard, 1, quiet()).await.unwrap_err();
    assert_eq!(refused.code(), "stale-epoch");
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_behind_fetches_what_is_newer_when_it_is_taken_over() {
    let world = World::new();
    let a = world.open("a").await;
    activate_all(&a, 1).await;
    let repositories = filled(&a).await;
    settled(&a).await;
    let mut config = world.config("b");
    if let Some(cluster) = &mut config.cluster {
        // It looks once, and then never in this test.
        (cluster.follow_every, cluster.stale_after) = (Duration::from_secs(3600), Duration::ZERO);
    }
    let b = RepoManager::open(config).await.unwrap();
    replicate_all(&b, 1).await;
    let (origin, id) = &repositories[0];
    let shard = number_of(b.index(), *id);
    origin.write("src/more.rs", b"needle once more");
    origin.commit("more");
    sync(&a, *id).await;
    settled(&a).await;
    let last = search(&a, "needle count:all");
    assert_eq!(search(&b, "needle count:all").len(), last.len() - 1);
    assert!(b.searched_copy(shard).unwrap().is_stale);
    drop(a);
    let activated = b.activate_shard(shard, 2, quiet()).await.unwrap();
    assert_eq!(activated.source, ShardSource::ColdStorage);
    let whole = world.cold.newest(shard).await.unwrap().unwrap().bytes();
    assert!((1..whole).contains(&activated.bytes), "{} of {whole}", activated.bytes);
    assert_eq!(search(&b, "needle count:all"), last);
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_repository_is_not_found_in_a_copy() {
    let world = World::new();
    let a = world.open("a").await;
    activate_all(&a, 1).await;
    let repositories = filled(&a).await;
    settled(&a).await;
    let before = search(&a, "needle count:all");
    let mut config = world.config("b");
    if let Some(cluster) = &mut config.cluster {
        // The catalog is looked at more often.
        cluster.follow_every = Duration::from_secs(3600);
    }
    let b = RepoManager::open(config).await.unwrap();
    replicate_all(&b, 1).await;
    assert_eq!(search(&b, "needle count:all"), before);
    let removed: RepositoryId = repositories[0].1;
    a.remove(removed).await.unwrap();
    let left = search(&a, "needle count:all");
    assert_eq!(left.len(), before.len() - 1);
    found(&b, "needle count:all", &left).await;
    settled(&a).await;
    drop(a);
    activate_all(&b, 2).await;
    assert_eq!(search(&b, "needle count:all"), left);
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_owner_keeps_what_it_has_of_the_shard() {
    let world = World::new();
    let a = world.open("a").await;
    activate_all(&a, 1).await;
    filled(&a).await;
    settled(&a).await;
    let before = search(&a, "needle count:all");
    let b = world.open("b").await;
    assert_eq!(activate_all(&b, 2).await, [ShardSource::ColdStorage; 4]);
    replicate_all(&a, 2).await;
    assert_eq!(search(&a, "needle count:all"), before);
    // After a restart too.
    a.shutdown().await;
    drop(a);
    let a = follower(&world, "a").await;
    replicate_all(&a, 2).await;
    replicate_all(&a, 3).await;
    assert_eq!(a.searched_copy(0).unwrap().epoch, 3);
    assert_eq!(search(&a, "needle count:all"), before);
    a.shutdown().await;
    b.shutdown().await;
}

//! Copies of shards that another node owns: two managers with a folder each, one catalog and one cold
//! storage.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aeterna_index::RepositoryId;
use aeterna_repo::cold_storage::ColdAction;
use aeterna_repo::{DEFAULT_TENANT, RepoManager, ShardSource, ShardState};

use crate::support::{PATIENCE, sync};
use crate::world::{Owner, SHARDS, World, activate_all, number_of, quiet, search, settled};

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
    let Owner { manager: a, repositories, found: before } = world.owner("a").await;

    let b = follower(&world, "b").await;
    replicate_all(&b, 1).await;
    assert_eq!(search(&b, "needle count:all"), before);
    let (origin, id) = &repositories[0];
    let shard = number_of(b.index(), *id);
    assert_eq!((b.holds(shard), b.searches(shard)), (None, None));
    assert_eq!(state(&b, shard), ShardState::Replica);
    assert_eq!(b.searched_copy(shard).unwrap().epoch, 1);
    assert_eq!(b.sync(*id).await.unwrap_err().code(), "shard-not-held");

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
async fn a_copy_names_what_its_owner_has_indexed_and_not_uploaded() {
    let world = World::new();
    let Owner { manager: a, repositories, .. } = world.owner("a").await;
    let b = follower(&world, "b").await;
    replicate_all(&b, 1).await;
    followed(&world, &b).await;
    let all: Vec<u32> = (0..SHARDS).collect();
    assert_eq!(b.outdated(&all), [""; 0]);

    // Nothing can be written below a file.
    let shards = world.cold_folder().join("shards");
    let away = world.cold_folder().join("away");
    std::fs::rename(&shards, &away).unwrap();
    std::fs::write(&shards, "").unwrap();
    let (origin, id) = &repositories[0];
    let name = a.get(DEFAULT_TENANT, *id).await.unwrap().name;
    origin.write("src/more.rs", b"needle once more");
    origin.commit("more");
    sync(&a, *id).await;
    let shard = number_of(b.index(), *id);
    let outdated = async |wanted: &[String]| {
        let deadline = Instant::now() + PATIENCE;
        while b.outdated(&[shard]) != wanted {
            assert!(Instant::now() < deadline, "{:?} is not {wanted:?}", b.outdated(&[shard]));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    outdated(&[name]).await;

    std::fs::remove_file(&shards).unwrap();
    std::fs::rename(&away, &shards).unwrap();
    outdated(&[]).await;
    followed(&world, &b).await;
    assert_eq!(search(&b, "needle count:all"), search(&a, "needle count:all"));
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_of_a_copy_miss_nothing_while_it_is_replaced_and_taken_over() {
    let world = World::new();
    let Owner { manager: a, repositories, .. } = world.owner("a").await;
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
    let Owner { manager: a, repositories, .. } = world.owner("a").await;
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
    let Owner { manager: a, repositories, found: before } = world.owner("a").await;
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
    let Owner { manager: a, found: before, .. } = world.owner("a").await;
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

/// Lists and reads that cold storage was asked for.
fn asked(world: &World) -> (u64, u64) {
    let counts = world.cold.counts();
    let of = |wanted| {
        let calls = counts.calls.iter().filter(|(action, _, _)| *action == wanted);
        calls.map(|(_, _, number)| number).sum()
    };
    (of(ColdAction::List), of(ColdAction::Read))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_lists_nothing_but_now_and_then_and_an_idle_one_asks_less_often() {
    let world = World::new();
    let Owner { manager: a, repositories, .. } = world.owner("a").await;
    a.shutdown().await;
    drop(a);
    let b = follower(&world, "b").await;
    replicate_all(&b, 1).await;
    let begun = (Instant::now(), asked(&world));
    let deadline = Instant::now() + PATIENCE;
    while asked(&world).1 < begun.1.1 + 40 {
        assert!(Instant::now() < deadline, "nobody follows");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Every tenth of the time that nothing has changed for, five times the shortest wait at most.
    tokio::time::sleep(Duration::from_secs(1).saturating_sub(begun.0.elapsed())).await;
    let (now, (lists, reads)) = (Instant::now(), asked(&world));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (after, elapsed) = (asked(&world), now.elapsed());
    assert_eq!(after.0, begun.1.0, "nothing was listed; {lists}");
    let most = u64::from(SHARDS) * u64::try_from(elapsed.as_millis()).unwrap() / 50 + 8;
    assert!((1..=most).contains(&(after.1 - reads)), "{} reads", after.1 - reads);
    b.shutdown().await;
    drop(repositories);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_finds_what_a_new_owner_has_written_though_nobody_tells() {
    let world = World::new();
    let Owner { manager: a, repositories, .. } = world.owner("a").await;
    let mut config = world.config("b");
    if let Some(cluster) = &mut config.cluster {
        cluster.follow_every = Duration::from_millis(10);
        cluster.list_every = Duration::from_millis(100);
    }
    let b = RepoManager::open(config).await.unwrap();
    replicate_all(&b, 1).await;
    a.shutdown().await;
    drop(a);
    // The map that says so does not reach the copy.
    let c = world.open("c").await;
    activate_all(&c, 5).await;
    let (origin, id) = &repositories[0];
    origin.write("src/more.rs", b"needle once more");
    origin.commit("more");
    sync(&c, *id).await;
    settled(&c).await;
    found(&b, "needle count:all", &search(&c, "needle count:all")).await;
    b.shutdown().await;
    c.shutdown().await;
}

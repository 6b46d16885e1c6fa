//! What a node does while its disk is nearly full, on a disk that is as full as the test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aeterna_repo::{DEFAULT_TENANT, DiskProbe, DiskSpace, RepoManager};

use crate::support::{Node, Origin, PATIENCE, add, adding, gone, ready};
use crate::world::search;

#[tokio::test(flavor = "multi_thread")]
async fn a_nearly_full_disk_stops_fetching_and_indexing_until_there_is_room() {
    let node = Node::new();
    let used = Arc::new(AtomicU64::new(50));
    let mut config = node.config();
    let told = used.clone();
    config.disk = DiskProbe::new(move |_| {
        Ok(DiskSpace { total: 100, free: 100 - told.load(Ordering::Acquire) })
    });
    config.disk_critical_percent = 90;
    config.disk_look_every = Duration::from_millis(5);
    let manager = RepoManager::open(config).await.unwrap();
    let one = Origin::with_file("a", "needle one");
    let first = add(&manager, &one.url(), &[]).await;
    assert_eq!(manager.health().await.paused, None);

    used.store(90, Ordering::Release);
    let deadline = Instant::now() + PATIENCE;
    let pause = loop {
        if let Some(pause) = manager.health().await.paused {
            break pause;
        }
        assert!(Instant::now() < deadline, "not paused");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(pause.reason.contains("90 % full, and the limit is 90 %"), "{}", pause.reason);
    let two = Origin::with_file("a", "needle two");
    let second = manager.add(adding(&two.url())).await.unwrap().repository;
    // Searches and removals go on.
    assert_eq!(search(&manager, "needle count:all").len(), 1);
    manager.remove(first.id).await.unwrap();
    gone(&manager, first.id, &node).await;
    let waiting = manager.get(DEFAULT_TENANT, second.id).await.unwrap();
    assert_eq!((waiting.indexed_at, waiting.queue_position), (None, Some(0)));

    used.store(89, Ordering::Release);
    ready(&manager, second.id).await;
    assert_eq!(manager.health().await.paused, None);
    assert_eq!(search(&manager, "needle two count:all").len(), 1);
    manager.shutdown().await;
}

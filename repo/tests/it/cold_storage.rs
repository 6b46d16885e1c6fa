//! Cold storage does the same over every provider: each test runs on a folder and on a real S3 server.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aeterna_repo::cold_storage::{
    ClusterClaim, ColdError, ColdLimits, ColdProgress, ColdStorage, ColdStorageConfig, Collected,
    Depth, Position, Recovery, ShardFence,
};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

/// Parts so small that a file of some bytes is sent in many; S3 wants 5 MiB.
const PART: u64 = 5 << 20;

/// The providers that are there, each with an empty place.
fn providers() -> Vec<(TempDir, Arc<ColdStorage>)> {
    let folder = TempDir::new().unwrap();
    let local = ColdStorageConfig::Local { folder: folder.path().join("cold") };
    let configs = [local, crate::support::s3()];
    let limits = ColdLimits { part_bytes: PART, ..ColdLimits::default() };
    let mut folder = Some(folder);
    configs
        .into_iter()
        .map(|config| {
            let storage = ColdStorage::open_with(config, limits.clone()).unwrap();
            (folder.take().unwrap_or_else(|| TempDir::new().unwrap()), Arc::new(storage))
        })
        .collect()
}

fn quiet() -> ColdProgress {
    Arc::new(|_, _| {})
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

async fn restored(storage: &ColdStorage, fence: &ShardFence) -> BTreeMap<String, Vec<u8>> {
    let into = TempDir::new().unwrap();
    storage.restore(fence.content.as_ref().unwrap(), into.path(), quiet()).await.unwrap();
    content(into.path())
}

/// By a clock that goes on when everyone waits for it, and only then.
#[tokio::test(start_paused = true)]
async fn uploads_and_restores_take_as_long_as_their_bandwidth_says() {
    let folder_of = TempDir::new().unwrap();
    let config = ColdStorageConfig::Local { folder: folder_of.path().join("cold") };
    let limits = ColdLimits {
        part_bytes: PART,
        upload_rate: NonZeroU64::new(PART),
        download_rate: NonZeroU64::new(2 * PART),
        ..ColdLimits::default()
    };
    let storage = ColdStorage::open_with(config, limits).unwrap();
    let mut fence = storage.fence(3, 1).await.unwrap();
    let large: Vec<u8> = (0..(5 * PART) as u32).map(|n| (n % 251) as u8).collect();
    let files = folder(&[("1.segment", &large)]);
    let since = Instant::now();
    storage.upload(&mut fence, files.path(), 7, quiet()).await.unwrap();
    // What comes first does not wait for what comes after it.
    let took = since.elapsed();
    assert!((4_000..5_100).contains(&took.as_millis()), "{took:?}");
    let since = Instant::now();
    assert_eq!(restored(&storage, &fence).await, content(files.path()));
    let took = since.elapsed();
    assert!((2_000..2_600).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_claims_one_holds() {
    for (_place, storage) in providers() {
        let claims: Vec<_> = (0..16)
            .map(|founder| ClusterClaim {
                cluster: Uuid::new_v4(),
                shards: 8,
                founder,
                founder_name: format!("n-{founder}"),
                made_at: OffsetDateTime::UNIX_EPOCH,
            })
            .collect();
        assert_eq!(storage.read_claim().await.unwrap(), None);
        let racing = claims.iter().cloned().map(|claim| {
            let storage = storage.clone();
            tokio::spawn(async move { storage.claim(&claim).await.unwrap() })
        });
        let racing: Vec<_> = racing.collect();
        let mut held = Vec::new();
        for claim in racing {
            held.push(claim.await.unwrap());
        }
        assert!(claims.contains(&held[0]));
        assert!(held.iter().all(|claim| *claim == held[0]), "{held:?}");
        assert_eq!(storage.read_claim().await.unwrap().as_ref(), Some(&held[0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_recoveries_one_holds_and_the_highest_epochs_are_known() {
    for (_place, storage) in providers() {
        assert_eq!(storage.newest_recovery().await.unwrap(), None);
        assert!(storage.highest_epochs().await.unwrap().is_empty());
        for number in [1, 2, 16] {
            let racing = (0..8).map(|founder| {
                let storage = storage.clone();
                let mine = Recovery {
                    number,
                    cluster: Uuid::from_u128(7),
                    founder,
                    founder_name: format!("n-{founder}"),
                    made_at: OffsetDateTime::UNIX_EPOCH,
                };
                tokio::spawn(async move { storage.claim_recovery(&mine).await.unwrap() })
            });
            let racing: Vec<_> = racing.collect();
            let mut held = Vec::new();
            for recovery in racing {
                held.push(recovery.await.unwrap());
            }
            assert!(held.iter().all(|recovery| *recovery == held[0]), "{held:?}");
            assert_eq!(storage.newest_recovery().await.unwrap().as_ref(), Some(&held[0]));
            assert_eq!(held[0].number, number);
        }
        for (shard, epoch) in [(3, 1), (3, 40), (700, 2)] {
            storage.fence(shard, epoch).await.unwrap();
        }
        let epochs = storage.highest_epochs().await.unwrap();
        assert_eq!(epochs, BTreeMap::from([(3, 40), (700, 2)]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_uploaded_is_restored_and_only_changes_are_sent() {
    for (_place, storage) in providers() {
        // The last part is shorter than the others.
        let large: Vec<u8> = (0..(2 * PART + 17) as u32).map(|n| (n % 251) as u8).collect();
        let mut fence = storage.fence(3, 1).await.unwrap();
        assert!(fence.content.is_none());
        let first = folder(&[("manifest", b"one"), ("1.segment", &large), ("2.live", b"")]);
        let sent = Arc::new(AtomicU64::new(0));
        let counter = sent.clone();
        let count: ColdProgress = Arc::new(move |done, _| {
            counter.fetch_max(done, Ordering::Relaxed);
        });
        let manifest = storage.upload(&mut fence, first.path(), 7, count.clone()).await.unwrap();
        assert_eq!(sent.load(Ordering::Relaxed), large.len() as u64 + 3);
        assert_eq!((manifest.generation, manifest.bytes()), (7, large.len() as u64 + 3));
        assert_eq!(restored(&storage, &fence).await, content(first.path()));
        sent.store(0, Ordering::Relaxed);
        let second = folder(&[("manifest", b"two!"), ("1.segment", &large), ("3.live", b"x")]);
        storage.upload(&mut fence, second.path(), 8, count).await.unwrap();
        assert_eq!(sent.load(Ordering::Relaxed), 5, "the segment was there");
        let newest = storage.newest(3).await.unwrap().unwrap();
        assert_eq!(newest.generation, 8);
        assert_eq!(restored(&storage, &fence).await, content(second.path()));
        assert_eq!(storage.newest(4).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_owner_writes_nothing_that_counts() {
    for (_place, storage) in providers() {
        let mut old = storage.fence(0, 1).await.unwrap();
        let first = folder(&[("manifest", b"one")]);
        storage.upload(&mut old, first.path(), 1, quiet()).await.unwrap();
        let mut paused = old.clone();
        let mut new = storage.fence(0, 2).await.unwrap();
        assert_eq!(restored(&storage, &new).await, content(first.path()));
        assert_eq!(new.content.as_ref().unwrap().origin, old.content.as_ref().unwrap().origin);
        let late = folder(&[("manifest", b"late")]);
        let refused = storage.upload(&mut old, late.path(), 2, quiet()).await.unwrap_err();
        assert!(matches!(refused, ColdError::Fenced { epoch: 1, .. }), "{refused}");
        // One that had looked before it was paused has written its manifest by now: none reads it.
        assert!(storage.check_fence(&paused).await.is_err());
        assert_eq!(restored(&storage, &new).await, content(first.path()));
        let newer = folder(&[("manifest", b"newer")]);
        storage.upload(&mut new, newer.path(), 3, quiet()).await.unwrap();
        let refused = storage.upload(&mut paused, late.path(), 2, quiet()).await.unwrap_err();
        assert!(refused.is_fenced());
        let newest = storage.newest(0).await.unwrap().unwrap();
        assert_eq!((newest.position.epoch, newest.generation), (2, 3));
        let back = storage.fence(0, 1).await.unwrap_err();
        assert!(matches!(back, ColdError::Fenced { by: Position { epoch: 2, .. }, .. }), "{back}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_of_one_name_do_not_both_write_under_an_epoch() {
    for (_place, storage) in providers() {
        let files = folder(&[("manifest", b"one")]);
        let mut first = storage.fence(0, 5).await.unwrap();
        storage.upload(&mut first, files.path(), 1, quiet()).await.unwrap();
        let mut second = storage.fence(0, 5).await.unwrap();
        assert_eq!(restored(&storage, &second).await, content(files.path()));
        let refused = storage.upload(&mut first, files.path(), 2, quiet()).await.unwrap_err();
        assert!(refused.is_fenced(), "{refused}");
        storage.upload(&mut second, files.path(), 2, quiet()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_takeovers_the_highest_epoch_wins() {
    for (_place, storage) in providers() {
        let racing: Vec<_> = (1..=8)
            .map(|epoch| {
                let storage = storage.clone();
                tokio::spawn(async move { storage.fence(0, epoch).await })
            })
            .collect();
        let mut fences = Vec::new();
        for fence in racing {
            fences.extend(fence.await.unwrap());
        }
        assert!(fences.iter().any(|fence| fence.epoch == 8));
        for mut fence in fences {
            let files = folder(&[("manifest", fence.epoch.to_string().as_bytes())]);
            let uploaded = storage.upload(&mut fence, files.path(), 1, quiet()).await;
            assert_eq!(uploaded.is_ok(), fence.epoch == 8, "epoch {}", fence.epoch);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_seen_and_older_manifests_are_read() {
    let place = TempDir::new().unwrap();
    let config = ColdStorageConfig::Local { folder: place.path().to_owned() };
    let storage = ColdStorage::open(config).unwrap();
    let mut fence = storage.fence(0, 1).await.unwrap();
    let first = folder(&[("manifest", b"one"), ("1.segment", b"abc")]);
    storage.upload(&mut fence, first.path(), 1, quiet()).await.unwrap();
    let second = folder(&[("manifest", b"two"), ("1.segment", b"abc")]);
    let newest = storage.upload(&mut fence, second.path(), 2, quiet()).await.unwrap();
    let file = place.path().join(&newest.files.as_ref().unwrap()["1.segment"].key);
    for damage in [b"abx".as_slice(), b"ab", b""] {
        fs::write(&file, damage).unwrap();
        let into = TempDir::new().unwrap();
        let error = storage.restore(&newest, into.path(), quiet()).await.unwrap_err();
        assert!(matches!(error, ColdError::Damaged { .. }), "{error}");
    }
    fs::remove_file(&file).unwrap();
    let into = TempDir::new().unwrap();
    let error = storage.restore(&newest, into.path(), quiet()).await.unwrap_err();
    assert!(matches!(error, ColdError::Missing { .. }), "{error}");
    let manifests = place.path().join("shards/0000/manifests");
    let mut names: Vec<_> =
        fs::read_dir(&manifests).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    fs::write(names.last().unwrap(), b"nonsense").unwrap();
    assert_eq!(storage.newest(0).await.unwrap().unwrap().generation, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_nothing_needs_is_collected() {
    for (_place, storage) in providers() {
        let mut old = storage.fence(2, 1).await.unwrap();
        let shared = b"in every version".as_slice();
        for generation in 1..=3 {
            let own = format!("{generation}.live");
            let text = generation.to_string();
            let files = [("manifest", text.as_bytes()), ("1.segment", shared), (&own, b"own")];
            storage.upload(&mut old, folder(&files).path(), generation, quiet()).await.unwrap();
        }
        let kept = storage.collect_garbage(&old, Duration::from_secs(3600)).await.unwrap();
        assert_eq!(kept, Collected::default(), "within the grace period");
        let collected = storage.collect_garbage(&old, Duration::ZERO).await.unwrap();
        // The fence and two versions; the manifest and the file of its own of each of these.
        assert_eq!((collected.manifests, collected.files, collected.bytes), (3, 4, 8));
        assert_eq!(restored(&storage, &old).await.len(), 3);
        let again = storage.collect_garbage(&old, Duration::ZERO).await.unwrap();
        assert_eq!(again, Collected::default());
        let mut new = storage.fence(2, 2).await.unwrap();
        let files = folder(&[("manifest", b"new"), ("2.segment", b"new")]);
        storage.upload(&mut new, files.path(), 4, quiet()).await.unwrap();
        let refused = storage.collect_garbage(&old, Duration::ZERO).await.unwrap_err();
        assert!(refused.is_fenced(), "{refused}");
        assert_eq!(restored(&storage, &new).await, content(files.path()));
        let collected = storage.collect_garbage(&new, Duration::ZERO).await.unwrap();
        assert_eq!(collected.files, 3, "of the former owner");
        assert_eq!(restored(&storage, &new).await, content(files.path()));
        let verified = storage.verify(2, Depth::Contents, &|_| {}).await.unwrap();
        assert_eq!((verified.files, verified.bytes), (2, 6));
        assert_eq!(verified.problems, []);
        assert_eq!(storage.shards().await.unwrap(), [2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_names_all_that_is_lost() {
    let place = TempDir::new().unwrap();
    let config = ColdStorageConfig::Local { folder: place.path().to_owned() };
    let storage = ColdStorage::open(config).unwrap();
    let mut fence = storage.fence(0, 1).await.unwrap();
    let files = folder(&[("manifest", b"x"), ("a", b"abc"), ("b", b"abc"), ("c", b"abc")]);
    let manifest = storage.upload(&mut fence, files.path(), 1, quiet()).await.unwrap();
    let path = |name: &str| place.path().join(&manifest.files.as_ref().unwrap()[name].key);
    fs::write(path("a"), b"abx").unwrap();
    fs::write(path("b"), b"ab").unwrap();
    fs::remove_file(path("c")).unwrap();
    let problems = storage.verify(0, Depth::Sizes, &|_| {}).await.unwrap().problems;
    assert_eq!(problems.len(), 2, "{problems:?}");
    let problems = storage.verify(0, Depth::Contents, &|_| {}).await.unwrap().problems;
    assert_eq!(problems.len(), 3, "{problems:?}");
    for name in ["a", "b", "c"] {
        let key = &manifest.files.as_ref().unwrap()[name].key;
        assert!(problems.iter().any(|problem| problem.key == *key && problem.is_needed), "{name}");
    }
}

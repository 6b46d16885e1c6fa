//! Cold storage on bad days: a real S3 server that refuses, throttles and loses answers, and a bucket of
//! another cluster. Whatever happens is told clearly, and nothing is lost.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aeterna_repo::RepoManager;
use aeterna_repo::cold_storage::{
    ClusterClaim, ColdAction, ColdError, ColdLimits, ColdStorage, ColdStorageConfig, Depth,
};
use tempfile::TempDir;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::proxy::{Proxy, Spoil};
use crate::support::{s3, s3_reader};
use crate::world::{SHARDS, World, quiet};

/// Large enough for several parts.
const LARGE: usize = 11 << 20;

fn open(config: ColdStorageConfig) -> ColdStorage {
    let limits = ColdLimits {
        part_bytes: 5 << 20,
        first_wait: Duration::from_millis(1),
        ..ColdLimits::default()
    };
    ColdStorage::open_with(config, limits).unwrap()
}

fn claim(cluster: Uuid) -> ClusterClaim {
    ClusterClaim {
        cluster,
        shards: SHARDS,
        founder: 1,
        founder_name: "n".to_owned(),
        made_at: OffsetDateTime::UNIX_EPOCH,
    }
}

fn files() -> TempDir {
    let folder = TempDir::new().unwrap();
    let large: Vec<u8> = (0..LARGE).map(|n| (n % 253) as u8).collect();
    std::fs::write(folder.path().join("1.segment"), large).unwrap();
    for name in ["manifest", "2.live", "3.live"] {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    folder
}

/// The same with another manifest.
fn changed() -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("manifest"), "changed").unwrap();
    folder
}

fn same(a: &Path, b: &Path) -> bool {
    let names = ["1.segment", "manifest", "2.live", "3.live"];
    names
        .iter()
        .all(|name| std::fs::read(a.join(name)).unwrap() == std::fs::read(b.join(name)).unwrap())
}

/// The S3 server behind a proxy.
async fn proxied() -> (Proxy, ColdStorageConfig) {
    let mut config = s3();
    let ColdStorageConfig::S3 { endpoint, .. } = &mut config else { panic!("not S3") };
    let url = url::Url::parse(endpoint.as_deref().unwrap()).unwrap();
    let upstream = SocketAddr::new("127.0.0.1".parse().unwrap(), url.port().unwrap());
    let proxy = Proxy::start(upstream).await;
    *endpoint = Some(format!("http://{}", proxy.address));
    (proxy, config)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_throttles_or_loses_answers_delays_work_and_loses_nothing() {
    let (proxy, config) = proxied().await;
    let cold = open(config);
    let files = files();
    for (shard, spoil) in [(0, Spoil::Throttle), (1, Spoil::CutAnswers)] {
        proxy.spoil(spoil);
        let mut fence = cold.fence(shard, 1).await.unwrap();
        cold.upload(&mut fence, files.path(), 1, quiet()).await.unwrap();
        let into = TempDir::new().unwrap();
        let newest = cold.newest(shard).await.unwrap().unwrap();
        cold.restore(&newest, into.path(), quiet()).await.unwrap();
        assert!(same(files.path(), into.path()), "{spoil:?}");
        let (requests, spoiled) = proxy.spoil(Spoil::Nothing);
        assert!(spoiled > 3, "{spoil:?}: {spoiled} of {requests} requests were spoiled");
        let audit = cold.verify(shard, Depth::Contents, &|_| {}).await.unwrap();
        assert_eq!((audit.problems, audit.files), (Vec::new(), 4));
    }
    assert_eq!(cold.trouble(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_cut_off_continues_with_what_is_not_there() {
    let (proxy, config) = proxied().await;
    // One call at a time: parts are sent in their order.
    let limits = ColdLimits {
        part_bytes: 5 << 20,
        first_wait: Duration::from_millis(1),
        calls: 1,
        files: 1,
        ..ColdLimits::default()
    };
    let open = || ColdStorage::open_with(config.clone(), limits.clone()).unwrap();
    let (files, folder) = (files(), TempDir::new().unwrap());
    let ledger = folder.path().join("0000.uploading");
    let mut fence = open().fence(0, 1).await.unwrap();
    fence.keep_parts_in(ledger.clone());
    let mut resumed = fence.clone();
    proxy.spoil(Spoil::Parts(2));
    let error = open().upload(&mut fence, files.path(), 1, quiet()).await.unwrap_err();
    assert_eq!((error.code(), proxy.parts()), ("cold-storage-unavailable", 2), "{error}");
    assert!(error.to_string().contains("SlowDown"), "{error}");
    assert!(ledger.exists());
    // As the process that was started after it does it: nothing is known but what is on the disk.
    proxy.spoil(Spoil::Nothing);
    let cold = open();
    cold.upload(&mut resumed, files.path(), 1, quiet()).await.unwrap();
    assert_eq!(proxy.parts(), 1, "two of three parts were there");
    assert!(!ledger.exists());
    let into = TempDir::new().unwrap();
    cold.restore(resumed.content.as_ref().unwrap(), into.path(), quiet()).await.unwrap();
    assert!(same(files.path(), into.path()));

    // A process that takes the shard over again under its epoch, as after a quick restart, has everything
    // there but its own manifests.
    let cold = open();
    let mut again = cold.fence(0, 1).await.unwrap();
    again.content = None;
    let before = cold.counts().sent;
    cold.upload(&mut again, files.path(), 1, quiet()).await.unwrap();
    let sent = cold.counts().sent - before;
    assert!((1..5000).contains(&sent), "{sent} bytes: a manifest and no file");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_have_expired_are_told_at_once_and_work_goes_on_with_new_ones() {
    let (proxy, config) = proxied().await;
    let cold = open(config);
    let files = files();
    let mut fence = cold.fence(0, 1).await.unwrap();
    proxy.spoil(Spoil::Expired);
    let started = Instant::now();
    let error = cold.upload(&mut fence, files.path(), 1, quiet()).await.unwrap_err();
    assert!(matches!(error, ColdError::Denied { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("ExpiredToken") && text.contains("check the credentials"), "{text}");
    assert!(started.elapsed() < Duration::from_secs(5));
    let trouble = cold.trouble().unwrap();
    assert_eq!(trouble.action, ColdAction::List);
    let (requests, _) = proxy.spoil(Spoil::Nothing);
    assert!(requests <= 2, "{requests}: asking again does not help");
    cold.upload(&mut fence, files.path(), 1, quiet()).await.unwrap();
    assert_eq!(cold.trouble(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_may_only_be_read_can_be_restored_from_and_audited() {
    let (config, reader) = s3_reader();
    let writer = open(config);
    let files = files();
    let mut fence = writer.fence(0, 1).await.unwrap();
    writer.upload(&mut fence, files.path(), 1, quiet()).await.unwrap();
    let reader = open(reader);
    let mine = claim(Uuid::new_v4());
    for error in [
        reader.claim(&mine).await.unwrap_err(),
        reader.fence(0, 2).await.unwrap_err(),
        reader.upload(&mut fence.clone(), changed().path(), 2, quiet()).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "cold-storage-denied", "{error}");
        assert!(error.to_string().contains("check the credentials and their rights"), "{error}");
    }
    assert_eq!(reader.trouble().unwrap().action, ColdAction::Write);
    let into = TempDir::new().unwrap();
    let newest = reader.newest(0).await.unwrap().unwrap();
    reader.restore(&newest, into.path(), quiet()).await.unwrap();
    assert!(same(files.path(), into.path()));
    let audit = reader.verify(0, Depth::Contents, &|_| {}).await.unwrap();
    assert_eq!((audit.problems, audit.files), (Vec::new(), 4));
    // Nobody has lost the right to write by it.
    writer.upload(&mut fence, files.path(), 2, quiet()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_and_buckets_are_told_without_their_secrets() {
    let ColdStorageConfig::S3 { bucket, prefix, endpoint, region, access, .. } = s3() else {
        panic!("not S3")
    };
    let (key, _) = access.unwrap();
    let with = |key: &str, secret: &str| {
        open(ColdStorageConfig::S3 {
            bucket: bucket.clone(),
            prefix: prefix.clone(),
            endpoint: endpoint.clone(),
            region: region.clone(),
            allow_http: true,
            access: Some((key.to_owned(), secret.to_owned())),
        })
    };
    for (key, secret) in [(key.as_str(), "hunter2hunter2"), ("nobody", "hunter2hunter2")] {
        let error = with(key, secret).fence(0, 1).await.unwrap_err();
        assert_eq!(error.code(), "cold-storage-denied", "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    // SeaweedFS makes a bucket that is not there.
    let (proxy, config) = proxied().await;
    let nowhere = open(config);
    proxy.spoil(Spoil::NoBucket);
    for error in [
        nowhere.claim(&claim(Uuid::new_v4())).await.unwrap_err(),
        nowhere.fence(0, 1).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "cold-storage-config", "{error}");
        assert!(error.to_string().contains("the bucket does not exist"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_of_another_cluster_is_left_alone() {
    let world = World::new();
    let theirs = claim(Uuid::from_u128(99));
    world.cold.claim(&theirs).await.unwrap();
    let a: Arc<RepoManager> = world.open("a").await;
    for error in [
        a.activate_shard(0, 1, quiet()).await.unwrap_err(),
        a.replicate_shard(1, 1, quiet()).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "cold-storage-other-cluster", "{error}");
        assert!(error.to_string().contains(&theirs.cluster.to_string()), "{error}");
    }
    assert_eq!(world.cold.shards().await.unwrap(), [0; 0], "nothing was written");
    a.shutdown().await;
}

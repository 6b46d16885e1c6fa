//! An object store that fails as it is told to, and what becomes of shards meanwhile.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aeterna_repo::cold_storage::{ColdError, ColdLimits, ColdOutcome, ColdStorage};
use aeterna_repo::{ClusterShards, ManagerConfig, RepoManager, ShardSource};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tempfile::TempDir;

use crate::support::{Origin, PATIENCE, add, sync};
use crate::world::{CLUSTER, SHARDS, World, activate_all, quiet, search, settled};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Nothing is done.
    Refused,
    /// Writes are done, and then it looks as if they were not.
    AnswersLost,
    /// Writing is not allowed.
    ReadOnly,
    /// There is no answer at all.
    Silent,
}

/// A folder that fails so many calls and then works.
#[derive(Debug)]
struct Faulty {
    store: LocalFileSystem,
    fault: Mutex<(Fault, u64)>,
    calls: AtomicU64,
    silenced: AtomicBool,
}

impl Faulty {
    fn new(folder: &std::path::Path) -> Arc<Self> {
        std::fs::create_dir_all(folder).unwrap();
        Arc::new(Self {
            store: LocalFileSystem::new_with_prefix(folder).unwrap(),
            fault: Mutex::new((Fault::None, 0)),
            calls: AtomicU64::new(0),
            silenced: AtomicBool::new(false),
        })
    }

    fn fail(&self, fault: Fault, calls: u64) {
        *self.fault.lock().unwrap() = (fault, calls);
    }

    /// The fault of a call.
    async fn next(&self, writes: bool) -> Result<Fault> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let fault = {
            let mut fault = self.fault.lock().unwrap();
            let applies = match fault.0 {
                Fault::None => false,
                Fault::Refused | Fault::Silent => true,
                Fault::AnswersLost | Fault::ReadOnly => writes,
            };
            if !applies || fault.1 == 0 {
                return Ok(Fault::None);
            }
            fault.1 -= 1;
            fault.0
        };
        match fault {
            Fault::Refused => Err(failure()),
            Fault::ReadOnly => Err(Error::PermissionDenied {
                path: "the bucket".to_owned(),
                source: "it is read-only".into(),
            }),
            Fault::Silent => {
                self.silenced.store(true, Ordering::Release);
                std::future::pending().await
            }
            fault => Ok(fault),
        }
    }
}

fn failure() -> Error {
    Error::Generic { store: "faulty", source: "as it was told to".into() }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let fault = self.next(true).await?;
        let result = self.store.put_opts(location, payload, options).await;
        if fault == Fault::AnswersLost { Err(failure()) } else { result }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.next(true).await?;
        self.store.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.next(false).await?;
        self.store.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        // A listing is one call, whose fault is told by its first element.
        let first = futures_util::FutureExt::now_or_never(self.next(false));
        match first {
            Some(Ok(_)) => self.store.list(prefix),
            Some(Err(error)) => futures_util::stream::iter([Err(error)]).boxed(),
            None => futures_util::stream::pending().boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.next(false).await?;
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.next(true).await?;
        self.store.copy_opts(from, to, options).await
    }
}

fn limits() -> ColdLimits {
    ColdLimits {
        call_timeout: Duration::from_millis(300),
        first_wait: Duration::from_millis(1),
        ..ColdLimits::default()
    }
}

fn open(folder: &std::path::Path) -> (Arc<Faulty>, Arc<ColdStorage>) {
    let store = Faulty::new(folder);
    let cold = ColdStorage::over(store.clone(), "", limits()).unwrap();
    (store, Arc::new(cold))
}

fn files(text: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("manifest"), text).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_fail_are_tried_again_and_answers_may_be_lost() {
    let place = TempDir::new().unwrap();
    let (store, cold) = open(place.path());
    for fault in [Fault::Refused, Fault::AnswersLost, Fault::Silent] {
        store.fail(fault, 3);
        let shard = fault as u32;
        let mut fence = cold.fence(shard, 1).await.unwrap();
        for text in ["one", "two", "three"] {
            store.fail(fault, 3);
            cold.upload(&mut fence, files(text).path(), 1, quiet()).await.unwrap();
        }
        store.fail(fault, 3);
        let into = TempDir::new().unwrap();
        let content = fence.content.as_ref().unwrap();
        cold.restore(content, into.path(), quiet()).await.unwrap();
        assert_eq!(std::fs::read(into.path().join("manifest")).unwrap(), b"three");
        // Nobody took a lost answer for somebody else's manifest.
        assert_eq!(cold.newest(shard).await.unwrap().unwrap().position.sequence, 3);
    }
    let counts = cold.counts();
    let sum = |wanted| {
        let calls = counts.calls.iter().filter(|(_, outcome, _)| *outcome == wanted);
        calls.map(|(_, _, number)| number).sum::<u64>()
    };
    assert_eq!((sum(ColdOutcome::Failed), sum(ColdOutcome::Denied)), (0, 0));
    // Three faults in each of five steps, but that a restore has no answer to a write to lose.
    assert_eq!(sum(ColdOutcome::Retried), 3 * 3 * 5 - 3);
    assert!(counts.sent > 0 && counts.fetched > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_is_told_in_time() {
    let place = TempDir::new().unwrap();
    let (store, cold) = open(place.path());
    let mut fence = cold.fence(0, 1).await.unwrap();
    for (fault, code) in [
        (Fault::Refused, "cold-storage-unavailable"),
        (Fault::Silent, "cold-storage-unavailable"),
        (Fault::ReadOnly, "cold-storage-denied"),
    ] {
        store.fail(fault, u64::MAX);
        let before = store.calls.load(Ordering::Relaxed);
        let started = Instant::now();
        let error = cold.upload(&mut fence, files("x").path(), 1, quiet()).await.unwrap_err();
        assert_eq!(error.code(), code, "{fault:?}: {error}");
        assert!(started.elapsed() < Duration::from_secs(10));
        let calls = store.calls.load(Ordering::Relaxed) - before;
        assert!(calls <= 10, "{fault:?}: {calls} calls");
        store.fail(Fault::None, 0);
    }
    assert!(store.silenced.load(Ordering::Acquire));
    cold.upload(&mut fence, files("x").path(), 1, quiet()).await.unwrap();
    store.fail(Fault::ReadOnly, u64::MAX);
    let error = cold.fence(1, 1).await.unwrap_err();
    assert!(matches!(error, ColdError::Denied { .. }), "{error}");
}

fn config(world: &World, node: &str, cold: &Arc<ColdStorage>) -> ManagerConfig {
    let mut config = world.config(node);
    let mut cluster = ClusterShards::new(CLUSTER, SHARDS, cold.clone());
    cluster.upload_retry = Duration::from_millis(10);
    cluster.upload_retry_longest = Duration::from_millis(50);
    config.cluster = Some(cluster);
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_work_goes_on_and_what_waits_is_uploaded_afterwards() {
    let world = World::new();
    let (store, cold) = open(&world.cold_folder());
    let a = RepoManager::open(config(&world, "a", &cold)).await.unwrap();
    activate_all(&a, 1).await;
    let origin = Origin::with_file("a", "needle one");
    let id = add(&a, &origin.url(), &[]).await.id;
    settled(&a).await;
    store.fail(Fault::Refused, u64::MAX);
    origin.write("b", b"needle two");
    origin.commit("second");
    sync(&a, id).await;
    assert_eq!(search(&a, "needle count:all").len(), 2);
    let shard = a.index().number_of(id);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let held = a.shard_states().into_iter().find(|held| held.shard == shard).unwrap();
        if held.upload_error.is_some_and(|error| error.contains("as it was told to")) {
            assert_ne!(held.uploaded_generation, Some(held.generation));
            break;
        }
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(a.holds(shard), Some(1), "it is served all the while");
    store.fail(Fault::None, 0);
    settled(&a).await;
    assert!(a.shard_states().iter().all(|held| held.upload_error.is_none()));
    drop(a);
    let b = RepoManager::open(config(&world, "b", &cold)).await.unwrap();
    assert_eq!(activate_all(&b, 2).await[shard as usize], ShardSource::ColdStorage);
    assert_eq!(search(&b, "needle count:all").len(), 2);
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_is_taken_over_when_the_store_is_back() {
    let world = World::new();
    let (store, cold) = open(&world.cold_folder());
    let a = RepoManager::open(config(&world, "a", &cold)).await.unwrap();
    for fault in [Fault::Refused, Fault::Silent, Fault::ReadOnly] {
        store.fail(fault, u64::MAX);
        let error = a.activate_shard(0, 1, quiet()).await.unwrap_err();
        assert!(error.code().starts_with("cold-storage"), "{error}");
        assert_eq!(a.holds(0), None);
    }
    store.fail(Fault::None, 0);
    a.activate_shard(0, 1, quiet()).await.unwrap();
    assert_eq!(a.holds(0), Some(1));
    // A release does not wait for a store that says nothing.
    store.fail(Fault::Silent, u64::MAX);
    let started = Instant::now();
    a.release_shard(0, false).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    a.shutdown().await;
}

//! Taking shards over and letting go of them, as the shard map says.

use std::sync::Arc;
use std::time::Instant;

use aeterna_index::{IndexError, RepositoryId};

use super::cluster::{Activated, Cluster, Held, HeldShard, SearchedCopy, ShardSource, ShardState};
use super::inner::{Inner, lock};
use super::mirrors::RestoredMirrors;
use super::{RepoManager, blocking, reconcile, replicas, restoring, uploads};
use crate::ManagerError;
use crate::catalog::Fence;
use crate::cold_storage::ColdProgress;

impl RepoManager {
    /// Takes a shard over under an epoch: fences former owners off in the catalog and in cold
    /// storage, brings its index here unless it is here, opens it, brings its repositories together
    /// with the catalog, and starts what is to be done with them. One that is held under this epoch
    /// already is left alone.
    ///
    /// Where the catalog does not answer, nothing is claimed: the shard is a copy then, as by
    /// [`RepoManager::replicate_shard`], and it is to be asked for again ([`Activated::awaits_catalog`]).
    ///
    /// It goes on when the caller no longer waits. `progress` is told bytes done, and in all.
    ///
    /// # Errors
    /// As [`ManagerError::is_fenced`] when a later epoch is known, or what failed: then the shard is
    /// not served, [`RepoManager::shard_states`] says why, and it may be asked for again.
    pub async fn activate_shard(
        &self,
        shard: u32,
        epoch: u64,
        progress: ColdProgress,
    ) -> Result<Activated, ManagerError> {
        self.check_running()?;
        let cluster = self.cluster()?;
        let inner = self.inner.clone();
        let work = async move { activate(&inner, &cluster, (shard, epoch), progress).await };
        tokio::spawn(work).await.map_err(|error| ManagerError::Internal(error.to_string()))?
    }

    /// Makes a copy of what cold storage has of a shard that another node owns under an epoch, and
    /// keeps it up with what that node uploads until the shard is released, or taken over here by
    /// [`RepoManager::activate_shard`]. Meanwhile it is searched ([`RepoManager::searched_copy`]) and
    /// not written, and nothing is claimed in the catalog or in cold storage. Where there is a copy
    /// already, it follows the given epoch from now on.
    ///
    /// It goes on when the caller no longer waits. `progress` is told bytes done, and in all.
    ///
    /// # Errors
    /// [`ManagerError::StaleEpoch`] when a later epoch is known, or what failed: then nothing is held.
    pub async fn replicate_shard(
        &self,
        shard: u32,
        epoch: u64,
        progress: ColdProgress,
    ) -> Result<(), ManagerError> {
        self.check_running()?;
        let cluster = self.cluster()?;
        let inner = self.inner.clone();
        let work = async move { replicate(&inner, &cluster, (shard, epoch), progress).await };
        tokio::spawn(work).await.map_err(|error| ManagerError::Internal(error.to_string()))?
    }

    /// The copy of a shard that may be searched here, also while this node becomes its owner.
    pub fn searched_copy(&self, shard: u32) -> Option<SearchedCopy> {
        let cluster = self.inner.cluster.as_ref()?;
        let held = cluster.held(shard)?;
        let behind = held.behind()?;
        let is_stale = behind > cluster.config.stale_after;
        Some(SearchedCopy { epoch: held.epoch, behind, is_stale })
    }

    /// Compares copies with the catalog now, for [`Self::outdated`] to name what they do not have yet of all that
    /// was said to be indexed.
    ///
    /// # Errors
    /// When the node is in no cluster, or the catalog does not answer.
    pub async fn compare_copies(&self) -> Result<(), ManagerError> {
        replicas::look_at_catalog(&self.inner, &*self.cluster()?).await
    }

    /// Lets go of a shard: stops what is being done with its repositories, uploads what cold storage
    /// lacks if `upload` says so, and closes it. That an upload fails is told in the log and does not
    /// keep it. One that is not held is no error.
    ///
    /// It goes on when the caller no longer waits.
    ///
    /// # Errors
    /// When the node is in no cluster, or a part of the manager failed.
    pub async fn release_shard(&self, shard: u32, upload: bool) -> Result<(), ManagerError> {
        let cluster = self.cluster()?;
        let inner = self.inner.clone();
        let work = async move {
            if let Some(held) = cluster.held(shard) {
                held.stop.notify_one();
            }
            let turn = cluster.turn(shard);
            let _turn = turn.lock().await;
            release(&inner, &cluster, shard, upload).await
        };
        tokio::spawn(work).await.map_err(|error| ManagerError::Internal(error.to_string()))?
    }

    /// Stops what is being done with a shard's repositories and uploads what cold storage lacks, for
    /// another node to take it over. Searches go on until it is released; activated again under its
    /// epoch, it is served as before.
    ///
    /// # Errors
    /// When the shard is not held, or the upload fails: then it is served as before.
    pub async fn hand_over_shard(&self, shard: u32) -> Result<(), ManagerError> {
        let cluster = self.cluster()?;
        let inner = self.inner.clone();
        let work = async move {
            let turn = cluster.turn(shard);
            let _turn = turn.lock().await;
            hand_over(&inner, &cluster, shard).await
        };
        tokio::spawn(work).await.map_err(|error| ManagerError::Internal(error.to_string()))?
    }

    /// The epoch under which searches may read a shard here; `None` when they may not.
    pub fn searches(&self, shard: u32) -> Option<u64> {
        let held = self.inner.cluster.as_ref()?.held(shard)?;
        held.is_searched().then_some(held.epoch)
    }

    /// Names of the repositories of these shards of which the index here is older than what was said to be
    /// indexed: the shard's last owner died before it had uploaded that. They are being indexed again. Asked for
    /// before a search, it tells of all that the search may be short of.
    pub fn outdated(&self, shards: &[u32]) -> Vec<String> {
        let outdated = lock(&self.inner.outdated);
        let is_asked = |id: &RepositoryId| shards.contains(&self.inner.index.number_of(*id));
        let mut names: Vec<String> =
            outdated.iter().filter(|(id, _)| is_asked(id)).map(|(_, name)| name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// The shards that are held or being taken over, by number; none outside of a cluster.
    pub fn shard_states(&self) -> Vec<HeldShard> {
        self.inner.shard_states()
    }

    /// How mirrors that this node did not have came to it again since it started; none outside of a cluster.
    pub fn restored_mirrors(&self) -> RestoredMirrors {
        self.inner.cluster.as_ref().map(|cluster| cluster.mirrors.now()).unwrap_or_default()
    }

    /// The epoch that a shard is served under here; `None` when it is not.
    pub fn holds(&self, shard: u32) -> Option<u64> {
        let held = self.inner.cluster.as_ref()?.held(shard)?;
        held.is_serving().then_some(held.epoch)
    }

    fn cluster(&self) -> Result<Arc<Cluster>, ManagerError> {
        self.inner.cluster.clone().ok_or(ManagerError::NoCluster)
    }
}

async fn activate(
    inner: &Arc<Inner>,
    cluster: &Arc<Cluster>,
    (shard, epoch): (u32, u64),
    progress: ColdProgress,
) -> Result<Activated, ManagerError> {
    let started = Instant::now();
    let turn = cluster.turn(shard);
    let _turn = turn.lock().await;
    let before = cluster.held(shard);
    if let Some(held) = &before {
        if held.epoch > epoch {
            return Err(ManagerError::StaleEpoch { shard, asked: epoch, held: held.epoch });
        }
        if held.epoch == epoch && held.is_searched() {
            if !held.is_serving() {
                serve(inner, cluster, held);
            }
            return Ok(Activated::at_once());
        }
        if !held.is_replica() {
            release(inner, cluster, shard, false).await?;
        }
    }
    // A copy is searched until it is this node's own.
    let copy = before.filter(|held| held.is_replica());
    let restoring = ShardState::Restoring { done: 0, total: 0 };
    let held = Arc::new(match &copy {
        Some(copy) => copy.under(epoch, restoring),
        None => Held::new(shard, epoch),
    });
    cluster.hold(held.clone());
    let copied_under = copy.map_or(epoch, |copy| copy.epoch);
    let taken_over = take_over(inner, cluster, &held, progress).await;
    let is_done = taken_over.as_ref().is_ok_and(|activated| !activated.awaits_catalog);
    if !is_done && held.copied().is_some() {
        *held.fence.lock().await = None;
        cluster.hold(Arc::new(held.under(copied_under, ShardState::Replica)));
    }
    match taken_over {
        Ok(activated) => {
            let seconds = started.elapsed().as_secs_f64();
            let Activated { source, bytes, awaits_catalog, .. } = activated;
            // What waits is asked for again and again.
            if is_done || bytes > 0 {
                tracing::info!(
                    shard,
                    epoch,
                    ?source,
                    bytes,
                    seconds,
                    awaits_catalog,
                    "shard taken over"
                );
            }
            Ok(Activated { seconds, ..activated })
        }
        Err(error) => {
            tracing::warn!(shard, epoch, %error, "the shard could not be taken over");
            if held.copied().is_none() {
                held.set_state(ShardState::Failed { error: error.to_string() });
                close(inner, shard).await?;
            }
            Err(error)
        }
    }
}

async fn take_over(
    inner: &Arc<Inner>,
    cluster: &Arc<Cluster>,
    held: &Arc<Held>,
    progress: ColdProgress,
) -> Result<Activated, ManagerError> {
    let (shard, epoch) = (held.shard, held.epoch);
    let fence = Fence { shard, epoch };
    if cluster.ask_catalog(inner.catalog.raise_epoch(fence)).await?.is_none() {
        return stand_in(inner, cluster, held, progress).await;
    }
    cluster.check_claim().await?;
    let config = &cluster.config;
    let mut cold_fence = config.cold.fence(shard, epoch).await?;
    let told = held.clone();
    let progress: ColdProgress = Arc::new(move |done, total| {
        told.set_state(ShardState::Restoring { done, total });
        progress(done, total);
    });
    let content = cold_fence.content.take();
    let prepared = match held.copied() {
        Some(_) => replicas::catch_up(inner, cluster, held, content, progress).await?,
        None => {
            let content = (shard, content);
            restoring::prepare(inner, &config.cold, config.cluster, content, progress).await?
        }
    };
    crate::failpoint!("shard-restored");
    let index = inner.index.clone();
    let open = blocking::run("open-shard", move || Ok(index.open_shard(shard)?)).await?;
    // What is here may have gone on from what was uploaded.
    let uploaded = prepared.content.as_ref().map(|content| content.generation);
    held.set_uploaded(uploaded.filter(|_| prepared.lost.is_empty()));
    cold_fence.content = prepared.content.clone();
    cold_fence.keep_parts_in(restoring::Places::new(inner, shard).uploading);
    held.set_unsynced(prepared.content.clone().filter(|_| !prepared.is_durable));
    *held.fence.lock().await = Some(cold_fence);
    drop(open);
    let catalog = inner.catalog.under(fence);
    reconcile::shard(inner, shard, catalog, prepared.lost.clone()).await?;
    held.set_copied(None);
    serve(inner, cluster, held);
    let restoring::Prepared { source, bytes, lost, .. } = prepared;
    Ok(Activated { source, bytes, lost, ..Activated::at_once() })
}

/// Has what cold storage has of a shard searched while the catalog does not answer.
async fn stand_in(
    inner: &Arc<Inner>,
    cluster: &Arc<Cluster>,
    held: &Arc<Held>,
    progress: ColdProgress,
) -> Result<Activated, ManagerError> {
    let bytes = match held.copied() {
        Some(_) => 0,
        None => replicas::copy(inner, cluster, held, true, progress).await?,
    };
    let source = if bytes > 0 { ShardSource::ColdStorage } else { ShardSource::Local };
    Ok(Activated { source, bytes, awaits_catalog: true, ..Activated::at_once() })
}

/// Makes a copy, or has the one that there is follow another epoch.
async fn replicate(
    inner: &Arc<Inner>,
    cluster: &Arc<Cluster>,
    (shard, epoch): (u32, u64),
    progress: ColdProgress,
) -> Result<(), ManagerError> {
    let turn = cluster.turn(shard);
    let _turn = turn.lock().await;
    if let Some(held) = cluster.held(shard) {
        if held.epoch > epoch {
            return Err(ManagerError::StaleEpoch { shard, asked: epoch, held: held.epoch });
        }
        if held.is_replica() {
            cluster.hold(Arc::new(held.under(epoch, ShardState::Replica)));
            return Ok(());
        }
        release(inner, cluster, shard, false).await?;
    }
    let held = Arc::new(Held::new(shard, epoch));
    cluster.hold(held.clone());
    if let Err(error) = replicas::copy(inner, cluster, &held, false, progress).await {
        tracing::warn!(shard, epoch, %error, "the shard could not be copied");
        held.set_state(ShardState::Releasing);
        close(inner, shard).await?;
        cluster.forget(shard);
        return Err(error);
    }
    held.set_state(ShardState::Replica);
    tracing::info!(shard, epoch, "shard copied");
    Ok(())
}

/// Has a shard that is open searched, indexed and uploaded.
fn serve(inner: &Arc<Inner>, cluster: &Cluster, held: &Held) {
    held.set_state(ShardState::Serving);
    inner.wake.notify_one();
    inner.maintain.raise();
    inner.history.raise();
    inner.mirrors.raise();
    cluster.upload.notify_one();
}

/// Stops writing a shard, with all of it in cold storage. The caller has its turn.
async fn hand_over(inner: &Arc<Inner>, cluster: &Cluster, shard: u32) -> Result<(), ManagerError> {
    let held = cluster.held(shard).ok_or(IndexError::NotHeld { shard })?;
    if !held.is_serving() {
        return match held.is_searched() {
            true => Ok(()),
            false => Err(IndexError::NotHeld { shard }.into()),
        };
    }
    held.set_state(ShardState::HandedOver);
    inner.stop_jobs(shard).await;
    let uploaded = uploads::upload(inner, cluster, &held).await;
    if uploaded.is_err() && held.is_searched() {
        serve(inner, cluster, &held);
    }
    uploaded.map(drop)
}

/// Lets go of a shard. The caller has its turn.
async fn release(
    inner: &Arc<Inner>,
    cluster: &Cluster,
    shard: u32,
    upload: bool,
) -> Result<(), ManagerError> {
    let Some(held) = cluster.held(shard) else { return Ok(()) };
    let served = held.is_serving();
    held.set_state(ShardState::Releasing);
    inner.stop_jobs(shard).await;
    if upload
        && served
        && let Err(error) = uploads::upload(inner, cluster, &held).await
    {
        tracing::warn!(shard, %error, "the shard is let go of without its last upload");
    }
    held.end();
    close(inner, shard).await?;
    // An upload that is being given up has the shard's fence.
    *held.fence.lock().await = None;
    cluster.forget(shard);
    Ok(())
}

async fn close(inner: &Arc<Inner>, shard: u32) -> Result<(), ManagerError> {
    inner.hide_shard(shard);
    let index = inner.index.clone();
    blocking::run("close-shard", move || {
        index.close_shard(shard);
        Ok(())
    })
    .await
}

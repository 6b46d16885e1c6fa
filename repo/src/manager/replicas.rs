//! Copies of shards that other nodes own: made of what cold storage has, searched, never written, and
//! kept up with what their owners upload.
//!
//! A copy is in the shard's folder, like a shard that is owned. A newer one is put together beside it:
//! files that both have are links to the same file, only the others are fetched. Then the folders are
//! exchanged and the shard is opened anew, while searches go on with the files that they have.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;

use super::blocking;
use super::cluster::{Cluster, Held, ShardSource, ShardState};
use super::inner::Inner;
use super::restoring::{Places, Prepared, is_manifest};
use crate::ManagerError;
use crate::cold_storage::{
    ColdError, ColdFile, ColdManifest, ColdProgress, Position, empty_folder, hash_file,
};
use crate::repository::Repository;

/// How often the catalog is looked at, at least.
const VISIBLE_EVERY: Duration = Duration::from_secs(1);

/// What a copy of a shard is equal to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Following {
    /// The owner's upload that it equals; `None` when there was none yet.
    pub position: Option<Position>,
    /// How long ago it was last known that there is nothing newer, in milliseconds.
    pub behind_ms: u64,
}

/// A copy as its node knows it.
#[derive(Clone, Debug)]
pub(crate) struct Copied {
    content: Option<ColdManifest>,
    /// The last manifest that was looked at, with files or without.
    seen: Option<Position>,
    /// It had all that there was at this time.
    current_at: Instant,
    /// When it was last looked for something newer.
    looked_at: Instant,
    failing: bool,
}

impl Copied {
    fn new(seen: Option<Position>, content: Option<ColdManifest>, current_at: Instant) -> Self {
        Self { content, seen, current_at, looked_at: current_at, failing: false }
    }

    pub(crate) fn behind(&self) -> Duration {
        self.current_at.elapsed()
    }

    pub(crate) fn following(&self) -> Following {
        Following {
            position: self.content.as_ref().map(|content| content.position),
            behind_ms: u64::try_from(self.behind().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Keeps copies up with their owners until the manager stops.
pub(crate) async fn run(inner: Arc<Inner>) {
    let Some(cluster) = inner.cluster.clone() else { return };
    let look_every = cluster.config.follow_every;
    let mut looks = JoinSet::new();
    let mut running = HashSet::new();
    let (mut population, mut counted) = (None, Instant::now());
    while !inner.stopping() {
        let copies: Vec<_> =
            cluster.all_held().into_iter().filter(|held| held.is_replica()).collect();
        if !copies.is_empty() && counted.elapsed() >= look_every.min(VISIBLE_EVERY) {
            counted = Instant::now();
            if let Err(error) = refresh_visible(&inner, &cluster, &mut population).await {
                tracing::warn!(%error, "it is not known which repositories of copies are removed");
            }
        }
        for held in copies {
            if running.len() >= cluster.config.follows.max(1) {
                break;
            }
            let is_due = held.copied().is_some_and(|copy| copy.looked_at.elapsed() >= look_every);
            if is_due && running.insert(held.shard) {
                let (inner, cluster) = (inner.clone(), cluster.clone());
                looks.spawn(async move {
                    follow(&inner, &cluster, &held).await;
                    held.shard
                });
            }
        }
        tokio::select! {
            () = cluster.follow.notified() => {}
            () = tokio::time::sleep(look_every.min(VISIBLE_EVERY) / 4) => {}
            Some(shard) = looks.join_next(), if !looks.is_empty() => match shard {
                Ok(shard) => drop(running.remove(&shard)),
                Err(error) => {
                    tracing::error!(%error, "following a shard's owner ended without a result");
                    looks.shutdown().await;
                    running.clear();
                }
            },
        }
    }
    looks.shutdown().await;
}

/// Has searches of copies see the repositories that there are, when those have changed.
async fn refresh_visible(
    inner: &Inner,
    cluster: &Cluster,
    known: &mut Option<(i64, i64, Option<i64>)>,
) -> Result<(), ManagerError> {
    let population = inner.catalog.population().await?;
    if *known == Some(population) {
        return Ok(());
    }
    let present = inner.catalog.present().await?;
    // One that has become its own meanwhile knows better.
    let is_copy = |shard| cluster.held(shard).is_some_and(|held| held.is_replica());
    inner.set_visible(is_copy, &present);
    *known = Some(population);
    Ok(())
}

/// Has searches of a copy see the repositories that the catalog has of its shard.
async fn show_shard(inner: &Inner, cluster: &Cluster, held: &Held) -> Result<(), ManagerError> {
    let records = inner.catalog.of_shard(held.shard).await?;
    let present = records.into_iter().filter(|record| !record.removed).map(|record| {
        let Repository { id, tenant, .. } = record.repository;
        (id, tenant)
    });
    let present: Vec<_> = present.collect();
    let is_it = |shard| {
        shard == held.shard && cluster.held(shard).is_some_and(|now| std::ptr::eq(&*now, held))
    };
    inner.set_visible(is_it, &present);
    Ok(())
}

/// Makes a copy where there is none. The caller has the shard's turn.
pub(crate) async fn copy(
    inner: &Arc<Inner>,
    cluster: &Arc<Cluster>,
    held: &Arc<Held>,
    progress: ColdProgress,
) -> Result<(), ManagerError> {
    let asked = Instant::now();
    let (seen, content) = cluster.config.cold.newest_above(held.shard, None).await?;
    let told = held.clone();
    let progress: ColdProgress = Arc::new(move |done, total| {
        told.set_state(ShardState::Restoring { done, total });
        progress(done, total);
    });
    let places = Places::new(inner, held.shard);
    match &content {
        Some(content) => {
            let wanted = content.clone();
            let is_here =
                blocking::run("look-at-copy", move || Ok(places.is_copy(&wanted))).await?;
            if is_here {
                let places = Places::new(inner, held.shard);
                let (cluster_id, wanted) = (cluster.config.cluster, content.clone());
                open(inner, held.shard, move || places.write_origin(cluster_id, Some(&wanted)))
                    .await?;
            } else {
                let lost = install(inner, cluster, held, (None, content), progress).await?.lost;
                if let Some(key) = lost.into_iter().next() {
                    return Err(ColdError::Missing { key }.into());
                }
            }
        }
        None => open(inner, held.shard, move || Ok(places.clear()?)).await?,
    }
    show_shard(inner, cluster, held).await?;
    held.set_copied(Some(Copied::new(seen, content, asked)));
    held.set_state(ShardState::Replica);
    Ok(())
}

/// Opens the shard with what is put in its folder.
async fn open(
    inner: &Arc<Inner>,
    shard: u32,
    exchange: impl FnOnce() -> Result<(), ManagerError> + Send + 'static,
) -> Result<(), ManagerError> {
    let index = inner.index.clone();
    blocking::run("open-copy", move || index.replace_shard(shard, exchange).map(drop)).await
}

/// Looks for something newer and takes it.
async fn follow(inner: &Arc<Inner>, cluster: &Arc<Cluster>, held: &Arc<Held>) {
    let turn = cluster.turn(held.shard);
    // It is being taken over or let go of.
    let Ok(_turn) = turn.try_lock() else { return };
    let is_it = cluster.held(held.shard).is_some_and(|now| Arc::ptr_eq(&now, held));
    let Some(copied) = held.copied().filter(|_| is_it && held.is_replica()) else { return };
    let looked_at = Instant::now();
    let result = tokio::select! {
        result = newer(inner, cluster, held, &copied, looked_at) => result,
        () = held.stop.notified() => return,
    };
    let copied = match result {
        Ok(copied) => copied,
        Err(error) => {
            if !copied.failing {
                tracing::warn!(shard = held.shard, %error, "a copy does not follow its shard");
            }
            Copied { looked_at, failing: true, ..copied }
        }
    };
    held.set_copied(Some(copied));
}

async fn newer(
    inner: &Arc<Inner>,
    cluster: &Arc<Cluster>,
    held: &Arc<Held>,
    before: &Copied,
    looked_at: Instant,
) -> Result<Copied, ManagerError> {
    let (seen, found) = cluster.config.cold.newest_above(held.shard, before.seen).await?;
    let seen = seen.or(before.seen);
    let Some(content) = found else {
        return Ok(Copied::new(seen, before.content.clone(), looked_at));
    };
    let known = before.content.as_ref();
    if known.is_none_or(|known| known.origin != content.origin) {
        let quiet = Arc::new(|_, _| {});
        let prepared = install(inner, cluster, held, (known, &content), quiet).await?;
        if let Some(key) = prepared.lost.into_iter().next() {
            return Err(ColdError::Missing { key }.into());
        }
        show_shard(inner, cluster, held).await?;
        tracing::debug!(shard = held.shard, at = %content.position, "a copy was brought up to date");
    }
    Ok(Copied::new(seen, Some(content), looked_at))
}

/// Brings a copy, which is open and stays it, to what its new owner starts with: this node. The caller
/// has the shard's turn.
pub(crate) async fn catch_up(
    inner: &Arc<Inner>,
    cluster: &Arc<Cluster>,
    held: &Arc<Held>,
    content: Option<ColdManifest>,
    progress: ColdProgress,
) -> Result<Prepared, ManagerError> {
    let known = held.copied().and_then(|copied| copied.content);
    match content {
        Some(content) if known.as_ref().is_none_or(|known| known.origin != content.origin) => {
            install(inner, cluster, held, (known.as_ref(), &content), progress).await
        }
        content => {
            let source = ShardSource::Local;
            Ok(Prepared { source, bytes: 0, content: content.or(known), lost: Vec::new() })
        }
    }
}

/// Puts content in the place of what a shard's folder holds, which is `known`, and opens it. Where
/// files are lost nothing is changed, but for an owner's sake: see [`Prepared::lost`].
async fn install(
    inner: &Arc<Inner>,
    cluster: &Arc<Cluster>,
    held: &Arc<Held>,
    (known, content): (Option<&ColdManifest>, &ColdManifest),
    progress: ColdProgress,
) -> Result<Prepared, ManagerError> {
    let places = Places::new(inner, held.shard);
    let (old, new) = (known.cloned(), content.clone());
    let (places, missing) = blocking::run("link-copy", move || {
        empty_folder(&places.restoring)?;
        let mut here = HashSet::new();
        for (name, file) in new.files() {
            if link(&places, name, file, old.as_ref())? {
                here.insert(name.clone());
            }
        }
        let missing = new.only(|name| !here.contains(name));
        Ok((places, missing))
    })
    .await?;
    let lost = cluster.config.cold.restore_available(&missing, &places.restoring, progress).await?;
    let is_whole = lost.is_empty();
    let may_lack = !held.is_replica() && !lost.iter().any(|key| is_manifest(content, key));
    let mut here = known.cloned();
    if is_whole || held.copied().is_some() && may_lack {
        here = Some(content.clone());
        let (cluster_id, content) = (cluster.config.cluster, content.clone());
        open(inner, held.shard, move || places.exchange(cluster_id, &content)).await?;
    }
    let bytes = missing.bytes();
    Ok(Prepared { source: ShardSource::ColdStorage, bytes, content: here, lost })
}

/// Gives a file that is here a second name among those of the new content; returns whether it is.
fn link(
    places: &Places,
    name: &str,
    file: &ColdFile,
    known: Option<&ColdManifest>,
) -> Result<bool, ManagerError> {
    let from = places.folder.join(name);
    let is_same = match known {
        Some(known) => {
            let before = known.files.as_ref().and_then(|files| files.get(name));
            before.is_some_and(|before| before.sha256 == file.sha256)
                && fs::metadata(&from).is_ok_and(|metadata| metadata.len() == file.bytes)
        }
        // What the folder holds is not known.
        None => is_file(&from, file),
    };
    if !is_same {
        return Ok(false);
    }
    let to = places.restoring.join(name);
    fs::hard_link(&from, &to).map_err(ColdError::io("cannot link", from))?;
    Ok(true)
}

fn is_file(path: &Path, file: &ColdFile) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == file.bytes)
        && hash_file(path, file.bytes).is_ok_and(|hash| hash == file.sha256)
}

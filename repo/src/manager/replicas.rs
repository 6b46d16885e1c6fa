//! Copies of shards that other nodes own: made of what cold storage has, searched, never written, and
//! kept up with what their owners upload. What this node is to own is one, too, until the catalog answers, in
//! which ownership is claimed first.
//!
//! A copy is in the shard's folder, like a shard that is owned. A newer one is put together beside it:
//! files that both have are links to the same file, only the others are fetched. Then the folders are
//! exchanged and the shard is opened anew, while searches go on with the files that they have.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aeterna_index::RepositoryId;
use serde::Serialize;
use tokio::task::JoinSet;

use super::blocking;
use super::cluster::{Cluster, Held, ShardSource, ShardState};
use super::inner::Inner;
use super::reconcile;
use super::restoring::{Places, Prepared, is_manifest};
use crate::ManagerError;
use crate::catalog::{Changes, Record};
use crate::cold_storage::{
    ColdError, ColdFile, ColdManifest, ColdProgress, Position, empty_folder,
};
use crate::config::ClusterShards;

/// What is looked at less often because nothing changes is looked at so much less often at most.
const IDLE_FACTOR: u32 = 5;
/// The part of the time that nothing has changed for, after which it is looked again.
const IDLE_SHARE: u32 = 10;
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
    /// When the shard was last listed, and under which epoch of its owner.
    listed: (Instant, u64),
    /// When something newer was last found.
    changed_at: Instant,
    failing: bool,
    /// Whether it may hold more than that content: this node owned the shard, and is to own it again.
    goes_on: bool,
}

impl Copied {
    /// What was listed at a time, under an epoch of the owner.
    fn new(seen: Option<Position>, content: Option<ColdManifest>, listed: (Instant, u64)) -> Self {
        let (at, failing, goes_on) = (listed.0, false, false);
        Self {
            content,
            seen,
            current_at: at,
            looked_at: at,
            listed,
            changed_at: at,
            failing,
            goes_on,
        }
    }

    /// Whether it is time to look for something newer: the longer nothing was uploaded, the rarer.
    pub(crate) fn is_due(&self, config: &ClusterShards) -> bool {
        let every = config.follow_every;
        // Nobody is to think that it is stale meanwhile.
        let longest = (every * IDLE_FACTOR).min(config.stale_after / 2).max(every);
        self.looked_at.elapsed() >= (self.changed_at.elapsed() / IDLE_SHARE).clamp(every, longest)
    }

    /// Whether it is not enough to ask for the owner's next manifest: there may be another owner.
    fn is_to_list(&self, epoch: u64, config: &ClusterShards) -> bool {
        self.listed.1 != epoch || self.listed.0.elapsed() >= config.list_every
    }

    /// The content that its folder is equal to, where it is.
    fn equals(&self) -> Option<&ColdManifest> {
        self.content.as_ref().filter(|_| !self.goes_on)
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
    let mut counted = Instant::now();
    let mut is_told = false;
    while !inner.stopping() {
        let copies: Vec<_> =
            cluster.all_held().into_iter().filter(|held| held.is_replica()).collect();
        if !copies.is_empty() && counted.elapsed() >= look_every.min(VISIBLE_EVERY) {
            counted = Instant::now();
            let looked = look_at_catalog(&inner, &cluster).await;
            if let (Err(error), false) = (&looked, is_told) {
                tracing::warn!(%error, "it is not known which repositories of copies are removed or old");
            }
            is_told = looked.is_err();
        }
        for held in copies {
            if running.len() >= cluster.config.follows.max(1) {
                break;
            }
            let is_due = held.with_copied(|copy| copy.is_due(&cluster.config)) == Some(true);
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

/// What of the catalog copies were compared with.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// When the last comparison began that came to its end.
    began: Option<Instant>,
    /// What had changed of each shard then, or earlier.
    shards: BTreeMap<u32, Changes>,
}

/// Has searches of copies see the repositories that there are, and say which of them are older in the
/// copy than what was indexed, where those have changed.
pub(crate) async fn look_at_catalog(inner: &Inner, cluster: &Cluster) -> Result<(), ManagerError> {
    // Searches are not to wait for each other while it is found out that nobody answers.
    if cluster.is_catalog_away() {
        return Err(ManagerError::CatalogAway);
    }
    let asked = Instant::now();
    let mut compared = cluster.compared.lock().await;
    // All that wait for one comparison are served by the next.
    if compared.began.is_some_and(|began| began >= asked) {
        return Ok(());
    }
    let began = Instant::now();
    let changes = changes(inner, cluster).await?;
    for held in cluster.all_held() {
        let now = changes.get(&held.shard).copied().unwrap_or_default();
        let before = compared.shards.get(&held.shard).copied();
        if is_searched_copy(inner, cluster, held.shard) && before != Some(now) {
            let since = before.filter(|before| before.deletions == now.deletions);
            look_at_shard(inner, cluster, held.shard, since).await?;
            // Of what becomes this node's own only a part was looked at: it may stay a copy.
            if is_replica(cluster, held.shard) {
                compared.shards.insert(held.shard, now);
            }
        }
    }
    compared.began = Some(began);
    Ok(())
}

async fn changes(inner: &Inner, cluster: &Cluster) -> Result<BTreeMap<u32, Changes>, ManagerError> {
    let changes = cluster.ask_catalog(inner.catalog.changes()).await?;
    changes.ok_or(ManagerError::CatalogAway)
}

fn is_replica(cluster: &Cluster, shard: u32) -> bool {
    cluster.held(shard).is_some_and(|held| held.is_replica())
}

/// Whether a shard is searched here as a copy, also while this node becomes its owner.
fn is_searched_copy(inner: &Inner, cluster: &Cluster, shard: u32) -> bool {
    let is_copy = |held: Arc<Held>| held.with_copied(|_| ()).is_some();
    cluster.held(shard).is_some_and(is_copy) && inner.index.shard(shard).is_some()
}

/// Compares a copy with what has changed in the catalog since it was last compared, or with all of it: of
/// repositories that are gone, nothing says so itself.
async fn look_at_shard(
    inner: &Inner,
    cluster: &Cluster,
    shard: u32,
    since: Option<Changes>,
) -> Result<(), ManagerError> {
    let records = match since {
        Some(since) => inner.catalog.changed_since(shard, since.changes).await?,
        None => inner.catalog.of_shard(shard).await?,
    };
    for record in &records {
        // One that has become its own meanwhile knows better.
        if is_searched_copy(inner, cluster, shard) {
            reconcile::note_outdated(inner, record)?;
        }
        // But a removal is for ever, and a copy is searched until it is its own.
        if record.removed {
            inner.hide(&record.repository.tenant, record.repository.id);
        }
    }
    let still = || is_replica(cluster, shard);
    match since {
        Some(_) => inner.show_as_recorded(still, &records),
        None => inner.show_only(shard, still, present(&records)),
    }
    Ok(())
}

/// Those that were not removed, each with its tenant.
fn present(records: &[Record]) -> impl Iterator<Item = (&str, RepositoryId)> {
    let present = records.iter().filter(|record| !record.removed);
    present.map(|Record { repository, .. }| (&*repository.tenant, repository.id))
}

/// How a repository of a copy is compared with the catalog.
type Compare = fn(&Inner, &Record) -> Result<(), ManagerError>;

/// Has searches of a copy see the repositories that the catalog has of its shard.
async fn show_shard(
    inner: &Inner,
    cluster: &Cluster,
    held: &Held,
    compare: Compare,
) -> Result<(), ManagerError> {
    let records = inner.catalog.of_shard(held.shard).await?;
    let is_it = || cluster.held(held.shard).is_some_and(|now| std::ptr::eq(&*now, held));
    for record in &records {
        if is_it() {
            compare(inner, record)?;
        }
    }
    inner.show_only(held.shard, is_it, present(&records));
    Ok(())
}

/// Has searches of a new copy see the repositories that the catalog has of its shard, or while that does not answer
/// those that the copy has.
async fn show_new(
    inner: &Arc<Inner>,
    cluster: &Arc<Cluster>,
    held: &Arc<Held>,
) -> Result<(), ManagerError> {
    let known = match changes(inner, cluster).await {
        Ok(changes) => {
            show_shard(inner, cluster, held, reconcile::note_outdated).await?;
            Some(changes.get(&held.shard).copied().unwrap_or_default())
        }
        Err(ManagerError::CatalogAway) => {
            let infos = inner.index.shard(held.shard).map(|shard| shard.repositories());
            let infos = infos.unwrap_or_default();
            let all = infos.iter().map(|info| (&*info.tenant, info.id));
            inner.show_only(held.shard, || true, all);
            None
        }
        Err(error) => return Err(error),
    };
    let mut compared = cluster.compared.lock().await;
    match known {
        Some(known) => drop(compared.shards.insert(held.shard, known)),
        // All of it is to be compared, once it can be.
        None => drop(compared.shards.remove(&held.shard)),
    }
    Ok(())
}

/// Makes a copy where there is none, and returns how many bytes were fetched for it. The caller has the shard's
/// turn. What goes on from the newest upload stays if this node `is_owner`: there is no other that has it.
pub(crate) async fn copy(
    inner: &Arc<Inner>,
    cluster: &Arc<Cluster>,
    held: &Arc<Held>,
    is_owner: bool,
    progress: ColdProgress,
) -> Result<u64, ManagerError> {
    cluster.check_claim().await?;
    let asked = Instant::now();
    let (seen, content) = cluster.config.cold.newest_above(held.shard, None).await?;
    let told = held.clone();
    let progress: ColdProgress = Arc::new(move |done, total| {
        told.set_state(ShardState::Restoring { done, total });
        progress(done, total);
    });
    let goes_on = is_owner && has_gone_on(inner, cluster, held.shard, content.as_ref()).await?;
    let bytes = match goes_on {
        true => {
            open(inner, held.shard, || Ok(())).await?;
            0
        }
        false => copy_content(inner, cluster, held, content.as_ref(), progress).await?,
    };
    show_new(inner, cluster, held).await?;
    let copied = Copied::new(seen, content, (asked, held.epoch));
    held.set_copied(Some(Copied { goes_on, ..copied }));
    Ok(bytes)
}

/// Whether a shard's folder holds what cold storage has, or has gone on from it.
async fn has_gone_on(
    inner: &Arc<Inner>,
    cluster: &Arc<Cluster>,
    shard: u32,
    content: Option<&ColdManifest>,
) -> Result<bool, ManagerError> {
    let (places, id, content) =
        (Places::new(inner, shard), cluster.config.cluster, content.cloned());
    blocking::run("look-at-shard", move || Ok(places.is_current(id, content.as_ref()))).await
}

/// Opens a shard that is not open with this content; returns how many bytes were fetched.
async fn copy_content(
    inner: &Arc<Inner>,
    cluster: &Arc<Cluster>,
    held: &Arc<Held>,
    content: Option<&ColdManifest>,
    progress: ColdProgress,
) -> Result<u64, ManagerError> {
    let (places, id) = (Places::new(inner, held.shard), cluster.config.cluster);
    let Some(content) = content else {
        open(inner, held.shard, move || Ok(places.clear()?)).await?;
        return Ok(0);
    };
    let wanted = content.clone();
    let is_here = blocking::run("look-at-copy", move || Ok(places.is_copy(id, &wanted))).await?;
    if is_here {
        let (places, wanted) = (Places::new(inner, held.shard), content.clone());
        open(inner, held.shard, move || places.write_origin(id, Some(&wanted))).await?;
        return Ok(0);
    }
    let prepared = install(inner, cluster, held, (None, content), progress).await?;
    match prepared.lost.into_iter().next() {
        Some(key) => Err(ColdError::Missing { key }.into()),
        None => Ok(prepared.bytes),
    }
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
    let cold = &cluster.config.cold;
    let is_to_list = before.is_to_list(held.epoch, &cluster.config);
    let (seen, found) = match before.seen.filter(|_| !is_to_list) {
        Some(seen) => cold.following(held.shard, seen).await?,
        None => cold.newest_above(held.shard, before.seen).await?,
    };
    let listed = if is_to_list { (looked_at, held.epoch) } else { before.listed };
    let changed_at = if seen.is_some() { looked_at } else { before.changed_at };
    let seen = seen.or(before.seen);
    let now = Copied { seen, listed, changed_at, ..Copied::new(seen, None, (looked_at, 0)) };
    let Some(content) = found else {
        let (content, goes_on) = (before.content.clone(), before.goes_on);
        return Ok(Copied { content, goes_on, ..now });
    };
    // The same under another epoch is nothing newer.
    if before.content.as_ref().is_some_and(|known| known.origin == content.origin) {
        return Ok(Copied { content: Some(content), goes_on: before.goes_on, ..now });
    }
    let quiet = Arc::new(|_, _| {});
    let prepared = install(inner, cluster, held, (before.equals(), &content), quiet).await?;
    if let Some(key) = prepared.lost.into_iter().next() {
        return Err(ColdError::Missing { key }.into());
    }
    // What the owner has uploaded and not yet told the catalog of is not old.
    show_shard(inner, cluster, held, reconcile::check_outdated).await?;
    tracing::debug!(shard = held.shard, at = %content.position, "a copy was brought up to date");
    Ok(Copied { content: Some(content), ..now })
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
    let copied = held.copied();
    if copied.as_ref().is_some_and(|copied| copied.goes_on)
        && has_gone_on(inner, cluster, held.shard, content.as_ref()).await?
    {
        return Ok(Prepared::local(content));
    }
    let known = copied.and_then(|copied| copied.equals().cloned());
    match content {
        Some(content) if known.as_ref().is_none_or(|known| known.origin != content.origin) => {
            install(inner, cluster, held, (known.as_ref(), &content), progress).await
        }
        content => Ok(Prepared::local(content.or(known))),
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
    let source = ShardSource::ColdStorage;
    Ok(Prepared { source, bytes, content: here, is_durable: true, lost })
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
        None => file.is_at(&from),
    };
    if !is_same {
        return Ok(false);
    }
    let to = places.restoring.join(name);
    fs::hard_link(&from, &to).map_err(ColdError::io("cannot link", from))?;
    Ok(true)
}

//! The task that brings what shards have committed to cold storage.
//!
//! It compares generations, so it does not matter what made a commit, and many commits while one
//! upload runs are one upload.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::blocking;
use super::cluster::{Cluster, Held};
use super::inner::Inner;
use super::restoring::{self, Places, remove_folder};
use crate::ManagerError;

/// How often shards are looked at though nobody said that one has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs until the manager stops.
pub(crate) async fn run(inner: Arc<Inner>) {
    let Some(cluster) = inner.cluster.clone() else { return };
    let mut uploads = JoinSet::new();
    let mut running = HashSet::new();
    while !inner.stopping() {
        for held in cluster.all_held() {
            let is_due = is_due(&inner, &held);
            let is_free = running.len() < cluster.config.uploads.max(1);
            if is_due && is_free && running.insert(held.shard) {
                let (inner, cluster) = (inner.clone(), cluster.clone());
                uploads.spawn(async move {
                    let result = tokio::select! {
                        result = upload(&inner, &cluster, &held) => result,
                        () = held.ended() => Ok(false),
                    };
                    ended(&inner, &cluster, &held, result);
                    held.shard
                });
            }
        }
        tokio::select! {
            () = cluster.upload.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            Some(shard) = uploads.join_next(), if !uploads.is_empty() => match shard {
                Ok(shard) => drop(running.remove(&shard)),
                Err(error) => {
                    tracing::error!(%error, "an upload ended without a result");
                    uploads.shutdown().await;
                    running.clear();
                }
            },
        }
    }
    // What is under way continues at the next start from what was sent.
    uploads.shutdown().await;
}

/// Whether something of a shard is to be uploaded now; keeps since when it has to be.
fn is_due(inner: &Inner, held: &Held) -> bool {
    let generation = inner.index.shard(held.shard).map(|shard| shard.generation());
    let is_ahead = generation.is_some()
        && generation != held.uploaded()
        && !(generation == Some(0) && held.uploaded().is_none());
    held.set_ahead(is_ahead && held.is_serving());
    held.is_serving() && (held.is_unsynced() || is_ahead && !held.upload_rests())
}

fn ended(inner: &Inner, cluster: &Cluster, held: &Held, result: Result<bool, ManagerError>) {
    match result {
        Ok(_) => {}
        Err(error) if error.is_fenced() => inner.fenced(held.shard, &error),
        Err(error) => {
            tracing::warn!(shard = held.shard, %error, "an upload failed; it is tried again");
            held.upload_failed(error.to_string(), &cluster.config);
        }
    }
}

/// Makes what was restored durable, behind that it is served. What could not be synced once is not tried
/// again: the system may have forgotten what it did not write. The shard is restored anew instead.
async fn sync(inner: &Arc<Inner>, cluster: &Cluster, held: &Held) -> Result<(), ManagerError> {
    let Some(content) = held.unsynced() else { return Ok(()) };
    match restoring::make_durable(inner, cluster.config.cluster, (held.shard, &content)).await {
        Ok(()) => held.set_unsynced(None),
        Err(error) => {
            inner.fenced(held.shard, &error);
            return Err(error);
        }
    }
    Ok(())
}

/// Uploads the last commit of a shard, if cold storage lacks it; returns whether it did.
pub(crate) async fn upload(
    inner: &Arc<Inner>,
    cluster: &Cluster,
    held: &Held,
) -> Result<bool, ManagerError> {
    let mut fence = held.fence.lock().await;
    let (Some(fence), Some(shard)) = (fence.as_mut(), inner.index.shard(held.shard)) else {
        return Ok(false);
    };
    sync(inner, cluster, held).await?;
    if held.uploaded() == Some(shard.generation()) {
        return Ok(false);
    }
    let places = Places::new(inner, held.shard);
    let into = places.exported.clone();
    let generation = blocking::run("export", move || {
        remove_folder(&into)?;
        Ok(shard.export(&into)?.generation)
    })
    .await?;
    let quiet = Arc::new(|_, _| {});
    let uploaded = cluster.config.cold.upload(fence, &places.exported, generation, quiet).await;
    remove_folder(&places.exported)?;
    let manifest = uploaded?;
    places.write_origin(cluster.config.cluster, Some(&manifest))?;
    held.set_uploaded(Some(generation));
    tracing::debug!(shard = held.shard, at = %manifest.position, generation, "uploaded");
    if held.collects_garbage(cluster.config.garbage_every) {
        let grace = cluster.config.garbage_grace;
        match cluster.config.cold.collect_garbage(fence, grace).await {
            Ok(collected) => tracing::debug!(shard = held.shard, ?collected, "garbage collected"),
            Err(error) if error.is_fenced() => return Err(error.into()),
            // What was uploaded is; the rest goes the next time.
            Err(error) => tracing::warn!(shard = held.shard, %error, "garbage stays"),
        }
    }
    Ok(true)
}

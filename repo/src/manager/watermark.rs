//! The task that stops fetching and indexing while a disk is nearly full: what is left of it is for the
//! work that makes room, and for the shards that are searched.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use time::OffsetDateTime;

use super::inner::{Inner, lock};
use super::types::Pause;
use crate::ManagerError;

/// Runs until the manager stops.
pub(crate) async fn run(inner: Arc<Inner>) {
    while !inner.stopping() {
        let folders = [inner.config.base_path.clone(), inner.config.index_path.clone()];
        let fullest = folders.into_iter().filter_map(|folder| used(&inner, folder)).max();
        if let Some((percent, folder)) = fullest {
            look(&inner, percent, folder);
        }
        tokio::select! {
            () = tokio::time::sleep(inner.config.disk_look_every) => {}
            () = inner.stopped.notified() => {}
        }
    }
}

/// Percent of a folder's disk that are in use, where that is known.
fn used(inner: &Inner, folder: PathBuf) -> Option<(u64, PathBuf)> {
    match inner.config.disk.look(&folder) {
        Ok(space) => Some((space.used_percent(), folder)),
        Err(error) => {
            tracing::warn!(%error, folder = %folder.display(), "the free space is not known");
            None
        }
    }
}

fn look(inner: &Inner, percent: u64, folder: PathBuf) {
    let limit = inner.config.disk_critical_percent;
    let now = OffsetDateTime::now_utc();
    let mut crowded = lock(&inner.crowded);
    if percent < limit {
        if crowded.take().is_some() {
            drop(crowded);
            tracing::info!(percent, limit, "there is room on the disk again: indexing goes on");
            inner.wake.notify_one();
            inner.maintain.raise();
            inner.mirrors.raise();
        }
        return;
    }
    let reason = ManagerError::DiskNearlyFull { folder, percent, limit }.to_string();
    let until = now + inner.config.disk_look_every;
    let since = crowded.as_ref().map_or(now, |pause| pause.since);
    let is_new = crowded.is_none();
    *crowded = Some(Pause { reason: reason.clone(), since, until });
    drop(crowded);
    if is_new {
        tracing::error!("{reason}");
    }
    // Also those that have begun since the last look.
    for running in lock(&inner.running).values_mut().filter(|running| running.fills_disk) {
        running.crowded_out = true;
        running.cancel.store(true, Ordering::Release);
    }
}

impl Inner {
    /// Why neither fetching nor indexing may run now, while the disk is nearly full.
    pub(crate) fn crowded(&self) -> Option<Pause> {
        lock(&self.crowded).clone()
    }
}

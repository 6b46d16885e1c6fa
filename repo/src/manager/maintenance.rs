//! The thread that reads symbols, merges segments and looks after damage, behind everything else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aeterna_index::{IndexError, Maintenance};
use tokio::runtime::Handle;

use super::inner::{Inner, lock};
use crate::ManagerError;
use crate::catalog::JobKind;
use crate::repository::EventKind;

/// How often searches' findings of damage are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often every shard is looked at though nothing was indexed.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How often the memory that searches and jobs have freed is given back.
const RELEASE_EVERY: Duration = Duration::from_secs(10);
/// Wait after a shard failed.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Runs until the manager stops.
pub(crate) fn run(inner: &Arc<Inner>, runtime: &Handle) {
    aeterna_index::yield_to_searches(inner.config.background_nice);
    let mut swept = None::<Instant>;
    let mut released = Instant::now();
    while !inner.stopping() {
        let woken = inner.maintain.wait(if swept.is_none() { Duration::ZERO } else { LOOK_EVERY });
        if inner.stopping() {
            return;
        }
        if woken || swept.is_none_or(|swept| swept.elapsed() >= SWEEP_EVERY) {
            if let Err(error) = sweep(inner, runtime) {
                failed(inner, &error);
            }
            swept = Some(Instant::now());
        }
        if let Err(error) = damage(inner, runtime) {
            tracing::error!(%error, "damage of the index could not be recorded");
        }
        if released.elapsed() >= RELEASE_EVERY {
            aeterna_index::release_memory();
            released = Instant::now();
        }
    }
}

/// Works on every shard until none has anything left to do.
fn sweep(inner: &Arc<Inner>, runtime: &Handle) -> Result<(), ManagerError> {
    let mut busy = true;
    while busy && !inner.stopping() {
        busy = false;
        for shard in inner.own_shards() {
            if inner.stopping() || inner.paused().is_some() {
                return Ok(());
            }
            match shard.maintain(&|| inner.stopping()) {
                // It was let go of meanwhile.
                Err(IndexError::Closed { .. }) | Ok(Maintenance::Idle) => {}
                Err(error) => return Err(error.into()),
                _ => {
                    busy = true;
                    symbols_ready(inner, runtime)?;
                }
            }
        }
    }
    symbols_ready(inner, runtime)
}

fn failed(inner: &Inner, error: &ManagerError) {
    if inner.stopping() || matches!(error, ManagerError::Index(IndexError::Cancelled)) {
        return;
    }
    if error.is_disk_full() {
        inner.pause(error.to_string());
    } else {
        tracing::error!(%error, "maintenance of the index failed");
    }
    inner.maintain.wait(AFTER_FAILURE);
    inner.maintain.raise();
}

/// Tells of the repositories whose symbols have become searchable.
fn symbols_ready(inner: &Arc<Inner>, runtime: &Handle) -> Result<(), ManagerError> {
    let pending: Vec<_> = lock(&inner.symbols_pending).iter().copied().collect();
    for id in pending {
        if inner.index.shard_of(id).is_ok_and(|shard| shard.symbols_pending(id)) {
            continue;
        }
        lock(&inner.symbols_pending).remove(&id);
        runtime.block_on(async {
            inner.event(id, EventKind::SymbolsReady, "definitions can be searched").await;
            inner.publish(id).await
        })?;
    }
    Ok(())
}

/// Has the repositories of damaged files indexed again.
fn damage(inner: &Arc<Inner>, runtime: &Handle) -> Result<(), ManagerError> {
    for shard in inner.own_shards() {
        for damage in shard.take_damage() {
            let file = damage.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            tracing::error!(file, detail = damage.detail, "a file of the index is damaged");
            let message = format!(
                "a part of the index was damaged ({file}: {}); it was set aside, and the \
                 repository is indexed again",
                damage.detail
            );
            // Another node may own it now, which sees the damage itself.
            for id in damage.repositories.into_iter().filter(|id| inner.runs(*id)) {
                runtime.block_on(async {
                    inner.event(id, EventKind::Damaged, &message).await;
                    if inner.catalog.record(id).await?.is_some_and(|record| !record.removed) {
                        inner.request(id, JobKind::Reindex).await?;
                    }
                    Ok::<(), ManagerError>(())
                })?;
            }
        }
    }
    Ok(())
}

//! At a start: what the catalog, the index and the disk say is brought together.
//!
//! The catalog decides which repositories there are, the index what of them is indexed.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use aeterna_index::RepositoryId;
use uuid::Uuid;

use super::inner::Inner;
use crate::ManagerError;
use crate::catalog::{JobKind, Record};
use crate::git;
use crate::repository::{EventKind, State};

/// Brings everything together; jobs that are needed for it are in the catalog afterwards.
pub(crate) async fn reconcile(inner: &Inner) -> Result<(), ManagerError> {
    let records = inner.catalog.everything().await?;
    let known: HashMap<RepositoryId, &Record> =
        records.iter().map(|record| (record.repository.id, record)).collect();
    clean_index(inner, &known)?;
    clean_disk(inner, &known)?;
    for record in &records {
        repository(inner, record).await?;
    }
    Ok(())
}

/// Takes out of the index what the catalog does not know.
fn clean_index(inner: &Inner, known: &HashMap<RepositoryId, &Record>) -> Result<(), ManagerError> {
    for shard in inner.index.shards() {
        for info in shard.repositories() {
            match known.get(&info.id) {
                None => {
                    tracing::warn!(repository = %info.id, name = info.name, "not in the catalog");
                    shard.remove_repository(info.id)?;
                }
                Some(record) if !record.removed && record.info() != info => {
                    shard.set_repository(record.info())?;
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

/// Removes what fetches that were cut off left behind, and mirrors of unknown repositories.
fn clean_disk(inner: &Inner, known: &HashMap<RepositoryId, &Record>) -> Result<(), ManagerError> {
    let base = &inner.config.base_path;
    let failed = |source| ManagerError::Io { action: "cannot list", path: base.clone(), source };
    for entry in fs::read_dir(base).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let id = Uuid::parse_str(&name).ok().map(RepositoryId);
        let unknown = id.is_some_and(|id| !known.contains_key(&id));
        if name.starts_with("tmp-") || unknown {
            tracing::info!(folder = %name, "removing a leftover");
            git::remove_folder(&entry.path())?;
        }
    }
    Ok(())
}

async fn repository(inner: &Inner, record: &Record) -> Result<(), ManagerError> {
    let repository = &record.repository;
    let id = repository.id;
    if record.removed {
        return Ok(inner.catalog.request_job(id, JobKind::Remove).await?);
    }
    inner.show(&repository.tenant, id);
    let job = inner.catalog.job(id).await?;
    let planned = job.as_ref().is_some_and(|job| job.next_attempt_at.is_some());
    match repository.state {
        State::Requested | State::Pending | State::Archived | State::Rejected => return Ok(()),
        State::Cloning | State::Indexing => {
            let message = format!("a restart cut its {} off; it continues", repository.state);
            inner.event(id, EventKind::Recovered, &message).await;
            if !planned {
                inner.catalog.request_job(id, JobKind::Sync).await?;
            }
            return Ok(());
        }
        State::Approved if !planned => {
            return Ok(inner.catalog.request_job(id, JobKind::Sync).await?);
        }
        State::Approved | State::Ready | State::Error => {}
    }
    let indexed = inner.index.shard_of(id)?.revisions(id);
    let recorded: BTreeMap<String, String> = repository
        .revisions
        .iter()
        .map(|revision| (revision.name.clone(), revision.commit.clone()))
        .collect();
    let missing = repository.indexed_at.is_some() && indexed.is_none();
    let other = indexed.is_some_and(|indexed| indexed != recorded);
    if !planned && (missing || other) {
        let (kind, message) = if missing {
            (JobKind::Reindex, "the index does not hold it; it is indexed again")
        } else {
            (JobKind::Sync, "the index holds other commits than the catalog says; it is synced")
        };
        inner.event(id, EventKind::Recovered, message).await;
        inner.catalog.request_job(id, kind).await?;
    }
    inner.read_history(id);
    if inner.index.shard_of(id)?.symbols_pending(id) {
        super::inner::lock(&inner.symbols_pending).insert(id);
    }
    Ok(())
}

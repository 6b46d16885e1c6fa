//! At a start, and when a shard is taken over: what the catalog, the index and the disk say is
//! brought together.
//!
//! The catalog decides which repositories there are, the index what of them is indexed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::sync::Arc;

use aeterna_index::{IndexError, RepositoryId, Shard};
use uuid::Uuid;

use super::blocking;
use super::inner::{Inner, lock};
use super::mirrors::MirrorWork;
use crate::ManagerError;
use crate::catalog::{Catalog, JobKind, Record};
use crate::git;
use crate::repository::{EventKind, Repository, State};

/// Brings everything together; jobs that are needed for it are in the catalog afterwards.
pub(crate) async fn reconcile(inner: &Inner) -> Result<(), ManagerError> {
    let records = inner.catalog.everything().await?;
    let known = known(&records);
    clean_disk(inner, &known)?;
    // In a cluster that waits until a shard is taken over.
    if inner.cluster.is_none() {
        for shard in inner.index.shards() {
            clean_index(&shard, &known)?;
        }
        repositories(inner, &inner.catalog, &records).await?;
    }
    Ok(())
}

/// Brings together what the catalog says of a shard's repositories and what the shard holds.
pub(crate) async fn shard(
    inner: &Arc<Inner>,
    number: u32,
    catalog: Catalog,
    lost: Vec<String>,
) -> Result<(), ManagerError> {
    let records = Arc::new(catalog.of_shard(number).await?);
    let (index, shared) = (inner.index.clone(), records.clone());
    blocking::run("clean-shard", move || {
        let shard = index.shard(number).ok_or(IndexError::NotHeld { shard: number })?;
        clean_index(&shard, &known(&shared))
    })
    .await?;
    repositories(inner, &catalog, &records).await?;
    if !lost.is_empty() {
        tracing::error!(shard = number, ?lost, "cold storage has lost files of the shard");
    }
    Ok(())
}

fn known(records: &[Record]) -> HashMap<RepositoryId, &Record> {
    records.iter().map(|record| (record.repository.id, record)).collect()
}

/// Takes out of a shard what the catalog does not know.
fn clean_index(shard: &Shard, known: &HashMap<RepositoryId, &Record>) -> Result<(), ManagerError> {
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

async fn repositories(
    inner: &Inner,
    catalog: &Catalog,
    records: &[Record],
) -> Result<(), ManagerError> {
    let jobs = catalog.jobs().await?;
    let planned: HashSet<RepositoryId> = jobs.iter().map(|job| job.repository).collect();
    for record in records {
        repository(inner, catalog, record, planned.contains(&record.repository.id)).await?;
    }
    Ok(())
}

/// How the index is not as the catalog says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    /// It does not hold the repository.
    Missing,
    /// It holds other commits of it.
    Other,
}

fn difference(inner: &Inner, repository: &Repository) -> Result<Option<Difference>, ManagerError> {
    let recorded = repository.revisions.iter();
    let recorded: BTreeMap<String, String> =
        recorded.map(|revision| (revision.name.clone(), revision.commit.clone())).collect();
    Ok(match inner.index.shard_of(repository.id)?.revisions(repository.id) {
        None => repository.indexed_at.is_some().then_some(Difference::Missing),
        Some(indexed) => (indexed != recorded).then_some(Difference::Other),
    })
}

/// Says of a repository that it is older here than what was indexed of it, where it is.
pub(crate) fn note_outdated(inner: &Inner, record: &Record) -> Result<(), ManagerError> {
    let is_other = !record.removed && difference(inner, &record.repository)?.is_some();
    set_outdated(inner, &record.repository, is_other);
    Ok(())
}

/// Keeps whether the index has other commits of a repository than those that were said to be indexed. Where none
/// were yet, it is not older than anything.
fn set_outdated(inner: &Inner, repository: &Repository, is_other: bool) {
    let mut outdated = lock(&inner.outdated);
    match is_other && repository.indexed_at.is_some() {
        true => drop(outdated.insert(repository.id, repository.name.clone())),
        false => drop(outdated.remove(&repository.id)),
    }
}

/// Says no longer of a repository that it is older than it was, once it is not.
pub(crate) fn check_outdated(inner: &Inner, record: &Record) -> Result<(), ManagerError> {
    if record.removed || difference(inner, &record.repository)?.is_none() {
        set_outdated(inner, &record.repository, false);
    }
    Ok(())
}

async fn repository(
    inner: &Inner,
    catalog: &Catalog,
    record: &Record,
    planned: bool,
) -> Result<(), ManagerError> {
    let repository = &record.repository;
    let id = repository.id;
    if record.removed {
        // A copy of the shard may have been searched here until now.
        inner.hide(&repository.tenant, id);
        return Ok(catalog.request_job(id, JobKind::Remove).await?);
    }
    inner.show(&repository.tenant, id);
    let difference = difference(inner, repository)?;
    let is_idle = matches!(
        repository.state,
        State::Requested | State::Pending | State::Archived | State::Rejected
    );
    if inner.cluster.is_some() {
        // Searches say so until the job below, or the one that is planned, is done.
        set_outdated(inner, repository, !is_idle && difference.is_some());
    }
    match repository.state {
        _ if is_idle => return Ok(()),
        State::Cloning | State::Indexing => {
            let message = format!("a restart cut its {} off; it continues", repository.state);
            inner.event(id, EventKind::Recovered, &message).await;
            if !planned {
                catalog.request_job(id, JobKind::Sync).await?;
            }
            return Ok(());
        }
        State::Approved if !planned => {
            return Ok(catalog.request_job(id, JobKind::Sync).await?);
        }
        _ => {}
    }
    if let Some(difference) = difference.filter(|_| !planned) {
        let (kind, message) = match difference {
            Difference::Missing => {
                (JobKind::Reindex, "the index does not hold it; it is indexed again")
            }
            Difference::Other => {
                (JobKind::Sync, "the index holds other commits than the catalog says; it is synced")
            }
        };
        inner.event(id, EventKind::Recovered, message).await;
        catalog.request_job(id, kind).await?;
    }
    if inner.cluster.is_some() {
        let is_here = inner.mirror_path(id).exists();
        let work = if is_here { MirrorWork::Upload } else { MirrorWork::Restore };
        inner.work_on_mirror(id, work);
    }
    inner.read_history(id);
    if inner.index.shard_of(id)?.symbols_pending(id) {
        lock(&inner.symbols_pending).insert(id);
    }
    Ok(())
}

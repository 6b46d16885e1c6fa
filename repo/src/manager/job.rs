//! One job, from its start to what is recorded of its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aeterna_index::{Applied, RepositoryId};

use super::blocking;
use super::indexing::{self, Indexing};
use super::inner::{Inner, lock};
use super::mirrors::{MirrorWork, Mirrors};
use super::parts::Wanted;
use super::reconcile;
use crate::ManagerError;
use crate::catalog::{FetchedFacts, IndexedFacts, Job, JobKind, Record, now};
use crate::git::{self, FetchContext, Fetched, Mirror, MirrorPlace, RemoteUrl};
use crate::repository::{EventKind, State};

/// Code of a job that was stopped because the disk is nearly full.
const NEARLY_FULL: &str = "disk-nearly-full";
/// Wait after a failure could not even be recorded: the job is still due then.
const UNRECORDED_WAIT: Duration = Duration::from_secs(1);

/// Runs a job that was taken with [`Inner::begin`].
pub(crate) async fn run(inner: Arc<Inner>, job: Job, cancel: Arc<AtomicBool>) {
    let id = job.repository;
    let result = match job.kind {
        JobKind::Sync | JobKind::Reindex => index(&inner, &job, &cancel).await,
        JobKind::Remove => remove(&inner, id).await,
    };
    let recorded = match result {
        Ok(()) => inner.publish(id).await,
        Err(error) => failed(&inner, &job, &cancel, error).await,
    };
    let recorded = match recorded {
        // The job is the new owner's.
        Err(error) if error.is_fenced() => {
            inner.fenced(inner.index.number_of(id), &error);
            Ok(())
        }
        recorded => recorded,
    };
    if let Err(error) = recorded {
        tracing::error!(repository = %id, %error, "the end of a job could not be recorded");
        tokio::time::sleep(UNRECORDED_WAIT).await;
    }
    inner.end(id);
    if let Err(error) = inner.publish(id).await {
        tracing::warn!(repository = %id, %error, "watchers could not be told");
    }
}

async fn index(
    inner: &Arc<Inner>,
    job: &Job,
    cancel: &Arc<AtomicBool>,
) -> Result<(), ManagerError> {
    let id = job.repository;
    let Some(mut record) = inner.catalog.record(id).await? else { return Ok(()) };
    // Whoever added it may not have heard that it is in the catalog.
    if !record.removed && inner.show(&record.repository.tenant, id) {
        // A removal that is decided meanwhile hides it afterwards, or is seen here.
        let Some(now) = inner.catalog.record(id).await? else { return Ok(()) };
        record = now;
    }
    // Before anything is fetched: what the first part had then, the remote has.
    let wanted = Wanted::of(&inner.catalog, &record).await?;
    let Some(wanted) = wanted.filter(|_| !record.removed) else {
        inner.hide(&record.repository.tenant, id);
        return Ok(inner.catalog_of(id)?.request_job(id, JobKind::Remove).await?);
    };
    inner.set_state(id, State::Cloning).await?;
    restore_mirror(inner, id, cancel).await?;
    let is_lost = record.repository.indexed_at.is_some() && !inner.mirror_path(id).exists();
    let fetched = match fetch(inner, &record, job.kind, cancel).await {
        Ok(fetched) => {
            if let Some(cluster) = inner.cluster.as_ref().filter(|_| is_lost) {
                cluster.mirrors.cloned_again();
            }
            Arc::new(fetched)
        }
        Err(error) => {
            index_mirror(inner, (id, &wanted), cancel).await?;
            reconcile::check_outdated(inner, &record)?;
            return Err(error);
        }
    };
    crate::failpoint!("job-fetched");
    record_fetch(inner, id, &fetched).await?;
    index_fetched(inner, (job, &wanted), &fetched, cancel).await?;
    lock(&inner.outdated).remove(&id);
    // The old commits were needed to compare with; now nothing reads what the source repacked.
    if let Err(error) = blocking::run("prune", move || Ok(fetched.prune()?)).await {
        tracing::warn!(repository = %id, %error, "old packs of a mirror stay");
    }
    inner.work_on_mirror(id, MirrorWork::Upload);
    Ok(())
}

/// In a cluster, brings back a mirror that is not here: fetching then brings what is new alone.
async fn restore_mirror(
    inner: &Arc<Inner>,
    id: RepositoryId,
    cancel: &Arc<AtomicBool>,
) -> Result<(), ManagerError> {
    let Some(cluster) = &inner.cluster else { return Ok(()) };
    let (cold, inner, cancel) = (cluster.config.cold.clone(), inner.clone(), cancel.clone());
    let runtime = tokio::runtime::Handle::current();
    blocking::run("restore-mirror", move || {
        aeterna_index::yield_to_searches(inner.config.background_nice);
        let mirrors = Mirrors { inner: &inner, runtime: &runtime, cold: &cold, id };
        mirrors.restore(&cancel).map(drop)
    })
    .await
}

/// Indexes a mirror as it is when the index has nothing of its repository: better what it was than
/// nothing, as long as its remote cannot be fetched.
async fn index_mirror(
    inner: &Arc<Inner>,
    (id, wanted): (RepositoryId, &Wanted),
    cancel: &Arc<AtomicBool>,
) -> Result<(), ManagerError> {
    if cancel.load(Ordering::Acquire) || inner.index.shard_of(id)?.revisions(id).is_some() {
        return Ok(());
    }
    let home = inner.mirror_path(id);
    let fetched = blocking::run("open-mirror", move || {
        let mirror = Mirror::open(&home)?;
        Ok(mirror.map(Fetched::of_mirror).transpose()?)
    })
    .await?;
    let Some(fetched) = fetched else { return Ok(()) };
    let message = "its remote cannot be fetched; what was fetched before is indexed meanwhile";
    inner.event(id, EventKind::Recovered, message).await;
    // A request that there never is: the job is not done with this.
    let job = Job {
        repository: id,
        kind: JobKind::Reindex,
        request: -1,
        attempts: 0,
        next_attempt_at: None,
    };
    index_fetched(inner, (&job, wanted), &Arc::new(fetched), cancel).await
}

/// Brings the index up to what was fetched.
async fn index_fetched(
    inner: &Arc<Inner>,
    (job, wanted): (&Job, &Wanted),
    fetched: &Arc<Fetched>,
    cancel: &Arc<AtomicBool>,
) -> Result<(), ManagerError> {
    let id = job.repository;
    inner.set_state(id, State::Indexing).await?;
    let Some(record) = inner.catalog.record(id).await? else { return Ok(()) };
    let started = Instant::now();
    let outcome = apply(inner, (&record, wanted), fetched, job.kind, cancel).await?;
    inner.config.indexed.tell(started.elapsed());
    crate::failpoint!("job-indexed");
    if inner.index.shard_of(id)?.symbols_pending(id) {
        lock(&inner.symbols_pending).insert(id);
    }
    inner.maintain.raise();
    notices(inner, id, &outcome.notices).await?;
    inner.event(id, EventKind::Indexed, &summary(&outcome)).await;
    wanted.check(&outcome.revisions)?;
    if let Some(of) = wanted.grows_to(outcome.part) {
        let message = format!("it is too large for one shard: it is indexed in {of} parts");
        inner.event(id, EventKind::Notice, &message).await;
    }
    let parts = inner.parts_of(&record, outcome.part, (job.kind, &outcome.revisions));
    let facts = IndexedFacts { revisions: outcome.revisions, document_count: outcome.documents };
    inner.catalog_of(id)?.set_indexed(id, &facts, parts.as_ref(), job.request).await?;
    inner.read_history(id);
    Ok(())
}

/// Keeps what a fetch tells of a repository.
async fn record_fetch(
    inner: &Inner,
    id: RepositoryId,
    fetched: &Arc<Fetched>,
) -> Result<(), ManagerError> {
    notices(inner, id, &fetched.notices).await?;
    let shared = fetched.clone();
    let facts = blocking::run("inspect", move || {
        Ok(FetchedFacts {
            default_branch: shared.refs.default_branch(),
            size_bytes: shared.mirror.size(),
            license: indexing::license(&shared)?,
        })
    })
    .await?;
    let message = format!(
        "fetched; the remote has {} branches and tags, the mirror {} bytes",
        fetched.refs.refs.len(),
        facts.size_bytes
    );
    inner.event(id, EventKind::Fetched, &message).await;
    Ok(inner.catalog_of(id)?.set_fetched(id, &facts).await?)
}

/// Records notices, each once: most are as true of every sync as of the first.
async fn notices(inner: &Inner, id: RepositoryId, all: &[String]) -> Result<(), ManagerError> {
    if all.is_empty() {
        return Ok(());
    }
    let known = inner.catalog.events(id, inner.config.max_events).await?;
    for notice in all.iter().filter(|text| known.iter().all(|event| &event.message != *text)) {
        inner.event(id, EventKind::Notice, notice).await;
    }
    Ok(())
}

async fn fetch(
    inner: &Arc<Inner>,
    record: &Record,
    kind: JobKind,
    cancel: &Arc<AtomicBool>,
) -> Result<Fetched, ManagerError> {
    let id = record.repository.id;
    let (globs, url) = (record.repository.branches.clone(), record.repository.url.clone());
    let (inner, cancel) = (inner.clone(), cancel.clone());
    // A first attempt of a new indexing trusts the mirror, a second one does not.
    let anew = kind == JobKind::Reindex && record.repository.attempts > 0;
    blocking::run("fetch", move || {
        aeterna_index::yield_to_searches(inner.config.background_nice);
        // A local path is looked at on disk.
        let url = RemoteUrl::parse(&url, &inner.config.git)?;
        let home = inner.mirror_path(id);
        let temporary = inner.config.base_path.join(format!("tmp-{id}"));
        let context = FetchContext {
            config: &inner.config.git,
            stop: &|| cancel.load(Ordering::Acquire),
            report: &|progress| inner.report(id, progress),
            location: url.to_string(),
            started: Instant::now(),
        };
        let place = MirrorPlace { home: &home, temporary: &temporary };
        let fetched = git::fetch(&url, place, &globs, anew, &context);
        if fetched.is_err() {
            git::remove_folder(&temporary)?;
        }
        Ok(fetched?)
    })
    .await
}

async fn apply(
    inner: &Arc<Inner>,
    (record, wanted): (&Record, &Wanted),
    fetched: &Arc<Fetched>,
    kind: JobKind,
    cancel: &Arc<AtomicBool>,
) -> Result<indexing::Outcome, ManagerError> {
    let (inner, cancel, record, fetched) =
        (inner.clone(), cancel.clone(), record.clone(), fetched.clone());
    let wanted = wanted.clone();
    blocking::run("index", move || {
        aeterna_index::yield_to_searches(inner.config.background_nice);
        let indexing = Indexing {
            inner: &inner,
            record: &record,
            wanted: &wanted,
            fetched: &fetched,
            whole: kind == JobKind::Reindex,
            cancel: &cancel,
        };
        indexing.run()
    })
    .await
}

fn summary(outcome: &indexing::Outcome) -> String {
    let Applied { documents_added, documents_removed, contents, bytes, omitted } = outcome.applied;
    format!(
        "{} revisions indexed: {documents_added} documents added, {documents_removed} removed; \
         {contents} contents with {bytes} bytes read, {omitted} left out",
        outcome.revisions.len()
    )
}

async fn remove(inner: &Arc<Inner>, id: RepositoryId) -> Result<(), ManagerError> {
    // As when it was indexed: whoever removed it may not have heard that it is.
    if let Some(record) = inner.catalog.record(id).await? {
        inner.hide(&record.repository.tenant, id);
    }
    let shared = inner.clone();
    blocking::run("remove", move || {
        crate::failpoint!("remove-index");
        shared.index.shard_of(id)?.remove_repository(id)?;
        crate::failpoint!("remove-mirror");
        git::remove_folder(&shared.mirror_path(id))?;
        git::remove_folder(&shared.config.base_path.join(format!("tmp-{id}")))?;
        Ok(())
    })
    .await?;
    if let Some(cluster) = &inner.cluster {
        // Only its owner may, and once it is gone from there nothing brings it back.
        cluster.config.cold.remove_mirror(id.0).await?;
    }
    crate::failpoint!("remove-row");
    inner.catalog_of(id)?.delete(id).await?;
    lock(&inner.symbols_pending).remove(&id);
    lock(&inner.outdated).remove(&id);
    inner.forget_watchers(id);
    inner.maintain.raise();
    Ok(())
}

/// Records a failure: whether, when and why the job is tried again.
async fn failed(
    inner: &Arc<Inner>,
    job: &Job,
    cancel: &AtomicBool,
    error: ManagerError,
) -> Result<(), ManagerError> {
    let id = job.repository;
    if error.is_fenced() {
        return Err(error);
    }
    let crowded = lock(&inner.running).get(&id).is_some_and(|running| running.crowded_out);
    let crowded = inner.crowded().filter(|_| crowded && !inner.stopping());
    if crowded.is_none() && cancel.load(Ordering::Acquire) || !inner.runs(id) {
        // Stopped on purpose: the job stays due, for the next start, the shard's next owner, or as
        // the removal it became.
        return Ok(());
    }
    let waits_for_room = crowded.is_some() || error.is_disk_full();
    let (code, message) = match crowded {
        Some(pause) => (NEARLY_FULL, pause.reason),
        None => (error.code(), error.to_string()),
    };
    tracing::warn!(repository = %id, code, %error, "a job failed");
    let (attempts, next) = if waits_for_room {
        if code != NEARLY_FULL {
            inner.pause(message.clone());
        }
        let until = now() + duration_millis(inner.config.disk_full_pause);
        (job.attempts, Some(until))
    } else {
        let attempts = job.attempts + 1;
        let wait = inner.config.retry.wait(attempts).filter(|_| !error.is_permanent());
        // What was removed has to go, however often it takes.
        let wait = wait.or((job.kind == JobKind::Remove).then_some(inner.config.retry.longest));
        (attempts, wait.map(|wait| now() + duration_millis(wait)))
    };
    let catalog = inner.catalog_of(id)?;
    catalog.job_failed(job, attempts, (code, &message), next).await?;
    if job.kind != JobKind::Remove {
        catalog.set_state(id, State::Error).await?;
    }
    let kind = if waits_for_room { EventKind::Paused } else { EventKind::Failed };
    let again = next.map(|next| format!("; tried again at {}", rfc3339(next)));
    inner.event(id, kind, &format!("{message}{}", again.unwrap_or_default())).await;
    inner.publish(id).await
}

fn duration_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}

fn rfc3339(at: i64) -> String {
    let at = crate::catalog::time_of(at);
    at.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

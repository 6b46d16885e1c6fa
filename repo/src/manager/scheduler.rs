//! Starts jobs when they are due, a bounded number at a time, one for each repository.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::inner::{Inner, lock};
use super::job;
use crate::ManagerError;
use crate::catalog::{JobKind, now};

/// Longest sleep: what another process asked for in the catalog is seen after it.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// Longest sleep while somebody watches a repository of which other nodes have parts.
const WATCHED_EVERY: Duration = Duration::from_secs(1);
/// Wait after the catalog failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Runs until the manager stops, then until the jobs have stopped.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut jobs = JoinSet::new();
    let mut overdue = Overdue::default();
    while !inner.stopping() {
        let sleep = match start_due(&inner, &mut jobs, &mut overdue).await {
            Ok(sleep) => sleep,
            Err(error) => {
                tracing::error!(%error, "jobs cannot be listed");
                AFTER_FAILURE
            }
        };
        tokio::select! {
            () = inner.wake.notified() => {}
            () = tokio::time::sleep(sleep) => {}
            Some(ended) = jobs.join_next(), if !jobs.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a job ended without a result");
                }
            }
        }
    }
    while jobs.join_next().await.is_some() {}
}

/// Starts what is due and returns how long to sleep then.
async fn start_due(
    inner: &Arc<Inner>,
    jobs: &mut JoinSet<()>,
    overdue: &mut Overdue,
) -> Result<Duration, ManagerError> {
    let mut sleep =
        inner.cluster.as_ref().map_or(LONGEST_SLEEP, |cluster| cluster.config.jobs_every);
    if let Some(interval) = inner.config.sync_interval {
        sleep = sleep.min(overdue.request(inner, interval).await?);
    }
    if inner.publish_parts().await? {
        sleep = sleep.min(WATCHED_EVERY);
    }
    let paused = inner.paused();
    if let Some(pause) = &paused {
        let left = pause.until - time::OffsetDateTime::now_utc();
        sleep = sleep.min(Duration::try_from(left).unwrap_or_default());
    }
    let now = now();
    for job in inner.catalog.jobs().await? {
        let due = job.next_attempt_at.unwrap_or(now);
        if due > now {
            let left = Duration::from_millis(u64::try_from(due - now).unwrap_or(0));
            sleep = sleep.min(left);
            break;
        }
        // Removing makes room on a full disk.
        if paused.is_some() && job.kind != JobKind::Remove {
            continue;
        }
        if lock(&inner.running).len() >= inner.config.workers.max(1) {
            break;
        }
        if !inner.runs(job.repository) {
            continue;
        }
        if let Some(cancel) = inner.begin(job.repository, job.kind != JobKind::Remove) {
            // Whoever lets go of the shard has seen it begin, or is seen here.
            if !inner.runs(job.repository) {
                inner.end(job.repository);
                continue;
            }
            let inner = inner.clone();
            jobs.spawn(async move { job::run(inner, job, cancel).await });
        }
    }
    Ok(sleep.max(Duration::from_millis(1)))
}

/// When repositories were last looked for whose time for a sync has come: that is a statement a shard.
#[derive(Default)]
struct Overdue {
    looked_at: Option<Instant>,
}

impl Overdue {
    /// Asks for syncs, if it is time to look; returns when it is the next time.
    async fn request(
        &mut self,
        inner: &Inner,
        interval: Duration,
    ) -> Result<Duration, ManagerError> {
        let every = interval.min(LONGEST_SLEEP);
        if let Some(looked_at) = self.looked_at
            && looked_at.elapsed() < every
        {
            return Ok(every - looked_at.elapsed().min(every));
        }
        self.looked_at = Some(Instant::now());
        let before = now().saturating_sub(i64::try_from(interval.as_millis()).unwrap_or(i64::MAX));
        for catalog in inner.catalogs() {
            for id in catalog.overdue(before).await? {
                catalog.request_job(id, JobKind::Sync).await?;
            }
        }
        Ok(every)
    }
}

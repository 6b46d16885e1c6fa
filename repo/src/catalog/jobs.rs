//! What is to be done with repositories. A job outlives the process: it is gone when it was done.

use aeterna_index::RepositoryId;
use uuid::Uuid;

use super::rows::unreadable;
use super::{Catalog, CatalogError, in_transaction, on, request_job};

/// What is to be done with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// Fetch, and index what changed.
    Sync,
    /// Fetch, and index everything again.
    Reindex,
    /// Take it out of the index and delete its files.
    Remove,
}

impl JobKind {
    /// The word for it in the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Reindex => "reindex",
            Self::Remove => "remove",
        }
    }

    fn parse(word: &str) -> Result<Self, CatalogError> {
        [Self::Sync, Self::Reindex, Self::Remove]
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or_else(|| unreadable("the job", word))
    }
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The repository.
    pub repository: RepositoryId,
    /// What is to be done.
    pub kind: JobKind,
    /// Number of the request; a later one has a higher number.
    pub request: i64,
    /// Attempts that failed.
    pub attempts: u32,
    /// When it may start, in milliseconds since 1970; `None` when it was given up.
    pub next_attempt_at: Option<i64>,
}

type JobRow = (Uuid, String, i64, i64, Option<i64>);

fn job(row: JobRow) -> Result<Job, CatalogError> {
    let (id, kind, request, attempts, next_attempt_at) = row;
    Ok(Job {
        repository: RepositoryId(id),
        kind: JobKind::parse(&kind)?,
        request,
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        next_attempt_at,
    })
}

impl Catalog {
    /// Asks for a job: starts counting attempts anew. A stronger job that is asked for already
    /// stays (remove over reindex over sync).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn request_job(&self, id: RepositoryId, kind: JobKind) -> Result<(), CatalogError> {
        in_transaction!(self, "asking for a job", tx => request_job!(tx, id.0, kind));
        Ok(())
    }

    /// The jobs that are planned, the next first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn jobs(&self) -> Result<Vec<Job>, CatalogError> {
        let rows: Result<Vec<JobRow>, _> = on!(self, pool => sqlx::query_as(
            "SELECT repository_id, kind, request, attempts, next_attempt_at FROM codesearch_jobs \
             WHERE next_attempt_at IS NOT NULL ORDER BY next_attempt_at, repository_id",
        )
        .fetch_all(pool)
        .await);
        let rows = rows.map_err(CatalogError::database("listing jobs"))?;
        rows.into_iter().map(job).collect()
    }

    /// The job of a repository, planned or given up.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn job(&self, id: RepositoryId) -> Result<Option<Job>, CatalogError> {
        let row: Result<Option<JobRow>, _> = on!(self, pool => sqlx::query_as(
            "SELECT repository_id, kind, request, attempts, next_attempt_at FROM codesearch_jobs \
             WHERE repository_id = $1",
        )
        .bind(id.0)
        .fetch_optional(pool)
        .await);
        row.map_err(CatalogError::database("reading a job"))?.map(job).transpose()
    }

    /// Keeps why a job failed and when it is tried again, unless it was asked for again since.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn job_failed(
        &self,
        job: &Job,
        attempts: u32,
        error: (&str, &str),
        next_attempt_at: Option<i64>,
    ) -> Result<(), CatalogError> {
        let (code, message) = error;
        in_transaction!(self, "recording a failure", tx => sqlx::query(
            "UPDATE codesearch_jobs SET attempts = $3, last_error = $4, last_error_code = $5, \
             next_attempt_at = $6 WHERE repository_id = $1 AND request = $2",
        )
        .bind(job.repository.0)
        .bind(job.request)
        .bind(i64::from(attempts))
        .bind(message)
        .bind(code)
        .bind(next_attempt_at)
        .execute(&mut *tx)
        .await
        .map(drop)
        .map_err(CatalogError::database("recording a failure"))?);
        Ok(())
    }

    /// Repositories without a planned job that nothing happened to since `before`; those of one
    /// shard when the catalog is fenced.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn overdue(&self, before: i64) -> Result<Vec<RepositoryId>, CatalogError> {
        let rows: Result<Vec<(Uuid,)>, _> = on!(self, pool => sqlx::query_as(
            "SELECT r.id FROM codesearch_repositories r \
             LEFT JOIN codesearch_jobs j ON j.repository_id = r.id \
             WHERE r.removed_at IS NULL AND r.part = 0 AND r.state IN ('ready', 'error') \
             AND r.updated_at < $1 AND j.next_attempt_at IS NULL AND ($2 < 0 OR r.shard = $2) LIMIT 1000",
        )
        .bind(before)
        .bind(self.fence.map_or(-1, |fence| i64::from(fence.shard)))
        .fetch_all(pool)
        .await);
        let rows = rows.map_err(CatalogError::database("listing overdue repositories"))?;
        Ok(rows.into_iter().map(|(id,)| RepositoryId(id)).collect())
    }
}

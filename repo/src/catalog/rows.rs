//! Rows as the database gives them, and what they mean.

use aeterna_index::{Part, RepositoryId, RepositoryInfo};
use sqlx::FromRow;
use uuid::Uuid;

use super::{CatalogError, time_of};
use crate::repository::{Readiness, Repository, Revision, State};

/// The columns of [`RepositoryRow`], of a repository joined with its job.
macro_rules! repository_columns {
    () => {
        "SELECT r.id, r.tenant, r.name, r.url, r.branches, r.state, r.default_branch, r.fork, \
         r.archived, r.public, r.license, r.created_at, r.updated_at, r.indexed_at, r.size_bytes, \
         r.document_count, r.removed_at, r.part_of, r.part, r.parts, j.attempts, j.last_error, j.last_error_code, \
         j.next_attempt_at \
         FROM codesearch_repositories r LEFT JOIN codesearch_jobs j ON j.repository_id = r.id "
    };
}
pub(crate) use repository_columns;

#[derive(FromRow)]
pub(crate) struct RepositoryRow {
    id: Uuid,
    tenant: String,
    name: String,
    url: String,
    branches: String,
    state: String,
    default_branch: Option<String>,
    fork: bool,
    archived: bool,
    public: bool,
    license: Option<String>,
    created_at: i64,
    updated_at: i64,
    indexed_at: Option<i64>,
    size_bytes: i64,
    document_count: i64,
    removed_at: Option<i64>,
    part_of: Option<Uuid>,
    part: i64,
    parts: i64,
    attempts: Option<i64>,
    last_error: Option<String>,
    last_error_code: Option<String>,
    next_attempt_at: Option<i64>,
}

/// A repository as the catalog has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// As users see it, but for what only its worker and the index know: progress, symbols and
    /// the position in the queue.
    pub repository: Repository,
    /// Whether it was removed and its files are still to go.
    pub removed: bool,
    /// The other parts, in order, where this is a repository that is indexed in several.
    pub others: Vec<Repository>,
}

impl Record {
    /// What the index needs to know of it.
    pub fn info(&self) -> RepositoryInfo {
        let repository = &self.repository;
        RepositoryInfo {
            id: repository.id,
            tenant: repository.tenant.clone(),
            name: repository.name.clone(),
            default_branch: repository.default_branch.clone(),
            fork: repository.fork,
            archived: repository.archived,
            public: repository.public,
            license: repository.license.clone(),
            part: repository.part,
        }
    }
}

impl RepositoryRow {
    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    pub(crate) fn into_record(self, mut revisions: Vec<Revision>) -> Result<Record, CatalogError> {
        let state: State = self.state.parse().map_err(|_| unreadable("the state", &self.state))?;
        let branches: Vec<String> = serde_json::from_str(&self.branches)
            .map_err(|_| unreadable("the branches", &self.branches))?;
        let default = self.default_branch.as_deref();
        revisions.sort_by(|a, b| {
            let is_default = |revision: &Revision| Some(revision.name.as_str()) == default;
            is_default(b).cmp(&is_default(a)).then_with(|| a.name.cmp(&b.name))
        });
        let part = (self.parts > 1).then(|| Part {
            whole: RepositoryId(self.part_of.unwrap_or(self.id)),
            number: u32::try_from(self.part).unwrap_or(0),
            of: u32::try_from(self.parts).unwrap_or(1),
        });
        let repository = Repository {
            id: RepositoryId(self.id),
            part,
            parts: Vec::new(),
            tenant: self.tenant,
            name: self.name,
            url: self.url,
            branches,
            state,
            progress: None,
            revisions,
            default_branch: self.default_branch,
            symbols: Readiness::Pending,
            last_changes: Readiness::Pending,
            // Hashed by whoever knows the number of shards.
            shard: 0,
            attempts: u32::try_from(self.attempts.unwrap_or(0)).unwrap_or(u32::MAX),
            last_error: self.last_error,
            last_error_code: self.last_error_code,
            next_attempt_at: self.next_attempt_at.map(time_of),
            queue_position: None,
            fork: self.fork,
            archived: self.archived,
            public: self.public,
            license: self.license,
            created_at: time_of(self.created_at),
            updated_at: time_of(self.updated_at),
            indexed_at: self.indexed_at.map(time_of),
            size_bytes: u64::try_from(self.size_bytes).unwrap_or(0),
            document_count: u64::try_from(self.document_count).unwrap_or(0),
        };
        Ok(Record { repository, removed: self.removed_at.is_some(), others: Vec::new() })
    }
}

pub(crate) fn unreadable(what: &'static str, value: &str) -> CatalogError {
    CatalogError::Unreadable { what, value: value.chars().take(64).collect() }
}

//! Repositories and the revisions that the index holds of them.

use std::collections::{BTreeMap, HashMap};

use aeterna_index::RepositoryId;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::parts::{Parts, set_parts};
use super::rows::{Record, RepositoryRow, repository_columns};
use super::{Catalog, CatalogError, JobKind, count_change, in_transaction, now, on, request_job};
use crate::manager::ListFilter;
use crate::repository::{Revision, State};

/// Repositories that one statement asks for, whatever their number is.
pub(super) const ASKED_AT_ONCE: usize = 500;

/// A repository to insert.
#[derive(Clone, Debug)]
pub struct NewRepository {
    /// Identity.
    pub id: RepositoryId,
    /// Tenant.
    pub tenant: String,
    /// `owner/name`.
    pub name: String,
    /// Where it is fetched from.
    pub url: String,
    /// Equal for URLs of the same repository.
    pub url_key: String,
    /// Globs of branches and tags.
    pub branches: Vec<String>,
    /// Its first state.
    pub state: State,
}

/// What became of an insertion.
#[derive(Clone, Debug)]
pub enum Inserted {
    /// It is new.
    New(Record),
    /// The tenant has this URL already.
    SameUrl(Record),
    /// The tenant has this name already, with another URL.
    NameTaken(Record),
}

/// What a fetch tells of a repository.
#[derive(Clone, Debug)]
pub struct FetchedFacts {
    /// Name of the default branch.
    pub default_branch: Option<String>,
    /// Bytes of the mirror.
    pub size_bytes: u64,
    /// Licence, where one was detected.
    pub license: Option<String>,
}

/// What an indexing tells of a repository.
#[derive(Clone, Debug)]
pub struct IndexedFacts {
    /// Every revision that the index holds, with its commit.
    pub revisions: BTreeMap<String, String>,
    /// Distinct documents.
    pub document_count: u64,
}

impl Catalog {
    /// Adds a repository, and a job that indexes it, unless its tenant has one with its URL or name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert(&self, new: &NewRepository) -> Result<Inserted, CatalogError> {
        let branches = serde_json::to_string(&new.branches).unwrap_or_else(|_| "[]".to_owned());
        let at = now();
        let inserted = in_transaction!(self, "adding a repository", tx => {
            let inserted = sqlx::query(
                "INSERT INTO codesearch_repositories \
                 (id, tenant, name, url, url_key, branches, state, created_at, updated_at, shard) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9) ON CONFLICT DO NOTHING",
            )
            .bind(new.id.0)
            .bind(&new.tenant)
            .bind(&new.name)
            .bind(&new.url)
            .bind(&new.url_key)
            .bind(&branches)
            .bind(new.state.as_str())
            .bind(at)
            .bind(self.fence.map(|fence| i64::from(fence.shard)))
            .execute(&mut *tx)
            .await
            .map_err(CatalogError::database("adding a repository"))?
            .rows_affected()
                == 1;
            if inserted {
                count_change!(self, tx, new.id.0);
                request_job!(tx, new.id.0, JobKind::Sync);
            }
            inserted
        });
        if inserted {
            if let Some(record) = self.record(new.id).await? {
                return Ok(Inserted::New(record));
            }
        } else if let Some(record) = self.find_url(&new.tenant, &new.url_key).await? {
            return Ok(Inserted::SameUrl(record));
        } else if let Some(record) = self.find_name(&new.tenant, &new.name).await? {
            return Ok(Inserted::NameTaken(record));
        }
        // It was removed between two statements: the caller may try again.
        Err(CatalogError::Database {
            action: "adding a repository",
            source: sqlx::Error::RowNotFound,
        })
    }

    /// A repository, removed or not.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn record(&self, id: RepositoryId) -> Result<Option<Record>, CatalogError> {
        let row: Result<Option<RepositoryRow>, _> = on!(self, pool => sqlx::query_as(
            concat!(repository_columns!(), "WHERE r.id = $1"),
        )
        .bind(id.0)
        .fetch_optional(pool)
        .await);
        self.with_revisions(row).await
    }

    /// The repository of a tenant with this URL key.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_url(&self, tenant: &str, key: &str) -> Result<Option<Record>, CatalogError> {
        let row: Result<Option<RepositoryRow>, _> = on!(self, pool => sqlx::query_as(
            concat!(
                repository_columns!(),
                "WHERE r.tenant = $1 AND r.url_key = $2 AND r.removed_at IS NULL AND r.part = 0"
            ),
        )
        .bind(tenant)
        .bind(key)
        .fetch_optional(pool)
        .await);
        self.with_revisions(row).await
    }

    /// The repository of a tenant with this name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_name(
        &self,
        tenant: &str,
        name: &str,
    ) -> Result<Option<Record>, CatalogError> {
        let row: Result<Option<RepositoryRow>, _> = on!(self, pool => sqlx::query_as(
            concat!(
                repository_columns!(),
                "WHERE r.tenant = $1 AND r.name = $2 AND r.removed_at IS NULL AND r.part = 0"
            ),
        )
        .bind(tenant)
        .bind(name)
        .fetch_optional(pool)
        .await);
        self.with_revisions(row).await
    }

    async fn with_revisions(
        &self,
        row: Result<Option<RepositoryRow>, sqlx::Error>,
    ) -> Result<Option<Record>, CatalogError> {
        let row = row.map_err(CatalogError::database("reading a repository"))?;
        let Some(row) = row else { return Ok(None) };
        let rows: Result<Vec<(String, String)>, _> = on!(self, pool => sqlx::query_as(
            "SELECT name, commit_id FROM codesearch_revisions WHERE repository_id = $1",
        )
        .bind(row.id())
        .fetch_all(pool)
        .await);
        let rows = rows.map_err(CatalogError::database("reading revisions"))?;
        let revisions = rows.into_iter().map(|(name, commit)| Revision { name, commit });
        let records = vec![row.into_record(revisions.collect())?];
        Ok(self.with_parts(records).await?.pop())
    }

    /// The repositories of a tenant that a filter lets through, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list(&self, filter: &ListFilter) -> Result<Vec<Record>, CatalogError> {
        let pattern = format!("%{}%", escape_like(filter.name.as_deref().unwrap_or_default()));
        let state = filter.state.map(State::as_str).unwrap_or_default();
        let rows: Result<Vec<RepositoryRow>, _> = on!(self, pool => sqlx::query_as(
            concat!(
                repository_columns!(),
                "WHERE r.tenant = $1 AND r.removed_at IS NULL AND r.part = 0 \
                 AND LOWER(r.name) LIKE $2 ESCAPE '\\' AND ($3 = '' OR r.state = $3 OR r.parts > 1) \
                 AND r.name > $4 ORDER BY r.name LIMIT $5"
            ),
        )
        .bind(&filter.tenant)
        .bind(&pattern)
        .bind(state)
        .bind(filter.after.as_deref().unwrap_or_default())
        .bind(i64::from(filter.limit))
        .fetch_all(pool)
        .await);
        let rows = rows.map_err(CatalogError::database("listing repositories"))?;
        self.with_parts(self.all_with_revisions(rows).await?).await
    }

    /// Every repository of every tenant, removed ones included.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn everything(&self) -> Result<Vec<Record>, CatalogError> {
        let rows: Result<Vec<RepositoryRow>, _> = on!(self, pool => sqlx::query_as(
            concat!(repository_columns!(), "ORDER BY r.tenant, r.name"),
        )
        .fetch_all(pool)
        .await);
        let rows = rows.map_err(CatalogError::database("listing repositories"))?;
        self.all_with_revisions(rows).await
    }

    pub(crate) async fn all_with_revisions(
        &self,
        rows: Vec<RepositoryRow>,
    ) -> Result<Vec<Record>, CatalogError> {
        let mut revisions: HashMap<Uuid, Vec<Revision>> = HashMap::new();
        for part in rows.chunks(ASKED_AT_ONCE) {
            let sql = format!(
                "SELECT repository_id, name, commit_id FROM codesearch_revisions \
                 WHERE repository_id IN ({})",
                places(part.len())
            );
            let found: Result<Vec<(Uuid, String, String)>, _> = on!(self, pool => {
                // Safe: the text holds numbers of places and nothing of a user.
                let mut query = sqlx::query_as(AssertSqlSafe(sql));
                for row in part {
                    query = query.bind(row.id());
                }
                query.fetch_all(pool).await
            });
            for (id, name, commit) in found.map_err(CatalogError::database("reading revisions"))? {
                revisions.entry(id).or_default().push(Revision { name, commit });
            }
        }
        rows.into_iter()
            .map(|row| {
                let own = revisions.remove(&row.id()).unwrap_or_default();
                row.into_record(own)
            })
            .collect()
    }

    /// Moves a repository to another state.
    ///
    /// # Errors
    /// [`CatalogError::Transition`] when that state may not follow its own, or when the database
    /// fails.
    pub async fn set_state(&self, id: RepositoryId, to: State) -> Result<(), CatalogError> {
        in_transaction!(self, "changing a state", tx => {
            let from: Option<(String,)> =
                sqlx::query_as("SELECT state FROM codesearch_repositories WHERE id = $1")
                    .bind(id.0)
                    .fetch_optional(&mut *tx)
                    .await
                    .map_err(CatalogError::database("reading a state"))?;
            if let Some((from,)) = from {
                let from: State =
                    from.parse().map_err(|_| super::rows::unreadable("the state", &from))?;
                if !from.may_become(to) {
                    return Err(CatalogError::Transition { from, to });
                }
            }
            sqlx::query(
                "UPDATE codesearch_repositories SET state = $2, updated_at = $3 WHERE id = $1",
            )
            .bind(id.0)
            .bind(to.as_str())
            .bind(now())
            .execute(&mut *tx)
            .await
            .map_err(CatalogError::database("changing a state"))?;
        });
        Ok(())
    }

    /// Keeps what a fetch told.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_fetched(
        &self,
        id: RepositoryId,
        facts: &FetchedFacts,
    ) -> Result<(), CatalogError> {
        in_transaction!(self, "recording a fetch", tx => sqlx::query(
            "UPDATE codesearch_repositories \
             SET default_branch = $2, size_bytes = $3, license = $4, updated_at = $5 WHERE id = $1",
        )
        .bind(id.0)
        .bind(&facts.default_branch)
        .bind(i64::try_from(facts.size_bytes).unwrap_or(i64::MAX))
        .bind(&facts.license)
        .bind(now())
        .execute(&mut *tx)
        .await
        .map(drop)
        .map_err(CatalogError::database("recording a fetch"))?);
        Ok(())
    }

    /// Keeps what the index now holds, and that the job is done if nothing was asked for since
    /// `request`; the repository is ready. Its other parts, where it has any, are asked to follow.
    /// Returns whether the job is done.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_indexed(
        &self,
        id: RepositoryId,
        facts: &IndexedFacts,
        parts: Option<&Parts>,
        request: i64,
    ) -> Result<bool, CatalogError> {
        let failed = || CatalogError::database("recording an indexing");
        let done = in_transaction!(self, "recording an indexing", tx => {
            sqlx::query("DELETE FROM codesearch_revisions WHERE repository_id = $1")
                .bind(id.0)
                .execute(&mut *tx)
                .await
                .map_err(failed())?;
            for (name, commit) in &facts.revisions {
                sqlx::query(
                    "INSERT INTO codesearch_revisions (repository_id, name, commit_id) \
                     VALUES ($1, $2, $3)",
                )
                .bind(id.0)
                .bind(name)
                .bind(commit)
                .execute(&mut *tx)
                .await
                .map_err(failed())?;
            }
            sqlx::query(
                "UPDATE codesearch_repositories SET state = 'ready', document_count = $2, \
                 indexed_at = $3, updated_at = $3 WHERE id = $1 AND state = 'indexing'",
            )
            .bind(id.0)
            .bind(i64::try_from(facts.document_count).unwrap_or(i64::MAX))
            .bind(now())
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
            if let Some(parts) = parts {
                set_parts!(tx, id.0, parts);
            }
            count_change!(self, tx, id.0);
            sqlx::query("DELETE FROM codesearch_jobs WHERE repository_id = $1 AND request = $2")
                .bind(id.0)
                .bind(request)
                .execute(&mut *tx)
                .await
                .map_err(failed())?
                .rows_affected()
                == 1
        });
        Ok(done)
    }

    /// Marks a repository as removed: nothing lists or finds it from now on, and a job removes it.
    ///
    /// # Errors
    /// [`CatalogError::OtherParts`] while it has other parts, or when the database fails.
    pub async fn mark_removed(&self, id: RepositoryId) -> Result<(), CatalogError> {
        in_transaction!(self, "removing a repository", tx => {
            let others: (i64,) = sqlx::query_as(
                "SELECT COUNT(*) FROM codesearch_repositories \
                 WHERE part_of = $1 AND removed_at IS NULL",
            )
            .bind(id.0)
            .fetch_one(&mut *tx)
            .await
            .map_err(CatalogError::database("counting the parts of a repository"))?;
            if others.0 > 0 {
                return Err(CatalogError::OtherParts { parts: others.0 });
            }
            sqlx::query(
                "UPDATE codesearch_repositories SET removed_at = $2, updated_at = $2 \
                 WHERE id = $1 AND removed_at IS NULL",
            )
            .bind(id.0)
            .bind(now())
            .execute(&mut *tx)
            .await
            .map_err(CatalogError::database("removing a repository"))?;
            count_change!(self, tx, id.0);
            request_job!(tx, id.0, JobKind::Remove);
        });
        Ok(())
    }

    /// Forgets a repository with all that is known of it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete(&self, id: RepositoryId) -> Result<(), CatalogError> {
        let failed = || CatalogError::database("deleting a repository");
        in_transaction!(self, "deleting a repository", tx => {
            sqlx::query("DELETE FROM codesearch_repositories WHERE id = $1")
                .bind(id.0)
                .execute(&mut *tx)
                .await
                .map_err(failed())?;
            if let Some(fence) = self.fence {
                sqlx::query(
                    "UPDATE codesearch_shard_epochs SET deletions = deletions + 1 WHERE shard = $1",
                )
                .bind(i64::from(fence.shard))
                .execute(&mut *tx)
                .await
                .map_err(failed())?;
            }
        });
        Ok(())
    }
}

/// Places of so many values in a statement.
pub(super) fn places(count: usize) -> String {
    let places: Vec<String> = (1..=count).map(|place| format!("${place}")).collect();
    places.join(", ")
}

/// A text in lower case that `LIKE … ESCAPE '\'` takes literally.
fn escape_like(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.to_ascii_lowercase().chars() {
        if matches!(c, '%' | '_' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

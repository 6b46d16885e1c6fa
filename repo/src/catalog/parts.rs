//! Repositories that are indexed in parts: a row each, of which the first is the repository's own.

use std::collections::{HashMap, HashSet};

use aeterna_index::RepositoryId;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::repositories::{ASKED_AT_ONCE, places};
use super::rows::{Record, RepositoryRow, repository_columns};
use super::{Catalog, CatalogError, JobKind, on};

/// The parts that a repository is indexed in from now on.
#[derive(Clone, Debug)]
pub struct Parts {
    /// How many there are, the repository itself included.
    pub of: u32,
    /// Those that may be new: number, identity and shard.
    pub new: Vec<(u32, RepositoryId, u32)>,
    /// Those that have nothing to do.
    pub done: HashSet<RepositoryId>,
    /// What the others have to do.
    pub kind: JobKind,
}

/// Keeps which parts a repository is indexed in, in the transaction that keeps what was indexed of its own: makes
/// the rows of those that are missing, and asks each for what it has to do. A part's node does it: its shard's
/// epoch is not looked at here, as nothing is changed that its job would not find.
macro_rules! set_parts {
    ($tx:ident, $id:expr, $parts:expr) => {{
        let failed = || CatalogError::database("recording the parts of a repository");
        let (whole, parts): (Uuid, &$crate::catalog::Parts) = ($id, $parts);
        let known = sqlx::query(
            "UPDATE codesearch_repositories SET parts = $2 WHERE id = $1 AND removed_at IS NULL",
        )
        .bind(whole)
        .bind(i64::from(parts.of))
        .execute(&mut *$tx)
        .await
        .map_err(failed())?
        .rows_affected();
        if known == 1 && parts.of > 1 {
            sqlx::query(
                "UPDATE codesearch_repositories SET parts = $2 \
                 WHERE part_of = $1 AND removed_at IS NULL",
            )
            .bind(whole)
            .bind(i64::from(parts.of))
            .execute(&mut *$tx)
            .await
            .map_err(failed())?;
            for (number, id, shard) in &parts.new {
                sqlx::query(
                    "INSERT INTO codesearch_repositories \
                     (id, tenant, name, url, url_key, branches, state, created_at, updated_at, \
                      shard, part_of, part, parts, default_branch, fork, archived, public) \
                     SELECT i.id, r.tenant, r.name, r.url, r.url_key, r.branches, 'approved', \
                      r.updated_at, r.updated_at, i.shard, r.id, i.part, r.parts, \
                      r.default_branch, r.fork, r.archived, r.public \
                     FROM codesearch_repositories r, \
                      (SELECT $1 AS id, CAST($2 AS BIGINT) AS shard, CAST($3 AS BIGINT) AS part) i \
                     WHERE r.id = $4 ON CONFLICT DO NOTHING",
                )
                .bind(id.0)
                .bind(i64::from(*shard))
                .bind(i64::from(*number))
                .bind(whole)
                .execute(&mut *$tx)
                .await
                .map_err(failed())?;
            }
            let ids: Vec<(Uuid,)> = sqlx::query_as(
                "SELECT id FROM codesearch_repositories \
                 WHERE part_of = $1 AND removed_at IS NULL ORDER BY part",
            )
            .bind(whole)
            .fetch_all(&mut *$tx)
            .await
            .map_err(failed())?;
            for (id,) in ids {
                if !parts.done.contains(&RepositoryId(id)) {
                    $crate::catalog::request_job!($tx, id, parts.kind);
                }
            }
        }
    }};
}
pub(crate) use set_parts;

impl Catalog {
    /// Has each record of a repository in parts know the others.
    pub(super) async fn with_parts(
        &self,
        mut records: Vec<Record>,
    ) -> Result<Vec<Record>, CatalogError> {
        let is_whole = |record: &Record| record.repository.is_in_parts();
        let wholes: Vec<Uuid> =
            records.iter().filter(|one| is_whole(one)).map(|one| one.repository.id.0).collect();
        if wholes.is_empty() {
            return Ok(records);
        }
        let mut others: HashMap<Uuid, Vec<Record>> = HashMap::new();
        for some in wholes.chunks(ASKED_AT_ONCE) {
            let sql = format!(
                concat!(
                    repository_columns!(),
                    "WHERE r.removed_at IS NULL AND r.part_of IN ({}) ORDER BY r.part"
                ),
                places(some.len())
            );
            let rows: Result<Vec<RepositoryRow>, _> = on!(self, pool => {
                // Safe: the text holds numbers of places and nothing of a user.
                let mut query = sqlx::query_as(AssertSqlSafe(sql));
                for whole in some {
                    query = query.bind(*whole);
                }
                query.fetch_all(pool).await
            });
            let rows = rows.map_err(CatalogError::database("reading parts of repositories"))?;
            for record in self.all_with_revisions(rows).await? {
                if let Some(part) = record.repository.part {
                    others.entry(part.whole.0).or_default().push(record);
                }
            }
        }
        for record in records.iter_mut().filter(|one| is_whole(one)) {
            let others = others.remove(&record.repository.id.0).unwrap_or_default();
            record.others = others.into_iter().map(|other| other.repository).collect();
        }
        Ok(records)
    }
}

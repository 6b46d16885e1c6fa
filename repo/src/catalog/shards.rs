//! What a cluster's nodes agree on through the catalog: whose it is, and under which epoch the
//! repositories of a shard may be changed.

use aeterna_index::RepositoryId;
use uuid::Uuid;

use super::rows::{Record, RepositoryRow, repository_columns};
use super::{Catalog, CatalogError, in_transaction, on};

/// Repositories that are assigned to their shards at a time.
const ASSIGNED_AT_ONCE: i64 = 1_000;

/// The right to change what the catalog has of a shard's repositories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The shard.
    pub shard: u32,
    /// The epoch that it is owned under.
    pub epoch: u64,
}

impl Fence {
    pub(crate) fn epoch_number(self) -> i64 {
        i64::try_from(self.epoch).unwrap_or(i64::MAX)
    }
}

impl Catalog {
    /// This catalog, whose changes are refused once the shard is owned under another epoch.
    pub fn under(&self, fence: Fence) -> Self {
        Self { fence: Some(fence), ..self.clone() }
    }

    /// Makes an epoch the one that a shard is changed under; waits for changes under an earlier one
    /// that are being made.
    ///
    /// # Errors
    /// [`CatalogError::Fenced`] when a later epoch is there, or when the database fails.
    pub async fn raise_epoch(&self, fence: Fence) -> Result<(), CatalogError> {
        let raised = on!(self, pool => sqlx::query(
            "INSERT INTO codesearch_shard_epochs (shard, epoch) VALUES ($1, $2) \
             ON CONFLICT (shard) DO UPDATE SET epoch = excluded.epoch \
             WHERE codesearch_shard_epochs.epoch <= excluded.epoch",
        )
        .bind(i64::from(fence.shard))
        .bind(fence.epoch_number())
        .execute(pool)
        .await
        .map(|done| done.rows_affected()));
        match raised.map_err(CatalogError::database("raising a shard's epoch"))? {
            0 => Err(CatalogError::Fenced { shard: fence.shard, epoch: fence.epoch }),
            _ => Ok(()),
        }
    }

    /// Makes the catalog that of a cluster, and assigns every repository to its shard.
    ///
    /// # Errors
    /// [`CatalogError::OtherCluster`] when it is another one's, or has another number of shards; or
    /// when the database fails.
    pub async fn join_cluster(
        &self,
        cluster: Uuid,
        shards: u32,
        number_of: impl Fn(RepositoryId) -> u32,
    ) -> Result<(), CatalogError> {
        let failed = || CatalogError::database("joining a cluster");
        on!(self, pool => sqlx::query(
            "INSERT INTO codesearch_cluster (only_row, cluster_id, shards) VALUES (1, $1, $2) \
             ON CONFLICT DO NOTHING",
        )
        .bind(cluster)
        .bind(i64::from(shards))
        .execute(pool)
        .await
        .map(drop))
        .map_err(failed())?;
        let row: Result<(Uuid, i64), _> = on!(self, pool => sqlx::query_as("SELECT cluster_id, shards FROM codesearch_cluster")
                .fetch_one(pool)
                .await);
        let (theirs, number) = row.map_err(failed())?;
        if theirs != cluster || number != i64::from(shards) {
            let number = u32::try_from(number).unwrap_or(0);
            return Err(CatalogError::OtherCluster { theirs, number, cluster, shards });
        }
        self.assign_shards(number_of).await
    }

    /// Repositories of a catalog that no cluster had before.
    async fn assign_shards(
        &self,
        number_of: impl Fn(RepositoryId) -> u32,
    ) -> Result<(), CatalogError> {
        loop {
            let ids: Result<Vec<(Uuid,)>, _> = on!(self, pool => sqlx::query_as(
                "SELECT id FROM codesearch_repositories WHERE shard IS NULL LIMIT $1",
            )
            .bind(ASSIGNED_AT_ONCE)
            .fetch_all(pool)
            .await);
            let ids = ids.map_err(CatalogError::database("listing repositories"))?;
            if ids.is_empty() {
                return Ok(());
            }
            in_transaction!(self, "assigning repositories to shards", tx => {
                for (id,) in ids {
                    sqlx::query("UPDATE codesearch_repositories SET shard = $2 WHERE id = $1")
                        .bind(id)
                        .bind(i64::from(number_of(RepositoryId(id))))
                        .execute(&mut *tx)
                        .await
                        .map_err(CatalogError::database("assigning repositories to shards"))?;
                }
            });
        }
    }

    /// Every repository of a shard, removed ones included.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn of_shard(&self, shard: u32) -> Result<Vec<Record>, CatalogError> {
        let rows: Result<Vec<RepositoryRow>, _> = on!(self, pool => sqlx::query_as(
            concat!(repository_columns!(), "WHERE r.shard = $1 ORDER BY r.tenant, r.name"),
        )
        .bind(i64::from(shard))
        .fetch_all(pool)
        .await);
        let rows = rows.map_err(CatalogError::database("listing a shard's repositories"))?;
        self.all_with_revisions(rows).await
    }
}

//! What a cluster's nodes agree on through the catalog: whose it is, and under which epoch the
//! repositories of a shard may be changed.

use std::collections::BTreeMap;

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

/// How often the repositories of a shard have changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Grows when one is added, indexed or removed.
    pub(crate) changes: i64,
    /// Grows when the row of one goes.
    pub(crate) deletions: i64,
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

    /// The epoch that each shard's repositories may be changed under; shards that never had an owner
    /// are left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn epochs(&self) -> Result<BTreeMap<u32, u64>, CatalogError> {
        let rows: Result<Vec<(i64, i64)>, _> = on!(self, pool => sqlx::query_as(
            "SELECT shard, epoch FROM codesearch_shard_epochs",
        )
        .fetch_all(pool)
        .await);
        let rows = rows.map_err(CatalogError::database("reading the epochs of shards"))?;
        let row = |(shard, epoch)| Some((u32::try_from(shard).ok()?, u64::try_from(epoch).ok()?));
        Ok(rows.into_iter().filter_map(row).collect())
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

    /// The repositories of a shard that were added, indexed or removed since so many changes of it were counted.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn changed_since(
        &self,
        shard: u32,
        changes: i64,
    ) -> Result<Vec<Record>, CatalogError> {
        let rows: Result<Vec<RepositoryRow>, _> = on!(self, pool => sqlx::query_as(
            concat!(repository_columns!(), "WHERE r.shard = $1 AND r.changed > $2"),
        )
        .bind(i64::from(shard))
        .bind(changes)
        .fetch_all(pool)
        .await);
        let rows = rows.map_err(CatalogError::database("listing what has changed"))?;
        self.all_with_revisions(rows).await
    }

    /// How often the repositories of each shard have changed; shards that never had an owner are left out.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn changes(&self) -> Result<BTreeMap<u32, Changes>, CatalogError> {
        let rows: Result<Vec<(i64, i64, i64)>, _> = on!(self, pool => sqlx::query_as(
            "SELECT shard, changes, deletions FROM codesearch_shard_epochs",
        )
        .fetch_all(pool)
        .await);
        let rows = rows.map_err(CatalogError::database("counting changes"))?;
        let row = |(shard, changes, deletions)| {
            Some((u32::try_from(shard).ok()?, Changes { changes, deletions }))
        };
        Ok(rows.into_iter().filter_map(row).collect())
    }
}

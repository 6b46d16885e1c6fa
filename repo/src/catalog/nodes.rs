//! The nodes of a cluster as whoever looks at the database sees them.

use sqlx::FromRow;

use super::{Catalog, CatalogError, now, on};

/// What a node tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Grows with each start.
    pub generation: u64,
    /// Address of its HTTP API.
    pub http: String,
    /// Address for other nodes' calls.
    pub grpc: String,
    /// Of the program.
    pub version: String,
    /// How it is.
    pub status: NodeStatus,
    /// Shards that it serves.
    pub shards_serving: u64,
    /// Bytes of these.
    pub index_bytes: u64,
    /// Bytes of its disk.
    pub disk_total: u64,
    /// Bytes of its disk that are free.
    pub disk_free: u64,
    /// When it started, in milliseconds since 1970.
    pub started_at: i64,
}

/// How a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeStatus {
    /// It takes part.
    #[default]
    Active,
    /// It hands over what it owns.
    Draining,
    /// It has left in good order.
    Stopped,
    /// It is known to be dead.
    Dead,
}

impl NodeStatus {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Dead => "dead",
        }
    }
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct NodeRow {
    /// Name of the node.
    pub shard_id: String,
    /// Grows with each start.
    pub generation: i64,
    /// `active`, `draining`, `stopped` or `dead`.
    pub status: String,
    /// Shards that it serves.
    pub shards_serving: i64,
    /// When the node last wrote the row, in milliseconds since 1970.
    pub last_heartbeat: i64,
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Catalog {
    /// Writes the row of a node. One that has been started later keeps its row, and so does one that has
    /// stopped, until it starts again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn write_node(&self, node: &NodeFacts) -> Result<(), CatalogError> {
        let written: Result<(), _> = on!(self, pool => sqlx::query(
            "INSERT INTO code_search_indexer_shards (shard_id, generation, http, grpc, version, status, \
             shards_serving, index_bytes, disk_total, disk_free, started_at, last_heartbeat) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
             ON CONFLICT (shard_id) DO UPDATE SET generation = excluded.generation, \
             http = excluded.http, grpc = excluded.grpc, version = excluded.version, \
             status = excluded.status, shards_serving = excluded.shards_serving, \
             index_bytes = excluded.index_bytes, disk_total = excluded.disk_total, \
             disk_free = excluded.disk_free, started_at = excluded.started_at, \
             last_heartbeat = excluded.last_heartbeat \
             WHERE code_search_indexer_shards.generation < excluded.generation \
             OR code_search_indexer_shards.generation = excluded.generation \
             AND code_search_indexer_shards.status <> 'stopped'",
        )
        .bind(&node.name)
        .bind(number(node.generation))
        .bind(&node.http)
        .bind(&node.grpc)
        .bind(&node.version)
        .bind(node.status.as_str())
        .bind(number(node.shards_serving))
        .bind(number(node.index_bytes))
        .bind(number(node.disk_total))
        .bind(number(node.disk_free))
        .bind(node.started_at)
        .bind(now())
        .execute(pool)
        .await
        .map(drop));
        written.map_err(CatalogError::database("recording a node"))
    }

    /// Says of a node that it is dead, unless it has been started again since this generation or has
    /// stopped by itself.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn write_dead_node(&self, name: &str, generation: u64) -> Result<(), CatalogError> {
        let written: Result<(), _> = on!(self, pool => sqlx::query(
            "UPDATE code_search_indexer_shards SET status = 'dead' \
             WHERE shard_id = $1 AND generation <= $2 AND status NOT IN ('dead', 'stopped')",
        )
        .bind(name)
        .bind(number(generation))
        .execute(pool)
        .await
        .map(drop));
        written.map_err(CatalogError::database("recording a dead node"))
    }

    /// Forgets a node that is not one of the cluster any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_node(&self, name: &str) -> Result<(), CatalogError> {
        let gone: Result<(), _> = on!(self, pool => sqlx::query(
            "DELETE FROM code_search_indexer_shards WHERE shard_id = $1",
        )
        .bind(name)
        .execute(pool)
        .await
        .map(drop));
        gone.map_err(CatalogError::database("forgetting a node"))
    }

    /// Every node's row, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn nodes(&self) -> Result<Vec<NodeRow>, CatalogError> {
        let rows: Result<Vec<NodeRow>, _> = on!(self, pool => sqlx::query_as(
            "SELECT shard_id, generation, status, shards_serving, last_heartbeat \
             FROM code_search_indexer_shards ORDER BY shard_id",
        )
        .fetch_all(pool)
        .await);
        rows.map_err(CatalogError::database("listing nodes"))
    }
}

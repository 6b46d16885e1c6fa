//! The catalog: what repositories there are, their state and what is to be done.
//!
//! One file of SQLite, or PostgreSQL. Statements are written once, in what both understand; ids
//! are UUIDs and times milliseconds since 1970.

mod error;
mod events;
mod jobs;
mod nodes;
mod parts;
mod repositories;
mod rows;
mod shards;

use std::fs::File;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use time::OffsetDateTime;

pub use error::CatalogError;
pub use jobs::{Job, JobKind};
pub use nodes::{NodeFacts, NodeRow, NodeStatus};
pub use parts::Parts;
pub use repositories::{FetchedFacts, IndexedFacts, Inserted, NewRepository};
pub use rows::Record;
pub(crate) use shards::Changes;
pub use shards::Fence;

use crate::config::DatabaseUrl;

static SQLITE: Migrator = sqlx::migrate!("../migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("../migrations/postgres");

/// How long a statement of SQLite waits for another one's lock or for a free connection.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a statement of PostgreSQL waits for a connection: shorter than a forwarded request's
/// deadline, so that the caller hears that the database is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs a block with `$pool` bound to the pool of the database that is used.
macro_rules! on {
    ($catalog:expr, $pool:ident => $body:expr) => {
        match &$catalog.pool {
            $crate::catalog::Pool::Sqlite($pool) => $body,
            $crate::catalog::Pool::Postgres($pool) => $body,
        }
    };
}

/// Runs a block in a transaction, which fails at its start when the catalog is fenced and the shard
/// is owned under another epoch. SQLite's takes the write lock at its start, as one that reads first
/// could be refused it later.
macro_rules! in_transaction {
    ($catalog:expr, $action:literal, $tx:ident => $body:expr) => {
        match &$catalog.pool {
            $crate::catalog::Pool::Sqlite(pool) => {
                let begun = pool.begin_with("BEGIN IMMEDIATE").await;
                let mut $tx = begun.map_err(CatalogError::database($action))?;
                $crate::catalog::check_fence!($catalog, $tx);
                let value = $body;
                $tx.commit().await.map_err(CatalogError::database($action))?;
                value
            }
            $crate::catalog::Pool::Postgres(pool) => {
                let mut $tx = pool.begin().await.map_err(CatalogError::database($action))?;
                $crate::catalog::check_fence!($catalog, $tx);
                let value = $body;
                $tx.commit().await.map_err(CatalogError::database($action))?;
                value
            }
        }
    };
}

/// Fails unless the shard is still owned under the epoch. The row stays locked until the transaction
/// ends, so the epoch is not raised in between.
macro_rules! check_fence {
    ($catalog:expr, $tx:ident) => {
        if let Some(fence) = $catalog.fence {
            let held = sqlx::query(
                "UPDATE codesearch_shard_epochs SET epoch = epoch WHERE shard = $1 AND epoch = $2",
            )
            .bind(i64::from(fence.shard))
            .bind(fence.epoch_number())
            .execute(&mut *$tx)
            .await
            .map_err(CatalogError::database("checking a shard's epoch"))?;
            if held.rows_affected() == 0 {
                return Err(CatalogError::Fenced { shard: fence.shard, epoch: fence.epoch });
            }
        }
    };
}

/// Counts a change of a repository among those of its shard, in the transaction that makes it; outside of a
/// cluster nobody asks. The row of the shard is locked since the fence was checked: who sees a number sees
/// all that was counted before it.
macro_rules! count_change {
    ($catalog:expr, $tx:ident, $id:expr) => {
        if let Some(fence) = $catalog.fence {
            let failed = || CatalogError::database("counting a change");
            let shard = i64::from(fence.shard);
            sqlx::query(
                "UPDATE codesearch_shard_epochs SET changes = changes + 1 WHERE shard = $1",
            )
            .bind(shard)
            .execute(&mut *$tx)
            .await
            .map_err(failed())?;
            sqlx::query(
                "UPDATE codesearch_repositories SET changed = \
                 (SELECT changes FROM codesearch_shard_epochs WHERE shard = $2) WHERE id = $1",
            )
            .bind($id)
            .bind(shard)
            .execute(&mut *$tx)
            .await
            .map_err(failed())?;
        }
    };
}

/// Asks for a job, in a transaction: what is asked for again is done once, and the most thorough of it.
macro_rules! request_job {
    ($tx:ident, $id:expr, $kind:expr) => {
        sqlx::query(
            "INSERT INTO codesearch_jobs \
             (repository_id, kind, request, requested_at, attempts, next_attempt_at) \
             VALUES ($1, $2, 1, $3, 0, $3) \
             ON CONFLICT (repository_id) DO UPDATE SET \
             kind = CASE \
               WHEN codesearch_jobs.kind = 'remove' OR excluded.kind = 'remove' THEN 'remove' \
               WHEN codesearch_jobs.kind = 'reindex' OR excluded.kind = 'reindex' THEN 'reindex' \
               ELSE 'sync' END, \
             request = codesearch_jobs.request + 1, requested_at = excluded.requested_at, \
             attempts = 0, last_error = NULL, last_error_code = NULL, \
             next_attempt_at = excluded.next_attempt_at",
        )
        .bind($id)
        .bind($kind.as_str())
        .bind($crate::catalog::now())
        .execute(&mut *$tx)
        .await
        .map(drop)
        .map_err(CatalogError::database("asking for a job"))?
    };
}

pub(crate) use {check_fence, count_change, in_transaction, on, request_job};

#[derive(Clone, Debug)]
enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// The catalog; clones share its connections.
#[derive(Clone, Debug)]
pub struct Catalog {
    pool: Pool,
    max_events: u32,
    /// What changes are made under.
    fence: Option<Fence>,
}

impl Catalog {
    /// Opens the database and brings its tables up to date.
    ///
    /// # Errors
    /// When it cannot be reached, or was written by a newer version.
    pub async fn open(
        url: &DatabaseUrl,
        connections: u32,
        max_events: u32,
    ) -> Result<Self, CatalogError> {
        let failed = CatalogError::database("opening the database");
        let pool = match url.kind() {
            "sqlite" => {
                // Several nodes may open a new one at the same time.
                let _alone = match url.sqlite_path() {
                    Some(path) => Some(lock_migrations(path).await?),
                    None => None,
                };
                let options = SqliteConnectOptions::from_str(url.expose()).map_err(failed)?;
                Self::open_sqlite(options, connections).await?
            }
            "postgres" => {
                let options = PgConnectOptions::from_str(url.expose()).map_err(failed)?;
                Self::open_postgres(options, connections).await?
            }
            _ => {
                let scheme = url.expose().split(':').next().unwrap_or_default();
                let scheme = scheme.chars().take(16).collect();
                return Err(CatalogError::UnknownDatabase { scheme });
            }
        };
        Ok(Self { pool, max_events, fence: None })
    }

    async fn open_sqlite(
        options: SqliteConnectOptions,
        connections: u32,
    ) -> Result<Pool, CatalogError> {
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(LOCK_TIMEOUT)
            .foreign_keys(true);
        let pool = SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(LOCK_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(CatalogError::database("opening the database"))?;
        SQLITE.run(&pool).await?;
        Ok(Pool::Sqlite(pool))
    }

    async fn open_postgres(
        options: PgConnectOptions,
        connections: u32,
    ) -> Result<Pool, CatalogError> {
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(CatalogError::database("opening the database"))?;
        POSTGRES.run(&pool).await?;
        Ok(Pool::Postgres(pool))
    }

    /// Ends all connections; the write-ahead log of SQLite becomes part of its file.
    pub async fn close(&self) {
        on!(self, pool => pool.close().await);
    }
}

/// Waits until no other process brings the tables of a SQLite file up to date.
async fn lock_migrations(path: PathBuf) -> Result<File, CatalogError> {
    let mut name = path.into_os_string();
    name.push(".lock");
    let locked = tokio::task::spawn_blocking(move || {
        let file = File::create(name)?;
        file.lock().map(|()| file)
    });
    let locked = locked.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    locked.map_err(|error| CatalogError::database("locking the database")(sqlx::Error::Io(error)))
}

/// Now, as the catalog keeps it.
pub(crate) fn now() -> i64 {
    millis(OffsetDateTime::now_utc())
}

/// Milliseconds since 1970.
pub(crate) fn millis(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// The time of so many milliseconds since 1970; 1970 for what no calendar has.
pub(crate) fn time_of(millis: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

//! What can go wrong with the catalog.

/// An error of the catalog. The address of the database is never part of it.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The address names no database that is supported.
    #[error("the database URL must start with sqlite: or postgres:, it starts with {scheme:?}")]
    UnknownDatabase {
        /// What it starts with.
        scheme: String,
    },
    /// The database refused or could not be reached.
    #[error("the catalog failed {action}: {source}")]
    Database {
        /// What was tried, such as `adding a repository`.
        action: &'static str,
        /// The driver's reason.
        source: sqlx::Error,
    },
    /// The tables could not be brought up to date.
    #[error("the catalog's tables cannot be brought up to date: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A row holds what no version of this program writes.
    #[error(
        "the catalog holds {what} {value:?}, which this version does not know; run the newer version"
    )]
    Unreadable {
        /// What was read.
        what: &'static str,
        /// What it holds.
        value: String,
    },
    /// The shard of what was to be changed is owned under another epoch.
    #[error(
        "shard {shard} is no longer owned under epoch {epoch}: nothing was changed; ask its owner"
    )]
    Fenced {
        /// The shard.
        shard: u32,
        /// The epoch that the change was made under.
        epoch: u64,
    },
    /// Other parts of the repository are there, which go first.
    #[error(
        "{parts} other parts of the repository are not removed yet: nothing was changed; try again \
         in a moment"
    )]
    OtherParts {
        /// How many there are.
        parts: i64,
    },
    /// The catalog is that of another cluster, or of one with another number of shards.
    #[error(
        "the catalog belongs to the cluster {theirs} with {number} shards, not to {cluster} with \
         {shards}; give this cluster a database of its own, or the number of shards that it was made with"
    )]
    OtherCluster {
        /// The cluster whose it is.
        theirs: uuid::Uuid,
        /// Its shards.
        number: u32,
        /// The cluster that wanted it.
        cluster: uuid::Uuid,
        /// Its shards.
        shards: u32,
    },
    /// A state may not follow the one that is there.
    #[error("a repository that is {from} cannot become {to}")]
    Transition {
        /// State in the catalog.
        from: crate::State,
        /// State that was asked for.
        to: crate::State,
    },
}

impl CatalogError {
    /// Wraps an error of the driver with what was tried.
    pub(crate) fn database(action: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { action, source }
    }

    /// Whether another node owns the shard now.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Fenced { .. })
    }

    /// Whether the database cannot be reached now, or takes nobody: trying again may help.
    pub fn is_unavailable(&self) -> bool {
        let Self::Database { source, .. } = self else { return false };
        match source {
            // PostgreSQL, appendix A: 08 is a broken connection, 57P01 to 57P03 a server that stops
            // or starts, 53300 too many connections.
            sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                code.len() == 5
                    && (code.starts_with("08")
                        || matches!(&*code, "57P01" | "57P02" | "57P03" | "53300"))
            }),
            sqlx::Error::Io(_) => !self.is_disk_full(),
            // Who hangs up on the first message, such as a proxy whose server is away, is told from no
            // other that speaks another protocol.
            sqlx::Error::Protocol(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            _ => false,
        }
    }

    /// Whether the disk of the database is full.
    pub fn is_disk_full(&self) -> bool {
        // SQLITE_FULL is 13; 53100 is PostgreSQL's disk_full.
        match self {
            Self::Database { source: sqlx::Error::Database(error), .. } => {
                matches!(error.code().as_deref(), Some("13" | "53100"))
            }
            Self::Database { source: sqlx::Error::Io(error), .. } => {
                crate::error::is_disk_full(error)
            }
            _ => false,
        }
    }
}

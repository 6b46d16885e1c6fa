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

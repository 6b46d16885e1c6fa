//! What happened to repositories.

use aeterna_index::RepositoryId;

use super::rows::unreadable;
use super::{Catalog, CatalogError, in_transaction, now, on, time_of};
use crate::repository::{Event, EventKind};

/// Bytes of a message that are kept.
const MAX_MESSAGE: usize = 2_000;

impl Catalog {
    /// Keeps an event; the oldest ones beyond the limit are forgotten.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_event(
        &self,
        id: RepositoryId,
        kind: EventKind,
        message: &str,
    ) -> Result<(), CatalogError> {
        let failed = || CatalogError::database("recording an event");
        let message: String = message.chars().take(MAX_MESSAGE).collect();
        in_transaction!(self, "recording an event", tx => {
            // A repository that is gone has no history: nothing is inserted for it.
            sqlx::query(
                "INSERT INTO codesearch_events (repository_id, at, kind, message) \
                 SELECT id, $2, $3, $4 FROM codesearch_repositories WHERE id = $1",
            )
            .bind(id.0)
            .bind(now())
            .bind(kind.as_str())
            .bind(&message)
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
            sqlx::query(
                "DELETE FROM codesearch_events WHERE repository_id = $1 AND id <= \
                 (SELECT id FROM codesearch_events WHERE repository_id = $1 \
                  ORDER BY id DESC LIMIT 1 OFFSET $2)",
            )
            .bind(id.0)
            .bind(i64::from(self.max_events))
            .execute(&mut *tx)
            .await
            .map_err(failed())?;
        });
        Ok(())
    }

    /// The newest events of a repository, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events(&self, id: RepositoryId, limit: u32) -> Result<Vec<Event>, CatalogError> {
        let rows: Result<Vec<(i64, String, String)>, _> = on!(self, pool => sqlx::query_as(
            "SELECT at, kind, message FROM codesearch_events WHERE repository_id = $1 \
             ORDER BY id DESC LIMIT $2",
        )
        .bind(id.0)
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await);
        let rows = rows.map_err(CatalogError::database("reading events"))?;
        rows.into_iter()
            .map(|(at, word, message)| {
                let kind = EventKind::ALL.into_iter().find(|kind| kind.as_str() == word);
                let kind = kind.ok_or_else(|| unreadable("the event", &word))?;
                Ok(Event { at: time_of(at), kind, message })
            })
            .collect()
    }
}

//! Measures how long the work on a repository takes, from when it starts, not from when it was
//! asked for, until its text can be searched.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use aeterna_index::RepositoryId;
use aeterna_repo::{DEFAULT_TENANT, ListFilter, RepoManager, Repository, State};
use tokio::sync::watch::Receiver;

use super::Metrics;

/// Repositories that are read at once at the start.
const PAGE: u32 = 1000;

/// Follows every repository of the node; one task each, which sleeps unless something changes.
#[derive(Clone, Debug)]
pub struct IndexingTimes {
    manager: Arc<RepoManager>,
    metrics: Arc<Metrics>,
    followed: Arc<Mutex<HashSet<RepositoryId>>>,
}

impl IndexingTimes {
    /// Measures the work of this manager.
    pub fn new(manager: &Arc<RepoManager>, metrics: &Arc<Metrics>) -> Self {
        Self {
            manager: Arc::clone(manager),
            metrics: Arc::clone(metrics),
            followed: Arc::default(),
        }
    }

    /// Follows the repositories that there are at the start.
    pub async fn follow_all(self) {
        let mut filter = ListFilter {
            tenant: DEFAULT_TENANT.to_owned(),
            name: None,
            state: None,
            after: None,
            limit: PAGE,
        };
        loop {
            let found = match self.manager.list(&filter).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%error, "the time of some work is not measured");
                    return;
                }
            };
            found.iter().for_each(|repository| self.follow(repository.id));
            match found.last() {
                Some(last) if found.len() == PAGE as usize => {
                    filter.after = Some(last.name.clone())
                }
                _ => return,
            }
        }
    }

    /// Follows a repository until it is removed.
    pub fn follow(&self, id: RepositoryId) {
        if !self.followed().insert(id) {
            return;
        }
        let times = self.clone();
        tokio::spawn(async move {
            if let Ok(changes) = times.manager.watch(id).await {
                times.measure(changes).await;
            }
            times.followed().remove(&id);
        });
    }

    async fn measure(&self, mut changes: Receiver<Repository>) {
        let mut started = None;
        loop {
            let state = changes.borrow_and_update().state;
            match state {
                State::Cloning | State::Indexing => {
                    started.get_or_insert_with(Instant::now);
                }
                State::Ready => {
                    if let Some(started) = started.take() {
                        self.metrics.indexed(started.elapsed());
                    }
                }
                State::Requested
                | State::Pending
                | State::Approved
                | State::Error
                | State::Archived
                | State::Rejected => started = None,
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn followed(&self) -> std::sync::MutexGuard<'_, HashSet<RepositoryId>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

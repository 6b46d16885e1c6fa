//! The database that all nodes share, as far as documents go: what there is to be indexed, what is
//! indexed, and under which epoch each shard may be changed. Each change looks at the epoch in its own
//! transaction, as `repo/src/catalog` does in SQL.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::judge::Judge;
use crate::mistakes::{Mistake, is_made};
use crate::remote::Remote;

/// How long a node waits for the database.
const DEADLINE: Duration = Duration::from_secs(2);

/// A document, which a client has added.
pub type Document = u64;

/// What a shard has.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Documents that were added.
    pub added: BTreeSet<Document>,
    /// Those that are indexed.
    pub indexed: BTreeSet<Document>,
    /// Those that are to be indexed, for the first time or again.
    pub planned: BTreeSet<Document>,
}

#[derive(Debug, Default)]
struct Tables {
    epochs: BTreeMap<u32, u64>,
    shards: BTreeMap<u32, Rows>,
}

/// The tables.
#[derive(Default)]
pub struct Database(Mutex<Tables>);

/// Why a change was not made, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogError {
    /// The shard is owned under another epoch.
    Fenced,
    /// There was no answer in time.
    Unavailable,
}

/// The right to change a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// The shard.
    pub shard: u32,
    /// The epoch that it is owned under.
    pub epoch: u64,
}

/// The database as one node sees it.
#[derive(Clone)]
pub struct Catalog {
    node: usize,
    database: Arc<Database>,
    remote: Arc<Remote>,
    judge: Arc<Judge>,
}

impl Database {
    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a shard has, for whoever looks from outside.
    pub fn rows(&self, shard: u32) -> Rows {
        self.lock().shards.get(&shard).cloned().unwrap_or_default()
    }
}

impl Tables {
    /// `UPDATE codesearch_shard_epochs SET epoch = epoch WHERE shard = $1 AND epoch = $2`, in the same
    /// transaction as the change.
    fn check(&self, right: Right) -> Result<(), CatalogError> {
        let is_owned = self.epochs.get(&right.shard) == Some(&right.epoch);
        if is_owned || is_made(Mistake::NoEpochCheck) { Ok(()) } else { Err(CatalogError::Fenced) }
    }
}

impl Catalog {
    /// Of a node.
    pub fn new(
        node: usize,
        database: Arc<Database>,
        remote: Arc<Remote>,
        judge: Arc<Judge>,
    ) -> Self {
        Self { node, database, remote, judge }
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tables) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, CatalogError> {
        let database = Arc::clone(&self.database);
        let answer = self.remote.call(self.node, move || work(&mut database.lock()));
        match timeout(DEADLINE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(CatalogError::Unavailable),
        }
    }

    /// Makes an epoch the one that a shard is changed under.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Fenced`] when a later epoch is there.
    pub async fn raise_epoch(&self, right: Right) -> Result<(), CatalogError> {
        self.call(move |tables| {
            let known = tables.epochs.entry(right.shard).or_default();
            if *known > right.epoch {
                return Err(CatalogError::Fenced);
            }
            *known = right.epoch;
            Ok(())
        })
        .await
    }

    /// What a shard has.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Unavailable`].
    pub async fn rows_of(&self, shard: u32) -> Result<Rows, CatalogError> {
        self.call(move |tables| Ok(tables.shards.get(&shard).cloned().unwrap_or_default())).await
    }

    /// Adds a document, to be indexed. One that is there stays as it is.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn add(&self, right: Right, document: Document) -> Result<(), CatalogError> {
        self.call(move |tables| {
            tables.check(right)?;
            let rows = tables.shards.entry(right.shard).or_default();
            if rows.added.insert(document) {
                rows.planned.insert(document);
            }
            Ok(())
        })
        .await
    }

    /// Plans that a document is indexed again, which the index has lost.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn plan(&self, right: Right, document: Document) -> Result<(), CatalogError> {
        self.call(move |tables| {
            tables.check(right)?;
            tables.shards.entry(right.shard).or_default().planned.insert(document);
            Ok(())
        })
        .await
    }

    /// Notes that a document is indexed.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn indexed(&self, right: Right, document: Document) -> Result<(), CatalogError> {
        let judge = Arc::clone(&self.judge);
        self.call(move |tables| {
            tables.check(right)?;
            let rows = tables.shards.entry(right.shard).or_default();
            rows.planned.remove(&document);
            rows.indexed.insert(document);
            judge.indexed(right, document);
            Ok(())
        })
        .await
    }
}

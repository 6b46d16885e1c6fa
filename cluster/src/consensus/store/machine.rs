//! The map as the log makes it, and its snapshots.

use std::io::Cursor;
use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, EntryPayload, LogIdOptionExt, OptionalSend, RaftSnapshotBuilder, Snapshot,
};
use redb::ReadableTable;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

use super::{MAX_VALUE_BYTES, SNAPSHOT, SNAPSHOT_META, Store, StoreError, VALUES, value};
use crate::codec::{self, CodecError};
use crate::consensus::limits::MAX_SNAPSHOT_BYTES;
use crate::consensus::types::{
    Entry, LogId, Membership, Request, SnapshotMeta, StorageError, StorageIOError, Types,
};
use crate::shard_map::{Outcome, ShardMap};

/// What a snapshot holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    /// `None` where the log did not make it yet.
    pub map: Option<ShardMap>,
}

/// What is told of the map to the rest of the node.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    /// Whether the log has made the map; else it is an empty one.
    pub created: watch::Sender<bool>,
    pub map: watch::Sender<Arc<ShardMap>>,
}

/// What the log comes to.
#[derive(Clone, Debug, Default)]
struct State {
    applied: Option<LogId>,
    membership: Membership,
    map: Option<Arc<ShardMap>>,
}

/// Applies the log.
#[derive(Debug)]
pub(crate) struct Machine {
    store: Store,
    state: State,
    /// What every node was told of the cluster; the log must say the same.
    cluster: Uuid,
    shards: u32,
    published: Published,
}

/// Makes a snapshot of what was applied when it was made.
#[derive(Debug)]
pub(crate) struct Builder {
    store: Store,
    state: State,
}

impl Machine {
    /// As the newest snapshot of the store has it.
    pub async fn open(store: Store, cluster: Uuid, shards: u32) -> Result<Self, StoreError> {
        let empty = Arc::new(ShardMap::new(cluster, shards));
        let published =
            Published { created: watch::Sender::new(false), map: watch::Sender::new(empty) };
        let mut machine = Self { store, state: State::default(), cluster, shards, published };
        if let Some((meta, bytes)) = machine.store.snapshot().await? {
            machine.state = machine.state_of(&meta, &bytes)?;
            machine.publish();
        }
        Ok(machine)
    }

    /// What it has applied: up to where, who takes part, and the map.
    pub fn into_parts(self) -> (Option<LogId>, Membership, Option<Arc<ShardMap>>) {
        let State { applied, membership, map } = self.state;
        (applied, membership, map)
    }

    /// Where it says what it has applied.
    pub fn published(&self) -> Published {
        self.published.clone()
    }

    fn state_of(&self, meta: &SnapshotMeta, bytes: &[u8]) -> Result<State, CodecError> {
        let Held { map } = codec::decode(bytes, MAX_SNAPSHOT_BYTES)?;
        if let Some(map) = &map {
            self.check(map)?;
        }
        let (applied, membership) = (meta.last_log_id, meta.last_membership.clone());
        Ok(State { applied, membership, map: map.map(Arc::new) })
    }

    /// A map of another cluster, or one that no commands lead to, is not taken.
    fn check(&self, map: &ShardMap) -> Result<(), CodecError> {
        self.check_identity(map.cluster(), map.shards().len())?;
        map.broken_invariant().map_or(Ok(()), |wrong| Err(CodecError::Contradiction(wrong)))
    }

    fn check_identity(&self, cluster: Uuid, shards: usize) -> Result<(), CodecError> {
        if cluster == self.cluster && shards == self.shards as usize {
            return Ok(());
        }
        Err(CodecError::Contradiction(format!(
            "the map of the Raft group is that of cluster {cluster} with {shards} shards, and this \
             node was told of cluster {} with {}",
            self.cluster, self.shards
        )))
    }

    fn apply_one(&mut self, entry: Entry) -> Result<Outcome, CodecError> {
        self.state.applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => Ok(Vec::new()),
            EntryPayload::Membership(membership) => {
                self.state.membership = Membership::new(Some(entry.log_id), membership);
                Ok(Vec::new())
            }
            EntryPayload::Normal(Request::Create { cluster, shards }) => {
                self.check_identity(cluster, shards as usize)?;
                self.state.map.get_or_insert_with(|| Arc::new(ShardMap::new(cluster, shards)));
                Ok(Vec::new())
            }
            // No command is proposed before a creation is committed.
            EntryPayload::Normal(Request::Change(command)) => match &mut self.state.map {
                Some(map) => Ok(Arc::make_mut(map).apply(command)),
                None => Err(CodecError::Contradiction("a map is changed before it is".to_owned())),
            },
        }
    }

    fn publish(&self) {
        let Some(map) = &self.state.map else { return };
        self.published.map.send_if_modified(|shown| {
            let newer = shown.version() != map.version();
            *shown = map.clone();
            newer
        });
        self.published.created.send_if_modified(|created| !std::mem::replace(created, true));
    }
}

impl Store {
    pub(super) async fn snapshot(&self) -> Result<Option<(SnapshotMeta, Vec<u8>)>, StoreError> {
        let found = self.read(|transaction| {
            Ok(value(transaction, SNAPSHOT_META)?.zip(value(transaction, SNAPSHOT)?))
        });
        let Some((meta, bytes)) = found.await? else { return Ok(None) };
        Ok(Some((codec::decode(&meta, MAX_VALUE_BYTES)?, bytes)))
    }

    /// Keeps a snapshot, unless a newer one is there: what the leader sent may arrive while an older
    /// one is being made, and the log before it may be gone.
    pub(super) async fn save_snapshot(
        &self,
        meta: &SnapshotMeta,
        bytes: Vec<u8>,
    ) -> Result<(), StoreError> {
        let applied = meta.last_log_id;
        let meta = codec::encode(meta, MAX_VALUE_BYTES)?;
        self.write(move |transaction| {
            let mut values = transaction.open_table(VALUES)?;
            let kept = values
                .get(SNAPSHOT_META)?
                .and_then(|kept| codec::decode::<SnapshotMeta>(kept.value(), MAX_VALUE_BYTES).ok());
            if kept.is_none_or(|kept| kept.last_log_id <= applied) {
                values.insert(SNAPSHOT_META, meta.as_slice())?;
                values.insert(SNAPSHOT, bytes.as_slice())?;
            }
            Ok(())
        })
        .await
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), StorageError> {
        Ok((self.state.applied, self.state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut outcomes = Vec::new();
        for entry in entries {
            let id = entry.log_id;
            let outcome = self.apply_one(entry);
            outcomes
                .push(outcome.map_err(|error| StorageIOError::apply(id, AnyError::new(&error)))?);
        }
        self.publish();
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { store: self.store.clone(), state: self.state.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let bytes = snapshot.into_inner();
        let failed = |error| StorageIOError::write_snapshot(Some(meta.signature()), error);
        // What cannot be read must not be what the node starts with the next time, and what is not
        // kept must not be acted on.
        let state = self.state_of(meta, &bytes).map_err(|error| failed(AnyError::new(&error)))?;
        let saved = self.store.save_snapshot(meta, bytes).await;
        saved.map_err(|error| failed(AnyError::new(&error)))?;
        self.state = state;
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let found = self.store.snapshot().await;
        let found =
            found.map_err(|error| StorageIOError::read_snapshot(None, AnyError::new(&error)))?;
        Ok(found.map(|(meta, bytes)| Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) }))
    }
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let built = self.build().await;
        Ok(built.map_err(|error| StorageIOError::write_snapshot(None, AnyError::new(&error)))?)
    }
}

impl Builder {
    async fn build(&self) -> Result<Snapshot<Types>, StoreError> {
        let held = Held { map: self.state.map.as_deref().cloned() };
        let bytes = codec::encode(&held, MAX_SNAPSHOT_BYTES)?;
        let index = self.state.applied.index().unwrap_or_default();
        let meta = SnapshotMeta {
            last_log_id: self.state.applied,
            last_membership: self.state.membership.clone(),
            snapshot_id: format!("{index}-{}", Uuid::new_v4()),
        };
        self.store.save_snapshot(&meta, bytes.clone()).await?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) })
    }
}

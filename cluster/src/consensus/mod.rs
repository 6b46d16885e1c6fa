//! The shard map as all nodes of the cluster agree on it: a Raft group, by openraft.
//!
//! [`Consensus`] is a node's part of it. Its log, vote and snapshot are in a redb file (`store`);
//! how messages get to other nodes is up to a [`RaftTransport`]; who votes is up to its caller.
//!
//! What must stay true: only the claimer of the cluster calls [`Consensus::initialize`], so that no
//! two groups can be; a Raft id belongs to a disk and is never used with another; a message is
//! taken only by whom it is for, in the cluster and the incarnation of the group that it is of; nothing
//! is acknowledged that is not on the disk; a map that was shown is shown again after a restart, or a
//! newer one.

mod config;
mod error;
#[cfg(test)]
mod fixtures;
mod limits;
mod members;
mod network;
mod receive;
mod recover;
mod status;
mod store;
mod types;
mod wire;

#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing {
    //! The messages, for [`crate::fuzzing`].
    pub(crate) use super::wire::{
        Append, AppendAnswer, Ballot, BallotAnswer, Chunk, ChunkAnswer, Envelope,
    };
}

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use openraft::error::{CheckIsLeaderError, ClientWriteError, ForwardToLeader, RaftError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use config::ConsensusConfig;
pub use error::{ConsensusError, ProposeError, TransportError};
pub use limits::{MAX_COMMAND_BYTES, MAX_MESSAGE_BYTES};
pub use network::RaftTransport;
pub use recover::{RaftDisk, Remains};
pub use status::{Role, Status};
pub use store::Pace;
#[cfg(feature = "mistakes")]
pub use store::forget_to_sync_votes;
pub use types::{RaftId, RaftNode};

use crate::codec;
use crate::shard_map::{Command, Outcome, ShardMap};
use network::Network;
use store::{Identity, Machine, Published, Store};
use types::{Raft, Request};

const MADE: &str = "made the shard map";

/// A node's part of the Raft group.
pub struct Consensus {
    raft: Raft,
    raft_id: RaftId,
    /// Of the group, on this disk.
    incarnation: Arc<AtomicU32>,
    config: ConsensusConfig,
    store: Store,
    published: Published,
    removed: watch::Sender<bool>,
    status: watch::Sender<Status>,
    watcher: JoinHandle<()>,
    /// Nothing is left to be stopped.
    is_stopped: AtomicBool,
}

impl Consensus {
    /// Opens this disk's part of the group, and makes the disk's Raft id if it has none.
    ///
    /// A node that has never been in a group waits for a leader to add it. So does one whose disk is of
    /// an earlier incarnation of the group: its file is set aside, and the disk gets another Raft id.
    ///
    /// # Errors
    ///
    /// Settings that cannot be, a folder or a file that cannot be opened (also when another process
    /// has it open), a disk of another cluster, a snapshot or log of another.
    pub async fn open(
        config: ConsensusConfig,
        transport: Arc<dyn RaftTransport>,
    ) -> Result<Self, ConsensusError> {
        config.for_openraft()?;
        let mut store = Store::open_blocking(&config.folder).await?;
        let identity = store.known_identity().await?;
        let is_of_the_past = |identity: Identity| {
            identity.cluster == config.cluster && identity.incarnation < config.incarnation
        };
        if identity.is_some_and(is_of_the_past) {
            store.close().await;
            let kept = store::set_aside(&config.folder, config.incarnation)?;
            tracing::warn!(
                kept = %kept.display(),
                "the Raft group was made anew since this node took part in it; it joins the new one"
            );
            store = Store::open_blocking(&config.folder).await?;
        }
        Self::with_store(config, transport, store).await
    }

    /// [`Self::open`] on a disk that a simulation owns, and which has this database.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub async fn open_paced(
        config: ConsensusConfig,
        transport: Arc<dyn RaftTransport>,
        database: redb::Database,
        pace: Arc<dyn Pace>,
    ) -> Result<Self, ConsensusError> {
        let store = Store::with(database);
        let store = store.map_err(|error| ConsensusError::open(&config.folder, error))?;
        Self::with_store(config, transport, store.paced(pace)).await
    }

    /// [`Self::open`] on a store that is open already.
    pub(crate) async fn with_store(
        config: ConsensusConfig,
        transport: Arc<dyn RaftTransport>,
        store: Store,
    ) -> Result<Self, ConsensusError> {
        let settings = Arc::new(config.for_openraft()?);
        let new = Identity {
            cluster: config.cluster,
            raft_id: RaftId::random(),
            incarnation: config.incarnation,
        };
        let Identity { cluster, raft_id, incarnation } = store.identity(new).await?;
        if cluster != config.cluster {
            store.close().await;
            return Err(ConsensusError::OtherDisk { found: cluster, wanted: config.cluster });
        }
        let machine = Machine::open(store.clone(), cluster, config.shards).await?;
        let published = machine.published();
        let removed = watch::Sender::new(false);
        let incarnation = Arc::new(AtomicU32::new(incarnation));
        let network = Network {
            transport,
            cluster,
            incarnation: Arc::clone(&incarnation),
            id: raft_id,
            backoff: config.heartbeat * 2,
            removed: removed.clone(),
        };
        let raft = Raft::new(raft_id, settings, network, store.clone(), machine).await;
        let raft = raft.map_err(ConsensusError::stopped)?;
        // Metrics are empty before the group's task runs, as if the disk were.
        raft.with_raft_state(|_| ()).await.map_err(ConsensusError::stopped)?;
        let first = Status::new(&raft.metrics().borrow(), &store, false);
        let status = watch::Sender::new(first);
        let watcher = Watcher {
            raft: raft.clone(),
            store: store.clone(),
            removed: removed.clone(),
            status: status.clone(),
        };
        let watcher = tokio::spawn(watcher.run());
        let is_stopped = AtomicBool::default();
        Ok(Self {
            raft,
            raft_id,
            incarnation,
            config,
            store,
            published,
            removed,
            status,
            watcher,
            is_stopped,
        })
    }

    /// The Raft id of this disk.
    pub fn raft_id(&self) -> RaftId {
        self.raft_id
    }

    /// How often the group that this disk is of was made anew.
    pub fn incarnation(&self) -> u32 {
        self.incarnation.load(Ordering::Relaxed)
    }

    /// Whether this disk takes part in a group, or has.
    pub fn has_a_past(&self) -> bool {
        self.has_log() || self.raft.metrics().borrow().current_term > 0
    }

    fn has_log(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics.last_log_index.is_some() || metrics.snapshot.is_some()
    }

    /// Makes the group, with this node as its only voter, and the map. Only who claimed the cluster
    /// may call it, and may do so again at each start.
    ///
    /// # Errors
    ///
    /// [`ConsensusError::Timeout`] if the map is not there in time, [`ConsensusError::Stopped`].
    pub async fn initialize(&self) -> Result<(), ConsensusError> {
        // Since an earlier start. Whoever leads makes the map before its first change.
        if self.has_log() {
            return Ok(());
        }
        let node =
            RaftNode { name: self.config.name.clone(), address: self.config.address.clone() };
        match self.raft.initialize(BTreeMap::from([(self.raft_id, node)])).await {
            Ok(()) => {}
            // It was made meanwhile.
            Err(RaftError::APIError(_)) => return Ok(()),
            Err(RaftError::Fatal(error)) => return Err(ConsensusError::stopped(error)),
        }
        let after = self.config.election.1 + self.config.rpc_timeout;
        let made = async {
            let mut status = self.watch_status();
            let leads = |status: &Status| status.is_leader() || status.stopped.is_some();
            let _ = status.wait_for(leads).await.map_err(ConsensusError::stopped)?;
            self.create().await.map_err(|error| match error {
                ProposeError::Timeout { after } => ConsensusError::Timeout { what: MADE, after },
                other => ConsensusError::stopped(other),
            })
        };
        let made = timeout(after, made).await;
        made.unwrap_or(Err(ConsensusError::Timeout { what: MADE, after }))
    }

    /// Has a command applied to the map, if this node leads.
    ///
    /// # Errors
    ///
    /// After [`ProposeError::Timeout`], [`ProposeError::NotLeader`] and [`ProposeError::Stopped`]
    /// the command may be applied yet: commands name the epoch that they saw, so that one that comes
    /// twice is refused the second time.
    pub async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        codec::encode(&command, MAX_COMMAND_BYTES)?;
        if !*self.published.created.borrow() {
            self.create().await?;
        }
        self.write(Request::Change(command)).await
    }

    /// The newest map that this node has seen to be agreed on; an empty one of version 0 before it
    /// takes part in the group.
    pub fn map(&self) -> Arc<ShardMap> {
        self.published.map.borrow().clone()
    }

    /// [`Self::map`], and each one after it.
    pub fn watch_map(&self) -> watch::Receiver<Arc<ShardMap>> {
        self.published.map.subscribe()
    }

    /// What this node knows of the group, at once.
    pub fn status(&self) -> Status {
        let removed = *self.removed.borrow();
        Status::new(&self.raft.metrics().borrow(), &self.store, removed)
    }

    /// The last entry of the log that this node has applied: its index, and the term and the disk of the
    /// leader that made it. All nodes that have applied an entry of one index have applied the same.
    pub fn last_applied(&self) -> Option<(u64, u64, RaftId)> {
        let applied = self.raft.metrics().borrow().last_applied?;
        Some((applied.index, applied.leader_id.term, applied.leader_id.node_id))
    }

    /// [`Self::status`] at each change, but for a disk that gets full or has room again
    /// ([`Role::Waiting`]).
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Makes sure that this node leads, and that [`Self::map`] has everything that was acknowledged
    /// before this call.
    ///
    /// # Errors
    ///
    /// [`ProposeError::NotLeader`], [`ProposeError::NoQuorum`], [`ProposeError::Timeout`],
    /// [`ProposeError::Stopped`].
    pub async fn confirm_leadership(&self) -> Result<(), ProposeError> {
        let after = self.config.rpc_timeout;
        match timeout(after, self.raft.ensure_linearizable()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::Fatal(error))) => Err(ProposeError::Stopped(error.to_string())),
            Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(leader)))) => {
                Err(not_leader(leader))
            }
            Ok(Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(missing)))) => {
                Err(ProposeError::NoQuorum(missing.to_string()))
            }
            Err(_) => Err(ProposeError::Timeout { after }),
        }
    }

    /// Stops this node's part, and lets go of its disk: [`Self::open`] may then be called again. The
    /// node stays a member of the group.
    pub async fn shutdown(&self) {
        self.store.wait_no_more();
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "the Raft group's task did not end in order");
        }
        self.store.close().await;
        self.watcher.abort();
        self.status.send_replace(self.status());
        self.is_stopped.store(true, Ordering::Release);
    }

    /// Has the map made, if this node leads.
    async fn create(&self) -> Result<(), ProposeError> {
        let ConsensusConfig { cluster, shards, .. } = self.config;
        self.write(Request::Create { cluster, shards }).await.map(drop)
    }

    async fn write(&self, request: Request) -> Result<Outcome, ProposeError> {
        let after = self.config.rpc_timeout;
        match timeout(after, self.raft.client_write(request)).await {
            Ok(written) => written.map(|response| response.data).map_err(write_error),
            Err(_) => Err(ProposeError::Timeout { after }),
        }
    }
}

impl Drop for Consensus {
    /// Stops in the background what [`Self::shutdown`] would have stopped: openraft's task would go on
    /// for ever, and vote.
    fn drop(&mut self) {
        if self.is_stopped.load(Ordering::Acquire) {
            return;
        }
        self.watcher.abort();
        self.store.wait_no_more();
        let (raft, store) = (self.raft.clone(), self.store.clone());
        // Without a runtime there is no task any more.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let _ = raft.shutdown().await;
            store.close().await;
        });
    }
}

/// Follows openraft's own metrics.
struct Watcher {
    raft: Raft,
    store: Store,
    removed: watch::Sender<bool>,
    status: watch::Sender<Status>,
}

impl Watcher {
    async fn run(self) {
        let mut metrics = self.raft.metrics();
        let mut removed = self.removed.subscribe();
        loop {
            let is_removed = *removed.borrow_and_update();
            // A removed member would campaign for ever: nobody tells it.
            self.raft.runtime_config().elect(!is_removed);
            let status = Status::new(&metrics.borrow_and_update(), &self.store, is_removed);
            self.status.send_if_modified(|shown| {
                let changed = *shown != status;
                *shown = status;
                changed
            });
            let changed = tokio::select! {
                changed = metrics.changed() => changed,
                changed = removed.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    }
}

fn not_leader(leader: ForwardToLeader<RaftId, RaftNode>) -> ProposeError {
    ProposeError::NotLeader { leader: leader.leader_node }
}

fn write_error(error: RaftError<RaftId, ClientWriteError<RaftId, RaftNode>>) -> ProposeError {
    match error {
        RaftError::Fatal(error) => ProposeError::Stopped(error.to_string()),
        RaftError::APIError(ClientWriteError::ForwardToLeader(leader)) => not_leader(leader),
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
            members::refused(error)
        }
    }
}

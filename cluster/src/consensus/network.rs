//! Messages to the other nodes of the Raft group.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use openraft::error::{
    InstallSnapshotError, NetworkError, PayloadTooLarge, RPCError, RaftError, RemoteError, Timeout,
    Unreachable,
};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{RPCTypes, RaftNetwork, RaftNetworkFactory};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use uuid::Uuid;

use super::error::TransportError;
use super::limits::MAX_MESSAGE_BYTES;
use super::types::{RaftId, RaftNode, Types};
use super::wire::{self, BallotAnswer, Chunk, ChunkAnswer, Envelope};
use crate::codec::{self, CodecError};

/// How messages of the Raft group get to other nodes.
#[async_trait]
pub trait RaftTransport: Send + Sync + 'static {
    /// Sends a message of a `kind` to a disk of the group, and waits for the answer until the
    /// deadline. On the other side, [`Consensus::receive`](super::Consensus::receive) answers.
    async fn call(
        &self,
        target: RaftId,
        node: &RaftNode,
        kind: &'static str,
        payload: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, TransportError>;
}

/// Makes a [`Link`] to each node that openraft talks to.
#[derive(Clone)]
pub(crate) struct Network {
    pub transport: Arc<dyn RaftTransport>,
    pub cluster: Uuid,
    /// A disk without a group takes that of the group which it is added to.
    pub incarnation: Arc<AtomicU32>,
    pub id: RaftId,
    /// How long to leave a node alone that did not answer.
    pub backoff: Duration,
    /// Set when a leader says that this node is no member.
    pub removed: watch::Sender<bool>,
}

/// The way to one node.
pub(crate) struct Link {
    network: Network,
    target: RaftId,
    node: RaftNode,
}

/// What openraft is told of a failure.
type Failure<E> = RPCError<RaftId, RaftNode, RaftError<RaftId, E>>;

/// A message that got no answer.
enum Unanswered {
    TooLarge(CodecError),
    Transport(TransportError),
    Answer(CodecError),
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: RaftId, node: &RaftNode) -> Link {
        Link { network: self.clone(), target, node: node.clone() }
    }
}

impl RaftNetwork<Types> for Link {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<RaftId>, Failure<openraft::error::Infallible>> {
        let entries = request.entries.len() as u64;
        let answer = self.call(wire::APPEND, request, &option).await;
        answer.map_err(|failure| match failure {
            Unanswered::TooLarge(error) if entries > 1 => RPCError::PayloadTooLarge(
                PayloadTooLarge::new_entries_hint(entries / 2).with_source_error(&error),
            ),
            other => self.failure(RPCTypes::AppendEntries, other),
        })
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<RaftId>, Failure<InstallSnapshotError>> {
        match self.call(wire::SNAPSHOT, Chunk::from(request), &option).await {
            Ok(ChunkAnswer::Vote(vote)) => Ok(InstallSnapshotResponse { vote }),
            Ok(ChunkAnswer::Again(mismatch)) => {
                let error = RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch));
                Err(RemoteError::new_with_node(self.target, self.node.clone(), error).into())
            }
            Err(failure) => Err(self.failure(RPCTypes::InstallSnapshot, failure)),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<RaftId>,
        option: RPCOption,
    ) -> Result<VoteResponse<RaftId>, Failure<openraft::error::Infallible>> {
        match self.call(wire::VOTE, request, &option).await {
            Ok(BallotAnswer::Vote(vote)) => Ok(vote),
            Ok(BallotAnswer::NotMember) => {
                self.network.removed.send_replace(true);
                let error = TransportError::Unreachable(format!(
                    "{} leads and does not know disk {}",
                    self.node, self.network.id
                ));
                Err(Unreachable::new(&error).into())
            }
            Err(failure) => Err(self.failure(RPCTypes::Vote, failure)),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.network.backoff))
    }
}

impl Link {
    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        kind: &'static str,
        body: Q,
        option: &RPCOption,
    ) -> Result<A, Unanswered> {
        let Network { transport, cluster, incarnation, id, .. } = &self.network;
        let (cluster, incarnation) = (*cluster, incarnation.load(Ordering::Relaxed));
        let envelope = Envelope { cluster, incarnation, from: *id, to: self.target, body };
        let payload = envelope.encode().map_err(Unanswered::TooLarge)?;
        let deadline = option.hard_ttl();
        let answer = transport.call(self.target, &self.node, kind, payload, deadline);
        let answer = answer.await.map_err(Unanswered::Transport)?;
        codec::decode(&answer, MAX_MESSAGE_BYTES).map_err(Unanswered::Answer)
    }

    fn failure<E: std::error::Error>(&self, action: RPCTypes, failure: Unanswered) -> Failure<E> {
        match failure {
            Unanswered::Transport(TransportError::Timeout(timeout)) => {
                let (id, target) = (self.network.id, self.target);
                Timeout { action, id, target, timeout }.into()
            }
            Unanswered::Transport(error) => Unreachable::new(&error).into(),
            // The same message again would not fare better: not at once.
            Unanswered::TooLarge(error) => Unreachable::new(&error).into(),
            Unanswered::Answer(error) => NetworkError::new(&error).into(),
        }
    }
}

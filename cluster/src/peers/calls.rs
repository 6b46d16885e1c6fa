//! The calls that the cluster itself makes.

use std::collections::BTreeMap;
use std::time::Duration;

use aeterna_proto::{RaftRequest, ShardMapRequest};
use async_trait::async_trait;
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status};

use super::{Peers, PeersError, messages};
use crate::consensus::{RaftId, RaftNode, RaftTransport, TransportError};
use crate::name::NodeName;
use crate::shard_map::{Command, MAX_MAP_BYTES, ShardMap};
use crate::supervisor::{PeerApi, PeerFailure, Proposed};

/// Bytes of a message around what it carries.
const ENVELOPE: usize = 1 << 10;

#[async_trait]
impl RaftTransport for Peers {
    async fn call(
        &self,
        target: RaftId,
        node: &RaftNode,
        kind: &'static str,
        payload: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        // Where it was when it joined the group may be wrong by now.
        let address = self.address(&node.name).unwrap_or_else(|| node.address.clone());
        let unreachable =
            |detail: String| TransportError::Unreachable(format!("{address}: {detail}"));
        let mut client = self.control(&node.name, &address);
        let client = client.as_mut().map_err(|error| unreachable(error.to_string()))?;
        let message =
            RaftRequest { kind: kind.to_owned(), target: target.0, payload: payload.into() };
        match timeout(deadline, client.raft(limited(message, deadline))).await {
            Ok(Ok(response)) => Ok(response.into_inner().payload.into()),
            Ok(Err(status)) if is_timeout(&status) => Err(TransportError::Timeout(deadline)),
            Ok(Err(status)) => Err(unreachable(said(&status))),
            Err(_) => Err(TransportError::Timeout(deadline)),
        }
    }
}

#[async_trait]
impl PeerApi for Peers {
    async fn pull_map(
        &self,
        from: &RaftNode,
        newer_than: u64,
        deadline: Duration,
    ) -> Result<Option<ShardMap>, PeerFailure> {
        let failure = |detail: String| PeerFailure::of(from, detail);
        let client = self.control(&from.name, &from.address);
        let client = client.map_err(|error: PeersError| failure(error.to_string()))?;
        let mut client = client.max_decoding_message_size(MAX_MAP_BYTES + ENVELOPE);
        let request = limited(ShardMapRequest { version: newer_than }, deadline);
        let response = answered(timeout(deadline, client.shard_map(request)).await, deadline);
        messages::newer_map(&response.map_err(failure)?).map_err(failure)
    }

    async fn propose(
        &self,
        to: &RaftNode,
        command: &Command,
        deadline: Duration,
    ) -> Result<Proposed, PeerFailure> {
        let failure = |detail: String| PeerFailure::of(to, detail);
        let mut client = self
            .control(&to.name, &to.address)
            .map_err(|error: PeersError| failure(error.to_string()))?;
        let request = limited(messages::proposal(command).map_err(failure)?, deadline);
        let response = answered(timeout(deadline, client.propose(request)).await, deadline);
        messages::proposed(response.map_err(failure)?).map_err(failure)
    }

    fn set_addresses(&self, addresses: BTreeMap<NodeName, String>) {
        Peers::set_addresses(self, addresses);
    }
}

/// A request that the callee gives up after the deadline, too.
fn limited<T>(message: T, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

fn answered<T>(
    answer: Result<Result<Response<T>, Status>, tokio::time::error::Elapsed>,
    deadline: Duration,
) -> Result<T, String> {
    match answer {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(said(&status)),
        Err(_) => Err(format!("no answer in {deadline:?}")),
    }
}

fn is_timeout(status: &Status) -> bool {
    matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled)
}

/// What a status says, with what is behind it.
fn said(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text.chars().take(400).collect()
}

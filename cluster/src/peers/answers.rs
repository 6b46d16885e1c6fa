//! The answers to the calls that the cluster itself makes, for the node's gRPC service.

use std::sync::Arc;

use aeterna_proto::{
    ProposeRequest, ProposeResponse, RaftRequest, RaftResponse, ShardMapRequest, ShardMapResponse,
};
use tonic::Status;

use super::messages::MAX_OUTCOME_BYTES;
use crate::codec;
use crate::consensus::{Consensus, ConsensusError, MAX_COMMAND_BYTES, RaftId};
use crate::router::Router;
use crate::shard_map::Command;
use crate::supervisor::proposals::Proposals;
use crate::supervisor::{ConsensusApi, ProposeFailure};

/// Answers what other nodes ask of the cluster.
#[derive(Clone)]
pub struct Answers {
    /// This node's part of the Raft group.
    pub consensus: Arc<Consensus>,
    /// The newest map.
    pub router: Arc<Router>,
    /// Who led last.
    pub proposals: Arc<Proposals>,
}

impl Answers {
    /// A message of the Raft group.
    ///
    /// # Errors
    /// As [`Consensus::receive`].
    pub async fn raft(&self, request: RaftRequest) -> Result<RaftResponse, Status> {
        let RaftRequest { kind, target, payload } = request;
        let answer = self.consensus.receive(&kind, RaftId(target), &payload).await;
        answer.map(|payload| RaftResponse { payload: payload.into() }).map_err(|error| {
            let text = error.to_string();
            match error {
                ConsensusError::Stopped(_) => Status::unavailable(text),
                ConsensusError::Timeout { .. } => Status::deadline_exceeded(text),
                ConsensusError::OtherRaftId { .. }
                | ConsensusError::OtherCluster { .. }
                | ConsensusError::OtherIncarnation { .. } => Status::failed_precondition(text),
                _ => Status::invalid_argument(text),
            }
        })
    }

    /// The shard map, if it is newer than what the caller has.
    ///
    /// # Errors
    /// A map that is too large to be sent.
    pub fn shard_map(&self, request: &ShardMapRequest) -> Result<ShardMapResponse, Status> {
        let map = self.router.map();
        let version = map.version();
        if version <= request.version {
            return Ok(ShardMapResponse { version, map: Vec::new().into() });
        }
        let bytes = map.to_bytes().map_err(|error| Status::internal(error.to_string()))?;
        Ok(ShardMapResponse { version, map: bytes.into() })
    }

    /// A command, applied when this node leads.
    ///
    /// # Errors
    /// A command that cannot be read; a group without a quorum.
    pub async fn propose(&self, request: ProposeRequest) -> Result<ProposeResponse, Status> {
        let command: Command = codec::decode(&request.command, MAX_COMMAND_BYTES)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        match ConsensusApi::propose(&*self.consensus, command).await {
            Ok(outcome) => {
                let outcome = codec::encode(&outcome, MAX_OUTCOME_BYTES)
                    .map_err(|error| Status::internal(error.to_string()))?;
                let outcome = outcome.into();
                Ok(ProposeResponse { applied: true, outcome, ..ProposeResponse::default() })
            }
            Err(ProposeFailure::NotLeader { leader }) => {
                let leader = leader.or_else(|| self.proposals.leader());
                let (leader, leader_address) = leader
                    .map(|leader| (leader.name.to_string(), leader.address))
                    .unwrap_or_default();
                Ok(ProposeResponse { leader, leader_address, ..ProposeResponse::default() })
            }
            Err(ProposeFailure::Timeout(after)) => {
                Err(Status::deadline_exceeded(ProposeFailure::Timeout(after).to_string()))
            }
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }
}

//! What messages about the shard map carry, however they are sent.

use aeterna_proto::{ProposeRequest, ProposeResponse, ShardMapResponse};

use crate::codec;
use crate::consensus::{MAX_COMMAND_BYTES, RaftNode};
use crate::shard_map::{Command, Outcome, ShardMap};
use crate::supervisor::Proposed;

/// Bytes of an encoded outcome, at most: refusals name nodes, and there is one for each assignment.
pub(super) const MAX_OUTCOME_BYTES: usize = 2 * MAX_COMMAND_BYTES;

/// The map that a node has answered with; `None` when it has none that is newer.
///
/// # Errors
///
/// What is wrong with the answer.
pub fn newer_map(response: &ShardMapResponse) -> Result<Option<ShardMap>, String> {
    if response.map.is_empty() {
        return Ok(None);
    }
    ShardMap::from_bytes(&response.map).map(Some).map_err(|error| error.to_string())
}

/// The message that proposes a command.
///
/// # Errors
///
/// When the command is too large.
pub fn proposal(command: &Command) -> Result<ProposeRequest, String> {
    let command = codec::encode(command, MAX_COMMAND_BYTES).map_err(|error| error.to_string())?;
    Ok(ProposeRequest { command: command.into() })
}

/// What has come of a proposal.
///
/// # Errors
///
/// What is wrong with the answer.
pub fn proposed(response: ProposeResponse) -> Result<Proposed, String> {
    if response.applied {
        let outcome: Result<Outcome, _> = codec::decode(&response.outcome, MAX_OUTCOME_BYTES);
        return outcome.map(Proposed::Applied).map_err(|error| error.to_string());
    }
    if response.leader.is_empty() {
        return Ok(Proposed::NotLeader { leader: None });
    }
    let name = response.leader.parse().map_err(|error| format!("the leader's name: {error}"))?;
    let leader = RaftNode { name, address: response.leader_address };
    Ok(Proposed::NotLeader { leader: Some(leader) })
}

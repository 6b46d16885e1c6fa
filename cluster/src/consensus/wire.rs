//! What the nodes of the Raft group send each other.
//!
//! Each message says which cluster it is of and whom it is for: an address may have changed hands
//! since it was written down.

use openraft::Vote as RaftVote;
use openraft::error::SnapshotMismatch;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::limits::MAX_MESSAGE_BYTES;
use super::types::{RaftId, SnapshotMeta, Types};
use crate::codec::{self, CodecError};

/// Entries of the log, or none: a heartbeat.
pub(crate) const APPEND: &str = "append";
/// A candidate asks for a vote.
pub(crate) const VOTE: &str = "vote";
/// A piece of a snapshot.
pub(crate) const SNAPSHOT: &str = "snapshot";

/// A message.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Envelope<T> {
    pub cluster: Uuid,
    /// How often the group was made anew: those of the group before have no say in this one.
    #[serde(default, skip_serializing_if = "is_first")]
    pub incarnation: u32,
    pub from: RaftId,
    pub to: RaftId,
    pub body: T,
}

pub(crate) fn is_first(incarnation: &u32) -> bool {
    *incarnation == 0
}

pub(crate) type Append = AppendEntriesRequest<Types>;
pub(crate) type AppendAnswer = AppendEntriesResponse<RaftId>;
pub(crate) type Ballot = VoteRequest<RaftId>;

/// What becomes of a candidate's question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BallotAnswer {
    /// Granted or not.
    Vote(VoteResponse<RaftId>),
    /// A leader that a majority has confirmed just now knows the candidate not.
    NotMember,
}

/// A piece of a snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Chunk {
    pub vote: RaftVote<RaftId>,
    pub meta: SnapshotMeta,
    pub offset: u64,
    #[serde(with = "base64_text")]
    pub data: Vec<u8>,
    pub done: bool,
}

/// What becomes of a piece.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ChunkAnswer {
    /// It was taken, or the sender leads no more.
    Vote(RaftVote<RaftId>),
    /// Those before it are not there: begin again.
    Again(SnapshotMismatch),
}

impl<T: Serialize> Envelope<T> {
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self, MAX_MESSAGE_BYTES)
    }
}

impl From<InstallSnapshotRequest<Types>> for Chunk {
    fn from(request: InstallSnapshotRequest<Types>) -> Self {
        let InstallSnapshotRequest { vote, meta, offset, data, done } = request;
        Self { vote, meta, offset, data, done }
    }
}

impl From<Chunk> for InstallSnapshotRequest<Types> {
    fn from(chunk: Chunk) -> Self {
        let Chunk { vote, meta, offset, data, done } = chunk;
        Self { vote, meta, offset, data, done }
    }
}

impl From<InstallSnapshotResponse<RaftId>> for ChunkAnswer {
    fn from(response: InstallSnapshotResponse<RaftId>) -> Self {
        Self::Vote(response.vote)
    }
}

/// Bytes in JSON.
mod base64_text {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(de::Error::custom)
    }
}

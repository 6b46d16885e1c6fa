//! Messages from the other nodes of the Raft group.

use std::sync::atomic::Ordering;

use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::InstallSnapshotRequest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::limits::{MAX_MESSAGE_BYTES, MAX_SNAPSHOT_BYTES};
use super::types::{RaftId, Types};
use super::wire::{self, Append, Ballot, BallotAnswer, Chunk, ChunkAnswer, Envelope};
use super::{Consensus, ConsensusError};
use crate::codec::{self, CodecError};

impl Consensus {
    /// Answers a message that came by a [`RaftTransport`](super::RaftTransport): its kind, whom it is
    /// for, and its payload.
    ///
    /// # Errors
    ///
    /// A message for another disk or of another cluster, one that cannot be read, and
    /// [`ConsensusError::Stopped`]. None of them changes anything.
    pub async fn receive(
        &self,
        kind: &str,
        target: RaftId,
        payload: &[u8],
    ) -> Result<Vec<u8>, ConsensusError> {
        self.is_for_me(target)?;
        match kind {
            wire::APPEND => self.receive_append(self.open_envelope(payload).await?).await,
            wire::VOTE => self.receive_ballot(self.open_envelope(payload).await?).await,
            wire::SNAPSHOT => self.receive_chunk(self.open_envelope(payload).await?).await,
            unknown => {
                let shown = unknown.chars().take(40).collect();
                Err(ConsensusError::UnknownKind(shown))
            }
        }
    }

    fn is_for_me(&self, asked: RaftId) -> Result<(), ConsensusError> {
        match asked == self.raft_id {
            true => Ok(()),
            false => Err(ConsensusError::OtherRaftId { asked, mine: self.raft_id }),
        }
    }

    async fn open_envelope<T: DeserializeOwned>(
        &self,
        payload: &[u8],
    ) -> Result<Envelope<T>, ConsensusError> {
        let envelope: Envelope<T> = codec::decode(payload, MAX_MESSAGE_BYTES)?;
        let (theirs, ours) = (envelope.cluster, self.config.cluster);
        if theirs != ours {
            return Err(ConsensusError::OtherCluster { theirs, ours });
        }
        self.is_for_me(envelope.to)?;
        self.is_of_this_group(envelope.incarnation).await?;
        Ok(envelope)
    }

    /// A disk that was in no group yet is of the one that it hears of first.
    async fn is_of_this_group(&self, theirs: u32) -> Result<(), ConsensusError> {
        let ours = self.incarnation();
        if theirs == ours {
            return Ok(());
        }
        if theirs < ours || self.has_a_past() {
            return Err(ConsensusError::OtherIncarnation { theirs, ours });
        }
        self.store.adopt(theirs).await?;
        self.incarnation.store(theirs, Ordering::Relaxed);
        Ok(())
    }

    async fn receive_append(&self, envelope: Envelope<Append>) -> Result<Vec<u8>, ConsensusError> {
        let answer = self.raft.append_entries(envelope.body).await;
        let answer = answer.map_err(ConsensusError::stopped)?;
        if matches!(answer, wire::AppendAnswer::Success | wire::AppendAnswer::PartialSuccess(_)) {
            // A leader that sends entries takes this node for a member.
            self.removed.send_if_modified(std::mem::take);
        }
        encode(&answer)
    }

    async fn receive_ballot(&self, envelope: Envelope<Ballot>) -> Result<Vec<u8>, ConsensusError> {
        if self.surely_knows_not(envelope.from) {
            return encode(&BallotAnswer::NotMember);
        }
        let answer = self.raft.vote(envelope.body).await.map_err(ConsensusError::stopped)?;
        encode(&BallotAnswer::Vote(answer))
    }

    async fn receive_chunk(&self, envelope: Envelope<Chunk>) -> Result<Vec<u8>, ConsensusError> {
        let chunk = envelope.body;
        let end = chunk.offset.saturating_add(chunk.data.len() as u64);
        if end > MAX_SNAPSHOT_BYTES as u64 {
            let bytes = usize::try_from(end).unwrap_or(usize::MAX);
            return Err(CodecError::TooLarge { bytes, limit: MAX_SNAPSHOT_BYTES }.into());
        }
        let request: InstallSnapshotRequest<Types> = chunk.into();
        match self.raft.install_snapshot(request).await {
            Ok(answer) => encode(&ChunkAnswer::from(answer)),
            Err(RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch))) => {
                encode(&ChunkAnswer::Again(mismatch))
            }
            Err(RaftError::Fatal(error)) => Err(ConsensusError::stopped(error)),
        }
    }

    /// Whether this node leads, a majority has said so within the least time of an election, and the
    /// candidate is in neither the old nor the new membership. A leader that was cut off does not know
    /// whom a newer one has added: it must not send such a member away.
    fn surely_knows_not(&self, candidate: RaftId) -> bool {
        let status = self.status();
        let confirmed = status
            .quorum_ack_millis
            .is_some_and(|millis| u128::from(millis) < self.config.election.0.as_millis());
        status.is_leader()
            && confirmed
            && !status.voters.contains_key(&candidate)
            && !status.learners.contains_key(&candidate)
    }
}

fn encode<T: Serialize>(answer: &T) -> Result<Vec<u8>, ConsensusError> {
    Ok(codec::encode(answer, MAX_MESSAGE_BYTES)?)
}

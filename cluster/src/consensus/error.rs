//! What can go wrong.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use uuid::Uuid;

use super::store::StoreError;
use super::types::{RaftId, RaftNode};
use crate::codec::CodecError;

/// Why a node cannot take part in the Raft group, or refuses a message of it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConsensusError {
    /// Settings that contradict each other.
    #[error("the Raft group cannot run with these settings: {0}")]
    Settings(String),
    /// The folder cannot be made or listed.
    #[error("the folder of the Raft group, {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file cannot be opened.
    #[error(
        "the log of the Raft group, {}, cannot be opened: {reason}. If another process of this node \
         runs, stop it; if the file is damaged, move it away: the node then joins the group anew, \
         under another Raft id, as long as a majority of the voters is well",
        path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk is that of another cluster.
    #[error(
        "the disk belongs to cluster {found}, and the cold storage to cluster {wanted}: is one of \
         the two another cluster's?"
    )]
    OtherDisk {
        /// The cluster that the disk was made for.
        found: Uuid,
        /// The cluster that this node is to be in.
        wanted: Uuid,
    },
    /// A message for another disk: the address has changed hands.
    #[error("a message of the Raft group is for {asked}, and this is {mine}")]
    OtherRaftId {
        /// Whom it is for.
        asked: RaftId,
        /// Who got it.
        mine: RaftId,
    },
    /// A message of another cluster.
    #[error("a message of the Raft group is of cluster {theirs}, and this is {ours}")]
    OtherCluster {
        /// The sender's cluster.
        theirs: Uuid,
        /// This cluster.
        ours: Uuid,
    },
    /// A message of a group that was before this one, or comes after it.
    #[error(
        "a message of the Raft group is of its incarnation {theirs}, and this disk's is {ours}: the \
         group was made anew by `aeterna cluster recover`; a node that is of the group before is to be \
         started again"
    )]
    OtherIncarnation {
        /// The sender's incarnation of the group.
        theirs: u32,
        /// This disk's.
        ours: u32,
    },
    /// A message that nothing is known of.
    #[error("a message of the Raft group is of the unknown kind {0:?}")]
    UnknownKind(String),
    /// A message that cannot be read or written.
    #[error("a message of the Raft group: {0}")]
    Codec(#[from] CodecError),
    /// The Raft group's part of this node has stopped, by order or for a disk that failed.
    #[error("the Raft group has stopped on this node: {0}")]
    Stopped(String),
    /// It took too long.
    #[error("the Raft group has not {what} after {after:?}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
}

/// Why a command was not seen to be applied.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// Another node leads, or none.
    #[error("this node does not lead the Raft group; {}", leads(leader))]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<RaftNode>,
    },
    /// A majority did not answer in time. The command may be applied yet: look at the map before
    /// proposing it again.
    #[error("the Raft group has not decided after {after:?}: is a majority of its voters alive?")]
    Timeout {
        /// How long it was waited for.
        after: Duration,
    },
    /// This node led, and a majority did not say that it still does.
    #[error("a majority of the Raft group's voters did not answer: {0}")]
    NoQuorum(String),
    /// The command is too large.
    #[error("the command cannot be proposed: {0}; propose it in parts")]
    Command(#[from] CodecError),
    /// Another change of the voters is not finished.
    #[error("another change of the Raft group's voters is under way: {0}")]
    ChangeUnderWay(String),
    /// Only who takes part can be made a voter.
    #[error("{0} takes no part in the Raft group: add it as a learner first")]
    UnknownLearner(RaftId),
    /// Making it a voter now could leave the group without a majority.
    #[error("{id} is {behind} entries behind and cannot become a voter yet")]
    Behind {
        /// The learner.
        id: RaftId,
        /// Entries of the log that it lacks; all of them if it never answered.
        behind: u64,
    },
    /// Somebody must vote.
    #[error("{0} is the last voter of the Raft group")]
    LastVoter(RaftId),
    /// The Raft group's part of this node has stopped.
    #[error("the Raft group has stopped on this node: {0}")]
    Stopped(String),
}

/// Why a message did not get an answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The node is not there, or does not want to.
    #[error("{0}")]
    Unreachable(String),
    /// No answer within the deadline.
    #[error("no answer after {0:?}")]
    Timeout(Duration),
}

impl ConsensusError {
    pub(crate) fn folder(path: &Path, source: io::Error) -> Self {
        Self::Folder { path: path.to_owned(), source }
    }

    pub(crate) fn open(path: &Path, error: redb::Error) -> Self {
        Self::Open { path: path.to_owned(), reason: error.to_string() }
    }

    pub(crate) fn stopped(error: impl ToString) -> Self {
        Self::Stopped(error.to_string())
    }
}

impl From<StoreError> for ConsensusError {
    fn from(error: StoreError) -> Self {
        Self::Stopped(error.to_string())
    }
}

fn leads(leader: &Option<RaftNode>) -> String {
    match leader {
        Some(node) => format!("{node} does"),
        None => "nobody is known to".to_owned(),
    }
}

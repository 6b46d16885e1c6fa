//! The words of the Raft group: its ids, its nodes, what its log holds.

use std::fmt;
use std::io::Cursor;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::name::NodeName;
use crate::shard_map::{Command, Outcome};

/// Who takes part in the Raft group: a disk, not a name. A node whose disk was lost comes back under
/// another id, because what the old id had voted for is forgotten.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct RaftId(pub u64);

impl RaftId {
    /// An id that no other disk has. It is below 2⁵³, so that programs whose numbers are floating
    /// point read it from JSON as it is.
    pub fn random() -> Self {
        // The lower 62 bits of a version 4 UUID are random (RFC 9562, 5.4).
        let (_, random) = Uuid::new_v4().as_u64_pair();
        Self((random & ((1 << 53) - 1)).max(1))
    }
}

impl From<u64> for RaftId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

impl fmt::Display for RaftId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a disk of the Raft group was when it was added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaftNode {
    /// The name of the node that has the disk.
    pub name: NodeName,
    /// Its gRPC address, `host:port`.
    pub address: String,
}

impl Default for RaftNode {
    /// A node that nobody has described; openraft asks for one.
    fn default() -> Self {
        Self { name: NodeName::unknown(), address: String::new() }
    }
}

impl fmt::Display for RaftNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.address)
    }
}

/// An entry of the log that is not openraft's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Makes the map, as whoever claimed the cluster says; changes nothing where there is one.
    Create { cluster: Uuid, shards: u32 },
    /// Changes the map.
    Change(Command),
}

openraft::declare_raft_types!(
    /// What openraft is made of here.
    pub(crate) Types:
        D = Request,
        R = Outcome,
        NodeId = RaftId,
        Node = RaftNode,
        SnapshotData = Cursor<Vec<u8>>,
);

pub(crate) type LogId = openraft::LogId<RaftId>;
pub(crate) type Vote = openraft::Vote<RaftId>;
pub(crate) type Entry = openraft::Entry<Types>;
pub(crate) type Membership = openraft::StoredMembership<RaftId, RaftNode>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<RaftId, RaftNode>;
pub(crate) type StorageError = openraft::StorageError<RaftId>;
pub(crate) type StorageIOError = openraft::StorageIOError<RaftId>;
pub(crate) type Raft = openraft::Raft<Types>;
pub(crate) type Metrics = openraft::RaftMetrics<RaftId, RaftNode>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_are_exact_in_floating_point() {
        let ids: std::collections::BTreeSet<RaftId> = (0..1000).map(|_| RaftId::random()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.0 > 0 && id.0 as f64 as u64 == id.0));
        // Every bit is in use.
        assert_eq!(ids.iter().fold(0, |bits, id| bits | id.0), (1 << 53) - 1);
    }
}

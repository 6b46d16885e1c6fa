//! The Raft group made anew from one disk, after the majority of its voters is lost for ever.
//!
//! What the disk has of the log is taken as agreed on, to the last entry: what was acknowledged may be
//! among those that the disk never heard to be committed. The new group has one voter, this disk under
//! another Raft id, and a higher incarnation, which every message names: what is left of the old group
//! cannot reach the new one, whatever term it has come to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use openraft::storage::RaftStateMachine;
use openraft::{CommittedLeaderId, LogIdOptionExt, RaftLogReader};
use uuid::Uuid;

use super::error::ConsensusError;
use super::store::{Held, Identity, Machine, Store};
use super::types::{LogId, Membership, RaftId, RaftNode, SnapshotMeta};
use crate::shard_map::ShardMap;

/// The Raft group's part on the disk of a node that does not run; nobody else can open it meanwhile.
pub struct RaftDisk {
    folder: PathBuf,
    store: Store,
}

/// What is on such a disk.
#[derive(Clone, Debug)]
pub struct Remains {
    /// The disk's Raft id.
    pub raft_id: RaftId,
    /// How often the group that it is of was made anew.
    pub incarnation: u32,
    /// The newest map; `None` where the disk is of no group yet.
    pub map: Option<ShardMap>,
    /// Who votes, as far as the disk knows; in a change of the voters, the old ones and the new.
    pub voters: BTreeMap<RaftId, RaftNode>,
    /// The last entry of its log.
    last: Option<LogId>,
}

impl RaftDisk {
    /// Opens the disk; a folder without the group's file gets an empty one.
    ///
    /// # Errors
    /// [`ConsensusError::Open`] when the node runs, or the file is damaged; [`ConsensusError::Folder`].
    pub async fn open(folder: &Path) -> Result<Self, ConsensusError> {
        let store = Store::open_blocking(folder).await?;
        Ok(Self { folder: folder.to_owned(), store })
    }

    /// What is on the disk; `None` where there is nothing.
    ///
    /// # Errors
    /// A disk of another cluster, or one that cannot be read.
    pub async fn remains(
        &self,
        cluster: Uuid,
        shards: u32,
    ) -> Result<Option<Remains>, ConsensusError> {
        let Some(identity) = self.store.known_identity().await? else { return Ok(None) };
        if identity.cluster != cluster {
            let found = identity.cluster;
            return Err(ConsensusError::OtherDisk { found, wanted: cluster });
        }
        let mut store = self.store.clone();
        let mut machine = Machine::open(store.clone(), cluster, shards).await?;
        let (snapshot, _) = machine.applied_state().await.map_err(ConsensusError::stopped)?;
        let entries = store.try_get_log_entries(snapshot.next_index()..).await;
        let entries = entries.map_err(ConsensusError::stopped)?;
        machine.apply(entries).await.map_err(ConsensusError::stopped)?;
        let (last, membership, map) = machine.into_parts();
        let membership = membership.membership();
        let is_voter = |id: &RaftId| membership.voter_ids().any(|voter| voter == *id);
        let voters = membership.nodes().filter(|(id, _)| is_voter(id));
        Ok(Some(Remains {
            raft_id: identity.raft_id,
            incarnation: identity.incarnation,
            map: map.map(|map| ShardMap::clone(&map)),
            voters: voters.map(|(id, node)| (*id, node.clone())).collect(),
            last,
        }))
    }

    /// Makes the group anew, with this disk as its only voter and with this map. The file that was there
    /// is kept under another name. A crash leaves the disk as it was, or done.
    ///
    /// # Errors
    /// A disk that cannot be written.
    pub async fn make_anew(
        self,
        node: RaftNode,
        incarnation: u32,
        map: ShardMap,
        remains: Option<&Remains>,
    ) -> Result<RaftId, ConsensusError> {
        let raft_id = RaftId::random();
        let last = remains.and_then(|remains| remains.last);
        let term = last.map_or(0, |last| last.leader_id.term) + 1;
        let last = LogId::new(CommittedLeaderId::new(term, raft_id), last.next_index());
        let voters = BTreeSet::from([raft_id]);
        let nodes = BTreeMap::from([(raft_id, node)]);
        let membership = openraft::Membership::new(vec![voters], nodes);
        let meta = SnapshotMeta {
            last_log_id: Some(last),
            last_membership: Membership::new(Some(last), membership),
            snapshot_id: format!("{}-{}", last.index, Uuid::new_v4()),
        };
        let identity = Identity { cluster: map.cluster(), raft_id, incarnation };
        let held = Held { map: Some(map) };
        let replaced = Store::replace(&self.folder, identity, &meta, &held).await;
        // Until here nobody else could open the file.
        self.store.close().await;
        replaced.map(|()| raft_id)
    }

    /// Lets go of the disk.
    pub async fn close(self) {
        self.store.close().await;
    }
}

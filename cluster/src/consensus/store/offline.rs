//! The file while the node does not run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{COMMITTED, FILE, Identity, PURGED, Store, StoreError, VOTE, sync_folder};
use crate::codec;
use crate::consensus::error::ConsensusError;
use crate::consensus::limits::MAX_SNAPSHOT_BYTES;
use crate::consensus::store::machine::Held;
use crate::consensus::types::{SnapshotMeta, Vote};

/// Where a new file is made before it takes the place of the old one.
const ANEW: &str = "anew";

/// Name of the file of the group before an incarnation.
fn kept_name(incarnation: u32) -> String {
    format!("raft.before-{incarnation}.redb")
}

/// Renames the file of the group before an incarnation, and returns where it is now.
pub(crate) fn set_aside(folder: &Path, incarnation: u32) -> Result<PathBuf, ConsensusError> {
    let kept = folder.join(kept_name(incarnation));
    let renamed = fs::rename(folder.join(FILE), &kept).and_then(|()| sync_folder(folder));
    renamed.map(|()| kept).map_err(|error| ConsensusError::folder(folder, error))
}

impl Store {
    /// [`Store::open`] on a thread that may wait.
    pub async fn open_blocking(folder: &Path) -> Result<Self, ConsensusError> {
        let folder = folder.to_owned();
        let opened = tokio::task::spawn_blocking(move || Self::open(&folder)).await;
        opened.map_err(ConsensusError::stopped)?
    }

    /// Puts a file that holds nothing but a snapshot in the place of the folder's, which is kept under
    /// another name. A crash leaves the one or the other.
    pub async fn replace(
        folder: &Path,
        identity: Identity,
        meta: &SnapshotMeta,
        held: &Held,
    ) -> Result<(), ConsensusError> {
        let io = |error: io::Error| ConsensusError::folder(folder, error);
        let anew = folder.join(ANEW);
        if anew.exists() {
            fs::remove_dir_all(&anew).map_err(io)?;
        }
        let incarnation = identity.incarnation;
        let store = Self::open_blocking(&anew).await?;
        let written = store.write_new(identity, meta, held).await;
        store.close().await;
        written?;
        let kept = folder.join(kept_name(incarnation));
        match fs::hard_link(folder.join(FILE), &kept) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            linked => linked.map_err(io)?,
        }
        fs::rename(anew.join(FILE), folder.join(FILE)).map_err(io)?;
        sync_folder(folder).map_err(io)?;
        fs::remove_dir(&anew).map_err(io)
    }

    async fn write_new(
        &self,
        identity: Identity,
        meta: &SnapshotMeta,
        held: &Held,
    ) -> Result<(), StoreError> {
        let (id, last) = (identity.raft_id, meta.last_log_id);
        self.identity(identity).await?;
        self.save_snapshot(meta, codec::encode(held, MAX_SNAPSHOT_BYTES)?).await?;
        if let Some(last) = last {
            self.put(PURGED, &last).await?;
            self.put(COMMITTED, &Some(last)).await?;
            self.put(VOTE, &Vote::new(last.leader_id.term, id)).await?;
        }
        Ok(())
    }
}

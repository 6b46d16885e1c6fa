//! Which cluster a cold storage belongs to: claimed once, by a conditional put, so that of several
//! nodes that start at the same time exactly one founds the cluster.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::layout::CLAIM;
use super::{ColdError, ColdStorage};

/// The cluster that a cold storage belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterClaim {
    /// Identity of the cluster.
    pub cluster: Uuid,
    /// Its number of shards, fixed for ever.
    pub shards: u32,
    /// Raft id of the disk that founded it.
    pub founder: u64,
    /// Name of the node that founded it.
    pub founder_name: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub made_at: OffsetDateTime,
}

impl ColdStorage {
    /// Claims this cold storage for a cluster, unless it is claimed; returns the claim that holds.
    ///
    /// # Errors
    /// When the store fails, or holds a claim that cannot be read.
    pub async fn claim(&self, mine: &ClusterClaim) -> Result<ClusterClaim, ColdError> {
        match self.read_claim().await? {
            Some(theirs) => Ok(theirs),
            None => checked(self.write_once(CLAIM, mine).await?),
        }
    }

    /// The claim, if there is one.
    ///
    /// # Errors
    /// As [`ColdStorage::claim`].
    pub async fn read_claim(&self) -> Result<Option<ClusterClaim>, ColdError> {
        self.document(CLAIM).await?.map(checked).transpose()
    }

    /// Fails when this cold storage is claimed for another cluster.
    ///
    /// # Errors
    /// [`ColdError::OtherCluster`], or as [`ColdStorage::claim`].
    pub async fn check_claim(&self, ours: Uuid) -> Result<(), ColdError> {
        match self.read_claim().await? {
            Some(claim) if claim.cluster != ours => {
                Err(ColdError::OtherCluster { ours, theirs: claim.cluster })
            }
            _ => Ok(()),
        }
    }
}

fn checked(claim: ClusterClaim) -> Result<ClusterClaim, ColdError> {
    if claim.shards == 0 {
        let detail = "it says that the cluster has no shards".to_owned();
        return Err(ColdError::Damaged { key: CLAIM.to_owned(), detail });
    }
    Ok(claim)
}

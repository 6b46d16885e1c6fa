//! Which cluster a cold storage belongs to: claimed once, by a conditional put, so that of several
//! nodes that start at the same time exactly one founds the cluster.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::layout::CLAIM;
use super::{ColdError, ColdStorage};

const FORMAT: u32 = 1;
/// Bytes of a claim that are read at most.
const MAX_BYTES: u64 = 64 << 10;

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

#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    #[serde(flatten)]
    claim: ClusterClaim,
}

impl ColdStorage {
    /// Claims this cold storage for a cluster, unless it is claimed; returns the claim that holds.
    ///
    /// # Errors
    /// When the store fails, or holds a claim that cannot be read.
    pub async fn claim(&self, mine: &ClusterClaim) -> Result<ClusterClaim, ColdError> {
        if let Some(theirs) = self.read_claim().await? {
            return Ok(theirs);
        }
        let written = Written { format: FORMAT, claim: mine.clone() };
        let mut bytes = serde_json::to_vec_pretty(&written).map_err(|e| damaged(&e))?;
        bytes.push(b'\n');
        self.calls.create(CLAIM, Bytes::from(bytes)).await?;
        // Whoever wrote it: what is there holds.
        let there = self.read_claim().await?;
        there.ok_or_else(|| ColdError::Missing { key: CLAIM.to_owned() })
    }

    /// The claim, if there is one.
    ///
    /// # Errors
    /// As [`ColdStorage::claim`].
    pub async fn read_claim(&self) -> Result<Option<ClusterClaim>, ColdError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Some(bytes) = self.calls.read(CLAIM, MAX_BYTES).await? else { return Ok(None) };
        let Format { format } = serde_json::from_slice(&bytes).map_err(|e| damaged(&e))?;
        if format > FORMAT {
            let key = CLAIM.to_owned();
            return Err(ColdError::Format { key, found: format, known: FORMAT });
        }
        let written: Written = serde_json::from_slice(&bytes).map_err(|e| damaged(&e))?;
        if written.claim.shards == 0 {
            let detail = "it says that the cluster has no shards".to_owned();
            return Err(ColdError::Damaged { key: CLAIM.to_owned(), detail });
        }
        Ok(Some(written.claim))
    }
}

fn damaged(error: &serde_json::Error) -> ColdError {
    ColdError::Damaged { key: CLAIM.to_owned(), detail: error.to_string() }
}

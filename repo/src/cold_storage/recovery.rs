//! What cold storage knows when a majority of the Raft group's voters is lost for ever: who makes the
//! group anew, claimed by a conditional put so that of two survivors one alone does, and the highest
//! epoch that each shard was ever taken over under.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::layout::{self, RECOVERIES};
use super::{ColdError, ColdStorage};

/// Who makes the Raft group anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// Which time it is: 1 is the first.
    pub number: u32,
    /// Identity of the cluster.
    pub cluster: Uuid,
    /// What tells the disk that does it from others.
    pub founder: u64,
    /// Name of the node that does it.
    pub founder_name: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub made_at: OffsetDateTime,
}

impl ColdStorage {
    /// Claims a recovery by its number, unless it is claimed; returns the one that holds.
    ///
    /// # Errors
    /// When the store fails, or holds one that cannot be read.
    pub async fn claim_recovery(&self, mine: &Recovery) -> Result<Recovery, ColdError> {
        self.write_once(&layout::recovery(mine.number), mine).await
    }

    /// The last recovery that was claimed, if there is one.
    ///
    /// # Errors
    /// As [`ColdStorage::claim_recovery`].
    pub async fn newest_recovery(&self) -> Result<Option<Recovery>, ColdError> {
        let listed = self.calls.list(RECOVERIES, None).await?;
        match listed.last() {
            Some((key, _)) => self.document(key).await,
            None => Ok(None),
        }
    }

    /// The highest epoch that each shard was taken over under; shards that never were are left out.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn highest_epochs(&self) -> Result<BTreeMap<u32, u64>, ColdError> {
        let shards = stream::iter(self.shards().await?);
        let epochs = shards.map(async |shard| {
            let positions = self.positions(shard.into(), None).await?;
            Ok::<_, ColdError>(positions.last().map(|last| (shard, last.epoch)))
        });
        let epochs = epochs.buffer_unordered(self.calls.limits.calls.max(1));
        epochs.try_filter_map(async |epoch| Ok(epoch)).try_collect().await
    }
}

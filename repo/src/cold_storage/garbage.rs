//! Removing what no manifest needs any more, after a grace period: someone may still be restoring it.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use object_store::ObjectMeta;

use super::layout::{self, Place, Position};
use super::{ColdError, ColdManifest, ColdStorage, ShardFence};

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Manifests.
    pub manifests: u64,
    /// Files.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

impl ColdStorage {
    /// Removes manifests that a newer one has replaced, and files that no manifest names, where they
    /// are older than `grace` by the store's clock. The newest content and what it names stay, and
    /// so does what was written under a later epoch: only the shard's owner may collect, and one
    /// that was taken over meanwhile removes nothing that its successor needs.
    ///
    /// # Errors
    /// [`ColdError::Fenced`] when another writer has taken the shard over, or what failed. Then some
    /// may have been removed.
    pub async fn collect_garbage(
        &self,
        fence: &ShardFence,
        grace: Duration,
    ) -> Result<Collected, ColdError> {
        self.check_fence(fence).await?;
        // Without content there is nothing that could have been replaced.
        match &fence.content {
            Some(content) => self.collect(content, fence.epoch, grace).await,
            None => Ok(Collected::default()),
        }
    }

    /// The same for a mirror, whose newest state was just uploaded.
    ///
    /// # Errors
    /// When the store fails. Then some may have been removed.
    pub(crate) async fn collect_mirror_garbage(
        &self,
        newest: &ColdManifest,
        grace: Duration,
    ) -> Result<Collected, ColdError> {
        self.collect(newest, newest.position.epoch, grace).await
    }

    async fn collect(
        &self,
        newest: &ColdManifest,
        epoch: u64,
        grace: Duration,
    ) -> Result<Collected, ColdError> {
        let mut collected = Collected::default();
        let place = newest.place;
        // Listed before the manifests that may name them are read.
        let files = self.calls.list(&layout::files(place), None).await?;
        let manifests = self.calls.list(&layout::manifests(place), None).await?;
        let mut kept = Vec::new();
        for (key, meta) in &manifests {
            let Some(at) = key.rsplit('/').next().and_then(layout::position) else { continue };
            if at < newest.position && is_old(meta, grace) {
                self.calls.delete(key).await?;
                collected.manifests += 1;
            } else {
                kept.push(at);
            }
        }
        let named = self.named(place, &kept).await?;
        for (key, meta) in &files {
            let ours = layout::epoch_of_file(place, key).is_some_and(|written| written <= epoch);
            if ours && is_old(meta, grace) && !named.contains(key) {
                self.calls.delete(key).await?;
                collected.files += 1;
                collected.bytes += meta.size;
            }
        }
        Ok(collected)
    }

    /// Keys that some manifests name.
    async fn named(&self, place: Place, kept: &[Position]) -> Result<BTreeSet<String>, ColdError> {
        let mut named = BTreeSet::new();
        for at in kept {
            match self.read_manifest(place, *at).await {
                Ok(manifest) => named.extend(manifest.files().map(|(_, file)| file.key.clone())),
                // What it named cannot be told: nothing can be restored from it either.
                Err(error) if error.is_lost() => {
                    tracing::warn!(%place, %error, "a manifest is lost");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(named)
    }
}

fn is_old(meta: &ObjectMeta, grace: Duration) -> bool {
    let written = SystemTime::from(meta.last_modified);
    written.elapsed().is_ok_and(|age| age >= grace)
}

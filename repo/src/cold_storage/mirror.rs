//! What cold storage has of a repository's git mirror: its refs, and bundles of its objects.
//!
//! Nobody is fenced off here: whatever an owner of its shard uploads is a state that the remote was
//! in, and the next fetch brings whoever restores it up to date. Of two, the later owner's counts.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::layout::{Place, Position};
use super::manifest::{ColdFile, ColdManifest};
use super::upload::{Local, SentBefore, Target};
use super::{ColdError, ColdStorage};

/// Times that a position is looked for because another writer took it.
const TRIES: u32 = 5;

impl ColdStorage {
    /// The newest state of a mirror; `None` when there is none.
    ///
    /// # Errors
    /// When the store fails, or what is there is of a later version.
    pub async fn newest_mirror(&self, id: Uuid) -> Result<Option<ColdManifest>, ColdError> {
        let place = Place::Mirror(id);
        let positions = self.positions(place, None).await?;
        self.newest_of(place, &positions).await
    }

    /// Uploads files of a mirror under the epoch of its shard's owner; those in `kept` are there.
    ///
    /// # Errors
    /// When the store fails, or other writers always come first.
    pub(crate) async fn upload_mirror(
        &self,
        (id, epoch): (Uuid, u64),
        files: Vec<Local>,
        kept: BTreeMap<String, ColdFile>,
    ) -> Result<ColdManifest, ColdError> {
        let place = Place::Mirror(id);
        let mut all = kept;
        let into = Target { place, epoch, before: &SentBefore::default() };
        all.extend(self.upload_files(into, files, &|_| {}).await?);
        for _ in 0..TRIES {
            let top = self.positions(place, None).await?.pop();
            let at = match top.filter(|top| top.epoch >= epoch) {
                // Under its own epoch that of a later owner stays the newest.
                Some(top) if top.epoch == epoch => top.next(),
                Some(by) => return Err(ColdError::Outdated { place, epoch, by }),
                None => Position { epoch, sequence: 0 },
            };
            let manifest = ColdManifest::uploaded(place, at, Uuid::new_v4(), 0, all.clone());
            if self.create_manifest(&manifest).await? {
                return Ok(manifest);
            }
        }
        let (action, key) = ("writing", format!("{place}/manifests"));
        let reason = "other writers were always first".to_owned();
        Err(ColdError::Unavailable { action, key, reason })
    }

    /// Fetches one file of a mirror.
    ///
    /// # Errors
    /// As [`ColdStorage::restore`].
    pub(crate) async fn restore_mirror_file(
        &self,
        file: &ColdFile,
        into: &std::path::Path,
    ) -> Result<(), ColdError> {
        self.restore_file(file, into, &|_| {}).await
    }

    /// Removes all that cold storage has of a mirror, once its repository is gone.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn remove_mirror(&self, id: Uuid) -> Result<(), ColdError> {
        for (key, _) in self.calls.list(&Place::Mirror(id).to_string(), None).await? {
            self.calls.delete(&key).await?;
        }
        Ok(())
    }
}

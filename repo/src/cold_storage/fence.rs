//! Taking a shard over, so that its former owner can write nothing more that counts.

use std::path::PathBuf;

use bytes::Bytes;
use uuid::Uuid;

use super::layout::{self, Place, Position};
use super::{ColdError, ColdManifest, ColdStorage};

/// Times that taking over starts again because another writer came in between.
const TRIES: u32 = 5;
/// Manifests that are read one after another before what they tell is used.
const MANIFESTS_AT_ONCE: usize = 64;

/// The right to write for a shard, until someone else takes it over.
#[derive(Clone, Debug)]
pub struct ShardFence {
    /// The shard.
    pub shard: u32,
    /// Epoch that it is owned under.
    pub epoch: u64,
    pub(crate) writer: Uuid,
    /// The last manifest that this writer wrote.
    pub(crate) position: Position,
    /// What the shard holds in cold storage; `None` when nothing was uploaded yet.
    pub content: Option<ColdManifest>,
    /// Whether files may be there that no manifest names: an upload was cut off.
    pub(crate) may_have_sent: bool,
    /// Where it is kept which parts of large files were sent.
    pub(crate) ledger: Option<PathBuf>,
}

impl ShardFence {
    /// Keeps in a file which parts of large files were sent: an upload that is cut off, also by the end of
    /// the process, continues with the others.
    pub fn keep_parts_in(&mut self, file: PathBuf) {
        self.ledger = Some(file);
    }
}

impl ColdStorage {
    /// Takes a shard over under an epoch: from now on no manifest of an earlier owner counts, nor
    /// one of another process under the same epoch. What the shard held is taken over with it.
    ///
    /// First a fence is written and only then is it looked what there is: a former owner either
    /// wrote before that, and is found, or finds the fence.
    ///
    /// # Errors
    /// [`ColdError::Fenced`] when there is a manifest of a later epoch, or when the store fails.
    pub async fn fence(&self, shard: u32, epoch: u64) -> Result<ShardFence, ColdError> {
        let writer = Uuid::new_v4();
        let mut fenced = None;
        for _ in 0..TRIES {
            match self.try_fence(shard, epoch, writer).await {
                Err(error @ ColdError::Fenced { by, .. }) if by.epoch <= epoch => {
                    fenced = Some(error);
                }
                other => return other,
            }
        }
        let by = Position { epoch, sequence: 0 };
        Err(fenced.unwrap_or(ColdError::Fenced { shard, epoch, by }))
    }

    async fn try_fence(
        &self,
        shard: u32,
        epoch: u64,
        writer: Uuid,
    ) -> Result<ShardFence, ColdError> {
        let mut fence = ShardFence {
            shard,
            epoch,
            writer,
            position: Position { epoch, sequence: 0 },
            content: None,
            may_have_sent: true,
            ledger: None,
        };
        if let Some(top) = self.positions(shard.into(), None).await?.last() {
            if top.epoch > epoch {
                return Err(ColdError::Fenced { shard, epoch, by: *top });
            }
            if top.epoch == epoch {
                fence.position = top.next();
            }
        }
        self.put_manifest(
            &ColdManifest::fence(shard.into(), fence.position, writer),
            (shard, epoch),
        )
        .await?;
        let positions = self.positions(shard.into(), None).await?;
        if let Some(by) = positions.last().filter(|last| **last > fence.position) {
            return Err(ColdError::Fenced { shard, epoch, by: *by });
        }
        if let Some(found) = self.newest_of(shard.into(), &positions).await? {
            let adopted = found.adopted(fence.position.next(), writer);
            self.put_manifest(&adopted, (shard, epoch)).await?;
            fence.position = adopted.position;
            fence.content = Some(adopted);
        }
        Ok(fence)
    }

    /// Fails when another writer has taken the shard over.
    ///
    /// # Errors
    /// [`ColdError::Fenced`], or when the store fails.
    pub async fn check_fence(&self, fence: &ShardFence) -> Result<(), ColdError> {
        #[cfg(feature = "mistakes")]
        if super::mistakes::former_owners_upload() {
            return Ok(());
        }
        let later = self.positions(fence.shard.into(), Some(fence.position)).await?;
        match later.last() {
            Some(by) => Err(ColdError::Fenced { shard: fence.shard, epoch: fence.epoch, by: *by }),
            None => Ok(()),
        }
    }

    /// The newest content of a shard; `None` when nothing was uploaded yet.
    ///
    /// # Errors
    /// When the store fails, or what is there is of a later version.
    pub async fn newest(&self, shard: u32) -> Result<Option<ColdManifest>, ColdError> {
        let positions = self.positions(shard.into(), None).await?;
        self.newest_of(shard.into(), &positions).await
    }

    /// The newest content below a position.
    ///
    /// # Errors
    /// As [`ColdStorage::newest`].
    pub async fn newest_below(
        &self,
        shard: u32,
        below: Position,
    ) -> Result<Option<ColdManifest>, ColdError> {
        let mut positions = self.positions(shard.into(), None).await?;
        positions.retain(|at| *at < below);
        self.newest_of(shard.into(), &positions).await
    }

    /// What was written of a shard above a position: the last one, and the newest content among them.
    ///
    /// # Errors
    /// As [`ColdStorage::newest`].
    pub async fn newest_above(
        &self,
        shard: u32,
        above: Option<Position>,
    ) -> Result<(Option<Position>, Option<ColdManifest>), ColdError> {
        let positions = self.positions(shard.into(), above).await?;
        Ok((positions.last().copied(), self.newest_of(shard.into(), &positions).await?))
    }

    /// What the writer of the manifest at a position has written after it: the last one, and the newest
    /// content among them. Nothing is listed; what another owner has written is not found.
    ///
    /// # Errors
    /// As [`ColdStorage::newest`].
    pub async fn following(
        &self,
        shard: u32,
        after: Position,
    ) -> Result<(Option<Position>, Option<ColdManifest>), ColdError> {
        let (mut at, mut last, mut content) = (after.next(), None, None);
        for _ in 0..MANIFESTS_AT_ONCE {
            match self.read_manifest(shard.into(), at).await {
                Ok(manifest) if manifest.files.is_some() => content = Some(manifest),
                Ok(_) => {}
                Err(ColdError::Missing { .. }) => break,
                Err(error) if error.is_lost() => {
                    tracing::error!(shard, %error, "a manifest is lost; a later one is waited for");
                }
                Err(error) => return Err(error),
            }
            last = Some(at);
            at = at.next();
        }
        Ok((last, content))
    }

    /// Those that are damaged or gone are passed over: older content is better than none.
    pub(crate) async fn newest_of(
        &self,
        place: Place,
        positions: &[Position],
    ) -> Result<Option<ColdManifest>, ColdError> {
        for at in positions.iter().rev() {
            match self.read_manifest(place, *at).await {
                Ok(manifest) if manifest.files.is_some() => return Ok(Some(manifest)),
                Ok(_) => {}
                Err(error) if error.is_lost() => {
                    tracing::error!(%place, %error, "a manifest is lost; an older one is looked for");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    pub(crate) async fn read_manifest(
        &self,
        place: Place,
        at: Position,
    ) -> Result<ColdManifest, ColdError> {
        let key = layout::manifest(place, at);
        match self.calls.read(&key, self.calls.limits.manifest_bytes).await? {
            Some(bytes) => ColdManifest::decode(place, at, &bytes),
            None => Err(ColdError::Missing { key }),
        }
    }

    /// Writes a manifest for the owner of a shard.
    pub(crate) async fn put_manifest(
        &self,
        manifest: &ColdManifest,
        (shard, epoch): (u32, u64),
    ) -> Result<(), ColdError> {
        if self.create_manifest(manifest).await? {
            Ok(())
        } else {
            Err(ColdError::Fenced { shard, epoch, by: manifest.position })
        }
    }

    /// Writes a manifest; returns whether its position was free.
    pub(crate) async fn create_manifest(&self, manifest: &ColdManifest) -> Result<bool, ColdError> {
        let bytes = Bytes::from(manifest.encode()?);
        self.calls.create(&layout::manifest(manifest.place, manifest.position), bytes).await
    }

    /// The positions of the manifests of a place, above one, in order.
    pub(crate) async fn positions(
        &self,
        place: Place,
        above: Option<Position>,
    ) -> Result<Vec<Position>, ColdError> {
        let after = above.map(|at| layout::manifest(place, at));
        let listed = self.calls.list(&layout::manifests(place), after.as_deref()).await?;
        let names = listed.iter().filter_map(|(key, _)| key.rsplit('/').next());
        let positions = names.filter_map(layout::position);
        // Not every store leaves out the one that is named.
        Ok(positions.filter(|at| above.is_none_or(|above| *at > above)).collect())
    }
}

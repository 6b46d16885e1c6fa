//! What a shard's folder holds when it is taken over: what is there already, or what cold storage
//! has, or nothing.

use std::fs;
use std::path::{Path, PathBuf};

use aeterna_index::MANIFEST_FILE;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::blocking;
use super::cluster::ShardSource;
use super::inner::Inner;
use crate::ManagerError;
use crate::cold_storage::{
    ColdError, ColdManifest, ColdProgress, ColdStorage, Position, empty_folder, sync_files,
    sync_folder,
};
use crate::git::write_durably;

/// Contents that are tried, the newest first, before a shard begins empty.
const CONTENTS_TRIED: usize = 5;

/// What the folder of a shard descends from, in a file beside it: the index removes files in a
/// shard's folder that it does not know.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    cluster: Uuid,
    /// The upload that it was equal to, and has gone on from; `None` when it began empty.
    uploaded: Option<Position>,
}

/// What was done to a shard's folder.
pub(crate) struct Prepared {
    pub(crate) source: ShardSource,
    pub(crate) bytes: u64,
    /// What the folder goes on from. Names of files mean something else where it is not this.
    pub(crate) content: Option<ColdManifest>,
    /// Whether a crash of the machine leaves it as it is. If not, it is to be made durable
    /// ([`make_durable`]) before anything builds on it.
    pub(crate) is_durable: bool,
    /// Keys of files that cold storage has lost.
    pub(crate) lost: Vec<String>,
}

impl Prepared {
    /// What was here already.
    pub(crate) fn local(content: Option<ColdManifest>) -> Self {
        let source = ShardSource::Local;
        Self { source, bytes: 0, content, is_durable: true, lost: Vec::new() }
    }
}

/// The places of a shard on this node's disk.
pub(crate) struct Places {
    pub(crate) index: PathBuf,
    pub(crate) folder: PathBuf,
    origin: PathBuf,
    pub(crate) restoring: PathBuf,
    replaced: PathBuf,
    pub(crate) exported: PathBuf,
    /// File that says which parts of large files were uploaded.
    pub(crate) uploading: PathBuf,
}

impl Places {
    pub(crate) fn new(inner: &Inner, shard: u32) -> Self {
        let index = inner.config.index_path.clone();
        let beside = |what: &str| index.join(format!("{shard:04}.{what}"));
        Self {
            folder: inner.index.folder_of(shard),
            origin: beside("origin"),
            restoring: beside("restoring"),
            replaced: beside("replaced"),
            exported: beside("exported"),
            uploading: beside("uploading"),
            index,
        }
    }

    /// Says that the folder goes on from an upload.
    pub(crate) fn write_origin(
        &self,
        cluster: Uuid,
        content: Option<&ColdManifest>,
    ) -> Result<(), ManagerError> {
        let origin = Origin { cluster, uploaded: content.map(|content| content.origin) };
        let text = serde_json::to_vec(&origin)
            .map_err(|error| ManagerError::Internal(error.to_string()))?;
        Ok(write_durably(&self.origin, &text)?)
    }

    /// What the folder descends from; `None` when it is another cluster's, or what was restored into it
    /// may never have become durable.
    fn origin_of(&self, cluster: Uuid) -> Option<Origin> {
        // One that cannot be read says nothing.
        let origin: Origin = serde_json::from_slice(&fs::read(&self.origin).ok()?).ok()?;
        (origin.cluster == cluster).then_some(origin)
    }

    /// Whether the folder holds what cold storage has, or has gone on from it.
    pub(crate) fn is_current(&self, cluster: Uuid, content: Option<&ColdManifest>) -> bool {
        let Some(origin) = self.origin_of(cluster) else { return false };
        if fs::metadata(self.folder.join(MANIFEST_FILE)).is_err() {
            return false;
        }
        if origin.uploaded == content.map(|content| content.origin) {
            return true;
        }
        // An upload that was cut off before it was written down here.
        content.is_some_and(|content| self.is_same(content))
    }

    /// Whether the folder holds what cold storage has, and nothing more.
    pub(crate) fn is_copy(&self, cluster: Uuid, content: &ColdManifest) -> bool {
        self.origin_of(cluster).is_some() && self.is_same(content)
    }

    fn is_same(&self, content: &ColdManifest) -> bool {
        let there = content.files.as_ref().and_then(|files| files.get(MANIFEST_FILE));
        there.is_some_and(|there| there.is_at(&self.folder.join(MANIFEST_FILE)))
    }

    /// Puts what was restored in the folder's place, while the shard is open: whoever reads it goes
    /// on with the files that it has. What a crash leaves in between has no origin.
    pub(crate) fn exchange(
        &self,
        cluster: Uuid,
        content: &ColdManifest,
    ) -> Result<(), ManagerError> {
        sync_files(content, &self.restoring)?;
        remove_origin(&self.origin)?;
        remove_folder(&self.replaced)?;
        match fs::rename(&self.folder, &self.replaced) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(ColdError::io("cannot rename", &self.folder)(error).into());
            }
            _ => {}
        }
        fs::rename(&self.restoring, &self.folder)
            .map_err(ColdError::io("cannot rename", &self.restoring))?;
        sync_folder(&self.index)?;
        remove_folder(&self.replaced)?;
        self.write_origin(cluster, Some(content))
    }

    pub(crate) fn clear(&self) -> Result<(), ColdError> {
        remove_origin(&self.origin)?;
        empty_folder(&self.folder)?;
        sync_folder(&self.index)
    }

    /// Puts what was restored in the folder's place. Until it has an origin, a crash leaves what is
    /// restored again.
    fn install(&self) -> Result<(), ColdError> {
        self.clear()?;
        fs::remove_dir(&self.folder).map_err(ColdError::io("cannot remove", &self.folder))?;
        fs::rename(&self.restoring, &self.folder)
            .map_err(ColdError::io("cannot rename", &self.restoring))?;
        sync_folder(&self.index)
    }
}

/// Makes the folder of a shard that is not open hold what it is to hold.
pub(crate) async fn prepare(
    inner: &Inner,
    cold: &ColdStorage,
    cluster: Uuid,
    (shard, content): (u32, Option<ColdManifest>),
    progress: ColdProgress,
) -> Result<Prepared, ManagerError> {
    let places = Places::new(inner, shard);
    let known = content.clone();
    let (places, is_current) = blocking::run("look-at-shard", move || {
        let is_current = places.is_current(cluster, known.as_ref());
        Ok((places, is_current))
    })
    .await?;
    let prepared = if is_current {
        Prepared::local(content)
    } else {
        fetch(cold, &places, (shard, content), progress).await?
    };
    blocking::run("install-shard", move || {
        match prepared.source {
            ShardSource::Local => {}
            ShardSource::ColdStorage => places.install()?,
            ShardSource::Empty => {
                remove_folder(&places.restoring)?;
                places.clear()?;
            }
        }
        // What was restored gets its origin once it is durable.
        if prepared.is_durable {
            places.write_origin(cluster, prepared.content.as_ref())?;
        }
        Ok(prepared)
    })
    .await
}

/// Makes what was restored durable, and says so.
pub(crate) async fn make_durable(
    inner: &Inner,
    cluster: Uuid,
    (shard, content): (u32, &ColdManifest),
) -> Result<(), ManagerError> {
    let (places, restored) = (Places::new(inner, shard), content.clone());
    let places = blocking::run("sync-shard", move || {
        crate::failpoint!("sync-shard");
        sync_files(&restored, &places.folder)?;
        Ok(places)
    })
    .await?;
    // Not by the thread: that goes on when nobody waits for it any more, and the folder may be another by
    // then.
    places.write_origin(cluster, Some(content))
}

/// Fetches the newest content that is of use: without the shard's own manifest, its other files say
/// nothing.
async fn fetch(
    cold: &ColdStorage,
    places: &Places,
    (shard, mut content): (u32, Option<ColdManifest>),
    progress: ColdProgress,
) -> Result<Prepared, ManagerError> {
    let mut lost = Vec::new();
    for _ in 0..CONTENTS_TRIED {
        let Some(found) = content else { break };
        empty_folder(&places.restoring)?;
        let missing = cold.restore_available(&found, &places.restoring, progress.clone()).await?;
        let is_of_use = !missing.iter().any(|key| is_manifest(&found, key));
        lost.extend(missing);
        if is_of_use {
            let (source, bytes) = (ShardSource::ColdStorage, found.bytes());
            let content = Some(found);
            return Ok(Prepared { source, bytes, content, is_durable: false, lost });
        }
        // Below it are copies of the same.
        content = cold.newest_below(shard, found.origin).await?;
    }
    let source = ShardSource::Empty;
    Ok(Prepared { source, bytes: 0, content: None, is_durable: true, lost })
}

pub(crate) fn is_manifest(content: &ColdManifest, key: &str) -> bool {
    content.files().any(|(name, file)| name == MANIFEST_FILE && file.key == key)
}

fn remove_origin(origin: &Path) -> Result<(), ColdError> {
    match fs::remove_file(origin) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ColdError::io("cannot remove", origin)(error))
        }
        _ => Ok(()),
    }
}

/// Removes a folder, if it is there.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), ColdError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ColdError::io("cannot remove", folder)(error))
        }
        _ => Ok(()),
    }
}

/// Removes what a process that was killed left beside the shards.
pub(crate) fn remove_leftovers(index: &Path) -> Result<(), ColdError> {
    for entry in fs::read_dir(index).map_err(ColdError::io("cannot list", index))? {
        let path = entry.map_err(ColdError::io("cannot list", index))?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("restoring" | "exported" | "replaced")) {
            remove_folder(&path)?;
        }
    }
    Ok(())
}

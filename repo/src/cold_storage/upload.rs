//! Bringing a commit of a shard's index to cold storage.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use aeterna_index::MANIFEST_FILE;
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};

use super::manifest::{ColdFile, ColdManifest};
use super::{ColdError, ColdProgress, ColdStorage, Place, ShardFence, hex, layout};

/// Bytes that are hashed at a time.
const HASH_BUFFER: usize = 1 << 20;

/// A file to send.
pub(crate) struct Local {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

impl ColdStorage {
    /// Uploads a commit: the files of `exported` that cold storage does not have, then a manifest
    /// that names them all, and then looks whether the shard was taken over meanwhile. `generation`
    /// is that of the commit.
    ///
    /// What was cut off continues: files that were sent completely are not sent again.
    ///
    /// # Errors
    /// [`ColdError::Fenced`] when another writer has taken the shard over: nothing that this fence's
    /// holder uploads counts any more. Or what failed; then it may be tried again.
    pub async fn upload(
        &self,
        fence: &mut ShardFence,
        exported: &Path,
        generation: u64,
        progress: ColdProgress,
    ) -> Result<ColdManifest, ColdError> {
        // Else a former owner would send much before it learns that it is one.
        self.check_fence(fence).await?;
        let (mut files, missing) = compare(exported, fence.content.as_ref())?;
        let total = missing.iter().map(|local| local.bytes).sum();
        let done = AtomicU64::new(0);
        let tell = |bytes| progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total);
        let (shard, epoch) = (fence.shard, fence.epoch);
        files.extend(self.upload_files(shard.into(), epoch, missing, &tell).await?);
        let at = fence.position.next();
        let manifest = ColdManifest::uploaded(shard.into(), at, fence.writer, generation, files);
        self.put_manifest(&manifest, (shard, epoch)).await?;
        fence.position = at;
        fence.content = Some(manifest.clone());
        self.check_fence(fence).await?;
        Ok(manifest)
    }

    pub(crate) async fn upload_files(
        &self,
        place: Place,
        epoch: u64,
        files: Vec<Local>,
        sent: &(impl Fn(u64) + Sync),
    ) -> Result<Vec<(String, ColdFile)>, ColdError> {
        let sending = files.into_iter().map(|local| async move {
            let file = self.upload_file(place, epoch, &local, sent).await?;
            Ok::<_, ColdError>((local.name, file))
        });
        let limit = self.calls.limits.files.max(1);
        futures_util::stream::iter(sending).buffer_unordered(limit).try_collect().await
    }

    async fn upload_file(
        &self,
        place: Place,
        epoch: u64,
        local: &Local,
        sent: &impl Fn(u64),
    ) -> Result<ColdFile, ColdError> {
        let (path, bytes) = (local.path.clone(), local.bytes);
        let sha256 = blocking(move || hash(&path, bytes)).await?;
        let key = layout::file(place, epoch, &local.name, &sha256);
        let file = ColdFile { key, bytes, sha256 };
        if bytes <= self.calls.limits.part_bytes {
            let path = local.path.clone();
            let content = blocking(move || read(&path, 0..bytes)).await?;
            if !self.calls.create(&file.key, content).await? {
                return Err(other_content(&file.key));
            }
            sent(bytes);
            return Ok(file);
        }
        match self.calls.size(&file.key).await? {
            Some(there) if there == bytes => sent(bytes),
            _ => {
                let part = |range| {
                    let path = local.path.clone();
                    blocking(move || read(&path, range))
                };
                self.calls.send(&file.key, bytes, part, sent).await?;
                if self.calls.size(&file.key).await? != Some(bytes) {
                    return Err(other_content(&file.key));
                }
            }
        }
        Ok(file)
    }
}

fn other_content(key: &str) -> ColdError {
    let detail = "it holds other bytes than were sent".to_owned();
    ColdError::Damaged { key: key.to_owned(), detail }
}

/// What cold storage has of a folder, and what it has not. A file of the index never changes under
/// its name, but for the shard's manifest.
fn compare(
    exported: &Path,
    before: Option<&ColdManifest>,
) -> Result<(BTreeMap<String, ColdFile>, Vec<Local>), ColdError> {
    let before = before.and_then(|manifest| manifest.files.as_ref());
    let (mut there, mut missing) = (BTreeMap::new(), Vec::new());
    for entry in fs::read_dir(exported).map_err(ColdError::io("cannot list", exported))? {
        let entry = entry.map_err(ColdError::io("cannot list", exported))?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if !layout::is_file_name(&name) {
            let source = std::io::Error::other("its name is none of a shard's file");
            return Err(ColdError::Io { action: "cannot upload", path, source });
        }
        let bytes = entry.metadata().map_err(ColdError::io("cannot read", &path))?.len();
        let known = before.and_then(|files| files.get(&name));
        match known.filter(|file| file.bytes == bytes && name != MANIFEST_FILE) {
            Some(file) => drop(there.insert(name, file.clone())),
            None => missing.push(Local { name, path, bytes }),
        }
    }
    Ok((there, missing))
}

/// SHA-256 of a file of so many bytes.
pub(crate) fn hash(path: &Path, bytes: u64) -> Result<String, ColdError> {
    let mut file = File::open(path).map_err(ColdError::io("cannot open", path))?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; HASH_BUFFER];
    let mut all = 0;
    loop {
        let read = file.read(&mut buffer).map_err(ColdError::io("cannot read", path))?;
        if read == 0 {
            break;
        }
        all += read as u64;
        context.update(&buffer[..read]);
    }
    if all != bytes {
        let source = std::io::Error::other(format!("it has {all} bytes, not {bytes}"));
        return Err(ColdError::Io { action: "cannot upload", path: path.to_owned(), source });
    }
    Ok(hex(context.finish().as_ref()))
}

fn read(path: &Path, range: Range<u64>) -> Result<Bytes, ColdError> {
    let file = File::open(path).map_err(ColdError::io("cannot open", path))?;
    let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let mut buffer = vec![0; length];
    file.read_exact_at(&mut buffer, range.start).map_err(ColdError::io("cannot read", path))?;
    Ok(buffer.into())
}

/// Runs short blocking work, where it holds up no other task.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ColdError> + Send + 'static,
) -> Result<T, ColdError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        let source = std::io::Error::other(error.to_string());
        Err(ColdError::Io { action: "cannot work on", path: PathBuf::from("files"), source })
    })
}

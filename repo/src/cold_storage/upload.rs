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
use tokio::runtime::{Handle, RuntimeFlavor};

use super::ledger::Ledger;
use super::manifest::{ColdFile, ColdManifest};
use super::send::Sending;
use super::{ColdError, ColdProgress, ColdStorage, Place, ShardFence, hex, layout};

/// Bytes that are hashed at a time.
const HASH_BUFFER: usize = 1 << 20;

/// What an upload that was cut off has left.
#[derive(Debug, Default)]
pub(crate) struct SentBefore {
    /// Files that are there, and their bytes.
    files: BTreeMap<String, u64>,
    /// Parts of others.
    ledger: Ledger,
}

/// Where files are sent to.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) place: Place,
    pub(crate) epoch: u64,
    pub(crate) before: &'a SentBefore,
}

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
    /// What was cut off continues under the same epoch: files and parts of large ones that were sent are
    /// not sent again.
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
        let before = self.sent_before(fence, &missing).await?;
        fence.may_have_sent = true;
        let into = Target { place: shard.into(), epoch, before: &before };
        files.extend(self.upload_files(into, missing, &tell).await?);
        self.forget_others(&before.ledger, |_| false).await;
        #[cfg(feature = "mistakes")]
        if super::mistakes::former_owners_upload() {
            self.move_fence(fence).await?;
        }
        let at = fence.position.next();
        let manifest = ColdManifest::uploaded(shard.into(), at, fence.writer, generation, files);
        self.put_manifest(&manifest, (shard, epoch)).await?;
        fence.position = at;
        fence.content = Some(manifest.clone());
        fence.may_have_sent = false;
        self.check_fence(fence).await?;
        Ok(manifest)
    }

    /// What was sent before for a manifest that was never written.
    async fn sent_before(
        &self,
        fence: &ShardFence,
        missing: &[Local],
    ) -> Result<SentBefore, ColdError> {
        let mut before = SentBefore::default();
        let folder = layout::files_of(fence.shard.into(), fence.epoch);
        if let Some(path) = &fence.ledger {
            before.ledger = Ledger::open(path);
            self.forget_others(&before.ledger, |key| key.starts_with(&folder)).await;
        }
        if !fence.may_have_sent || missing.is_empty() {
            return Ok(before);
        }
        let listed = self.calls.list(&folder, None).await?;
        before.files = listed.into_iter().map(|(key, meta)| (key, meta.size)).collect();
        Ok(before)
    }

    /// Has the store forget parts that nothing continues with.
    async fn forget_others(&self, ledger: &Ledger, wanted: impl Fn(&str) -> bool) {
        for (key, begun) in ledger.take_others(wanted) {
            self.calls.forget(&key, &begun).await;
        }
    }

    pub(crate) async fn upload_files(
        &self,
        into: Target<'_>,
        files: Vec<Local>,
        sent: &(impl Fn(u64) + Sync),
    ) -> Result<Vec<(String, ColdFile)>, ColdError> {
        let sending = files.into_iter().map(|local| async move {
            let file = self.upload_file(into, &local, sent).await?;
            Ok::<_, ColdError>((local.name, file))
        });
        let limit = self.calls.limits.files.max(1);
        futures_util::stream::iter(sending).buffer_unordered(limit).try_collect().await
    }

    async fn upload_file(
        &self,
        Target { place, epoch, before }: Target<'_>,
        local: &Local,
        sent: &impl Fn(u64),
    ) -> Result<ColdFile, ColdError> {
        let (path, bytes) = (local.path.clone(), local.bytes);
        let sha256 = blocking(move || hash(&path, bytes)).await?;
        let key = layout::file(place, epoch, &local.name, &sha256);
        let file = ColdFile { key, bytes, sha256 };
        if before.files.get(&file.key) == Some(&bytes) {
            sent(bytes);
            return Ok(file);
        }
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
                let object = Sending { key: &file.key, bytes, ledger: &before.ledger };
                self.calls.send(object, part, sent).await?;
                match self.calls.size(&file.key).await? {
                    Some(there) if there == bytes => {}
                    Some(_) => return Err(other_content(&file.key)),
                    None => {
                        let (action, key) = ("writing", file.key);
                        let reason = "what was sent is not there".to_owned();
                        return Err(ColdError::Unavailable { action, key, reason });
                    }
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
    let entries = fs::read_dir(exported).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries = entries.map_err(ColdError::io("cannot list", exported))?;
    // In the same order wherever the same files are.
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
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

/// Runs short blocking work, where it holds up no other task. A runtime of one thread, such as that
/// of a simulation, does it itself: what happens there must not depend on how fast threads are.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ColdError> + Send + 'static,
) -> Result<T, ColdError> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        let source = std::io::Error::other(error.to_string());
        Err(ColdError::Io { action: "cannot work on", path: PathBuf::from("files"), source })
    })
}

//! Bringing a shard back from cold storage.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use futures_util::{StreamExt, TryStreamExt};

use super::calls::{Part, ranges};
use super::manifest::{ColdFile, ColdManifest};
use super::upload::blocking;
use super::{ColdError, ColdProgress, ColdStorage, hex};

/// Parts of one file that are fetched at a time.
const PARTS: usize = 4;

/// A file that is being written.
struct Writing {
    file: File,
    context: Context,
}

impl ColdStorage {
    /// Writes the files of a manifest into an empty folder. When it returns, every file is what was
    /// uploaded and is on the disk; until then the folder is not to be used.
    ///
    /// # Errors
    /// [`ColdError::Missing`] or [`ColdError::Damaged`] when a file is lost, or what failed.
    pub async fn restore(
        &self,
        manifest: &ColdManifest,
        into: &Path,
        progress: ColdProgress,
    ) -> Result<(), ColdError> {
        self.restore_files(manifest, into, progress, None).await?;
        let (manifest, into) = (manifest.clone(), into.to_owned());
        blocking(move || sync_files(&manifest, &into)).await
    }

    /// As [`ColdStorage::restore`], but goes on without files that are lost, and returns their keys;
    /// and leaves it to the caller to make the files durable (`sync_files`).
    ///
    /// # Errors
    /// What failed, but for [`ColdError::is_lost`].
    pub(crate) async fn restore_available(
        &self,
        manifest: &ColdManifest,
        into: &Path,
        progress: ColdProgress,
    ) -> Result<Vec<String>, ColdError> {
        let lost = Mutex::default();
        self.restore_files(manifest, into, progress, Some(&lost)).await?;
        Ok(lost.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    async fn restore_files(
        &self,
        manifest: &ColdManifest,
        into: &Path,
        progress: ColdProgress,
        lost: Option<&Mutex<Vec<String>>>,
    ) -> Result<(), ColdError> {
        let total = manifest.bytes();
        progress(0, total);
        let done = AtomicU64::new(0);
        let tell = |bytes| progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total);
        let tell = &tell;
        let files: Vec<(PathBuf, ColdFile)> =
            manifest.files().map(|(name, file)| (into.join(name), file.clone())).collect();
        let fetching = files.into_iter().map(|(path, file)| async move {
            match (self.restore_file(&file, &path, tell).await, lost) {
                (Err(error), Some(lost)) if error.is_lost() => {
                    tracing::error!(%error, "a file of a shard is lost");
                    let removed = fs::remove_file(&path);
                    removed.map_err(ColdError::io("cannot remove", path))?;
                    lost.lock().unwrap_or_else(PoisonError::into_inner).push(file.key.clone());
                    Ok(())
                }
                (result, _) => result,
            }
        });
        futures_util::stream::iter(fetching)
            .buffer_unordered(self.calls.limits.files.max(1))
            .try_collect::<()>()
            .await
    }

    /// Fetches a file. It is whole then, and not durable.
    pub(crate) async fn restore_file(
        &self,
        file: &ColdFile,
        path: &Path,
        told: &impl Fn(u64),
    ) -> Result<(), ColdError> {
        let damaged = |detail: String| ColdError::Damaged { key: file.key.clone(), detail };
        let created = path.to_owned();
        let mut writing = blocking(move || {
            let file =
                File::create_new(&created).map_err(ColdError::io("cannot create", created))?;
            Ok(Writing { file, context: Context::new(&SHA256) })
        })
        .await?;
        let fetching = ranges(file.bytes, self.calls.limits.part_bytes).map(|range| async move {
            let wanted = range.end - range.start;
            let part = self.calls.part(&file.key, range).await;
            part.map(|part| (part, wanted))
        });
        let mut parts = futures_util::stream::iter(fetching).buffered(PARTS);
        while let Some(fetched) = parts.next().await {
            let (part, wanted) = match fetched {
                Ok(fetched) => fetched,
                Err(error) => {
                    // Parts that are there count among the calls under way, which the next one waits for.
                    drop(parts);
                    return Err(self.cause(file, error).await);
                }
            };
            if part.bytes.len() as u64 != wanted {
                return Err(damaged(format!("it has fewer than its {} bytes", file.bytes)));
            }
            writing = write(writing, part, path).await?;
            told(wanted);
        }
        drop(parts);
        let fits = hex(writing.context.finish().as_ref()) == file.sha256;
        if fits { Ok(()) } else { Err(damaged("its checksum does not fit".to_owned())) }
    }
}

impl ColdStorage {
    /// Why a part could not be read: an object that is too short has no such part.
    async fn cause(&self, file: &ColdFile, error: ColdError) -> ColdError {
        let ColdError::Unavailable { .. } = error else { return error };
        match self.calls.size(&file.key).await {
            Ok(Some(size)) if size != file.bytes => ColdError::Damaged {
                key: file.key.clone(),
                detail: format!("it has {size} bytes, not {}", file.bytes),
            },
            _ => error,
        }
    }
}

async fn write(mut writing: Writing, part: Part, path: &Path) -> Result<Writing, ColdError> {
    let path = path.to_owned();
    blocking(move || {
        writing.context.update(&part.bytes);
        writing.file.write_all(&part.bytes).map_err(ColdError::io("cannot write", path))?;
        Ok(writing)
    })
    .await
}

/// Makes the files of a manifest durable that are in a folder; some may be gone from there by now.
pub(crate) fn sync_files(manifest: &ColdManifest, folder: &Path) -> Result<(), ColdError> {
    for (name, _) in manifest.files() {
        let path = folder.join(name);
        match File::open(&path).and_then(|file| file.sync_all()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(ColdError::io("cannot sync", path)(error));
            }
            _ => {}
        }
    }
    sync_folder(folder)
}

/// Makes names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), ColdError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(ColdError::io("cannot sync", folder))
}

/// Makes an empty folder, whatever was there.
pub(crate) fn empty_folder(folder: &Path) -> Result<(), ColdError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(ColdError::io("cannot remove", folder)(error));
        }
        _ => {}
    }
    fs::create_dir_all(folder).map_err(ColdError::io("cannot create", folder))
}

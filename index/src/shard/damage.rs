//! Damage: files whose bytes do not fit are set aside, and what they held is indexed anew.

use std::fs;
use std::path::{Path, PathBuf};

use super::snapshot::Broken;
use super::{Shard, discard, lock};
use crate::IndexError;
use crate::document::RepositoryId;

/// Folder for files that were found damaged.
const QUARANTINE: &str = "quarantine";
/// Files kept there: the newest, for a person to look at.
const QUARANTINED_FILES: usize = 16;

/// A file that was damaged and set aside.
#[derive(Clone, Debug)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What does not fit.
    pub detail: String,
    /// Repositories that must be indexed anew.
    pub repositories: Vec<RepositoryId>,
}

impl Shard {
    /// Files that were set aside since the last call.
    pub fn take_damage(&self) -> Vec<Damage> {
        std::mem::take(&mut *lock(&self.damage))
    }

    /// Sets the segment aside that an error names, if it names one; searches call this.
    pub(crate) fn report(&self, error: &IndexError) {
        let IndexError::Damaged { path, .. } = error else { return };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let snapshot = self.snapshot();
        let entry =
            snapshot.manifest.segments.iter().find(|entry| entry.files().any(|file| file == name));
        if let Some(entry) = entry {
            let detail = IndexError::Damaged { path: path.clone(), detail: error.to_string() };
            let broken = [Broken { entry: entry.clone(), error: detail }];
            if let Err(error) = self.set_aside(&broken) {
                tracing::error!(%error, "a damaged segment could not be set aside");
            }
        }
    }

    /// Reads every page of every segment, and sets aside what is damaged.
    ///
    /// # Errors
    /// When files cannot be read at all, or a damaged one cannot be set aside.
    pub fn scrub(&self) -> Result<(), IndexError> {
        for loaded in &self.snapshot().segments {
            let symbols = loaded.symbols.as_ref().map_or(Ok(()), |symbols| symbols.scrub());
            match loaded.segment.file().scrub().and(symbols) {
                Err(error @ IndexError::Damaged { .. }) => self.report(&error),
                other => other?,
            }
        }
        Ok(())
    }

    /// Takes broken segments out of the manifest and moves their files away. Their repositories
    /// are marked: answers say that they are not complete until they are indexed anew.
    pub(super) fn set_aside(&self, broken: &[Broken]) -> Result<(), IndexError> {
        let _commit = lock(&self.commit);
        let snapshot = self.snapshot();
        let mut manifest = snapshot.manifest.clone();
        let mut damages = Vec::new();
        for Broken { entry, error } in broken {
            if !manifest.segments.iter().any(|known| known.id == entry.id) {
                continue;
            }
            manifest.segments.retain(|known| known.id != entry.id);
            let repositories = match snapshot.segment(entry.id) {
                Some(loaded) => loaded.segment.meta.repositories.clone(),
                // It could not be opened: nobody knows whose documents it held.
                None => manifest.repositories.keys().copied().collect(),
            };
            for id in &repositories {
                if let Some(state) = manifest.repositories.get_mut(id) {
                    state.damaged = true;
                }
            }
            tracing::error!(%error, segment = entry.id, "a damaged segment was set aside");
            damages.push(Damage {
                path: self.folder.join(entry.segment_file()),
                detail: error.to_string(),
                repositories,
            });
        }
        let quarantine = self.folder.join(QUARANTINE);
        fs::create_dir_all(&quarantine).map_err(IndexError::io("cannot create", &quarantine))?;
        for name in broken.iter().flat_map(|broken| broken.entry.files()) {
            // The commit removes the name; a second one keeps the bytes for a person to look at.
            let _ = fs::hard_link(self.folder.join(&name), quarantine.join(&name));
        }
        prune(&quarantine);
        self.commit_manifest(manifest)?;
        for name in broken.iter().flat_map(|broken| broken.entry.files()) {
            discard(&self.folder.join(name));
        }
        lock(&self.damage).extend(damages);
        Ok(())
    }
}

/// Keeps the newest files of the quarantine.
fn prune(quarantine: &Path) {
    let Ok(entries) = fs::read_dir(quarantine) else { return };
    let mut files: Vec<_> = entries
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort();
    let extra = files.len().saturating_sub(QUARANTINED_FILES);
    files.into_iter().take(extra).for_each(|(_, path)| discard(&path));
}

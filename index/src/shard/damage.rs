//! Damage: files whose bytes do not fit are set aside, and what they held is indexed anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::live::Live;
use super::manifest::{MANIFEST, Manifest, SegmentEntry, sync_folder};
use super::snapshot::{Broken, Snapshot, is_damage};
use super::{Shard, discard, lock, now_ms};
use crate::IndexError;
use crate::document::RepositoryId;
use crate::segment::Segment;
use crate::segment::file::SectionFile;

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

    /// Sets the segment aside that an error names, if it names one of this shard; searches call this.
    pub(crate) fn report(&self, error: &IndexError) {
        let IndexError::Damaged { path, detail } = error else { return };
        if path.parent() != Some(&self.folder) {
            return;
        }
        // Whoever has the folder now finds it too.
        let Ok(_writing) = self.writing() else { return };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let snapshot = self.snapshot();
        let entry =
            snapshot.manifest.segments.iter().find(|entry| entry.files().any(|file| file == name));
        if let Some(entry) = entry {
            let error = IndexError::Damaged { path: path.clone(), detail: detail.clone() };
            if let Err(error) = self.set_aside(&[Broken { entry: entry.clone(), error }]) {
                tracing::error!(%error, "a damaged segment could not be set aside");
            }
        }
    }

    /// Reads every file whole, and sets aside what is damaged. A damaged manifest is written again,
    /// since what it says is in memory.
    ///
    /// # Errors
    /// When files cannot be read at all, a damaged one cannot be set aside, or the shard is closed.
    pub fn scrub(&self) -> Result<(), IndexError> {
        let _writing = self.writing()?;
        let snapshot = self.snapshot();
        for name in snapshot.manifest.segments.iter().flat_map(SegmentEntry::files) {
            if self.gate.is_closed() {
                return Err(self.closed());
            }
            let path = self.folder.join(&name);
            match SectionFile::scrub(&path) {
                // Updates and merges remove files while others are being read.
                Err(error) if is_damage(&error) && self.snapshot().manifest.names(&name) => {
                    self.report(&IndexError::Damaged { path, detail: error.to_string() });
                }
                Err(error) if !is_damage(&error) => return Err(error),
                _ => {}
            }
        }
        self.scrub_manifest()
    }

    fn scrub_manifest(&self) -> Result<(), IndexError> {
        let _commit = lock(&self.commit);
        let manifest = &self.snapshot().manifest;
        if manifest.generation == 0 {
            // Nothing was ever committed.
            return Ok(());
        }
        let detail = match Manifest::read(&self.folder) {
            Ok(found) if found.generation == manifest.generation => return Ok(()),
            Ok(found) => {
                format!("it is of commit {}, not {}", found.generation, manifest.generation)
            }
            Err(error) if is_damage(&error) => error.to_string(),
            Err(error) => return Err(error),
        };
        tracing::error!(detail, "a damaged manifest is written again");
        manifest.write(&self.folder)?;
        sync_folder(&self.folder)?;
        let path = self.folder.join(MANIFEST);
        lock(&self.damage).push(Damage { path, detail, repositories: Vec::new() });
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
            let mut repositories = self.repositories_in(&snapshot, entry);
            repositories.retain(|id| manifest.repositories.contains_key(id));
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
        for name in broken.iter().flat_map(|broken| broken.entry.files()) {
            quarantine(&self.folder, &name)?;
        }
        self.commit_manifest(manifest)?;
        lock(&self.damage).extend(damages);
        Ok(())
    }

    /// Repositories that lose documents with a segment, as far as its files can still tell; all of
    /// them where nothing can.
    fn repositories_in(&self, snapshot: &Snapshot, entry: &SegmentEntry) -> Vec<RepositoryId> {
        if let Some(loaded) = snapshot.segment(entry.id) {
            return loaded.live.repositories();
        }
        let live = Live::read(&self.folder.join(entry.live_file()));
        let segment = || Segment::open(&self.folder.join(entry.segment_file()));
        match live {
            Ok(live) => live.repositories(),
            Err(_) => match segment() {
                Ok(segment) => segment.meta.repositories,
                Err(_) => snapshot.manifest.repositories.keys().copied().collect(),
            },
        }
    }
}

/// Starts a shard anew whose manifest is damaged. The repositories that it held are noted: answers
/// say that they are not complete until each is indexed anew or removed.
pub(super) fn without_manifest(
    folder: &Path,
    error: &IndexError,
) -> Result<(Manifest, Damage), IndexError> {
    tracing::error!(%error, "a damaged manifest was set aside; its shard starts anew");
    let lost = repositories_of_files(folder)?;
    quarantine(folder, MANIFEST)?;
    // No commit or file of the old manifest, which cursors and copies may name, has such a number.
    let number = now_ms();
    let manifest =
        Manifest { generation: number, next_id: number, lost: lost.clone(), ..Manifest::default() };
    manifest.write(folder)?;
    sync_folder(folder)?;
    let repositories = lost.into_iter().collect();
    let path = folder.join(MANIFEST);
    Ok((manifest, Damage { path, detail: error.to_string(), repositories }))
}

/// Repositories that the files of a shard's folder name.
fn repositories_of_files(folder: &Path) -> Result<BTreeSet<RepositoryId>, IndexError> {
    let mut found = BTreeSet::new();
    let entries = fs::read_dir(folder).map_err(IndexError::io("cannot list", folder))?;
    for entry in entries {
        let path = entry.map_err(IndexError::io("cannot list", folder))?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("live") => {
                found.extend(Live::read(&path).map(|live| live.repositories()).unwrap_or_default());
            }
            Some("segment") => {
                let segment = Segment::open(&path).map(|segment| segment.meta.repositories);
                found.extend(segment.unwrap_or_default());
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Gives a file a second name in the quarantine, for a person to look at.
fn quarantine(folder: &Path, name: &str) -> Result<(), IndexError> {
    let quarantine = folder.join(QUARANTINE);
    fs::create_dir_all(&quarantine).map_err(IndexError::io("cannot create", &quarantine))?;
    let _ = fs::remove_file(quarantine.join(name));
    let _ = fs::hard_link(folder.join(name), quarantine.join(name));
    prune(&quarantine);
    Ok(())
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

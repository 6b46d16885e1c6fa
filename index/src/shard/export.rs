//! A commit of a shard as files of their own, to be copied elsewhere while the shard goes on.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::history::HistoryEntry;
use super::manifest::{MANIFEST, Manifest};
use super::{Shard, lock};
use crate::IndexError;

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Number of the commit.
    pub generation: u64,
    /// The files, [`MANIFEST_FILE`](crate::MANIFEST_FILE) last; none before the first commit.
    pub files: Vec<ExportedFile>,
}

/// A file of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedFile {
    /// Name in the folder. But for the manifest's, a name stands for the same bytes in every commit
    /// of the shard that this folder makes.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

impl Shard {
    /// Gives the files of the newest commit second names in a folder, which is made and must not
    /// have anything in it: it takes no space until the shard lets go of them, and no time that
    /// depends on their size. A shard's folder with exactly these files opens as that commit. The
    /// folder is to be on the shard's file system; who calls this removes it.
    ///
    /// # Errors
    /// [`IndexError::Closed`], or when a file cannot be linked: the folder is removed then.
    pub fn export(&self, into: &Path) -> Result<Exported, IndexError> {
        let _writing = self.writing()?;
        empty_folder(into)?;
        let exported = {
            // What a commit no longer names is removed under this lock.
            let _commit = lock(&self.commit);
            self.link_all(&self.snapshot().manifest, into)
        };
        if let Err(error) = &exported {
            let _ = fs::remove_dir_all(into);
            // A file that is lost is set aside, as others are that a search would miss.
            self.report(error);
        }
        exported
    }

    fn link_all(&self, manifest: &Manifest, into: &Path) -> Result<Exported, IndexError> {
        let mut files = Vec::new();
        for entry in &manifest.segments {
            for name in entry.files() {
                files.push(self.link(name, into)?);
            }
        }
        let histories = manifest.repositories.values().filter_map(|state| state.history.as_ref());
        for name in histories.map(HistoryEntry::file) {
            match self.link(name, into) {
                Ok(file) => files.push(file),
                // The shard does without, until it is made again.
                Err(IndexError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if manifest.generation > 0 {
            files.push(self.link(MANIFEST.to_owned(), into)?);
        }
        Ok(Exported { generation: manifest.generation, files })
    }

    fn link(&self, name: String, into: &Path) -> Result<ExportedFile, IndexError> {
        let (from, to) = (self.folder.join(&name), into.join(&name));
        let linked = fs::hard_link(&from, &to).and_then(|()| fs::metadata(&to));
        match linked {
            Ok(metadata) => Ok(ExportedFile { name, bytes: metadata.len() }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(IndexError::Damaged { path: from, detail: "it is gone".to_owned() })
            }
            Err(error) => Err(IndexError::io("cannot link", from)(error)),
        }
    }
}

fn empty_folder(folder: &Path) -> Result<(), IndexError> {
    fs::create_dir_all(folder).map_err(IndexError::io("cannot create", folder))?;
    let mut entries = fs::read_dir(folder).map_err(IndexError::io("cannot list", folder))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => {
            Err(IndexError::io("cannot export into", folder)(ErrorKind::DirectoryNotEmpty.into()))
        }
    }
}

//! A shard's index on a node's disk: real files that `ColdStorage` uploads and restores, holding which
//! documents are indexed in place of their contents.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aeterna_index::MANIFEST_FILE;
use aeterna_repo::cold_storage::{ColdFile, ColdManifest, Position};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::catalog::Document;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Manifest {
    generation: u64,
    /// Made anew with each commit, as the real one's is: the next owner of a shard counts the same numbers, for
    /// other contents.
    stamp: u64,
    segments: Vec<String>,
}

/// An index that is open.
#[derive(Clone, Debug, Default)]
pub struct Index {
    folder: PathBuf,
    manifest: Manifest,
    documents: BTreeSet<Document>,
}

impl Index {
    /// What a folder holds; an empty index where there is none.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let mut index = Self { folder: folder.to_owned(), ..Self::default() };
        match fs::read(folder.join(MANIFEST_FILE)) {
            Ok(text) => index.manifest = serde_json::from_slice(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(index),
            Err(error) => return Err(error),
        }
        for segment in &index.manifest.segments {
            let documents: Vec<Document> =
                serde_json::from_slice(&fs::read(folder.join(segment))?)?;
            index.documents.extend(documents);
        }
        Ok(index)
    }

    /// Grows with each commit.
    pub fn generation(&self) -> u64 {
        self.manifest.generation
    }

    /// What is indexed.
    pub fn documents(&self) -> &BTreeSet<Document> {
        &self.documents
    }

    /// Adds documents: a segment, and then the manifest that names it.
    ///
    /// # Errors
    /// When it is not open yet, which only a known mistake does, or a file cannot be written.
    pub fn commit(&mut self, documents: &[Document]) -> io::Result<()> {
        if self.folder.as_os_str().is_empty() {
            return Err(io::Error::other("the index is not open yet"));
        }
        let mut manifest = self.manifest.clone();
        manifest.generation += 1;
        (manifest.stamp, _) = Uuid::new_v4().as_u64_pair();
        let segment = format!("{:010}.segment", manifest.generation);
        fs::create_dir_all(&self.folder)?;
        fs::write(self.folder.join(&segment), serde_json::to_vec(documents)?)?;
        manifest.segments.push(segment);
        let written = self.folder.join("next");
        fs::write(&written, serde_json::to_vec(&manifest)?)?;
        fs::rename(&written, self.folder.join(MANIFEST_FILE))?;
        self.manifest = manifest;
        self.documents.extend(documents);
        Ok(())
    }

    /// Puts the files of the last commit into a folder of their own.
    pub fn export(&self, into: &Path) -> io::Result<()> {
        empty(into)?;
        let names = self.manifest.segments.iter().map(String::as_str).chain([MANIFEST_FILE]);
        for name in names {
            fs::hard_link(self.folder.join(name), into.join(name))?;
        }
        Ok(())
    }
}

/// Makes an empty folder, whatever was there.
pub fn empty(folder: &Path) -> io::Result<()> {
    remove(folder)?;
    fs::create_dir_all(folder)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The places of a shard on a node's disk, as `repo::manager` has them.
pub struct Places {
    /// The index.
    pub folder: PathBuf,
    /// What is being restored.
    pub restoring: PathBuf,
    /// What is being uploaded.
    pub exported: PathBuf,
    origin: PathBuf,
}

/// What a folder descends from: the upload that it was equal to, and has gone on from.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Origin(Option<Position>);

impl Places {
    /// On a disk.
    pub fn new(disk: &Path, shard: u32) -> Self {
        let beside = |what: &str| disk.join(format!("{shard:04}.{what}"));
        Self {
            folder: disk.join(format!("{shard:04}")),
            restoring: beside("restoring"),
            exported: beside("exported"),
            origin: beside("origin"),
        }
    }

    /// Says what the folder goes on from.
    pub fn write_origin(&self, content: Option<&ColdManifest>) -> io::Result<()> {
        let origin = Origin(content.map(|content| content.origin));
        fs::write(&self.origin, serde_json::to_vec(&origin)?)
    }

    fn origin(&self) -> Option<Origin> {
        serde_json::from_slice(&fs::read(&self.origin).ok()?).ok()
    }

    /// Whether the folder holds what cold storage has, or has gone on from it.
    pub fn is_current(&self, content: Option<&ColdManifest>) -> bool {
        let Some(origin) = self.origin() else { return false };
        let goes_on = origin == Origin(content.map(|content| content.origin));
        // Else an upload was cut off before it was written down here.
        self.folder.join(MANIFEST_FILE).exists()
            && (goes_on || content.is_some_and(|it| self.is_same(it)))
    }

    /// Whether the folder holds what cold storage has, and nothing more.
    pub fn is_copy(&self, content: &ColdManifest) -> bool {
        self.origin().is_some() && self.is_same(content)
    }

    fn is_same(&self, content: &ColdManifest) -> bool {
        let there = content.files.as_ref().and_then(|files| files.get(MANIFEST_FILE));
        there.is_some_and(|there| there.is_at(&self.folder.join(MANIFEST_FILE)))
    }

    /// Empties the folder in which a newer content is put together, and gives each file a second name there that
    /// the folder has of it already; what is left is to be fetched. What the folder holds is known, or is not.
    pub fn link(
        &self,
        known: Option<&ColdManifest>,
        content: &ColdManifest,
    ) -> io::Result<ColdManifest> {
        empty(&self.restoring)?;
        let known = known.and_then(|known| known.files.as_ref());
        let is_here = |name: &str, file: &ColdFile| match known {
            Some(files) => {
                let before = files.get(name).is_some_and(|before| before.sha256 == file.sha256);
                before && self.folder.join(name).exists()
            }
            None => file.is_at(&self.folder.join(name)),
        };
        let mut here = BTreeSet::new();
        for (name, _) in content.files().filter(|(name, file)| is_here(name, file)) {
            fs::hard_link(self.folder.join(name), self.restoring.join(name))?;
            here.insert(name.as_str());
        }
        Ok(content.only(|name| !here.contains(name)))
    }

    /// Puts what was restored in the folder's place, or nothing. Until it has an origin, it is not trusted.
    pub fn install(&self, is_restored: bool) -> io::Result<()> {
        match fs::remove_file(&self.origin) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        remove(&self.folder)?;
        if is_restored { fs::rename(&self.restoring, &self.folder) } else { Ok(()) }
    }

    /// Puts what was put together in the place of a copy.
    pub fn exchange(&self, content: &ColdManifest) -> io::Result<()> {
        self.install(true)?;
        self.write_origin(Some(content))
    }
}

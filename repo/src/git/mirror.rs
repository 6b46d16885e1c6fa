//! A bare mirror on disk.
//!
//! Objects are written before the refs that need them, and `packed-refs` (the only place that refs
//! are kept in) is replaced in one step: a mirror is sound at every moment.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use gix::hash::Kind as HashKind;

use super::GitError;
use super::objects::ObjectDb;
use super::refs::RefSnapshot;

/// A folder with the objects and refs of a remote.
#[derive(Clone, Debug)]
pub struct Mirror {
    path: PathBuf,
    hash: HashKind,
}

impl Mirror {
    /// Makes an empty mirror in a folder that does not exist.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn create(path: &Path, hash: HashKind) -> Result<Self, GitError> {
        for folder in ["objects/pack", "objects/info", "refs"] {
            let folder = path.join(folder);
            fs::create_dir_all(&folder).map_err(GitError::io("cannot create", &folder))?;
        }
        let config = match hash {
            HashKind::Sha256 => {
                "[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tobjectFormat = sha256\n"
            }
            _ => "[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
        };
        let mirror = Self { path: path.to_owned(), hash };
        write_durably(&path.join("config"), config.as_bytes())?;
        mirror.write_refs(&RefSnapshot::default())?;
        Ok(mirror)
    }

    /// Makes a mirror in a folder that does not exist, still without objects, in the format of the
    /// one that some small files are of; gives the refs that it is to have with them.
    pub(crate) fn create_like(path: &Path, small: &Path) -> Result<(Self, RefSnapshot), GitError> {
        let read = |name: &str| {
            let path = small.join(name);
            fs::read(&path).map_err(GitError::io("cannot read", path))
        };
        // Of its configuration nothing but the object format is believed.
        let is_sha256 = read("config")?.windows(6).any(|word| word == b"sha256");
        let hash = if is_sha256 { HashKind::Sha256 } else { HashKind::Sha1 };
        let mirror = Self::create(path, hash)?;
        if small.join("shallow").exists() {
            write_durably(&path.join("shallow"), &read("shallow")?)?;
        }
        Ok((mirror, RefSnapshot::parse(&read("packed-refs")?, &read("HEAD")?)))
    }

    /// Makes its objects durable, whoever wrote them.
    pub(crate) fn sync(&self) -> Result<(), GitError> {
        let folder = self.objects_path().join("pack");
        for entry in fs::read_dir(&folder).map_err(GitError::io("cannot list", &folder))? {
            let path = entry.map_err(GitError::io("cannot list", &folder))?.path();
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(GitError::io("cannot sync", path))?;
        }
        sync_folder(&folder)?;
        sync_folder(&self.path)
    }

    /// The mirror in a folder; `None` where there is none.
    ///
    /// # Errors
    /// When the folder holds something else, or cannot be read.
    pub fn open(path: &Path) -> Result<Option<Self>, GitError> {
        let config = path.join("config");
        let text = match fs::read_to_string(&config) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(GitError::io("cannot read", config)(error)),
        };
        let hash = if text.contains("sha256") { HashKind::Sha256 } else { HashKind::Sha1 };
        if !path.join("objects/pack").is_dir() {
            let detail = "it has no objects".to_owned();
            return Err(GitError::Mirror { path: path.to_owned(), detail });
        }
        Ok(Some(Self { path: path.to_owned(), hash }))
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its object format.
    pub fn hash(&self) -> HashKind {
        self.hash
    }

    pub(crate) fn objects_path(&self) -> PathBuf {
        self.path.join("objects")
    }

    /// Opens its objects; a reader of them caches up to `cache_bytes` of delta bases.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn objects(&self, cache_bytes: usize) -> Result<ObjectDb, GitError> {
        ObjectDb::open(&self.objects_path(), self.hash, cache_bytes)
    }

    /// The remote's refs as of the last fetch.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn refs(&self) -> Result<RefSnapshot, GitError> {
        let read = |name: &str| {
            let path = self.path.join(name);
            fs::read(&path).map_err(GitError::io("cannot read", path))
        };
        Ok(RefSnapshot::parse(&read("packed-refs")?, &read("HEAD")?))
    }

    /// Replaces the refs.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_refs(&self, refs: &RefSnapshot) -> Result<(), GitError> {
        let head = match (&refs.head_branch, refs.head) {
            (Some(branch), _) => [b"ref: ".as_slice(), branch, b"\n"].concat(),
            (None, Some(id)) => format!("{id}\n").into_bytes(),
            (None, None) => b"ref: refs/heads/main\n".to_vec(),
        };
        write_durably(&self.path.join("packed-refs"), &refs.packed())?;
        write_durably(&self.path.join("HEAD"), &head)?;
        self.remove_loose_refs()
    }

    /// A fetch may leave refs beside `packed-refs`; those would win over it.
    fn remove_loose_refs(&self) -> Result<(), GitError> {
        let refs = self.path.join("refs");
        let entries = fs::read_dir(&refs).map_err(GitError::io("cannot list", &refs))?;
        for entry in entries {
            let path = entry.map_err(GitError::io("cannot list", &refs))?.path();
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(GitError::io("cannot remove", path))?;
        }
        Ok(())
    }

    /// Removes what a fetch that was cut off left behind.
    ///
    /// # Errors
    /// When a folder cannot be listed or a file not removed.
    pub fn remove_leftovers(&self) -> Result<(), GitError> {
        let folder = self.objects_path().join("pack");
        for entry in fs::read_dir(&folder).map_err(GitError::io("cannot list", &folder))? {
            let path = entry.map_err(GitError::io("cannot list", &folder))?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            let known = match extension {
                Some("pack") => path.with_extension("idx").exists(),
                Some("idx") => path.with_extension("pack").exists(),
                _ => false,
            };
            if !known {
                fs::remove_file(&path).map_err(GitError::io("cannot remove", path))?;
            }
        }
        Ok(())
    }

    /// Bytes of its files.
    pub fn size(&self) -> u64 {
        folder_size(&self.path)
    }
}

/// Bytes of the files below a folder; what cannot be read counts nothing.
fn folder_size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Writes a file so that after a crash it holds the old bytes or the new ones.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), GitError> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary).map_err(GitError::io("cannot create", &temporary))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(GitError::io("cannot write", &temporary))?;
    fs::rename(&temporary, path).map_err(GitError::io("cannot replace", path))?;
    sync_folder(path.parent().unwrap_or(path))
}

/// Makes names that were created or replaced in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), GitError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(GitError::io("cannot sync", folder))
}

//! Reading files and folders of indexed revisions from the mirror.

use aeterna_index::ReadError;
use gix::hash::ObjectId;
use gix::objs::tree::EntryKind;

use super::inner::Inner;
use super::names::{check_path, shortened};
use super::types::{FileContent, TreeEntry, TreeKind};
use crate::ManagerError;
use crate::config::GitConfig;
use crate::git::{GitError, Mirror, ObjectReader, Trees};
use crate::repository::{Repository, Revision};

/// Shortest beginning of a commit's id that stands for it.
const MIN_ABBREVIATION: usize = 7;
/// Names listed in an error.
const NAMES_IN_ERROR: usize = 10;

/// The indexed revision that a user means: a branch or tag, the id of its commit or the first
/// seven or more digits of it, or the default branch where nothing is given.
pub(crate) fn revision<'r>(
    repository: &'r Repository,
    wanted: Option<&str>,
) -> Result<&'r Revision, ManagerError> {
    let revisions = &repository.revisions;
    let found = match wanted {
        None | Some("" | "HEAD") => match &repository.default_branch {
            Some(name) => revisions.iter().find(|revision| &revision.name == name),
            None => revisions.first(),
        },
        Some(wanted) => {
            let abbreviation = wanted.len() >= MIN_ABBREVIATION;
            let lower = wanted.to_ascii_lowercase();
            revisions.iter().find(|revision| revision.name == wanted).or_else(|| {
                revisions.iter().find(|rev| abbreviation && rev.commit.starts_with(&lower))
            })
        }
    };
    found.ok_or_else(|| {
        let mut names: Vec<&str> =
            revisions.iter().take(NAMES_IN_ERROR).map(|revision| revision.name.as_str()).collect();
        if revisions.len() > NAMES_IN_ERROR {
            names.push("…");
        }
        let indexed = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        ManagerError::RevisionNotIndexed {
            repository: repository.name.clone(),
            revision: shortened(wanted.unwrap_or("HEAD")),
            indexed,
        }
    })
}

/// What a reading needs; made before the thread that reads.
pub(crate) struct Reading {
    repository: Repository,
    revision: Revision,
    mirror: std::path::PathBuf,
    git: GitConfig,
    path: Vec<u8>,
}

impl Reading {
    pub(crate) fn new(
        inner: &Inner,
        repository: Repository,
        wanted: Option<&str>,
        path: &[u8],
    ) -> Result<Self, ManagerError> {
        let path = check_path(path)?.to_vec();
        let revision = revision(&repository, wanted)?.clone();
        let mirror = inner.mirror_path(repository.id);
        Ok(Self { repository, revision, mirror, git: inner.config.git.clone(), path })
    }

    fn shown(&self) -> String {
        shortened(&String::from_utf8_lossy(&self.path))
    }

    fn with_objects<T>(
        &self,
        read: impl FnOnce(&mut ObjectReader<'_>, ObjectId) -> Result<T, ManagerError>,
    ) -> Result<T, ManagerError> {
        let Some(mirror) = Mirror::open(&self.mirror)? else {
            return Err(ManagerError::NotCloned {
                name: self.repository.name.clone(),
                state: self.repository.state,
            });
        };
        let commit = ObjectId::from_hex(self.revision.commit.as_bytes())
            .map_err(|error| unreadable(&self.revision.commit, error))?;
        let objects = mirror.objects(1)?;
        let mut reader = objects.reader();
        let never = || false;
        let root = Trees::new(&mut reader, self.git.max_files, &never).tree_of(&commit)?;
        read(&mut reader, root)
    }

    fn entry(
        &self,
        reader: &mut ObjectReader<'_>,
        root: ObjectId,
    ) -> Result<(EntryKind, ObjectId), ManagerError> {
        let never = || false;
        let found = Trees::new(reader, self.git.max_files, &never).lookup(&root, &self.path)?;
        found.ok_or_else(|| ManagerError::PathNotFound {
            repository: self.repository.name.clone(),
            revision: self.revision.name.clone(),
            path: self.shown(),
        })
    }

    /// The bytes of the file at the path.
    pub(crate) fn file(&self) -> Result<FileContent, ManagerError> {
        self.with_objects(|reader, root| {
            let (kind, id) = self.entry(reader, root)?;
            let kind = tree_kind(kind);
            match kind {
                TreeKind::File | TreeKind::Executable | TreeKind::Symlink => {}
                TreeKind::Folder | TreeKind::Submodule => {
                    return Err(ManagerError::NotAFile {
                        path: self.shown(),
                        found: article(kind),
                    });
                }
            }
            let mut content = Vec::new();
            match reader.read(&id, self.git.max_file_bytes, &mut content) {
                Ok(_) => {}
                Err(ReadError::TooLarge(size)) => {
                    let limit = self.git.max_file_bytes;
                    return Err(ManagerError::FileTooLarge { path: self.shown(), size, limit });
                }
                Err(error) => return Err(unreadable(&id.to_string(), error)),
            }
            Ok(FileContent {
                path: self.path.clone(),
                revision: self.revision.name.clone(),
                commit: self.revision.commit.clone(),
                object: id.to_string(),
                kind,
                content,
            })
        })
    }

    /// The entries of the folder at the path.
    pub(crate) fn tree(&self) -> Result<Vec<TreeEntry>, ManagerError> {
        self.with_objects(|reader, root| {
            let (kind, id) = self.entry(reader, root)?;
            let kind = tree_kind(kind);
            if kind != TreeKind::Folder {
                let found = article(kind);
                return Err(ManagerError::NotAFolder { path: self.shown(), found });
            }
            let never = || false;
            let children = Trees::new(reader, self.git.max_files, &never).children(&id)?;
            let entries = children.into_iter().map(|(name, kind, id)| {
                let mut path = self.path.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(&name);
                let kind = tree_kind(kind);
                let size = match kind {
                    TreeKind::Folder | TreeKind::Submodule => None,
                    TreeKind::File | TreeKind::Executable | TreeKind::Symlink => {
                        reader.header(&id).ok().map(|(_, size)| size)
                    }
                };
                TreeEntry { name, path, kind, object: id.to_string(), size }
            });
            Ok(entries.collect())
        })
    }
}

fn unreadable(id: &str, detail: impl ToString) -> ManagerError {
    GitError::Object { id: id.to_owned(), detail: detail.to_string() }.into()
}

fn tree_kind(kind: EntryKind) -> TreeKind {
    match kind {
        EntryKind::Tree => TreeKind::Folder,
        EntryKind::Blob => TreeKind::File,
        EntryKind::BlobExecutable => TreeKind::Executable,
        EntryKind::Link => TreeKind::Symlink,
        EntryKind::Commit => TreeKind::Submodule,
    }
}

fn article(kind: TreeKind) -> &'static str {
    match kind {
        TreeKind::Folder => "a folder",
        TreeKind::File | TreeKind::Executable => "a file",
        TreeKind::Symlink => "a symbolic link",
        TreeKind::Submodule => "a submodule",
    }
}

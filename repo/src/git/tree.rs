//! Listing what a commit holds, and what differs between two commits.

use std::collections::HashSet;

use aeterna_index::languages::Attributes;
use aeterna_index::{ContentId, FileEntry, FileKind, PathAttributes, ReadError};
use gix::hash::{ObjectId, oid};
use gix::objs::tree::EntryKind;
use gix::objs::{CommitRefIter, Kind, TagRefIter, TreeRefIter};

use super::GitError;
use super::objects::{ObjectReader, content_id};

/// Bytes of a tree, commit or tag object that are read at most.
const MAX_STRUCTURE: u64 = 1 << 30;
/// Bytes of a `.gitattributes` that are read at most.
const MAX_ATTRIBUTES: u64 = 1 << 20;
/// Tags that may point to one another before a commit.
const MAX_TAG_DEPTH: usize = 16;
/// Bytes of a path; a hostile repository can nest folders without end.
const MAX_PATH: usize = 1 << 16;

/// The files of a commit.
#[derive(Debug, Default)]
pub struct Listing {
    /// Every file, link and submodule. A folder whose tree object cannot be read is an entry of
    /// its own, whose content then is missing or damaged.
    pub files: Vec<FileEntry>,
    /// Entries that no path can name (an empty name, or one with `/` or NUL) and folders nested
    /// too deeply.
    pub unusable: u64,
}

/// What differs between two commits. A changed file is in both lists.
#[derive(Debug, Default)]
pub struct Difference {
    /// Paths with the content that they had.
    pub removed: Vec<(Vec<u8>, ContentId)>,
    /// Paths with the content that they have now.
    pub added: Vec<FileEntry>,
}

/// One entry of a tree object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: EntryKind,
    pub(super) id: ObjectId,
}

impl Entry {
    /// Executable files are files.
    pub(super) fn same_content(&self, other: &Self) -> bool {
        self.id == other.id && file_kind(self.kind) == file_kind(other.kind)
    }
}

/// Entries by name.
pub(super) type Entries = Vec<(Vec<u8>, Entry)>;

/// Lists and compares trees through a reader.
pub struct Trees<'r, 'a> {
    reader: &'r mut ObjectReader<'a>,
    buffer: Vec<u8>,
    max_files: usize,
    stop: &'r dyn Fn() -> bool,
    unusable: u64,
}

impl<'r, 'a> Trees<'r, 'a> {
    /// Lists at most `max_files` entries, and stops when `stop` says so.
    pub fn new(
        reader: &'r mut ObjectReader<'a>,
        max_files: usize,
        stop: &'r dyn Fn() -> bool,
    ) -> Self {
        Self { reader, buffer: Vec::new(), max_files, stop, unusable: 0 }
    }

    /// The commit that `id` is or, through tags, points to; `None` where it is a tree or blob.
    ///
    /// # Errors
    /// When an object on the way cannot be read.
    pub fn peel(&mut self, mut id: ObjectId) -> Result<Option<ObjectId>, GitError> {
        for _ in 0..MAX_TAG_DEPTH {
            let kind = self.structure(&id)?;
            match kind {
                Kind::Commit => return Ok(Some(id)),
                Kind::Tree | Kind::Blob => return Ok(None),
                Kind::Tag => {
                    id = TagRefIter::from_bytes(&self.buffer, id.kind())
                        .target_id()
                        .map_err(|error| unreadable(&id, error))?;
                }
            }
        }
        Ok(None)
    }

    /// The tree of a commit.
    ///
    /// # Errors
    /// When the commit cannot be read.
    pub fn tree_of(&mut self, commit: &oid) -> Result<ObjectId, GitError> {
        match self.structure(commit)? {
            Kind::Commit => CommitRefIter::from_bytes(&self.buffer, commit.kind())
                .tree_id()
                .map_err(|error| unreadable(commit, error)),
            kind => Err(unreadable(commit, format!("it is a {kind}, where a commit should be"))),
        }
    }

    /// An object that is no content; `None` when it is not there, or damaged.
    pub(super) fn object(&mut self, id: &oid) -> Result<Option<(Kind, &[u8])>, GitError> {
        if (self.stop)() {
            return Err(GitError::Cancelled);
        }
        match self.reader.read(id, MAX_STRUCTURE, &mut self.buffer) {
            Ok(kind) => Ok(Some((kind, self.buffer.as_slice()))),
            Err(ReadError::Missing | ReadError::Corrupt(_) | ReadError::TooLarge(_)) => Ok(None),
            Err(error @ ReadError::Failed(_)) => Err(unreadable(id, error)),
        }
    }

    fn structure(&mut self, id: &oid) -> Result<Kind, GitError> {
        self.reader.read(id, MAX_STRUCTURE, &mut self.buffer).map_err(|error| unreadable(id, error))
    }

    /// Every file of a commit.
    ///
    /// # Errors
    /// When the commit itself cannot be read, there are too many files, or on a stop.
    pub fn list(&mut self, commit: &oid) -> Result<Listing, GitError> {
        let root = Entry { kind: EntryKind::Tree, id: self.tree_of(commit)? };
        self.unusable = 0;
        let mut files = Vec::new();
        self.expand(Vec::new(), root, &mut files)?;
        let rules = self.attribute_rules(&files);
        attach(&mut files, &rules);
        Ok(Listing { files, unusable: self.unusable })
    }

    /// What differs between two commits; `None` when only a whole listing will do, as the old
    /// commit is gone or what `.gitattributes` files say has changed.
    ///
    /// # Errors
    /// As [`Trees::list`].
    pub fn diff(&mut self, old: &oid, new: &oid) -> Result<Option<Difference>, GitError> {
        let Ok(old) = self.tree_of(old) else {
            return Ok(None);
        };
        let new = self.tree_of(new)?;
        let mut difference = Difference::default();
        let mut folders = vec![(Vec::new(), old, new)];
        let mut attributes = Vec::new();
        while let Some((path, old, new)) = folders.pop() {
            if old == new {
                continue;
            }
            let (Some(old), Some(new)) = (self.entries(&old)?, self.entries(&new)?) else {
                return Ok(None);
            };
            if let Some(entry) = named(&new, b".gitattributes") {
                attributes.push((path.clone(), *entry));
            }
            if changed(named(&old, b".gitattributes"), named(&new, b".gitattributes")) {
                return Ok(None);
            }
            self.compare(&path, &old, &new, &mut difference, &mut folders)?;
        }
        if difference.added.iter().any(is_attributes)
            || difference.removed.iter().any(|(path, _)| ends_in_attributes(path))
        {
            return Ok(None);
        }
        let rules = self.rules_of(attributes);
        attach(&mut difference.added, &rules);
        Ok(Some(difference))
    }

    fn compare(
        &mut self,
        path: &[u8],
        old: &Entries,
        new: &Entries,
        difference: &mut Difference,
        folders: &mut Vec<(Vec<u8>, ObjectId, ObjectId)>,
    ) -> Result<(), GitError> {
        for (name, before, after) in merged(old, new) {
            let full = join(path, name);
            match (before, after) {
                (Some(before), Some(after)) if before.same_content(after) => continue,
                (Some(before), Some(after))
                    if before.kind == EntryKind::Tree && after.kind == EntryKind::Tree =>
                {
                    folders.push((full, before.id, after.id));
                    continue;
                }
                _ => {}
            }
            if let Some(before) = before {
                let mut gone = Vec::new();
                self.expand(full.clone(), *before, &mut gone)?;
                difference.removed.extend(gone.into_iter().map(|file| (file.path, file.content)));
            }
            if let Some(after) = after {
                self.expand(full, *after, &mut difference.added)?;
            }
        }
        Ok(())
    }

    /// Every file at or below an entry.
    fn expand(
        &mut self,
        path: Vec<u8>,
        entry: Entry,
        into: &mut Vec<FileEntry>,
    ) -> Result<(), GitError> {
        let mut folders = Vec::new();
        self.place(path, entry, into, &mut folders)?;
        while let Some((path, id)) = folders.pop() {
            if (self.stop)() {
                return Err(GitError::Cancelled);
            }
            let Some(entries) = self.entries(&id)? else {
                push_file(path, FileKind::File, &id, into);
                continue;
            };
            for (name, entry) in entries {
                self.place(join(&path, &name), entry, into, &mut folders)?;
            }
        }
        Ok(())
    }

    fn place(
        &mut self,
        path: Vec<u8>,
        entry: Entry,
        into: &mut Vec<FileEntry>,
        folders: &mut Vec<(Vec<u8>, ObjectId)>,
    ) -> Result<(), GitError> {
        if path.len() > MAX_PATH {
            self.unusable += 1;
            return Ok(());
        }
        if into.len() + folders.len() >= self.max_files {
            return Err(GitError::TooManyFiles { limit: self.max_files });
        }
        match file_kind(entry.kind) {
            None => folders.push((path, entry.id)),
            Some(kind) => push_file(path, kind, &entry.id, into),
        }
        Ok(())
    }

    /// A tree's entries by name; `None` when it cannot be read.
    pub(super) fn entries(&mut self, id: &oid) -> Result<Option<Entries>, GitError> {
        match self.reader.read(id, MAX_STRUCTURE, &mut self.buffer) {
            Ok(Kind::Tree) => {}
            Ok(_) | Err(ReadError::Missing | ReadError::Corrupt(_) | ReadError::TooLarge(_)) => {
                return Ok(None);
            }
            Err(error @ ReadError::Failed(_)) => return Err(unreadable(id, error)),
        }
        let mut entries = Entries::new();
        for entry in TreeRefIter::from_bytes(&self.buffer, id.kind()) {
            let Ok(entry) = entry else { return Ok(None) };
            let name = entry.filename.to_vec();
            if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
                self.unusable += 1;
                continue;
            }
            entries.push((name, Entry { kind: entry.mode.kind(), id: entry.oid.to_owned() }));
        }
        // Git sorts folders as if they ended in a slash; a plain order serves to compare by name.
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.dedup_by(|a, b| a.0 == b.0);
        Ok(Some(entries))
    }

    fn attribute_rules(&mut self, files: &[FileEntry]) -> Attributes {
        let found = files.iter().filter(|file| is_attributes(file)).filter_map(|file| {
            let id = super::objects::object_id(&file.content)?;
            let folder = file.path.strip_suffix(b".gitattributes")?;
            let folder = folder.strip_suffix(b"/").unwrap_or(folder);
            Some((folder.to_vec(), Entry { kind: EntryKind::Blob, id }))
        });
        let found = found.collect();
        self.rules_of(found)
    }

    /// Rules of the `.gitattributes` of these folders, the root's first.
    fn rules_of(&mut self, mut found: Vec<(Vec<u8>, Entry)>) -> Attributes {
        let mut rules = Attributes::default();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        for (folder, entry) in found {
            let read = self.reader.read(&entry.id, MAX_ATTRIBUTES, &mut self.buffer);
            if matches!(read, Ok(Kind::Blob)) {
                rules.add_file(&folder, &self.buffer);
            }
        }
        rules
    }

    /// The entry at a path below a tree: its kind and id.
    ///
    /// # Errors
    /// When a folder on the way cannot be read.
    pub fn lookup(
        &mut self,
        tree: &oid,
        path: &[u8],
    ) -> Result<Option<(EntryKind, ObjectId)>, GitError> {
        let mut at = Entry { kind: EntryKind::Tree, id: tree.to_owned() };
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            if at.kind != EntryKind::Tree {
                return Ok(None);
            }
            let entries = self.folder(&at.id)?;
            match named(&entries, name) {
                Some(entry) => at = *entry,
                None => return Ok(None),
            }
        }
        Ok(Some((at.kind, at.id)))
    }

    /// The entries of a folder: name, kind and id, by name.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn children(
        &mut self,
        tree: &oid,
    ) -> Result<Vec<(Vec<u8>, EntryKind, ObjectId)>, GitError> {
        let entries = self.folder(tree)?;
        Ok(entries.into_iter().map(|(name, entry)| (name, entry.kind, entry.id)).collect())
    }

    fn folder(&mut self, id: &oid) -> Result<Entries, GitError> {
        self.entries(id)?.ok_or_else(|| unreadable(id, "the folder is missing or damaged"))
    }
}

fn unreadable(id: &oid, detail: impl ToString) -> GitError {
    GitError::Object { id: id.to_string(), detail: detail.to_string() }
}

pub(super) fn file_kind(kind: EntryKind) -> Option<FileKind> {
    match kind {
        EntryKind::Tree => None,
        EntryKind::Blob | EntryKind::BlobExecutable => Some(FileKind::File),
        EntryKind::Link => Some(FileKind::Symlink),
        EntryKind::Commit => Some(FileKind::Submodule),
    }
}

fn push_file(path: Vec<u8>, kind: FileKind, id: &oid, into: &mut Vec<FileEntry>) {
    if let Some(content) = content_id(id) {
        into.push(FileEntry { path, content, kind, attributes: PathAttributes::default() });
    }
}

fn attach(files: &mut [FileEntry], rules: &Attributes) {
    for file in files {
        file.attributes = rules.lookup(&file.path);
    }
}

pub(super) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(folder.len() + 1 + name.len());
    path.extend_from_slice(folder);
    if !folder.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

fn is_attributes(file: &FileEntry) -> bool {
    file.kind == FileKind::File && ends_in_attributes(&file.path)
}

fn ends_in_attributes(path: &[u8]) -> bool {
    path.strip_suffix(b".gitattributes").is_some_and(|rest| rest.is_empty() || rest.ends_with(b"/"))
}

pub(super) fn named<'e>(entries: &'e Entries, name: &[u8]) -> Option<&'e Entry> {
    let at = entries.binary_search_by(|(other, _)| other.as_slice().cmp(name)).ok()?;
    Some(&entries[at].1)
}

fn changed(old: Option<&Entry>, new: Option<&Entry>) -> bool {
    match (old, new) {
        (None, None) => false,
        (Some(old), Some(new)) => !old.same_content(new),
        _ => true,
    }
}

/// The entries of both lists by name, each name once.
fn merged<'e>(
    old: &'e Entries,
    new: &'e Entries,
) -> impl Iterator<Item = (&'e [u8], Option<&'e Entry>, Option<&'e Entry>)> {
    let before = old.iter().map(|(name, entry)| (name.as_slice(), Some(entry), named(new, name)));
    let known: HashSet<&[u8]> = old.iter().map(|(name, _)| name.as_slice()).collect();
    let after = new
        .iter()
        .filter(move |(name, _)| !known.contains(name.as_slice()))
        .map(|(name, entry)| (name.as_slice(), None, Some(entry)));
    before.chain(after)
}

//! What an update means for segments that never change: which documents a revision gains and
//! loses, and which are not in the index yet.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use roaring::RoaringBitmap;

use super::live::Live;
use super::snapshot::{Loaded, Snapshot};
use crate::IndexError;
use crate::document::{ContentId, FileEntry, FileKind, OmitReason, RepositoryId, RevisionChange};
use crate::languages::Language;
use crate::segment::View;
use crate::segment::build::attribute_code;

/// An update worked out against one snapshot.
#[derive(Default)]
pub(crate) struct Changes {
    /// New sets of live documents, by segment number.
    pub(crate) live: BTreeMap<u64, Live>,
    /// Files that no segment has, with the revisions that want them.
    pub(crate) missing: Vec<(FileEntry, Vec<String>)>,
    pub(crate) removed: u64,
}

/// Tells two files of one repository apart.
type Key = (Vec<u8>, ContentId, u8, Option<Language>);

fn key(entry: &FileEntry) -> Key {
    (entry.path.clone(), entry.content, attribute_code(entry), entry.attributes.language)
}

struct Open<'a> {
    loaded: &'a Loaded,
    view: View<'a>,
    documents: Range<u32>,
}

impl Open<'_> {
    /// The document of this segment that is the file; dead ones count, they can be revived.
    fn find(&self, file: &FileEntry) -> Result<Option<u32>, IndexError> {
        let code = attribute_code(file);
        for number in self.view.documents_at(self.documents.clone(), &file.path) {
            let document = self.view.documents.get(number);
            if document.attributes == code
                && self.is_in_language(document.language, file)
                && self.view.content_id(document.blob)? == file.content
            {
                // What could not be read before may be there now.
                let omitted = self.view.blobs.get(document.blob).omitted;
                let reason = OmitReason::from_u8(omitted);
                if !matches!(reason, Some(OmitReason::Missing | OmitReason::Corrupt)) {
                    return Ok(Some(number));
                }
            }
        }
        Ok(None)
    }

    /// Whether a document has the language that the repository names, if it names one.
    fn is_in_language(&self, number: u16, file: &FileEntry) -> bool {
        let own = self.loaded.segment.languages.get(usize::from(number)).copied().flatten();
        file.attributes.language.is_none_or(|language| own == Some(language))
    }
}

impl Changes {
    /// Works out the changes of one repository.
    pub(crate) fn plan(
        snapshot: &Snapshot,
        repository: RepositoryId,
        revisions: &[RevisionChange],
    ) -> Result<Self, IndexError> {
        let mut segments = Vec::new();
        for loaded in &snapshot.segments {
            let view = loaded.segment.view()?;
            let documents = view.documents_in(repository);
            if !documents.is_empty() {
                segments.push(Open { loaded, view, documents });
            }
        }
        let mut planner =
            Planner { repository, segments, missing: HashMap::new(), changes: Self::default() };
        for change in revisions {
            match change {
                RevisionChange::Replace { name, files, .. } => planner.replace(name, files)?,
                RevisionChange::Update { name, removed, added, .. } => {
                    planner.update(name, removed, added)?;
                }
                RevisionChange::Remove { name } => planner.replace(name, &[])?,
            }
        }
        let mut changes = planner.changes;
        changes.missing = planner.missing.into_values().collect();
        Ok(changes)
    }
}

struct Planner<'a> {
    repository: RepositoryId,
    segments: Vec<Open<'a>>,
    missing: HashMap<Key, (FileEntry, Vec<String>)>,
    changes: Changes,
}

impl Planner<'_> {
    fn want(&mut self, file: &FileEntry, revision: &str) {
        let (_, revisions) =
            self.missing.entry(key(file)).or_insert_with(|| (file.clone(), Vec::new()));
        revisions.push(revision.to_owned());
    }

    fn current(&self, segment: usize, name: &str) -> RoaringBitmap {
        let loaded = self.segments[segment].loaded;
        let live = self.changes.live.get(&loaded.entry.id).unwrap_or(&loaded.live);
        live.of(self.repository).and_then(|of| of.get(name)).cloned().unwrap_or_default()
    }

    fn set(&mut self, segment: usize, name: &str, documents: RoaringBitmap) {
        let before = self.current(segment, name);
        if before == documents {
            return;
        }
        self.changes.removed += (before - &documents).len();
        let loaded = self.segments[segment].loaded;
        self.changes.live.entry(loaded.entry.id).or_insert_with(|| (*loaded.live).clone()).set(
            self.repository,
            name,
            documents,
        );
    }

    fn replace(&mut self, name: &str, files: &[FileEntry]) -> Result<(), IndexError> {
        let mut found = vec![false; files.len()];
        for segment in 0..self.segments.len() {
            let mut documents = RoaringBitmap::new();
            for (index, file) in files.iter().enumerate() {
                if found[index] {
                    continue;
                }
                if let Some(document) = self.segments[segment].find(file)? {
                    found[index] = true;
                    documents.insert(document);
                }
            }
            self.set(segment, name, documents);
        }
        for (file, _) in files.iter().zip(found).filter(|(_, found)| !found) {
            self.want(file, name);
        }
        Ok(())
    }

    fn update(
        &mut self,
        name: &str,
        removed: &[(Vec<u8>, ContentId)],
        added: &[FileEntry],
    ) -> Result<(), IndexError> {
        let mut sets: Vec<RoaringBitmap> =
            (0..self.segments.len()).map(|segment| self.current(segment, name)).collect();
        for (path, content) in removed {
            for (open, set) in self.segments.iter().zip(&mut sets) {
                for number in open.view.documents_at(open.documents.clone(), path) {
                    let blob = open.view.documents.get(number).blob;
                    if open.view.content_id(blob)? == *content {
                        set.remove(number);
                    }
                }
            }
        }
        for file in added {
            let mut found = false;
            for (open, set) in self.segments.iter().zip(&mut sets) {
                if let Some(document) = open.find(file)? {
                    set.insert(document);
                    found = true;
                    break;
                }
            }
            if !found {
                self.want(file, name);
            }
        }
        for (segment, set) in sets.into_iter().enumerate() {
            self.set(segment, name, set);
        }
        Ok(())
    }
}

/// A file of the index whose content is left out.
pub(crate) fn omitted_kind(reason: OmitReason) -> FileKind {
    match reason {
        OmitReason::Symlink => FileKind::Symlink,
        OmitReason::Submodule => FileKind::Submodule,
        _ => FileKind::File,
    }
}

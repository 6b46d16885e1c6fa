//! Which documents of a segment each revision holds.
//!
//! Segments never change; what a branch holds does. One small file beside a segment has, for each
//! repository and revision, the set of its documents. A document in no set is deleted.

use std::collections::BTreeMap;
use std::path::Path;

use roaring::RoaringBitmap;

use crate::IndexError;
use crate::bits::Bits;
use crate::document::{RepositoryId, RevisionName};
use crate::segment::file::{SectionFile, SectionWriter};

const NAMES: u32 = 1;
const SETS: u32 = 2;

/// The documents of each revision in one segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    revisions: BTreeMap<RepositoryId, BTreeMap<RevisionName, RoaringBitmap>>,
}

impl Live {
    /// Revisions of a repository that hold documents of this segment.
    pub(crate) fn of(
        &self,
        repository: RepositoryId,
    ) -> Option<&BTreeMap<RevisionName, RoaringBitmap>> {
        self.revisions.get(&repository)
    }

    /// Repositories that have documents of this segment.
    pub(crate) fn repositories(&self) -> Vec<RepositoryId> {
        self.revisions.keys().copied().collect()
    }

    /// Every repository's revisions.
    pub(crate) fn iter(
        &self,
    ) -> impl Iterator<Item = (RepositoryId, &RevisionName, &RoaringBitmap)> {
        self.revisions.iter().flat_map(|(repository, revisions)| {
            revisions.iter().map(|(name, documents)| (*repository, name, documents))
        })
    }

    /// The documents of a revision; an empty set takes it away.
    pub(crate) fn set(&mut self, repository: RepositoryId, name: &str, documents: RoaringBitmap) {
        let revisions = self.revisions.entry(repository).or_default();
        if documents.is_empty() {
            revisions.remove(name);
        } else {
            revisions.insert(name.to_owned(), documents);
        }
        if revisions.is_empty() {
            self.revisions.remove(&repository);
        }
    }

    /// Forgets a repository; whether it was there.
    pub(crate) fn remove(&mut self, repository: RepositoryId) -> bool {
        self.revisions.remove(&repository).is_some()
    }

    /// Documents that some revision holds.
    pub(crate) fn union(&self, documents: u32) -> Bits {
        let mut all = Bits::none(documents);
        for (_, _, set) in self.iter() {
            set.iter()
                .filter(|document| *document < documents)
                .for_each(|document| all.insert(document));
        }
        all
    }

    /// Writes the file, synced.
    pub(crate) fn write(&self, path: &Path) -> Result<(), IndexError> {
        let failed = || IndexError::io("cannot encode", path);
        let mut names = Vec::new();
        let mut sets = Vec::new();
        for (repository, name, set) in self.iter() {
            let start = sets.len();
            let mut set = set.clone();
            set.optimize();
            set.serialize_into(&mut sets).map_err(failed())?;
            names.push((repository, name, sets.len() - start));
        }
        let names = serde_json::to_vec(&names).map_err(|error| failed()(error.into()))?;
        let mut writer = SectionWriter::create(path)?;
        writer.section(NAMES, &names)?;
        writer.section(SETS, &sets)?;
        writer.finish().map(drop)
    }

    /// Reads the file.
    pub(crate) fn read(path: &Path) -> Result<Self, IndexError> {
        let file = SectionFile::open(path)?;
        let names: Vec<(RepositoryId, RevisionName, usize)> =
            serde_json::from_slice(file.section(NAMES)?)
                .map_err(|error| file.damaged(error.to_string()))?;
        let mut sets = file.section(SETS)?;
        let mut live = Self::default();
        for (repository, name, length) in names {
            let (set, rest) =
                sets.split_at_checked(length).ok_or_else(|| file.damaged("a set is cut short"))?;
            sets = rest;
            let set = RoaringBitmap::deserialize_from(set)
                .map_err(|error| file.damaged(error.to_string()))?;
            live.set(repository, &name, set);
        }
        Ok(live)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sets_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.live");
        let (one, two) =
            (RepositoryId(uuid::Uuid::from_u128(1)), RepositoryId(uuid::Uuid::from_u128(2)));
        let mut live = Live::default();
        live.set(one, "main", (0..500).collect());
        live.set(one, "dev", [3, 700].into_iter().collect());
        live.set(two, "main", [600].into_iter().collect());
        live.set(two, "gone", RoaringBitmap::new());
        live.write(&path).unwrap();
        let back = Live::read(&path).unwrap();
        assert_eq!(back.revisions, live.revisions);
        assert_eq!(back.of(two).unwrap().len(), 1);
        assert_eq!(back.union(1000).count(), 502);
    }
}

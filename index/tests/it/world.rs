//! What repositories hold, kept apart from the index, so that the index can be checked against it.

use std::collections::{BTreeMap, BTreeSet};

use aeterna_index::languages::{self, Language};
use aeterna_index::{
    ContentId, FileEntry, FileKind, NoProgress, RepositoryId, RepositoryInfo, RepositoryUpdate,
    RevisionChange, ShardSet,
};

use crate::support::Memory;

pub type Files = BTreeMap<Vec<u8>, FileEntry>;

/// A branch as it is.
#[derive(Clone, Default)]
pub struct Branch {
    pub commit: String,
    pub files: Files,
}

/// A repository as it is.
#[derive(Clone)]
pub struct Repo {
    pub info: RepositoryInfo,
    pub branches: BTreeMap<String, Branch>,
}

/// Every repository, and the source of their contents.
#[derive(Default)]
pub struct World {
    pub repos: BTreeMap<RepositoryId, Repo>,
    pub source: Memory,
    commits: u64,
}

/// One content at one path, as a search should see it.
pub struct Doc {
    pub info: RepositoryInfo,
    pub path: Vec<u8>,
    pub content: ContentId,
    pub branches: BTreeSet<String>,
    /// `None` for what is left out of the index.
    pub text: Option<Vec<u8>>,
    pub language: Option<Language>,
    pub vendored: bool,
    pub generated: bool,
}

/// What the index should make of a file's bytes.
pub fn text_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let pairs = || bytes[2..].chunks_exact(2);
    let utf16 = |unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = pairs().map(|pair| unit([pair[0], pair[1]])).collect();
        String::from_utf16(&units).ok().filter(|_| bytes.len().is_multiple_of(2))
    };
    let text = match bytes.get(..2) {
        Some([0xff, 0xfe]) => utf16(u16::from_le_bytes),
        Some([0xfe, 0xff]) => utf16(u16::from_be_bytes),
        _ => None,
    };
    match text.filter(|text| !text.contains('\0')) {
        Some(text) => Some(text.into_bytes()),
        None if bytes.iter().take(8_000).any(|byte| *byte == 0) => None,
        None => Some(bytes.to_vec()),
    }
}

impl World {
    pub fn next_commit(&mut self) -> String {
        self.commits += 1;
        format!("{:040x}", self.commits)
    }

    /// Every document, once for each path and content that some branch has.
    pub fn documents(&self) -> Vec<Doc> {
        let mut documents = Vec::new();
        for repo in self.repos.values() {
            let mut found: Vec<(&FileEntry, BTreeSet<String>)> = Vec::new();
            for (name, branch) in &repo.branches {
                for entry in branch.files.values() {
                    match found.iter_mut().find(|(known, _)| *known == entry) {
                        Some((_, branches)) => drop(branches.insert(name.clone())),
                        None => found.push((entry, [name.clone()].into())),
                    }
                }
            }
            for (entry, branches) in found {
                documents.push(self.document(repo, entry, branches));
            }
        }
        documents
    }

    fn document(&self, repo: &Repo, entry: &FileEntry, branches: BTreeSet<String>) -> Doc {
        let text = match entry.kind {
            FileKind::File => self.source.get(&entry.content).and_then(|bytes| text_of(&bytes)),
            FileKind::Symlink | FileKind::Submodule => None,
        };
        let seen = text.as_deref().unwrap_or_default();
        let path = entry.path.clone();
        let says = &entry.attributes;
        Doc {
            info: repo.info.clone(),
            language: says.language.or_else(|| languages::detect(&path, seen)),
            vendored: says.vendored.unwrap_or_else(|| languages::is_vendored(&path)),
            generated: says.generated.unwrap_or_else(|| languages::is_generated(&path, seen)),
            path,
            content: entry.content,
            branches,
            text,
        }
    }

    /// Indexes everything in one go.
    pub fn index(&self, set: &ShardSet) {
        for repo in self.repos.values() {
            let revisions = repo.branches.iter().map(|(name, branch)| replace_with(name, branch));
            let update =
                RepositoryUpdate { repository: repo.info.clone(), revisions: revisions.collect() };
            set.shard_of(repo.info.id).unwrap().apply(&update, &self.source, &NoProgress).unwrap();
        }
    }
}

/// The change that sends a branch's whole listing.
pub fn replace_with(name: &str, branch: &Branch) -> RevisionChange {
    RevisionChange::Replace {
        name: name.to_owned(),
        commit: branch.commit.clone(),
        files: branch.files.values().cloned().collect(),
    }
}

/// The change from one state of a branch to another.
pub fn difference(name: &str, before: &Branch, after: &Branch) -> RevisionChange {
    let differs = |files: &Files, entry: &FileEntry| files.get(&entry.path) != Some(entry);
    let removed = before.files.values().filter(|entry| differs(&after.files, entry));
    let added = after.files.values().filter(|entry| differs(&before.files, entry));
    RevisionChange::Update {
        name: name.to_owned(),
        from: before.commit.clone(),
        commit: after.commit.clone(),
        removed: removed.map(|entry| (entry.path.clone(), entry.content)).collect(),
        added: added.cloned().collect(),
    }
}

//! Repositories that are too large for one shard: in how many parts they are indexed, where those are, and
//! how they are together.
//!
//! The repository's own shard has the first part. Its job decides how many there are, and records what it has
//! indexed together with what the others have to do. Each of those is a repository of its own in its shard,
//! with a mirror and jobs of its own, and indexes its files of the same commits.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use aeterna_index::{Part, RepositoryId};
use gix::hash::ObjectId;
use gix::objs::tree::EntryKind;
use uuid::Uuid;

use super::RepoManager;
use super::inner::Inner;
use crate::ManagerError;
use crate::catalog::{Catalog, JobKind, Parts, Record};
use crate::git::{GitError, ObjectDb, Selected, Trees};
use crate::repository::{PartOfRepository, Repository, Revision, State};

/// Parts of a repository at most.
const MAX_PARTS: u32 = 64;
/// What a mirror is smaller than what it holds at most: one that is smaller still is not measured.
const MAX_RATIO: u64 = 64;

/// Chooses so many shards for the further parts of a repository of a shard, each on another node where
/// that is possible.
pub type PlaceParts = dyn Fn(u32, usize) -> Vec<u32> + Send + Sync;

/// What of its repository a job indexes.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// All of it, or the first of its parts: the commits that its branches are at.
    Whole {
        /// How many parts there are so far.
        parts: u32,
    },
    /// A further part: its files of the commits that the first part has.
    Further { part: Part, revisions: Vec<Revision> },
}

impl Wanted {
    /// What a record's job indexes; `None` for a part whose repository is gone.
    pub(crate) async fn of(
        catalog: &Catalog,
        record: &Record,
    ) -> Result<Option<Self>, ManagerError> {
        let Some(part) = record.repository.part else { return Ok(Some(Self::Whole { parts: 1 })) };
        if part.number == 0 {
            return Ok(Some(Self::Whole { parts: part.of }));
        }
        let whole = catalog.record(part.whole).await?.filter(|whole| !whole.removed);
        Ok(whole.map(|whole| Self::Further { part, revisions: whole.repository.revisions }))
    }

    /// The revisions to index, where they are not what the mirror's branches are at.
    pub(crate) fn selected(&self) -> Option<Vec<Selected>> {
        let Self::Further { revisions, .. } = self else { return None };
        let selected = revisions.iter().filter_map(|revision| {
            let target = ObjectId::from_hex(revision.commit.as_bytes()).ok()?;
            Some(Selected { name: revision.name.clone(), target })
        });
        Some(selected.collect())
    }

    /// Which part the files belong to; `None` where there is one only. `needed` are as many parts as the
    /// files need: there are never fewer than there were.
    pub(crate) fn part(&self, id: RepositoryId, needed: u32) -> Option<Part> {
        match self {
            Self::Whole { parts } => {
                let of = needed.max(*parts);
                (of > 1).then_some(Part { whole: id, number: 0, of })
            }
            Self::Further { part, .. } => Some(*part),
        }
    }

    /// How many parts a repository has now, where it had fewer.
    pub(crate) fn grows_to(&self, part: Option<Part>) -> Option<u32> {
        match (self, part) {
            (Self::Whole { parts }, Some(part)) if part.of > *parts => Some(part.of),
            _ => None,
        }
    }

    /// Refuses that a further part has other revisions than it is to have: they are not in its mirror.
    pub(crate) fn check(&self, indexed: &BTreeMap<String, String>) -> Result<(), ManagerError> {
        let Self::Further { part, revisions } = self else { return Ok(()) };
        match revisions_of(revisions) == *indexed {
            true => Ok(()),
            false => Err(ManagerError::PartBehind { part: part.number + 1, of: part.of }),
        }
    }
}

fn revisions_of(revisions: &[Revision]) -> BTreeMap<String, String> {
    let pair = |revision: &Revision| (revision.name.clone(), revision.commit.clone());
    revisions.iter().map(pair).collect()
}

/// How many parts the files of some revisions are to be indexed in. Each folder is read once, however many
/// revisions have it.
pub(crate) fn needed(
    inner: &Inner,
    (objects, mirror_bytes): (&ObjectDb, u64),
    selected: &[Selected],
    stop: &dyn Fn() -> bool,
) -> Result<u32, GitError> {
    let Some(cluster) = &inner.cluster else { return Ok(1) };
    let limit = cluster.config.part_bytes.max(1);
    if mirror_bytes.saturating_mul(MAX_RATIO) <= limit {
        return Ok(1);
    }
    let mut reader = objects.reader();
    let contents = {
        let mut trees = Trees::new(&mut reader, inner.config.git.max_files, stop);
        contents(&mut trees, selected)?
    };
    let largest = inner.config.index.max_file_bytes;
    let size = |id: &ObjectId| reader.header(id).map_or(0, |(_, size)| size.min(largest));
    let bytes: u64 = contents.iter().map(size).sum();
    let most = MAX_PARTS.min(cluster.config.shards);
    Ok(u32::try_from(bytes.div_ceil(limit)).unwrap_or(u32::MAX).clamp(1, most))
}

/// The different contents of some revisions. What cannot be read is told when it is indexed.
fn contents(
    trees: &mut Trees<'_, '_>,
    selected: &[Selected],
) -> Result<HashSet<ObjectId>, GitError> {
    let readable = |result: Result<_, GitError>| match result {
        Err(GitError::Object { .. }) => Ok(None),
        result => result.map(Some),
    };
    let (mut folders, mut contents) = (HashSet::new(), HashSet::new());
    let mut left = Vec::new();
    for revision in selected {
        if let Some(Some(commit)) = readable(trees.peel(revision.target))? {
            left.extend(readable(trees.tree_of(&commit).map(Some))?.flatten());
        }
        while let Some(folder) = left.pop() {
            if !folders.insert(folder) {
                continue;
            }
            let children = match trees.children(&folder) {
                Err(GitError::Object { .. }) => continue,
                children => children?,
            };
            for (_, kind, id) in children {
                match kind {
                    EntryKind::Tree => left.push(id),
                    EntryKind::Blob | EntryKind::BlobExecutable => drop(contents.insert(id)),
                    EntryKind::Link | EntryKind::Commit => {}
                }
            }
        }
    }
    Ok(contents)
}

impl Inner {
    /// The parts that a repository is recorded to have, with identities for those that may be new.
    pub(crate) fn parts_of(
        &self,
        record: &Record,
        part: Option<Part>,
        (kind, indexed): (JobKind, &BTreeMap<String, String>),
    ) -> Option<Parts> {
        let part = part.filter(|part| part.number == 0)?;
        let own = self.index.number_of(record.repository.id);
        let known: BTreeMap<u32, &Repository> =
            record.others.iter().filter_map(|other| Some((other.part?.number, other))).collect();
        let is_done = |other: &&Repository| {
            kind == JobKind::Sync
                && other.part.is_some_and(|its| its.of == part.of)
                && other.state == State::Ready
                && revisions_of(&other.revisions) == *indexed
        };
        let done = record.others.iter().filter(is_done).map(|other| other.id).collect();
        let missing: Vec<u32> = (1..part.of).filter(|number| !known.contains_key(number)).collect();
        let taken: HashSet<u32> =
            record.others.iter().map(|other| self.index.number_of(other.id)).chain([own]).collect();
        let shards = self.shards_for_parts(own, &taken, missing.len());
        let ids = || std::iter::repeat_with(|| RepositoryId(Uuid::now_v7()));
        let new = missing.into_iter().zip(shards).filter_map(|(number, shard)| {
            let id = ids().find(|id| self.index.number_of(*id) == shard)?;
            Some((number, id, shard))
        });
        Some(Parts { of: part.of, new: new.collect(), done, kind })
    }

    /// Shards without a part so far, those first that are on other nodes.
    fn shards_for_parts(&self, own: u32, taken: &HashSet<u32>, count: usize) -> Vec<u32> {
        let Some(cluster) = &self.cluster else { return Vec::new() };
        let all = cluster.config.shards;
        let apart = self.place_parts.get().map(|place| place(own, count + taken.len()));
        let anywhere = (1..all).map(|step| (own + step) % all);
        let mut seen = taken.clone();
        let shards = apart.into_iter().flatten().chain(anywhere);
        shards.filter(|shard| *shard < all && seen.insert(*shard)).take(count).collect()
    }

    /// How a repository in parts is as one.
    pub(crate) fn complete_parts(&self, repository: &mut Repository, others: &[Repository]) {
        let Some(part) = repository.part.filter(|part| part.number == 0) else { return };
        let of = |one: &Repository, shard| PartOfRepository { id: one.id, shard, state: one.state };
        let rest = others.iter().map(|other| of(other, self.index.number_of(other.id)));
        repository.parts = [of(repository, repository.shard)].into_iter().chain(rest).collect();
        repository.document_count += others.iter().map(|other| other.document_count).sum::<u64>();
        if repository.state != State::Ready {
            return;
        }
        let wanted = revisions_of(&repository.revisions);
        let is_even = |other: &Repository| {
            other.part.is_some_and(|its| its.of == part.of)
                && revisions_of(&other.revisions) == wanted
        };
        let failed = others.iter().find(|other| other.state == State::Error);
        if let Some(other) = failed {
            let number = other.part.map_or(0, |part| part.number) + 1;
            let error = other.last_error.clone().unwrap_or_default();
            repository.state = State::Error;
            repository.last_error = Some(format!("part {number} of {}: {error}", part.of));
            repository.last_error_code = other.last_error_code.clone();
            repository.attempts = other.attempts;
            repository.next_attempt_at = other.next_attempt_at;
        } else if others.len() + 1 != part.of as usize || !others.iter().all(is_even) {
            repository.state = State::Indexing;
        }
    }
}

impl RepoManager {
    /// Has this choose the shards of further parts of repositories from now on; without it they are the next
    /// ones. It can be set once.
    pub fn place_parts_with(&self, place: Arc<PlaceParts>) {
        // A second one would be the same.
        let _ = self.inner.place_parts.set(place);
    }
}

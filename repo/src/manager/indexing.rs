//! From a mirror to the index: which revisions changed, how, and applying that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use aeterna_index::{
    Applied, IndexError, Part, ProgressSink, RepositoryId, RepositoryInfo, RepositoryUpdate,
    RevisionChange, Shard,
};
use gix::hash::ObjectId;

use super::inner::Inner;
use super::parts::{self, Wanted};
use crate::ManagerError;
use crate::catalog::Record;
use crate::git::{Fetched, GitError, MirrorSource, ObjectDb, Selected, Trees};
use crate::license;
use crate::repository::{Phase, Progress};

/// Notices of one kind that are recorded one by one.
const MAX_NOTICES: usize = 20;

/// One indexing of a repository.
pub(crate) struct Indexing<'a> {
    pub(crate) inner: &'a Inner,
    pub(crate) record: &'a Record,
    pub(crate) wanted: &'a Wanted,
    pub(crate) fetched: &'a Fetched,
    /// Whether every revision is indexed as if it were new.
    pub(crate) whole: bool,
    pub(crate) cancel: &'a AtomicBool,
}

/// What an indexing did.
pub(crate) struct Outcome {
    /// What the index holds now: names and commits.
    pub(crate) revisions: BTreeMap<String, String>,
    pub(crate) applied: Applied,
    /// Which part of the repository it holds, where that is not all of it.
    pub(crate) part: Option<Part>,
    /// Documents of the repository.
    pub(crate) documents: u64,
    pub(crate) notices: Vec<String>,
}

struct Sink<'a> {
    inner: &'a Inner,
    id: RepositoryId,
    cancel: &'a AtomicBool,
}

impl ProgressSink for Sink<'_> {
    fn progress(&self, contents_done: u64, contents_total: u64, bytes_done: u64) {
        let total = Some(contents_total);
        let progress = Progress::new(Phase::Indexing, contents_done, total, bytes_done);
        self.inner.report(self.id, progress);
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Acquire)
    }
}

impl Indexing<'_> {
    /// Brings the index up to the mirror.
    pub(crate) fn run(&self) -> Result<Outcome, ManagerError> {
        match self.attempt(self.whole) {
            // The index holds other commits than it said, as something changed it in between.
            Err(ManagerError::Index(IndexError::StaleBase { .. })) => self.attempt(true),
            result => result,
        }
    }

    fn attempt(&self, whole: bool) -> Result<Outcome, ManagerError> {
        let id = self.record.repository.id;
        let shard = self.inner.index.shard_of(id)?;
        let held = shard.revisions(id).unwrap_or_default();
        let git = &self.inner.config.git;
        let objects = self.fetched.mirror.objects(git.delta_cache_bytes)?;
        let mut notices = damaged_packs(&objects);
        let selected = self.wanted.selected();
        let of_branches = || self.fetched.refs.select(&self.record.repository.branches);
        let mut selected = selected.unwrap_or_else(of_branches);
        if selected.len() > self.inner.config.max_revisions {
            let limit = self.inner.config.max_revisions;
            notices
                .push(format!("{} revisions match, the first {limit} are indexed", selected.len()));
            selected.truncate(limit);
        }
        let part = self.part(&objects, &selected, &held)?;
        // Other files belong to it than when there were fewer parts.
        let whole = whole || shard.part(id) != part;
        let mut batch = Batch {
            indexing: self,
            part,
            shard: &shard,
            objects: &objects,
            changes: Vec::new(),
            entries: 0,
            applied: Applied::default(),
        };
        let wanted: BTreeSet<&str> =
            selected.iter().map(|revision| revision.name.as_str()).collect();
        let gone = held.keys().filter(|name| !wanted.contains(name.as_str()));
        batch.changes.extend(gone.map(|name| RevisionChange::Remove { name: name.clone() }));
        let total = selected.len() as u64;
        let mut unreadable = Vec::new();
        for (number, revision) in selected.iter().enumerate() {
            let progress = Progress::new(Phase::Listing, number as u64, Some(total), 0);
            self.inner.report(id, progress);
            let old = held.get(&revision.name).filter(|_| !whole).map(String::as_str);
            match self.change(&objects, revision, old, &mut notices) {
                Ok(Some(change)) => batch.push(change)?,
                Ok(None) => {}
                Err(error @ GitError::Object { .. }) => {
                    unreadable.push(format!("{} cannot be indexed: {error}", revision.name));
                }
                Err(error) => return Err(error.into()),
            }
        }
        // Also with nothing to change: the index learns of an empty repository, or a new name.
        batch.flush()?;
        let applied = batch.applied;
        notices.extend(bounded(unreadable));
        Ok(Outcome {
            revisions: shard.revisions(id).unwrap_or_default(),
            applied,
            part,
            documents: shard.documents(id),
            notices,
        })
    }

    /// Which part of the repository is indexed here.
    fn part(
        &self,
        objects: &ObjectDb,
        selected: &[Selected],
        held: &BTreeMap<String, String>,
    ) -> Result<Option<Part>, GitError> {
        let stop = || self.cancel.load(Ordering::Acquire);
        let is_held = |revision: &Selected| {
            let commit =
                held.get(&revision.name).map(|commit| ObjectId::from_hex(commit.as_bytes()));
            matches!(commit, Some(Ok(commit)) if commit == revision.target)
        };
        let needed = match self.wanted {
            // Nothing is new that there could be more of.
            Wanted::Whole { .. } if !self.whole && selected.iter().all(is_held) => 1,
            Wanted::Whole { .. } => {
                let objects = (objects, self.fetched.mirror.size());
                parts::needed(self.inner, objects, selected, &stop)?
            }
            Wanted::Further { .. } => 1,
        };
        Ok(self.wanted.part(self.record.repository.id, needed))
    }

    /// How one revision changes; `None` when it does not.
    fn change(
        &self,
        objects: &ObjectDb,
        revision: &Selected,
        old: Option<&str>,
        notices: &mut Vec<String>,
    ) -> Result<Option<RevisionChange>, GitError> {
        let stop = || self.cancel.load(Ordering::Acquire);
        let mut reader = objects.reader();
        let mut trees = Trees::new(&mut reader, self.inner.config.git.max_files, &stop);
        let Some(commit) = trees.peel(revision.target)? else {
            notices.push(format!("{} is not indexed: it is not a commit", revision.name));
            return Ok(None);
        };
        let name = revision.name.clone();
        let hex = commit.to_string();
        if old == Some(hex.as_str()) {
            return Ok(None);
        }
        if let Some(from) = old
            && let Ok(before) = ObjectId::from_hex(from.as_bytes())
            && let Some(difference) = trees.diff(&before, &commit)?
        {
            return Ok(Some(RevisionChange::Update {
                name,
                from: from.to_owned(),
                commit: hex,
                removed: difference.removed,
                added: difference.added,
            }));
        }
        let listing = trees.list(&commit)?;
        if listing.unusable > 0 {
            notices.push(format!(
                "{} entries of {name} have names that no path can have",
                listing.unusable
            ));
        }
        Ok(Some(RevisionChange::Replace { name, commit: hex, files: listing.files }))
    }
}

/// Changes that are applied together: whole listings of many branches would else all be in memory.
struct Batch<'a> {
    indexing: &'a Indexing<'a>,
    /// Files of others are left out.
    part: Option<Part>,
    shard: &'a Shard,
    objects: &'a ObjectDb,
    changes: Vec<RevisionChange>,
    entries: usize,
    applied: Applied,
}

impl Batch<'_> {
    fn push(&mut self, mut change: RevisionChange) -> Result<(), ManagerError> {
        if let Some(part) = self.part {
            keep(part, &mut change);
        }
        self.entries += match &change {
            RevisionChange::Replace { files, .. } => files.len(),
            RevisionChange::Update { removed, added, .. } => removed.len() + added.len(),
            RevisionChange::Remove { .. } => 0,
        };
        self.changes.push(change);
        if self.entries >= self.indexing.inner.config.batch_entries { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ManagerError> {
        crate::failpoint!("index-apply");
        let update = RepositoryUpdate {
            repository: RepositoryInfo { part: self.part, ..self.indexing.record.info() },
            revisions: std::mem::take(&mut self.changes),
        };
        self.entries = 0;
        let id = update.repository.id;
        let sink = Sink { inner: self.indexing.inner, id, cancel: self.indexing.cancel };
        let applied = self.shard.apply(&update, &MirrorSource::new(self.objects), &sink)?;
        self.applied.documents_added += applied.documents_added;
        self.applied.documents_removed += applied.documents_removed;
        self.applied.contents += applied.contents;
        self.applied.bytes += applied.bytes;
        self.applied.omitted += applied.omitted;
        Ok(())
    }
}

/// Takes files of other parts out of a change.
fn keep(part: Part, change: &mut RevisionChange) {
    match change {
        RevisionChange::Replace { files, .. } => files.retain(|file| part.has(&file.path)),
        RevisionChange::Update { removed, added, .. } => {
            removed.retain(|(path, _)| part.has(path));
            added.retain(|file| part.has(&file.path));
        }
        RevisionChange::Remove { .. } => {}
    }
}

fn damaged_packs(objects: &ObjectDb) -> Vec<String> {
    let damaged = objects.damaged().iter().map(|(path, reason)| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        format!("the pack of {file} cannot be read, its objects are missing: {reason}")
    });
    bounded(damaged.collect())
}

/// The first of many notices, and how many there are.
fn bounded(mut notices: Vec<String>) -> Vec<String> {
    let all = notices.len();
    if all > MAX_NOTICES {
        notices.truncate(MAX_NOTICES);
        notices.push(format!("… and {} more", all - MAX_NOTICES));
    }
    notices
}

/// The licence of the default branch, where its root has a file that tells.
pub(crate) fn license(fetched: &Fetched) -> Result<Option<String>, ManagerError> {
    let Some(head) = fetched.refs.head else { return Ok(None) };
    let objects = fetched.mirror.objects(1)?;
    let mut reader = objects.reader();
    let never = || false;
    let mut trees = Trees::new(&mut reader, usize::MAX, &never);
    // What cannot be read here is told when it is indexed.
    let Ok(Some(commit)) = trees.peel(head) else { return Ok(None) };
    let Ok(root) = trees.tree_of(&commit) else { return Ok(None) };
    let Ok(children) = trees.children(&root) else { return Ok(None) };
    let mut files: Vec<_> =
        children.into_iter().filter(|(name, _, _)| license::is_license_file(name)).collect();
    files.sort_by_key(|(name, _, _)| name.len());
    let mut text = Vec::new();
    for (_, _, id) in files.iter().take(4) {
        if reader.read(id, license::MAX_TEXT, &mut text).is_ok()
            && let Some(found) = license::detect(&String::from_utf8_lossy(&text))
        {
            return Ok(Some(found.to_owned()));
        }
    }
    Ok(None)
}

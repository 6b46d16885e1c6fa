//! The thread that reads who changed the indexed files last, and when.
//!
//! A repository's text is searched long before: this reads commits back until every file is
//! accounted for, which in an old repository takes minutes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use aeterna_index::{ContentId, History, HistoryUpdate, LastChange, RepositoryId};
use gix::hash::ObjectId;
use tokio::runtime::Handle;

use super::inner::{Inner, lock};
use crate::ManagerError;
use crate::catalog::JobKind;
use crate::git::{File, GitError, LastChanges, Mirror, ObjectDb, Trees, Wanted, last_changes};
use crate::repository::EventKind;

/// Time without work after which what failed is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Files of which more is kept than need be.
const SMALL: u64 = 1_000;

/// Runs until the manager stops.
pub(crate) fn run(inner: &Arc<Inner>, runtime: &Handle) {
    aeterna_index::yield_to_searches(inner.config.background_nice);
    let mut failed = BTreeSet::new();
    while !inner.stopping() {
        let Some(id) = next(inner) else {
            if !inner.history.wait(AGAIN_AFTER) {
                std::mem::take(&mut failed).into_iter().for_each(|id| inner.read_history(id));
            }
            continue;
        };
        match (Reading { inner, runtime, id }).run() {
            Ok(Some(summary)) => {
                runtime.block_on(inner.event(id, EventKind::HistoryReady, &summary));
                if let Err(error) = runtime.block_on(inner.publish(id)) {
                    tracing::warn!(repository = %id, %error, "watchers are not told");
                }
            }
            Ok(None) => {}
            // The shard may be served again by then.
            Err(ManagerError::Git(GitError::Cancelled)) => {
                failed.insert(id);
            }
            Err(error) => {
                tracing::warn!(repository = %id, %error, "last changes cannot be read; tried again");
                failed.insert(id);
            }
        }
    }
}

/// Takes the next repository whose shard is served: the others wait until theirs is.
fn next(inner: &Inner) -> Option<RepositoryId> {
    let mut pending = lock(&inner.history_pending);
    let id = *pending.iter().find(|id| inner.runs(**id))?;
    pending.take(&id)
}

/// One reading of a repository's last changes.
struct Reading<'a> {
    inner: &'a Inner,
    runtime: &'a Handle,
    id: RepositoryId,
}

impl Reading<'_> {
    /// What was found, in a sentence; `None` when there was nothing to do.
    fn run(&self) -> Result<Option<String>, ManagerError> {
        let Ok(shard) = self.inner.index.shard_of(self.id) else { return Ok(None) };
        let Some(commits) = shard.revisions(self.id).filter(|_| shard.history_pending(self.id))
        else {
            return Ok(None);
        };
        let Some(mirror) = Mirror::open(&self.inner.mirror_path(self.id))? else { return Ok(None) };
        let objects = mirror.objects(self.inner.config.git.delta_cache_bytes)?;
        let mut reader = objects.reader();
        if ids(commits.values()).iter().any(|commit| reader.header(commit).is_err()) {
            // The mirror came back from cold storage, which had less of it than of the index. The job
            // has this read again.
            self.runtime.block_on(self.inner.request(self.id, JobKind::Sync))?;
            return Ok(None);
        }
        // What is known of files that are no longer there goes when it is more than of those that are.
        let most = shard.documents(self.id).saturating_mul(2).saturating_add(SMALL);
        let before = shard.history(self.id).filter(|before| before.len() as u64 <= most);
        let update = self.read(&objects, &commits, before.as_deref())?;
        let complete = update.complete;
        shard.set_history(self.id, &HistoryUpdate { commits, ..update })?;
        // The index may have gone on meanwhile.
        self.inner.read_history(self.id);
        Ok(Some(match complete {
            true => "authors and dates of last changes can be searched".to_owned(),
            false => "authors and dates of last changes can be searched, but those of some files: \
                      commits that would tell are not there, or too many"
                .to_owned(),
        }))
    }

    fn stop(&self) -> bool {
        let shard = self.inner.index.shard_of(self.id);
        self.inner.stopping()
            || !self.inner.runs(self.id)
            || !shard.is_ok_and(|shard| shard.revisions(self.id).is_some())
    }

    /// Every file of some commits, once.
    fn files(&self, objects: &ObjectDb, tips: &[ObjectId]) -> Result<Vec<File>, ManagerError> {
        let stop = || self.stop();
        let mut reader = objects.reader();
        let mut trees = Trees::new(&mut reader, self.inner.config.git.max_files, &stop);
        let mut files = HashSet::new();
        for tip in tips {
            for file in trees.list(tip)?.files {
                if let Ok(id) = ObjectId::try_from(file.content.as_bytes()) {
                    files.insert((file.path, id));
                }
            }
        }
        Ok(files.into_iter().collect())
    }

    /// New commits are read first; where those and what was known before do not tell of every file,
    /// all are.
    fn read(
        &self,
        objects: &ObjectDb,
        commits: &BTreeMap<String, String>,
        before: Option<&History>,
    ) -> Result<HistoryUpdate, ManagerError> {
        let mut update = HistoryUpdate::default();
        let Some(before) = before else {
            let tips = ids(commits.values());
            let files = self.files(objects, &tips)?;
            update.complete = add(&mut update, self.walk(objects, &tips, &[], files)?).is_empty();
            return Ok(update);
        };
        let is_new =
            |(name, commit): &(&String, &String)| before.commits().get(*name) != Some(*commit);
        let tips = ids(commits.iter().filter(is_new).map(|(_, commit)| commit));
        let known = ids(before.commits().values());
        let files = self.files(objects, &tips)?;
        let mut left = add(&mut update, self.walk(objects, &tips, &known, files)?);
        left.retain(|(path, id)| {
            let content = ContentId::from_bytes(id.as_bytes());
            content.is_none_or(|content| before.of(path, &content).is_none())
        });
        // What an incomplete reading did not find, another one will not find either.
        if !left.is_empty() && before.is_complete() {
            left = add(&mut update, self.walk(objects, &tips, &[], left)?);
        }
        (update.complete, update.keep) = (left.is_empty() && before.is_complete(), true);
        Ok(update)
    }

    fn walk(
        &self,
        objects: &ObjectDb,
        tips: &[ObjectId],
        known: &[ObjectId],
        files: Vec<File>,
    ) -> Result<LastChanges, ManagerError> {
        let stop = || self.stop();
        let mut reader = objects.reader();
        let mut trees = Trees::new(&mut reader, usize::MAX, &stop);
        let limit = self.inner.config.history_commits;
        let wanted = Wanted { tips, known, files, limit };
        let report = |commits| tracing::debug!(repository = %self.id, commits, "reading commits");
        Ok(last_changes(&mut trees, wanted, &report)?)
    }
}

/// Takes what was found into an update, and gives back what was not.
fn add(update: &mut HistoryUpdate, found: LastChanges) -> Vec<File> {
    let first = update.authors.len() as u32;
    update.authors.extend(found.authors);
    for ((path, id), (seconds, author)) in found.found {
        if let Some(content) = ContentId::from_bytes(id.as_bytes()) {
            update.changes.push(LastChange { path, content, seconds, author: first + author });
        }
    }
    found.missing
}

fn ids<'c>(commits: impl Iterator<Item = &'c String>) -> Vec<ObjectId> {
    let ids: BTreeSet<ObjectId> =
        commits.filter_map(|commit| ObjectId::from_hex(commit.as_bytes()).ok()).collect();
    ids.into_iter().collect()
}

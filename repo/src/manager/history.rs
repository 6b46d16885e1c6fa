//! The thread that reads who changed the indexed files last, and when.
//!
//! A repository's text is searched long before: this reads commits back until every file is
//! accounted for, which in an old repository takes minutes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use aeterna_index::{ContentId, History, HistoryUpdate, IndexError, LastChange, RepositoryId};
use gix::hash::ObjectId;
use tokio::runtime::Handle;

use super::inner::{Inner, lock};
use crate::ManagerError;
use crate::git::{File, GitError, LastChanges, Mirror, ObjectDb, Trees, Wanted, last_changes};
use crate::repository::EventKind;

/// How long to wait when nothing is due.
const IDLE: Duration = Duration::from_secs(60);
/// Files of which more is kept than need be.
const SMALL: u64 = 1_000;

/// Runs until the manager stops.
pub(crate) fn run(inner: &Arc<Inner>, runtime: &Handle) {
    aeterna_index::yield_to_searches(inner.config.maintenance_nice);
    while !inner.stopping() {
        let next = lock(&inner.history_pending).pop_first();
        let Some(id) = next else {
            inner.history.wait(IDLE);
            continue;
        };
        let told = match (Reading { inner, id }).run() {
            Ok(Some(summary)) => Some((EventKind::HistoryReady, summary)),
            Ok(None) | Err(ManagerError::Git(GitError::Cancelled)) => None,
            Err(ManagerError::Index(IndexError::Cancelled)) => None,
            Err(error) => {
                let message = format!("the last changes of its files cannot be read: {error}");
                Some((EventKind::Notice, message))
            }
        };
        if let Some((kind, message)) = told {
            runtime.block_on(inner.event(id, kind, &message));
        }
    }
}

/// One reading of a repository's last changes.
struct Reading<'a> {
    inner: &'a Inner,
    id: RepositoryId,
}

impl Reading<'_> {
    /// What was found, in a sentence; `None` when there was nothing to do.
    fn run(&self) -> Result<Option<String>, ManagerError> {
        let shard = self.inner.index.shard_of(self.id);
        let Some(commits) = shard.revisions(self.id).filter(|_| shard.history_pending(self.id))
        else {
            return Ok(None);
        };
        let Some(mirror) = Mirror::open(&self.inner.mirror_path(self.id))? else { return Ok(None) };
        let objects = mirror.objects(self.inner.config.git.delta_cache_bytes)?;
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
        self.inner.stopping() || self.inner.index.shard_of(self.id).revisions(self.id).is_none()
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
        let Some(before) = before else {
            let tips = ids(commits.values());
            let files = self.files(objects, &tips)?;
            let mut changes = Changes::default();
            let complete = changes.add(self.walk(objects, &tips, &[], files)?).is_empty();
            return Ok(HistoryUpdate { complete, ..changes.update() });
        };
        let is_new =
            |(name, commit): &(&String, &String)| before.commits().get(*name) != Some(*commit);
        let tips = ids(commits.iter().filter(is_new).map(|(_, commit)| commit));
        let known = ids(before.commits().values());
        let files = self.files(objects, &tips)?;
        let mut changes = Changes::default();
        let mut left = changes.add(self.walk(objects, &tips, &known, files)?);
        left.retain(|(path, id)| {
            let content = ContentId::from_bytes(id.as_bytes());
            content.is_none_or(|content| before.of(path, &content).is_none())
        });
        // What an incomplete reading did not find, another one will not find either.
        if !left.is_empty() && before.is_complete() {
            left = changes.add(self.walk(objects, &tips, &[], left)?);
        }
        let complete = left.is_empty() && before.is_complete();
        Ok(HistoryUpdate { complete, keep: true, ..changes.update() })
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

/// Last changes from several readings, with one list of authors.
#[derive(Default)]
struct Changes {
    changes: Vec<LastChange>,
    authors: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Changes {
    fn number(&mut self, author: &str) -> u32 {
        if let Some(number) = self.numbers.get(author) {
            return *number;
        }
        let number = self.authors.len() as u32;
        self.authors.push(author.to_owned());
        self.numbers.insert(author.to_owned(), number);
        number
    }

    fn push(&mut self, (path, id): &File, seconds: i64, author: &str) {
        if let Some(content) = ContentId::from_bytes(id.as_bytes()) {
            let author = self.number(author);
            self.changes.push(LastChange { path: path.clone(), content, seconds, author });
        }
    }

    /// Takes in what was found, and gives back what was not.
    fn add(&mut self, found: LastChanges) -> Vec<File> {
        for (file, (seconds, author)) in &found.found {
            self.push(file, *seconds, &found.authors[*author as usize]);
        }
        found.missing
    }

    fn update(self) -> HistoryUpdate {
        HistoryUpdate { authors: self.authors, changes: self.changes, ..HistoryUpdate::default() }
    }
}

fn ids<'c>(commits: impl Iterator<Item = &'c String>) -> Vec<ObjectId> {
    let ids: BTreeSet<ObjectId> =
        commits.filter_map(|commit| ObjectId::from_hex(commit.as_bytes()).ok()).collect();
    ids.into_iter().collect()
}

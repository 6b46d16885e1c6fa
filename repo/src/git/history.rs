//! Who changed each file last, and when: commits read from the newest on, until every file is
//! accounted for.
//!
//! The last change of a file is the newest commit that has its content at its path and no parent of
//! which has: what `git log -1 -- PATH` shows, but for histories where branches brought the same
//! content about twice, or where clocks ran backwards.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BinaryHeap, HashMap};
use std::rc::Rc;

use gix::hash::ObjectId;
use gix::objs::tree::EntryKind;
use gix::objs::{CommitRef, Kind};

use super::GitError;
use super::tree::{Entries, Trees, file_kind, join, named};

/// Trees that are kept to be compared again: a commit's with its child's, then with its parents'.
const KEPT_TREES: usize = 4_096;
/// Commits after which the caller is told how far it is.
const COMMITS_PER_REPORT: u64 = 1_000;

/// A file: its path and the id of its content.
pub type File = (Vec<u8>, ObjectId);

/// What is looked for.
pub struct Wanted<'w> {
    /// Commits to begin at.
    pub tips: &'w [ObjectId],
    /// Commits that need not be read, nor what they come from.
    pub known: &'w [ObjectId],
    /// The files.
    pub files: Vec<File>,
    /// Commits read at most.
    pub limit: u64,
}

/// What was found.
#[derive(Debug, Default)]
pub struct LastChanges {
    /// Seconds since 1970 and the author, a place in `authors`, of each file that was found.
    pub found: HashMap<File, (i64, u32)>,
    /// Authors, such as `Ada Lovelace <ada@example.org>`.
    pub authors: Vec<String>,
    /// Commits read.
    pub commits: u64,
    /// Files that were not found: the limit was reached, commits that would tell are known or not
    /// there, as in a shallow clone, or cannot be read.
    pub missing: Vec<File>,
}

/// A commit that waits for its turn.
struct Commit {
    id: ObjectId,
    tree: ObjectId,
    parents: Vec<ObjectId>,
    /// When it was committed, in seconds since 1970.
    seconds: i64,
    author: String,
}

impl Ord for Commit {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.seconds, self.id).cmp(&(other.seconds, other.id))
    }
}

impl PartialOrd for Commit {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Commit {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Commit {}

/// What is known of a commit that was met.
struct Met {
    tree: ObjectId,
    /// Whether it is one of the known commits, or they come from it.
    is_known: bool,
    is_queued: bool,
}

/// Reads commits from the newest on.
///
/// # Errors
/// When the mirror cannot be read at all, or on a stop. Objects that are damaged are as if they were
/// not there.
pub fn last_changes(
    trees: &mut Trees,
    wanted: Wanted,
    report: &dyn Fn(u64),
) -> Result<LastChanges, GitError> {
    let mut walk = Walk {
        trees,
        kept: HashMap::new(),
        met: HashMap::new(),
        queue: BinaryHeap::new(),
        unknown: 0,
        files: HashMap::new(),
        folders: HashMap::new(),
        author_numbers: HashMap::new(),
        changes: LastChanges::default(),
    };
    walk.want(wanted.files);
    for id in wanted.known {
        walk.meet(*id, true)?;
    }
    for id in wanted.tips {
        walk.meet(*id, false)?;
    }
    walk.run(wanted.limit, report)?;
    let missing = walk.files.into_iter();
    walk.changes.missing =
        missing.flat_map(|(path, ids)| ids.into_iter().map(move |id| (path.clone(), id))).collect();
    Ok(walk.changes)
}

struct Walk<'t, 'r, 'a> {
    trees: &'t mut Trees<'r, 'a>,
    kept: HashMap<ObjectId, Rc<Entries>>,
    met: HashMap<ObjectId, Met>,
    queue: BinaryHeap<Commit>,
    /// Commits in the queue that are not known.
    unknown: u64,
    /// Contents at each path that are still looked for.
    files: HashMap<Vec<u8>, Vec<ObjectId>>,
    /// How many of them each folder has in it.
    folders: HashMap<Vec<u8>, usize>,
    author_numbers: HashMap<String, u32>,
    changes: LastChanges,
}

impl Walk<'_, '_, '_> {
    fn want(&mut self, files: Vec<File>) {
        for (path, id) in files {
            for folder in folders_of(&path) {
                match self.folders.get_mut(folder) {
                    Some(count) => *count += 1,
                    None => {
                        self.folders.insert(folder.to_vec(), 1);
                    }
                }
            }
            self.files.entry(path).or_default().push(id);
        }
    }

    /// Puts a commit in the queue, unless it was there; whether it can be read.
    fn meet(&mut self, id: ObjectId, is_known: bool) -> Result<bool, GitError> {
        if let Slot::Occupied(mut met) = self.met.entry(id) {
            let met = met.get_mut();
            if is_known && !met.is_known {
                met.is_known = true;
                self.unknown -= u64::from(met.is_queued);
            }
            return Ok(true);
        }
        let Some(commit) = self.read(id)? else { return Ok(false) };
        self.met.insert(id, Met { tree: commit.tree, is_known, is_queued: true });
        self.unknown += u64::from(!is_known);
        self.queue.push(commit);
        Ok(true)
    }

    /// Reads a commit; `None` when it is not there, or damaged.
    fn read(&mut self, id: ObjectId) -> Result<Option<Commit>, GitError> {
        let Some((Kind::Commit, bytes)) = self.trees.object(&id)? else { return Ok(None) };
        let Ok(commit) = CommitRef::from_bytes(bytes, id.kind()) else { return Ok(None) };
        let author = match commit.author() {
            Ok(author) => format!("{} <{}>", author.name, author.email),
            Err(_) => String::new(),
        };
        let seconds = commit.committer().map_or(0, |committer| committer.seconds());
        let (tree, parents) = (commit.tree(), commit.parents().collect());
        Ok(Some(Commit { id, tree, parents, seconds, author }))
    }

    fn run(&mut self, limit: u64, report: &dyn Fn(u64)) -> Result<(), GitError> {
        while self.unknown > 0
            && !self.files.is_empty()
            && let Some(commit) = self.queue.pop()
        {
            let Some(met) = self.met.get_mut(&commit.id) else { continue };
            met.is_queued = false;
            let is_known = met.is_known;
            self.unknown -= u64::from(!is_known);
            let mut parents_are_there = true;
            for parent in &commit.parents {
                parents_are_there &= self.meet(*parent, is_known)?;
            }
            if is_known {
                continue;
            }
            if self.changes.commits == limit {
                return Ok(());
            }
            self.changes.commits += 1;
            if self.changes.commits.is_multiple_of(COMMITS_PER_REPORT) {
                report(self.changes.commits);
            }
            // Without a parent, what a commit changed cannot be told.
            if parents_are_there {
                self.compare(&commit)?;
            }
        }
        Ok(())
    }

    /// Finds the files that a commit has as they are wanted, and no parent of it has.
    fn compare(&mut self, commit: &Commit) -> Result<(), GitError> {
        let parents = commit.parents.iter().filter_map(|id| self.met.get(id)).map(|met| met.tree);
        let mut folders = vec![(Vec::new(), commit.tree, parents.collect::<Vec<_>>())];
        while let Some((path, tree, parents)) = folders.pop() {
            if parents.contains(&tree) {
                continue;
            }
            let Some(entries) = self.entries(tree)? else { continue };
            let mut before = Vec::with_capacity(parents.len());
            let mut is_whole = true;
            for parent in parents {
                match self.entries(parent)? {
                    Some(entries) => before.push(entries),
                    None => is_whole = false,
                }
            }
            // What a damaged folder held, nobody can tell apart from what is new.
            if !is_whole {
                continue;
            }
            for (name, entry) in entries.iter() {
                let was = before.iter().filter_map(|entries| named(entries, name));
                if was.clone().any(|was| was.same_content(entry)) {
                    continue;
                }
                let path = join(&path, name);
                if file_kind(entry.kind).is_some() {
                    self.found(path, entry.id, commit);
                } else if self.folders.contains_key(&path) {
                    let trees = was.filter(|was| was.kind == EntryKind::Tree);
                    folders.push((path, entry.id, trees.map(|was| was.id).collect()));
                }
            }
        }
        Ok(())
    }

    fn found(&mut self, path: Vec<u8>, id: ObjectId, commit: &Commit) {
        let Slot::Occupied(mut wanted) = self.files.entry(path) else { return };
        let Some(at) = wanted.get().iter().position(|other| *other == id) else { return };
        wanted.get_mut().swap_remove(at);
        let path = match wanted.get().is_empty() {
            true => wanted.remove_entry().0,
            false => wanted.key().clone(),
        };
        for folder in folders_of(&path) {
            if let Some(count) = self.folders.get_mut(folder) {
                *count -= 1;
                if *count == 0 {
                    self.folders.remove(folder);
                }
            }
        }
        let author = match self.author_numbers.get(&commit.author) {
            Some(number) => *number,
            None => {
                let number = self.changes.authors.len() as u32;
                self.changes.authors.push(commit.author.clone());
                self.author_numbers.insert(commit.author.clone(), number);
                number
            }
        };
        self.changes.found.insert((path, id), (commit.seconds, author));
    }

    /// The entries of a tree; `None` when it cannot be read.
    fn entries(&mut self, id: ObjectId) -> Result<Option<Rc<Entries>>, GitError> {
        if let Some(entries) = self.kept.get(&id) {
            return Ok(Some(Rc::clone(entries)));
        }
        let Some(entries) = self.trees.entries(&id)? else { return Ok(None) };
        if self.kept.len() == KEPT_TREES {
            self.kept.clear();
        }
        let entries = Rc::new(entries);
        self.kept.insert(id, Rc::clone(&entries));
        Ok(Some(entries))
    }
}

/// The folders that a path is in, but for the root.
fn folders_of(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| &path[..at])
}

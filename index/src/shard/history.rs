//! Who changed each file last, and when.
//!
//! A small file for each repository, made of its commits by whoever can read them. A change is
//! found by what its file is, path and content, so that merging segments leaves it as it is.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::{Shard, lock};
use crate::IndexError;
use crate::document::{ContentId, RepositoryId, RevisionName};
use crate::segment::View;
use crate::segment::file::{SectionFile, SectionWriter, discard};

const AUTHORS: u32 = 1;
const CHANGES: u32 = 2;
/// Key, seconds and author of a change.
const RECORD_BYTES: usize = 16 + 8 + 4;

/// The last change of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastChange {
    /// Path of the file.
    pub path: Vec<u8>,
    /// What the change made of it.
    pub content: ContentId,
    /// Seconds since 1970.
    pub seconds: i64,
    /// Place in [`HistoryUpdate::authors`].
    pub author: u32,
}

/// The last changes of a repository's files, for [`Shard::set_history`].
#[derive(Clone, Debug, Default)]
pub struct HistoryUpdate {
    /// The commit of each indexed revision whose files these are.
    pub commits: BTreeMap<RevisionName, String>,
    /// Whether every commit was read that could tell of a file.
    pub complete: bool,
    /// Whether what was known before stays, where it is not said anew.
    pub keep: bool,
    /// Authors, such as `Ada Lovelace <ada@example.org>`.
    pub authors: Vec<String>,
    /// The changes, each file once. A file without one has no known author or date.
    pub changes: Vec<LastChange>,
}

/// What the manifest has of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HistoryEntry {
    /// Number in the name of its file.
    pub(crate) number: u64,
    pub(crate) commits: BTreeMap<RevisionName, String>,
    pub(crate) complete: bool,
}

impl HistoryEntry {
    /// Name of the file.
    pub(crate) fn file(&self) -> String {
        file_name(self.number)
    }
}

fn file_name(number: u64) -> String {
    format!("{number:010}.history")
}

/// When a file was changed, and by whom: a place in [`History::authors`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Place in the list of authors.
    pub author: u32,
}

/// The last changes of a repository's files.
#[derive(Debug)]
pub struct History {
    entry: HistoryEntry,
    authors: Vec<String>,
    /// Ascending by key.
    changes: Vec<(u128, Changed)>,
}

impl History {
    /// The commits whose files it knows, by revision.
    pub fn commits(&self) -> &BTreeMap<RevisionName, String> {
        &self.entry.commits
    }

    /// Whether every commit was read that could tell of a file.
    pub fn is_complete(&self) -> bool {
        self.entry.complete
    }

    /// Number of files whose last change is known.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Every author.
    pub fn authors(&self) -> &[String] {
        &self.authors
    }

    /// The last change of a file, where it is known.
    pub fn of(&self, path: &[u8], content: &ContentId) -> Option<Changed> {
        let wanted = key(path, content);
        let at = self.changes.binary_search_by_key(&wanted, |(key, _)| *key).ok()?;
        Some(self.changes[at].1)
    }

    /// Whether it is what an entry names.
    pub(super) fn is(&self, entry: &HistoryEntry) -> bool {
        self.entry == *entry
    }

    /// Reads the file.
    pub(super) fn read(folder: &Path, entry: &HistoryEntry) -> Result<Self, IndexError> {
        let file = SectionFile::open(&folder.join(entry.file()))?;
        let authors: Vec<String> = serde_json::from_slice(file.section(AUTHORS)?)
            .map_err(|error| file.damaged(error.to_string()))?;
        let (records, rest) = file.section(CHANGES)?.as_chunks::<RECORD_BYTES>();
        let changes: Vec<(u128, Changed)> = records.iter().map(decode).collect();
        let is_author = |(_, changed): &(u128, Changed)| (changed.author as usize) < authors.len();
        if !rest.is_empty() || !changes.iter().all(is_author) || !changes.is_sorted_by_key(|c| c.0)
        {
            return Err(file.damaged("its changes are not what it says of them"));
        }
        Ok(Self { entry: entry.clone(), authors, changes })
    }
}

/// Writes the file, synced.
fn write(path: &Path, update: &HistoryUpdate, before: Option<&History>) -> Result<(), IndexError> {
    let mut authors: Vec<String> = before.map_or(Vec::new(), |before| before.authors.clone());
    let known = authors.iter().zip(0..).map(|(author, number)| (author.clone(), number));
    let mut numbers: HashMap<String, u32> = known.collect();
    let mut number_of = |author: &String| {
        *numbers.entry(author.clone()).or_insert_with(|| {
            authors.push(author.clone());
            authors.len() as u32 - 1
        })
    };
    let places: Vec<u32> = update.authors.iter().map(&mut number_of).collect();
    let said = update.changes.iter().map(|change| {
        let author = places[change.author as usize];
        (key(&change.path, &change.content), Changed { seconds: change.seconds, author })
    });
    let kept = before.into_iter().flat_map(|before| before.changes.iter().copied());
    let mut changes: Vec<(u128, Changed)> = said.chain(kept).collect();
    // A stable order: of two with one key, the first was said anew.
    changes.sort_by_key(|(key, _)| *key);
    changes.dedup_by_key(|(key, _)| *key);
    let authors = serde_json::to_vec(&authors)
        .map_err(|error| IndexError::io("cannot encode", path)(error.into()))?;
    let mut writer = SectionWriter::create(path)?;
    writer.section(AUTHORS, &authors)?;
    writer.begin(CHANGES);
    for (key, changed) in &changes {
        writer.append(&encode(*key, *changed))?;
    }
    writer.finish().map(drop)
}

fn key(path: &[u8], content: &ContentId) -> u128 {
    let mut hasher = Xxh3::new();
    // A length before each keeps two of them from running into one another.
    hasher.update(&(path.len() as u64).to_le_bytes());
    hasher.update(path);
    hasher.update(content.as_bytes());
    hasher.digest128()
}

fn encode(key: u128, changed: Changed) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..16].copy_from_slice(&key.to_le_bytes());
    record[16..24].copy_from_slice(&changed.seconds.to_le_bytes());
    record[24..].copy_from_slice(&changed.author.to_le_bytes());
    record
}

fn decode(record: &[u8; RECORD_BYTES]) -> (u128, Changed) {
    let mut key = [0; 16];
    let mut seconds = [0; 8];
    let mut author = [0; 4];
    key.copy_from_slice(&record[..16]);
    seconds.copy_from_slice(&record[16..24]);
    author.copy_from_slice(&record[24..]);
    let changed =
        Changed { seconds: i64::from_le_bytes(seconds), author: u32::from_le_bytes(author) };
    (u128::from_le_bytes(key), changed)
}

impl Shard {
    /// Takes over the last changes of a repository's files, in place of those it had. One that is
    /// not in the index is no error.
    ///
    /// # Errors
    /// When they cannot be written, or the shard is closed; nothing has changed then.
    ///
    /// # Panics
    /// If a change names an author that is not in the list.
    pub fn set_history(&self, id: RepositoryId, update: &HistoryUpdate) -> Result<(), IndexError> {
        let authors = update.authors.len();
        assert!(update.changes.iter().all(|change| (change.author as usize) < authors));
        let _writing = self.writing()?;
        let before = self.history(id).filter(|_| update.keep);
        let number = self.next_id.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(file_name(number));
        write(&path, update, before.as_deref())?;
        fail::fail_point!("history-before-commit");
        let _commit = lock(&self.commit);
        let mut manifest = self.snapshot().manifest.clone();
        let Some(state) = manifest.repositories.get_mut(&id) else {
            discard(&path);
            return Ok(());
        };
        state.history = Some(HistoryEntry {
            number,
            commits: update.commits.clone(),
            complete: update.complete,
        });
        self.commit_or_discard(manifest, Ok(()))
    }

    /// The last changes of a repository's files, as far as they are known.
    pub fn history(&self, id: RepositoryId) -> Option<Arc<History>> {
        self.snapshot().histories.get(&id).cloned()
    }

    /// Whether a repository holds commits whose last changes were not read yet.
    pub fn history_pending(&self, id: RepositoryId) -> bool {
        self.snapshot().history_pending(id)
    }
}

/// The last change of each document of a segment.
pub(super) fn of_documents(
    view: &View,
    repositories: &[RepositoryId],
    histories: &BTreeMap<RepositoryId, Arc<History>>,
) -> Result<Vec<Option<Changed>>, IndexError> {
    let mut changes = vec![None; view.documents.len() as usize];
    for id in repositories {
        let Some(history) = histories.get(id) else { continue };
        for number in view.documents_in(*id) {
            let content = view.content_id(view.documents.get(number).blob)?;
            changes[number as usize] = history.of(view.path(number), &content);
        }
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn content(byte: u8) -> ContentId {
        ContentId::from_bytes(&[byte; 20]).unwrap()
    }

    #[test]
    fn changes_come_back_by_path_and_content() {
        let folder = tempfile::tempdir().unwrap();
        let entry = HistoryEntry { number: 7, commits: BTreeMap::new(), complete: true };
        let change = |path: &[u8], byte, seconds, author| LastChange {
            path: path.to_vec(),
            content: content(byte),
            seconds,
            author,
        };
        let update = HistoryUpdate {
            authors: vec!["Ada <a@x>".to_owned(), "Bob <b@x>".to_owned()],
            changes: vec![
                change(b"a", 1, -5, 0),
                change(b"a", 2, i64::MAX, 1),
                change(b"\xff/b", 1, 0, 1),
            ],
            ..HistoryUpdate::default()
        };
        write(&folder.path().join(entry.file()), &update, None).unwrap();
        let history = History::read(folder.path(), &entry).unwrap();
        assert_eq!(history.authors(), update.authors);
        assert_eq!((history.len(), history.is_empty()), (3, false));
        for wanted in &update.changes {
            let found = history.of(&wanted.path, &wanted.content).unwrap();
            assert_eq!((found.seconds, found.author), (wanted.seconds, wanted.author));
        }
        assert_eq!(history.of(b"a", &content(3)), None);
        assert_eq!(history.of(b"b", &content(1)), None);

        // What is said anew goes before what was known.
        let later = HistoryUpdate {
            authors: vec!["Cy <c@x>".to_owned(), "Ada <a@x>".to_owned()],
            changes: vec![change(b"a", 1, 9, 0), change(b"new", 1, 8, 1)],
            keep: true,
            ..HistoryUpdate::default()
        };
        let entry = HistoryEntry { number: 8, ..entry };
        write(&folder.path().join(entry.file()), &later, Some(&history)).unwrap();
        let history = History::read(folder.path(), &entry).unwrap();
        let known = |path: &[u8], byte| {
            let found = history.of(path, &content(byte)).unwrap();
            (found.seconds, history.authors()[found.author as usize].as_str())
        };
        assert_eq!(known(b"a", 1), (9, "Cy <c@x>"));
        assert_eq!(known(b"a", 2), (i64::MAX, "Bob <b@x>"));
        assert_eq!(known(b"new", 1), (8, "Ada <a@x>"));
        assert_eq!((history.len(), history.authors().len()), (4, 3));
    }
}

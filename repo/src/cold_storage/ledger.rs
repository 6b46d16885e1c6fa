//! What was sent of large files, on this node's disk: an upload that was cut off continues with the parts
//! that the store does not have yet.
//!
//! What is written here is not synced: without it parts are sent again, and nothing is wrong.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// An upload in parts that the store has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begun {
    /// The store's name for it.
    pub(crate) upload: String,
    /// Bytes of the file.
    pub(crate) bytes: u64,
    /// Bytes of its parts.
    pub(crate) part_bytes: u64,
    /// What the store calls the parts that it has, by number.
    pub(crate) parts: BTreeMap<usize, String>,
}

/// The uploads that are begun, by key.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    path: Option<PathBuf>,
    begun: Mutex<BTreeMap<String, Begun>>,
}

impl Ledger {
    /// What a file says; nothing where there is none, or it cannot be read.
    pub(crate) fn open(path: &Path) -> Self {
        let begun = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self { path: Some(path.to_owned()), begun: Mutex::new(begun.unwrap_or_default()) }
    }

    /// Whether it outlives the process.
    pub(crate) fn is_kept(&self) -> bool {
        self.path.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Begun>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &str) -> Option<Begun> {
        self.lock().get(key).cloned()
    }

    pub(crate) fn begin(&self, key: &str, begun: Begun) {
        self.change(|all| drop(all.insert(key.to_owned(), begun)));
    }

    pub(crate) fn add_part(&self, key: &str, number: usize, part: String) {
        self.change(|all| {
            if let Some(begun) = all.get_mut(key) {
                begun.parts.insert(number, part);
            }
        });
    }

    pub(crate) fn end(&self, key: &str) {
        self.change(|all| drop(all.remove(key)));
    }

    /// Takes out what is of no more use: the store is to forget it.
    pub(crate) fn take_others(&self, wanted: impl Fn(&str) -> bool) -> Vec<(String, Begun)> {
        let mut taken = Vec::new();
        if self.lock().keys().any(|key| !wanted(key)) {
            self.change(|all| {
                let (kept, others) =
                    std::mem::take(all).into_iter().partition(|(key, _)| wanted(key));
                (*all, taken) = (kept, BTreeMap::into_iter(others).collect());
            });
        }
        taken
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Begun>)) {
        let mut begun = self.lock();
        change(&mut begun);
        let Some(path) = &self.path else { return };
        let written = match begun.is_empty() {
            true => fs::remove_file(path),
            false => write(path, &begun),
        };
        if let Err(error) = written
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %path.display(), "parts that were sent may be sent again");
        }
    }
}

fn write(path: &Path, begun: &BTreeMap<String, Begun>) -> std::io::Result<()> {
    let partial = path.with_extension("uploading-partial");
    fs::write(&partial, serde_json::to_vec(begun)?)?;
    fs::rename(partial, path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_sent_is_known_after_a_crash_and_nonsense_is_nothing() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("0001.uploading");
        let ledger = Ledger::open(&path);
        let begun =
            Begun { upload: "u".to_owned(), bytes: 9, part_bytes: 5, parts: BTreeMap::new() };
        for key in ["a", "b"] {
            ledger.begin(key, begun.clone());
            ledger.add_part(key, 1, format!("part of {key}"));
        }
        let ledger = Ledger::open(&path);
        assert_eq!(ledger.get("a").unwrap().parts[&1], "part of a");
        let others = ledger.take_others(|key| key == "a");
        assert_eq!((others.len(), others[0].0.as_str()), (1, "b"));
        assert_eq!(Ledger::open(&path).get("b"), None);
        ledger.end("a");
        assert!(!path.exists());
        fs::write(&path, "{\"a\":").unwrap();
        assert_eq!(Ledger::open(&path).get("a"), None);
    }
}

//! A pack file mapped into memory, whose pages do not pile up in the process's resident memory.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Mmap, UncheckedAdvice};

use super::GitError;

/// Bytes that the system maps around one that is read (Linux's `fault_around_bytes`).
const AROUND: u64 = 64 << 10;
/// Bytes that may be mapped before the pages of a pack are given back. They stay in the page cache:
/// reading them again costs a page fault and no disk access.
const GIVE_BACK_AFTER: u64 = 64 << 20;

/// A read-only mapping of a pack; clones share it.
///
/// The file must not be truncated while it is mapped: mirrors are written by this crate alone, and
/// their packs are replaced or deleted, never changed.
#[derive(Clone)]
pub(crate) struct Mapping(Arc<Mapped>);

struct Mapped {
    map: Mmap,
    /// Bytes that were mapped, about.
    read: AtomicU64,
    /// End of the last read.
    end: AtomicU64,
}

impl Mapping {
    pub(crate) fn open(path: &Path) -> Result<Self, GitError> {
        let file = File::open(path).map_err(GitError::io("cannot open", path))?;
        // SAFETY: the file is private to this process and immutable, see the type.
        let map = unsafe { Mmap::map(&file) }.map_err(GitError::io("cannot map", path))?;
        Ok(Self(Arc::new(Mapped { map, read: AtomicU64::new(0), end: AtomicU64::new(0) })))
    }

    /// Counts bytes that were read at an offset, and gives all pages back once it is many.
    pub(crate) fn count(&self, offset: u64, bytes: u64) {
        // What is read in order shares its pages with what was before; a jump maps new ones.
        let last = self.0.end.swap(offset + bytes, Ordering::Relaxed);
        let bytes = if offset.abs_diff(last) < AROUND { bytes } else { bytes.max(AROUND) };
        let before = self.0.read.fetch_add(bytes, Ordering::Relaxed);
        if before / GIVE_BACK_AFTER != (before + bytes) / GIVE_BACK_AFTER {
            // SAFETY: the mapping is shared and read-only, so its pages come back from the file
            // with the same bytes. A failure costs memory and nothing else.
            let _ = unsafe { self.0.map.unchecked_advise(UncheckedAdvice::DontNeed) };
        }
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.map
    }
}

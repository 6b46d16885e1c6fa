//! Decompressed units that a search has at hand: what is verified for a page is cut into lines right
//! after.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A unit of content: its segment, by its place among those of the search, and its number.
pub(crate) type Key = (u32, u32);

/// Units that threads have let go of.
#[derive(Default)]
pub(crate) struct Units(Mutex<HashMap<Key, Arc<Vec<u8>>>>);

impl Units {
    /// A unit, if it is here.
    pub(crate) fn get(&self, key: Key) -> Option<Arc<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    /// Takes units in.
    pub(crate) fn extend(&self, units: impl Iterator<Item = (Key, Arc<Vec<u8>>)>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(units);
    }

    /// Lets go of them all.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

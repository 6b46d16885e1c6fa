//! A known mistake, for the simulation to find: the feature `mistakes` is in no other build.

#[cfg(not(debug_assertions))]
compile_error!(
    "the feature `mistakes` is for the tests of the simulation, and never for a release"
);

use std::sync::atomic::{AtomicBool, Ordering};

use redb::Durability;
use serde::Serialize;

use super::{MAX_VALUE_BYTES, Store, StoreError, VALUES};
use crate::codec;

static FORGETS: AtomicBool = AtomicBool::new(false);

/// From now on votes are given before they are on the disk, or no more, in the whole process.
pub fn forget_to_sync_votes(forget: bool) {
    FORGETS.store(forget, Ordering::SeqCst);
}

/// Whether they are.
pub(super) fn forgets_to_sync_votes() -> bool {
    FORGETS.load(Ordering::SeqCst)
}

impl Store {
    /// As [`Store::put`], but it may be lost.
    pub(super) async fn put_unsynced<T: Serialize>(
        &self,
        key: &'static str,
        value: &T,
    ) -> Result<(), StoreError> {
        let bytes = codec::encode(value, MAX_VALUE_BYTES)?;
        self.run(move |database| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::None)?;
            transaction.open_table(VALUES)?.insert(key, bytes.as_slice())?;
            transaction.commit()?;
            Ok(())
        })
        .await
    }
}

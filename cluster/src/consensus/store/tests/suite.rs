//! openraft's own tests of a store.

use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;
use uuid::Uuid;

use super::super::{Machine, Store};
use crate::consensus::types::{StorageError, Types};

struct Stores;

impl StoreBuilder<Types, Store, Machine, TempDir> for Stores {
    async fn build(&self) -> Result<(TempDir, Store, Machine), StorageError> {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let machine = Machine::open(store.clone(), Uuid::nil(), 8).await.unwrap();
        Ok((folder, store, machine))
    }
}

#[test]
fn openraft_is_content_with_the_store() {
    Suite::test_all(Stores).unwrap();
}

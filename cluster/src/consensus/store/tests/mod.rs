#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crash;
mod disk;
mod failing;
mod suite;

use super::{FILE, Store};

#[test]
fn a_file_that_was_left_half_made_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let partial = folder.path().join(FILE).with_extension("partial");
    std::fs::write(&partial, b"redb, but not all of it").unwrap();
    drop(Store::open(folder.path()).unwrap());
    assert!(!partial.exists());
    // And is there again.
    Store::open(folder.path()).unwrap();
}

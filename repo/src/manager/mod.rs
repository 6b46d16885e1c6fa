//! One owner of the catalog, the mirrors, the index and the jobs that bring them together.

mod types;

pub use types::{
    AddRepository, Added, FileContent, Health, ListFilter, NotIndexed, Pause, TreeEntry, TreeKind,
};

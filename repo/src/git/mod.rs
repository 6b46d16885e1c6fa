//! Remotes, their bare mirrors, and reading from those.

mod error;
mod mapping;
mod objects;
mod source;
mod tree;
mod url;

pub use error::GitError;
pub use objects::{ObjectDb, ObjectReader};
pub use source::MirrorSource;
pub use tree::{AttributeRules, Difference, Listing, Trees};
pub use url::{RemoteUrl, SshUrl};

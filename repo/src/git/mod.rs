//! Remotes, their bare mirrors, and reading from those.

mod error;

pub use error::GitError;

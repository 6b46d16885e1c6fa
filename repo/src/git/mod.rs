//! Remotes, their bare mirrors, and reading from those.
//!
//! Nothing of a repository is ever run: no hook, no filter, no command that its configuration
//! names. The only programs that are started are `ssh`, and `git` for bundles.

mod bundle;
mod error;
mod fetch;
mod history;
mod local;
mod mapping;
mod mirror;
mod objects;
mod progress;
mod refs;
mod remote;
mod source;
mod ssh;
mod tree;
mod url;

pub(crate) use bundle::{Contents, Git, is_installed};
pub use error::GitError;
pub(crate) use fetch::remove_folder;
pub use fetch::{FetchContext, Fetched, MirrorPlace, fetch};
pub use history::{File, LastChanges, Wanted, last_changes};
pub use mirror::Mirror;
pub(crate) use mirror::{sync_folder, write_durably};

pub use objects::{ObjectDb, ObjectReader};
pub(crate) use refs::HEAD_REF;
pub use refs::{DETACHED_HEAD, RefSnapshot, Selected, Selector, check_glob};
pub use source::MirrorSource;
pub use tree::{Difference, Listing, Trees};
pub use url::{RemoteUrl, SshUrl};

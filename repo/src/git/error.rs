//! What can go wrong between a remote, its mirror and a reader.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// An error of a URL, a fetch or a mirror.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The URL cannot be understood.
    #[error("{url:?} is no URL or path of a git repository: {reason}")]
    InvalidUrl {
        /// As given, without anything that may be secret.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The URL's protocol is not one that may be used.
    #[error(
        "the protocol {protocol} is not allowed; use https://, ssh://, file:// or a path{hint}"
    )]
    ProtocolNotAllowed {
        /// The protocol.
        protocol: String,
        /// What would allow it, or nothing.
        hint: &'static str,
    },
    /// Local repositories are not allowed.
    #[error("repositories of this machine may not be added here; give an https:// or ssh:// URL")]
    LocalPathNotAllowed,
    /// The URL holds a password or token.
    #[error(
        "the URL of {host} holds a password or token; give it without, and store the secret as a credential"
    )]
    UrlHasPassword {
        /// Host of the URL.
        host: String,
    },
    /// What is there is no git repository.
    #[error("{location} is not a git repository: {detail}")]
    NotARepository {
        /// URL or path.
        location: String,
        /// What was found instead.
        detail: String,
    },
    /// The host answered that there is no such repository.
    #[error("{location} does not exist; check the URL: {detail}")]
    RemoteNotFound {
        /// URL or path.
        location: String,
        /// What the remote said.
        detail: String,
    },
    /// The remote wants to know who asks.
    #[error("{location} needs authentication; store a credential for its host: {detail}")]
    AuthenticationRequired {
        /// URL.
        location: String,
        /// What the remote said.
        detail: String,
    },
    /// No connection could be made.
    #[error("cannot reach {location}: {detail}")]
    HostUnreachable {
        /// URL.
        location: String,
        /// The reason.
        detail: String,
    },
    /// The remote took too long.
    #[error("{location}: {what} took longer than {limit:?}; it is tried again")]
    TimedOut {
        /// URL or path.
        location: String,
        /// What took too long.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The repository is larger than a mirror may be.
    #[error(
        "{location} has more than {limit} bytes, the limit of one repository; raise it to index this one"
    )]
    TooLarge {
        /// URL or path.
        location: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A revision has more files than may be listed.
    #[error(
        "a revision has more than {limit} files, the limit of one repository; raise it to index this one"
    )]
    TooManyFiles {
        /// The limit.
        limit: usize,
    },
    /// The work was asked to stop.
    #[error("stopped before it was complete")]
    Cancelled,
    /// The fetch failed in another way.
    #[error("fetching {location} failed: {detail}")]
    Fetch {
        /// URL or path.
        location: String,
        /// The reason.
        detail: String,
    },
    /// The mirror could not be read.
    #[error("the mirror {path} cannot be read ({detail}); it is fetched anew")]
    Mirror {
        /// Its folder.
        path: PathBuf,
        /// The reason.
        detail: String,
    },
    /// A bundle could not be made or read.
    #[error("git cannot make or read the bundle {path}: {detail}")]
    Bundle {
        /// The bundle, or the mirror that it is of.
        path: PathBuf,
        /// What git said.
        detail: String,
    },
    /// An object cannot be read.
    #[error("object {id} cannot be read: {detail}")]
    Object {
        /// Its id in hex.
        id: String,
        /// The reason.
        detail: String,
    },
    /// Reading or writing a file failed.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried, such as `cannot write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl GitError {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidUrl { .. } => "invalid-url",
            Self::ProtocolNotAllowed { .. } => "protocol-not-allowed",
            Self::LocalPathNotAllowed => "local-path-not-allowed",
            Self::UrlHasPassword { .. } => "url-has-password",
            Self::NotARepository { .. } => "not-a-git-repository",
            Self::RemoteNotFound { .. } => "remote-not-found",
            Self::AuthenticationRequired { .. } => "authentication-required",
            Self::HostUnreachable { .. } => "host-unreachable",
            Self::TimedOut { .. } => "timed-out",
            Self::TooLarge { .. } | Self::TooManyFiles { .. } => "repository-too-large",
            Self::Cancelled => "cancelled",
            Self::Io { .. } if self.is_disk_full() => "disk-full",
            Self::Fetch { .. } => "fetch-failed",
            Self::Bundle { .. } => "bundle-failed",
            Self::Mirror { .. } | Self::Object { .. } | Self::Io { .. } => "mirror-failed",
        }
    }

    /// Whether the disk is full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if crate::error::is_disk_full(source))
    }

    /// Whether trying again later cannot help: what was asked for has to change first.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::InvalidUrl { .. }
            | Self::ProtocolNotAllowed { .. }
            | Self::LocalPathNotAllowed
            | Self::UrlHasPassword { .. }
            | Self::NotARepository { .. }
            | Self::RemoteNotFound { .. }
            | Self::AuthenticationRequired { .. }
            | Self::TooLarge { .. }
            | Self::TooManyFiles { .. } => true,
            Self::HostUnreachable { .. }
            | Self::TimedOut { .. }
            | Self::Cancelled
            | Self::Fetch { .. }
            | Self::Mirror { .. }
            | Self::Bundle { .. }
            | Self::Object { .. }
            | Self::Io { .. } => false,
        }
    }

    /// What a failpoint makes of a place.
    #[cfg(feature = "failpoints")]
    pub(crate) fn failpoint(name: &'static str, source: io::Error) -> Self {
        Self::Io { action: "cannot pass", path: name.into(), source }
    }

    /// Wraps an I/O error with what was done to which path.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

//! Which URLs and paths may be fetched, and their canonical form.
//!
//! What is not recognised is refused: git runs a program for `ext::…`, takes `--upload-pack=…` for
//! an option, and shows a password in a URL to everyone who can list processes.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use url::{Host, Url};

use super::GitError;
use crate::config::GitConfig;

/// Longest URL or path that is looked at.
const MAX_LENGTH: usize = 4096;

/// Where a repository is fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteUrl {
    /// `https://`, or `http://` where the configuration allows it; without user, query, fragment.
    Http(Url),
    /// `ssh://` or `user@host:path`.
    Ssh(SshUrl),
    /// A folder of this machine: a working tree or a git folder.
    Local(PathBuf),
}

/// The parts of an ssh URL; each is checked so that `ssh` cannot take it for an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshUrl {
    /// User to log in as; `ssh` decides when `None`.
    pub user: Option<String>,
    /// Name or address.
    pub host: String,
    /// Port when it is not 22.
    pub port: Option<u16>,
    /// Path on the host; starts with `/`, `~`, or is relative to the user's home.
    pub path: String,
}

impl RemoteUrl {
    /// Reads a URL or path as typed by a user.
    ///
    /// # Errors
    /// When it is malformed, its protocol is not allowed, or it holds a secret.
    pub fn parse(text: &str, config: &GitConfig) -> Result<Self, GitError> {
        let text = text.trim();
        let invalid = |reason| GitError::InvalidUrl { url: redact(text), reason };
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        if text.len() > MAX_LENGTH {
            return Err(invalid("it is too long"));
        }
        if text.chars().any(char::is_control) {
            return Err(invalid("it holds a control character"));
        }
        if text.starts_with('-') {
            return Err(invalid("it starts with a dash, as an option does"));
        }
        if let Some(helper) = remote_helper(text) {
            return Err(GitError::ProtocolNotAllowed { protocol: format!("{helper}::"), hint: "" });
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Self::parse_url(text, &scheme.to_ascii_lowercase(), config);
        }
        match split_scp(text) {
            Some((host, path)) => parse_scp(text, host, path),
            None => local(Path::new(text), config),
        }
    }

    fn parse_url(text: &str, scheme: &str, config: &GitConfig) -> Result<Self, GitError> {
        let invalid = |reason| GitError::InvalidUrl { url: redact(text), reason };
        if !matches!(scheme, "https" | "http" | "ssh" | "file") {
            let hint = if scheme == "git" { "; git:// is not encrypted" } else { "" };
            return Err(GitError::ProtocolNotAllowed { protocol: redact_word(scheme), hint });
        }
        let url = Url::parse(text).map_err(|_| invalid("it cannot be parsed"))?;
        if url.password().is_some() {
            return Err(has_password(&url));
        }
        match scheme {
            "file" => {
                let path = url.to_file_path();
                local(&path.map_err(|()| invalid("it names a host; give file:///path"))?, config)
            }
            "ssh" => Self::parse_ssh(&url).map_err(invalid),
            _ => Self::parse_http(url, text, config),
        }
    }

    fn parse_http(mut url: Url, text: &str, config: &GitConfig) -> Result<Self, GitError> {
        // A user name alone is how GitHub, GitLab and others take tokens.
        if !url.username().is_empty() {
            return Err(has_password(&url));
        }
        let invalid = |reason| GitError::InvalidUrl { url: redact(text), reason };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("a repository's URL has no ? and no #"));
        }
        if url.scheme() == "http"
            && !config.allow_http
            && !(config.allow_loopback_http && is_loopback(&url))
        {
            let hint = "; http:// has to be allowed in the configuration, nothing protects it";
            return Err(GitError::ProtocolNotAllowed { protocol: "http".to_owned(), hint });
        }
        let path = url.path().trim_end_matches('/').to_owned();
        if path.is_empty() {
            return Err(invalid("it names a host and no repository"));
        }
        url.set_path(&path);
        Ok(Self::Http(url))
    }

    fn parse_ssh(url: &Url) -> Result<Self, &'static str> {
        if url.query().is_some() || url.fragment().is_some() {
            return Err("a repository's URL has no ? and no #");
        }
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let path = url.path().trim_end_matches('/');
        let path = path.strip_prefix('/').filter(|rest| rest.starts_with('~')).unwrap_or(path);
        let user = (!url.username().is_empty()).then(|| url.username().to_owned());
        SshUrl::checked(user, host, url.port().filter(|port| *port != 22), path.to_owned())
            .map(Self::Ssh)
    }

    /// Two URLs with equal keys are the same repository: `.git` and `/` at the end do not count.
    pub fn key(&self) -> String {
        let text = match self {
            Self::Local(path) => format!("file://{}", git_folder(path).display()),
            Self::Http(_) | Self::Ssh(_) => self.to_string(),
        };
        text.strip_suffix(".git").map(str::to_owned).unwrap_or(text)
    }

    /// A name for the repository: the path of its URL, or the last two folders of a local path.
    pub fn default_name(&self) -> String {
        let (path, all) = match self {
            Self::Http(url) => (url.path().to_owned(), true),
            Self::Ssh(ssh) => (ssh.path.trim_start_matches('~').to_owned(), true),
            Self::Local(path) => (work_folder(path).display().to_string(), false),
        };
        let path = path.strip_suffix(".git").unwrap_or(&path);
        let parts: Vec<String> =
            path.split('/').map(name_part).filter(|part| !part.is_empty()).collect();
        let wanted = if all { parts.len() } else { parts.len().min(2) };
        let parts = &parts[parts.len() - wanted..];
        match parts {
            [] => "local/repository".to_owned(),
            [one] => format!("local/{one}"),
            several => several.join("/"),
        }
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => f.write_str(url.as_str()),
            Self::Ssh(ssh) => ssh.fmt(f),
            Self::Local(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Display for SshUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        if !self.path.starts_with('/') {
            f.write_str(if self.path.starts_with('~') { "/" } else { "/~/" })?;
        }
        f.write_str(&self.path)
    }
}

impl SshUrl {
    fn checked(
        user: Option<String>,
        host: String,
        port: Option<u16>,
        path: String,
    ) -> Result<Self, &'static str> {
        let word = |text: &str, more: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if !word(&host, ".-_:") {
            return Err("its host is not a name or address");
        }
        if user.as_deref().is_some_and(|user| !word(user, ".-_")) {
            return Err("its user is not a name");
        }
        let path = path.strip_prefix("~/").map(str::to_owned).unwrap_or(path);
        if path.is_empty() || path == "/" {
            return Err("it names a host and no repository");
        }
        if path.starts_with('-') {
            return Err("its path starts with a dash, as an option does");
        }
        Ok(Self { user, host, port, path })
    }
}

/// `transport` of `transport::address`, for which git would run `git-remote-transport`.
fn remote_helper(text: &str) -> Option<&str> {
    let (helper, _) = text.split_once("::")?;
    let word = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
    (!helper.is_empty() && helper.chars().all(word)).then(|| &helper[..helper.len().min(32)])
}

/// `host` and `path` of `[user@]host:path`: git's rule is a colon before the first slash.
fn split_scp(text: &str) -> Option<(&str, &str)> {
    if let Some(rest) = text.find("[").and_then(|at| text.get(at..)) {
        let close = rest.find("]:")?;
        let split = text.len() - rest.len() + close + 1;
        return (!text[..split].contains('/')).then(|| (&text[..split], &text[split + 1..]));
    }
    let (host, path) = text.split_once(':')?;
    (!host.contains('/')).then_some((host, path))
}

fn parse_scp(text: &str, host: &str, path: &str) -> Result<RemoteUrl, GitError> {
    // `user:password@host:path`; who means a folder with an @ can say so by ssh://.
    if !host.contains('@') && path.split('/').next().is_some_and(|part| part.contains('@')) {
        return Err(GitError::UrlHasPassword { host: "the remote".to_owned() });
    }
    let (user, host) = match host.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, host),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return Err(GitError::UrlHasPassword { host: redact_word(host) });
    }
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let path = path.trim_end_matches('/').to_owned();
    SshUrl::checked(user.map(str::to_owned), host, None, path)
        .map(RemoteUrl::Ssh)
        .map_err(|reason| GitError::InvalidUrl { url: redact(text), reason })
}

/// The repository that `path` is in, as git finds it: in the folder or one above it.
fn local(path: &Path, config: &GitConfig) -> Result<RemoteUrl, GitError> {
    if !config.allow_local_paths {
        return Err(GitError::LocalPathNotAllowed);
    }
    let not_one =
        |detail: String| GitError::NotARepository { location: path.display().to_string(), detail };
    let absolute = std::fs::canonicalize(path).map_err(|error| not_one(error.to_string()))?;
    let found = absolute
        .ancestors()
        .find(|folder| is_git_folder(folder) || folder.join(".git").exists())
        .ok_or_else(|| not_one("neither it nor a folder above it holds one".to_owned()))?;
    if found.to_str().is_none() {
        return Err(not_one("its path is not UTF-8".to_owned()));
    }
    Ok(RemoteUrl::Local(found.to_owned()))
}

fn is_git_folder(folder: &Path) -> bool {
    folder.join("HEAD").is_file()
        && (folder.join("objects").is_dir() || folder.join("commondir").is_file())
}

/// The git folder of a working tree, or the folder itself.
fn git_folder(path: &Path) -> PathBuf {
    let inner = path.join(".git");
    if inner.is_dir() { inner } else { path.to_owned() }
}

/// The working tree of a git folder called `.git`, or the folder itself.
fn work_folder(path: &Path) -> &Path {
    match path.file_name() {
        Some(name) if name == ".git" => path.parent().unwrap_or(path),
        _ => path,
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

fn has_password(url: &Url) -> GitError {
    GitError::UrlHasPassword { host: url.host_str().unwrap_or("the remote").to_owned() }
}

/// A part of a name: letters, digits, `.`, `_` and `-` of what was there.
fn name_part(part: &str) -> String {
    let word = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let part: String = part.chars().take(100).map(word).collect();
    part.trim_start_matches(['.', '-']).to_owned()
}

/// Nothing of a text that may be a secret, short enough for a message.
fn redact(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, text),
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let rest = match authority.rfind('@') {
        Some(at) => format!("…{}", &rest[at..]),
        None => rest.to_owned(),
    };
    let shown = scheme.map(|scheme| format!("{scheme}://{rest}")).unwrap_or(rest);
    shown.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(200).collect()
}

fn redact_word(word: &str) -> String {
    word.chars().filter(|c| c.is_ascii_alphanumeric() || "+-.".contains(*c)).take(32).collect()
}

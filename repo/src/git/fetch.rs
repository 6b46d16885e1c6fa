//! One fetch: into the mirror that is there, or into a new one that then takes its place.

use std::fs;
use std::path::Path;
use std::time::Instant;

use gix::hash::Kind as HashKind;

use super::GitError;
use super::local::{LocalSource, SourceFiles};
use super::mirror::{Mirror, sync_folder};
use super::refs::RefSnapshot;
use super::remote::{self, Received};
use super::url::RemoteUrl;
use crate::config::GitConfig;
use crate::repository::Progress;

/// Packs that a mirror may have: each fetch adds one, and looking an object up gets slower with
/// each. A mirror with more is fetched anew.
const MAX_PACKS: usize = 200;

/// What bounds a fetch, and who follows it.
pub struct FetchContext<'a> {
    /// Limits.
    pub config: &'a GitConfig,
    /// Whether the fetch is to stop.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// Takes how far the fetch is.
    pub report: &'a (dyn Fn(Progress) + Sync),
    /// Where is fetched from, for errors.
    pub location: String,
    /// When the fetch started.
    pub started: Instant,
}

impl FetchContext<'_> {
    /// Ends the fetch when it was cancelled, takes too long, or has received too many bytes.
    pub(crate) fn check(&self, received: u64) -> Result<(), GitError> {
        if (self.stop)() {
            return Err(GitError::Cancelled);
        }
        let location = self.location.clone();
        if self.started.elapsed() > self.config.fetch_timeout {
            let limit = self.config.fetch_timeout;
            return Err(GitError::TimedOut { location, what: "the fetch", limit });
        }
        if received > self.config.max_repository_bytes {
            return Err(GitError::TooLarge { location, limit: self.config.max_repository_bytes });
        }
        Ok(())
    }

    pub(crate) fn stalled(&self) -> GitError {
        GitError::TimedOut {
            location: self.location.clone(),
            what: "waiting for the remote",
            limit: self.config.stall_timeout,
        }
    }
}

/// What a fetch brought.
#[derive(Debug)]
pub struct Fetched {
    /// The mirror.
    pub mirror: Mirror,
    /// The remote's refs.
    pub refs: RefSnapshot,
    /// What a user should know.
    pub notices: Vec<String>,
    /// What a local source had on disk.
    source: Option<SourceFiles>,
}

impl Fetched {
    /// A mirror as it is, without anything fetched.
    pub(crate) fn of_mirror(mirror: Mirror) -> Result<Self, GitError> {
        let refs = mirror.refs()?;
        Ok(Self { mirror, refs, notices: Vec::new(), source: None })
    }

    /// Removes from the mirror what its source has repacked. To be called once nothing needs the
    /// old objects, not even to compare with; remotes that are not local leave nothing behind.
    ///
    /// # Errors
    /// When the mirror cannot be listed, or a file not removed.
    pub fn prune(&self) -> Result<(), GitError> {
        self.source.as_ref().map_or(Ok(()), |source| source.prune(&self.mirror))
    }
}

/// Where a mirror is and where a new one is made before it takes its place; on one file system.
#[derive(Clone, Copy, Debug)]
pub struct MirrorPlace<'p> {
    /// Folder of the mirror.
    pub home: &'p Path,
    /// Folder that is this fetch's alone.
    pub temporary: &'p Path,
}

/// Brings the mirror up to date with its remote. With `anew`, what the mirror holds is not trusted
/// and everything is fetched again.
///
/// # Errors
/// As [`GitError`] tells. The mirror is then as it was, with more objects perhaps.
pub fn fetch(
    url: &RemoteUrl,
    place: MirrorPlace<'_>,
    globs: &[String],
    anew: bool,
    context: &FetchContext<'_>,
) -> Result<Fetched, GitError> {
    let existing = if anew { None } else { usable(place.home) };
    match url {
        RemoteUrl::Local(path) => copy(path, place, existing, context),
        RemoteUrl::Http(_) | RemoteUrl::Ssh(_) => receive(url, place, globs, existing, context),
    }
}

/// The mirror in its place, unless it is damaged or has been fetched into too often.
fn usable(home: &Path) -> Option<Mirror> {
    let mirror = Mirror::open(home).ok()??;
    mirror.remove_leftovers().ok()?;
    mirror.refs().ok()?;
    let objects = mirror.objects(1).ok()?;
    (objects.damaged().is_empty() && objects.pack_count() <= MAX_PACKS).then_some(mirror)
}

fn copy(
    path: &Path,
    place: MirrorPlace<'_>,
    existing: Option<Mirror>,
    context: &FetchContext<'_>,
) -> Result<Fetched, GitError> {
    let source = LocalSource::open(path)?;
    let existing = existing.filter(|mirror| mirror.hash() == source.hash);
    let target = Target::new(place, existing, source.hash)?;
    crate::failpoint!("fetch-objects");
    let files = source.copy_into(&target.mirror, context)?;
    let mirror = target.finish(place, &source.refs)?;
    Ok(Fetched { mirror, refs: source.refs, notices: source.notices, source: Some(files) })
}

fn receive(
    url: &RemoteUrl,
    place: MirrorPlace<'_>,
    globs: &[String],
    existing: Option<Mirror>,
    context: &FetchContext<'_>,
) -> Result<Fetched, GitError> {
    let mut target = Target::new(place, existing, HashKind::Sha1)?;
    crate::failpoint!("fetch-objects");
    let mut received = remote::receive(url, &target.mirror, globs, context)?;
    if let Received::OtherFormat(hash) = received {
        target = Target::new(place, None, hash)?;
        received = remote::receive(url, &target.mirror, globs, context)?;
    }
    let refs = match received {
        Received::Refs(refs) => refs,
        Received::OtherFormat(_) => {
            let detail = "it changed its object format between two requests".to_owned();
            return Err(GitError::Fetch { location: context.location.clone(), detail });
        }
    };
    target.mirror.remove_leftovers()?;
    let size = target.mirror.size();
    context.check(size)?;
    let mirror = target.finish(place, &refs)?;
    Ok(Fetched { mirror, refs, notices: Vec::new(), source: None })
}

/// The mirror that a fetch writes into.
struct Target {
    mirror: Mirror,
    fresh: bool,
}

impl Target {
    fn new(
        place: MirrorPlace<'_>,
        existing: Option<Mirror>,
        hash: HashKind,
    ) -> Result<Self, GitError> {
        if let Some(mirror) = existing {
            return Ok(Self { mirror, fresh: false });
        }
        remove_folder(place.temporary)?;
        Ok(Self { mirror: Mirror::create(place.temporary, hash)?, fresh: true })
    }

    /// Makes what was fetched the mirror's state, and a new mirror the mirror.
    fn finish(self, place: MirrorPlace<'_>, refs: &RefSnapshot) -> Result<Mirror, GitError> {
        crate::failpoint!("fetch-refs");
        self.mirror.write_refs(refs)?;
        if !self.fresh {
            return Ok(self.mirror);
        }
        crate::failpoint!("fetch-rename");
        let gone = place.temporary.with_extension("old");
        if place.home.exists() {
            remove_folder(&gone)?;
            fs::rename(place.home, &gone).map_err(GitError::io("cannot move", place.home))?;
        }
        fs::rename(place.temporary, place.home)
            .map_err(GitError::io("cannot move into place", place.home))?;
        sync_folder(place.home.parent().unwrap_or(place.home))?;
        remove_folder(&gone)?;
        Mirror::open(place.home)?.ok_or_else(|| GitError::Mirror {
            path: place.home.to_owned(),
            detail: "it is gone right after it was made".to_owned(),
        })
    }
}

/// Removes a folder and all below it; it is no error when there is none.
pub(crate) fn remove_folder(path: &Path) -> Result<(), GitError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(GitError::io("cannot remove", path)(error))
        }
        _ => Ok(()),
    }
}

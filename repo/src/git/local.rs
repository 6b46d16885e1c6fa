//! Bringing a repository of this machine into its mirror: its packs and loose objects are copied.
//!
//! Git's own way would be `git-upload-pack`, which reads the source's configuration, refuses a
//! source with a missing object altogether, and inflates every object once more on arrival. A copy
//! starts nothing, takes what is there, and runs at the speed of the disk. It is a copy and not a
//! link, as a mapped file must not change under the reader.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use gix::bstr::{BString, ByteSlice};
use gix::hash::Kind as HashKind;

use super::GitError;
use super::fetch::FetchContext;
use super::mirror::{Mirror, sync_folder};
use super::refs::RefSnapshot;
use crate::repository::{Phase, Progress};

/// Bytes copied between two looks at whether to stop.
const CHUNK: u64 = 16 << 20;
/// How often the source's packs are listed again, when they change while they are copied.
const MAX_ROUNDS: usize = 5;

/// A repository of this machine.
pub(crate) struct LocalSource {
    location: String,
    /// Its objects folder and those of its alternates.
    objects: Vec<PathBuf>,
    pub(crate) hash: HashKind,
    pub(crate) refs: RefSnapshot,
    pub(crate) notices: Vec<String>,
    shallow: Option<PathBuf>,
}

/// Which files a source had, by their paths in the objects folder.
#[derive(Debug)]
pub(crate) struct SourceFiles(BTreeSet<PathBuf>);

impl SourceFiles {
    /// Removes from the mirror what the source did not have, as its repacking would else pile up.
    pub(crate) fn prune(&self, mirror: &Mirror) -> Result<(), GitError> {
        let target = mirror.objects_path();
        let present = list(std::slice::from_ref(&target), "the mirror")?;
        for relative in present.keys().filter(|relative| !self.0.contains(*relative)) {
            let path = target.join(relative);
            fs::remove_file(&path).map_err(GitError::io("cannot remove", path))?;
        }
        Ok(())
    }
}

/// Files of a source: relative path in the objects folder, where it is, and its bytes.
type Files = BTreeMap<PathBuf, (PathBuf, u64)>;

impl LocalSource {
    /// Reads the refs of the repository at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, GitError> {
        let location = path.display().to_string();
        let not_one =
            |detail: String| GitError::NotARepository { location: location.clone(), detail };
        let options = gix::open::Options::isolated().with(gix::sec::Trust::Reduced);
        let repository =
            gix::open_opts(path, options).map_err(|error| not_one(error.to_string()))?;
        let common = repository.common_dir().to_owned();
        let own = common.join("objects");
        let mut notices = Vec::new();
        let mut objects = vec![own.clone()];
        match gix::odb::alternate::resolve(own, &common) {
            Ok(alternates) => objects.extend(alternates),
            Err(error) => notices.push(format!("its alternates cannot be read: {error}")),
        }
        let mut refs = RefSnapshot::default();
        read_head(&repository, &mut refs).map_err(&not_one)?;
        read_refs(&repository, &mut refs, &mut notices).map_err(&not_one)?;
        if repository.workdir().is_some() {
            notices.push(
                "only commits are indexed: what a working tree holds beyond them is not found"
                    .to_owned(),
            );
        }
        let shallow = Some(common.join("shallow")).filter(|file| file.is_file());
        if shallow.is_some() {
            notices.push("it is a shallow clone: its history is not complete".to_owned());
        }
        let hash = repository.object_hash();
        Ok(Self { location, objects, hash, refs, notices, shallow })
    }

    /// Copies what the mirror lacks into it, without touching its refs. Returns the files that the
    /// source has.
    pub(crate) fn copy_into(
        &self,
        mirror: &Mirror,
        context: &FetchContext<'_>,
    ) -> Result<SourceFiles, GitError> {
        let mut copied =
            Copy { source: self, target: mirror.objects_path(), context, done: 0, total: 0 };
        // A source that repacks moves objects from one file to another: look until nothing moved.
        let mut files = self.files()?;
        for _ in 0..MAX_ROUNDS {
            copied.run(&files)?;
            let again = self.files()?;
            if again.keys().eq(files.keys()) {
                break;
            }
            files = again;
        }
        if let Some(shallow) = &self.shallow {
            let text = fs::read(shallow).map_err(GitError::io("cannot read", shallow))?;
            super::mirror::write_durably(&mirror.path().join("shallow"), &text)?;
        }
        Ok(SourceFiles(files.into_keys().collect()))
    }
    fn files(&self) -> Result<Files, GitError> {
        list(&self.objects, &self.location)
    }
}

fn read_head(repository: &gix::Repository, refs: &mut RefSnapshot) -> Result<(), String> {
    let head = repository.head().map_err(|error| error.to_string())?;
    match head.kind {
        gix::head::Kind::Symbolic(reference) => {
            refs.head_branch = Some(reference.name.as_bstr().to_owned());
            refs.head = reference.target.try_id().map(ToOwned::to_owned);
        }
        gix::head::Kind::Unborn(name) => refs.head_branch = Some(name.as_bstr().to_owned()),
        gix::head::Kind::Detached { target, .. } => refs.head = Some(target),
    }
    Ok(())
}

fn read_refs(
    repository: &gix::Repository,
    refs: &mut RefSnapshot,
    notices: &mut Vec<String>,
) -> Result<(), String> {
    let platform = repository.references().map_err(|error| error.to_string())?;
    let mut unusable = 0usize;
    for reference in platform.all().map_err(|error| error.to_string())? {
        let Ok(mut reference) = reference else {
            unusable += 1;
            continue;
        };
        let name: BString = reference.name().as_bstr().to_owned();
        if !RefSnapshot::keeps(name.as_bstr()) {
            continue;
        }
        match reference.try_id().map(|id| id.detach()) {
            Some(id) => drop(refs.refs.insert(name, id)),
            None => match reference.peel_to_id() {
                Ok(id) => drop(refs.refs.insert(name, id.detach())),
                Err(_) => unusable += 1,
            },
        }
    }
    if unusable > 0 {
        notices.push(format!("{unusable} of its branches and tags cannot be read"));
    }
    // A symbolic HEAD names a ref that the iteration has seen with its target.
    if let Some(branch) = &refs.head_branch
        && refs.head.is_none()
    {
        refs.head = refs.refs.get(branch).copied();
    }
    Ok(())
}

/// The packs, their indexes and the loose objects in these folders. Links are not followed.
fn list(folders: &[PathBuf], location: &str) -> Result<Files, GitError> {
    let mut files = Files::new();
    for objects in folders {
        let Ok(entries) = fs::read_dir(objects) else {
            let detail = format!("{} cannot be listed", objects.display());
            return Err(GitError::NotARepository { location: location.to_owned(), detail });
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(folder) = name.to_str() else { continue };
            if folder == "pack" {
                list_folder(&entry.path(), &name, is_pack_file, &mut files);
            } else if folder.len() == 2 && folder.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                list_folder(&entry.path(), &name, is_object_name, &mut files);
            }
        }
    }
    // A pack is of no use without its index, nor an index without its pack.
    let paired = |path: &PathBuf| match path.extension().and_then(|extension| extension.to_str()) {
        Some("pack") => files.contains_key(&path.with_extension("idx")),
        Some("idx") => files.contains_key(&path.with_extension("pack")),
        _ => true,
    };
    Ok(files.iter().filter(|(path, _)| paired(path)).map(|(p, f)| (p.clone(), f.clone())).collect())
}

fn list_folder(folder: &Path, name: &OsString, wanted: fn(&str) -> bool, files: &mut Files) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let file = entry.file_name();
        let Some(text) = file.to_str().filter(|text| wanted(text)) else { continue };
        // `DirEntry::metadata` does not follow links.
        if let Ok(metadata) = entry.metadata()
            && metadata.is_file()
        {
            files
                .entry(Path::new(name).join(text))
                .or_insert_with(|| (entry.path(), metadata.len()));
        }
    }
}

fn is_pack_file(name: &str) -> bool {
    name.strip_suffix(".pack").or_else(|| name.strip_suffix(".idx")).is_some_and(|stem| {
        !stem.is_empty()
            && stem.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    }) && !name.starts_with("tmp")
}

fn is_object_name(name: &str) -> bool {
    (name.len() == 38 || name.len() == 62) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

struct Copy<'a> {
    source: &'a LocalSource,
    target: PathBuf,
    context: &'a FetchContext<'a>,
    done: u64,
    total: u64,
}

impl Copy<'_> {
    fn run(&mut self, files: &Files) -> Result<(), GitError> {
        let missing: Vec<_> =
            files.iter().filter(|(relative, (_, size))| !self.has(relative, *size)).collect();
        self.total = self.done + missing.iter().map(|(_, (_, size))| size).sum::<u64>();
        let whole: u64 = files.values().map(|(_, size)| size).sum();
        if whole > self.context.config.max_repository_bytes {
            return Err(GitError::TooLarge {
                location: self.source.location.clone(),
                limit: self.context.config.max_repository_bytes,
            });
        }
        // Packs sort after loose objects; an index after its pack has to be the last of all, as
        // a pack counts from the moment that its index is there.
        let (indexes, others): (Vec<_>, Vec<_>) = missing
            .into_iter()
            .partition(|(relative, _)| relative.extension().is_some_and(|e| e == "idx"));
        let many = others.len() + indexes.len() > 64;
        for (relative, (from, size)) in others.into_iter().chain(indexes) {
            self.file(relative, from, *size, !many)?;
        }
        if many {
            sync_file_system(&self.target)?;
        }
        sync_folder(&self.target.join("pack"))
    }

    fn has(&self, relative: &Path, size: u64) -> bool {
        fs::metadata(self.target.join(relative)).is_ok_and(|found| found.len() == size)
    }

    fn file(
        &mut self,
        relative: &Path,
        from: &Path,
        size: u64,
        sync: bool,
    ) -> Result<(), GitError> {
        let source = fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(from);
        let mut source = match source {
            Ok(source) => source,
            // Repacked away: the next round finds its objects in another file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(GitError::io("cannot open", from)(error)),
        };
        let target = self.target.join(relative);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(GitError::io("cannot create", folder))?;
        }
        let temporary = self.target.join("pack/copying");
        let mut out =
            File::create(&temporary).map_err(GitError::io("cannot create", &temporary))?;
        let mut left = size;
        while left > 0 {
            self.context.check(self.done)?;
            let copied = io::copy(&mut (&mut source).take(CHUNK.min(left)), &mut out)
                .map_err(GitError::io("cannot copy to", &temporary))?;
            if copied == 0 {
                break;
            }
            left -= copied;
            self.done += copied;
            let total = Some(self.total);
            (self.context.report)(Progress::new(Phase::Fetching, self.done, total, self.done));
        }
        if sync {
            out.sync_all().map_err(GitError::io("cannot sync", &temporary))?;
        }
        fs::rename(&temporary, &target).map_err(GitError::io("cannot create", &target))
    }
}

/// One call for many small files, whose own syncs would each wait for the disk.
fn sync_file_system(folder: &Path) -> Result<(), GitError> {
    use std::os::fd::AsRawFd;
    let file = File::open(folder).map_err(GitError::io("cannot open", folder))?;
    // SAFETY: a plain system call on a descriptor that is open for its duration.
    match unsafe { libc::syncfs(file.as_raw_fd()) } {
        0 => Ok(()),
        _ => Err(GitError::io("cannot sync", folder)(io::Error::last_os_error())),
    }
}

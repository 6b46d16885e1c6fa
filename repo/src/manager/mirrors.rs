//! The thread that keeps mirrors in cold storage as git bundles, and brings back those that a shard's
//! new owner lacks.
//!
//! A full bundle is followed by bundles of what each sync brought, until those are many or large.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aeterna_index::RepositoryId;
use gix::bstr::BString;
use gix::hash::ObjectId;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::inner::{Inner, lock};
use crate::ManagerError;
use crate::catalog::JobKind;
use crate::cold_storage::{ColdError, ColdFile, ColdManifest, ColdStorage, Local, hash_file};
use crate::git::{self, Contents, Git, GitError, Mirror, MirrorPlace, remove_folder};
use crate::repository::EventKind;

/// Bundles after the full one.
const MAX_INCREMENTS: usize = 50;
/// Bytes of bundles after the full one that are kept though the full one is smaller.
const SMALL_INCREMENTS: u64 = 1 << 20;
/// How often is looked whether the work is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Wait after which what failed is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Files of a mirror beside its objects; of these the last is not in every mirror.
const SMALL_FILES: [&str; 4] = ["packed-refs", "HEAD", "config", "shallow"];
/// What the bundles hold: ids of objects, and with them all that they lead to.
const TIPS: &str = "tips";

/// What is to be done with a mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MirrorWork {
    /// Bring what is new to cold storage.
    Upload,
    /// Bring it here.
    Restore,
}

/// How mirrors that a node did not have came to it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoredMirrors {
    /// From bundles in cold storage.
    pub from_bundles: u64,
    /// Bytes of these.
    pub bundle_bytes: u64,
    /// From the remote, of repositories that had been indexed before.
    pub cloned_again: u64,
}

/// Counts [`RestoredMirrors`].
#[derive(Debug, Default)]
pub(crate) struct MirrorCounters {
    from_bundles: AtomicU64,
    bundle_bytes: AtomicU64,
    cloned_again: AtomicU64,
}

impl MirrorCounters {
    fn restored(&self, bytes: u64) {
        self.from_bundles.fetch_add(1, Ordering::Relaxed);
        self.bundle_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn cloned_again(&self) {
        self.cloned_again.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> RestoredMirrors {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RestoredMirrors {
            from_bundles: now(&self.from_bundles),
            bundle_bytes: now(&self.bundle_bytes),
            cloned_again: now(&self.cloned_again),
        }
    }
}

/// Runs until the manager stops.
pub(crate) fn run(inner: &Arc<Inner>, runtime: &Handle) {
    let Some(cluster) = &inner.cluster else { return };
    aeterna_index::yield_to_searches(inner.config.background_nice);
    if !git::is_installed(&inner.config.git.git_program) {
        tracing::error!("there is no git program: mirrors are not kept in cold storage");
        return;
    }
    let mut failed = BTreeMap::new();
    let (mut strangers, mut looked) = (BTreeSet::new(), Instant::now());
    let mut tried = Instant::now();
    while !inner.stopping() {
        if tried.elapsed() >= AGAIN_AFTER {
            failed.into_iter().for_each(|(id, work)| inner.work_on_mirror(id, work));
            (failed, tried) = (BTreeMap::new(), Instant::now());
        }
        if looked.elapsed() >= cluster.config.mirrors_every {
            strangers = remove_strangers(inner, &strangers).unwrap_or_else(|error| {
                tracing::warn!(%error, "mirrors of other nodes' shards stay");
                BTreeSet::new()
            });
            looked = Instant::now();
        }
        let Some((id, work)) = next(inner) else {
            inner.mirrors.wait(AGAIN_AFTER.min(cluster.config.mirrors_every));
            continue;
        };
        let cold = cluster.config.cold.clone();
        let mirrors = Mirrors { inner, runtime, cold: &cold, id };
        let done = match work {
            MirrorWork::Upload => mirrors.upload(),
            MirrorWork::Restore => mirrors.bring_back(),
        };
        match done {
            Err(ManagerError::Git(GitError::Cancelled)) if inner.crowded().is_some() => {
                failed.insert(id, work);
            }
            Ok(()) | Err(ManagerError::Git(GitError::Cancelled)) => {}
            Err(error) if error.is_fenced() => {}
            Err(error) => {
                tracing::warn!(repository = %id, ?work, %error, "work on a mirror is tried again");
                failed.insert(id, work);
            }
        }
    }
}

impl Inner {
    /// Has something done with a mirror, in a cluster.
    pub(crate) fn work_on_mirror(&self, id: RepositoryId, work: MirrorWork) {
        if self.cluster.is_some() {
            lock(&self.mirrors_pending).insert(id, work);
            self.mirrors.raise();
        }
    }
}

/// Takes the next work on a mirror whose shard is served: it waits until its shard is, and until there is
/// room on the disk.
fn next(inner: &Inner) -> Option<(RepositoryId, MirrorWork)> {
    if inner.paused().is_some() {
        return None;
    }
    let mut pending = lock(&inner.mirrors_pending);
    let id = *pending.keys().find(|id| inner.runs(**id))?;
    pending.remove_entry(&id)
}

/// Removes mirrors of shards that this node does not hold and did not the last time: a shard that
/// comes back soon finds its mirrors. Returns those that are there now.
fn remove_strangers(
    inner: &Inner,
    before: &BTreeSet<RepositoryId>,
) -> Result<BTreeSet<RepositoryId>, ManagerError> {
    let base = &inner.config.base_path;
    let mut strangers = BTreeSet::new();
    for entry in fs::read_dir(base).map_err(GitError::io("cannot list", base))? {
        let entry = entry.map_err(GitError::io("cannot list", base))?;
        let id = Uuid::parse_str(&entry.file_name().to_string_lossy()).ok().map(RepositoryId);
        let Some(id) = id.filter(|id| inner.catalog_of(*id).is_err()) else { continue };
        if before.contains(&id) {
            tracing::info!(repository = %id, "removing the mirror of another node's shard");
            remove_folder(&entry.path())?;
        } else {
            strangers.insert(id);
        }
    }
    Ok(strangers)
}

/// One repository's mirror, here and in cold storage.
pub(crate) struct Mirrors<'a> {
    pub(crate) inner: &'a Inner,
    pub(crate) runtime: &'a Handle,
    pub(crate) cold: &'a ColdStorage,
    pub(crate) id: RepositoryId,
}

/// Which bundles there will be.
struct Plan {
    /// Bundles that stay, in order.
    kept: BTreeMap<String, ColdFile>,
    without: Vec<ObjectId>,
}

impl Mirrors<'_> {
    fn stop(&self) -> bool {
        self.inner.stopping() || !self.inner.runs(self.id)
    }

    fn with_git<T>(
        &self,
        work: impl FnOnce(&Git<'_>) -> Result<T, GitError>,
    ) -> Result<T, GitError> {
        let stop = || self.stop();
        let config = &self.inner.config.git;
        work(&Git { program: &config.git_program, timeout: config.bundle_timeout, stop: &stop })
    }

    /// Waits for cold storage, unless the work is to stop.
    fn wait<T>(&self, work: impl Future<Output = Result<T, ColdError>>) -> Result<T, ManagerError> {
        self.runtime.block_on(async {
            tokio::pin!(work);
            loop {
                tokio::select! {
                    done = &mut work => return Ok(done?),
                    () = tokio::time::sleep(LOOK_EVERY) => {
                        if self.stop() {
                            return Err(GitError::Cancelled.into());
                        }
                    }
                }
            }
        })
    }

    /// A folder of this work's own, which a start removes if it is left.
    fn workplace(&self, what: &str) -> PathBuf {
        self.inner.config.base_path.join(format!("tmp-{}.{what}", self.id))
    }

    fn upload(&self) -> Result<(), ManagerError> {
        let shard = self.inner.index.number_of(self.id);
        let held = self.inner.cluster.as_ref().and_then(|cluster| cluster.held(shard));
        let Some(held) = held.filter(|held| held.is_serving()) else { return Ok(()) };
        let record = self.runtime.block_on(self.inner.catalog.record(self.id))?;
        if record.is_none_or(|record| record.repository.is_further_part()) {
            return Ok(());
        }
        let Some(mirror) = Mirror::open(&self.inner.mirror_path(self.id))? else { return Ok(()) };
        let folder = self.workplace("bundle");
        remove_folder(&folder)?;
        let uploaded = self.upload_from(&mirror, &folder, held.epoch);
        remove_folder(&folder)?;
        uploaded
    }

    fn upload_from(&self, mirror: &Mirror, folder: &Path, epoch: u64) -> Result<(), ManagerError> {
        fs::create_dir_all(folder).map_err(GitError::io("cannot create", folder))?;
        for name in SMALL_FILES {
            match fs::copy(mirror.path().join(name), folder.join(name)) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.map_err(GitError::io("cannot copy", mirror.path()))?),
            }
        }
        let refs = refs_with_objects(mirror)?;
        let mut tips: Vec<ObjectId> = refs.iter().map(|(_, id)| *id).collect();
        tips.sort();
        tips.dedup();
        let text: String = tips.iter().map(|id| format!("{id}\n")).collect();
        let path = folder.join(TIPS);
        fs::write(&path, text).map_err(GitError::io("cannot write", path))?;
        let before = self.wait(self.cold.newest_mirror(self.id.0))?;
        if before.as_ref().is_some_and(|before| is_same(folder, before)) {
            return Ok(());
        }
        let mut plan = self.plan(mirror, folder, before.as_ref())?;
        let name = |plan: &Plan| format!("{:06}.bundle", plan.kept.len());
        let contents = Contents { refs, without: std::mem::take(&mut plan.without) };
        let into = folder.join(name(&plan));
        let made = self.with_git(|git| git.create_bundle(mirror, &contents, &into));
        match made {
            // What it was to build on may be gone from the mirror.
            Err(GitError::Bundle { .. }) if !plan.kept.is_empty() => {
                plan.kept.clear();
                let contents = Contents { without: Vec::new(), ..contents };
                let into = folder.join(name(&plan));
                self.with_git(|git| git.create_bundle(mirror, &contents, &into))?;
            }
            made => drop(made?),
        }
        let files = files_of(folder)?;
        let manifest = self.wait(self.cold.upload_mirror((self.id.0, epoch), files, plan.kept))?;
        if let Some(cluster) = &self.inner.cluster {
            let grace = cluster.config.garbage_grace;
            self.wait(self.cold.collect_mirror_garbage(&manifest, grace))?;
        }
        tracing::debug!(repository = %self.id, bytes = manifest.bytes(), "mirror uploaded");
        Ok(())
    }

    /// Builds on what is there, unless that has grown out of proportion.
    fn plan(
        &self,
        mirror: &Mirror,
        folder: &Path,
        before: Option<&ColdManifest>,
    ) -> Result<Plan, ManagerError> {
        let mut plan = Plan { kept: BTreeMap::new(), without: Vec::new() };
        let files = before.and_then(|before| before.files.as_ref());
        let Some((files, tips)) = files.and_then(|files| Some((files, files.get(TIPS)?))) else {
            return Ok(plan);
        };
        let bundles: BTreeMap<String, ColdFile> = files
            .iter()
            .filter(|(name, _)| name.ends_with(".bundle"))
            .map(|(name, file)| (name.clone(), file.clone()))
            .collect();
        let full = bundles.values().next().map_or(0, |file| file.bytes);
        let increments: u64 = bundles.values().skip(1).map(|file| file.bytes).sum();
        let same_format = files.get("config").is_some_and(|file| is_file(folder, "config", file));
        // A history that was cut off cannot tell what others have of it.
        let is_shallow = folder.join("shallow").exists() || files.contains_key("shallow");
        if bundles.len() > MAX_INCREMENTS
            || increments > full.max(SMALL_INCREMENTS)
            || !same_format
            || is_shallow
        {
            return Ok(plan);
        }
        let path = folder.join("tips-before");
        self.wait(self.cold.restore_mirror_file(tips, &path))?;
        let text = fs::read_to_string(&path).map_err(GitError::io("cannot read", &path))?;
        fs::remove_file(&path).map_err(GitError::io("cannot remove", &path))?;
        let objects = mirror.objects(1)?;
        let mut reader = objects.reader();
        let known = text.lines().filter_map(|line| ObjectId::from_hex(line.as_bytes()).ok());
        plan.without = known.filter(|id| reader.header(id).is_ok()).collect();
        plan.kept = bundles;
        Ok(plan)
    }

    /// Restores a mirror that is not here, or has it fetched where cold storage does not help.
    fn bring_back(&self) -> Result<(), ManagerError> {
        let Some(cancel) = self.inner.begin(self.id, true) else {
            // A job that runs brings it back itself.
            return Ok(());
        };
        let restored = if self.stop() { Ok(true) } else { self.restore(&cancel) };
        self.inner.end(self.id);
        if !restored? && !self.inner.mirror_path(self.id).exists() && self.inner.runs(self.id) {
            self.runtime.block_on(self.inner.request(self.id, JobKind::Sync))?;
        }
        self.inner.read_history(self.id);
        Ok(())
    }

    /// Makes the mirror from cold storage, if there is none here; returns whether it did. The caller
    /// has begun a job of the repository.
    pub(crate) fn restore(&self, cancel: &AtomicBool) -> Result<bool, ManagerError> {
        let home = self.inner.mirror_path(self.id);
        if home.exists() || !git::is_installed(&self.inner.config.git.git_program) {
            return Ok(false);
        }
        // Further parts have the repository's own.
        let record = self.runtime.block_on(self.inner.catalog.record(self.id))?;
        let part = record.and_then(|record| record.repository.part);
        let id = part.map_or(self.id, |part| part.whole);
        let newest = self.wait(self.cold.newest_mirror(id.0))?;
        let Some(files) = newest.and_then(|manifest| manifest.files) else { return Ok(false) };
        let temporary = self.inner.config.base_path.join(format!("tmp-{}", self.id));
        let place = MirrorPlace { home: &home, temporary: &temporary };
        let started = Instant::now();
        match self.restore_into(place, &files, cancel) {
            Ok(()) => {
                let seconds = started.elapsed().as_secs_f64();
                let bytes: u64 = files.values().map(|file| file.bytes).sum();
                if let Some(cluster) = &self.inner.cluster {
                    cluster.mirrors.restored(bytes);
                }
                let message = format!(
                    "its mirror was restored from cold storage: {bytes} bytes in {seconds:.1} s"
                );
                self.runtime.block_on(self.inner.event(self.id, EventKind::Restored, &message));
                Ok(true)
            }
            Err(ManagerError::Cold(error)) if error.is_lost() => {
                self.lost(&temporary, &error.to_string())
            }
            Err(ManagerError::Git(error @ GitError::Bundle { .. })) => {
                self.lost(&temporary, &error.to_string())
            }
            Err(error) => {
                remove_folder(&temporary)?;
                Err(error)
            }
        }
    }

    fn lost(&self, temporary: &Path, why: &str) -> Result<bool, ManagerError> {
        remove_folder(temporary)?;
        let message = format!("its mirror cannot be restored ({why}); it is fetched again");
        self.runtime.block_on(self.inner.event(self.id, EventKind::Damaged, &message));
        Ok(false)
    }

    fn restore_into(
        &self,
        place: MirrorPlace<'_>,
        files: &BTreeMap<String, ColdFile>,
        cancel: &AtomicBool,
    ) -> Result<(), ManagerError> {
        remove_folder(place.temporary)?;
        let small = self.workplace("small");
        remove_folder(&small)?;
        fs::create_dir_all(&small).map_err(GitError::io("cannot create", &small))?;
        for name in SMALL_FILES {
            if let Some(file) = files.get(name) {
                self.wait(self.cold.restore_mirror_file(file, &small.join(name)))?;
            }
        }
        let (mirror, refs) = Mirror::create_like(place.temporary, &small)?;
        remove_folder(&small)?;
        for (name, file) in files.iter().filter(|(name, _)| name.ends_with(".bundle")) {
            if cancel.load(Ordering::Acquire) || self.stop() {
                return Err(GitError::Cancelled.into());
            }
            let bundle = place.temporary.join(name);
            self.wait(self.cold.restore_mirror_file(file, &bundle))?;
            self.with_git(|git| git.unbundle(&mirror, &bundle))?;
            fs::remove_file(&bundle).map_err(GitError::io("cannot remove", &bundle))?;
        }
        mirror.write_refs(&refs)?;
        mirror.sync()?;
        fs::rename(place.temporary, place.home)
            .map_err(GitError::io("cannot move into place", place.home))?;
        Ok(git::sync_folder(place.home.parent().unwrap_or(place.home))?)
    }
}

/// The refs whose objects are in the mirror: of others only the names were fetched.
fn refs_with_objects(mirror: &Mirror) -> Result<Vec<(BString, ObjectId)>, ManagerError> {
    let refs = mirror.refs()?;
    let objects = mirror.objects(1)?;
    let mut reader = objects.reader();
    let mut found: Vec<(BString, ObjectId)> = Vec::with_capacity(refs.refs.len() + 2);
    for (name, id) in &refs.refs {
        if reader.header(id).is_ok() {
            found.push((name.clone(), *id));
        }
    }
    if let Some(head) = refs.head.filter(|head| reader.header(head).is_ok()) {
        found.push((BString::from(git::HEAD_REF), head));
        // A clone of the bundle checks out what this points to.
        let is_there = |branch: &BString| found.iter().any(|(name, _)| name == branch);
        if refs.head_branch.as_ref().is_none_or(is_there) {
            found.push((BString::from("HEAD"), head));
        }
    }
    Ok(found)
}

/// Whether cold storage has the state that the small files in a folder tell.
fn is_same(folder: &Path, before: &ColdManifest) -> bool {
    let Some(files) = &before.files else { return false };
    SMALL_FILES.iter().chain([&TIPS]).all(|name| match files.get(*name) {
        Some(file) => is_file(folder, name, file),
        None => !folder.join(name).exists(),
    })
}

fn is_file(folder: &Path, name: &str, file: &ColdFile) -> bool {
    hash_file(&folder.join(name), file.bytes).is_ok_and(|hash| hash == file.sha256)
}

fn files_of(folder: &Path) -> Result<Vec<Local>, ManagerError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(GitError::io("cannot list", folder))? {
        let entry = entry.map_err(GitError::io("cannot list", folder))?;
        let path = entry.path();
        let bytes = entry.metadata().map_err(GitError::io("cannot read", &path))?.len();
        files.push(Local { name: entry.file_name().to_string_lossy().into_owned(), path, bytes });
    }
    Ok(files)
}

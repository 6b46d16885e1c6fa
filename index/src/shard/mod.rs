//! A shard: segments under one manifest.
//!
//! Invariants: a file is written and synced before a manifest names it; a manifest is replaced
//! atomically; files that no manifest names are removed when the shard is opened. So after a crash
//! at any point the shard is what it was at its last commit, and nothing leaks.

mod apply;
mod contents;
mod count;
mod damage;
mod export;
mod gate;
mod history;
mod live;
mod maintain;
pub(crate) mod manifest;
mod set;
pub(crate) mod snapshot;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use roaring::RoaringBitmap;
use uuid::Uuid;

use self::apply::Changes;
pub use self::contents::{OmittedFile, ShardStats};
pub use self::damage::Damage;
pub use self::export::{Exported, ExportedFile};
use self::gate::{Gate, UntilClosed, Writing};
pub use self::history::{Changed, History, HistoryUpdate, LastChange};
use self::live::Live;
pub use self::maintain::Maintenance;
pub use self::manifest::MANIFEST as MANIFEST_FILE;
use self::manifest::{Manifest, RepositoryState, RevisionState, SegmentEntry, sync_folder};
pub use self::set::ShardSet;
pub use self::snapshot::Snapshot;
use crate::IndexError;
use crate::document::{
    ContentSource, RepositoryId, RepositoryInfo, RepositoryUpdate, RevisionChange,
};
use crate::options::{ProgressSink, ShardOptions, release_memory};
use crate::segment::build::{Builder, Built, NewDocument};
use crate::segment::file::discard;

/// Times that an update is prepared anew because a merge came in between.
const APPLY_TRIES: u32 = 5;
/// Past states that cursors may still name.
const PAST_SNAPSHOTS: usize = 8;
const PAST_AGE: Duration = Duration::from_secs(120);

/// What an update did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Documents that were written.
    pub documents_added: u64,
    /// Documents that a revision no longer holds.
    pub documents_removed: u64,
    /// Contents that were read and stored.
    pub contents: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Contents among them that were left out.
    pub omitted: u64,
}

/// A part of the index, in a folder of its own.
pub struct Shard {
    number: u32,
    folder: PathBuf,
    options: ShardOptions,
    next_id: AtomicU64,
    current: RwLock<Arc<Snapshot>>,
    past: Mutex<VecDeque<(Instant, Arc<Snapshot>)>>,
    /// Held while a manifest is worked out and written.
    commit: Mutex<()>,
    /// Held while symbols are read or segments merged.
    maintenance: Mutex<()>,
    /// Repositories with an update under way.
    busy: Mutex<HashSet<RepositoryId>>,
    /// Whatever writes goes through it.
    gate: Gate,
    damage: Mutex<Vec<Damage>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

impl Shard {
    /// Opens the shard in a folder, making it where there is none. A folder has one user: the
    /// caller holds a lock ([`ShardSet`] does). `number` is what it is called by.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub fn open(folder: &Path, number: u32, options: ShardOptions) -> Result<Self, IndexError> {
        fs::create_dir_all(folder).map_err(IndexError::io("cannot create", folder))?;
        let (manifest, lost) = match Manifest::read(folder) {
            Ok(manifest) => (manifest, None),
            Err(error @ IndexError::Damaged { .. }) => {
                let (manifest, damage) = damage::without_manifest(folder, &error)?;
                (manifest, Some(damage))
            }
            Err(error) => return Err(error),
        };
        remove_unnamed(folder, &manifest)?;
        let next_id = manifest.next_id;
        let (snapshot, broken) = Snapshot::open(folder, manifest, None)?;
        let shard = Self {
            number,
            folder: folder.to_owned(),
            options,
            next_id: AtomicU64::new(next_id),
            current: RwLock::new(Arc::new(snapshot)),
            past: Mutex::default(),
            commit: Mutex::default(),
            maintenance: Mutex::default(),
            busy: Mutex::default(),
            gate: Gate::default(),
            damage: Mutex::new(lost.into_iter().collect()),
        };
        if !broken.is_empty() {
            shard.set_aside(&broken)?;
        }
        Ok(shard)
    }

    /// Its number among the shards of the index.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Number of its newest commit; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.snapshot().generation()
    }

    /// Ends all that writes, and waits for it. What is asked of the shard from then on fails with
    /// [`IndexError::Closed`], but for reading what it held.
    pub(crate) fn close(&self) {
        self.gate.close();
    }

    /// To be held by whatever writes in the folder.
    fn writing(&self) -> Result<Writing<'_>, IndexError> {
        self.gate.enter().ok_or_else(|| self.closed())
    }

    fn closed(&self) -> IndexError {
        IndexError::Closed { shard: self.number }
    }

    /// What cancelled work fails with.
    fn ended<T>(&self, result: Result<T, IndexError>) -> Result<T, IndexError> {
        match result {
            Err(IndexError::Cancelled) if self.gate.is_closed() => Err(self.closed()),
            result => result,
        }
    }

    /// The shard as it is now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The shard in a state ([`Snapshot::state`]) that it was in, while that is kept for cursors.
    pub(crate) fn snapshot_in(&self, state: u64) -> Option<Arc<Snapshot>> {
        let current = self.snapshot();
        if current.state() == state {
            return Some(current);
        }
        lock(&self.past)
            .iter()
            .find(|(since, snapshot)| snapshot.state() == state && since.elapsed() < PAST_AGE)
            .map(|(_, snapshot)| Arc::clone(snapshot))
    }

    /// Applies an update. When it returns, the update is durable and its text is searchable;
    /// symbols follow through [`Shard::maintain`]. Until then searches see nothing of it.
    ///
    /// # Errors
    /// [`IndexError::StaleBase`] when the index does not hold the commit that an update starts
    /// from; [`IndexError::Cancelled`]; [`IndexError::Closed`]; or what failed. Then nothing has
    /// changed.
    pub fn apply(
        &self,
        update: &RepositoryUpdate,
        source: &dyn ContentSource,
        progress: &dyn ProgressSink,
    ) -> Result<Applied, IndexError> {
        let _writing = self.writing()?;
        let _turn = self.turn(update.repository.id)?;
        let progress = UntilClosed { gate: &self.gate, progress };
        let mut tries = 0;
        loop {
            let built = self.ended(self.build_missing(update, source, &progress))?;
            let applied = self.commit_update(update, &built);
            if applied.is_err() {
                self.discard_unnamed(built.iter().map(|(built, _)| built.path.clone()));
            }
            release_memory();
            tries += 1;
            if !matches!(applied, Err(IndexError::Retry)) || tries == APPLY_TRIES {
                return applied;
            }
        }
    }

    /// Waits for other updates of the repository, so that each sees the one before whole.
    fn turn(&self, id: RepositoryId) -> Result<Turn<'_>, IndexError> {
        while !self.gate.is_closed() {
            if lock(&self.busy).insert(id) {
                return Ok(Turn { shard: self, id });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(self.closed())
    }

    /// Builds segments of the files that no segment has, without holding up other commits.
    fn build_missing(
        &self,
        update: &RepositoryUpdate,
        source: &dyn ContentSource,
        progress: &dyn ProgressSink,
    ) -> Result<Vec<BuiltFor>, IndexError> {
        let snapshot = self.snapshot();
        check_bases(&snapshot.manifest, update)?;
        let changes = Changes::plan(&snapshot, update.repository.id, &update.revisions)?;
        let mut revisions = Vec::with_capacity(changes.missing.len());
        let mut documents = Vec::with_capacity(changes.missing.len());
        for (entry, wanted_by) in changes.missing {
            documents.push(NewDocument { repository: update.repository.id, entry, known: None });
            revisions.push(wanted_by);
        }
        fail::fail_point!("apply-before-build");
        let builder = Builder {
            folder: &self.folder,
            options: &self.options,
            source,
            progress,
            repository: &update.repository.name,
            next_id: &self.next_id,
        };
        let built = builder.build(&documents)?;
        fail::fail_point!("apply-after-build");
        Ok(built
            .into_iter()
            .map(|built| {
                let wanted =
                    built.order.iter().map(|number| revisions[*number as usize].clone()).collect();
                (built, wanted)
            })
            .collect())
    }

    fn commit_update(
        &self,
        update: &RepositoryUpdate,
        built: &[BuiltFor],
    ) -> Result<Applied, IndexError> {
        let _commit = lock(&self.commit);
        let snapshot = self.snapshot();
        check_bases(&snapshot.manifest, update)?;
        let id = update.repository.id;
        let changes = Changes::plan(&snapshot, id, &update.revisions)?;
        let built_count: usize = built.iter().map(|(_, wanted)| wanted.len()).sum();
        if built_count < changes.missing.len() {
            // A merge dropped dead documents between building and now that would have been
            // revived; the next try finds them missing and builds them.
            return Err(IndexError::Retry);
        }
        let mut applied = Applied { documents_removed: changes.removed, ..Applied::default() };
        let mut manifest = snapshot.manifest.clone();
        update_revisions(&mut manifest, update);
        let written = self
            .write_live(&mut manifest, changes.live)
            .and_then(|()| self.add_built(&mut manifest, id, built, &mut applied));
        self.commit_or_discard(manifest, written)?;
        Ok(applied)
    }

    /// Adds built segments to a manifest, with the revisions that want each document.
    fn add_built(
        &self,
        manifest: &mut Manifest,
        id: RepositoryId,
        built: &[BuiltFor],
        applied: &mut Applied,
    ) -> Result<(), IndexError> {
        for (built, wanted) in built {
            let mut sets: HashMap<&str, RoaringBitmap> = HashMap::new();
            for (document, revisions) in wanted.iter().enumerate() {
                for name in revisions {
                    sets.entry(name).or_default().insert(document as u32);
                }
            }
            let mut live = Live::default();
            sets.into_iter().for_each(|(name, set)| live.set(id, name, set));
            manifest.segments.push(self.entry_of(built, &live)?);
            applied.documents_added += wanted.len() as u64;
            applied.contents += built.contents;
            applied.bytes += built.content_bytes;
            applied.omitted += built.omitted;
        }
        Ok(())
    }

    /// Writes the live documents of a built segment, and its entry for the manifest.
    fn entry_of(&self, built: &Built, live: &Live) -> Result<SegmentEntry, IndexError> {
        let entry = SegmentEntry {
            id: built.id,
            live: self.next_id.fetch_add(1, Ordering::Relaxed),
            symbols: None,
            documents: built.order.len() as u32,
            contents: built.contents,
            bytes: built.bytes,
            content_bytes: built.content_bytes,
        };
        live.write(&self.folder.join(entry.live_file()))?;
        Ok(entry)
    }

    fn write_live(
        &self,
        manifest: &mut Manifest,
        changed: BTreeMap<u64, Live>,
    ) -> Result<(), IndexError> {
        for (segment, live) in changed {
            if live.iter().next().is_none() {
                manifest.segments.retain(|entry| entry.id != segment);
                continue;
            }
            let Some(entry) = manifest.segments.iter_mut().find(|entry| entry.id == segment) else {
                continue;
            };
            entry.live = self.next_id.fetch_add(1, Ordering::Relaxed);
            live.write(&self.folder.join(entry.live_file()))?;
        }
        Ok(())
    }

    /// Commits a manifest whose files were written. Where they were not, or it cannot be committed,
    /// the files that were made for it are removed. The caller holds the commit lock.
    fn commit_or_discard(
        &self,
        manifest: Manifest,
        written: Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        let files: Vec<String> = manifest.files().collect();
        let committed = written.and_then(|()| self.commit_manifest(manifest));
        if committed.is_err() {
            self.discard_unnamed(files.iter().map(|name| self.folder.join(name)));
        }
        committed
    }

    /// Removes those of some files that the shard does not need.
    fn discard_unnamed(&self, files: impl Iterator<Item = PathBuf>) {
        let snapshot = self.snapshot();
        let is_named = |path: &PathBuf| {
            path.file_name().is_some_and(|name| snapshot.manifest.names(&name.to_string_lossy()))
        };
        files.filter(|path| !is_named(path)).for_each(|path| discard(&path));
    }

    /// Makes a manifest the shard's, and removes files that it no longer names. The caller holds
    /// the commit lock.
    fn commit_manifest(&self, mut manifest: Manifest) -> Result<(), IndexError> {
        if self.gate.is_closed() {
            return Err(self.closed());
        }
        manifest.generation += 1;
        manifest.stamp = Uuid::new_v4().as_u64_pair().0;
        manifest.next_id = self.next_id.load(Ordering::Relaxed);
        let before = self.snapshot();
        // Opened before it is committed: what cannot be read must not become the shard's state.
        let (snapshot, broken) = Snapshot::open(&self.folder, manifest, Some(&before))?;
        if let Some(broken) = broken.into_iter().next() {
            return Err(broken.error);
        }
        fail::fail_point!("commit-before-manifest");
        snapshot.manifest.write(&self.folder)?;
        fail::fail_point!("commit-after-manifest");
        let snapshot = Arc::new(snapshot);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&snapshot);
        self.keep_past(Arc::clone(&before));
        // Before that is durable, a crash can bring the old manifest back, and it needs its files.
        sync_folder(&self.folder)?;
        self.discard_unnamed(before.manifest.files().map(|name| self.folder.join(name)));
        Ok(())
    }

    fn keep_past(&self, snapshot: Arc<Snapshot>) {
        let mut past = lock(&self.past);
        past.push_back((Instant::now(), snapshot));
        while past.len() > PAST_SNAPSHOTS
            || past.front().is_some_and(|(since, _)| since.elapsed() > PAST_AGE)
        {
            past.pop_front();
        }
    }

    /// Keeps the states that another was in, as if they had been its own.
    fn remember(&self, before: &Self) {
        let earlier = lock(&before.past).clone();
        let mut past = lock(&self.past);
        *past = earlier;
        drop(past);
        self.keep_past(before.snapshot());
    }

    /// Takes a repository out: no search finds it any more. Unknown ones are no error.
    ///
    /// # Errors
    /// When the manifest cannot be written, or the shard is closed.
    pub fn remove_repository(&self, id: RepositoryId) -> Result<(), IndexError> {
        let _writing = self.writing()?;
        let _turn = self.turn(id)?;
        let _commit = lock(&self.commit);
        let snapshot = self.snapshot();
        let mut manifest = snapshot.manifest.clone();
        let is_lost = manifest.lost.remove(&id);
        if manifest.repositories.remove(&id).is_none() && !is_lost {
            return Ok(());
        }
        let mut changed = BTreeMap::new();
        for loaded in &snapshot.segments {
            let mut live = (*loaded.live).clone();
            if live.remove(id) {
                changed.insert(loaded.entry.id, live);
            }
        }
        let written = self.write_live(&mut manifest, changed);
        self.commit_or_discard(manifest, written)
    }

    /// Takes over what the catalog says of a repository; one that is not in the index is no error.
    ///
    /// # Errors
    /// When the manifest cannot be written, or the shard is closed.
    pub fn set_repository(&self, info: RepositoryInfo) -> Result<(), IndexError> {
        let _writing = self.writing()?;
        let _commit = lock(&self.commit);
        let mut manifest = self.snapshot().manifest.clone();
        match manifest.repositories.get_mut(&info.id) {
            Some(state) if state.info != info => state.info = info,
            _ => return Ok(()),
        }
        self.commit_manifest(manifest)
    }
}

/// A segment, and for each of its documents the revisions that want it.
type BuiltFor = (Built, Vec<Vec<String>>);

/// An update's turn; ends when dropped.
struct Turn<'a> {
    shard: &'a Shard,
    id: RepositoryId,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.shard.busy).remove(&self.id);
    }
}

fn check_bases(manifest: &Manifest, update: &RepositoryUpdate) -> Result<(), IndexError> {
    let state = manifest.repositories.get(&update.repository.id);
    for change in &update.revisions {
        let RevisionChange::Update { name, from, .. } = change else { continue };
        let held = state
            .filter(|state| !state.damaged)
            .and_then(|state| state.revisions.get(name))
            .map(|revision| revision.commit.clone());
        if held.as_ref() != Some(from) {
            return Err(IndexError::StaleBase {
                repository: update.repository.name.clone(),
                revision: name.clone(),
                from: from.clone(),
                held,
            });
        }
    }
    Ok(())
}

fn update_revisions(manifest: &mut Manifest, update: &RepositoryUpdate) {
    let state =
        manifest.repositories.entry(update.repository.id).or_insert_with(|| RepositoryState {
            info: update.repository.clone(),
            revisions: BTreeMap::new(),
            damaged: false,
            history: None,
        });
    state.info = update.repository.clone();
    manifest.lost.remove(&update.repository.id);
    let mut replaced = HashSet::new();
    for change in &update.revisions {
        match change {
            RevisionChange::Replace { name, commit, .. }
            | RevisionChange::Update { name, commit, .. } => {
                let revision = RevisionState { commit: commit.clone(), indexed_at: now_ms() };
                state.revisions.insert(name.clone(), revision);
                if matches!(change, RevisionChange::Replace { .. }) {
                    replaced.insert(name.as_str());
                }
            }
            RevisionChange::Remove { name } => {
                state.revisions.remove(name);
            }
        }
    }
    if state.revisions.keys().all(|name| replaced.contains(name.as_str())) {
        state.damaged = false;
    }
}

/// Removes what a crash left: files that the manifest does not name.
fn remove_unnamed(folder: &Path, manifest: &Manifest) -> Result<(), IndexError> {
    let entries = fs::read_dir(folder).map_err(IndexError::io("cannot list", folder))?;
    for entry in entries {
        let entry = entry.map_err(IndexError::io("cannot list", folder))?;
        let name = entry.file_name();
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && !manifest.names(&name.to_string_lossy()) {
            fs::remove_file(entry.path()).map_err(IndexError::io("cannot remove", entry.path()))?;
        }
    }
    Ok(())
}

//! A source of contents in memory, a model of repositories, and shards of it.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use aeterna_index::search::{
    Limits, Match, Output, Ranked, SearchError, SearchRequest, SearchResponse, SkipReason, Visible,
};
use aeterna_index::{
    ContentId, ContentReader, ContentSource, FileEntry, FileKind, Maintenance, NoProgress,
    PathAttributes, ReadError, RepositoryId, RepositoryInfo, RepositoryUpdate, RevisionChange,
    ShardOptions, ShardSet,
};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// What reading a content gives.
#[derive(Clone)]
pub enum Stored {
    Bytes(Vec<u8>),
    Missing,
    Corrupt,
    /// The source itself fails.
    Failing,
}

/// Contents by id.
#[derive(Default)]
pub struct Memory {
    contents: Mutex<HashMap<ContentId, Stored>>,
}

/// The id that the bytes always have here.
pub fn id_of(bytes: &[u8]) -> ContentId {
    let mut raw = [0; 20];
    raw[..16].copy_from_slice(&xxh3_128_with_seed(bytes, 1).to_le_bytes());
    raw[16..].copy_from_slice(&xxh3_128_with_seed(bytes, 2).to_le_bytes()[..4]);
    ContentId::from_bytes(&raw).unwrap()
}

impl Memory {
    pub fn put(&self, bytes: &[u8]) -> ContentId {
        let id = id_of(bytes);
        self.set(id, Stored::Bytes(bytes.to_vec()));
        id
    }

    pub fn set(&self, id: ContentId, stored: Stored) {
        self.contents.lock().unwrap().insert(id, stored);
    }

    /// The bytes of a content, where it has some.
    pub fn get(&self, id: &ContentId) -> Option<Vec<u8>> {
        match self.contents.lock().unwrap().get(id) {
            Some(Stored::Bytes(bytes)) => Some(bytes.clone()),
            _ => None,
        }
    }
}

struct MemoryReader<'a>(&'a Memory);

impl ContentSource for Memory {
    fn reader(&self) -> Result<Box<dyn ContentReader + '_>, ReadError> {
        Ok(Box::new(MemoryReader(self)))
    }
}

impl ContentReader for MemoryReader<'_> {
    fn read(&mut self, id: &ContentId, limit: u64, into: &mut Vec<u8>) -> Result<(), ReadError> {
        into.clear();
        match self.0.contents.lock().unwrap().get(id) {
            Some(Stored::Bytes(bytes)) if bytes.len() as u64 > limit => {
                Err(ReadError::TooLarge(bytes.len() as u64))
            }
            Some(Stored::Bytes(bytes)) => {
                into.extend_from_slice(bytes);
                Ok(())
            }
            Some(Stored::Corrupt) => Err(ReadError::Corrupt("a bad checksum".to_owned())),
            Some(Stored::Failing) => Err(ReadError::Failed("the disk is gone".to_owned())),
            Some(Stored::Missing) | None => Err(ReadError::Missing),
        }
    }
}

pub fn repository_id(number: u128) -> RepositoryId {
    RepositoryId(uuid::Uuid::from_u128(number))
}

pub fn info(number: u128, name: &str) -> RepositoryInfo {
    RepositoryInfo {
        id: repository_id(number),
        tenant: "default".to_owned(),
        name: name.to_owned(),
        default_branch: Some("main".to_owned()),
        fork: false,
        archived: false,
        public: true,
        license: None,
        part: None,
    }
}

pub fn file(path: impl AsRef<[u8]>, content: ContentId) -> FileEntry {
    FileEntry {
        path: path.as_ref().to_vec(),
        content,
        kind: FileKind::File,
        attributes: PathAttributes::default(),
    }
}

/// Options that show what merging does wrong: every two segments are merged.
pub fn options() -> ShardOptions {
    ShardOptions { threads: 2, merge_factor: 2, nice: 0, ..ShardOptions::default() }
}

pub fn open(folder: &Path) -> ShardSet {
    ShardSet::open(folder, 2, options()).unwrap()
}

/// One repository's whole listing of its branch `main`.
pub fn replace(
    repository: &RepositoryInfo,
    commit: &str,
    files: Vec<FileEntry>,
) -> RepositoryUpdate {
    let change =
        RevisionChange::Replace { name: "main".to_owned(), commit: commit.to_owned(), files };
    RepositoryUpdate { repository: repository.clone(), revisions: vec![change] }
}

/// Puts files of these contents on branch `main` of a repository, in place of all it had.
pub fn index(
    set: &ShardSet,
    source: &Memory,
    repository: &RepositoryInfo,
    files: &[(&str, &[u8])],
) {
    let entries = files.iter().map(|(path, bytes)| file(path, source.put(bytes))).collect();
    let update = replace(repository, "c0ffee", entries);
    set.shard_of(repository.id).unwrap().apply(&update, source, &NoProgress).unwrap();
}

/// Maintains until nothing is due; how many steps of each kind there were.
pub fn settle(set: &ShardSet) -> (usize, usize) {
    let (mut symbols, mut merges) = (0, 0);
    for shard in set.shards() {
        loop {
            match shard.maintain(&|| false).unwrap() {
                Maintenance::Idle => break,
                Maintenance::Symbols => symbols += 1,
                Maintenance::Merged => merges += 1,
            }
        }
    }
    (symbols, merges)
}

pub fn request(query: &str) -> SearchRequest {
    let limits = Limits { deadline: Duration::from_secs(300), ..Limits::default() };
    SearchRequest { limits, ..SearchRequest::new(query, Visible::All) }
}

/// Every result of a query.
pub fn all(set: &ShardSet, query: &str) -> SearchResponse {
    search(set, &request(&format!("{query} count:all"))).unwrap()
}

pub fn search(set: &ShardSet, request: &SearchRequest) -> Result<SearchResponse, SearchError> {
    set.search(request)
}

/// Collects what is sent, each result as `Debug` has it.
#[derive(Default)]
struct Sent(Mutex<Vec<Vec<u8>>>);

impl Output for Sent {
    fn write(&self, found: Match, into: &mut Vec<u8>) {
        write!(into, "{found:?}").unwrap();
    }

    fn send(&self, ranked: Vec<Ranked>) -> ControlFlow<()> {
        self.0.lock().unwrap().extend(ranked.into_iter().flat_map(|ranked| ranked.results));
        ControlFlow::Continue(())
    }
}

/// What a search sends, each result as `Debug` has it, when it may hold so many bytes.
pub fn sent(set: &ShardSet, request: &SearchRequest, held_bytes: usize) -> Vec<String> {
    let limits = Limits { held_bytes, ..request.limits.clone() };
    let output = Sent::default();
    let request = SearchRequest { limits, ..request.clone() };
    let response = set.search_into(&request, &output).unwrap();
    assert!(response.results.is_empty(), "{}: sent, and given back too", request.query);
    let sent = output.0.into_inner().unwrap();
    sent.into_iter().map(|result| String::from_utf8(result).unwrap()).collect()
}

/// The paths of the results, as text, sorted.
pub fn paths(response: &SearchResponse) -> Vec<String> {
    let mut paths: Vec<String> = response.results.iter().map(path).collect();
    paths.sort();
    paths
}

pub fn path(result: &Match) -> String {
    String::from_utf8_lossy(&result.path).into_owned()
}

/// Whether the answer says that something was left out for this reason.
pub fn skips(response: &SearchResponse, reason: SkipReason) -> bool {
    response.skipped.iter().any(|skipped| skipped.reason == reason)
}

/// Small and repeatable randomness (SplitMix64), so that a failure is told by its seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Names of a folder's files, and their bytes.
pub fn files_of(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    files
}

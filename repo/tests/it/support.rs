//! Repositories to fetch from, and managers to fetch with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aeterna_index::{ContentId, RepositoryId};
use aeterna_repo::cold_storage::ColdStorageConfig;
use aeterna_repo::git::{FetchContext, Fetched, GitError, MirrorPlace, RemoteUrl, Trees};
use aeterna_repo::{
    AddRepository, DEFAULT_TENANT, GitConfig, ManagerConfig, RepoManager, Repository, RetryConfig,
    State,
};
use tempfile::TempDir;

/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A repository with a working tree.
pub struct Origin {
    folder: TempDir,
}

impl Origin {
    pub fn new() -> Self {
        Self::with_format("sha1")
    }

    pub fn with_format(format: &str) -> Self {
        let origin = Self { folder: TempDir::new().unwrap() };
        origin.git(&["init", "-q", "-b", "main", &format!("--object-format={format}")]);
        origin
    }

    /// One commit on `main` with one file.
    pub fn with_file(path: &str, text: &str) -> Self {
        let origin = Self::new();
        origin.write(path, text.as_bytes());
        origin.commit("first");
        origin
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn url(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        git(self.path(), arguments)
    }

    pub fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Commits everything and returns the commit's id.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.head()
    }

    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    pub fn pack(&self) {
        self.git(&["repack", "-q", "-a", "-d"]);
    }

    /// The file of a loose object.
    pub fn loose(&self, id: &str) -> PathBuf {
        self.path().join(".git/objects").join(&id[..2]).join(&id[2..])
    }
}

/// Runs git without anything of the user's configuration.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "A")
        .env("GIT_AUTHOR_EMAIL", "a@example.org")
        .env("GIT_COMMITTER_NAME", "C")
        .env("GIT_COMMITTER_EMAIL", "c@example.org")
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {complaint}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A place for one mirror.
pub struct Place {
    pub folder: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    pub fn home(&self) -> PathBuf {
        self.folder.path().join("mirror")
    }

    pub fn fetch(&self, url: &str, globs: &[&str]) -> Result<Fetched, GitError> {
        self.fetch_with(url, globs, &test_git())
    }

    pub fn fetch_with(
        &self,
        url: &str,
        globs: &[&str],
        config: &GitConfig,
    ) -> Result<Fetched, GitError> {
        let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_owned()).collect();
        let url = RemoteUrl::parse(url, config)?;
        let context = FetchContext {
            config,
            stop: &|| false,
            report: &|_| {},
            location: url.to_string(),
            started: Instant::now(),
        };
        let temporary = self.folder.path().join("tmp-mirror");
        let place = MirrorPlace { home: &self.home(), temporary: &temporary };
        aeterna_repo::git::fetch(&url, place, &globs, false, &context)
    }
}

pub fn test_git() -> GitConfig {
    GitConfig {
        allow_loopback_http: true,
        connect_timeout: Duration::from_secs(5),
        stall_timeout: Duration::from_secs(20),
        ..GitConfig::default()
    }
}

/// The paths of the commit that a branch is at, sorted, with their contents' ids.
pub fn listed(fetched: &Fetched, name: &str) -> Vec<(String, ContentId)> {
    let selected = fetched.refs.select(&[name.to_owned()]);
    assert_eq!(selected.len(), 1, "{name} among {:?}", fetched.refs);
    let objects = fetched.mirror.objects(1 << 20).unwrap();
    let mut reader = objects.reader();
    let never = || false;
    let mut trees = Trees::new(&mut reader, 1 << 20, &never);
    let commit = trees.peel(selected[0].target).unwrap().unwrap();
    let listing = trees.list(&commit).unwrap();
    let mut files: Vec<_> = listing
        .files
        .into_iter()
        .map(|file| (String::from_utf8_lossy(&file.path).into_owned(), file.content))
        .collect();
    files.sort();
    files
}

pub fn paths(fetched: &Fetched, name: &str) -> Vec<String> {
    listed(fetched, name).into_iter().map(|(path, _)| path).collect()
}

/// A manager with a folder of its own; opened again it finds what was there.
pub struct Node {
    pub data: TempDir,
}

impl Node {
    pub fn new() -> Self {
        Self { data: TempDir::new().unwrap() }
    }

    pub fn config(&self) -> ManagerConfig {
        let mut config = ManagerConfig::new(self.data.path());
        config.git = test_git();
        config.shards = 2;
        config.retry = RetryConfig {
            attempts: 3,
            first: Duration::from_millis(20),
            longest: Duration::from_millis(100),
        };
        config
    }

    pub async fn open(&self) -> Arc<RepoManager> {
        RepoManager::open(self.config()).await.unwrap()
    }
}

pub fn adding(url: &str) -> AddRepository {
    AddRepository {
        tenant: DEFAULT_TENANT.to_owned(),
        url: url.to_owned(),
        name: None,
        branches: Vec::new(),
    }
}

/// Adds a repository and waits until it is indexed.
pub async fn add(manager: &RepoManager, url: &str, branches: &[&str]) -> Repository {
    let mut adding = adding(url);
    adding.branches = branches.iter().map(|glob| (*glob).to_owned()).collect();
    let added = manager.add(adding).await.unwrap();
    ready(manager, added.repository.id).await
}

pub async fn sync(manager: &RepoManager, id: RepositoryId) -> Repository {
    let before = manager.get(DEFAULT_TENANT, id).await.unwrap().indexed_at;
    manager.sync(id).await.unwrap();
    wait(manager, id, |repository| {
        repository.state == State::Ready && repository.indexed_at > before
    })
    .await
}

pub async fn ready(manager: &RepoManager, id: RepositoryId) -> Repository {
    wait(manager, id, |repository| {
        assert_ne!(repository.state, State::Error, "{:?}", repository.last_error);
        repository.state == State::Ready
    })
    .await
}

/// Waits until a repository is as wanted.
pub async fn wait(
    manager: &RepoManager,
    id: RepositoryId,
    wanted: impl Fn(&Repository) -> bool,
) -> Repository {
    let mut receiver = manager.watch(id).await.unwrap();
    let waiting = async {
        loop {
            let repository = receiver.borrow_and_update().clone();
            if wanted(&repository) {
                return repository;
            }
            receiver.changed().await.expect("the repository is gone");
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.unwrap_or_else(|_| panic!("not as wanted after {PATIENCE:?}"))
}

/// Waits until a repository is gone for good.
pub async fn gone(manager: &RepoManager, id: RepositoryId, node: &Node) {
    let deadline = Instant::now() + PATIENCE;
    let folder = node.config().base_path.join(id.to_string());
    while folder.exists() || manager.index().shard_of(id).unwrap().revisions(id).is_some() {
        assert!(Instant::now() < deadline, "{id} is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Names an S3 server on which tests may write, as `http://key:secret@host:port/bucket`.
const S3: &str = "AETERNA_TEST_S3_URL";

/// An empty place on the S3 server that the test runner started.
pub fn s3() -> ColdStorageConfig {
    let server = std::env::var(S3).unwrap_or_else(|_| {
        panic!("{S3} is not set: run `cargo xtask test`, which starts an S3 server for tests")
    });
    let mut url = url::Url::parse(&server).expect("the URL of the test server");
    let access = (url.username().to_owned(), url.password().unwrap_or_default().to_owned());
    url.set_username("").and_then(|()| url.set_password(None)).unwrap();
    let bucket = url.path().trim_matches('/').to_owned();
    url.set_path("");
    ColdStorageConfig::S3 {
        bucket,
        prefix: format!("test-{}", uuid::Uuid::new_v4().simple()),
        endpoint: Some(url.to_string()),
        region: Some("us-east-1".to_owned()),
        allow_http: true,
        access: Some(access),
    }
}

/// An empty place on the S3 server, as who may write there and as who may only read.
pub fn s3_reader() -> (ColdStorageConfig, ColdStorageConfig) {
    let writer = s3();
    let mut reader = writer.clone();
    let ColdStorageConfig::S3 { access: Some((key, _)), .. } = &mut reader else {
        panic!("no keys")
    };
    // The test runner gives the server such a key, with the same secret.
    key.push_str("reader");
    (writer, reader)
}

//! Adding, syncing, reindexing and removing repositories, with everything that can happen to them.

use std::sync::Arc;
use std::time::Duration;

use aeterna_index::search::{SearchRequest, Visible};
use aeterna_repo::{
    AddRepository, DEFAULT_TENANT, EventKind, ListFilter, ManagerError, RepoManager, Repository,
    State,
};

use crate::support::{Node, Origin, add, adding, gone, ready, sync, wait};

fn revisions(repository: &Repository) -> Vec<(&str, &str)> {
    let revisions = repository.revisions.iter();
    revisions.map(|revision| (revision.name.as_str(), revision.commit.as_str())).collect()
}

async fn file(manager: &RepoManager, repository: &Repository, path: &str) -> Option<Vec<u8>> {
    match manager.file(repository.id, None, path.as_bytes()).await {
        Ok(file) => Some(file.content),
        Err(ManagerError::PathNotFound { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

fn sees(manager: &RepoManager, repository: &Repository) -> bool {
    match manager.visible(&repository.tenant) {
        Visible::Only(ids) => ids.contains(&repository.id),
        Visible::All => panic!("a tenant must not see everything"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_added_indexed_and_found() {
    let node = Node::new();
    let manager = node.open().await;
    let origin = Origin::with_file("src/main.rs", "fn main() {}");
    origin.write("LICENSE", b"Apache License\nVersion 2.0, January 2004");
    let head = origin.commit("licence");
    let repository = add(&manager, &origin.url(), &[]).await;
    assert_eq!(revisions(&repository), [("main", head.as_str())]);
    assert_eq!(repository.default_branch.as_deref(), Some("main"));
    assert_eq!(repository.license.as_deref(), Some("Apache-2.0"));
    assert_eq!(repository.document_count, 2);
    assert!(repository.size_bytes > 0);
    assert_eq!((repository.attempts, &repository.last_error), (0, &None));
    let indexed =
        manager.index().shard_of(repository.id).unwrap().revisions(repository.id).unwrap();
    assert_eq!(indexed["main"], head);
    assert!(sees(&manager, &repository));
    assert!(matches!(manager.visible("other"), Visible::Only(ids) if ids.is_empty()));
    let kinds: Vec<EventKind> =
        manager.events(repository.id, 100).await.unwrap().iter().map(|event| event.kind).collect();
    assert!(kinds.contains(&EventKind::Added) && kinds.contains(&EventKind::Indexed), "{kinds:?}");
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_url_again_is_the_same_repository() {
    let node = Node::new();
    let manager = node.open().await;
    let origin = Origin::with_file("a", "x");
    let first = manager.add(adding(&origin.url())).await.unwrap();
    assert!(first.created);
    let mut again = adding(&format!("file://{}", origin.url()));
    again.name = Some("other/name".to_owned());
    let again = manager.add(again).await.unwrap();
    assert!(!again.created);
    assert_eq!(again.repository.id, first.repository.id);
    assert_eq!(again.repository.name, first.repository.name);
    let name = first.repository.name.clone();
    for what in [first.repository.id.to_string(), name, origin.url()] {
        let found = manager.resolve(DEFAULT_TENANT, &what).await.unwrap();
        assert_eq!(found.id, first.repository.id, "{what}");
        let hidden = manager.resolve("other", &what).await.unwrap_err();
        assert_eq!(hidden.code(), "repository-not-found", "{what}");
    }
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_name_is_refused_and_a_made_one_changed() {
    let node = Node::new();
    let manager = node.open().await;
    let origins = [Origin::with_file("a", "x"), Origin::with_file("a", "y")];
    for origin in &origins {
        origin.git(&["clone", "-q", "--bare", ".", "same/name.git"]);
    }
    let url = |origin: &Origin| origin.path().join("same/name.git").display().to_string();
    let first = manager.add(adding(&url(&origins[0]))).await.unwrap().repository;
    let second = manager.add(adding(&url(&origins[1]))).await.unwrap().repository;
    assert_eq!(first.name, "same/name");
    assert_eq!(second.name, "same/name-2");
    let mut third = adding(&origins[1].url());
    third.name = Some("same/name".to_owned());
    let error = manager.add(third).await.unwrap_err();
    assert_eq!(error.code(), "name-taken");
    let others =
        AddRepository { branches: vec!["release/*".to_owned()], ..adding(&url(&origins[0])) };
    assert_eq!(manager.add(others).await.unwrap_err().code(), "other-branches");
    for name in ["noowner", "a//b", "../b", "a/-b", "a/b c", "a/b\n"] {
        let mut odd = adding(&origins[1].url());
        odd.name = Some(name.to_owned());
        assert_eq!(manager.add(odd).await.unwrap_err().code(), "invalid-name", "{name:?}");
    }
    for glob in ["", "!", "a b", "-x", "a\nb"] {
        let mut odd = adding(&origins[1].url());
        odd.branches = vec![glob.to_owned()];
        assert_eq!(manager.add(odd).await.unwrap_err().code(), "invalid-branch-glob", "{glob:?}");
    }
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_follows_what_happened_to_the_remote() {
    let node = Node::new();
    let manager = node.open().await;
    let origin = Origin::with_file("a", "one");
    origin.git(&["branch", "side"]);
    let repository = add(&manager, &origin.url(), &["HEAD", "side", "tags/v*"]).await;
    let first = origin.head();
    assert_eq!(revisions(&repository), [("main", first.as_str()), ("side", first.as_str())]);

    origin.write("a", b"two");
    origin.write("b", b"new");
    let second = origin.commit("push");
    origin.git(&["tag", "v1"]);
    let synced = sync(&manager, repository.id).await;
    assert_eq!(
        revisions(&synced),
        [("main", second.as_str()), ("side", first.as_str()), ("v1", second.as_str())]
    );
    assert_eq!(file(&manager, &synced, "a").await.unwrap(), b"two");

    origin.git(&["reset", "-q", "--hard", &first]);
    origin.write("c", b"other history");
    let forced = origin.commit("force-push");
    origin.git(&["branch", "-D", "side"]);
    let synced = sync(&manager, repository.id).await;
    assert_eq!(revisions(&synced), [("main", forced.as_str()), ("v1", second.as_str())]);
    assert_eq!(file(&manager, &synced, "b").await, None);

    origin.git(&["branch", "-m", "main", "trunk"]);
    origin.git(&["tag", "-d", "v1"]);
    let synced = sync(&manager, repository.id).await;
    assert_eq!(revisions(&synced), [("trunk", forced.as_str())]);
    assert_eq!(synced.default_branch.as_deref(), Some("trunk"));

    std::fs::remove_dir_all(origin.path().join(".git")).unwrap();
    origin.git(&["init", "-q", "-b", "main"]);
    let emptied = sync(&manager, repository.id).await;
    assert!(emptied.revisions.is_empty(), "{:?}", emptied.revisions);
    assert_eq!(emptied.document_count, 0);

    let recreated = origin.commit("re-created");
    let synced = sync(&manager, repository.id).await;
    assert_eq!(revisions(&synced), [("main", recreated.as_str())]);
    let indexed =
        manager.index().shard_of(repository.id).unwrap().revisions(repository.id).unwrap();
    assert_eq!(indexed.into_values().collect::<Vec<_>>(), [recreated]);
    manager.shutdown().await;
}

/// Path, branches and content of every document with a pattern, sorted.
async fn found(manager: &RepoManager, query: &str) -> Vec<(String, Vec<String>, String)> {
    let visible = manager.visible(DEFAULT_TENANT);
    let request = SearchRequest::new(format!("count:all {query}"), visible);
    let index = manager.index().clone();
    let response = tokio::task::spawn_blocking(move || index.search(&request));
    let response = response.await.unwrap().unwrap();
    assert!(response.complete, "{:?}", response.skipped);
    let mut found: Vec<_> = response
        .results
        .into_iter()
        .map(|result| {
            let text = result.chunks.iter().flat_map(|chunk| chunk.content.clone()).collect();
            let path = String::from_utf8_lossy(&result.path).into_owned();
            (path, result.branches, String::from_utf8(text).unwrap())
        })
        .collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_after_many_pushes_equals_one_made_in_one_go() {
    let origin = Origin::with_file("start", "needle start");
    origin.git(&["branch", "side"]);
    let node = Node::new();
    let manager = node.open().await;
    let id = add(&manager, &origin.url(), &["*"]).await.id;
    let steps: [&dyn Fn(); 7] = [
        &|| origin.write("a/b", b"needle one"),
        &|| origin.write("a/b", b"needle two"),
        &|| drop(origin.git(&["mv", "a/b", "moved"])),
        &|| {
            origin.git(&["checkout", "-q", "side"]);
            origin.write("moved", b"needle two");
            origin.write("of-side", b"needle side");
        },
        &|| {
            origin.write(".gitattributes", b"*.x linguist-vendored\n");
            origin.write("lib.x", b"needle vendored");
        },
        &|| {
            origin.git(&["checkout", "-q", "main"]);
            origin.git(&["reset", "-q", "--hard", "HEAD~1"]);
            origin.write("forced", b"needle forced");
        },
        &|| drop(origin.git(&["rm", "-q", "start"])),
    ];
    for step in steps {
        step();
        origin.commit("push");
        sync(&manager, id).await;
    }
    let other = Node::new();
    let at_once = other.open().await;
    add(&at_once, &origin.url(), &["*"]).await;
    let expected = found(&at_once, "needle").await;
    assert!(expected.len() > 4, "{expected:?}");
    assert_eq!(found(&manager, "needle").await, expected);
    assert_eq!(
        manager.get(DEFAULT_TENANT, id).await.unwrap().document_count,
        manager.index().shard_of(id).unwrap().documents(id)
    );
    manager.remove(id).await.unwrap();
    assert!(found(&manager, "needle").await.is_empty(), "gone from searches at once");
    manager.shutdown().await;
    at_once.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_branches_are_applied_in_batches() {
    let node = Node::new();
    let mut config = node.config();
    config.batch_entries = 5;
    config.max_revisions = 8;
    let manager = RepoManager::open(config).await.unwrap();
    let origin = Origin::with_file("a", "x");
    origin.write("b", b"y");
    origin.commit("two files");
    for number in 0..12 {
        origin.git(&["branch", &format!("branch{number:02}")]);
    }
    let repository = add(&manager, &origin.url(), &["*"]).await;
    assert_eq!(repository.revisions.len(), 8);
    let events = manager.events(repository.id, 100).await.unwrap();
    assert!(events.iter().any(|event| event.message.contains("13 revisions match")), "{events:?}");
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_listed_and_the_rest_indexed() {
    let node = Node::new();
    let manager = node.open().await;
    let origin = Origin::with_file("good", "good");
    origin.write("lost", b"lost");
    origin.write("folder/below", b"below");
    origin.commit("files");
    for spec in ["HEAD:lost", "HEAD:folder"] {
        let id = origin.git(&["rev-parse", spec]);
        std::fs::remove_file(origin.loose(&id)).unwrap();
    }
    let repository = add(&manager, &origin.url(), &[]).await;
    let left_out = manager.not_indexed(repository.id, None, 100).await.unwrap();
    let mut paths: Vec<_> = left_out.iter().map(|file| file.path.as_slice()).collect();
    paths.sort();
    assert_eq!(paths, [b"folder".as_slice(), b"lost"]);
    assert!(left_out.iter().all(|file| file.reason == aeterna_index::OmitReason::Missing));
    assert_eq!(file(&manager, &repository, "good").await.unwrap(), b"good");
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_without_its_commit_does_not_stop_the_others() {
    let node = Node::new();
    let manager = node.open().await;
    let origin = Origin::with_file("a", "x");
    origin.git(&["checkout", "-q", "-b", "broken"]);
    origin.write("b", b"y");
    let broken = origin.commit("lost");
    origin.git(&["checkout", "-q", "main"]);
    std::fs::remove_file(origin.loose(&broken)).unwrap();
    let repository = add(&manager, &origin.url(), &["*"]).await;
    assert_eq!(revisions(&repository), [("main", origin.head().as_str())]);
    let events = manager.events(repository.id, 100).await.unwrap();
    assert!(events.iter().any(|event| event.message.contains("broken cannot be indexed")));
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permanent_failure_is_not_tried_again_until_asked() {
    let node = Node::new();
    let manager = node.open().await;
    let origin = Origin::with_file("a", "x");
    let repository = add(&manager, &origin.url(), &[]).await;
    let hidden = origin.path().join("hidden");
    std::fs::rename(origin.path().join(".git"), &hidden).unwrap();
    manager.sync(repository.id).await.unwrap();
    let failed = wait(&manager, repository.id, |now| now.state == State::Error).await;
    assert_eq!(failed.last_error_code.as_deref(), Some("not-a-git-repository"));
    assert_eq!((failed.attempts, failed.next_attempt_at), (1, None));
    assert_eq!(failed.revisions, repository.revisions, "what was indexed stays");
    assert!(file(&manager, &failed, "a").await.is_some());
    std::fs::rename(&hidden, origin.path().join(".git")).unwrap();
    let synced = sync(&manager, repository.id).await;
    assert_eq!((synced.attempts, synced.last_error), (0, None));
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_failure_is_tried_again_and_given_up_in_the_end() {
    let node = Node::new();
    let manager = node.open().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/a", listener.local_addr().unwrap());
    drop(listener);
    let added = manager.add(adding(&url)).await.unwrap().repository;
    let given_up = wait(&manager, added.id, |repository| {
        repository.state == State::Error && repository.next_attempt_at.is_none()
    })
    .await;
    assert_eq!(given_up.attempts, 3);
    assert_eq!(given_up.last_error_code.as_deref(), Some("host-unreachable"));
    let events = manager.events(added.id, 100).await.unwrap();
    let failures: Vec<_> = events.iter().filter(|e| e.kind == EventKind::Failed).collect();
    assert_eq!(failures.len(), 3);
    assert!(failures[1].message.contains("tried again at"), "{failures:?}");
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_repository_is_gone_at_once_and_for_good() {
    let node = Node::new();
    let manager = node.open().await;
    let origin = Origin::with_file("a", "x");
    let repository = add(&manager, &origin.url(), &[]).await;
    manager.remove(repository.id).await.unwrap();
    assert!(!sees(&manager, &repository));
    let id = repository.id;
    for code in [
        manager.get(DEFAULT_TENANT, id).await.map(drop).unwrap_err().code(),
        manager.sync(id).await.unwrap_err().code(),
        manager.remove(id).await.unwrap_err().code(),
        manager.events(id, 1).await.map(drop).unwrap_err().code(),
        manager.file(id, None, b"a").await.map(drop).unwrap_err().code(),
    ] {
        assert_eq!(code, "repository-not-found");
    }
    gone(&manager, id, &node).await;
    let again = add(&manager, &origin.url(), &[]).await;
    assert_ne!(again.id, id);
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_stops_the_work_on_a_repository() {
    use std::os::unix::fs::PermissionsExt;
    let node = Node::new();
    let script = node.data.path().join("ssh");
    std::fs::write(&script, "#!/bin/sh\nsleep 1000\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut config = node.config();
    config.git.ssh_program = script;
    config.git.stall_timeout = Duration::from_secs(1000);
    config.workers = 1;
    let manager = RepoManager::open(config).await.unwrap();
    let stuck = manager.add(adding("git@example.org:a/b")).await.unwrap().repository;
    wait(&manager, stuck.id, |repository| repository.state == State::Cloning).await;
    let origin = Origin::with_file("a", "x");
    let waiting = manager.add(adding(&origin.url())).await.unwrap().repository;
    let waiting = manager.get(DEFAULT_TENANT, waiting.id).await.unwrap();
    assert_eq!(waiting.queue_position, Some(0));
    assert_eq!(waiting.state, State::Approved);
    manager.remove(stuck.id).await.unwrap();
    ready(&manager, waiting.id).await;
    gone(&manager, stuck.id, &node).await;
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reindexing_keeps_what_is_indexed() {
    let node = Node::new();
    let manager = node.open().await;
    let origin = Origin::with_file("a", "x");
    let before = add(&manager, &origin.url(), &[]).await;
    manager.reindex(before.id).await.unwrap();
    let after = wait(&manager, before.id, |repository| {
        repository.state == State::Ready && repository.indexed_at > before.indexed_at
    })
    .await;
    assert_eq!(after.revisions, before.revisions);
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_repositories_are_indexed_by_few_workers() {
    let node = Node::new();
    let manager = node.open().await;
    let origins: Vec<Origin> =
        (0..12).map(|number| Origin::with_file("a", &number.to_string())).collect();
    let mut ids = Vec::new();
    for origin in &origins {
        ids.push(manager.add(adding(&origin.url())).await.unwrap().repository.id);
    }
    for id in ids {
        ready(&manager, id).await;
    }
    let filter = ListFilter {
        tenant: DEFAULT_TENANT.to_owned(),
        name: None,
        state: Some(State::Ready),
        after: None,
        limit: 100,
    };
    assert_eq!(manager.list(&filter).await.unwrap().len(), 12);
    let health = manager.health().await;
    assert!(health.catalog && health.failed_tasks.is_empty() && health.paused.is_none());
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_are_synced_by_themselves_when_that_is_wanted() {
    let node = Node::new();
    let mut config = node.config();
    config.sync_interval = Some(Duration::from_millis(50));
    let manager: Arc<RepoManager> = RepoManager::open(config).await.unwrap();
    let origin = Origin::with_file("a", "x");
    let repository = add(&manager, &origin.url(), &[]).await;
    origin.write("b", b"y");
    let head = origin.commit("pushed");
    wait(&manager, repository.id, |repository| {
        repository.revisions.first().is_some_and(|revision| revision.commit == head)
    })
    .await;
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manager_runs_on_postgres() {
    let node = Node::new();
    let mut config = node.config();
    config.database = crate::catalog::postgres().await;
    let manager = RepoManager::open(config).await.unwrap();
    let origin = Origin::with_file("a", "x");
    let repository = add(&manager, &origin.url(), &[]).await;
    origin.write("a", b"y");
    origin.commit("pushed");
    let synced = sync(&manager, repository.id).await;
    assert_ne!(synced.revisions, repository.revisions);
    manager.remove(repository.id).await.unwrap();
    gone(&manager, repository.id, &node).await;
    manager.shutdown().await;
}

//! The catalog, on SQLite and on PostgreSQL: each test runs on both.

use std::collections::BTreeMap;

use aeterna_index::{Part, RepositoryId};
use aeterna_repo::catalog::{
    Catalog, CatalogError, FetchedFacts, IndexedFacts, Inserted, JobKind, NewRepository, Parts,
    Record,
};
use aeterna_repo::{DatabaseUrl, EventKind, ListFilter, ManagerError, State};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Names a server on which databases may be made, with the user that may.
const POSTGRES: &str = "AETERNA_TEST_POSTGRES_URL";

/// A fresh database of each kind.
pub struct Databases {
    _folder: TempDir,
    pub urls: Vec<DatabaseUrl>,
}

impl Databases {
    pub async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let sqlite = DatabaseUrl::sqlite(&folder.path().join("catalog.db"));
        Self { _folder: folder, urls: vec![sqlite, postgres().await] }
    }

    pub async fn open(&self) -> Vec<Catalog> {
        let mut catalogs = Vec::new();
        for url in &self.urls {
            catalogs.push(Catalog::open(url, 4, 5).await.unwrap());
        }
        catalogs
    }
}

/// A new database of the test server. It goes with the server, which `cargo xtask test` removes.
pub async fn postgres() -> DatabaseUrl {
    let server = std::env::var(POSTGRES).unwrap_or_else(|_| {
        panic!("{POSTGRES} is not set: run `cargo xtask test`, which starts a PostgreSQL for tests")
    });
    let mut url = url::Url::parse(&server).expect("the URL of the test server");
    let mut connection = PgConnection::connect(&server).await.expect("the test server answers");
    let name = format!("test_{}", Uuid::new_v4().simple());
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    url.set_path(&name);
    DatabaseUrl::new(url.as_str())
}

pub fn new(name: &str, url: &str) -> NewRepository {
    NewRepository {
        id: RepositoryId(Uuid::now_v7()),
        tenant: "default".to_owned(),
        name: name.to_owned(),
        url: url.to_owned(),
        url_key: url.to_owned(),
        branches: vec!["main".to_owned(), "release/*".to_owned()],
        state: State::Approved,
    }
}

pub async fn inserted(catalog: &Catalog, new: &NewRepository) -> Record {
    match catalog.insert(new).await.unwrap() {
        Inserted::New(record) => record,
        other => panic!("{other:?}"),
    }
}

fn filter(name: Option<&str>, state: Option<State>, after: Option<&str>) -> ListFilter {
    ListFilter {
        tenant: "default".to_owned(),
        name: name.map(str::to_owned),
        state,
        after: after.map(str::to_owned),
        limit: 2,
    }
}

async fn names(catalog: &Catalog, filter: &ListFilter) -> Vec<String> {
    let records = catalog.list(filter).await.unwrap();
    records.into_iter().map(|record| record.repository.name).collect()
}

#[tokio::test]
async fn what_is_inserted_is_read_back() {
    for catalog in Databases::new().await.open().await {
        let wanted = new("a/b", "https://example.org/a/b");
        let record = inserted(&catalog, &wanted).await;
        let read = catalog.record(wanted.id).await.unwrap().unwrap();
        assert_eq!(read, record);
        let repository = read.repository;
        assert_eq!(repository.id, wanted.id);
        assert_eq!(repository.branches, wanted.branches);
        assert_eq!(repository.state, State::Approved);
        assert_eq!(repository.indexed_at, None);
        assert_eq!(repository.created_at, repository.updated_at);
        let age = time::OffsetDateTime::now_utc() - repository.created_at;
        assert!(age.whole_seconds() < 60, "{age}");
        assert!(catalog.record(RepositoryId(Uuid::nil())).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn names_and_urls_are_unique_in_a_tenant() {
    for catalog in Databases::new().await.open().await {
        let first = new("a/b", "https://example.org/a/b");
        inserted(&catalog, &first).await;
        let same_url = catalog.insert(&new("x/y", "https://example.org/a/b")).await.unwrap();
        assert!(matches!(same_url, Inserted::SameUrl(found) if found.repository.id == first.id));
        let same_name = catalog.insert(&new("a/b", "https://example.org/x/y")).await.unwrap();
        assert!(matches!(same_name, Inserted::NameTaken(found) if found.repository.id == first.id));
        let mut other = new("a/b", "https://example.org/a/b");
        other.tenant = "other".to_owned();
        inserted(&catalog, &other).await;
        let names = names(&catalog, &filter(None, None, None)).await;
        assert_eq!(names, ["a/b"], "a tenant sees its own");
    }
}

#[tokio::test]
async fn adding_the_same_at_the_same_time_adds_it_once() {
    for catalog in Databases::new().await.open().await {
        let adding = (0..8).map(|_| {
            let catalog = catalog.clone();
            tokio::spawn(async move {
                let new = new("a/b", "https://example.org/a/b");
                matches!(catalog.insert(&new).await.unwrap(), Inserted::New(_))
            })
        });
        let mut added = 0;
        for task in adding.collect::<Vec<_>>() {
            added += usize::from(task.await.unwrap());
        }
        assert_eq!(added, 1);
    }
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    for catalog in Databases::new().await.open().await {
        for name in ["a/Alpha", "a/beta", "b/alphabet", "b/100%", "b/under_score"] {
            inserted(&catalog, &new(name, name)).await;
        }
        let all = filter(None, None, None);
        assert_eq!(names(&catalog, &all).await.len(), 2, "a page");
        let mut seen = Vec::new();
        let mut page = all;
        loop {
            let names = names(&catalog, &page).await;
            let Some(last) = names.last() else { break };
            page.after = Some(last.clone());
            seen.extend(names);
        }
        assert_eq!(seen.len(), 5, "{seen:?}");
        let found = names(&catalog, &filter(Some("ALPHA"), None, None)).await;
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(names(&catalog, &filter(Some("%"), None, None)).await, ["b/100%"]);
        assert_eq!(names(&catalog, &filter(Some("r_s"), None, None)).await, ["b/under_score"]);
        assert!(names(&catalog, &filter(None, Some(State::Ready), None)).await.is_empty());
    }
}

#[tokio::test]
async fn states_follow_their_table() {
    for catalog in Databases::new().await.open().await {
        let id = inserted(&catalog, &new("a/b", "u")).await.repository.id;
        for state in [State::Cloning, State::Cloning, State::Indexing, State::Error, State::Cloning]
        {
            catalog.set_state(id, state).await.unwrap();
            assert_eq!(catalog.record(id).await.unwrap().unwrap().repository.state, state);
        }
        let refused = catalog.set_state(id, State::Ready).await.unwrap_err();
        assert!(
            matches!(refused, CatalogError::Transition { from: State::Cloning, to: State::Ready }),
            "{refused}"
        );
        assert_eq!(catalog.record(id).await.unwrap().unwrap().repository.state, State::Cloning);
    }
}

#[test]
fn every_state_can_be_left_and_is_written_as_it_is_read() {
    for state in State::ALL {
        assert_eq!(state.as_str().parse::<State>().unwrap(), state);
        assert!(!state.next().is_empty(), "{state} is a dead end");
        assert!(!state.next().contains(&state));
    }
    assert!("nonsense".parse::<State>().is_err());
    assert!(!State::Rejected.may_become(State::Ready));
    assert!(!State::Approved.may_become(State::Ready));
}

#[tokio::test]
async fn an_indexing_is_recorded_with_its_revisions() {
    for catalog in Databases::new().await.open().await {
        let id = inserted(&catalog, &new("a/b", "u")).await.repository.id;
        catalog.request_job(id, JobKind::Sync).await.unwrap();
        let job = catalog.job(id).await.unwrap().unwrap();
        catalog.set_state(id, State::Cloning).await.unwrap();
        let fetched = FetchedFacts {
            default_branch: Some("main".to_owned()),
            size_bytes: 1 << 40,
            license: Some("MIT".to_owned()),
        };
        catalog.set_fetched(id, &fetched).await.unwrap();
        catalog.set_state(id, State::Indexing).await.unwrap();
        let revisions: BTreeMap<String, String> = [("dev", "1"), ("main", "2")]
            .into_iter()
            .map(|(name, commit)| (name.to_owned(), commit.to_owned()))
            .collect();
        let facts = IndexedFacts { revisions, document_count: 7 };
        assert!(catalog.set_indexed(id, &facts, None, job.request).await.unwrap());
        let record = catalog.record(id).await.unwrap().unwrap();
        let repository = &record.repository;
        assert_eq!(repository.state, State::Ready);
        let names: Vec<_> = repository.revisions.iter().map(|rev| rev.name.as_str()).collect();
        assert_eq!(names, ["main", "dev"], "the default branch first");
        assert_eq!(repository.document_count, 7);
        assert_eq!(repository.size_bytes, 1 << 40);
        assert_eq!(record.info().license.as_deref(), Some("MIT"));
        assert!(repository.indexed_at.is_some());
        assert!(catalog.job(id).await.unwrap().is_none());
        let all = catalog.everything().await.unwrap();
        assert_eq!(all, [record]);
    }
}

#[tokio::test]
async fn parts_are_rows_that_only_their_nodes_see() {
    for catalog in Databases::new().await.open().await {
        let whole = inserted(&catalog, &new("a/b", "u")).await.repository.id;
        let others: Vec<RepositoryId> = (0..3).map(|_| RepositoryId(Uuid::now_v7())).collect();
        let part = |number: u32| (number, others[number as usize - 1], 10 + number);
        let revisions = BTreeMap::from([("main".to_owned(), "1".to_owned())]);
        let facts = IndexedFacts { revisions, document_count: 7 };
        let parts = |of, new: &[(u32, RepositoryId, u32)], done: &[RepositoryId]| Parts {
            of,
            new: new.to_vec(),
            done: done.iter().copied().collect(),
            kind: JobKind::Sync,
        };
        let index = async |id: RepositoryId, parts: &Parts| {
            catalog.set_state(id, State::Cloning).await.unwrap();
            catalog.set_state(id, State::Indexing).await.unwrap();
            catalog.request_job(id, JobKind::Sync).await.unwrap();
            let request = catalog.job(id).await.unwrap().unwrap().request;
            assert!(catalog.set_indexed(id, &facts, Some(parts), request).await.unwrap());
        };
        index(whole, &parts(3, &[part(1), part(2)], &[])).await;
        let record = catalog.record(whole).await.unwrap().unwrap();
        assert_eq!(record.repository.part, Some(Part { whole, number: 0, of: 3 }));
        let known = |record: &Record| -> Vec<(RepositoryId, Option<Part>)> {
            record.others.iter().map(|other| (other.id, other.part)).collect()
        };
        let wanted = |number: u32, of| (part(number).1, Some(Part { whole, number, of }));
        assert_eq!(known(&record), [wanted(1, 3), wanted(2, 3)]);
        for other in &others[..2] {
            let other = catalog.record(*other).await.unwrap().unwrap();
            assert_eq!(other.repository.name, "a/b");
            assert_eq!(other.repository.url, "u");
            assert_eq!(other.repository.state, State::Approved);
            assert_eq!(
                catalog.job(other.repository.id).await.unwrap().unwrap().kind,
                JobKind::Sync
            );
            assert_eq!(other.info().whole(), whole);
        }
        let of_shard = catalog.of_shard(11).await.unwrap();
        assert_eq!(of_shard.len(), 1);
        assert_eq!(of_shard[0].repository.id, others[0]);

        // Nobody lists or finds them, and none is fetched because its time has come.
        let listed = catalog.list(&filter(None, None, None)).await.unwrap();
        assert_eq!(listed.iter().map(|one| one.repository.id).collect::<Vec<_>>(), [whole]);
        assert_eq!(known(&listed[0]).len(), 2);
        let named = catalog.find_name("default", "a/b").await.unwrap().unwrap();
        assert_eq!(named.repository.id, whole);
        let by_url = catalog.find_url("default", "u").await.unwrap().unwrap();
        assert_eq!(by_url.repository.id, whole);
        index(others[0], &parts(1, &[], &[])).await;
        assert_eq!(catalog.overdue(i64::MAX).await.unwrap(), [whole]);

        // There may be more of them; those that are there stay, and only who has to does something.
        let again = (1, RepositoryId(Uuid::now_v7()), 15);
        index(whole, &parts(4, &[again, part(3)], &[others[0]])).await;
        let record = catalog.record(whole).await.unwrap().unwrap();
        assert_eq!(known(&record), [wanted(1, 4), wanted(2, 4), wanted(3, 4)]);
        assert!(catalog.job(others[0]).await.unwrap().is_none());
        assert!(catalog.job(others[2]).await.unwrap().is_some());

        // They go first.
        for left in (1..=3).rev() {
            let error = catalog.mark_removed(whole).await.unwrap_err();
            assert!(
                matches!(error, CatalogError::OtherParts { parts } if parts == left),
                "{error}"
            );
            catalog.mark_removed(others[3 - left as usize]).await.unwrap();
        }
        catalog.mark_removed(whole).await.unwrap();
        let request = catalog.job(whole).await.unwrap().unwrap().request;
        let late = parts(5, &[part(1), (4, RepositoryId(Uuid::now_v7()), 16)], &[]);
        catalog.set_indexed(whole, &facts, Some(&late), request).await.unwrap();
        assert_eq!(known(&catalog.record(whole).await.unwrap().unwrap()), []);
    }
}

#[tokio::test]
async fn a_job_asked_for_while_it_runs_runs_again() {
    for catalog in Databases::new().await.open().await {
        let id = inserted(&catalog, &new("a/b", "u")).await.repository.id;
        catalog.request_job(id, JobKind::Sync).await.unwrap();
        let running = catalog.job(id).await.unwrap().unwrap();
        catalog.request_job(id, JobKind::Reindex).await.unwrap();
        catalog.request_job(id, JobKind::Sync).await.unwrap();
        let facts = IndexedFacts { revisions: BTreeMap::new(), document_count: 0 };
        assert!(!catalog.set_indexed(id, &facts, None, running.request).await.unwrap());
        let again = catalog.job(id).await.unwrap().unwrap();
        assert_eq!(again.kind, JobKind::Reindex, "the stronger job stays");
        let error = ("timed-out", "too slow");
        catalog.job_failed(&running, 1, error, None).await.unwrap();
        assert!(catalog.job(id).await.unwrap().unwrap().next_attempt_at.is_some());
    }
}

#[tokio::test]
async fn failures_are_kept_until_the_job_is_asked_for_again() {
    for catalog in Databases::new().await.open().await {
        let id = inserted(&catalog, &new("a/b", "u")).await.repository.id;
        catalog.request_job(id, JobKind::Sync).await.unwrap();
        let job = catalog.job(id).await.unwrap().unwrap();
        let later = job.next_attempt_at.unwrap() + 60_000;
        catalog.job_failed(&job, 2, ("timed-out", "too slow"), Some(later)).await.unwrap();
        let repository = catalog.record(id).await.unwrap().unwrap().repository;
        assert_eq!(repository.attempts, 2);
        assert_eq!(repository.last_error.as_deref(), Some("too slow"));
        assert_eq!(repository.last_error_code.as_deref(), Some("timed-out"));
        assert!(repository.next_attempt_at.is_some());
        assert_eq!(catalog.jobs().await.unwrap().len(), 1);
        catalog.job_failed(&job, 3, ("timed-out", "too slow"), None).await.unwrap();
        assert!(catalog.jobs().await.unwrap().is_empty(), "given up");
        catalog.request_job(id, JobKind::Sync).await.unwrap();
        let repository = catalog.record(id).await.unwrap().unwrap().repository;
        assert_eq!((repository.attempts, repository.last_error), (0, None));
        assert_eq!(catalog.jobs().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_removed_repository_is_not_found_and_can_be_added_again() {
    for catalog in Databases::new().await.open().await {
        let id = inserted(&catalog, &new("a/b", "u")).await.repository.id;
        catalog.add_event(id, EventKind::Added, "added").await.unwrap();
        let jobs = async || {
            let jobs = catalog.jobs().await.unwrap().into_iter();
            jobs.map(|job| (job.repository, job.kind)).collect::<Vec<_>>()
        };
        assert_eq!(jobs().await, [(id, JobKind::Sync)]);
        catalog.mark_removed(id).await.unwrap();
        assert_eq!(jobs().await, [(id, JobKind::Remove)]);
        assert!(catalog.record(id).await.unwrap().unwrap().removed);
        assert!(catalog.find_name("default", "a/b").await.unwrap().is_none());
        assert!(catalog.find_url("default", "u").await.unwrap().is_none());
        assert!(names(&catalog, &filter(None, None, None)).await.is_empty());
        let again = inserted(&catalog, &new("a/b", "u")).await.repository.id;
        catalog.delete(id).await.unwrap();
        assert!(catalog.record(id).await.unwrap().is_none());
        assert_eq!(jobs().await, [(again, JobKind::Sync)]);
        assert!(catalog.events(id, 10).await.unwrap().is_empty());
        assert!(!catalog.record(again).await.unwrap().unwrap().removed);
    }
}

#[tokio::test]
async fn the_newest_events_are_kept() {
    for catalog in Databases::new().await.open().await {
        let id = inserted(&catalog, &new("a/b", "u")).await.repository.id;
        for number in 0..9 {
            catalog.add_event(id, EventKind::Notice, &format!("{number}")).await.unwrap();
        }
        let events = catalog.events(id, 100).await.unwrap();
        let messages: Vec<_> = events.iter().map(|event| event.message.as_str()).collect();
        assert_eq!(messages, ["8", "7", "6", "5", "4"]);
        assert_eq!(catalog.events(id, 2).await.unwrap().len(), 2);
        catalog.add_event(RepositoryId(Uuid::nil()), EventKind::Notice, "gone").await.unwrap();
    }
}

#[tokio::test]
async fn an_existing_database_is_opened_again() {
    let databases = Databases::new().await;
    for catalog in databases.open().await {
        inserted(&catalog, &new("a/b", "u")).await;
        catalog.close().await;
    }
    for catalog in databases.open().await {
        assert_eq!(catalog.everything().await.unwrap().len(), 1);
        catalog.jobs().await.unwrap();
    }
}

#[tokio::test]
async fn other_databases_are_refused_without_their_password() {
    let url = DatabaseUrl::new("mysql://user:s3cret@localhost/x");
    let error = Catalog::open(&url, 1, 1).await.unwrap_err();
    assert!(matches!(error, CatalogError::UnknownDatabase { .. }));
    let unreachable = DatabaseUrl::new("postgres://user:s3cret@127.0.0.1:1/x");
    let refused = Catalog::open(&unreachable, 1, 1).await.unwrap_err();
    for shown in [format!("{error} {error:?}"), format!("{refused} {refused:?} {unreachable:?}")] {
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[tokio::test]
async fn a_path_with_signs_of_urls_is_a_path() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a b%41?x#y.db");
    Catalog::open(&DatabaseUrl::sqlite(&path), 1, 1).await.unwrap().close().await;
    assert!(path.exists());
}

/// A way to a server that can be cut.
async fn through_proxy(url: &DatabaseUrl) -> (DatabaseUrl, tokio::task::JoinHandle<()>) {
    let mut url = url::Url::parse(url.expose()).unwrap();
    let server = (url.host_str().unwrap().to_owned(), url.port().unwrap());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
    let proxy = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let server = server.clone();
            connections.spawn(async move {
                let mut server = TcpStream::connect(server).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    (DatabaseUrl::new(url.as_str()), proxy)
}

#[tokio::test]
async fn a_database_that_went_away_is_told_from_one_that_refuses() {
    let (url, proxy) = through_proxy(&postgres().await).await;
    let catalog = Catalog::open(&url, 2, 5).await.unwrap();
    let id = inserted(&catalog, &new("a/b", "u")).await.repository.id;
    let refused = catalog.set_state(id, State::Ready).await.unwrap_err();
    assert!(!refused.is_unavailable(), "{refused}");
    proxy.abort();
    let away = catalog.set_state(id, State::Cloning).await.unwrap_err();
    assert!(away.is_unavailable(), "{away}");
    assert_eq!(ManagerError::from(away).code(), "catalog-unavailable");
}

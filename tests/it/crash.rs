//! SIGKILL at any moment loses nothing that was acknowledged.
//!
//! `AETERNA_KILLS` says how often (25 when it is not set), `AETERNA_SEED` repeats a run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Git, Random, Request, Server, ServerOptions};

const KILLS: u64 = 25;
const REPOSITORIES: usize = 3;
const FILES: usize = 40;
/// A server is killed within so many milliseconds after it listens.
const LONGEST_LIFE: u64 = 700;
/// Every so many kills hit a server before it listens.
const EARLY_EVERY: u64 = 5;
const SETTLED: Duration = Duration::from_secs(120);

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

/// What is known of a repository from the answers that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Present,
    Absent,
    /// A request was cut off: it may have been done or not.
    Either,
}

/// A repository and what the server acknowledged of it.
struct Subject {
    git: Git,
    name: String,
    known: Known,
    generation: u64,
    /// Every commit, oldest first.
    commits: Vec<String>,
    /// Position of the newest commit that a sync or add was acknowledged after.
    acknowledged: usize,
}

impl Subject {
    fn new(number: usize) -> Self {
        let mut subject = Self {
            git: Git::new(&format!("r{number}")),
            name: format!("owner/r{number}"),
            known: Known::Absent,
            generation: 0,
            commits: Vec::new(),
            acknowledged: 0,
        };
        subject.commit();
        subject
    }

    /// Every file of a commit holds its generation; one file comes and one goes.
    fn commit(&mut self) {
        for file in 0..FILES {
            let text = format!("{} file {file}\nstate_{:06}\n", self.name, self.generation);
            self.git.write(&format!("d{}/f{file}.txt", file % 7), text.as_bytes());
        }
        let text = format!("extra state_{:06}\n", self.generation);
        self.git.write(&format!("g{}.txt", self.generation), text.as_bytes());
        if self.generation > 0 {
            let old = self.git.path().join(format!("g{}.txt", self.generation - 1));
            std::fs::remove_file(old).unwrap();
        }
        self.commits.push(self.git.commit("next"));
        self.generation += 1;
    }

    fn target(&self, below: &str) -> String {
        format!("/api/v1/repos/{}{below}", self.name.replace('/', "%2F"))
    }

    fn add(&mut self, address: SocketAddr) -> std::io::Result<()> {
        let newest = self.commits.len() - 1;
        let before = self.known;
        self.known = Known::Either;
        let body = json!({"url": self.git.url(), "name": self.name});
        let reply = Request::new("POST", "/api/v1/repos").json(&body).try_send(address)?;
        assert_eq!(reply.status, 202, "{}", reply.text());
        self.known = Known::Present;
        // Of a repository that exists, an add starts nothing.
        if before == Known::Absent {
            self.acknowledged = newest;
        }
        Ok(())
    }

    fn remove(&mut self, address: SocketAddr) -> std::io::Result<()> {
        self.known = Known::Either;
        let reply = Request::new("DELETE", &self.target("")).try_send(address)?;
        assert!(matches!(reply.status, 204 | 404), "{}", reply.text());
        self.known = Known::Absent;
        Ok(())
    }

    fn sync(&mut self, address: SocketAddr) -> std::io::Result<()> {
        self.commit();
        let newest = self.commits.len() - 1;
        let reply = Request::new("POST", &self.target("/sync")).try_send(address)?;
        match reply.status {
            202 => self.acknowledged = newest,
            404 => assert_ne!(self.known, Known::Present, "{}", reply.text()),
            _ => panic!("{}", reply.text()),
        }
        Ok(())
    }
}

/// One answer shows one commit of each repository, and all of it.
fn check_snapshot(address: SocketAddr) -> std::io::Result<()> {
    let target = "/api/v1/search?q=state_%20path:**/f*.txt&pageSize=1000";
    let reply = Request::new("GET", target).try_send(address)?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let mut states: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for result in reply.json()["results"].as_array().unwrap() {
        let text = result["chunks"][0]["content"].as_str().unwrap();
        let at = text.find("state_").unwrap();
        let name = result["repository"].as_str().unwrap().to_owned();
        states.entry(name).or_default().push(text[at..at + 12].to_owned());
    }
    for (name, mut seen) in states {
        assert_eq!(seen.len(), FILES, "{name}: a part of a commit");
        seen.dedup();
        assert_eq!(seen.len(), 1, "{name}: two commits in one answer: {seen:?}");
    }
    Ok(())
}

/// Asks for one thing after another until the connection breaks.
/// Returns how many things were done.
fn work(subjects: &mut [Subject], random: &mut Random, address: SocketAddr) -> u64 {
    let step = |subjects: &mut [Subject], random: &mut Random| {
        let subject = &mut subjects[random.below(REPOSITORIES as u64) as usize];
        match random.below(10) {
            0..=2 => subject.add(address),
            3 => subject.remove(address),
            4..=6 => subject.sync(address),
            _ => check_snapshot(address),
        }
    };
    let mut done = 0;
    while step(subjects, random).is_ok() {
        done += 1;
    }
    done
}

/// Waits until nothing is queued or running; nothing is asked for.
fn settle(server: &Server) -> Vec<Value> {
    let deadline = Instant::now() + SETTLED;
    loop {
        let list = server.get("/api/v1/repos?limit=1000").json();
        let repositories = list["repositories"].as_array().unwrap().clone();
        let idle = repositories.iter().all(|repository| {
            repository["state"] == "ready"
                && repository["progress"].is_null()
                && repository["queuePosition"].is_null()
        });
        if idle && server.get("/readyz").json()["jobsWaiting"] == 0 {
            return repositories;
        }
        assert!(Instant::now() < deadline, "work does not continue by itself: {list:#}");
        // There is no channel to wait on across a restart.
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What a user can find, without what differs between two servers.
fn answers(server: &Server) -> Vec<Value> {
    let queries =
        ["state_ count:all", "file 7 count:all", "type:path g count:all", "/f1[0-9]/ count:all"];
    queries
        .iter()
        .flat_map(|query| {
            let answer = server.search(query, "").json();
            assert_eq!(answer["complete"], true, "{query}: {}", answer["skipped"]);
            let mut results = answer["results"].as_array().unwrap().clone();
            for result in &mut results {
                for key in ["indexedAt", "repositoryId", "score"] {
                    result[key] = Value::Null;
                }
            }
            results.sort_by_key(Value::to_string);
            results
        })
        .collect()
}

/// Folders of mirrors.
fn mirrors(data: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(data.join("repositories")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn index_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => index_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

#[test]
fn a_killed_server_continues_and_finds_what_a_fresh_one_does() {
    let kills = number("AETERNA_KILLS", KILLS);
    let mut random = Random(number("AETERNA_SEED", 20_261_121));
    let data = tempfile::tempdir().unwrap();
    let options = ServerOptions::default();
    let mut subjects: Vec<Subject> = (0..REPOSITORIES).map(Subject::new).collect();
    let mut done = 0;

    for kill in 0..kills {
        if kill % EARLY_EVERY == EARLY_EVERY - 1 {
            Server::kill_early(data.path(), &options, Duration::from_millis(random.below(60)));
            continue;
        }
        let server = Server::start_in(data.path(), &options);
        let address = server.address;
        let life = Duration::from_millis(random.below(LONGEST_LIFE));
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| work(&mut subjects, &mut random, address));
            // The moment is random on purpose: there is nothing to wait for.
            std::thread::sleep(life);
            server.kill();
            done += worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
    }

    assert!(done >= kills, "only {done} requests between {kills} kills: the test tested nothing");

    let server = Server::start_in(data.path(), &options);
    let repositories = settle(&server);
    check_known(&subjects, &repositories);
    let ids: Vec<&str> =
        repositories.iter().filter_map(|repository| repository["id"].as_str()).collect();
    let mut expected: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    expected.sort();
    check_mirrors(data.path(), &expected);

    compare_with_fresh(&server, &subjects, &repositories);
    for id in ids {
        let reply = Request::new("DELETE", &format!("/api/v1/repos/{id}")).send(server.address);
        assert_eq!(reply.status, 204, "{}", reply.text());
    }
    check_empty(&server, data.path());
}

/// What was acknowledged is there, and as new as it was said to be.
fn check_known(subjects: &[Subject], repositories: &[Value]) {
    for subject in subjects {
        let found = repositories.iter().find(|r| r["name"] == subject.name.as_str());
        match (subject.known, found) {
            (Known::Present, None) => panic!("{} was acknowledged and is gone", subject.name),
            (Known::Absent, Some(_)) => panic!("{} was removed and is back", subject.name),
            (_, None) => {}
            (_, Some(repository)) => {
                let commit = repository["revisions"][0]["commit"].as_str().unwrap();
                let at = subject.commits.iter().position(|other| other == commit);
                assert!(
                    at.is_some_and(|at| at >= subject.acknowledged),
                    "{} is at {at:?}, commit {} was acknowledged",
                    subject.name,
                    subject.acknowledged
                );
            }
        }
    }
}

/// The same repositories, indexed in one go by another server, give the same answers.
fn compare_with_fresh(server: &Server, subjects: &[Subject], repositories: &[Value]) {
    let fresh = Server::start();
    for repository in repositories {
        let name = repository["name"].as_str().unwrap();
        let subject = subjects.iter().find(|subject| subject.name == name).unwrap();
        let synced = server.cli(&["repo", "sync", name, "--wait"]);
        assert_eq!(synced.code, 0, "{synced:?}");
        assert_eq!(fresh.try_add(&subject.git.url(), name).unwrap().status, 202);
    }
    settle(&fresh);
    assert_eq!(answers(server), answers(&fresh));
}

/// No mirror leaks: that of a repository that is being removed goes in the background.
fn check_mirrors(data: &Path, expected: &[String]) {
    let deadline = Instant::now() + SETTLED;
    while mirrors(data) != expected {
        assert!(Instant::now() < deadline, "mirrors leak: {:?}, not {expected:?}", mirrors(data));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Nothing is left of repositories that were removed.
fn check_empty(server: &Server, data: &Path) {
    settle(server);
    let deadline = Instant::now() + SETTLED;
    let index = data.join("index");
    loop {
        let (mirrors, bytes) = (mirrors(data), index_bytes(&index));
        if mirrors.is_empty() && bytes < 256 << 10 {
            return;
        }
        assert!(Instant::now() < deadline, "files leak: {mirrors:?}, {bytes} bytes of index");
        // Files go in the background, without a signal to the outside.
        std::thread::sleep(Duration::from_millis(50));
    }
}

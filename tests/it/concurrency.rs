//! Searches while the index changes see one state of it each.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Git, Server, ServerOptions, connection, escape};

const FILES: usize = 60;
const COMMITS: usize = 12;
const SEARCHERS: usize = 4;

fn write_all(git: &Git, generation: usize) {
    for file in 0..FILES {
        let text = format!("// file {file}\nlet generation = state_{generation:04};\n");
        git.write(&format!("src/f{file}.rs"), text.as_bytes());
    }
    git.commit(&format!("state {generation}"));
}

/// Every file of a commit says the same generation: an answer with two of them, or with fewer
/// files, mixed two states.
fn check(server: &Server) -> usize {
    let answer = server.search("state_ lang:rust", "&pageSize=1000").json();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), FILES, "{}", answer["stats"]);
    let mut seen: Vec<&str> = results
        .iter()
        .map(|result| {
            let text = result["chunks"][0]["content"].as_str().unwrap();
            let at = text.find("state_").unwrap();
            &text[at + 6..at + 10]
        })
        .collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 1, "two states in one answer: {seen:?}");
    seen[0].parse().unwrap()
}

#[test]
fn searches_during_syncs_see_one_commit_each() {
    let git = Git::new("moving");
    write_all(&git, 0);
    let server = Server::start();
    server.add(&git.url());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let searchers: Vec<_> = (0..SEARCHERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut newest = 0;
                    let mut searches = 0;
                    while !done.load(Ordering::Acquire) {
                        let state = check(&server);
                        assert!(state >= newest, "an answer went back from {newest} to {state}");
                        newest = state;
                        searches += 1;
                    }
                    searches
                })
            })
            .collect();
        for generation in 1..=COMMITS {
            write_all(&git, generation);
            let ran = server.cli(&["repo", "sync", "owner/moving", "--wait"]);
            assert_eq!(ran.code, 0, "{ran:?}");
            assert_eq!(check(&server), generation, "what was synced is found");
        }
        done.store(true, Ordering::Release);
        for searcher in searchers {
            assert!(searcher.join().unwrap() > 0);
        }
    });
}

#[test]
fn a_removal_takes_all_of_a_repository_at_once() {
    let git = Git::new("moving");
    write_all(&git, 0);
    let server = Server::start();
    let id = server.add(&git.url())["id"].as_str().unwrap().to_owned();
    let removed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let searcher = scope.spawn(|| {
            loop {
                let gone = removed.load(Ordering::Acquire);
                let found = server.paths("state_").len();
                assert!(found == 0 || (found == FILES && !gone), "{found} files, removed: {gone}");
                if found == 0 {
                    return;
                }
            }
        });
        let reply = crate::harness::Request::new("DELETE", &format!("/api/v1/repos/{id}"))
            .send(server.address);
        assert_eq!(reply.status, 204, "{}", reply.text());
        removed.store(true, Ordering::Release);
        searcher.join().unwrap();
    });
}

#[test]
fn too_many_searches_are_sent_away_and_the_rest_answered() {
    let git = Git::new("slow");
    for file in 0..40 {
        git.write(&format!("f{file}.txt"), &b"abcdefghij klmnopqrst\n".repeat(20_000));
    }
    git.commit("first");
    let server = Server::start_with(&ServerOptions::set(&["search.concurrent_searches=1"]));
    server.add(&git.url());
    let body = json!({"q": "/[a-z]{3}[0-9]{7}/ count:all"});
    let replies = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| server.post("/api/v1/search", &body))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let (answered, refused): (Vec<_>, Vec<_>) =
        replies.into_iter().partition(|reply| reply.status == 200);
    assert!(!answered.is_empty() && !refused.is_empty());
    for reply in refused {
        reply.assert_problem(429, "too-many-searches");
        assert!(reply.header("retry-after").is_some());
    }
}

#[test]
fn a_node_whose_connections_are_all_taken_still_says_that_it_lives() {
    let server = Server::start_with(&ServerOptions::set(&["http.max_connections=2"]));
    let taken = [(); 2].map(|()| {
        connection(server.address, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", "\"alive\"")
    });
    for path in ["/livez", "/readyz", "/metrics"] {
        let reply = server.get(path);
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.header("connection"), Some("close"));
    }
    let refused = server.search("any", "");
    refused.assert_problem(503, "too-many-connections");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.header("connection"), Some("close"));
    // One that speaks HTTP/2 has no place that it could keep.
    let mut other = TcpStream::connect(server.address).unwrap();
    other.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut answer = Vec::new();
    // Bytes that nobody read make the end of a connection an error.
    let _ = other.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"\0"), "it is answered in HTTP/2: {answer:?}");
    drop(taken);
    wait_until(|| server.search("any", "").status == 200);
}

/// A number out of `/metrics`; 0 where it is not there.
fn metric(server: &Server, name: &str) -> u64 {
    let text = server.get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

/// Asks again and again, for a minute at most.
fn wait_until(holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < until, "it did not come to be");
    }
}

#[test]
fn a_search_ends_when_its_client_leaves() {
    let git = Git::new("long");
    git.write("f.txt", &b"abcdefghij klmnopqrst\n".repeat(400_000));
    git.commit("first");
    let server = Server::start();
    server.add(&git.url());
    let query = escape("/(?:[a-z]{1,60} ?){1,30}[0-9]{7}Z/ count:all timeout:25s");
    let mut client = TcpStream::connect(server.address).unwrap();
    let request = format!("GET /api/v1/search?q={query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    wait_until(|| metric(&server, "code_search_searches_running") > 0);
    drop(client);
    let ended = |outcome: &str| {
        metric(&server, &format!("code_search_searches_total{{outcome=\"{outcome}\"}}"))
    };
    wait_until(|| metric(&server, "code_search_searches_running") == 0);
    assert_eq!((ended("cancelled"), ended("complete"), ended("incomplete")), (1, 0, 0));
}

#[test]
fn a_client_that_does_not_read_is_let_go() {
    let git = Git::new("long");
    // More than the system takes for a connection.
    for file in 0..400 {
        let text = format!("abcdefghij {file}\n");
        git.write(&format!("f{file}.txt"), text.repeat(1_000).as_bytes());
    }
    git.commit("first");
    let server = Server::start_with(&ServerOptions::set(&["http.write_timeout_seconds=1"]));
    server.add(&git.url());
    let mut client = TcpStream::connect(server.address).unwrap();
    let request = "GET /api/v1/search?q=abc+count:all HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    let ended = || metric(&server, "code_search_searches_total{outcome=\"cancelled\"}");
    wait_until(|| ended() > 0);
    assert!(server.log().contains("too slowly"), "{}", server.log());
    // The others are served, and what it did read is no whole answer.
    assert_eq!(server.search("f7.txt", "").status, 200);
    let mut read = Vec::new();
    let _ = client.read_to_end(&mut read);
    assert!(!read.ends_with(b"0\r\n\r\n"), "a broken answer looks whole");
}

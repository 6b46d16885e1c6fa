//! A cluster of real nodes on this machine: any node answers, and killing one loses nothing.

mod database;
mod forwards;
mod operations;
mod recovery;
mod returns;
mod secured;
mod starts;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Cluster, Git, Request};

const PATIENCE: Duration = Duration::from_secs(60);
/// Few seconds without a heartbeat, so that the tests do not wait for ten.
const SOON: &str = "cluster.heartbeat_timeout_seconds=3";

fn repositories(count: usize) -> Vec<Git> {
    let repository = |number: usize| {
        let text = format!("fn needle_{number}() {{}}\nshared haystack line {number}\n");
        let main = format!("fn main() {{ needle_{number}() }}\n");
        let name = format!("repository{number}");
        Git::with_files(&name, &[("src/lib.rs", text.as_bytes()), ("src/main.rs", main.as_bytes())])
    };
    (0..count).map(repository).collect()
}

/// What of an answer does not depend on when and by whom it was given.
fn substance(answer: &Value) -> String {
    let mut answer = answer.clone();
    answer["stats"].as_object_mut().unwrap().remove("durationMs");
    answer["stats"].as_object_mut().unwrap().remove("shards");
    answer.to_string()
}

/// What was found, wherever: symbols, which change the order, come a little after the text.
fn found(answer: &Value) -> Vec<String> {
    assert_eq!(answer["complete"], true, "{answer}");
    results(answer)
}

fn results(answer: &Value) -> Vec<String> {
    let results = answer["results"].as_array().unwrap().iter().map(|result| {
        let chunks = result["chunks"].as_array().unwrap().iter();
        let text: Vec<&str> = chunks.map(|chunk| chunk["content"].as_str().unwrap()).collect();
        format!("{} {} {} {text:?}", result["repository"], result["path"], result["commit"])
    });
    let mut results: Vec<String> = results.collect();
    results.sort();
    results
}

#[test]
fn any_node_answers_and_a_killed_one_is_replaced() {
    let repositories = repositories(6);
    let cluster = Cluster::start(3, &[SOON]);
    cluster.settled(0, 3);
    for (number, git) in repositories.iter().enumerate() {
        cluster.add(number % 3, &git.url());
    }
    let owners: BTreeSet<usize> = (0..repositories.len())
        .map(|number| cluster.owner_of(0, &format!("owner/repository{number}")))
        .collect();
    assert!(owners.len() > 1, "six repositories on one node: {owners:?}");

    // Every node gives the same answer, to the byte.
    let ask = |node: usize, query: &str| {
        let reply = cluster.search(node, query, "&facets=true");
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    };
    let query = "haystack count:all";
    let before = ask(0, query);
    assert_eq!(before["complete"], true, "{before}");
    assert_eq!(before["stats"]["documentCount"]["value"], 6, "{before}");
    assert_eq!(before["stats"]["shards"]["answered"], 12, "{before}");
    for node in 1..3 {
        assert_eq!(substance(&ask(node, query)), substance(&before));
    }
    // Each logs its part of a search under the id that the client gave one of them.
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let named = Request::new("GET", "/api/v1/search?q=haystack")
        .header("X-Request-Id", "followed")
        .header("traceparent", &format!("00-{TRACE}-b7ad6b7169203331-01"));
    assert_eq!(named.send(cluster.nodes[0].http).status, 200);
    for node in 0..3 {
        let log = cluster.log(node);
        let of_search = |line: &&str| {
            line.contains("\"request_id\":\"followed\"")
                && line.contains(&format!("\"trace_id\":\"{TRACE}\""))
        };
        let what = if node == 0 { "answered" } else { "searched a part" };
        let found = log.lines().filter(of_search).any(|line| line.contains(what));
        assert!(found, "node {node} does not know whose search it was:\n{log}");
    }
    let definitions = ask(1, "sym:needle_3 count:all");
    assert_eq!(definitions["results"][0]["repository"], "owner/repository3", "{definitions}");

    // The owner of the first repository dies without a word.
    let victim = cluster.owner_of(0, "owner/repository0");
    let via = (victim + 1) % 3;
    cluster.signal(victim, "-KILL");
    // Until its shards are back, answers say that they are not complete.
    let meanwhile = ask(via, "needle_0 count:all");
    assert_eq!(meanwhile["complete"], false, "{meanwhile}");
    let skipped = meanwhile["skipped"].as_array().unwrap();
    assert!(
        skipped.iter().any(|entry| ["shardUnavailable", "shardTimeout", "shardRestoring"]
            .contains(&entry["reason"].as_str().unwrap())),
        "{meanwhile}"
    );
    cluster.settled(via, 2);
    let after = ask(via, query);
    assert_eq!(after["complete"], true, "{after}");
    assert_eq!(substance(&after), substance(&before), "what was found before is found after");
    assert_ne!(cluster.owner_of(via, "owner/repository0"), victim);

    // Who has its shards now has their mirrors from the bundles that it had brought to cold storage.
    let metric = |node, name: &str| cluster.metric(node, name).unwrap_or(0.0);
    const BUNDLES: &str = "code_search_mirrors_restored_total{source=\"bundle\"}";
    const CLONES: &str = "code_search_mirrors_restored_total{source=\"clone\"}";
    let alive = || (0..3).filter(|node| *node != victim);
    cluster.wait_until("mirrors", || alive().map(|node| metric(node, BUNDLES)).sum::<f64>() > 0.0);
    assert_eq!(alive().map(|node| metric(node, CLONES)).sum::<f64>(), 0.0);
    assert!(metric(via, "code_search_epoch_changes_total") > 0.0);
    cluster.wait_until("heard of", || metric(via, "code_search_highest_phi") > 0.0);
    assert!(metric(via, "code_search_raft_term") >= 1.0);

    // And work goes on: a push is indexed by the new owner, a repository is added, another removed.
    repositories[0].write("src/new.rs", b"fn needle_new() {} // haystack\n");
    repositories[0].commit("second");
    let synced = cluster.cli(via, &["repo", "sync", "owner/repository0", "--wait"]);
    assert_eq!(synced.code, 0, "{synced:?}");
    let other = (0..3).find(|node| ![victim, via].contains(node)).unwrap();
    assert_eq!(ask(other, "needle_new")["stats"]["documentCount"]["value"], 1);
    let removed = cluster.cli(other, &["repo", "rm", "owner/repository1"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    assert_eq!(ask(via, query)["stats"]["documentCount"]["value"], 6);
}

#[test]
fn with_copies_of_shards_no_answer_misses_anything_when_a_node_is_killed() {
    let repositories = repositories(6);
    let cluster = Cluster::start(3, &[SOON, "cluster.replicas=2"]);
    cluster.settled(0, 3);
    for (number, git) in repositories.iter().enumerate() {
        cluster.add(number % 3, &git.url());
    }
    cluster.copied(12);
    let victim = cluster.owner_of(0, "owner/repository0");
    let via = (victim + 1) % 3;
    let ask = || {
        let reply = cluster.search(via, "haystack count:all", "&facets=true");
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    };
    let before = ask();
    assert_eq!(before["complete"], true, "{before}");
    assert_eq!(before["stats"]["documentCount"]["value"], 6, "{before}");

    // From before it is killed until its shards have new owners, every answer is the same.
    let (asked, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                let answer = ask();
                assert_eq!(answer["complete"], true, "{answer}");
                assert_eq!(substance(&answer), substance(&before));
                asked.fetch_add(1, Ordering::AcqRel);
            }
        });
        while asked.load(Ordering::Acquire) < 3 && !asking.is_finished() {
            std::thread::yield_now();
        }
        cluster.signal(victim, "-KILL");
        let settled = std::panic::catch_unwind(AssertUnwindSafe(|| {
            cluster.settled(via, 2);
        }));
        is_over.store(true, Ordering::Release);
        asking.join().unwrap();
        settled.unwrap();
    });
    assert_ne!(cluster.owner_of(via, "owner/repository0"), victim);
    assert_eq!(substance(&ask()), substance(&before));
    cluster.wait_for(via, "copied to the nodes that are left", |status| {
        status["nodes"].as_array().unwrap().iter().all(|node| {
            let shards = |key: &str| node[key].as_u64().unwrap();
            let wanted = if node["state"] == "dead" { 0 } else { 12 };
            shards("shardsOwned") + shards("shardsReplicated") == wanted
        })
    });
}

#[test]
fn a_node_that_was_paused_answers_nothing_old_when_it_goes_on() {
    let repositories = repositories(2);
    let cluster = Cluster::start(3, &[SOON]);
    cluster.settled(0, 3);
    for git in &repositories {
        cluster.add(0, &git.url());
    }
    let paused = cluster.owner_of(0, "owner/repository0");
    let via = (paused + 1) % 3;
    cluster.signal(paused, "-STOP");
    cluster.settled(via, 2);
    repositories[0].write("src/lib.rs", b"fn changed_meanwhile() {} // haystack\n");
    repositories[0].commit("second");
    let synced = cluster.cli(via, &["repo", "sync", "owner/repository0", "--wait"]);
    assert_eq!(synced.code, 0, "{synced:?}");

    // It has the old files and believes that it owns them until it hears of the others.
    cluster.signal(paused, "-CONT");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply = cluster.search(paused, "(needle_0 OR changed_meanwhile) count:all", "");
        assert_eq!(reply.status, 200, "{}", reply.text());
        let answer = reply.json();
        let results = answer["results"].to_string();
        assert!(!results.contains("fn needle_0"), "an old file: {answer}");
        if answer["complete"] == true {
            assert!(results.contains("changed_meanwhile"), "{answer}");
            break;
        }
        assert!(Instant::now() < deadline, "never complete: {answer}");
    }
}

#[test]
fn what_a_silent_node_was_asked_for_is_found_where_it_went_meanwhile() {
    let repositories = repositories(4);
    // A search waits for a node for longer than others wait until they give its shards away.
    let cluster = Cluster::start(3, &[SOON, "cluster.peer_timeout_ms=7000"]);
    cluster.settled(0, 3);
    for git in &repositories {
        cluster.add(0, &git.url());
    }
    let paused = cluster.owner_of(0, "owner/repository0");
    cluster.signal(paused, "-STOP");
    // One of the others is the new owner, and has not held the shard when it was asked.
    std::thread::scope(|scope| {
        for via in (0..3).filter(|node| *node != paused) {
            let cluster = &cluster;
            scope.spawn(move || {
                let answer = cluster.search(via, "haystack count:all", "").json();
                let found = &answer["stats"]["documentCount"]["value"];
                assert!(answer["complete"] == false || found == 4, "{answer}");
                assert!(found.as_u64() > Some(0), "{answer}");
            });
        }
    });
    cluster.signal(paused, "-CONT");
}

#[test]
fn pages_go_on_at_whichever_node_gets_the_cursor() {
    let repositories = repositories(7);
    let cluster = Cluster::start(3, &[]);
    cluster.settled(0, 3);
    for git in &repositories {
        cluster.add(0, &git.url());
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for page in 0.. {
        let parameters = match cursor.as_str() {
            "" => "&pageSize=3".to_owned(),
            cursor => format!("&pageSize=3&cursor={cursor}"),
        };
        let reply = cluster.search(page % 3, "needle", &parameters);
        assert_eq!(reply.status, 200, "{}", reply.text());
        let answer = reply.json();
        let results = answer["results"].as_array().unwrap();
        assert!(results.len() <= 3, "{answer}");
        seen.extend(results.iter().map(|result| {
            format!(
                "{}:{}",
                result["repository"].as_str().unwrap(),
                result["path"].as_str().unwrap()
            )
        }));
        match answer["nextCursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    let different: BTreeSet<&String> = seen.iter().collect();
    assert_eq!((different.len(), seen.len()), (14, 14), "{seen:?}");
    cluster.search(0, "other", &format!("&cursor={cursor}")).assert_problem(400, "invalid-cursor");
}

#[test]
fn a_cluster_goes_on_after_it_was_stopped_as_a_whole() {
    let repositories = repositories(3);
    let folder = tempfile::tempdir().unwrap();
    let before = {
        let mut cluster = Cluster::start_in(folder.path().to_owned(), 3, &[]);
        cluster.settled(0, 3);
        for git in &repositories {
            cluster.add(1, &git.url());
        }
        let answer = cluster.search(2, "haystack count:all", "").json();
        assert_eq!(cluster.stop(), 0);
        answer
    };
    let cluster = Cluster::start_in(folder.path().to_owned(), 3, &[]);
    cluster.settled(0, 3);
    let after = cluster.search(0, "haystack count:all", "").json();
    assert_eq!(substance(&after), substance(&before));
}

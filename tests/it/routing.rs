//! Searches over the nodes of a cluster while these fail, stop, are slow, or hand shards over.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Cluster, Git, Request, Server, escape};

const PATIENCE: Duration = Duration::from_secs(60);
/// Documents of a large repository.
const DOCUMENTS: u64 = 350;

fn small_repositories(count: usize) -> Vec<Git> {
    let repository = |number: usize| {
        let lines = format!("fn needle_{number}() {{}}\nshared haystack line {number}\n");
        let main = format!("fn main() {{ needle_{number}() }} // haystack\n");
        let text = format!("haystack {}\n", "of words ".repeat(number));
        let files = [
            ("src/lib.rs", lines.as_bytes()),
            ("src/main.py", main.as_bytes()),
            ("notes.md", text.as_bytes()),
        ];
        Git::with_files(&format!("repository{number}"), &files)
    };
    (0..count).map(repository).collect()
}

/// What it has that matches is more than all that lies between a node and a client takes.
fn large_repository(name: &str) -> Git {
    let git = Git::new(name);
    for number in 0..DOCUMENTS {
        let line = format!("haystack {number}\n");
        git.write(&format!("{number}.txt"), line.repeat(1_000).as_bytes());
    }
    git.commit("first");
    git
}

/// What of an answer does not depend on when and by whom it was given.
fn substance(mut answer: Value) -> Value {
    let stats = answer["stats"].as_object_mut().unwrap();
    stats.remove("durationMs");
    stats.remove("shards");
    answer
}

/// What was counted; nothing yet is 0.
fn counted(cluster: &Cluster, node: usize, name: &str) -> f64 {
    cluster.metric(node, name).unwrap_or(0.0)
}

/// Bytes of memory of a process that are in no file.
fn memory(pid: u64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Sends a search and reads a little of its answer.
fn begun(cluster: &Cluster, node: usize, target: &str) -> (TcpStream, Vec<u8>) {
    let mut client = TcpStream::connect(cluster.nodes[node].http).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    let mut read = vec![0; 256 << 10];
    client.read_exact(&mut read).unwrap();
    (client, read)
}

#[test]
fn a_long_answer_goes_on_when_an_owner_is_killed_while_it_is_read() {
    let settings = ["cluster.replicas=2", "search.held_bytes=1048576"];
    let cluster = Cluster::start(3, &settings);
    cluster.settled(0, 3);
    let git = large_repository("repository0");
    cluster.add(0, &git.url());
    let others = small_repositories(4);
    others.iter().skip(1).for_each(|git| drop(cluster.add(0, &git.url())));
    cluster.copied(12);
    let victim = cluster.owner_of(0, "owner/repository0");
    let via = (victim + 1) % 3;
    let target = "/api/v1/search?q=haystack+count:all+timeout:60s&facets=true";
    let before = cluster.get(via, target).json();
    assert_eq!(before["complete"], true);
    assert_eq!(before["stats"]["documentCount"]["value"], DOCUMENTS + 3 * 3);

    let held = memory(cluster.nodes[via].pid);
    let (mut client, mut read) = begun(&cluster, via, target);
    // Nobody reads: what is on its way stops, and is little.
    cluster.wait_until("waiting for its client", || {
        let before = memory(cluster.nodes[via].pid);
        std::thread::sleep(Duration::from_millis(200));
        memory(cluster.nodes[via].pid) <= before
    });
    let more = memory(cluster.nodes[via].pid).saturating_sub(held) >> 20;
    assert!(more < 24, "{more} MB are held for an answer that nobody reads");
    cluster.signal(victim, "-KILL");
    client.read_to_end(&mut read).unwrap();
    let reply = Request::parse_reply(&read).unwrap();
    assert!(reply.body.len() > 30 << 20, "{} bytes are few", reply.body.len());
    let (after, before) = (substance(reply.json()), substance(before));
    assert_eq!(after["complete"], true, "{} {}", after["skipped"], cluster.log(via));
    for part in ["stats", "facets", "skipped", "nextCursor"] {
        assert_eq!(after[part], before[part]);
    }
    let same = after["results"] == before["results"];
    assert!(same, "{} results", after["results"].as_array().unwrap().len());
    let broken = counted(&cluster, via, "code_search_search_parts_total{outcome=\"broken\"}");
    assert!(broken > 0.0, "it was over before the node was killed");
}

/// Searches through a node again and again while something is done; every answer is whole and the same.
fn whole_meanwhile(cluster: &Cluster, via: usize, done: impl FnOnce()) {
    let ask = || {
        let parameters = "&facets=true&requireComplete=true";
        let reply = cluster.search(via, "haystack count:all", parameters);
        assert_eq!(reply.status, 200, "{}\n{}", reply.text(), cluster.log(via));
        substance(reply.json())
    };
    let before = ask();
    let (asked, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                assert_eq!(ask(), before);
                asked.fetch_add(1, Ordering::AcqRel);
            }
        });
        let done = std::panic::catch_unwind(AssertUnwindSafe(done));
        is_over.store(true, Ordering::Release);
        asking.join().unwrap();
        done.unwrap();
    });
    assert!(asked.load(Ordering::Acquire) > 5, "{asked:?} searches");
}

fn shards_move_and_a_node_drains(replicas: u64) {
    let cluster = Cluster::start(3, &[&format!("cluster.replicas={replicas}")]);
    cluster.settled(0, 3);
    let repositories = small_repositories(6);
    for (number, git) in repositories.iter().enumerate() {
        cluster.add(number % 3, &git.url());
    }
    cluster.copied(12 * (replicas - 1));
    let owner = |shard: u64| {
        let shard = cluster.get(0, &format!("/api/v1/cluster/shards/{shard}")).json();
        shard["owner"].as_str().unwrap().to_owned()
    };
    whole_meanwhile(&cluster, 0, || {
        for shard in 0..12 {
            let from = owner(shard);
            let to = cluster.nodes.iter().map(|node| &node.name).find(|name| **name != from);
            let to = to.unwrap();
            let moved = Request::new("POST", &format!("/api/v1/cluster/shards/{shard}/move"));
            let moved = moved.json(&json!({"to": to})).send(cluster.nodes[0].http);
            assert!(moved.status < 300, "{}", moved.text());
            cluster.wait_until("moved", || owner(shard) == *to);
        }
    });
    whole_meanwhile(&cluster, 0, || {
        let drained = Request::new("POST", "/internal/shutdown").send(cluster.nodes[1].http);
        assert!(drained.status < 300, "{}", drained.text());
        cluster.wait_for(0, "taken over", |status| {
            let nodes = status["nodes"].as_array().unwrap();
            let owned = |node: &Value| node["shardsOwned"].as_u64().unwrap();
            let of = |name: &str| nodes.iter().find(|node| node["name"] == name).map_or(0, owned);
            of(&cluster.nodes[1].name) == 0 && nodes.iter().map(owned).sum::<u64>() == 12
        });
    });
}

#[test]
fn nothing_is_missing_while_shards_move_and_a_node_drains() {
    shards_move_and_a_node_drains(1);
}

#[test]
fn nothing_is_missing_while_copied_shards_move_and_a_node_drains() {
    shards_move_and_a_node_drains(2);
}

#[test]
fn a_slow_node_is_not_waited_for_where_another_has_the_same() {
    let settings =
        ["cluster.replicas=2", "cluster.peer_timeout_ms=30000", "cluster.hedge_after_ms=1000"];
    let cluster = Cluster::start(3, &settings);
    cluster.settled(0, 3);
    let repositories = small_repositories(4);
    repositories.iter().for_each(|git| drop(cluster.add(0, &git.url())));
    cluster.copied(12);
    let ask = || cluster.search(0, "haystack", "&facets=true").json();
    let before = substance(ask());
    // One in ten calls may be made twice.
    for _ in 0..20 {
        assert_eq!(substance(ask()), before);
    }
    assert_eq!(counted(&cluster, 0, "code_search_hedges_total{outcome=\"won\"}"), 0.0);
    cluster.signal(1, "-STOP");
    let asked = Instant::now();
    let answer = ask();
    let elapsed = asked.elapsed();
    cluster.signal(1, "-CONT");
    assert_eq!(substance(answer), before);
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
    assert_eq!(counted(&cluster, 0, "code_search_hedges_total{outcome=\"won\"}"), 1.0);
}

#[test]
fn a_search_ends_on_every_node_when_its_client_leaves() {
    let cluster = Cluster::start(3, &["search.held_bytes=1048576"]);
    cluster.settled(0, 3);
    let git = large_repository("large");
    cluster.add(0, &git.url());
    let owner = cluster.owner_of(0, "owner/large");
    let via = (owner + 1) % 3;
    let running = || cluster.metric(owner, "code_search_parts_running").unwrap();
    let (client, _) = begun(&cluster, via, "/api/v1/search?q=haystack+count:all");
    assert_eq!(running(), 1.0, "nobody reads what is left of it");
    drop(client);
    cluster.wait_until("ended", || running() == 0.0);
    // A page that is full ends what would send more.
    let page = cluster.search(via, "haystack count:1", "");
    assert_eq!(page.json()["results"].as_array().unwrap().len(), 1);
    cluster.wait_until("ended", || running() == 0.0);
}

#[test]
fn a_page_that_one_node_has_alone_is_whole() {
    let cluster = Cluster::start(3, &[]);
    cluster.settled(0, 3);
    let paths: Vec<String> = (0..150).map(|number| format!("file{number}")).collect();
    let files: Vec<_> = paths.iter().map(|path| (path.as_str(), &b"haystack\n"[..])).collect();
    let git = Git::with_files("repository", &files);
    cluster.add(0, &git.url());
    let owner = cluster.owner_of(0, "owner/repository");
    let via = (owner + 1) % 3;
    let page = |size: usize| {
        let mut found = BTreeSet::new();
        let mut cursor = String::new();
        loop {
            let more = format!("&pageSize={size}{cursor}");
            let answer = cluster.search(via, "haystack", &more).json();
            let results = answer["results"].as_array().unwrap();
            found.extend(results.iter().map(|one| one["path"].as_str().unwrap().to_owned()));
            let Some(next) = answer["nextCursor"].as_str() else { return found };
            assert_eq!(results.len(), size);
            cursor = format!("&cursor={next}");
        }
    };
    let resumed = || counted(&cluster, via, "code_search_search_parts_resumed_total");
    assert_eq!(resumed(), 0.0);
    // Of a page of 40 each node sends 20 at first.
    for (size, at_least) in [(40, 1.0), (150, 1.0), (7, 20.0)] {
        let before = resumed();
        assert_eq!(page(size).len(), 150);
        assert!(resumed() >= before + at_least, "{size}: {before}, {}", resumed());
    }
}

#[test]
fn parts_of_too_many_searches_are_refused_and_the_node_is_left_alone() {
    let settings = ["search.concurrent_parts=1", "search.held_bytes=1048576"];
    let cluster = Cluster::start(3, &settings);
    cluster.settled(0, 3);
    let git = large_repository("large");
    cluster.add(0, &git.url());
    let owner = cluster.owner_of(0, "owner/large");
    let via = (owner + 1) % 3;
    let (client, _) = begun(&cluster, via, "/api/v1/search?q=haystack+count:all");
    for _ in 0..3 {
        let refused = cluster.search(via, "haystack", "");
        refused.assert_problem(429, "too-many-searches");
        assert!(refused.header("retry-after").is_some());
    }
    let shed = counted(&cluster, via, "code_search_search_parts_total{outcome=\"shed\"}");
    assert!(shed > 0.0, "each time the node was asked that had said that it is busy");
    drop(client);
    cluster.wait_until("answered", || cluster.search(via, "haystack count:1", "").status == 200);
}

#[test]
fn later_pages_go_on_with_the_copies_of_a_node_that_is_gone() {
    let cluster = Cluster::start(3, &["cluster.replicas=3"]);
    cluster.settled(0, 3);
    let repositories = small_repositories(6);
    repositories.iter().for_each(|git| drop(cluster.add(0, &git.url())));
    cluster.copied(24);
    let victim = cluster.owner_of(0, "owner/repository0");
    let via = (victim + 1) % 3;
    let target = "/api/v1/search?q=haystack&pageSize=4&facets=true";
    let before = pages(target, |target| cluster.get(via, target).json());
    assert!(before.len() > 3, "{} pages", before.len());
    let got = std::cell::Cell::new(0);
    let after = pages(target, |target| {
        let page = cluster.get(via, target);
        assert_eq!(page.status, 200, "{}", page.text());
        if got.replace(got.get() + 1) == 0 {
            cluster.signal(victim, "-KILL");
        }
        page.json()
    });
    assert_eq!(after, before);
}

/// Results, counts, facets and alerts of every page, without the times.
fn pages(first: &str, get: impl Fn(&str) -> Value) -> Vec<Value> {
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let target = match cursor.as_str() {
            "" => first.to_owned(),
            cursor => format!("{first}&cursor={cursor}"),
        };
        let mut page = substance(get(&target));
        let next = page.as_object_mut().unwrap().remove("nextCursor").unwrap();
        for result in page["results"].as_array_mut().unwrap() {
            let result = result.as_object_mut().unwrap();
            result.remove("indexedAt");
            result.remove("repositoryId");
        }
        pages.push(page);
        match next.as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return pages,
        }
    }
}

/// Asserts that nodes answer page by page, each page through another one, as a node does that has it all; and that
/// they find something.
pub fn assert_same_pages(cluster: &Cluster, nodes: &[usize], alone: &Server, target: &str) {
    let wanted = pages(target, |target| alone.get(target).json());
    let place = std::cell::Cell::new(0);
    let found = pages(target, |target| {
        place.set((place.get() + 1) % nodes.len());
        cluster.get(nodes[place.get()], target).json()
    });
    assert_eq!(found, wanted, "{target}");
    assert!(!found[0]["results"].as_array().unwrap().is_empty(), "{target}");
}

#[test]
fn nodes_together_answer_page_by_page_as_one_node_does() {
    let repositories = small_repositories(9);
    let cluster = Cluster::start(3, &[]);
    cluster.settled(0, 3);
    let alone = Server::start();
    for (number, git) in repositories.iter().enumerate() {
        cluster.add(number % 3, &git.url());
        alone.add(&git.url());
    }
    let queries = ["haystack", "needle", "lang:python haystack", "type:repo", "type:path src"];
    for query in queries {
        for parameters in ["&pageSize=4", "&pageSize=4&facets=true", "&pageSize=1000&facets=true"] {
            let target = format!("/api/v1/search?q={}{parameters}", escape(query));
            assert_same_pages(&cluster, &[0, 1, 2], &alone, &target);
        }
    }
}

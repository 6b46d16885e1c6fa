//! What a person asks of a cluster: shards moved, pinned and balanced, nodes drained and removed.

use std::io::{BufRead, BufReader, Result};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{PATIENCE, SOON, found, repositories};
use crate::harness::{Cluster, Git, Ran, Request, aeterna, request_without_end};

const QUERY: &str = "haystack count:all";

fn code_search(cluster: &Cluster, node: usize, arguments: &[&str]) -> Ran {
    let arguments: Vec<&str> = ["code-search"].iter().chain(arguments).copied().collect();
    cluster.cli(node, &arguments)
}

#[track_caller]
fn done(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{ran:?}");
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[track_caller]
fn refused(ran: &Ran, why: &str) {
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains(why), "not `{why}`: {ran:?}");
}

fn shards(cluster: &Cluster, via: usize) -> Vec<Value> {
    let list = cluster.get(via, "/api/v1/cluster/shards").json();
    list["shards"].as_array().unwrap().clone()
}

fn owned_by(shards: &[Value], node: &str) -> usize {
    shards.iter().filter(|shard| shard["owner"] == node).count()
}

/// Waits until every shard is served and these are its owners.
fn until_owners(cluster: &Cluster, via: usize, what: &str, wanted: impl Fn(&[Value]) -> bool) {
    cluster.wait_for(via, what, |status| {
        let shards = shards(cluster, via);
        status["moves"].as_array().unwrap().is_empty()
            && shards.iter().all(|shard| shard["state"] == "serving")
            && wanted(&shards)
    });
}

#[test]
fn shards_are_moved_pinned_and_balanced() {
    let repositories = repositories(4);
    let cluster = Cluster::start(3, &[SOON]);
    cluster.settled(0, 3);
    for git in &repositories {
        cluster.add(0, &git.url());
    }
    let before = cluster.search(0, QUERY, "").json();

    // All to one node, each by its number; the epochs say that they were moved once.
    let epochs = |shards: &[Value]| -> u64 {
        shards.iter().map(|shard| shard["epoch"].as_u64().unwrap()).sum()
    };
    let first = shards(&cluster, 0);
    let metric = |name: &str| cluster.metric(2, name).unwrap_or(0.0);
    const ENDED: &str = "code_search_moves_ended_total{outcome=\"done\"}";
    let changes = metric("code_search_epoch_changes_total");
    assert_eq!(metric(ENDED), 0.0);
    for (number, shard) in first.iter().enumerate().filter(|(_, shard)| shard["owner"] != "node-1")
    {
        let moved = code_search(&cluster, 1, &["shard", "move", &number.to_string(), "node-1"]);
        assert_eq!(moved.code, 0, "{moved:?} {shard}");
    }
    until_owners(&cluster, 2, "all on one node", |shards| owned_by(shards, "node-1") == 12);
    // Each node plans by the sizes that it has heard of, and two are asked below.
    cluster.wait_until("of one mind", || shards(&cluster, 0) == shards(&cluster, 1));
    let moves = 12 - owned_by(&first, "node-1") as u64;
    assert_eq!(epochs(&shards(&cluster, 2)), epochs(&first) + moves);
    let listed = code_search(&cluster, 2, &["shard", "list"]);
    assert!(listed.stdout.starts_with("SHARD  STATE    EPOCH  OWNER   COPIES  MOVES TO  PIN"));
    cluster.wait_until("counted", || metric(ENDED) == moves as f64);
    assert_eq!(metric("code_search_epoch_changes_total"), changes + moves as f64);
    assert_eq!(metric("code_search_moves"), 0.0);
    assert_eq!(found(&cluster.search(2, QUERY, "").json()), found(&before));

    // A pin moves it, and keeps it from being moved for balance.
    let pinned = done(&code_search(&cluster, 0, &["shard", "pin", "5", "node-1", "--json"]));
    assert_eq!(pinned["pin"], "node-1");
    let plan = done(&code_search(&cluster, 0, &["shard", "rebalance", "--dry-run", "--json"]));
    let moves = plan["moves"].as_array().unwrap();
    assert!(moves.len() >= 7 && moves.iter().all(|moved| moved["shard"] != 5), "{plan}");
    assert_eq!(owned_by(&shards(&cluster, 0), "node-1"), 12, "a dry run moved something");
    let begun = done(&code_search(&cluster, 1, &["shard", "rebalance", "--json"]));
    assert_eq!(begun["moves"], plan["moves"], "another plan than the one that was shown");
    until_owners(&cluster, 0, "balanced", |shards| {
        ["node-1", "node-2", "node-3"].iter().all(|node| owned_by(shards, node) <= 5)
    });
    assert_eq!(shards(&cluster, 0)[5]["owner"], "node-1");
    assert_eq!(found(&cluster.search(1, QUERY, "").json()), found(&before));
    let moved = code_search(&cluster, 0, &["shard", "pin", "5", "node-3"]);
    assert_eq!(moved.code, 0, "{moved:?}");
    until_owners(&cluster, 1, "where it is pinned", |shards| shards[5]["owner"] == "node-3");
    let unpinned = done(&code_search(&cluster, 0, &["shard", "pin", "5", "--json"]));
    assert_eq!(unpinned["pin"], Value::Null);

    let version = cluster.status(0)["mapVersion"].clone();
    let move_to = |shard: &str, to: &str| code_search(&cluster, 0, &["shard", "move", shard, to]);
    refused(&move_to("12", "node-1"), "there is no shard 12");
    refused(&move_to("5", "node-9"), "there is no node `node-9`");
    refused(&move_to("5", "a\u{1b}[2J/../b\n"), "there is no node `a\\u{1b}[2J/../b\\n`");
    refused(&move_to("5", "node-3"), "node-3");
    refused(&code_search(&cluster, 0, &["node", "drain", "../node-1"]), "there is no node");
    refused(&code_search(&cluster, 0, &["node", "remove", "node-2"]), "alive");
    assert_eq!(cluster.status(0)["mapVersion"], version, "what was refused has changed the map");
}

#[test]
fn a_move_that_does_not_get_on_is_given_up_by_hand() {
    let cluster = Cluster::start(3, &["cluster.heartbeat_timeout_seconds=120"]);
    let status = cluster.settled(0, 3);
    let leader = status["raft"]["leader"].as_str().unwrap();
    let leader = cluster.nodes.iter().position(|node| node.name == leader).unwrap();
    let (via, to) = ((leader + 1) % 3, (leader + 2) % 3);
    let name = |node: usize| cluster.nodes[node].name.clone();
    let shard = shards(&cluster, via).into_iter().find(|shard| shard["owner"] == *name(leader));
    let shard = shard.unwrap()["shard"].to_string();
    // It cannot fetch anything, and is not dead either.
    cluster.signal(to, "-STOP");
    let move_to =
        |node: usize| code_search(&cluster, via, &["shard", "move", &shard, &name(node), "--json"]);
    assert_eq!(done(&move_to(to))["movingTo"], *name(to));
    refused(&move_to(via), "to give that up, move it to the node that it is on");
    let stays = done(&move_to(leader));
    assert_eq!((&stays["movingTo"], &stays["owner"]), (&Value::Null, &json!(name(leader))));
    refused(&move_to(leader), "owns shard");
    cluster.signal(to, "-CONT");
}

#[test]
fn shards_move_by_themselves_where_that_is_set() {
    let cluster = Cluster::start(3, &[SOON, "rebalance.auto=true"]);
    cluster.settled(0, 3);
    let first = shards(&cluster, 0);
    for number in (0..12).filter(|number| first[*number]["owner"] != "node-1") {
        let moved = code_search(&cluster, 1, &["shard", "move", &number.to_string(), "node-1"]);
        assert_eq!(moved.code, 0, "{moved:?}");
    }
    // Looked at now and then, and not all at once.
    until_owners(&cluster, 2, "balanced", |shards| {
        ["node-1", "node-2", "node-3"].iter().all(|node| owned_by(shards, node) <= 5)
    });
}

#[test]
fn the_status_is_shown_anew_when_it_changes() {
    let cluster = Cluster::start(1, &[]);
    let status = cluster.settled(0, 1);
    let mut command = aeterna(&["cluster", "status", "--watch"]);
    command.env("AETERNA_SERVER", format!("http://{}", cluster.nodes[0].http));
    let mut watching = command.stdout(Stdio::piped()).spawn().unwrap();
    let (sender, shown) = channel();
    let lines = BufReader::new(watching.stdout.take().unwrap()).lines().map_while(Result::ok);
    std::thread::spawn(move || lines.for_each(|line| drop(sender.send(line))));
    let until = |wanted: &str| {
        let is_it = |line: &String| line.contains(wanted);
        while !is_it(&shown.recv_timeout(PATIENCE).expect(wanted)) {}
    };
    until(&format!("cluster {}", status["clusterId"].as_str().unwrap()));
    let pinned = done(&code_search(&cluster, 0, &["shard", "pin", "5", "node-1", "--json"]));
    assert_eq!(pinned["pin"], "node-1");
    until(&format!("map {}", cluster.status(0)["mapVersion"]));
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[test]
fn a_node_is_drained_stopped_and_forgotten() {
    let repositories = repositories(3);
    let mut cluster = Cluster::start(3, &[SOON]);
    cluster.settled(0, 3);
    for git in &repositories {
        cluster.add(0, &git.url());
    }
    let before = cluster.search(0, QUERY, "").json();
    let drained = code_search(&cluster, 0, &["node", "drain", "node-3"]);
    assert_eq!(drained.code, 0, "{drained:?}");
    until_owners(&cluster, 0, "drained", |shards| owned_by(shards, "node-3") == 0);
    let node_3 = |status: &Value| status["nodes"][2].clone();
    assert_eq!(node_3(&cluster.status(0))["state"], "draining");
    refused(&code_search(&cluster, 0, &["shard", "move", "1", "node-3"]), "node-3");
    // It still answers.
    assert_eq!(found(&cluster.search(2, QUERY, "").json()), found(&before));
    cluster.signal(2, "-TERM");
    assert_eq!(cluster.ended(2), "exit status: 0");
    cluster.wait_for(0, "gone", |status| {
        matches!(node_3(status)["state"].as_str(), Some("left" | "dead"))
    });
    let removed = code_search(&cluster, 1, &["node", "remove", "node-3"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    // The last one to take anything must stay.
    let drained = code_search(&cluster, 0, &["node", "drain", "node-2"]);
    assert_eq!(drained.code, 0, "{drained:?}");
    let last = code_search(&cluster, 0, &["node", "drain", "node-1"]);
    refused(&last, "no other node could take what node-1 owns");
    refused(&code_search(&cluster, 0, &["node", "drain", "node-3"]), "there is no node `node-3`");
    assert_eq!(found(&cluster.search(1, QUERY, "").json()), found(&before));
}

#[test]
fn a_signal_hands_everything_over_before_the_node_ends() {
    let repositories = repositories(4);
    // Nobody could be declared dead while this test runs: what is taken over was handed over.
    let mut cluster = Cluster::start(3, &["cluster.heartbeat_timeout_seconds=120"]);
    cluster.settled(0, 3);
    for git in &repositories {
        cluster.add(0, &git.url());
    }
    let before = cluster.search(1, QUERY, "").json();
    cluster.signal(0, "-TERM");
    assert_eq!(cluster.ended(0), "exit status: 0");
    let owners = shards(&cluster, 1);
    assert_eq!(owned_by(&owners, "node-1"), 0, "{owners:?}");
    until_owners(&cluster, 1, "served by those who are left", |_| true);
    // It votes, and comes back with its disk.
    let status = cluster.status(1);
    assert!(status["raft"]["voters"].as_array().unwrap().contains(&json!("node-1")), "{status}");
    assert_eq!(status["raft"]["lostVoters"], json!([]), "{status}");
    assert_eq!(found(&cluster.search(1, QUERY, "").json()), found(&before));

    // Where nobody can agree on anything, a second signal does not wait for it.
    cluster.signal(2, "-STOP");
    let begun = Instant::now();
    cluster.signal(1, "-TERM");
    while !cluster.log(1).contains("asked once more it hurries") {
        assert!(begun.elapsed() < Duration::from_secs(10), "{}", cluster.log(1));
        std::thread::sleep(Duration::from_millis(20));
    }
    cluster.signal(1, "-TERM");
    assert_eq!(cluster.ended(1), "exit status: 0");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?} of 30 s", begun.elapsed());
    cluster.signal(2, "-CONT");
}

fn says_it_stops(cluster: &Cluster, node: usize) -> bool {
    let ready = cluster.get(node, "/readyz");
    ready.status == 503 && ready.text().contains("is stopping")
}

/// Asks a node again and again while it is stopped by a call, until nobody listens any more; `asks` says whether
/// what it asked was done.
fn stopped_while_asked(cluster: &mut Cluster, node: usize, asks: impl Fn() -> Result<bool> + Sync) {
    let http = cluster.nodes[node].http;
    let done = AtomicUsize::new(0);
    let count = || done.load(Ordering::Acquire);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while let Ok(is_done) = asks() {
                done.fetch_add(usize::from(is_done), Ordering::AcqRel);
            }
            assert!(TcpStream::connect(http).is_err(), "it listens and does not answer");
        });
        cluster.wait_until("asked", || count() > 3 || asking.is_finished());
        let call = || Request::new("POST", "/internal/shutdown").send(http).status;
        let call = scope.spawn(call);
        cluster.wait_until("draining", || says_it_stops(cluster, node));
        let before = count();
        assert_eq!(call.join().unwrap(), 204);
        asking.join().unwrap();
        assert!(count() > before, "nothing was done after {before}, while it drained");
    });
    assert_eq!(cluster.ended(node), "exit status: 0");
}

#[test]
fn searches_through_a_node_that_drains_are_whole_until_it_ends() {
    let mut cluster = Cluster::start(3, &["cluster.heartbeat_timeout_seconds=120"]);
    cluster.settled(0, 3);
    cluster.settled(2, 3);
    for git in &repositories(4) {
        cluster.add(0, &git.url());
    }
    let before = found(&cluster.search(2, QUERY, "").json());
    let http = cluster.nodes[2].http;
    let target = "/api/v1/search?q=haystack+count:all&requireComplete=true";
    stopped_while_asked(&mut cluster, 2, || {
        let reply = Request::new("GET", target).try_send(http)?;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(found(&reply.json()), before);
        Ok(true)
    });
    until_owners(&cluster, 0, "handed over", |shards| owned_by(shards, "node-3") == 0);
}

#[test]
fn what_is_added_through_a_node_that_drains_is_not_lost() {
    let mut cluster = Cluster::start(3, &["cluster.heartbeat_timeout_seconds=120"]);
    cluster.settled(0, 3);
    cluster.settled(2, 3);
    let http = cluster.nodes[2].http;
    let added = Mutex::new(Vec::new());
    stopped_while_asked(&mut cluster, 2, || {
        let name = format!("added{}", added.lock().unwrap().len());
        let git = Git::with_files(&name, &[("a.txt", b"haystack\n")]);
        let add = Request::new("POST", "/api/v1/repos").json(&json!({"url": git.url()}));
        let reply = add.try_send(http)?;
        let is_added = reply.status == 202;
        if is_added {
            let name = reply.json()["name"].as_str().unwrap().to_owned();
            added.lock().unwrap().push((name, git));
        } else {
            assert_eq!(reply.status, 503, "{}", reply.text());
            assert!(reply.header("retry-after").is_some(), "{}", reply.text());
        }
        Ok(is_added)
    });
    // Their remotes are there until they are indexed.
    let added = added.into_inner().unwrap();
    cluster.wait_until("indexed", || {
        let answer = cluster.search(0, QUERY, "&pageSize=1000").json();
        let results = answer["results"].as_array().unwrap();
        let is_found = |name: &str| results.iter().any(|result| result["repository"] == name);
        answer["complete"] == true && added.iter().all(|(name, _)| is_found(name))
    });
}

/// Has a node drain that nobody can take shards from; what asks for it once more has it hurry.
fn drains_and_hurries(again: impl FnOnce(&Cluster)) {
    let mut cluster = Cluster::start(2, &["cluster.heartbeat_timeout_seconds=120"]);
    cluster.settled(0, 2);
    cluster.settled(1, 2);
    let git = &repositories(1)[0];
    cluster.add(0, &git.url());
    cluster.signal(0, "-STOP");
    let begun = Instant::now();
    let http = cluster.nodes[1].http;
    std::thread::scope(|scope| {
        let first = scope.spawn(|| Request::new("POST", "/internal/shutdown").send(http).status);
        cluster.wait_until("draining", || says_it_stops(&cluster, 1));
        // Until it has drained it answers.
        let answer = cluster.search(1, QUERY, "").json();
        assert!(answer["stats"]["shards"]["answered"].as_u64().unwrap() > 0, "{answer}");
        assert_eq!(cluster.get(1, "/livez").status, 200);
        again(&cluster);
        assert_eq!(first.join().unwrap(), 204);
    });
    assert_eq!(cluster.ended(1), "exit status: 0");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?} of 30 s", begun.elapsed());
    cluster.signal(0, "-CONT");
}

#[test]
fn a_second_call_does_not_wait_for_the_drain() {
    drains_and_hurries(|cluster| {
        let second = Request::new("POST", "/internal/shutdown").send(cluster.nodes[1].http);
        assert_eq!(second.status, 204);
    });
}

#[test]
fn a_signal_after_a_call_does_not_wait_for_the_drain() {
    drains_and_hurries(|cluster| cluster.signal(1, "-TERM"));
}

#[test]
fn a_node_that_is_slow_is_suspected_and_a_drain_does_not_wait_for_it_longer_than_its_limit() {
    let settings = ["cluster.heartbeat_timeout_seconds=120", "http.shutdown_timeout_seconds=3"];
    let mut cluster = Cluster::start(2, &settings);
    cluster.settled(0, 2);
    cluster.settled(1, 2);
    // One of them votes, and the other knows as much of the group.
    cluster.wait_for(0, "known to both", |status| {
        let other = &cluster.status(1)["raft"];
        ["leader", "voters", "term"].iter().all(|key| status["raft"][key] == other[key])
            && status["raft"]["voters"].as_array().unwrap().len() == 1
    });
    assert_eq!(cluster.cli(1, &["cluster", "status"]).code, 0);

    // The one that could take its shards does not answer. It is not dead, and not well either.
    let its = owned_by(&shards(&cluster, 1), "node-1");
    assert!((4..=8).contains(&its), "{its}");
    cluster.signal(0, "-STOP");
    cluster.wait_for(1, "suspicious", |status| {
        let unhealthy = status["unhealthyShards"].as_array().unwrap();
        unhealthy.len() == its
            && unhealthy.iter().all(|shard| {
                shard["state"] == "suspected"
                    && shard["waitsFor"].as_str().unwrap().contains("node-1")
            })
    });
    let status = cluster.cli(1, &["cluster", "status"]);
    assert_eq!(status.code, 1, "{status:?}");
    assert!(
        status.stdout.contains(&format!("{its} of 12 shards are owned by nodes that are slow")),
        "{status:?}"
    );
    let begun = Instant::now();
    cluster.signal(1, "-TERM");
    assert_eq!(cluster.ended(1), "exit status: 0");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?} of 3 s", begun.elapsed());
    cluster.signal(0, "-CONT");
}

#[test]
fn handing_over_and_answering_have_one_limit_together() {
    let settings = ["cluster.heartbeat_timeout_seconds=120", "http.shutdown_timeout_seconds=8"];
    let mut cluster = Cluster::start(2, &settings);
    cluster.settled(0, 2);
    cluster.settled(1, 2);
    let waiting = request_without_end(cluster.nodes[1].http, "/api/v1/search");
    // The one that could take its shards does not answer.
    cluster.signal(0, "-STOP");
    let begun = Instant::now();
    cluster.signal(1, "-TERM");
    assert_eq!(cluster.ended(1), "exit status: 0");
    // The request alone would be waited for as long again.
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?} of 8 s", begun.elapsed());
    cluster.signal(0, "-CONT");
    drop(waiting);
}

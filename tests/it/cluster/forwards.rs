//! Repository operations through nodes that do not own the repository.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{SOON, repositories};
use crate::harness::{Cluster, Git, Request, request_without_end};

/// A cluster of three with this repository, its owner, and two nodes that have to ask that.
fn with_repository(git: &Git, settings: &[&str]) -> (Cluster, [usize; 3]) {
    let cluster = Cluster::start(3, settings);
    cluster.settled(0, 3);
    cluster.add(0, &git.url());
    let owner = cluster.owner_of(0, "owner/repository0");
    (cluster, [owner, (owner + 1) % 3, (owner + 2) % 3])
}

const TREE: &str = "/api/v1/repos/owner%2Frepository0/tree";

#[test]
fn a_header_that_names_another_repository_changes_nothing() {
    let git = &repositories(1)[0];
    let (cluster, [_, via, _]) = with_repository(git, &[]);
    let wanted = cluster.get(via, TREE);
    assert_eq!(wanted.status, 200, "{}", wanted.text());
    for id in ["00000000-0000-7000-8000-000000000001", "../..", "owner/repository0"] {
        let hinted = Request::new("GET", TREE).header("X-Repo-ID", id);
        assert_eq!(hinted.send(cluster.nodes[via].http).json(), wanted.json(), "{id}");
    }
}

#[test]
fn a_node_whose_map_is_old_asks_the_new_owner() {
    let git = &repositories(1)[0];
    let (cluster, [owner, mut via, mut to]) = with_repository(git, &[]);
    // Without the one that leads nothing is agreed on for a while.
    if cluster.status(owner)["raft"]["leader"] == cluster.nodes[via].name.as_str() {
        (via, to) = (to, via);
    }
    let shard = cluster.get(via, "/api/v1/repos/owner%2Frepository0").json()["shard"].to_string();
    // Stopped, it hears nothing of the move.
    cluster.signal(via, "-STOP");
    let name = cluster.nodes[to].name.clone();
    let moved = cluster.cli(owner, &["code-search", "shard", "move", &shard, &name]);
    assert_eq!(moved.code, 0, "{moved:?}");
    cluster.wait_until("moved", || {
        let shard = cluster.get(to, &format!("/api/v1/cluster/shards/{shard}")).json();
        shard["owner"] == name.as_str() && shard["state"] == "serving"
    });
    // The mirror comes after the shard.
    cluster.wait_until("whole", || cluster.get(to, TREE).status == 200);
    let mut client = TcpStream::connect(cluster.nodes[via].http).unwrap();
    let request = format!("GET {TREE} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    cluster.signal(via, "-CONT");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    let answer = Request::parse_reply(&answer).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json(), cluster.get(to, TREE).json());
}

#[test]
fn more_forwards_than_may_be_are_refused() {
    let git = &repositories(1)[0];
    let (cluster, [_, via, other]) = with_repository(git, &[SOON, "cluster.concurrent_forwards=1"]);
    let sync = "/api/v1/repos/owner%2Frepository0/sync";
    // Its body does not come, so it goes on from when it is asked for.
    let slow = request_without_end(cluster.nodes[via].http, sync);
    let refused = cluster.get(via, TREE);
    refused.assert_problem(429, "too-many-forwards");
    assert!(refused.header("retry-after").is_some());
    assert!(cluster.metric(via, "code_search_forwards_total{outcome=\"shed\"}") > Some(0.0));
    // What the catalog knows too is answered by it, and other nodes forward.
    assert_eq!(cluster.get(via, "/api/v1/repos/owner%2Frepository0").status, 200);
    assert_eq!(cluster.get(other, TREE).status, 200);
    drop(slow);
    cluster.wait_until("free", || cluster.get(via, TREE).status == 200);
}

//! The majority of the voters lost, and the group made anew.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{SOON, found, repositories};
use crate::harness::{Cluster, Ran, run};

const QUERY: &str = "haystack count:all";

fn recover(cluster: &Cluster, node: usize, flags: &[&str]) -> Ran {
    run(cluster.command_of(node, &["cluster", "recover"]).args(flags))
}

/// A cluster of three voters that has everything in cold storage, and what it answers.
fn filled(path: std::path::PathBuf) -> (Cluster, Value) {
    let cluster = Cluster::start_in(path, 3, &[SOON]);
    cluster.settled(0, 3);
    for (number, git) in repositories(4).iter().enumerate() {
        cluster.add(number % 3, &git.url());
    }
    cluster.wait_for(0, "of three voters", |status| {
        status["raft"]["voters"].as_array().unwrap().len() == 3
    });
    (0..3).for_each(|node| cluster.uploaded(node));
    let answer = cluster.search(0, QUERY, "").json();
    assert_eq!(answer["complete"], true, "{answer}");
    (cluster, answer)
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

fn is_whole_again(path: std::path::PathBuf, before: &Value) {
    let cluster = Cluster::start_in(path, 3, &[SOON]);
    cluster.settled(0, 3);
    for node in 0..3 {
        let after = cluster.search(node, QUERY, "").json();
        assert_eq!(found(&after), found(before));
    }
    cluster.wait_for(1, "of three voters", |status| {
        status["raft"]["voters"].as_array().unwrap().len() == 3
            && status["mapVersion"].as_u64().unwrap() >= 1 << 32
    });
}

#[test]
fn one_survivor_of_three_voters_recovers_the_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let (mut cluster, before) = filled(path.clone());
    let status = cluster.status(0);
    let leader = status["raft"]["leader"].as_str().unwrap();
    let leader = cluster.nodes.iter().position(|node| node.name == leader).unwrap();
    let (survivor, other) = ((leader + 1) % 3, (leader + 2) % 3);

    // A node that runs keeps its disk, and a group that works is left alone.
    let running = recover(&cluster, survivor, &["--yes"]);
    assert_eq!(running.code, 2, "{running:?}");
    assert!(running.stderr.contains("another process of this node runs"), "{running:?}");
    cluster.kill(survivor);
    let needless = recover(&cluster, survivor, &["--yes"]);
    assert_eq!(needless.code, 2, "{needless:?}");
    assert!(needless.stderr.contains("there is nothing to recover"), "{needless:?}");
    cluster.start_again(survivor);
    cluster.settled(survivor, 3);

    // Two of three are lost: searches go on by the last map, and nothing else does.
    cluster.kill(leader);
    cluster.kill(other);
    cluster.wait_for(survivor, "without a leader and two nodes", |status| {
        let dead =
            status["nodes"].as_array().unwrap().iter().filter(|node| node["state"] == "dead");
        dead.count() == 2 && status["raft"]["leader"].is_null()
    });
    let asked = Instant::now();
    let status = cluster.status(survivor);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(status["status"], "red", "{status}");
    let answer = cluster.search(survivor, QUERY, "").json();
    assert_eq!(answer["complete"], false, "{answer}");
    assert!(answer["stats"]["shards"]["answered"].as_u64().unwrap() > 0, "{answer}");
    let status = cluster.cli(survivor, &["cluster", "status"]);
    assert_eq!(status.code, 2, "{status:?}");
    assert!(status.stdout.contains("no shard changes its owner"), "{status:?}");
    let pinned = cluster.cli(survivor, &["code-search", "shard", "pin", "1", "node-1"]);
    assert_eq!(pinned.code, 2, "{pinned:?}");
    assert!(pinned.stderr.contains("cannot agree on anything now"), "{pinned:?}");
    let balanced = cluster.cli(survivor, &["code-search", "shard", "rebalance"]);
    assert_eq!(balanced.code, 2, "{balanced:?}");
    assert!(balanced.stderr.contains("shards are not served yet"), "{balanced:?}");
    let drained = cluster.cli(survivor, &["code-search", "node", "drain", "node-1"]);
    assert_eq!(drained.code, 2, "{drained:?}");

    cluster.kill(survivor);
    for lost in [leader, other] {
        std::fs::remove_dir_all(cluster.data(lost)).unwrap();
    }
    let asked = recover(&cluster, survivor, &[]);
    assert_eq!(asked.code, 2, "{asked:?}");
    assert!(asked.stderr.contains("--yes"), "{asked:?}");
    let dry = recover(&cluster, survivor, &["--dry-run"]);
    assert_eq!(dry.code, 0, "{dry:?}");
    assert!(dry.stdout.contains("from this disk"), "{dry:?}");
    assert!(!path.join("cold/recoveries").exists(), "nothing is changed");
    // One that is cut off between its claim and the disk: the node does not start, and it is carried on.
    let (data, as_it_was) = (cluster.data(survivor), path.join("as-it-was"));
    copy(&data, &as_it_was);
    let done = recover(&cluster, survivor, &["--yes"]);
    assert_eq!(done.code, 0, "{done:?}");
    std::fs::remove_dir_all(&data).unwrap();
    copy(&as_it_was, &data);
    let started = run(&mut cluster.command_of(survivor, &["serve"]));
    assert_eq!(started.code, 2, "{started:?}");
    assert!(started.stderr.contains("run `aeterna cluster recover` again"), "{started:?}");
    let done = recover(&cluster, survivor, &["--yes"]);
    assert_eq!(done.code, 0, "{done:?}");
    let again = recover(&cluster, survivor, &["--yes"]);
    assert_eq!(again.code, 2, "{again:?}");
    assert!(again.stderr.contains("1 of 1 voters can be reached"), "{again:?}");
    drop(cluster);
    is_whole_again(path, &before);
}

#[test]
fn a_cluster_is_recovered_from_no_disk_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let (mut cluster, before) = filled(path.clone());
    for node in 0..3 {
        cluster.kill(node);
        std::fs::remove_dir_all(cluster.data(node)).unwrap();
    }
    let done = recover(&cluster, 2, &["--yes"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("nobody has one"), "{done:?}");
    drop(cluster);
    is_whole_again(path, &before);
}

//! Nodes that come back: with an old disk, with an empty one, or twice.

use serde_json::json;

use super::{SOON, found, repositories};
use crate::harness::{Cluster, Request, Stray, run};

const QUERY: &str = "(needle_0 OR changed_meanwhile) count:all";

#[test]
fn a_node_comes_back_with_its_old_disk_and_then_with_an_empty_one() {
    let repositories = repositories(2);
    let mut cluster = Cluster::start(3, &[SOON]);
    cluster.settled(0, 3);
    for git in &repositories {
        cluster.add(0, &git.url());
    }
    let gone = cluster.owner_of(0, "owner/repository0");
    let via = (gone + 1) % 3;
    let shard = cluster.get(via, "/api/v1/repos/owner%2Frepository0").json()["shard"].to_string();
    cluster.kill(gone);
    cluster.settled(via, 2);
    repositories[0].write("src/lib.rs", b"fn changed_meanwhile() {} // haystack\n");
    repositories[0].commit("second");
    let synced = cluster.cli(via, &["repo", "sync", "owner/repository0", "--wait"]);
    assert_eq!(synced.code, 0, "{synced:?}");
    cluster.uploaded(via);
    let answer = cluster.search(via, QUERY, "").json();
    assert_eq!(answer["complete"], true, "{answer}");

    for disk in ["old", "empty"] {
        if disk == "empty" {
            cluster.kill(gone);
            cluster.settled(via, 2);
            std::fs::remove_dir_all(cluster.data(gone)).unwrap();
        }
        cluster.start_again(gone);
        if disk == "empty" {
            // It voted with the old one, and does with the new one.
            cluster.wait_for(via, "missed", |status| {
                status["status"] == "yellow"
                    && status["raft"]["lostVoters"] == json!([cluster.nodes[gone].name])
                    && status["reasons"].to_string().contains("the disk is lost that votes")
            });
            cluster.wait_for(via, "replaced", |status| {
                status["raft"]["lostVoters"] == json!([])
                    && status["raft"]["voters"].as_array().unwrap().len() == 3
            });
        }
        cluster.settled(gone, 3);
        let status = cluster.status(gone);
        assert_eq!(status["nodes"][gone]["shardsOwned"], 0, "it took something: {status}");
        let there = cluster.search(gone, QUERY, "").json();
        assert_eq!(found(&there), found(&answer), "with its {disk} disk");

        // What it is given it serves as it is now, whatever its disk had.
        let name = cluster.nodes[gone].name.clone();
        let moved = cluster.cli(via, &["code-search", "shard", "move", &shard, &name]);
        assert_eq!(moved.code, 0, "{moved:?}");
        cluster.wait_for(via, "moved", |status| {
            status["moves"].as_array().unwrap().is_empty()
                && status["unhealthyShards"].as_array().unwrap().is_empty()
                && status["nodes"][gone]["shardsServing"] == 1
        });
        let there = cluster.search(via, QUERY, "").json();
        assert_eq!(found(&there), found(&answer), "with its {disk} disk");
    }
}

#[test]
fn a_node_that_is_back_is_ready_when_it_knows_whom_to_ask() {
    let repositories = repositories(6);
    let mut cluster = Cluster::start(3, &[SOON, "cluster.replicas=2"]);
    cluster.settled(0, 3);
    for git in &repositories {
        cluster.add(0, &git.url());
    }
    cluster.copied(12);
    let wanted = found(&cluster.search(0, QUERY, "").json());
    cluster.kill(1);
    cluster.settled(0, 2);
    // Its disk has a map of before, by which it holds most shards itself.
    cluster.start_again(1);
    cluster.wait_until("ready", || cluster.get(1, "/readyz").status == 200);
    let answer = cluster.search(1, QUERY, "").json();
    assert_eq!(found(&answer), wanted);
}

#[test]
fn of_two_nodes_with_one_name_the_later_one_stays() {
    let mut cluster = Cluster::start(3, &[SOON]);
    cluster.settled(0, 3);
    // Another machine whose configuration was copied.
    let later = Stray::start(&cluster, 1, &[]);
    let ended = cluster.ended(1);
    assert_eq!(ended, "exit status: 0", "{}", cluster.log(1));
    let log = cluster.log(1);
    assert!(log.contains("another node with this name has started later"), "{log}");
    let status = cluster.settled(0, 3);
    assert_eq!(status["nodes"][1]["gossip"], later.facts()["gossip"], "{status}");
}

#[test]
fn a_second_cluster_on_the_same_cold_storage_says_so_and_changes_nothing() {
    let cluster = Cluster::start(1, &[]);
    cluster.settled(0, 1);
    let before = cluster.status(0);
    let folder = tempfile::tempdir().unwrap();
    let database = format!("database_url=sqlite://{}/catalog.db", folder.path().display());
    let settings = ["node_name=other-1", "cluster.join=127.0.0.1:9", &database];
    let stray = Stray::start(&cluster, 0, &settings);
    let http = stray.facts()["address"].as_str().unwrap().parse().unwrap();
    let why = format!(
        "cold storage is that of the cluster {}, which node-1 began at",
        before["clusterId"].as_str().unwrap()
    );
    cluster.wait_until("told", || {
        let ready = Request::new("GET", "/readyz").send(http);
        assert_eq!(ready.status, 503, "{}", ready.text());
        ready.text().contains(&why)
    });
    let status = Request::new("GET", "/api/v1/cluster").send(http).json();
    assert_eq!(status["status"], "red", "{status}");
    assert!(status["reasons"].to_string().contains(&why), "{status}");
    let git = &repositories(1)[0];
    let add = Request::new("POST", "/api/v1/repos").json(&json!({"url": git.url()}));
    assert_eq!(add.send(http).status, 503);
    assert_eq!(cluster.status(0)["mapVersion"], before["mapVersion"]);
    assert_eq!(cluster.get(0, "/readyz").status, 200);
}

#[test]
fn disks_keys_and_names_that_do_not_fit_are_refused_at_the_start() {
    let mut cluster = Cluster::start(2, &[SOON]);
    cluster.settled(0, 2);
    let version = cluster.status(0)["mapVersion"].clone();
    cluster.kill(1);
    let start = |cluster: &Cluster, setting: &str| {
        let mut command = cluster.command_of(1, &["serve"]);
        run(command.args(["--set", setting]))
    };
    let other = tempfile::tempdir().unwrap();
    let short_key = other.path().join("key");
    std::fs::write(&short_key, "abc\n").unwrap();
    let long = format!("node_name={}", "n".repeat(300));
    for (setting, why) in [
        ("cluster.shards=13", "the cluster has 12 shards, and that cannot change"),
        ("node_name=../../etc", "SHARD_ID"),
        ("node_name=a b", "SHARD_ID"),
        ("node_name=a\u{7}", "control characters"),
        (&long, "SHARD_ID"),
        ("cluster.join=not an address", "cluster.join"),
        ("cluster.join=a:b:c:99999", "cluster.join"),
        (&format!("cluster.key_file={}", short_key.display()), "has no cluster key"),
    ] {
        let ran = start(&cluster, setting);
        assert_eq!(ran.code, 2, "{setting}: {ran:?}");
        assert!(ran.stderr.contains(why), "{setting}: {ran:?}");
        assert!(!ran.stderr.contains('\u{7}'), "{ran:?}");
    }

    // The disk of this cluster with the cold storage of another one.
    let founded = Cluster::start(1, &[]);
    founded.settled(0, 1);
    let cold = founded.data(0).parent().unwrap().join("cold");
    let ran = start(&cluster, &format!("cold_storage.path={}", cold.display()));
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("this node's data is of cluster"), "{ran:?}");

    cluster.start_again(1);
    let status = cluster.settled(0, 2);
    assert!(status["mapVersion"].as_u64() >= version.as_u64(), "{status}");
}

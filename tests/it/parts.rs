//! A repository that is too large for one shard: indexed in parts on several nodes, and searched as one.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::{Cluster, Git, Server, escape};
use crate::routing::assert_same_pages;

/// So small that the large repository has several parts, and the small ones one.
const SETTINGS: [&str; 2] = ["cluster.part_bytes=16384", "cluster.heartbeat_timeout_seconds=3"];
const FILES: usize = 60;

fn text_of(number: usize, word: &str) -> Vec<u8> {
    let line = format!("fn needle_{number}() {{ haystack({word}) }} // {}\n", number % 7);
    line.repeat(5 + number % 23).into_bytes()
}

fn large() -> Git {
    let git = Git::new("large");
    for number in 0..FILES {
        let name = ["lib.rs", "main.py", "notes.md"][number % 3];
        git.write(&format!("folder{}/{number}/{name}", number % 5), &text_of(number, "first"));
    }
    for number in 0..7 {
        git.write(&format!("pictures/{number}.bin"), &[0, 1, 2, number]);
    }
    git.commit("first");
    git
}

fn small(count: usize) -> Vec<Git> {
    let repository = |number: usize| {
        let files = [("src/lib.rs", text_of(number, "small")), ("main.py", text_of(9, "small"))];
        let files = files.each_ref().map(|(path, text)| (*path, text.as_slice()));
        Git::with_files(&format!("small{number}"), &files)
    };
    (0..count).map(repository).collect()
}

/// Asserts that every node answers as one that has it all in one piece.
fn assert_same(cluster: &Cluster, nodes: &[usize], alone: &Server) {
    let queries = [
        "haystack",
        "needle_1 lang:rust",
        "type:path folder3",
        "type:repo",
        "type:repo large",
        "select:repo haystack",
        "haystack count:all",
        "repo:large needle",
    ];
    for query in queries {
        for parameters in ["&pageSize=1", "&pageSize=4", "&pageSize=1000&facets=true"] {
            let target = format!("/api/v1/search?q={}{parameters}", escape(query));
            assert_same_pages(cluster, nodes, alone, &target);
        }
    }
}

fn parts(cluster: &Cluster, via: usize) -> Vec<u64> {
    let repository = cluster.get(via, "/api/v1/repos/owner%2Flarge").json();
    assert_eq!(repository["state"], "ready", "{repository}");
    let parts = repository["parts"].as_array().unwrap_or_else(|| panic!("no parts: {repository}"));
    parts.iter().map(|part| part["shard"].as_u64().unwrap()).collect()
}

fn owner(cluster: &Cluster, shard: u64) -> String {
    let shard = cluster.get(0, &format!("/api/v1/cluster/shards/{shard}")).json();
    shard["owner"].as_str().unwrap().to_owned()
}

fn not_indexed(get: impl Fn(&str) -> Value) -> Vec<Value> {
    let (mut files, mut cursor) = (Vec::new(), String::new());
    loop {
        let target = format!("/api/v1/repos/owner%2Flarge/not-indexed?limit=2{cursor}");
        let page = get(&target);
        files.extend(page["files"].as_array().unwrap().iter().cloned());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return files,
        }
    }
}

#[test]
fn a_repository_in_parts_is_searched_as_one() {
    let cluster = Cluster::start(3, &SETTINGS);
    cluster.settled(0, 3);
    let alone = Server::start();
    let (large, small) = (large(), small(3));
    for (number, git) in small.iter().chain([&large]).enumerate() {
        let added = cluster.add(number % 3, &git.url());
        let by_itself = alone.add(&git.url());
        assert_eq!(added["documentCount"], by_itself["documentCount"], "{added}");
    }
    let shards = parts(&cluster, 0);
    let owners: BTreeSet<String> = shards.iter().map(|shard| owner(&cluster, *shard)).collect();
    assert!(shards.len() >= 3, "{shards:?}");
    assert_eq!(owners.len(), 3, "{shards:?} are not apart");
    for git in &small {
        let name = escape(&format!("owner/{}", git.path().file_name().unwrap().to_str().unwrap()));
        let repository = cluster.get(1, &format!("/api/v1/repos/{name}")).json();
        assert_eq!(repository["parts"], Value::Null, "{repository}");
    }
    let listed = cluster.get(2, "/api/v1/repos").json();
    assert_eq!(listed["repositories"].as_array().unwrap().len(), 4, "{listed}");
    assert_same(&cluster, &[0, 1, 2], &alone);
    let omitted = not_indexed(|target| cluster.get(1, target).json());
    assert_eq!(omitted, not_indexed(|target| alone.get(target).json()));
    assert_eq!(omitted.len(), 7);
    let file = "/api/v1/repos/owner%2Flarge/file?path=folder1%2F1%2Fmain.py";
    assert_eq!(cluster.get(2, file).json()["content"], alone.get(file).json()["content"]);
    assert!(cluster.get(2, file).json()["content"].is_string());

    // What is pushed is found of all parts, or the answer says that they are uneven.
    for number in (0..FILES).step_by(4) {
        let name = ["lib.rs", "main.py", "notes.md"][number % 3];
        large.write(&format!("folder{}/{number}/{name}", number % 5), &text_of(number, "second"));
    }
    large.git(&["rm", "-q", "-r", "-f", "folder3"]);
    large.write("folder3/new.rs", &text_of(11, "second"));
    let commit = large.commit("second");
    let synced = cluster.cli(1, &["repo", "sync", "owner/large", "--wait", "--json"]);
    assert_eq!(synced.code, 0, "{synced:?}");
    assert_eq!(alone.cli(&["repo", "sync", "owner/large", "--wait"]).code, 0);
    let answer = cluster.search(0, "repo:large second count:all", "").json();
    assert_eq!(answer["complete"], true, "{answer}");
    for result in answer["results"].as_array().unwrap() {
        assert_eq!(result["commit"], commit.as_str());
    }
    assert_same(&cluster, &[0, 1, 2], &alone);
    assert_eq!(parts(&cluster, 0), shards);
}

#[test]
fn parts_survive_their_owners_and_go_together() {
    let mut cluster = Cluster::start(3, &SETTINGS);
    cluster.settled(0, 3);
    let alone = Server::start();
    let large = large();
    cluster.add(0, &large.url());
    alone.add(&large.url());
    let shards = parts(&cluster, 0);
    (0..3).for_each(|node| cluster.uploaded(node));

    // The owner of a further part dies: others have all of it again, and index what comes.
    let victim = owner(&cluster, shards[1]);
    let gone = cluster.nodes.iter().position(|node| node.name == victim).unwrap();
    let left: Vec<usize> = (0..3).filter(|node| *node != gone).collect();
    cluster.kill(gone);
    cluster.settled(left[0], 2);
    assert_same(&cluster, &left, &alone);
    large.write("folder0/later.rs", &text_of(3, "later"));
    large.commit("later");
    let synced = cluster.cli(left[1], &["repo", "sync", "owner/large", "--wait", "--json"]);
    assert_eq!(synced.code, 0, "{synced:?}");
    assert_eq!(alone.cli(&["repo", "sync", "owner/large", "--wait"]).code, 0);
    assert_same(&cluster, &left, &alone);

    // All of it is indexed again, and then all of it goes, at once and through whichever node.
    let again = cluster.cli(left[0], &["repo", "reindex", "owner/large", "--wait", "--json"]);
    assert_eq!(again.code, 0, "{again:?}");
    assert_same(&cluster, &left, &alone);
    let removed = cluster.cli(left[1], &["repo", "remove", "owner/large"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    for node in left {
        let answer = cluster.search(node, "haystack", "").json();
        assert_eq!(answer["complete"], true, "{answer}");
        assert_eq!(answer["results"], serde_json::json!([]), "{answer}");
    }
}

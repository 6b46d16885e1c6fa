//! What nodes of an earlier version gossip must go on being read: their keys and values are in
//! `tests/fixtures/v1/gossip-facts.json`, which is never changed. A key that is added gets a new file.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::facts::Facts;
use super::group::GroupFacts;
use super::restores::Restoring;
use crate::name::ShardId;

/// As the first version told of a node.
fn first() -> Facts {
    Facts {
        http: "10.0.0.1:8080".to_owned(),
        grpc: "10.0.0.1:8081".to_owned(),
        raft_id: 9_007_199_254_740_991,
        version: "0.1.0".to_owned(),
        zone: Some("eu-1a".to_owned()),
        capacity: 150,
        ready: true,
        draining: true,
        map_version: 4_294_967_373,
        load_permille: 1_500,
        disk_total: 1 << 40,
        disk_free: 1 << 39,
        shards_serving: 3,
        shard_bytes: [(ShardId(1), 1 << 30), (ShardId(900), 0)].into(),
        ..Facts::default()
    }
}

fn fixture(name: &str) -> BTreeMap<String, String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v1");
    let text = std::fs::read_to_string(format!("{folder}/{name}.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn read(entries: &BTreeMap<String, String>) -> Facts {
    let mut facts = Facts::default();
    entries.iter().for_each(|(key, value)| facts.take(key, value).unwrap());
    facts
}

#[test]
fn what_the_first_version_gossips_is_read() {
    assert_eq!(read(&fixture("gossip-facts")), first());
}

#[test]
fn what_is_gossiped_is_what_is_written_down() {
    let facts = Facts {
        group: GroupFacts { term: 3, votes: true, leads: true, committed: 77 },
        restores: [(ShardId(7), Restoring { done: 5, total: 9, elapsed_ms: 12 })].into(),
        read_only_bytes: [(ShardId(2), 1 << 20)].into(),
        ..first()
    };
    let told: BTreeMap<String, String> = facts.entries().into_iter().collect();
    let mut known = fixture("gossip-facts");
    known.extend(fixture("gossip-group-and-restores"));
    known.extend(fixture("gossip-read-only"));
    assert_eq!(told, known);
    assert_eq!(read(&known), facts);
}

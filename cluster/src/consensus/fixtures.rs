//! What nodes of an earlier version have written, to each other and to their disks, must go on being
//! read: one file for each message in `tests/fixtures/v1`. A file there is never changed. Where a
//! message gets a new form, the old file stays and a new one is put beside it.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::Path;

use openraft::raft::{AppendEntriesResponse, VoteResponse};
use openraft::{CommittedLeaderId, EntryPayload, SnapshotSegmentId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::store::Identity;
use super::types::{Entry, LogId, Membership, RaftId, RaftNode, Request, SnapshotMeta, Vote};
use super::wire::{Append, Ballot, BallotAnswer, Chunk, ChunkAnswer, Envelope};
use crate::codec;
use crate::name::{Epoch, NodeName, ShardId};
use crate::shard_map::{Assignment, Command, Outcome, Refusal, ShardMap};

const LIMIT: usize = 1 << 20;

/// Reads a fixture as this program reads it, and writes the value as the fixture has it.
fn check<T: Serialize + DeserializeOwned + Debug>(name: &str, value: T) {
    let path = format!("{}/tests/fixtures/v1/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let written: Value = serde_json::to_value(&value).unwrap();
    assert!(Path::new(&path).exists(), "{path} should hold {written:#}");
    let text = std::fs::read_to_string(&path).unwrap();
    let fixture: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(written, fixture, "{name}: what is written has changed");

    let bytes = [&[codec::VERSION], text.as_bytes()].concat();
    let read: T = codec::decode(&bytes, LIMIT).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), fixture, "{name}: what is read has changed");
    let again: T = codec::decode(&codec::encode(&read, LIMIT).unwrap(), LIMIT).unwrap();
    assert_eq!(serde_json::to_value(&again).unwrap(), fixture, "{name}");
}

/// A field that this version does not know is ignored.
fn check_newer<T: Serialize + DeserializeOwned>(value: &T, places: &[&str]) {
    let written = serde_json::to_value(value).unwrap();
    for place in places {
        let mut newer = written.clone();
        let object = newer.pointer_mut(place).unwrap().as_object_mut().unwrap();
        object.insert("sinceVersionTwo".to_owned(), serde_json::json!([1, { "a": null }]));
        let bytes = codec::encode(&newer, LIMIT).unwrap();
        let read: T = codec::decode(&bytes, LIMIT).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), written, "{place}");
    }
}

fn name(number: u8) -> NodeName {
    format!("code-search-indexer-{number}").parse().unwrap()
}

fn node(number: u8) -> RaftNode {
    RaftNode { name: name(number), address: format!("10.0.0.{number}:7701") }
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, RaftId(1001)), index)
}

fn vote() -> Vote {
    Vote::new_committed(3, RaftId(1001))
}

fn envelope<T>(body: T) -> Envelope<T> {
    let cluster = Uuid::from_u128(0x0c0ffee0_0000_4000_8000_000000000001);
    Envelope { cluster, incarnation: 0, from: RaftId(1001), to: RaftId(9007199254740991), body }
}

/// Old and new voters together, and a learner.
fn membership() -> openraft::Membership<RaftId, RaftNode> {
    let ids = |ids: &[u64]| ids.iter().copied().map(RaftId).collect::<BTreeSet<_>>();
    let nodes = [(1001, node(0)), (1002, node(1)), (9007199254740991, node(2))];
    let nodes: BTreeMap<RaftId, RaftNode> =
        nodes.into_iter().map(|(id, node)| (RaftId(id), node)).collect();
    openraft::Membership::new(vec![ids(&[1001]), ids(&[1001, 1002])], nodes)
}

fn entries() -> Vec<Entry> {
    let cluster = Uuid::from_u128(0x0c0ffee0_0000_4000_8000_000000000001);
    let payloads = [
        EntryPayload::Membership(membership()),
        EntryPayload::Blank,
        EntryPayload::Normal(Request::Create { cluster, shards: 64 }),
        EntryPayload::Normal(Request::Change(commands().remove(0))),
    ];
    let entry = |(index, payload)| Entry { log_id: log_id(2, index), payload };
    (7..).zip(payloads).map(entry).collect()
}

fn snapshot_meta() -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(log_id(2, 9)),
        last_membership: Membership::new(Some(log_id(2, 7)), membership()),
        snapshot_id: "9-b5f1ad62-4f5a-4f2e-8f38-7c3b3c9d7a11".to_owned(),
    }
}

fn commands() -> Vec<Command> {
    let (shard, seen) = (ShardId(5), Epoch(2));
    let (owner, replicas) = (name(1), vec![name(2)]);
    vec![
        Command::Join { node: name(0), zone: Some("eu-1a".to_owned()), capacity: 100 },
        Command::Join { node: name(1), zone: None, capacity: 50 },
        Command::Leave { node: name(1) },
        Command::Remove { node: name(1) },
        Command::Assign { assignments: vec![Assignment { shard, seen, owner, replicas }] },
        Command::BeginMove { shard, seen, to: name(2) },
        Command::EndMove { shard, seen },
        Command::AbortMove { shard, seen },
        Command::Pin { shard, node: Some(name(0)) },
        Command::Pin { shard, node: None },
    ]
}

fn outcome() -> Outcome {
    let (shard, node) = (ShardId(5), name(1));
    vec![
        Ok(()),
        Err(Refusal::UnknownShard(shard)),
        Err(Refusal::UnknownNode(node.clone())),
        Err(Refusal::StaleEpoch { shard, seen: Epoch(1), now: Epoch(2) }),
        Err(Refusal::NamedTwice { shard, node: node.clone() }),
        Err(Refusal::OwnsIt { shard, node: node.clone() }),
        Err(Refusal::NotMoving(shard)),
        Err(Refusal::Moving { shard, to: node.clone() }),
        Err(Refusal::Leaving(node.clone())),
        Err(Refusal::NoOwner(shard)),
        Err(Refusal::StillOwns { node: node.clone(), shards: 3 }),
        Err(Refusal::LastMember(node.clone())),
        Err(Refusal::NoCapacity(node)),
    ]
}

fn map() -> ShardMap {
    let mut map = ShardMap::new(Uuid::from_u128(0x0c0ffee0_0000_4000_8000_000000000001), 3);
    let assign = |shard, owner, replicas: &[u8]| Assignment {
        shard: ShardId(shard),
        seen: Epoch(0),
        owner: name(owner),
        replicas: replicas.iter().copied().map(name).collect(),
    };
    for node in 0..3 {
        let zone = (node > 0).then(|| format!("eu-1{node}"));
        map.apply(Command::Join { node: name(node), zone, capacity: 100 });
    }
    map.apply(Command::Assign { assignments: vec![assign(0, 0, &[1, 2]), assign(1, 1, &[])] });
    map.apply(Command::BeginMove { shard: ShardId(1), seen: Epoch(1), to: name(2) });
    map.apply(Command::Pin { shard: ShardId(0), node: Some(name(0)) });
    map.apply(Command::Leave { node: name(1) });
    map
}

#[test]
fn messages() {
    let append = || Append {
        vote: vote(),
        prev_log_id: Some(log_id(1, 6)),
        entries: entries(),
        leader_commit: Some(log_id(1, 5)),
    };
    check("append", envelope(append()));
    check_newer(&envelope(append()), &["", "/body", "/body/vote", "/body/entries/0/log_id"]);
    let heartbeat =
        Append { vote: vote(), prev_log_id: None, entries: Vec::new(), leader_commit: None };
    check("heartbeat", envelope(heartbeat));
    type Answer = AppendEntriesResponse<RaftId>;
    check("append-success", Answer::Success);
    check("append-partial-success", Answer::PartialSuccess(Some(log_id(1, 6))));
    check("append-conflict", Answer::Conflict);
    check("append-higher-vote", Answer::HigherVote(vote()));

    let ballot = || Ballot::new(Vote::new(4, RaftId(1001)), Some(log_id(2, 9)));
    check("vote", envelope(ballot()));
    check("vote-anew", Envelope { incarnation: 3, ..envelope(ballot()) });
    let granted = VoteResponse::new(Vote::new(4, RaftId(1001)), Some(log_id(1, 6)), true);
    check("vote-answer", BallotAnswer::Vote(granted));
    check("vote-not-member", BallotAnswer::NotMember);

    let chunk = || Chunk {
        vote: vote(),
        meta: snapshot_meta(),
        offset: 1 << 20,
        data: (0..=255).collect(),
        done: true,
    };
    check("snapshot", envelope(chunk()));
    check_newer(&envelope(chunk()), &["", "/body", "/body/meta", "/body/meta/last_membership"]);
    check("snapshot-taken", ChunkAnswer::Vote(vote()));
    let segment = |offset| SnapshotSegmentId { id: "9-b5f1".to_owned(), offset };
    let mismatch = openraft::error::SnapshotMismatch { expect: segment(0), got: segment(1 << 20) };
    check("snapshot-again", ChunkAnswer::Again(mismatch));
}

#[test]
fn commands_and_maps() {
    check("commands", commands());
    check("outcome", outcome());
    check("map", map());
    check_newer(&map(), &["", "/shards/0", "/members/code-search-indexer-0"]);
    assert_eq!(ShardMap::from_bytes(&map().to_bytes().unwrap()).unwrap(), map());
}

#[test]
fn disks() {
    let identity = Identity { cluster: map().cluster(), raft_id: RaftId(1001), incarnation: 0 };
    check("disk-identity", identity.clone());
    check("disk-identity-anew", Identity { incarnation: 3, ..identity });
    check("disk-vote", vote());
    check("disk-entries", entries());
    check("disk-committed", Some(log_id(2, 9)));
    check("disk-snapshot-meta", snapshot_meta());
    check("disk-snapshot", super::store::Held { map: Some(map()) });
}

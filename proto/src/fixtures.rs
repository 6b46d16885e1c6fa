//! What nodes of an earlier version send must go on being read: one file for each message in
//! `tests/fixtures/v1`, its bytes as hexadecimal text. A file there is never changed.

// Fields that are added later are not what the first version sent.
#![allow(clippy::needless_update)]

use std::fmt::Debug;

use prost::Message;

use super::*;

/// A field that no version has, with a number that none will have.
const NEWER: [u8; 4] = [0xf8, 0xff, 0x3f, 0x07];

fn check<M: Message + Default + PartialEq + Debug>(name: &str, value: M) {
    let path = format!("{}/tests/fixtures/v1/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let written: String = value.encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect();
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(!text.is_empty(), "{path} should hold {written}");
    let digits: String = text.split_whitespace().collect();
    let bytes = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
    let bytes: Vec<u8> = bytes.collect::<Result<_, _>>().unwrap();
    assert_eq!(M::decode(&*bytes).unwrap(), value, "{name}: what is read has changed");
    assert_eq!(written, digits, "{name}: what is written has changed");
    let newer = [&*bytes, &NEWER].concat();
    assert_eq!(M::decode(&*newer).unwrap(), value, "{name}: a newer field");
    // A message that was cut is refused, or is one with less in it: never more, and no panic.
    for end in 0..bytes.len() {
        if let Ok(cut) = M::decode(&bytes[..end]) {
            assert!(cut.encoded_len() <= end, "{name}");
        }
    }
    assert!(M::decode(&[0xff; 16][..]).is_err(), "{name}");
}

fn shards() -> Vec<ShardAt> {
    vec![ShardAt { shard: 0, epoch: 1 }, ShardAt { shard: 32_767, epoch: u64::MAX }]
}

fn headers() -> Vec<Header> {
    let header =
        |name: &str, value: &[u8]| Header { name: name.to_owned(), value: value.to_vec().into() };
    vec![header("accept", b"application/json"), header("x-bytes", b"\xff\x00")]
}

fn part(part: search_part::Part) -> SearchPart {
    SearchPart { part: Some(part) }
}

#[test]
fn of_the_cluster() {
    let (kind, payload) = ("append".to_owned(), b"\x01{}".to_vec().into());
    check("raft-request", RaftRequest { kind, target: 9_007_199_254_740_991, payload });
    check("raft-response", RaftResponse { payload: b"\x01\"Conflict\"".to_vec().into() });
    check("shard-map-request", ShardMapRequest { version: 77 });
    check("shard-map-response", ShardMapResponse { version: 78, map: b"\x01{}".to_vec().into() });
    check("propose-request", ProposeRequest { command: b"\x01{}".to_vec().into() });
    let outcome = b"\x01[{\"Ok\":null}]".to_vec().into();
    check("proposed", ProposeResponse { applied: true, outcome, ..Default::default() });
    let (leader, leader_address) = ("node-1".to_owned(), "10.0.0.1:8081".to_owned());
    check("not-leader", ProposeResponse { leader, leader_address, ..Default::default() });
}

#[test]
fn of_searches() {
    let request = SearchRequest {
        request_id: "01a1".to_owned(),
        tenant: "default".to_owned(),
        query: "fn main lang:rust".to_owned(),
        page_size: 50,
        context_lines: 2,
        chunks: true,
        facets: true,
        explain: true,
        shards: shards(),
        cursor: "abc".to_owned(),
        deadline_ms: 10_000,
        share: 3,
        max_results: 1_000,
        held_bytes: 1 << 20,
        require_complete: true,
        max_matches: 1 << 40,
        ..Default::default()
    };
    check("search-request", request);
    let pausing = SearchRequest { first: 15, search: u64::MAX - 1, ..Default::default() };
    check("search-request-pausing", pausing);
    let trace_id = "0af7651916cd43dd8448eb211c80319c".to_owned();
    check("search-request-traced", SearchRequest { trace_id, ..Default::default() });
    check("resume-request", ResumeRequest { search: 1 << 63 });
    // Flags that are told apart by who has them.
    let flags = SearchRequest { chunks: true, facets: true, ..Default::default() };
    check("search-request-chunks-facets", flags);
    let flags = SearchRequest { chunks: true, explain: true, ..Default::default() };
    check("search-request-chunks-explain", flags);
    let away = |shard, elsewhere| Away { shard, elsewhere, ..Default::default() };
    let begin = Begin {
        map_version: 78,
        away: vec![away(5, true), away(32_767, false)],
        pinned: "p".to_owned(),
        ..Default::default()
    };
    check("begin", part(search_part::Part::Begin(begin)));
    let ranked = Ranked {
        key: b"\x00key".to_vec().into(),
        results: vec![b"{}".to_vec().into(), b"{\"a\":1}".to_vec().into()],
        window: 4,
        within: 2,
        ..Default::default()
    };
    let found = Found { ranked: vec![ranked], ..Default::default() };
    check("found", part(search_part::Part::Found(found)));
    let progress = Progress { verified: 5, candidates: 9, known: true, ..Default::default() };
    check("progress", part(search_part::Part::Progress(progress)));
    let end = End {
        summary: b"{}".to_vec().into(),
        pinned: "p".to_owned(),
        more: true,
        window: 7,
        within: 1,
        ..Default::default()
    };
    check("end", part(search_part::Part::End(end.clone())));
    check("paused", part(search_part::Part::Paused(end)));
}

#[test]
fn of_forwarded_requests() {
    let request = ForwardRequest {
        request_id: "01a1".to_owned(),
        shard: shards().pop(),
        method: "POST".to_owned(),
        uri: "/api/v1/repos/a%2Fb/sync?wait=1".to_owned(),
        headers: headers(),
        body: b"{\"a\":1}".to_vec().into(),
        repository_id: "0192f0c1-0000-7000-8000-000000000001".to_owned(),
        ..Default::default()
    };
    check("forward-request", request);
    let body = b"{}".to_vec().into();
    let response = ForwardResponse { status: 202, headers: headers(), body, ..Default::default() };
    check("forward-response", response);
}

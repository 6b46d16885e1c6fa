//! Messages that are large, and messages that are wrong.

use aeterna_cluster::codec;
use aeterna_cluster::consensus::{
    ConsensusError, MAX_COMMAND_BYTES, MAX_MESSAGE_BYTES, ProposeError, RaftId,
};
use aeterna_cluster::name::{Epoch, NodeName, ShardId};
use aeterna_cluster::shard_map::{Assignment, Command};

use super::group::{Group, SHARDS, capacity, join};

/// Shards whose map is larger than one message's part of a snapshot.
const MANY: u32 = 4096;

fn long(number: u32) -> NodeName {
    format!("{}-{number}", "n".repeat(240)).parse().unwrap()
}

fn assign(shards: std::ops::Range<u32>, seen: u64, owner: u32) -> Command {
    let assignment = |shard| Assignment {
        shard: ShardId(shard),
        seen: Epoch(seen),
        owner: long(owner),
        replicas: Vec::new(),
    };
    Command::Assign { assignments: shards.map(assignment).collect() }
}

async fn large_map(group: &Group) {
    for node in 0..2 {
        let join = Command::Join { node: long(node), zone: None, capacity: 100 };
        assert_eq!(group.propose(join).await, [Ok(())]);
    }
    for seen in 0..4 {
        for from in (0..MANY).step_by(MANY as usize / 2) {
            let command = assign(from..from + MANY / 2, seen, seen as u32 % 2);
            assert!(group.propose(command).await.iter().all(Result::is_ok));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn large_commands_reach_a_newcomer_in_messages_of_bounded_size() {
    let group = Group::with_shards(1, MANY).await;
    large_map(&group).await;
    group.open(1).await;
    group.add_voter(1).await;
    group.same_map().await;
    let sent = group.net.sent.lock().unwrap().clone();
    let most = sent.iter().map(|(_, bytes)| *bytes).max().unwrap();
    let sum: usize = sent.iter().map(|(_, bytes)| *bytes).sum();
    assert!(most <= MAX_MESSAGE_BYTES, "{most}");
    assert!(sum > MAX_MESSAGE_BYTES, "only {sum} bytes: nothing had to be cut");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_too_large_is_refused() {
    let group = Group::with_shards(1, MANY).await;
    let command = assign(0..MANY, 0, 0);
    let refused = group.node(0).propose(command).await;
    assert!(matches!(refused, Err(ProposeError::Command(_))), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains(&MAX_COMMAND_BYTES.to_string()));
    assert_eq!(group.propose(join(0, 1)).await, [Ok(())]);
}

#[tokio::test(start_paused = true)]
async fn the_log_is_bounded_and_a_newcomer_gets_a_snapshot_in_pieces() {
    let group = Group::with_shards(1, MANY).await;
    large_map(&group).await;
    for number in 1..=700 {
        assert_eq!(group.node(0).propose(join(9, number)).await, Ok(vec![Ok(())]));
    }
    let status = group.status(0, |status| status.snapshot > Some(500)).await;
    assert!(status.last_log >= Some(700));
    let bytes = std::fs::metadata(group.folder(0).join("raft.redb")).unwrap().len();
    assert!(bytes < 32 << 20, "{bytes} bytes");

    group.net.sent.lock().unwrap().clear();
    group.open(1).await;
    group.add_voter(1).await;
    assert_eq!(capacity(&*group.same_map().await, 9), Some(700));
    let pieces = group.net.sent.lock().unwrap().iter().filter(|sent| sent.0 == "snapshot").count();
    assert!(pieces > 1, "{pieces} pieces");

    // Both start from their snapshots, and the newcomer's has the map.
    group.restart(1).await;
    assert_eq!(capacity(&group.node(1).map(), 9), Some(700));
    group.restart(0).await;
    assert_eq!(group.propose(join(9, 7)).await, [Ok(())]);
    assert_eq!(capacity(&*group.same_map().await, 9), Some(7));
}

#[tokio::test(start_paused = true)]
async fn wrong_messages_are_refused_and_change_nothing() {
    let group = Group::of(1).await;
    let (node, id) = (group.node(0), group.id(0));
    let envelope = |cluster: &str, to: RaftId| {
        let vote =
            serde_json::json!({ "leader_id": { "term": 900, "node_id": 5 }, "committed": true });
        let body = serde_json::json!({ "vote": vote, "prev_log_id": null, "entries": [], "leader_commit": null });
        let whole = serde_json::json!({ "cluster": cluster, "from": 5, "to": to, "body": body });
        codec::encode(&whole, 1 << 20).unwrap()
    };
    let ours = super::group::CLUSTER.to_string();
    let theirs = uuid::Uuid::from_u128(9).to_string();
    let term = node.status().term;

    let other = node.receive("append", RaftId(1), &envelope(&ours, RaftId(1))).await;
    assert!(matches!(other, Err(ConsensusError::OtherRaftId { .. })), "{other:?}");
    let inside = node.receive("append", id, &envelope(&ours, RaftId(1))).await;
    assert!(matches!(inside, Err(ConsensusError::OtherRaftId { .. })), "{inside:?}");
    let cluster = node.receive("append", id, &envelope(&theirs, id)).await;
    assert!(matches!(cluster, Err(ConsensusError::OtherCluster { .. })), "{cluster:?}");
    let kind = node.receive("gossip", id, &envelope(&ours, id)).await;
    assert!(matches!(kind, Err(ConsensusError::UnknownKind(_))), "{kind:?}");
    let mut newer = envelope(&ours, id);
    newer[0] = 2;
    let huge = vec![1; MAX_MESSAGE_BYTES + 1];
    for bad in [&newer[..], b"", b"\x01", b"\x01{}", b"\x01[]", &huge] {
        for kind in ["append", "vote", "snapshot"] {
            let refused = node.receive(kind, id, bad).await;
            assert!(matches!(refused, Err(ConsensusError::Codec(_))), "{kind}: {refused:?}");
        }
    }
    assert_eq!(node.status().term, term);
    assert_eq!(group.propose(join(0, 1)).await, [Ok(())]);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_does_not_take_more_memory_than_a_map_may() {
    let group = Group::new(SHARDS);
    group.open(0).await;
    let (node, id) = (group.node(0), group.id(0));
    let vote = serde_json::json!({ "leader_id": { "term": 1, "node_id": 5 }, "committed": true });
    let membership =
        serde_json::json!({ "log_id": null, "membership": { "configs": [], "nodes": {} } });
    let meta = serde_json::json!({ "last_log_id": null, "last_membership": membership, "snapshot_id": "x" });
    for offset in [64 << 20, u64::MAX] {
        let body = serde_json::json!({ "vote": vote, "meta": meta, "offset": offset, "data": "AAAA", "done": false });
        let whole = serde_json::json!({ "cluster": super::group::CLUSTER, "from": 5, "to": id, "body": body });
        let payload = codec::encode(&whole, 1 << 20).unwrap();
        let refused = node.receive("snapshot", id, &payload).await;
        assert!(matches!(refused, Err(ConsensusError::Codec(_))), "{refused:?}");
    }
}

//! Clusters of whole nodes in one process.

use std::time::{Duration, Instant};

use aeterna_cluster::name::{Epoch, ShardId};
use aeterna_cluster::shard_map::Command;

use super::host::Event;
use super::nodes::{HEARTBEAT_TIMEOUT, Nodes, name, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_nodes_shards_move_to_the_others() {
    let mut nodes = Nodes::settled(3, 9).await;
    let before = nodes.map();
    for number in 0..3 {
        assert!((2..=4).contains(&nodes.owned(number).len()), "{before:?}");
    }
    assert!(before.shards().iter().all(|shard| shard.epoch == Epoch(1)));
    nodes.until("three vote", |nodes| nodes.vote(3)).await;

    // A node that neither leads nor claimed the cluster.
    let leader = nodes.leader().unwrap();
    let victim = (1..3).find(|number| *number != leader).unwrap();
    let lost = nodes.owned(victim);
    let killed = Instant::now();
    nodes.kill(victim).await;
    nodes
        .until("its shards are served elsewhere", |nodes| {
            nodes.all_served() && nodes.owned(victim).is_empty()
        })
        .await;
    let took = killed.elapsed();
    assert!(took >= HEARTBEAT_TIMEOUT - Duration::from_millis(200), "too soon: {took:?}");
    let after = nodes.map();
    for (number, (now, before)) in (0u32..).zip(after.shards().iter().zip(before.shards())) {
        let expected =
            if lost.contains(&ShardId(number)) { before.epoch.next() } else { before.epoch };
        assert_eq!(now.epoch, expected, "shard {number}");
    }

    // It comes back, and takes nothing.
    nodes.start(victim).await;
    nodes.until("it knows the map", |nodes| nodes.node(victim).router.map() == nodes.map()).await;
    assert!(nodes.owned(victim).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_may_be_the_one_that_stops() {
    let mut nodes = Nodes::settled(3, 6).await;
    nodes.until("three vote", |nodes| nodes.vote(3) && nodes.leader().is_some()).await;
    let leader = nodes.leader().unwrap();
    nodes.kill(leader).await;
    nodes
        .until("another leads, and its shards are served", |nodes| {
            nodes.leader().is_some() && nodes.all_served() && nodes.owned(leader).is_empty()
        })
        .await;
    let map = nodes.map();
    assert!(map.shards().iter().all(|shard| shard.epoch <= Epoch(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_hands_over_what_it_wrote() {
    let nodes = Nodes::settled(3, 6).await;
    // One that does not take part in the Raft group may drain, too: it has others propose for it.
    let leader = nodes.leader().unwrap();
    let leaving = (0..3).find(|number| *number != leader).unwrap();
    let owned = nodes.owned(leaving);
    for shard in &owned {
        nodes.node(leaving).host.write(*shard);
    }
    nodes.tell(leaving, |facts| facts.draining = true).await;
    let supervisor = nodes.node(leaving).supervisor.as_ref().unwrap();
    let drained = soon("drained", supervisor.drain(Duration::from_secs(30))).await;
    assert_eq!((&drained.handed_over, &drained.left, drained.closed), (&owned, &vec![], true));
    nodes.until("every shard is served", Nodes::all_served).await;
    for shard in owned {
        let owner = nodes.map().shard(shard).unwrap().owner.clone().unwrap();
        let owner = nodes.nodes.values().find(|node| node.name == owner).unwrap();
        assert_eq!(owner.host.writes(shard), Some(1), "what was written before the drain");
        // The new owner has fenced the old one off only after all was uploaded.
        let events = nodes.cold.of(shard);
        let place = |event: &(_, Event)| events.iter().position(|other| other == event);
        let copied = place(&(owner.name.clone(), Event::Copied(shard, Epoch(1))));
        let handed_over = place(&(name(leaving), Event::HandedOver(shard)));
        let activated = place(&(owner.name.clone(), Event::Activated(shard, Epoch(2))));
        assert!(copied.is_some() && copied < handed_over, "{events:?}");
        assert!(handed_over < activated, "{events:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_do_not_vote_follow_and_hand_over() {
    let nodes = Nodes::settled(5, 10).await;
    nodes.until("three vote", |nodes| nodes.vote(3)).await;
    let outside = (0..5).find(|number| !nodes.voters().contains(number)).unwrap();
    let status = nodes.node(outside).consensus.status();
    assert_eq!((status.voters.len(), status.applied), (0, None), "it takes no part in the group");
    let owned = nodes.owned(outside);
    assert!(!owned.is_empty());
    nodes.tell(outside, |facts| facts.draining = true).await;
    let supervisor = nodes.node(outside).supervisor.as_ref().unwrap();
    let drained = soon("drained", supervisor.drain(Duration::from_secs(30))).await;
    assert_eq!((drained.handed_over, drained.closed), (owned, true));
    nodes.until("every shard is served", Nodes::all_served).await;
    assert_eq!(nodes.voters().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_comes_back_without_its_disk_is_another() {
    let mut nodes = Nodes::new(6);
    nodes.rules.expected_nodes = 3;
    nodes.rules.disk_grace = Duration::from_secs(1);
    for number in 0..3 {
        nodes.start(number).await;
    }
    nodes.until("every shard is served", Nodes::all_served).await;
    nodes.until("three vote", |nodes| nodes.vote(3)).await;
    let leader = nodes.leader().unwrap();
    let victim = (1..3).find(|number| *number != leader).unwrap();
    let old = nodes.node(victim).consensus.raft_id();
    nodes.kill(victim).await;
    nodes.lose_disk(victim);
    nodes.start(victim).await;
    let new = nodes.node(victim).consensus.raft_id();
    assert_ne!(old, new);
    nodes
        .until("it votes under its new id, and not under the old one", |nodes| {
            nodes.nodes.values().all(|node| {
                let status = node.consensus.status();
                let voters = &status.voters;
                !status.changing
                    && (voters.len(), status.learners.len()) == (3, 0)
                    && voters.contains_key(&new)
                    && !voters.contains_key(&old)
            })
        })
        .await;
    nodes.until("every shard is served", Nodes::all_served).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_is_given_its_share_when_that_is_asked_for() {
    let mut nodes = Nodes::settled(1, 6).await;
    for shard in nodes.owned(0) {
        nodes.node(0).host.write(shard);
    }
    nodes.start(1).await;
    nodes
        .until("it is a member", |nodes| {
            nodes.node(1).router.map().members().len() == 2
                && nodes.node(1).membership.peers().borrow().len() == 2
        })
        .await;
    // Any node may be asked.
    let supervisor = nodes.node(1).supervisor.as_ref().unwrap();
    let balance = supervisor.plan_rebalance();
    let shards = |loads: &std::collections::BTreeMap<_, aeterna_cluster::supervisor::Load>| {
        loads.values().map(|load| load.shards).collect::<Vec<_>>()
    };
    assert_eq!(shards(&balance.before), [6, 0]);
    let after = shards(&balance.after);
    assert!(after[0] + after[1] == 6 && (2..=3).contains(&after[1]), "{after:?}");
    assert_eq!(nodes.owned(1), [], "a plan changes nothing");
    let rebalanced = supervisor.rebalance(Duration::from_secs(20)).await.unwrap();
    assert_eq!((rebalanced.begun.len() as u64, &rebalanced.refused), (after[1], &vec![]));
    nodes
        .until("they are served there", |nodes| {
            nodes.all_served() && nodes.owned(1) == rebalanced.begun
        })
        .await;
    for shard in rebalanced.begun {
        assert_eq!(nodes.node(1).host.writes(shard), Some(1));
    }
    assert!(supervisor.plan_rebalance().plan.changes.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_over() {
    let mut nodes = Nodes::new(6);
    (nodes.rules.expected_nodes, nodes.rules.copies) = (3, 2);
    for number in 0..3 {
        nodes.start(number).await;
    }
    let all_copied = |nodes: &Nodes| {
        nodes.all_served() && nodes.map().shards().iter().all(|shard| shard.replicas.len() == 1)
    };
    nodes.until("every shard has a replica", all_copied).await;
    nodes.until("three vote", |nodes| nodes.vote(3)).await;
    let before = nodes.map();
    let leader = nodes.leader().unwrap();
    let victim = (0..3).find(|number| *number != leader).unwrap();
    let lost = nodes.owned(victim);
    nodes.kill(victim).await;
    // Searches find a copy as soon as the owner is known to be gone.
    nodes
        .until("all can be asked", |nodes| {
            let plan = nodes.node(leader).router.plan_search();
            plan.unavailable.is_empty()
                && plan.by_node.iter().all(|(target, _)| target.name != name(victim))
        })
        .await;
    nodes.until("every shard has a replica again", all_copied).await;
    for shard in lost {
        let (before, after) = (before.shard(shard).unwrap(), nodes.map());
        let after = after.shard(shard).unwrap();
        assert_eq!((&after.owner, after.epoch), (&before.replicas.first().cloned(), Epoch(2)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_node_uploads_and_keeps_what_it_owns() {
    let nodes = Nodes::settled(1, 3).await;
    for shard in nodes.owned(0) {
        nodes.node(0).host.write(shard);
    }
    let supervisor = nodes.node(0).supervisor.as_ref().unwrap();
    let drained = soon("drained", supervisor.drain(Duration::from_secs(30))).await;
    assert_eq!((drained.handed_over.len(), drained.left.len(), drained.closed), (0, 3, true));
    let uploaded = |event: &&(_, Event)| matches!(event.1, Event::Released(_, true));
    assert_eq!(nodes.cold.events().iter().filter(uploaded).count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_left_comes_back() {
    let mut nodes = Nodes::settled(3, 6).await;
    let leader = nodes.leader().unwrap();
    let leaving = (1..3).find(|number| *number != leader).unwrap();
    nodes.tell(leaving, |facts| facts.draining = true).await;
    let supervisor = nodes.node(leaving).supervisor.as_ref().unwrap();
    let drained = soon("drained", supervisor.drain(Duration::from_secs(30))).await;
    assert_eq!((&drained.left, drained.closed), (&vec![], true), "{:#?}", supervisor.status());
    assert!(nodes.map().members()[&name(leaving)].leaving);
    nodes.node(leaving).membership.leave().await;
    nodes.kill(leaving).await;
    nodes.start(leaving).await;
    nodes
        .until("it is a member again", |nodes| !nodes.map().members()[&name(leaving)].leaving)
        .await;
    // Then it can be given shards again.
    let proposals = nodes.node(leaving).supervisor.as_ref().unwrap().proposals();
    let shard = ShardId(0);
    let pin = Command::Pin { shard, node: Some(name(leaving)) };
    let pinned = proposals.propose(&pin, Duration::from_secs(20)).await.unwrap();
    assert_eq!(pinned, [Ok(())]);
    nodes
        .until("it is served there", |nodes| nodes.owned(leaving) == [shard] && nodes.all_served())
        .await;
}

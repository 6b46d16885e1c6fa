//! Who is asked about a shard, and how a node comes by newer maps.

use std::sync::Arc;
use std::time::Duration;

use aeterna_cluster::gossip::Liveness;
use aeterna_cluster::name::{Epoch, ShardId};
use aeterna_cluster::router::{Router, Unavailable};
use aeterna_cluster::shard_map::{Assignment, Command, ShardMap};
use aeterna_cluster::supervisor::proposals::Proposals;
use aeterna_cluster::supervisor::{ProposeFailure, Supervisor, SupervisorConfig};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::fakes::{CLUSTER, Fake, name, peer};
use super::host::{Cold, Host};

const DEADLINE: Duration = Duration::from_secs(20);

fn router(fake: &Arc<Fake>) -> Arc<Router> {
    fake.parts(Arc::new(Host::new(name(0), &Arc::new(Cold::default())))).router
}

#[test]
fn a_plan_names_every_shard_once() {
    let fake = Fake::new(4, 6);
    for (shard, owner) in [(0, 0), (1, 1), (2, 2), (3, 3), (4, 1)] {
        fake.assign(shard, owner);
    }
    fake.assign(1, 0);
    fake.assign(1, 1);
    fake.see(1, |peer| peer.suspected = true);
    fake.see(2, |peer| peer.liveness = Liveness::Dead);
    // Whoever was only heard of may be asked: that it is gone is not known.
    fake.see(3, |peer| peer.liveness = Liveness::HeardOf);
    let router = router(&fake);
    assert_eq!(router.plan_search().unavailable.len(), 6, "there is no map yet");
    assert!(router.offer(&fake.map.borrow()));
    let plan = router.plan_search();
    let told: Vec<String> = plan
        .by_node
        .iter()
        .map(|(target, shards)| {
            let shards = shards.iter().map(|(shard, epoch)| format!(" {shard}@{epoch}"));
            let suspected = if target.suspected { "?" } else { "" };
            format!("{}{suspected}{}", target.name, shards.collect::<String>())
        })
        .collect();
    assert_eq!(told, ["node-0 0@1", "node-1? 1@3 4@1", "node-3 3@1"]);
    let unavailable =
        [(ShardId(2), Unavailable::Down(name(2))), (ShardId(5), Unavailable::NoOwner)];
    assert_eq!(plan.unavailable, unavailable);
    assert!(Arc::ptr_eq(&plan, &router.plan_search()), "it is made once");
    fake.see(2, |peer| peer.liveness = Liveness::Alive);
    assert_eq!(router.plan_search().by_node.len(), 4);

    let owner = router.owner(ShardId(4)).unwrap();
    assert_eq!((owner.target.address, owner.epoch), (peer(1).grpc, Epoch(1)));
    assert_eq!(router.owner(ShardId(5)), Err(Unavailable::NoOwner));
    assert_eq!(router.owner(ShardId(6)), Err(Unavailable::UnknownShard(ShardId(6))));
    assert_eq!(router.shard_of(6 * 7 + 4), ShardId(4));
}

#[test]
fn a_copy_is_asked_when_the_owner_is_gone() {
    let fake = Fake::new(3, 1);
    let router = router(&fake);
    let assign = |seen: u64, replicas: &[u64]| {
        let replicas = replicas.iter().map(|number| name(*number)).collect();
        let (shard, seen) = (ShardId(0), Epoch(seen));
        let assignment = Assignment { shard, seen, owner: name(1), replicas };
        fake.apply(Command::Assign { assignments: vec![assignment] });
        router.offer(&fake.map.borrow());
    };
    let asked = || {
        let plan = router.plan_search();
        plan.by_node.iter().map(|(target, _)| target.name.to_string()).collect::<String>()
    };
    let holders = || {
        let (targets, epoch) = router.holders(ShardId(0));
        let names = targets.iter().map(|target| format!("{} ", target.name)).collect::<String>();
        (names, epoch)
    };
    assert_eq!(holders(), (String::new(), Epoch(0)));
    assign(0, &[2]);
    assert_eq!((asked().as_str(), holders().0.as_str()), ("node-1", "node-1 node-2 "));
    assert_eq!(holders().1, Epoch(1));
    fake.see(1, |peer| peer.suspected = true);
    assert_eq!((asked().as_str(), holders().0.as_str()), ("node-2", "node-2 node-1 "));
    fake.see(2, |peer| peer.suspected = true);
    assert_eq!(asked(), "node-1");
    fake.see(1, |peer| peer.liveness = Liveness::Dead);
    assert_eq!((asked().as_str(), holders().0.as_str()), ("node-2", "node-2 "));
    fake.see(2, |peer| peer.liveness = Liveness::Dead);
    assert_eq!(asked(), "");
    let down = [(ShardId(0), Unavailable::Down(name(1)))];
    assert_eq!(router.plan_search().unavailable, down);
    // What is written goes to the owner alone.
    assert_eq!(router.owner(ShardId(0)), Err(Unavailable::Down(name(1))));
}

#[test]
fn only_newer_maps_of_this_cluster_are_taken() {
    let fake = Fake::new(2, 2);
    let router = router(&fake);
    let old = Arc::clone(&fake.map.borrow());
    fake.assign(0, 0);
    let new = Arc::clone(&fake.map.borrow());
    assert!(router.offer(&new) && !router.offer(&old) && !router.offer(&new));
    let mut other = ShardMap::new(Uuid::from_u128(4), 2);
    let mut larger = ShardMap::new(CLUSTER, 3);
    for _ in 0..20 {
        for map in [&mut other, &mut larger] {
            map.apply(Command::Join { node: name(1), zone: None, capacity: 100 });
        }
    }
    assert!(!router.offer(&Arc::new(other)) && !router.offer(&Arc::new(larger)));
    assert_eq!(router.map(), new);
}

#[tokio::test(start_paused = true)]
async fn newer_maps_are_pulled_from_who_has_the_newest() {
    let fake = Fake::new(4, 2);
    let router = router(&fake);
    for (number, version) in [(1, 2), (2, 9), (3, 5)] {
        fake.see(number, |peer| peer.map_version = version);
    }
    assert_eq!(router.newest_heard_of(), 9);
    // Nobody can be asked for what the dead had.
    fake.see(4, |peer| (peer.map_version, peer.liveness) = (u64::MAX, Liveness::Dead));
    assert_eq!(router.newest_heard_of(), 9);
    let map = ShardMap::clone(&fake.map.borrow());
    let version = map.version();
    fake.remote.lock().unwrap().insert(name(3), map);
    // Node 2 does not answer; node 3 does.
    let refreshed = router.refresh(version, DEADLINE).await.unwrap();
    assert_eq!(refreshed.version(), version);
    assert_eq!(*fake.asked.lock().unwrap(), [name(2), name(3)]);
    let error = router.refresh(version + 1, DEADLINE).await.unwrap_err();
    assert_eq!((error.wanted, error.have), (version + 1, version));
    assert!(error.to_string().contains("nobody listens"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_node_outside_the_group_follows_the_gossip() {
    let fake = Fake::that_follows(2, 2);
    let elsewhere = Fake::new(2, 2);
    elsewhere.assign(0, 0);
    let map = ShardMap::clone(&elsewhere.map.borrow());
    // This node's own log is empty.
    fake.map.send_replace(Arc::new(ShardMap::new(CLUSTER, 2)));
    let host = Arc::new(Host::new(name(0), &Arc::new(Cold::default())));
    let parts = fake.parts(host.clone());
    let router = parts.router.clone();
    let _supervisor = Supervisor::start(SupervisorConfig::default(), parts);
    sleep(Duration::from_secs(5)).await;
    assert!(fake.asked.lock().unwrap().is_empty(), "nobody has a newer one");
    fake.remote.lock().unwrap().insert(name(1), map.clone());
    fake.see(1, |peer| peer.map_version = map.version());
    let mut maps = router.watch();
    let since = Instant::now();
    maps.wait_for(|newest| newest.version() == map.version()).await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(1));
    while host.serving().is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(fake.addresses.lock().unwrap()[&name(1)], peer(1).grpc);
}

fn proposals(fake: &Arc<Fake>) -> Arc<Proposals> {
    Proposals::new(name(0), fake.clone(), fake.clone(), fake.clone())
}

#[tokio::test(start_paused = true)]
async fn proposals_find_the_leader() {
    let fake = Fake::new(4, 1);
    fake.raft.lock().unwrap().leads = false;
    *fake.leader.lock().unwrap() = Some(name(3));
    let proposals = proposals(&fake);
    let leave = Command::Leave { node: name(0) };
    assert_eq!(proposals.propose(&leave, DEADLINE).await, Ok(vec![Ok(())]));
    assert_eq!(proposals.leader().unwrap().name, name(3));
    fake.asked.lock().unwrap().clear();
    // Next time it is known.
    assert_eq!(proposals.propose(&leave, DEADLINE).await, Ok(vec![Ok(())]));
    assert_eq!(*fake.asked.lock().unwrap(), [name(3)]);
    // When another leads, it is looked for again.
    *fake.leader.lock().unwrap() = Some(name(1));
    assert_eq!(proposals.propose(&leave, DEADLINE).await, Ok(vec![Ok(())]));
    assert_eq!(proposals.leader().unwrap().name, name(1));
}

#[tokio::test(start_paused = true)]
async fn proposals_wait_for_a_leader_and_not_for_ever() {
    let fake = Fake::that_follows(3, 1);
    *fake.leader.lock().unwrap() = None;
    let proposals = proposals(&fake);
    let leave = Command::Leave { node: name(0) };
    let since = Instant::now();
    let none = proposals.propose(&leave, DEADLINE).await;
    assert_eq!(none, Err(ProposeFailure::NotLeader { leader: None }));
    assert_eq!(since.elapsed(), DEADLINE);
    assert!(fake.commands.lock().unwrap().is_empty());
    let waiting = proposals.propose(&leave, DEADLINE);
    let elected = async {
        sleep(Duration::from_secs(3)).await;
        *fake.leader.lock().unwrap() = Some(name(2));
    };
    let (outcome, ()) = tokio::join!(waiting, elected);
    assert_eq!(outcome, Ok(vec![Ok(())]));
}

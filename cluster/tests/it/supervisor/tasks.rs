//! The supervisor's tasks over fakes, by a clock that jumps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aeterna_cluster::gossip::Liveness;
use aeterna_cluster::name::{Epoch, ShardId};
use aeterna_cluster::shard_map::{Assignment, Command};
use aeterna_cluster::supervisor::{HeldState, ShardHost, Supervisor, SupervisorConfig};
use tokio::time::{Instant, sleep};

use super::fakes::{Fake, name};
use super::host::{Cold, Event, Host};

struct Node {
    fake: Arc<Fake>,
    host: Arc<Host>,
    cold: Arc<Cold>,
    supervisor: Supervisor,
}

fn start(fake: Arc<Fake>, host: impl FnOnce(Host) -> Host) -> Node {
    let cold = Arc::new(Cold::default());
    let host = Arc::new(host(Host::new(name(0), &cold)));
    let config = SupervisorConfig { activations_at_once: 2, ..SupervisorConfig::default() };
    let supervisor = Supervisor::start(config, fake.parts(host.clone()));
    Node { fake, host, cold, supervisor }
}

impl Node {
    /// Waits until something is so; the clock jumps from one timer to the next.
    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let since = Instant::now();
        while !is_so(self) {
            assert!(since.elapsed() < Duration::from_secs(600), "{what}: {:?}", self.cold.events());
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn serves(&self, expected: &[(u32, u64)]) -> bool {
        let expected = expected.iter().map(|(shard, epoch)| (ShardId(*shard), Epoch(*epoch)));
        self.host.serving() == expected.collect::<BTreeMap<_, _>>()
    }

    fn events(&self) -> Vec<Event> {
        self.cold.events().into_iter().map(|(_, event)| event).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_holds_what_it_owns() {
    let fake = Fake::that_follows(2, 4);
    fake.assign(0, 0);
    fake.assign(1, 1);
    fake.assign(2, 0);
    let node = start(fake, |host| host);
    node.until("two are served", |node| node.serves(&[(0, 1), (2, 1)])).await;
    // Lost, and another one got; all within one change of the map or two.
    node.fake.assign(0, 1);
    node.fake.assign(1, 0);
    node.until("others are served", |node| node.serves(&[(1, 2), (2, 1)])).await;
    assert!(node.events().contains(&Event::Released(ShardId(0), false)));
    // Lost and got back between two looks.
    node.fake.assign(2, 1);
    node.fake.assign(2, 0);
    node.until("again under a new epoch", |node| node.serves(&[(1, 2), (2, 3)])).await;
    assert_eq!(node.supervisor.status().doing, BTreeMap::new());
}

#[tokio::test(start_paused = true)]
async fn few_are_restored_at_once_and_the_smallest_first() {
    let fake = Fake::that_follows(2, 5);
    (0..5).for_each(|shard| fake.assign(shard, 0));
    let sizes = [50, 10, 40, 20, 30];
    fake.see(1, |peer| {
        peer.shard_bytes = (0u32..).map(ShardId).zip(sizes).collect();
    });
    let node = start(fake, |host| host);
    node.host.set_gate(false);
    node.until("two are begun", |node| node.supervisor.status().doing.len() == 2).await;
    sleep(Duration::from_secs(60)).await;
    let doing: Vec<ShardId> = node.supervisor.status().doing.into_keys().collect();
    assert_eq!(doing, [ShardId(1), ShardId(3)]);
    node.host.set_gate(true);
    node.until("all are served", |node| node.host.serving().len() == 5).await;
    assert_eq!(node.host.most_at_once(), 2);
    let order = node.events().into_iter().map(|event| match event {
        Event::Activated(shard, _) => shard.0,
        other => panic!("{other:?}"),
    });
    let mut order: Vec<u32> = order.collect();
    // The first two came at the same time.
    order[..2].sort_unstable();
    assert_eq!(order, [1, 3, 4, 2, 0]);
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_later_and_later() {
    let fake = Fake::that_follows(2, 1);
    fake.assign(0, 0);
    let node = start(fake, |host| host);
    node.host.fail(4);
    let since = Instant::now();
    node.until("it has failed once", |node| node.host.failures_left() < 4).await;
    sleep(Duration::from_millis(20)).await;
    let status = node.supervisor.status();
    assert_eq!(status.doing[&ShardId(0)].failures, 1);
    assert!(status.failures[0].what.contains("does not answer"), "{:?}", status.failures);
    node.until("it is served", |node| node.serves(&[(0, 1)])).await;
    let took = since.elapsed();
    // 250 ms, 500 ms, 1 s, 2 s.
    assert!((3_750..4_500).contains(&took.as_millis()), "{took:?}");
    let status = node.supervisor.status();
    assert_eq!((status.doing.len(), status.failures.len()), (0, 4));
    // A shard that the host has lost is opened again.
    node.host.lose(ShardId(0));
    node.until("again", |node| node.serves(&[(0, 1)])).await;
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_moves_is_uploaded_before_its_owner_changes() {
    for serves_on in [false, true] {
        let fake = Fake::that_follows(2, 1);
        fake.assign(0, 0);
        let node = start(fake, |host| if serves_on { host.that_serves_on() } else { host });
        node.until("it is served", |node| node.serves(&[(0, 1)])).await;
        node.host.write(ShardId(0));
        let (shard, seen) = (ShardId(0), Epoch(1));
        let begin = Command::BeginMove { shard, seen, to: name(1) };
        assert_eq!(node.fake.apply(begin), [Ok(())]);
        // It goes on writing until there is a copy.
        sleep(Duration::from_secs(60)).await;
        assert!(node.serves(&[(0, 1)]));
        node.host.fail(2);
        assert_eq!(node.fake.apply(Command::Copied { shard, seen }), [Ok(())]);
        let moved = |node: &Node| {
            let map = node.fake.map.borrow();
            let shard = map.shard(ShardId(0)).unwrap();
            (shard.owner.clone(), shard.epoch) == (Some(name(1)), Epoch(2))
        };
        // While the upload fails, it stays where it is.
        node.until("an upload has failed", |node| node.host.failures_left() < 2).await;
        assert!(!moved(&node));
        node.until("it has moved", moved).await;
        assert_eq!(
            *node.fake.commands.lock().unwrap(),
            [Command::EndMove { shard: ShardId(0), seen: Epoch(1) }]
        );
        node.until("it is closed", |node| node.host.held().is_empty()).await;
        // The new owner finds what was written.
        let other = Host::new(name(1), &node.cold);
        other.activate(ShardId(0), Epoch(2)).await.unwrap();
        assert_eq!(other.writes(ShardId(0)), Some(1));
    }
}

#[tokio::test(start_paused = true)]
async fn who_gets_a_shard_copies_it_and_says_so() {
    for makes_copies in [false, true] {
        let fake = Fake::that_follows(2, 1);
        fake.assign(0, 1);
        let node = start(fake, |host| if makes_copies { host.that_serves_on() } else { host });
        node.host.fail(2);
        let (shard, seen) = (ShardId(0), Epoch(1));
        node.fake.apply(Command::BeginMove { shard, seen, to: name(0) });
        let is_copied = |node: &Node| node.fake.map.borrow().shard(shard).unwrap().copied;
        node.until("a copy has failed", |node| node.host.failures_left() < 2).await;
        assert!(!is_copied(&node));
        node.until("it is copied", is_copied).await;
        assert_eq!(node.host.copies().len(), usize::from(makes_copies));
        // It is said once.
        sleep(Duration::from_secs(60)).await;
        assert_eq!(*node.fake.commands.lock().unwrap(), [Command::Copied { shard, seen }]);
        node.fake.apply(Command::EndMove { shard, seen });
        node.until("it is served", |node| node.serves(&[(0, 2)])).await;
        assert_eq!(node.host.held().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_come_and_go_with_the_map() {
    let fake = Fake::that_follows(2, 2);
    for (shard, owner) in [(0, 1), (1, 1)] {
        fake.assign(shard, owner);
    }
    let node = start(fake, |host| host.that_serves_on());
    let replicate = |replicas: &[u64]| {
        let (shard, seen) = (ShardId(0), Epoch(1));
        let replicas = replicas.iter().map(|number| name(*number)).collect();
        let assignment = Assignment { shard, seen, owner: name(1), replicas };
        node.fake.apply(Command::Assign { assignments: vec![assignment] });
    };
    let copies = BTreeMap::from([(ShardId(0), Epoch(1))]);
    replicate(&[0]);
    node.until("it is copied", |node| node.host.copies() == copies).await;
    replicate(&[]);
    node.until("the copy is gone", |node| node.host.held().is_empty()).await;
    replicate(&[0]);
    node.until("it is copied again", |node| node.host.copies() == copies).await;
    // A copy that is lost is made anew.
    node.host.lose(ShardId(0));
    node.until("it is copied again", |node| node.host.copies() == copies).await;
    assert!(node.fake.commands.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_shard_is_not_handed_to_the_dead() {
    let fake = Fake::that_follows(3, 1);
    fake.assign(0, 0);
    fake.see(2, |peer| peer.liveness = Liveness::Dead);
    let node = start(fake, |host| host.that_serves_on());
    node.until("it is served", |node| node.serves(&[(0, 1)])).await;
    let (shard, seen) = (ShardId(0), Epoch(1));
    node.fake.apply(Command::BeginMove { shard, seen, to: name(2) });
    node.fake.apply(Command::Copied { shard, seen });
    sleep(Duration::from_secs(60)).await;
    assert!(node.serves(&[(0, 1)]));
    assert!(node.fake.commands.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_move_that_is_given_up_leaves_the_owner_writing() {
    for serves_on in [false, true] {
        let fake = Fake::that_follows(2, 1);
        fake.assign(0, 0);
        let node = start(fake, |host| if serves_on { host.that_serves_on() } else { host });
        node.until("it is served", |node| node.serves(&[(0, 1)])).await;
        // Nobody leads: the move cannot be ended.
        *node.fake.leader.lock().unwrap() = None;
        let (shard, seen) = (ShardId(0), Epoch(1));
        node.fake.apply(Command::BeginMove { shard, seen, to: name(1) });
        node.fake.apply(Command::Copied { shard, seen });
        node.until("it is handed over", |node| node.host.serving().is_empty()).await;
        assert_eq!(node.host.held().len(), usize::from(serves_on));
        node.fake.apply(Command::AbortMove { shard, seen });
        node.until("it is served again", |node| node.serves(&[(0, 1)])).await;
        assert_eq!(node.host.held()[0].state, HeldState::Serving);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_asks_a_quorum_before_it_decides() {
    let fake = Fake::new(2, 2);
    fake.has_quorum.send_replace(false);
    let node = start(fake, |host| host);
    let mut asked = node.fake.confirmations.subscribe();
    asked.wait_for(|asked| *asked > 10).await.unwrap();
    assert!(node.fake.commands.lock().unwrap().is_empty());
    node.fake.has_quorum.send_replace(true);
    let all_owned = |node: &Node| {
        node.fake.map.borrow().shards().iter().all(|shard| shard.owner == Some(name(0)))
    };
    node.fake.see(1, |peer| peer.ready = false);
    node.until("shards are given out", all_owned).await;
    assert!(node.supervisor.status().leads);
    // With nothing to decide, nobody is asked.
    sleep(Duration::from_secs(2)).await;
    asked.mark_unchanged();
    sleep(Duration::from_secs(5)).await;
    assert!(!asked.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_leader_gives_the_shards_of_the_dead_away() {
    let fake = Fake::new(2, 4);
    let node = start(fake, |host| host);
    let owned = |node: &Node, number: u64| {
        let map = node.fake.map.borrow();
        map.shards().iter().filter(|shard| shard.owner == Some(name(number))).count()
    };
    node.until("shards are given out", |node| owned(node, 0) + owned(node, 1) == 4).await;
    assert!(owned(&node, 1) > 0);
    // Who has not watched for a whole timeout cannot say that another was silent for one.
    sleep(Duration::from_secs(20)).await;
    let silent_since = Instant::now();
    node.fake.see(1, |peer| {
        peer.liveness = Liveness::Dead;
        peer.heartbeat_age = Duration::from_secs(11);
    });
    node.until("this node serves all", |node| node.host.serving().len() == 4).await;
    assert!(silent_since.elapsed() < Duration::from_secs(2), "{:?}", silent_since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_group_grows_beside_the_rest() {
    let fake = Fake::new(3, 1);
    let node = start(fake, |host| host);
    node.until("a learner is added", |node| !node.fake.changes.lock().unwrap().is_empty()).await;
    assert_eq!(node.fake.changes.lock().unwrap()[0], "add 101");
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_at_its_deadline() {
    let fake = Fake::that_follows(2, 2);
    fake.assign(0, 0);
    fake.assign(1, 0);
    let node = start(fake, |host| host);
    node.until("two are served", |node| node.host.serving().len() == 2).await;
    // The leader does nothing about it.
    let since = Instant::now();
    let drained = node.supervisor.drain(Duration::from_secs(20)).await;
    assert_eq!(since.elapsed(), Duration::from_secs(20));
    assert_eq!(drained.left.len(), 2);
    let leave = Command::Leave { node: name(0) };
    assert_eq!(*node.fake.commands.lock().unwrap(), [leave]);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_is_uploaded() {
    let fake = Fake::that_follows(2, 2);
    fake.assign(0, 0);
    fake.assign(1, 0);
    fake.see(1, |peer| peer.draining = true);
    let node = start(fake, |host| host);
    node.until("two are served", |node| node.host.serving().len() == 2).await;
    let drained = node.supervisor.drain(Duration::from_secs(20)).await;
    assert_eq!((drained.left.len(), drained.closed), (2, true));
    assert!(node.fake.commands.lock().unwrap().is_empty(), "there is nobody to leave it to");
    for shard in [ShardId(0), ShardId(1)] {
        assert!(node.events().contains(&Event::Released(shard, true)));
    }
    // It opens nothing any more.
    sleep(Duration::from_secs(60)).await;
    assert!(node.host.held().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_left_before_its_restart_says_that_it_is_back() {
    let fake = Fake::that_follows(2, 1);
    fake.apply(Command::Leave { node: name(0) });
    let node = start(fake, |host| host);
    let is_leaving = |node: &Node| node.fake.map.borrow().members()[&name(0)].leaving;
    node.until("it is back", |node| !is_leaving(node)).await;
    // A little later it is told to leave, while it runs.
    sleep(Duration::from_secs(2)).await;
    node.fake.apply(Command::Leave { node: name(0) });
    sleep(Duration::from_secs(60)).await;
    assert!(is_leaving(&node));
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_map_is_older_than_its_leave_is_still_back_when_it_hears_of_that() {
    let fake = Fake::that_follows(2, 1);
    fake.see(1, |peer| peer.map_version = 99);
    let node = start(fake, |host| host);
    sleep(Duration::from_secs(5)).await;
    // From before its restart.
    node.fake.apply(Command::Leave { node: name(0) });
    let is_leaving = |node: &Node| node.fake.map.borrow().members()[&name(0)].leaving;
    node.until("it is back", |node| !is_leaving(node)).await;
}

#[tokio::test(start_paused = true)]
async fn a_leave_that_is_agreed_on_after_the_restart_comes_before_the_return() {
    let fake = Fake::that_follows(2, 1);
    let node = start(fake, |host| host);
    // It says so though its map has nothing of its leave, which may be in a log and not agreed on.
    let returns = |node: &Node| node.fake.returns.load(Ordering::Relaxed);
    node.until("it has said that it is back", |node| returns(node) > 0).await;
    // Once.
    sleep(Duration::from_secs(60)).await;
    assert_eq!(returns(&node), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_says_that_it_is_back_once_somebody_leads() {
    let fake = Fake::that_follows(2, 1);
    let leader = fake.leader.lock().unwrap().take();
    let node = start(fake, |host| host);
    sleep(Duration::from_secs(120)).await;
    *node.fake.leader.lock().unwrap() = leader;
    // Who leads by now has it in its log from before the restart.
    node.fake.apply(Command::Leave { node: name(0) });
    let is_leaving = |node: &Node| node.fake.map.borrow().members()[&name(0)].leaving;
    node.until("it is back", |node| !is_leaving(node)).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_node_says_before_it_drains_is_heard_before_it_leaves() {
    let fake = Fake::that_follows(2, 1);
    *fake.return_takes.lock().unwrap() = Duration::from_secs(2);
    let node = start(fake, |host| host);
    node.until("it says that it is back", |node| !node.fake.asked.lock().unwrap().is_empty()).await;
    node.supervisor.drain(Duration::from_secs(30)).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(node.fake.returns.load(Ordering::Relaxed), 1);
    assert!(node.fake.map.borrow().members()[&name(0)].leaving);
}

//! What the leader does, in small situations.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod voters;

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Action, Situation, decide};
use crate::consensus::{RaftId, RaftNode};
use crate::gossip::Liveness;
use crate::name::{Epoch, NodeName, ShardId};
use crate::shard_map::{Assignment, Command, ShardMap};
use crate::supervisor::memory::Memory;
use crate::supervisor::rules::Rules;
use crate::supervisor::view::{PeerView, PeersView, RaftView};

const TICK: Duration = Duration::from_millis(500);

fn name(number: u64) -> NodeName {
    format!("node-{number}").parse().unwrap()
}

fn member(number: u64) -> RaftNode {
    RaftNode { name: name(number), address: address(number) }
}

fn address(number: u64) -> String {
    format!("127.0.0.1:{}", 7_000 + number)
}

fn peer(number: u64) -> PeerView {
    PeerView {
        generation: 1,
        grpc: address(number),
        raft_id: Some(RaftId(100 + number)),
        zone: None,
        capacity: 100,
        ready: true,
        draining: false,
        full: false,
        map_version: 0,
        shards_serving: 0,
        shard_bytes: BTreeMap::new(),
        heartbeat_age: Duration::ZERO,
        suspected: false,
        liveness: Liveness::Alive,
    }
}

/// A cluster in one process, with a clock of its own, that does whatever is decided.
struct World {
    map: ShardMap,
    peers: PeersView,
    raft: RaftView,
    memory: Memory,
    rules: Rules,
    now: Duration,
    silent: Vec<NodeName>,
}

impl World {
    /// Node 0 leads and votes alone; nobody is a member yet.
    fn new(nodes: u64, shards: u32) -> Self {
        let voters = BTreeMap::from([(RaftId(100), member(0))]);
        let raft = RaftView {
            id: RaftId(100),
            term: 1,
            leads: true,
            leader: None,
            voters,
            ..RaftView::default()
        };
        Self {
            map: ShardMap::new(uuid::Uuid::from_u128(1), shards),
            peers: (0..nodes).map(|number| (name(number), peer(number))).collect(),
            raft,
            memory: Memory::default(),
            rules: Rules::default(),
            now: Duration::from_secs(1_000),
            silent: Vec::new(),
        }
    }

    /// One in which everything has come to rest.
    fn settled(nodes: u64, shards: u32) -> Self {
        let mut world = Self::new(nodes, shards);
        world.run(Duration::from_secs(20));
        assert_eq!(world.look(), []);
        assert!(world.map.shards().iter().all(|shard| shard.owner.is_some()));
        world
    }

    fn look(&mut self) -> Vec<Action> {
        for name in &self.silent {
            let peer = self.peers.get_mut(name);
            let silent = peer.filter(|peer| peer.heartbeat_age > self.rules.heartbeat_timeout);
            if let Some(peer) = silent {
                peer.liveness = Liveness::Dead;
            }
        }
        self.memory.observe(&self.map, &self.peers, &self.raft, self.now, &self.rules);
        let Self { map, peers, raft, memory, rules, now, .. } = self;
        decide(&Situation { map, peers, raft, memory, rules, now: *now })
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for name in &self.silent {
            if let Some(peer) = self.peers.get_mut(name) {
                peer.heartbeat_age += time;
            }
        }
    }

    /// Lets time pass, looks every so often and does what is decided. All that was done, in order.
    fn run(&mut self, time: Duration) -> Vec<Action> {
        let mut done = Vec::new();
        let end = self.now + time;
        while self.now < end {
            self.pass(TICK);
            for action in self.look() {
                self.carry_out(&action);
                done.push(action);
            }
        }
        done
    }

    fn carry_out(&mut self, action: &Action) {
        match action.clone() {
            Action::Propose(command) => {
                let outcome = self.map.apply(command);
                assert!(outcome.iter().all(Result::is_ok), "{action:?}: {outcome:?}");
            }
            Action::AddLearner { id, member } => {
                let voter = self.raft.voters.get_mut(&id);
                match voter.or(self.raft.learners.get_mut(&id)) {
                    Some(known) => assert_ne!(std::mem::replace(known, member.clone()), member),
                    None => _ = self.raft.learners.insert(id, member),
                }
            }
            Action::ChangeVoters { add, remove } => {
                for id in &add {
                    let member = self.raft.learners.remove(id).unwrap();
                    self.raft.voters.insert(*id, member);
                }
                assert!(remove.iter().all(|id| self.raft.voters.remove(id).is_some()));
                assert_eq!(self.raft.voters.len() % 2, 1, "{action:?}: {:?}", self.raft.voters);
            }
            Action::Settle => self.raft.changing = false,
            Action::RemoveLearner(id) => assert!(self.raft.learners.remove(&id).is_some()),
        }
    }

    fn silence(&mut self, number: u64) {
        self.silent.push(name(number));
    }

    fn hear(&mut self, number: u64) {
        self.silent.retain(|silent| *silent != name(number));
        let peer = self.peers.entry(name(number)).or_insert_with(|| peer(number));
        (peer.heartbeat_age, peer.liveness) = (Duration::ZERO, Liveness::Alive);
    }

    fn owned(&self, number: u64) -> Vec<ShardId> {
        let shards = (0u32..).map(ShardId).zip(self.map.shards());
        shards
            .filter(|(_, shard)| shard.owner == Some(name(number)))
            .map(|(number, _)| number)
            .collect()
    }

    fn voters(&self) -> Vec<u64> {
        self.raft.voters.keys().map(|id| id.0).collect()
    }
}

fn commands(actions: &[Action]) -> Vec<&Command> {
    fn command(action: &Action) -> Option<&Command> {
        match action {
            Action::Propose(command) => Some(command),
            _ => None,
        }
    }
    actions.iter().filter_map(command).collect()
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_young_cluster_waits_for_its_nodes() {
    let mut world = World::new(1, 8);
    world.rules.expected_nodes = 3;
    let first = world.run(secs(10));
    let joined = Command::Join { node: name(0), zone: None, capacity: 100 };
    assert_eq!(first, [Action::Propose(joined)]);
    world.hear(1);
    world.run(secs(10));
    assert!(world.owned(0).is_empty() && world.owned(1).is_empty());
    world.hear(2);
    // A little later: more may be on their way.
    let actions = world.run(secs(2));
    assert!(commands(&actions).iter().all(|command| matches!(command, Command::Join { .. })));
    let actions = world.run(secs(5));
    let commands = commands(&actions);
    let [Command::Assign { assignments }] = commands[..] else { panic!("{commands:?}") };
    assert_eq!(assignments.len(), 8);
    assert!((0..3).all(|number| world.owned(number).len() >= 2));
    assert!(world.map.shards().iter().all(|shard| shard.epoch == Epoch(1)));
}

#[test]
fn those_who_do_not_come_are_not_waited_for_for_ever() {
    let mut world = World::new(2, 4);
    world.rules.expected_nodes = 3;
    world.run(secs(59));
    assert!(world.map.shards().iter().all(|shard| shard.owner.is_none()));
    world.run(secs(3));
    assert!(world.map.shards().iter().all(|shard| shard.owner.is_some()));
}

#[test]
fn newcomers_join_and_take_nothing() {
    let mut world = World::settled(1, 4);
    assert_eq!(world.owned(0).len(), 4);
    world.hear(1);
    world.peers.get_mut(&name(1)).unwrap().zone = Some("b".to_owned());
    let joined = Command::Join { node: name(1), zone: Some("b".to_owned()), capacity: 100 };
    assert_eq!(world.run(secs(60)), [Action::Propose(joined)]);
    // What changes of it is told once.
    world.peers.get_mut(&name(1)).unwrap().capacity = 50;
    let changed = Command::Join { node: name(1), zone: Some("b".to_owned()), capacity: 50 };
    assert_eq!(world.run(secs(60)), [Action::Propose(changed)]);
    // Those who are not ready, or about to go, are not joined.
    world.hear(2);
    world.peers.get_mut(&name(2)).unwrap().ready = false;
    world.hear(3);
    world.peers.get_mut(&name(3)).unwrap().draining = true;
    assert_eq!(world.run(secs(60)), []);
}

#[test]
fn newcomers_are_given_their_share_where_that_is_wanted() {
    let mut world = World::settled(1, 8);
    world.rules.rebalance = true;
    world.hear(1);
    world.peers.get_mut(&name(0)).unwrap().shards_serving = 8;
    let actions = world.run(secs(2));
    let moves = commands(&actions).into_iter().filter(|command| {
        matches!(command, Command::BeginMove { seen: Epoch(1), to, .. } if *to == name(1))
    });
    assert!((3..=4).contains(&moves.count()), "{actions:?}");
    // While they are under way nothing more is moved.
    assert_eq!(world.run(secs(120)), []);
}

#[test]
fn the_dead_lose_their_shards_after_their_timeout() {
    let mut world = World::settled(3, 9);
    let lost = world.owned(1);
    assert!(lost.len() >= 2);
    world.silence(1);
    assert_eq!(world.run(secs(10)), []);
    let actions = world.run(2 * TICK);
    let [Action::Propose(Command::Assign { assignments })] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(assignments.iter().map(|assignment| assignment.shard).collect::<Vec<_>>(), lost);
    for Assignment { seen, owner, .. } in assignments {
        assert_eq!(*seen, Epoch(1));
        assert_ne!(*owner, name(1));
    }
    for shard in lost {
        assert_eq!(world.map.shard(shard).unwrap().epoch, Epoch(2));
    }
    assert_eq!(world.run(secs(60)), []);
}

#[test]
fn one_that_gossip_has_forgotten_is_dead_too() {
    let mut world = World::settled(3, 9);
    world.peers.remove(&name(2));
    assert_eq!(world.run(secs(10)), []);
    world.run(2 * TICK);
    assert!(world.owned(2).is_empty());
}

#[test]
fn one_that_said_goodbye_is_not_waited_for() {
    let mut world = World::settled(3, 9);
    world.peers.get_mut(&name(2)).unwrap().liveness = Liveness::Left;
    world.run(2 * TICK);
    assert!(world.owned(2).is_empty());
    // It comes back as one that was restarted, and not as one that flaps.
    world.hear(2);
    world.run(TICK);
    world.silence(1);
    world.run(secs(12));
    assert!(!world.owned(2).is_empty());
}

#[test]
fn one_that_was_only_heard_of_is_neither_dead_nor_alive() {
    let mut world = World::settled(2, 4);
    world.hear(2);
    world.peers.get_mut(&name(2)).unwrap().liveness = Liveness::HeardOf;
    world.silence(1);
    world.peers.get_mut(&name(1)).unwrap().liveness = Liveness::HeardOf;
    let before = world.map.clone();
    assert_eq!(world.run(secs(5)), []);
    assert_eq!(world.map, before);
}

#[test]
fn a_leader_that_was_paused_knows_nothing_of_the_others() {
    let mut world = World::settled(3, 9);
    world.silence(1);
    world.silence(2);
    // As after SIGSTOP for a minute: all others seem to have been silent.
    world.pass(secs(60));
    assert_eq!(world.look(), []);
    world.hear(1);
    assert_eq!(world.run(secs(10)), []);
    // Who is silent still, after a whole timeout of watching, is dead.
    world.run(2 * TICK);
    assert!(world.owned(2).is_empty() && !world.owned(1).is_empty());
}

#[test]
fn who_does_not_lead_does_nothing() {
    let mut world = World::settled(3, 9);
    world.raft.leads = false;
    world.silence(1);
    world.hear(7);
    assert_eq!(world.run(secs(60)), []);
}

#[test]
fn one_that_flaps_makes_others_copy_once() {
    let mut world = World::settled(3, 9);
    let mut assigned = 0;
    for _ in 0..4 {
        world.silence(1);
        let actions = world.run(secs(12));
        assigned += commands(&actions).len();
        world.hear(1);
        assert_eq!(world.run(secs(8)), []);
    }
    assert_eq!(assigned, 1);
    // It gets nothing of another that dies soon after its return; later it does.
    world.silence(2);
    world.run(secs(12));
    assert!(world.owned(1).is_empty());
    world.run(secs(30));
    world.hear(2);
    world.run(secs(1));
    world.silence(0);
    world.run(secs(12));
    assert!(!world.owned(1).is_empty() && world.owned(2).is_empty());
}

#[test]
fn one_that_has_just_returned_is_better_than_nobody() {
    let mut world = World::settled(2, 4);
    world.silence(1);
    world.run(secs(12));
    world.hear(1);
    world.run(secs(1));
    world.silence(0);
    world.run(secs(12));
    assert_eq!(world.owned(1).len(), 4);
}

#[test]
fn full_nodes_keep_what_they_have() {
    let mut world = World::settled(3, 9);
    let before = world.owned(0);
    world.peers.get_mut(&name(0)).unwrap().full = true;
    world.silence(1);
    world.run(secs(12));
    assert_eq!(world.owned(0), before);
    assert_eq!(world.owned(2).len(), 9 - before.len());
}

#[test]
fn shards_of_a_node_that_leaves_are_moved_and_not_taken() {
    let mut world = World::settled(3, 9);
    let owned = world.owned(1);
    world.map.apply(Command::Leave { node: name(1) });
    world.rules.moves_at_once = 2;
    let actions = world.run(TICK);
    let begun =
        |command: &&Command| matches!(command, Command::BeginMove { to, .. } if *to != name(1));
    let begun_now = commands(&actions);
    assert_eq!((begun_now.len(), begun_now.iter().all(begun)), (2, true), "{actions:?}");
    assert_eq!(world.run(secs(5)), []);
    assert_eq!(world.owned(1), owned);
    // Whoever was to get one dies: it is given to another instead.
    let moving = owned.iter().find_map(|shard| world.map.shard(*shard).unwrap().moving_to.clone());
    let target = moving.unwrap();
    let (gone, other) = if target == name(0) { (0, 2) } else { (2, 0) };
    world.raft.id = RaftId(100 + other);
    world.silence(gone);
    let actions = world.run(secs(12));
    assert!(commands(&actions).iter().any(|command| matches!(command, Command::AbortMove { .. })));
    for shard in owned {
        let moving_to = &world.map.shard(shard).unwrap().moving_to;
        assert!(moving_to.is_none() || *moving_to == Some(name(other)), "{moving_to:?}");
    }
    // The one that leaves dies, too: then there is nothing to be copied from.
    world.silence(1);
    world.run(secs(12));
    assert!(world.owned(1).is_empty());
    assert_eq!(world.map.broken_invariant(), None);
}

#[test]
fn pinned_shards_move_to_their_place() {
    let mut world = World::settled(2, 4);
    let shard = world.owned(0)[0];
    world.map.apply(Command::Pin { shard, node: Some(name(1)) });
    let begin = Command::BeginMove { shard, seen: Epoch(1), to: name(1) };
    assert_eq!(world.run(secs(5)), [Action::Propose(begin)]);
}

#[test]
fn those_who_left_are_forgotten() {
    let mut world = World::settled(3, 0);
    world.map.apply(Command::Leave { node: name(2) });
    world.peers.remove(&name(2));
    world.run(secs(900));
    assert!(world.map.members().contains_key(&name(2)));
    world.run(secs(20));
    assert!(!world.map.members().contains_key(&name(2)));
    // One that has only died is waited for.
    world.silence(1);
    world.run(secs(3_000));
    assert!(world.map.members().contains_key(&name(1)));
}

#[test]
fn a_shard_weighs_what_its_owner_says() {
    let mut world = World::settled(3, 2);
    let owner = world.map.shard(ShardId(0)).unwrap().owner.clone().unwrap();
    // Former owners come before and after it in the order of names.
    for (name, peer) in &mut world.peers {
        let bytes = if *name == owner { 100 } else { 7 };
        peer.shard_bytes = [(ShardId(0), bytes)].into();
    }
    world.look();
    assert_eq!(world.memory.bytes(ShardId(0)), 100);
    assert_eq!(world.memory.bytes(ShardId(1)), 0);
    world.peers.remove(&owner);
    world.look();
    assert_eq!(world.memory.bytes(ShardId(0)), 100, "a dead owner's word is forgotten");

    let owner = world.map.shard(ShardId(1)).unwrap().owner.clone().unwrap();
    let (_, other) = world.peers.iter_mut().find(|(name, _)| **name != owner).unwrap();
    other.shard_bytes.insert(ShardId(1), 9);
    world.look();
    assert_eq!(world.memory.bytes(ShardId(1)), 9, "the word of a former owner is better than none");
}

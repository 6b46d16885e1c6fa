//! Any faults in any order, while clients propose what they think is right; everything that anybody
//! ever saw must fit together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aeterna_cluster::consensus::Consensus;
use aeterna_cluster::name::{Epoch, NodeName, ShardId};
use aeterna_cluster::shard_map::{Assignment, Command, ShardMap};

use super::group::{Group, SHARDS, join, name, soon};

const VOTERS: usize = 5;
const FAULTS: usize = 14;

/// Numbers that depend on a seed alone (splitmix64).
struct Luck(u64);

impl Luck {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

/// Everything that anybody saw.
#[derive(Default)]
struct History {
    maps: BTreeMap<u64, Arc<ShardMap>>,
    /// Who was told to own a shard from an epoch on.
    owners: BTreeMap<(ShardId, Epoch), NodeName>,
}

impl History {
    /// A node showed a map, after one of version `before`.
    fn saw(&mut self, map: Arc<ShardMap>, before: u64) {
        assert!(map.version() >= before, "a node goes back");
        let known = self.maps.entry(map.version()).or_insert_with(|| map.clone());
        assert_eq!(*known, map, "two maps of one version");
    }

    fn acknowledged(&mut self, shard: ShardId, epoch: Epoch, owner: NodeName) {
        let known = self.owners.entry((shard, epoch)).or_insert_with(|| owner.clone());
        assert_eq!(*known, owner, "two owners of {shard} at epoch {epoch}");
    }

    /// Versions grow, and with them epochs; what was acknowledged is in each map that has got so far.
    fn check(&self, last: &ShardMap) {
        let maps: Vec<_> = self.maps.values().collect();
        for pair in maps.windows(2) {
            for (before, after) in pair[0].shards().iter().zip(pair[1].shards()) {
                assert!(before.epoch <= after.epoch, "{before:?} {after:?}");
            }
        }
        assert!(maps.iter().all(|map| map.version() <= last.version()));
        for ((shard, epoch), owner) in &self.owners {
            assert!(last.shard(*shard).unwrap().epoch >= *epoch, "{shard} {epoch} is lost");
            for map in &maps {
                let shown = map.shard(*shard).unwrap();
                assert!(shown.epoch != *epoch || shown.owner.as_ref() == Some(owner), "{shown:?}");
            }
        }
    }
}

type Shared = Arc<Mutex<History>>;

fn follow(node: Arc<Consensus>, history: Shared) {
    let mut maps = node.watch_map();
    tokio::spawn(async move {
        let mut version = 0;
        loop {
            let map = maps.borrow_and_update().clone();
            let before = std::mem::replace(&mut version, map.version());
            // A lock that was held by whoever found something wrong tells everybody else.
            history.lock().unwrap().saw(map, before);
            if maps.changed().await.is_err() {
                return;
            }
        }
    });
}

/// Gives shards to nodes, by what some node shows of the map, and by whatever it takes to lead.
async fn client(group: Arc<Group>, history: Shared, mut luck: Luck) {
    loop {
        tokio::time::sleep(Duration::from_millis(luck.below(300) as u64)).await;
        let numbers = group.numbers();
        let (seen, asked) = (luck.below(numbers.len()), luck.below(numbers.len()));
        let map = group.node(numbers[seen]).map();
        let shard = ShardId(luck.below(SHARDS as usize) as u32);
        let (seen, owner) = (map.shard(shard).unwrap().epoch, name(luck.below(VOTERS)));
        let assignment = Assignment { shard, seen, owner: owner.clone(), replicas: Vec::new() };
        let command = Command::Assign { assignments: vec![assignment] };
        let same = map.shard(shard).unwrap().owner.as_ref() == Some(&owner);
        let outcome = group.node(numbers[asked]).propose(command).await;
        if matches!(outcome.as_deref(), Ok([Ok(())])) && !same {
            history.lock().unwrap().acknowledged(shard, seen.next(), owner);
        }
    }
}

async fn fault(group: &Group, history: &Shared, luck: &mut Luck) {
    let nodes: Vec<usize> = (0..VOTERS).collect();
    let (one, split) = (luck.below(VOTERS), 1 + luck.below(VOTERS - 1));
    match luck.below(6) {
        0 | 1 => {
            group.restart(one).await;
            follow(group.node(one), history.clone());
        }
        2 => group.cut(&nodes[..split], &nodes[split..]),
        3 => group.cut_from(&[one], &nodes[..split]),
        4 => group.heal(),
        _ => {
            // The power of some goes at once.
            for number in &nodes[..split] {
                group.stop(*number).await;
            }
            for number in &nodes[..split] {
                group.open(*number).await;
                follow(group.node(*number), history.clone());
            }
        }
    }
}

async fn replace_disk(group: &Group, history: &Shared, number: usize) {
    let old = group.id(number);
    group.stop(number).await;
    group.lose_disk(number);
    group.open(number).await;
    follow(group.node(number), history.clone());
    group.add_voter(number).await;
    group.remove(old).await;
}

async fn run(seed: u64) {
    let (group, history) = (Arc::new(Group::of(VOTERS).await), Shared::default());
    for number in 0..VOTERS {
        follow(group.node(number), history.clone());
        assert_eq!(group.propose(join(number, 100)).await, [Ok(())]);
    }
    let client = |seed| tokio::spawn(client(group.clone(), history.clone(), Luck(seed)));
    let clients: Vec<_> = (0..3).map(|number| client(seed * 31 + number)).collect();
    let mut luck = Luck(seed);
    for number in 0..FAULTS {
        tokio::time::sleep(Duration::from_millis(luck.below(3000) as u64)).await;
        fault(&group, &history, &mut luck).await;
        if number == FAULTS / 2 {
            group.heal();
            replace_disk(&group, &history, luck.below(VOTERS)).await;
        }
    }
    for client in clients {
        client.abort();
        assert!(soon("a client", client).await.is_err_and(|error| error.is_cancelled()));
    }
    group.heal();
    assert_eq!(group.propose(join(0, 7)).await, [Ok(())]);
    let last = group.same_map().await;
    let history = history.lock().unwrap();
    history.check(&last);
    assert!(!history.owners.is_empty(), "nothing happened");
}

#[test]
fn whatever_was_seen_fits_together() {
    for seed in 0..3 {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        println!("seed {seed}");
        runtime.block_on(run(seed));
    }
}

//! The state that a plan is made in: who holds what, and how much that is.

use std::collections::{BTreeSet, HashMap};

use super::ring::Ring;
use super::{Change, Input, Node, OVERLOAD_PERCENT, Plan, Reason, SHARD_OVERHEAD, State};
use crate::name::{NodeName, ShardId};

/// Nodes are numbers here: their places in the input's order.
pub(super) struct World<'a> {
    pub(super) input: &'a Input,
    pub(super) names: Vec<&'a NodeName>,
    /// The nodes' numbers. Every holder of every shard is looked up once.
    numbers: HashMap<&'a NodeName, usize>,
    nodes: Vec<&'a Node>,
    pub(super) shards: Vec<Held>,
    /// What each node holds.
    load: Vec<u64>,
    /// What each node should hold if all were shared out by capacity, in proportion.
    share: Vec<u64>,
    zones: usize,
    ring: Ring<'a>,
}

/// Who holds a shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    pub(super) owner: Option<usize>,
    pub(super) replicas: Vec<usize>,
    pub(super) reason: Option<Reason>,
}

impl<'a> World<'a> {
    pub(super) fn new(input: &'a Input) -> Self {
        let names: Vec<&NodeName> = input.nodes.keys().collect();
        let numbers: HashMap<&NodeName, usize> =
            names.iter().enumerate().map(|(number, name)| (*name, number)).collect();
        let number = |name: &NodeName| numbers.get(name).copied();
        let shards: Vec<Held> = input
            .shards
            .iter()
            .map(|shard| Held {
                owner: shard.owner.as_ref().and_then(number),
                replicas: shard.replicas.iter().filter_map(number).collect(),
                reason: None,
            })
            .collect();
        let mut world = Self {
            input,
            load: vec![0; names.len()],
            share: vec![0; names.len()],
            zones: 0,
            ring: Ring::new(&input.nodes),
            nodes: input.nodes.values().collect(),
            names,
            numbers,
            shards,
        };
        for shard in 0..world.shards.len() {
            for holder in world.holders(shard) {
                world.load[holder] += world.weight(shard);
            }
        }
        world.share_out();
        world
    }

    /// Works out what each node should hold: those that may hold something share everything.
    fn share_out(&mut self) {
        let nodes: Vec<usize> = (0..self.names.len()).filter(|node| self.stays(*node)).collect();
        let zones: BTreeSet<&Option<String>> =
            nodes.iter().map(|node| self.zone(*node)).filter(|zone| zone.is_some()).collect();
        self.zones = zones.len();
        let copies = self.copies().min(nodes.len()) as u128;
        let total: u128 =
            (0..self.shards.len()).map(|shard| u128::from(self.weight(shard))).sum::<u128>()
                * copies;
        let capacity: u128 = nodes.iter().map(|node| self.capacity(*node)).sum();
        for node in nodes {
            let share = total * self.capacity(node) / capacity.max(1);
            self.share[node] = u64::try_from(share).unwrap_or(u64::MAX);
        }
    }

    /// The number of a node, if it is one of them.
    pub(super) fn number(&self, name: &NodeName) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    fn capacity(&self, node: usize) -> u128 {
        u128::from(self.nodes[node].capacity.max(1))
    }

    pub(super) fn copies(&self) -> usize {
        self.input.copies.max(1)
    }

    pub(super) fn state(&self, node: usize) -> State {
        self.nodes[node].state
    }

    /// Whether what it holds may stay.
    pub(super) fn stays(&self, node: usize) -> bool {
        match self.state(node) {
            State::Active | State::Full => true,
            State::Leaving | State::Dead => false,
        }
    }

    pub(super) fn is_active(&self, node: usize) -> bool {
        self.state(node) == State::Active
    }

    fn zone(&self, node: usize) -> &'a Option<String> {
        &self.nodes[node].zone
    }

    pub(super) fn weight(&self, shard: usize) -> u64 {
        self.input.shards[shard].bytes.saturating_add(SHARD_OVERHEAD)
    }

    pub(super) fn holders(&self, shard: usize) -> Vec<usize> {
        let held = &self.shards[shard];
        held.owner.iter().chain(&held.replicas).copied().collect()
    }

    pub(super) fn load(&self, node: usize) -> u64 {
        self.load[node]
    }

    /// What a node holds at most.
    pub(super) fn bound(&self, node: usize) -> u64 {
        let bound = u128::from(self.share[node]) * u128::from(OVERLOAD_PERCENT) / 100;
        u64::try_from(bound).unwrap_or(u64::MAX)
    }

    /// What a node holds, as a part of its share.
    pub(super) fn fullness(&self, node: usize) -> u128 {
        (u128::from(self.load[node]) << 32) / u128::from(self.share[node].max(1))
    }

    /// Lets a node hold a shard, as far as its load goes.
    pub(super) fn take(&mut self, node: usize, shard: usize) {
        self.load[node] = self.load[node].saturating_add(self.weight(shard));
    }

    /// Undoes [`World::take`].
    pub(super) fn give(&mut self, node: usize, shard: usize) {
        self.load[node] = self.load[node].saturating_sub(self.weight(shard));
    }

    pub(super) fn because(&mut self, shard: usize, reason: Reason) {
        self.shards[shard].reason.get_or_insert(reason);
    }

    /// Whether copies of a shard on these nodes and on another are as far apart as they can be.
    pub(super) fn is_apart(&self, others: &[usize], node: usize) -> bool {
        if others.contains(&node) {
            return false;
        }
        let zone = self.zone(node);
        // With fewer zones than copies, some share one.
        self.zones < self.copies() || others.iter().all(|other| self.zone(*other) != zone)
    }

    /// The active node that is to hold a shard beside others: the first that it prefers and that has
    /// room, else the one that is least full.
    pub(super) fn pick(&self, shard: usize, others: &[usize]) -> Option<usize> {
        let active = |node: &usize| self.is_active(*node) && !others.contains(node);
        let apart = |node: &usize| active(node) && self.is_apart(others, *node);
        self.pick_of(shard, apart).or_else(|| self.pick_of(shard, active))
    }

    /// The same of those nodes that are allowed. The others are hardly looked at while somebody has room: with
    /// many nodes a shard's place is found by a few looks at the ring.
    fn pick_of(&self, shard: usize, allowed: impl Fn(&usize) -> bool) -> Option<usize> {
        let weight = self.weight(shard);
        let has_room = |node: &usize| self.load[*node].saturating_add(weight) <= self.bound(*node);
        let preferred = self.ring.preference(shard).find(|node| allowed(node) && has_room(node));
        preferred.or_else(|| {
            let all = (0..self.names.len()).filter(&allowed);
            all.min_by_key(|node| (self.fullness(*node), *node))
        })
    }

    /// What has changed.
    pub(super) fn plan(self) -> Plan {
        let mut plan = Plan::default();
        for (number, held) in self.shards.iter().enumerate() {
            let shard = ShardId(u32::try_from(number).unwrap_or(u32::MAX));
            let Some(owner) = held.owner else {
                plan.homeless.push(shard);
                continue;
            };
            let before = &self.input.shards[number];
            let owner = self.names[owner].clone();
            let mut replicas: Vec<NodeName> =
                held.replicas.iter().map(|node| self.names[*node].clone()).collect();
            replicas.sort_unstable();
            let mut replicas_before = before.replicas.clone();
            replicas_before.sort_unstable();
            if before.owner.as_ref() == Some(&owner) && replicas == replicas_before {
                continue;
            }
            let is_new = |node: &&NodeName| {
                before.owner.as_ref() != Some(*node) && !before.replicas.contains(node)
            };
            let copied_to: Vec<NodeName> =
                [&owner].into_iter().chain(&replicas).filter(is_new).cloned().collect();
            plan.bytes += before.bytes.saturating_mul(copied_to.len() as u64);
            let reason = held.reason.unwrap_or(Reason::Copies);
            plan.changes.push(Change { shard, owner, replicas, copied_to, reason });
        }
        plan
    }
}

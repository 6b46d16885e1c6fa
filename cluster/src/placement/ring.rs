//! In which order a shard likes the nodes.

use std::collections::BTreeMap;

use hashring::HashRing;

use super::Node;

/// Points on the ring of a usual node.
const POINTS: u32 = 16;
/// Points of a node, at most.
const MAX_POINTS: u32 = 256;
/// How often the ring is asked about a shard for each node that it has, and at most: who has found no
/// room by then is better served by the one that is least full.
const PROBES_PER_NODE: usize = 4;
const MAX_PROBES: usize = 64;

/// Nodes, by their place in the input's order, with points for their capacity.
pub(super) struct Ring<'a> {
    ring: HashRing<Point<'a>>,
    nodes: usize,
}

/// What is hashed is the name, so that it does not matter who else is there.
#[derive(Clone, Copy, Debug)]
struct Point<'a> {
    name: &'a str,
    number: u32,
    node: u32,
}

impl std::hash::Hash for Point<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.name, self.number).hash(state);
    }
}

impl<'a> Ring<'a> {
    pub(super) fn new(nodes: &'a BTreeMap<crate::name::NodeName, Node>) -> Self {
        let mut ring = HashRing::new();
        let points = (0u32..).zip(nodes).flat_map(|(place, (name, node))| {
            let points = u64::from(node.capacity) * u64::from(POINTS) / 100;
            let points = points.clamp(1, u64::from(MAX_POINTS)) as u32;
            let point = move |number| Point { name: name.as_str(), number, node: place };
            (0..points).map(point)
        });
        ring.batch_add(points.collect());
        Self { ring, nodes: nodes.len() }
    }

    /// Nodes in the order of a shard's preference, each once. The ring is asked again and again with
    /// another key rather than walked: a node that is gone hands its shards to all others, and not
    /// to its neighbour. Some nodes may be missing, and most are where there are many.
    pub(super) fn preference(&self, shard: usize) -> impl Iterator<Item = usize> {
        let mut seen: Vec<usize> = Vec::new();
        (0..MAX_PROBES.min(self.nodes * PROBES_PER_NODE))
            .filter_map(move |probe| self.ring.get(&(shard as u64, probe as u64)))
            .map(|point| point.node as usize)
            .filter(move |node| {
                let is_new = !seen.contains(node);
                seen.extend(is_new.then_some(*node));
                is_new
            })
    }
}

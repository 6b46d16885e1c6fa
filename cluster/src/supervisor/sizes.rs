//! What shards weigh, by what nodes say of them.

use std::collections::BTreeMap;

use super::view::PeersView;
use crate::name::ShardId;
use crate::shard_map::ShardMap;

/// Bytes of the shards of which somebody has said them.
#[derive(Clone, Debug, Default)]
pub(super) struct Sizes(BTreeMap<ShardId, u64>);

impl Sizes {
    /// Takes in what owners say now. What a former owner still says, or said before it died, is taken
    /// only of a shard of which nothing else is known.
    pub fn learn(&mut self, map: &ShardMap, peers: &PeersView) {
        for (name, peer) in peers {
            for (shard, bytes) in &peer.shard_bytes {
                match map.shard(*shard) {
                    Some(entry) if entry.owner.as_ref() == Some(name) => self.set(*shard, *bytes),
                    Some(_) => _ = self.0.entry(*shard).or_insert(*bytes),
                    None => {}
                }
            }
        }
        let shards = map.shards().len();
        self.0.retain(|shard, _| (shard.0 as usize) < shards);
    }

    /// Takes in what this node knows of a shard that it holds.
    pub fn set(&mut self, shard: ShardId, bytes: u64) {
        self.0.insert(shard, bytes);
    }

    /// Bytes of a shard; 0 when nobody has said them.
    pub fn of(&self, shard: ShardId) -> u64 {
        self.0.get(&shard).copied().unwrap_or(0)
    }
}

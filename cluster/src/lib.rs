//! Who owns what in a cluster of identical nodes.
//!
//! The crate knows nothing of git, of the index or of HTTP. Layers, lowest first: [`name`] (what nodes
//! and shards are called), [`shard_map`] (who owns each shard, and the only ways in which that may
//! change), [`codec`] (values as bytes), [`placement`] (where shards ought to be), [`gossip`] (who is
//! alive), [`consensus`] (the shard map as all nodes agree on it), [`peers`] (calls between nodes),
//! [`router`] (who is to be asked about a shard), [`supervisor`] (what a node does about all this).

pub mod codec;
pub mod consensus;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
pub mod gossip;
pub mod name;
pub mod peers;
pub mod placement;
pub mod router;
pub mod shard_map;
pub mod supervisor;

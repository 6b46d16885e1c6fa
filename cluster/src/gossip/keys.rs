//! Every key that nodes gossip, in one place.
//!
//! A key's meaning never changes and its name is never used for something else: nodes of different
//! versions read each other's. Unknown keys are ignored.

/// `host:port` of the HTTP API.
pub const HTTP: &str = "http";
/// `host:port` of the calls between nodes.
pub const GRPC: &str = "grpc";
/// The Raft id of the node's disk, decimal; `0` for none.
pub const RAFT_ID: &str = "raft.id";
/// What the node does in the Raft group.
pub const RAFT_GROUP: &str = "raft.group";
/// The program's version.
pub const VERSION: &str = "version";
/// Where the node stands, such as an availability zone; empty when it does not say.
pub const ZONE: &str = "zone";
/// How much it takes, in percent of a usual node.
pub const CAPACITY: &str = "capacity";
/// `1` when it answers requests.
pub const READY: &str = "ready";
/// `1` when it hands over what it owns.
pub const DRAINING: &str = "draining";
/// `1` as a node's last word: it goes, and nobody needs to wait for its heartbeat.
pub const LEFT: &str = "left";
/// Version of the newest shard map that it has.
pub const MAP_VERSION: &str = "map.version";
/// How busy it is, in thousandths.
pub const LOAD: &str = "load.permille";
/// Bytes of its disk.
pub const DISK_TOTAL: &str = "disk.total";
/// Bytes of its disk that are free, in steps of about a thousandth of the disk.
pub const DISK_FREE: &str = "disk.free";
/// How many shards it serves.
pub const SHARDS_SERVING: &str = "shards.serving";
/// With the number of a block of 256 shards after it: sizes of those of them that the node owns.
pub const SHARD_SIZES: &str = "shards.sizes.";
/// With the number of a block after it: sizes of those that the node owns and can only have searched, as the database
/// does not answer it.
pub const READ_ONLY_SIZES: &str = "shards.read-only.";
/// Shards that it brings to its disk, and how far it is; empty when there are none.
pub const RESTORES: &str = "restores";

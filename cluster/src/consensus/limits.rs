//! How large anything of the Raft group may be.

use crate::shard_map::MAX_MAP_BYTES;

/// Bytes of a message between nodes, at most: less than the 4 MiB that gRPC takes by default.
pub const MAX_MESSAGE_BYTES: usize = 3 << 20;
/// Bytes of an encoded command, at most: about ten thousand assignments of a shard.
pub const MAX_COMMAND_BYTES: usize = 1 << 20;
/// Bytes of an entry of the log, at most: a command and what openraft adds to it.
pub(crate) const MAX_ENTRY_BYTES: usize = MAX_COMMAND_BYTES + (256 << 10);
/// Bytes of entries that are sent in one message, unless one alone has more.
pub(crate) const MAX_APPEND_BYTES: usize = 1 << 20;
/// Entries that are sent in one message, at most.
pub(crate) const MAX_APPEND_ENTRIES: u64 = 256;
/// Bytes of a snapshot, at most: a map and its name.
pub(crate) const MAX_SNAPSHOT_BYTES: usize = MAX_MAP_BYTES + (1 << 10);
/// Bytes of a snapshot that are sent in one message.
pub(crate) const SNAPSHOT_CHUNK_BYTES: u64 = 1 << 20;
/// Committed entries after which a new snapshot is made.
pub(crate) const SNAPSHOT_EVERY: u64 = 512;
/// Entries that are kept behind the snapshot, for those that are a little behind.
pub(crate) const LOG_KEPT: u64 = 256;
/// Entries that a follower may be behind before it gets the snapshot in their place.
pub(crate) const LAG_FOR_SNAPSHOT: u64 = 2 * SNAPSHOT_EVERY;
/// Entries that a learner may be behind and still be made a voter.
pub(crate) const LAG_FOR_VOTE: u64 = 64;

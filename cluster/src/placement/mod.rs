//! Where shards ought to be: a pure function of the nodes, the shards' sizes and where they are.
//!
//! [`repair`] finds holders for what has none, or too few, and moves nothing else; [`rebalance`] does
//! that and then moves as little as makes no node hold more than its share by a quarter
//! ([`OVERLOAD_PERCENT`]). Preferences come from a consistent-hash ring, so that they hardly change
//! when nodes come and go, and the bound on a node's load is that of "Consistent Hashing with
//! Bounded Loads" (Mirrokni, Thorup, Zadimoghaddam, 2018).
//!
//! The same input gives the same plan, in whatever order the nodes are listed: any node can compute
//! what the leader proposes.

mod balance;
mod repair;
mod ring;
mod world;

use std::collections::BTreeMap;

use crate::name::{NodeName, ShardId};

/// What a node holds at most after [`rebalance`], in percent of its share, where shards are small
/// enough for that.
pub const OVERLOAD_PERCENT: u64 = 125;
/// What every shard counts beside its bytes, so that empty ones are spread too.
pub const SHARD_OVERHEAD: u64 = 1 << 20;

/// What may be done with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It takes shards.
    Active,
    /// It keeps what it has and takes nothing, such as with a disk over its high watermark.
    Full,
    /// It hands over what it has.
    Leaving,
    /// Its heartbeat has timed out.
    Dead,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// What may be done with it.
    pub state: State,
    /// How much it takes, in percent of a usual node; 0 counts as 1.
    pub capacity: u32,
    /// Where it stands; copies of a shard go to different zones while there are enough of them.
    pub zone: Option<String>,
}

/// A shard, and where it is.
#[derive(Clone, Debug, Default)]
pub struct Shard {
    /// Bytes of its index.
    pub bytes: u64,
    /// Who owns it.
    pub owner: Option<NodeName>,
    /// Who else holds it.
    pub replicas: Vec<NodeName>,
    /// Who is to own it while that node is active.
    pub pin: Option<NodeName>,
}

/// What a plan is made of.
#[derive(Clone, Debug)]
pub struct Input {
    /// The members.
    pub nodes: BTreeMap<NodeName, Node>,
    /// The shards, by their number.
    pub shards: Vec<Shard>,
    /// How many nodes are to hold a shard, its owner included; 0 counts as 1.
    pub copies: usize,
}

/// Why a shard's holders change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It has no owner yet.
    New,
    /// A holder is dead or no member any more.
    Lost,
    /// A holder is leaving.
    Leaving,
    /// It is pinned elsewhere.
    Pinned,
    /// It has more or fewer copies than are wanted.
    Copies,
    /// Copies of it stand in one zone.
    Apart,
    /// A holder has more than its share.
    Balance,
}

/// New holders of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The shard.
    pub shard: ShardId,
    /// Its owner from now on.
    pub owner: NodeName,
    /// Its replicas from now on, sorted.
    pub replicas: Vec<NodeName>,
    /// Those of them that do not have it yet.
    pub copied_to: Vec<NodeName>,
    /// Why.
    pub reason: Reason,
}

/// What ought to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// By the shards' numbers.
    pub changes: Vec<Change>,
    /// Bytes that have to be copied for it.
    pub bytes: u64,
    /// Shards that nobody can hold, since no node is active.
    pub homeless: Vec<ShardId>,
}

/// Finds holders for shards that have none or too few, and lets go of surplus ones. A replica becomes
/// the owner before anything is copied. What has its holders stays where it is.
pub fn repair(input: &Input) -> Plan {
    let mut world = world::World::new(input);
    repair::run(&mut world);
    world.plan()
}

/// [`repair`], and then moves copies out of a zone that they share, and shards from nodes that hold
/// too much.
pub fn rebalance(input: &Input) -> Plan {
    let mut world = world::World::new(input);
    repair::run(&mut world);
    balance::run(&mut world);
    world.plan()
}

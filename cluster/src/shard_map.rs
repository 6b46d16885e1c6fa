//! The shard map: who owns each shard, under which epoch.
//!
//! It is the state machine of the Raft group: the same commands in the same order give the same map
//! on every node, so nothing here asks a clock, a random number or the network. A command that comes
//! too late, or asks for what must not be, is refused and changes nothing.
//!
//! Invariants, checked by [`ShardMap::broken_invariant`]: a shard has at most one owner; its epoch
//! grows by one whenever that owner changes and never goes back; an owner is no replica of its own
//! shard; every name in the map is that of a member.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::codec::{self, CodecError};
use crate::name::{Epoch, NodeName, ShardId};

/// Shards of a cluster, at most.
pub const MAX_SHARDS: u32 = 32_768;
/// Bytes of an encoded map, at most: a thousand for each of [`MAX_SHARDS`].
pub const MAX_MAP_BYTES: usize = MAX_SHARDS as usize * 1024;

/// The upper bits of a map's version count how often the Raft group was made anew, the lower ones the
/// changes since.
const CHANGE_BITS: u32 = 32;
/// How far epochs are raised when the Raft group is made anew. Owners that were agreed on by those who
/// are lost and had not begun have left no trace: their epochs lie in between.
const EPOCHS_LEFT_OUT: u64 = 1_000;

/// Who owns what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardMap {
    cluster: Uuid,
    version: u64,
    shards: Vec<Shard>,
    members: BTreeMap<NodeName, Member>,
}

/// A shard of the map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Grows with each change of its owner.
    pub epoch: Epoch,
    /// Who writes it; `None` before its first owner.
    pub owner: Option<NodeName>,
    /// Who else holds it, sorted; never its owner.
    pub replicas: Vec<NodeName>,
    /// Where it is to stay, whatever its size.
    pub pin: Option<NodeName>,
    /// Who gets it, while it is copied there.
    pub moving_to: Option<NodeName>,
    /// Whether that node has a copy of what cold storage had: its owner may hand it over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copied: bool,
}

/// A node that may hold shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where it stands, such as an availability zone; copies of a shard go to different ones.
    pub zone: Option<String>,
    /// How much it takes, in percent of a usual node.
    pub capacity: u32,
    /// Whether it hands its shards over and gets no new ones.
    pub leaving: bool,
}

/// The wanted holders of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The shard.
    pub shard: ShardId,
    /// The epoch that whoever decided this saw.
    pub seen: Epoch,
    /// Its owner from now on.
    pub owner: NodeName,
    /// Its replicas from now on, in any order.
    pub replicas: Vec<NodeName>,
}

/// What may change the map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Makes a node a member, or changes what is known of one; it is then not leaving.
    Join {
        /// Its name.
        node: NodeName,
        /// Its zone.
        zone: Option<String>,
        /// Its capacity, in percent of a usual node.
        capacity: u32,
    },
    /// Lets a member hand over what it owns.
    Leave {
        /// Its name.
        node: NodeName,
    },
    /// Removes a member that owns nothing.
    Remove {
        /// Its name.
        node: NodeName,
    },
    /// Gives shards to nodes, each by itself: those that are refused do not hold up the others.
    Assign {
        /// What is wanted.
        assignments: Vec<Assignment>,
    },
    /// Starts to copy a shard to a node that is to own it.
    BeginMove {
        /// The shard.
        shard: ShardId,
        /// The epoch that whoever decided this saw.
        seen: Epoch,
        /// Who gets it.
        to: NodeName,
    },
    /// Says that the node that a shard is moved to has a copy of what cold storage had.
    Copied {
        /// The shard.
        shard: ShardId,
        /// The epoch under which the copy was made.
        seen: Epoch,
    },
    /// Makes the node that a shard was copied to its owner; the former owner lets go of it.
    EndMove {
        /// The shard.
        shard: ShardId,
        /// The epoch under which the copy was made.
        seen: Epoch,
    },
    /// Gives up copying.
    AbortMove {
        /// The shard.
        shard: ShardId,
        /// The epoch under which the copy was made.
        seen: Epoch,
    },
    /// Says where a shard is to stay, or that this does not matter any more.
    Pin {
        /// The shard.
        shard: ShardId,
        /// The node.
        node: Option<NodeName>,
    },
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Refusal {
    /// The cluster has fewer shards.
    #[error("there is no shard {0}")]
    UnknownShard(ShardId),
    /// The node is no member.
    #[error("{0} is no member of the cluster")]
    UnknownNode(NodeName),
    /// The shard has changed hands since.
    #[error("shard {shard} is at epoch {now}, not {seen}: it has changed hands; look again")]
    StaleEpoch {
        /// The shard.
        shard: ShardId,
        /// The epoch of the command.
        seen: Epoch,
        /// Its epoch.
        now: Epoch,
    },
    /// A node is named twice for one shard.
    #[error("{node} is named twice for shard {shard}")]
    NamedTwice {
        /// The shard.
        shard: ShardId,
        /// The node.
        node: NodeName,
    },
    /// The node owns the shard already.
    #[error("{node} owns shard {shard} already")]
    OwnsIt {
        /// The shard.
        shard: ShardId,
        /// The node.
        node: NodeName,
    },
    /// Nothing is copied anywhere.
    #[error("shard {0} is not being moved")]
    NotMoving(ShardId),
    /// It is on its way to another node.
    #[error(
        "shard {shard} is being moved to {to}; to give that up, move it to the node that it is on"
    )]
    Moving {
        /// The shard.
        shard: ShardId,
        /// Who gets it.
        to: NodeName,
    },
    /// The node hands over what it has.
    #[error("{0} is leaving the cluster and gets no shards")]
    Leaving(NodeName),
    /// The shard has no owner to copy from.
    #[error("shard {0} has no owner; assign it instead")]
    NoOwner(ShardId),
    /// The member still owns shards.
    #[error("{node} still owns {shards} shards; drain it first")]
    StillOwns {
        /// The node.
        node: NodeName,
        /// How many.
        shards: usize,
    },
    /// The last member would go.
    #[error("{0} is the last member of the cluster")]
    LastMember(NodeName),
    /// A capacity of nothing.
    #[error("the capacity of {0} must be at least 1")]
    NoCapacity(NodeName),
}

/// What became of a command: for [`Command::Assign`], of each assignment in order; else one entry.
pub type Outcome = Vec<Result<(), Refusal>>;

impl ShardMap {
    /// A cluster of so many shards that nobody owns.
    pub fn new(cluster: Uuid, shards: u32) -> Self {
        let shards = (0..shards).map(|_| Shard::default()).collect();
        Self { cluster, version: 0, shards, members: BTreeMap::new() }
    }

    /// The cluster's identity, claimed once.
    pub fn cluster(&self) -> Uuid {
        self.cluster
    }

    /// Grows with every change: of two maps of a cluster, the one with the higher version is newer.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How often the Raft group had been made anew before this version.
    pub fn incarnation(&self) -> u32 {
        u32::try_from(self.version >> CHANGE_BITS).unwrap_or(u32::MAX)
    }

    /// The map that the Raft group begins with when it is made anew: newer than any that was agreed on
    /// before, each shard under an epoch above all that are known, and with no move under way. Owners
    /// stay who they are known to be.
    pub fn made_anew(mut self, incarnation: u32, known: &BTreeMap<ShardId, Epoch>) -> Self {
        self.version = u64::from(incarnation) << CHANGE_BITS;
        for (number, shard) in (0u32..).map(ShardId).zip(&mut self.shards) {
            let known = known.get(&number).copied().unwrap_or_default().max(shard.epoch);
            shard.epoch = Epoch(known.0.saturating_add(EPOCHS_LEFT_OUT));
            shard.moving_to = None;
            shard.copied = false;
        }
        self
    }

    /// Every shard, by its number.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// One shard.
    pub fn shard(&self, shard: ShardId) -> Option<&Shard> {
        self.shards.get(shard.0 as usize)
    }

    /// Every member.
    pub fn members(&self) -> &BTreeMap<NodeName, Member> {
        &self.members
    }

    /// Applies a command. What is refused changes nothing, not even the version.
    pub fn apply(&mut self, command: Command) -> Outcome {
        let outcome = match command {
            Command::Join { node, zone, capacity } => vec![self.join(node, zone, capacity)],
            Command::Leave { node } => vec![self.leave(node)],
            Command::Remove { node } => vec![self.remove(node)],
            Command::Assign { assignments } => {
                assignments.into_iter().map(|assignment| self.assign(assignment)).collect()
            }
            Command::BeginMove { shard, seen, to } => vec![self.begin_move(shard, seen, to)],
            Command::Copied { shard, seen } => vec![self.copied(shard, seen)],
            Command::EndMove { shard, seen } => vec![self.end_move(shard, seen)],
            Command::AbortMove { shard, seen } => vec![self.abort_move(shard, seen)],
            Command::Pin { shard, node } => vec![self.pin(shard, node)],
        };
        if outcome.iter().any(Result::is_ok) {
            self.version += 1;
        }
        outcome
    }

    /// The map as bytes, for a disk or another node.
    ///
    /// # Errors
    ///
    /// A map of more than [`MAX_MAP_BYTES`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self, MAX_MAP_BYTES)
    }

    /// A map from [`Self::to_bytes`] of this node or another.
    ///
    /// # Errors
    ///
    /// What is no map, or one that [breaks an invariant](Self::broken_invariant).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        let map: Self = codec::decode(bytes, MAX_MAP_BYTES)?;
        match map.broken_invariant() {
            None => Ok(map),
            Some(wrong) => Err(CodecError::Contradiction(wrong)),
        }
    }

    /// What is wrong with the map, if anything is: that is a mistake in this program, or a map from
    /// somewhere else.
    pub fn broken_invariant(&self) -> Option<String> {
        for (number, shard) in self.shards.iter().enumerate() {
            let holders: Vec<&NodeName> = shard.owner.iter().chain(&shard.replicas).collect();
            let different: BTreeSet<&NodeName> = holders.iter().copied().collect();
            if different.len() != holders.len() {
                return Some(format!("shard {number} has a holder twice: {holders:?}"));
            }
            let named = holders.into_iter().chain(&shard.pin).chain(&shard.moving_to);
            if let Some(stranger) = named.into_iter().find(|name| !self.members.contains_key(name))
            {
                return Some(format!("shard {number} names {stranger}, which is no member"));
            }
            if shard.moving_to.is_some() && shard.moving_to == shard.owner {
                return Some(format!("shard {number} is being moved to its owner"));
            }
            if shard.copied && shard.moving_to.is_none() {
                return Some(format!("shard {number} was copied to nobody"));
            }
            if shard.owner.is_some() && shard.epoch == Epoch::default() {
                return Some(format!("shard {number} has an owner under no epoch"));
            }
        }
        None
    }

    fn join(&mut self, node: NodeName, zone: Option<String>, capacity: u32) -> Result<(), Refusal> {
        if capacity == 0 {
            return Err(Refusal::NoCapacity(node));
        }
        self.members.insert(node, Member { zone, capacity, leaving: false });
        Ok(())
    }

    fn leave(&mut self, node: NodeName) -> Result<(), Refusal> {
        match self.members.get_mut(&node) {
            Some(member) => {
                member.leaving = true;
                Ok(())
            }
            None => Err(Refusal::UnknownNode(node)),
        }
    }

    fn remove(&mut self, node: NodeName) -> Result<(), Refusal> {
        self.known(&node)?;
        let shards = self.shards.iter().filter(|shard| shard.owner.as_ref() == Some(&node)).count();
        if shards > 0 {
            return Err(Refusal::StillOwns { node, shards });
        }
        if self.members.len() == 1 {
            return Err(Refusal::LastMember(node));
        }
        for shard in &mut self.shards {
            shard.replicas.retain(|replica| *replica != node);
            shard.pin.take_if(|pin| *pin == node);
            shard.moving_to.take_if(|to| *to == node);
            shard.copied &= shard.moving_to.is_some();
        }
        self.members.remove(&node);
        Ok(())
    }

    fn assign(&mut self, wanted: Assignment) -> Result<(), Refusal> {
        let Assignment { shard: number, seen, owner, mut replicas } = wanted;
        self.at_epoch(number, seen)?;
        replicas.sort_unstable();
        let twice = replicas.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone());
        let twice = twice.or_else(|| replicas.contains(&owner).then(|| owner.clone()));
        if let Some(node) = twice {
            return Err(Refusal::NamedTwice { shard: number, node });
        }
        [&owner].into_iter().chain(&replicas).try_for_each(|node| self.known(node))?;
        let shard = self.at_epoch(number, seen)?;
        if shard.owner.as_ref() != Some(&owner) {
            shard.epoch = shard.epoch.next();
            shard.owner = Some(owner);
            // It was a copy of what another node wrote.
            shard.moving_to = None;
            shard.copied = false;
        }
        shard.replicas = replicas;
        Ok(())
    }

    fn begin_move(&mut self, number: ShardId, seen: Epoch, to: NodeName) -> Result<(), Refusal> {
        self.known(&to)?;
        if self.members.get(&to).is_some_and(|member| member.leaving) {
            return Err(Refusal::Leaving(to));
        }
        let shard = self.at_epoch(number, seen)?;
        if shard.owner.is_none() {
            return Err(Refusal::NoOwner(number));
        }
        if shard.owner.as_ref() == Some(&to) {
            return Err(Refusal::OwnsIt { shard: number, node: to });
        }
        match &shard.moving_to {
            Some(other) if *other != to => {
                Err(Refusal::Moving { shard: number, to: other.clone() })
            }
            _ => {
                shard.moving_to = Some(to);
                Ok(())
            }
        }
    }

    fn copied(&mut self, number: ShardId, seen: Epoch) -> Result<(), Refusal> {
        let shard = self.at_epoch(number, seen)?;
        match shard.moving_to {
            Some(_) => {
                shard.copied = true;
                Ok(())
            }
            None => Err(Refusal::NotMoving(number)),
        }
    }

    fn end_move(&mut self, number: ShardId, seen: Epoch) -> Result<(), Refusal> {
        let shard = self.at_epoch(number, seen)?;
        let Some(to) = shard.moving_to.take() else { return Err(Refusal::NotMoving(number)) };
        shard.replicas.retain(|replica| *replica != to);
        shard.copied = false;
        shard.owner = Some(to);
        shard.epoch = shard.epoch.next();
        Ok(())
    }

    fn abort_move(&mut self, number: ShardId, seen: Epoch) -> Result<(), Refusal> {
        let shard = self.at_epoch(number, seen)?;
        shard.copied = false;
        shard.moving_to.take().map(drop).ok_or(Refusal::NotMoving(number))
    }

    fn pin(&mut self, number: ShardId, node: Option<NodeName>) -> Result<(), Refusal> {
        node.iter().try_for_each(|node| self.known(node))?;
        let shard = self.shards.get_mut(number.0 as usize);
        shard.ok_or(Refusal::UnknownShard(number))?.pin = node;
        Ok(())
    }

    fn known(&self, node: &NodeName) -> Result<(), Refusal> {
        match self.members.contains_key(node) {
            true => Ok(()),
            false => Err(Refusal::UnknownNode(node.clone())),
        }
    }

    /// The shard, if it is still at the epoch that was seen.
    fn at_epoch(&mut self, number: ShardId, seen: Epoch) -> Result<&mut Shard, Refusal> {
        let shard = self.shards.get_mut(number.0 as usize);
        let shard = shard.ok_or(Refusal::UnknownShard(number))?;
        match shard.epoch == seen {
            true => Ok(shard),
            false => Err(Refusal::StaleEpoch { shard: number, seen, now: shard.epoch }),
        }
    }
}

//! How a node takes part in the gossip, and why it cannot.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use uuid::Uuid;

use super::facts::BadFact;
use super::seal::{ClusterKeys, SealError};
use super::seeds::BadSeed;
use crate::name::NodeName;

/// How a node takes part in the gossip. `Debug` shows no key.
#[derive(Clone, Debug)]
pub struct GossipConfig {
    /// The cluster: packets of any other are refused.
    pub cluster: Uuid,
    /// The node's stable name.
    pub name: NodeName,
    /// Which start of the node this is: higher than any before, such as the milliseconds since 1970.
    pub generation: u64,
    /// Where it listens (UDP); port 0 for one that is free.
    pub listen: SocketAddr,
    /// Where others reach it; port 0 for the one that it listens on.
    pub advertise: SocketAddr,
    /// Whom to ask first: `host:port`, a DNS name (A and AAAA; the port is that of `advertise`), or
    /// the name of a DNS service such as `_gossip._udp.example.org` (SRV). Names are resolved again
    /// and again.
    pub join: Vec<String>,
    /// What packets are sealed with; `None` on loopback only.
    pub keys: Option<ClusterKeys>,
    /// How often a node gossips.
    pub interval: Duration,
    /// How long a node may be silent before it is dead.
    pub heartbeat_timeout: Duration,
    /// How long a dead node is remembered.
    pub grace: Duration,
}

/// Why a node cannot take part in the gossip.
#[derive(Debug, Error)]
pub enum GossipError {
    /// It could be reached from other machines, and anyone there would be believed.
    #[error(
        "gossip on {listen} (known to others as {advertise}) leaves this machine and needs a \
         cluster key; give all nodes the same one, such as from `openssl rand -base64 32`"
    )]
    NoKey {
        /// Where it would listen.
        listen: SocketAddr,
        /// Where others would reach it.
        advertise: SocketAddr,
    },
    /// The socket cannot be had.
    #[error("cannot listen for gossip on {listen}/UDP")]
    Bind {
        /// Where it would listen.
        listen: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// An address that nobody can send to.
    #[error("{0} is no address where others reach this node's gossip; advertise one that is")]
    Advertise(SocketAddr),
    /// A time or a number that gossip does not work with.
    #[error("{0}")]
    Time(&'static str),
    /// A name or address to join by that is none.
    #[error(transparent)]
    Seed(#[from] BadSeed),
    /// What the node says of itself is nothing that peers would take.
    #[error(transparent)]
    Fact(#[from] BadFact),
    /// Nothing can be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Gossip has ended by itself, or cannot start.
    #[error("gossip does not run: {0}; restart this node")]
    Ended(String),
}

impl GossipConfig {
    /// Whether the values go together.
    pub(super) fn check(&self) -> Result<(), GossipError> {
        let (listen, advertise) = (self.listen, self.advertise);
        let stays = listen.ip().is_loopback() && advertise.ip().is_loopback();
        if self.keys.is_none() && !stays {
            return Err(GossipError::NoKey { listen, advertise });
        }
        if advertise.ip().is_unspecified() || advertise.ip().is_multicast() {
            return Err(GossipError::Advertise(advertise));
        }
        if self.interval.is_zero() {
            return Err(GossipError::Time("the interval of the gossip is zero; use 500 ms"));
        }
        if self.heartbeat_timeout < 4 * self.interval {
            return Err(GossipError::Time(
                "the heartbeat timeout is less than four intervals of the gossip: nodes that are \
                 alive would be taken for dead; use 10 s",
            ));
        }
        if self.grace < 2 * self.heartbeat_timeout {
            return Err(GossipError::Time(
                "dead nodes are forgotten before they are known to be dead; use 10 minutes",
            ));
        }
        Ok(())
    }
}

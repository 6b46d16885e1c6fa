//! Who is alive, where, and with what load.
//!
//! Gossip (chitchat) carries heartbeats and each node's [`Facts`]. Nothing that decides who owns what
//! is in it: it is no reliable broadcast, and two nodes may see different things at one time. What
//! comes from the network is sealed ([`seal`]), and what peers say of themselves is bounded before it
//! is believed ([`facts`]).
//!
//! [`Membership`] is what the rest of the program uses; `observe` turns what chitchat knows into
//! [`Peer`]s, with no network and no clock of its own.

mod codec;
pub mod config;
mod counters;
mod discovery;
pub mod facts;
#[cfg(test)]
mod fixtures;
mod group;
pub mod keys;
mod membership;
mod observe;
pub mod resolve;
mod restores;
pub mod seal;
mod seeds;
mod sizes;
mod thread;
mod transport;

pub use config::{GossipConfig, GossipError};
pub use counters::Counters;
pub use facts::Facts;
pub use group::GroupFacts;
pub use membership::Membership;
pub use observe::{Liveness, Peer};
pub use restores::Restoring;

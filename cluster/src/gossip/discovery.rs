//! Asking those that a node is to join by, for as long as it runs.
//!
//! chitchat resolves its seeds once a minute and knows no SRV records, so it is given none: this
//! resolves them, and tells chitchat whom to gossip with. A node with live peers still asks
//! now and then those seeds that are none of them: two halves of a cluster that started apart find
//! each other so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::ChitchatHandle;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::counters::Seldom;
use super::observe::Peer;
use super::resolve::{Resolve, ResolveError};
use super::seeds::Seed;
use crate::name::NodeName;

/// How often names are resolved while there is a live peer.
const RESOLVE_EVERY: Duration = Duration::from_secs(15);
/// How often names are resolved while there is none.
const RESOLVE_ALONE: Duration = Duration::from_secs(1);
/// Seeds that a node without a live peer asks at a time.
const ASKED_ALONE: usize = 5;
/// A node with live peers asks one of the other seeds every so many intervals.
const ASKED_SELDOM: u64 = 10;

type Peers = watch::Receiver<Arc<BTreeMap<NodeName, Peer>>>;
/// Where each seed is, or was last.
pub type Found = BTreeMap<String, BTreeSet<SocketAddr>>;

/// Finds out where one seed is.
pub struct Finder {
    pub seed: Seed,
    pub resolver: Arc<dyn Resolve>,
    /// Whether this node can send to addresses of IPv6.
    pub over_ipv6: bool,
    pub me: NodeName,
    pub peers: Peers,
}

impl Finder {
    /// Keeps `found` up to date for as long as anybody looks at it.
    pub async fn run(self, found: watch::Sender<Found>) {
        let complaint = Seldom::default();
        let seed = &self.seed;
        while !found.is_closed() {
            match self.find().await {
                Ok(addresses) => found.send_modify(|found| {
                    found.insert(seed.to_string(), addresses);
                }),
                // Where it was may be where it is: names do not resolve while a name server restarts.
                Err(error) if complaint.now() => {
                    tracing::warn!(%seed, "nobody is found there to join the cluster by: {error}");
                }
                Err(_) => {}
            }
            if !seed.is_name() {
                return;
            }
            tokio::time::sleep(match has_company(&self.me, &self.peers) {
                true => RESOLVE_EVERY,
                false => RESOLVE_ALONE,
            })
            .await;
        }
    }

    async fn find(&self) -> Result<BTreeSet<SocketAddr>, ResolveError> {
        let mut found = self.seed.addresses(self.resolver.as_ref()).await?;
        found.retain(|address| self.over_ipv6 || address.is_ipv4());
        match found.is_empty() {
            false => Ok(found),
            true => Err(ResolveError("it has no address that this node can send to".into())),
        }
    }
}

fn has_company(me: &NodeName, peers: &Peers) -> bool {
    peers.borrow().values().any(|peer| peer.name != *me && peer.alive())
}

/// Asks seeds, every interval.
pub async fn ask(
    handle: Arc<ChitchatHandle>,
    me: NodeName,
    myself: BTreeSet<SocketAddr>,
    peers: Peers,
    found: watch::Receiver<Found>,
    interval: Duration,
) {
    let mut ticks = tokio::time::interval_at(Instant::now(), interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Nodes that start together do not all ask the same seeds first.
    let mut turn = Turn { tick: 0, last: myself.last().copied() };
    loop {
        ticks.tick().await;
        let company: BTreeSet<SocketAddr> = {
            let peers = peers.borrow();
            let others = peers.values().filter(|peer| peer.name != me && peer.alive());
            others.map(|peer| peer.gossip).collect()
        };
        let seeds: BTreeSet<SocketAddr> = found.borrow().values().flatten().copied().collect();
        for address in turn.next(&seeds, &myself, &company) {
            if handle.gossip(address).is_err() {
                return;
            }
        }
    }
}

/// Whose turn it is.
struct Turn {
    tick: u64,
    last: Option<SocketAddr>,
}

impl Turn {
    /// The seeds to ask now: those that are not already alive, one after another.
    fn next(
        &mut self,
        seeds: &BTreeSet<SocketAddr>,
        myself: &BTreeSet<SocketAddr>,
        company: &BTreeSet<SocketAddr>,
    ) -> Vec<SocketAddr> {
        let tick = self.tick;
        self.tick = tick.wrapping_add(1);
        let many = match company.is_empty() {
            true => ASKED_ALONE,
            false if tick.is_multiple_of(ASKED_SELDOM) => 1,
            false => return Vec::new(),
        };
        let after = seeds.iter().filter(|seed| self.last.is_none_or(|last| **seed > last));
        let before = seeds.iter().filter(|seed| self.last.is_some_and(|last| **seed <= last));
        let others = after.chain(before).copied();
        let others = others.filter(|seed| !myself.contains(seed) && !company.contains(seed));
        let chosen: Vec<SocketAddr> = others.take(many).collect();
        self.last = chosen.last().copied().or(self.last);
        chosen
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn addresses(ports: std::ops::Range<u16>) -> BTreeSet<SocketAddr> {
        ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect()
    }

    #[test]
    fn whoever_is_alone_asks_everyone_in_turn() {
        let (seeds, myself) = (addresses(1..13), addresses(3..4));
        let mut turn = Turn { tick: 0, last: None };
        let asked: Vec<_> =
            (0..3).flat_map(|_| turn.next(&seeds, &myself, &BTreeSet::new())).collect();
        assert_eq!(asked.len(), 15);
        let others: BTreeSet<_> = seeds.difference(&myself).copied().collect();
        assert_eq!(asked.iter().copied().collect::<BTreeSet<_>>(), others);
        assert_eq!(asked[0], asked[11], "after the last comes the first");
    }

    #[test]
    fn in_company_those_that_are_missing_are_asked_now_and_then() {
        let (seeds, myself, company) = (addresses(1..6), addresses(1..2), addresses(2..4));
        let mut turn = Turn { tick: 0, last: None };
        let asked: Vec<_> = (0..40).flat_map(|_| turn.next(&seeds, &myself, &company)).collect();
        let ports: Vec<u16> = asked.iter().map(SocketAddr::port).collect();
        assert_eq!(ports, [4, 5, 4, 5]);
        assert!((0..40).all(|_| turn.next(&company, &myself, &company).is_empty()));
    }
}

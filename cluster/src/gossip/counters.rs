//! What was refused, and how much was sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::seal::Rejection;

/// How often one kind of trouble is logged, at most.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// How long an address is remembered whose clock is off.
const CLOCK_MEMORY: Duration = Duration::from_secs(60);
/// How many of these are remembered.
const CLOCKS_REMEMBERED: usize = 16;

/// What gossip has counted since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that were refused, by reason; every reason is there.
    pub refused: BTreeMap<Rejection, u64>,
    /// Where packets of the last minute came from that are proven with the cluster's key and told a time that is
    /// off; up to 16 addresses.
    pub clocks_off: Vec<SocketAddr>,
    /// Values that a member gossips and no node of ours would.
    pub hostile_values: u64,
    /// Packets that came while too many waited.
    pub overrun: u64,
    /// Messages that could not be sent.
    pub send_failures: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Bytes of them, without the headers of UDP and IP.
    pub bytes_sent: u64,
    /// Packets that were taken.
    pub packets_received: u64,
    /// Bytes of them, without the headers of UDP and IP.
    pub bytes_received: u64,
}

/// What counts while gossip runs.
#[derive(Debug, Default)]
pub(super) struct Counting {
    refused: [(AtomicU64, Seldom); Rejection::ALL.len()],
    clocks_off: Mutex<BTreeMap<SocketAddr, Instant>>,
    hostile_values: (AtomicU64, Seldom),
    overrun: (AtomicU64, Seldom),
    send_failures: (AtomicU64, Seldom),
    packets_sent: AtomicU64,
    bytes_sent: AtomicU64,
    packets_received: AtomicU64,
    bytes_received: AtomicU64,
}

impl Counting {
    pub fn refused(&self, reason: Rejection, from: SocketAddr) {
        let (count, seldom) = &self.refused[reason as usize];
        let count = add(count, 1);
        if seldom.now() {
            tracing::warn!(%from, count, "gossip packets are refused: {reason}");
        }
        if reason == Rejection::Clock {
            let mut clocks_off = self.clocks_off();
            if clocks_off.len() < CLOCKS_REMEMBERED || clocks_off.contains_key(&from) {
                clocks_off.insert(from, Instant::now());
            }
        }
    }

    /// Those of the last minute.
    fn clocks_off(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Instant>> {
        let mut clocks_off = self.clocks_off.lock().unwrap_or_else(PoisonError::into_inner);
        clocks_off.retain(|_, at| at.elapsed() < CLOCK_MEMORY);
        clocks_off
    }

    pub fn hostile_value(&self, node: &str, error: &dyn std::fmt::Display) {
        let count = add(&self.hostile_values.0, 1);
        if self.hostile_values.1.now() {
            let node: String = node.escape_debug().take(80).collect();
            tracing::warn!(node, count, "what a member gossips is ignored: {error}");
        }
    }

    pub fn overrun(&self) {
        let count = add(&self.overrun.0, 1);
        if self.overrun.1.now() {
            tracing::warn!(count, "gossip packets are dropped: more come than are handled");
        }
    }

    pub fn send_failed(&self, to: SocketAddr, error: &dyn std::fmt::Display) {
        let count = add(&self.send_failures.0, 1);
        if self.send_failures.1.now() {
            tracing::warn!(%to, count, "gossip cannot be sent: {error}");
        }
    }

    pub fn sent(&self, bytes: usize) {
        add(&self.packets_sent, 1);
        add(&self.bytes_sent, bytes as u64);
    }

    pub fn received(&self, bytes: usize) {
        add(&self.packets_received, 1);
        add(&self.bytes_received, bytes as u64);
    }

    pub fn read(&self) -> Counters {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let refused = Rejection::ALL.map(|reason| (reason, of(&self.refused[reason as usize].0)));
        Counters {
            refused: refused.into(),
            clocks_off: self.clocks_off().keys().copied().collect(),
            hostile_values: of(&self.hostile_values.0),
            overrun: of(&self.overrun.0),
            send_failures: of(&self.send_failures.0),
            packets_sent: of(&self.packets_sent),
            bytes_sent: of(&self.bytes_sent),
            packets_received: of(&self.packets_received),
            bytes_received: of(&self.bytes_received),
        }
    }
}

/// The new count.
fn add(count: &AtomicU64, more: u64) -> u64 {
    count.fetch_add(more, Ordering::Relaxed).wrapping_add(more)
}

/// True at most once a minute.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Whether it is time again.
    pub fn now(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= LOG_EVERY);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

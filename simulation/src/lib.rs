//! A whole cluster in one thread, with time, network, disks and chance of its own: the real Raft group,
//! shard map, supervisor, router and cold storage, and everything that can go wrong around them.
//!
//! A seed decides everything: the same seed gives the same log, to the byte. So a seed that fails is
//! all that is needed to see the failure again.

mod calls;
mod catalog;
mod chance;
mod client;
mod disk;
mod ending;
mod faults;
mod host;
mod index;
mod judge;
mod machine;
mod membership;
pub mod mistakes;
mod network;
mod node;
mod randomness;
mod remote;
mod run;
mod simulation;
mod store;

pub use run::{Report, run};

/// Seeds that have found something before.
///
/// # Panics
///
/// When a line of their file does not begin with a seed.
#[expect(clippy::expect_used, reason = "the file is a part of this program")]
pub fn regressions() -> Vec<u64> {
    let lines = include_str!("regressions.txt").lines().filter(|line| !line.starts_with('#'));
    let words = lines.filter_map(|line| line.split_whitespace().next());
    words.map(|word| word.parse().expect("a seed at the beginning of the line")).collect()
}

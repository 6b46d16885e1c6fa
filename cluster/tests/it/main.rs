//! Tests of the crate as others see it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod consensus;
mod gossip;
mod peers;
mod placement;
mod shard_map;
mod supervisor;

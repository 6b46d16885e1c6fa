#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crash;
mod disk;
mod failing;
mod suite;

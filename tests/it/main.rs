//! Black-box tests: they run the built binary as a user would, and look at what a user sees.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

mod bad_input;
mod cli;
mod cluster;
mod concurrency;
mod configuration;
mod crash;
mod http;
mod parts;
mod repositories;
mod routing;
mod serve;
mod storage;

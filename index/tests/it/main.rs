//! What the engine promises, tested through its public interface.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod check;
mod generate;
mod naive;
mod oracle;
mod support;
mod world;

//! The wire contracts between nodes, and the code that is generated from them.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

tonic::include_proto!("aeterna.node.v1");

#[cfg(test)]
mod fixtures;

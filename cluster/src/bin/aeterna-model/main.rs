//! `aeterna-model NODES SHARDS REPOSITORIES`: how a cluster of so many nodes gossips, how large its
//! shard map is, and how long it takes to give the shards of a tenth of its nodes to others.
//!
//! The gossip, the state machine, the Raft group and the supervisor are the real ones; the nodes are in
//! one process and hold nothing. `cargo xtask bench cluster` runs it and reads the JSON that it prints.

mod gossip;
mod group;
mod peers;
mod sizes;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::runtime::Builder;

/// The cluster that is modelled.
#[derive(Clone, Copy)]
struct Model {
    nodes: u32,
    shards: u32,
    repositories: u64,
}

impl Model {
    /// One in ten.
    fn lost(self) -> u32 {
        self.nodes / 10
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aeterna-model: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let model = model()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let shards = sizes::of_shards(model);
    let ownership = runtime.block_on(group::measure(model, &shards))?;
    let gossip = runtime.block_on(gossip::bytes_a_second(model, &shards))?;
    let result = json!({
        "nodes": model.nodes,
        "shards": model.shards,
        "repositories": model.repositories,
        "gossip_bytes": gossip,
        "map_bytes": ownership.map_bytes,
        "lost": model.lost(),
        "lost_shards": ownership.lost_shards,
        "decide_ms": ownership.decide.as_secs_f64() * 1e3,
        "reassigned_ms": ownership.reassigned.as_secs_f64() * 1e3,
        "command_bytes": ownership.command_bytes,
    });
    println!("{result}");
    Ok(())
}

fn model() -> Result<Model> {
    let arguments: Vec<u64> = std::env::args()
        .skip(1)
        .map(|text| text.parse().with_context(|| format!("`{text}` is no number")))
        .collect::<Result<_>>()?;
    let [nodes, shards, repositories] = arguments[..] else {
        anyhow::bail!("three numbers are wanted: of nodes, of shards and of repositories");
    };
    let model = Model { nodes: nodes.try_into()?, shards: shards.try_into()?, repositories };
    ensure!((20..=1_000).contains(&model.nodes), "20 to 1,000 nodes are modelled");
    Ok(model)
}

//! `aeterna code-search shard` and `node`.

use std::io::{self, Write};

use indicatif::HumanBytes;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::cluster::{nodes_table, shards_table};
use super::cluster_args::{NodeArgs, NodeCommand, ShardArgs, ShardCommand};
use super::{CommandError, Exit};
use crate::api::cluster::{NodeList, Rebalance, Shard, ShardList};

const CLUSTER: [&str; 3] = ["api", "v1", "cluster"];

/// A path below `/api/v1/cluster`.
fn path<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    CLUSTER.iter().chain(rest).copied().collect()
}

/// Runs `aeterna code-search shard`.
///
/// # Errors
/// When the server does not answer or refuses, or the output cannot be written.
pub async fn shard(args: &ShardArgs) -> Result<Exit, CommandError> {
    let client = Client::new(&args.server.server)?;
    let number = |shard: &u32| shard.to_string();
    match &args.command {
        ShardCommand::List => {
            let list: ShardList = get(&client, &["shards"]).await?;
            show(args.json, &list, |list| shards_table(&list.shards))
        }
        ShardCommand::Show { shard } => {
            let shard: Shard = get(&client, &["shards", &number(shard)]).await?;
            show(args.json, &shard, |shard| shards_table(std::slice::from_ref(shard)))
        }
        ShardCommand::Move { shard, to } => {
            let shard =
                post(&client, &["shards", &number(shard), "move"], json!({"to": to})).await?;
            show(args.json, &shard, moved)
        }
        ShardCommand::Pin { shard, to } => {
            let shard =
                post(&client, &["shards", &number(shard), "pin"], json!({"to": to})).await?;
            show(args.json, &shard, moved)
        }
        ShardCommand::Rebalance { dry_run } => {
            let plan = post(&client, &["rebalance"], json!({"dryRun": dry_run})).await?;
            show(args.json, &plan, rebalance)
        }
    }
}

/// Runs `aeterna code-search node`.
///
/// # Errors
/// When the server does not answer or refuses, or the output cannot be written.
pub async fn node(args: &NodeArgs) -> Result<Exit, CommandError> {
    let client = Client::new(&args.server.server)?;
    match &args.command {
        NodeCommand::List => {}
        NodeCommand::Drain { node } => {
            let _: Value = post(&client, &["nodes", node, "drain"], json!({})).await?;
        }
        NodeCommand::Remove { node } => {
            client.bytes(client.request(Method::DELETE, &path(&["nodes", node]))).await?;
        }
    }
    let list: NodeList = get(&client, &["nodes"]).await?;
    show(args.json, &list, |list| nodes_table(&list.nodes))
}

async fn get<T: serde::de::DeserializeOwned>(
    client: &Client,
    rest: &[&str],
) -> Result<T, CommandError> {
    Ok(client.json(client.request(Method::GET, &path(rest))).await?)
}

async fn post<T: serde::de::DeserializeOwned>(
    client: &Client,
    rest: &[&str],
    body: Value,
) -> Result<T, CommandError> {
    Ok(client.json(client.request(Method::POST, &path(rest)).json(&body)).await?)
}

/// Prints an answer as JSON or for a person.
fn show<T: serde::Serialize>(
    as_json: bool,
    answer: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<Exit, CommandError> {
    let text = if as_json {
        let json = serde_json::to_string(answer)
            .map_err(|error| CommandError::Other(error.to_string()))?;
        format!("{json}\n")
    } else {
        text(answer)
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Success)
}

fn moved(shard: &Shard) -> String {
    shards_table(std::slice::from_ref(shard))
}

fn rebalance(plan: &Rebalance) -> String {
    let what = if plan.dry_run { "would move" } else { "move" };
    let mut text = format!("{} shards {what}, {}\n", plan.moves.len(), HumanBytes(plan.bytes));
    for moved in &plan.moves {
        text.push_str(&format!(
            "  shard {}: {} to {}, {}\n",
            moved.shard,
            moved.from,
            moved.to,
            HumanBytes(moved.bytes)
        ));
    }
    for node in &plan.nodes {
        text.push_str(&format!(
            "{}: {} shards, {} before; {} shards, {} after\n",
            node.name,
            node.shards_before,
            HumanBytes(node.bytes_before),
            node.shards_after,
            HumanBytes(node.bytes_after)
        ));
    }
    text
}

//! `aeterna cluster status`, and the tables of clusters.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::HumanBytes;
use reqwest::Method;

use super::client::{Client, ClientError};
use super::cluster_args::ClusterStatusArgs;
use super::terminal::{aligned, printable};
use super::{CommandError, Exit};
use crate::api::cluster::{ClusterStatus, Health, Node, Shard};

/// How often `--watch` asks.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Shards that a table lists one by one.
const LISTED_SHARDS: usize = 6;

/// Runs `aeterna cluster status`.
///
/// # Errors
/// When the server does not answer, or the output cannot be written.
pub async fn status(args: &ClusterStatusArgs) -> Result<Exit, CommandError> {
    let client = Client::new(&args.server.server)?;
    let mut shown = String::new();
    loop {
        let text = match ask(&client).await {
            Ok(status) => {
                let text = if args.json { json_line(&status)? } else { table(&status) };
                if !args.watch {
                    print!("{text}");
                    io::stdout().flush()?;
                    return Ok(exit_of(status.status));
                }
                text
            }
            Err(error) if args.watch => format!("unavailable: {error}\n"),
            Err(error) => return Err(error.into()),
        };
        if text != shown {
            redraw(&shown, &text)?;
            shown = text;
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// The state of the cluster as a server sees it.
pub async fn ask(client: &Client) -> Result<ClusterStatus, ClientError> {
    client.json(client.request(Method::GET, &["api", "v1", "cluster"])).await
}

fn exit_of(health: Health) -> Exit {
    match health {
        Health::Green => Exit::Success,
        Health::Yellow => Exit::Nothing,
        Health::Red => Exit::Error,
    }
}

fn json_line(status: &ClusterStatus) -> Result<String, CommandError> {
    let text =
        serde_json::to_string(status).map_err(|error| CommandError::Other(error.to_string()))?;
    Ok(format!("{text}\n"))
}

/// Shows a text in the place of the one before, where the terminal can.
pub fn redraw(before: &str, now: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if out.is_terminal() && !before.is_empty() {
        // Up to the first line of what was shown, and clear from there.
        write!(out, "\x1b[{}A\x1b[J", before.lines().count())?;
    }
    out.write_all(now.as_bytes())?;
    out.flush()
}

/// The state as a table for a person.
pub fn table(status: &ClusterStatus) -> String {
    let mut text = String::new();
    let raft = &status.raft;
    let leader = raft.leader.as_deref().unwrap_or("none");
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "cluster {}  {}  map {}  leader {}  term {}  shards {}",
        status.cluster_id,
        status.status.as_str(),
        status.map_version,
        printable(leader.as_bytes()),
        raft.term,
        status.shards,
    );
    for reason in &status.reasons {
        let _ = writeln!(text, "  ! {}", printable(reason.as_bytes()));
    }
    if let Some(failure) = &status.last_failure {
        let message = printable(failure.message.as_bytes());
        let _ = writeln!(text, "  last failure, {}: {message}", failure.at);
    }
    text.push_str(&nodes_table(&status.nodes));
    for restore in &status.restores {
        let _ = writeln!(
            text,
            "shard {} comes to {}: {} of {}{}",
            restore.shard,
            printable(restore.node.as_bytes()),
            HumanBytes(restore.bytes_done),
            HumanBytes(restore.bytes_total),
            left(restore.remaining_ms)
        );
    }
    for moved in &status.moves {
        let _ = writeln!(
            text,
            "shard {} moves from {} to {}: {} of {}{}",
            moved.shard,
            printable(moved.from.as_bytes()),
            printable(moved.to.as_bytes()),
            HumanBytes(moved.bytes_done),
            HumanBytes(moved.bytes),
            left(moved.remaining_ms)
        );
    }
    if !status.unhealthy_shards.is_empty() {
        let listed = status.unhealthy_shards.len().min(LISTED_SHARDS);
        text.push_str(&shards_table(&status.unhealthy_shards[..listed]));
        if listed < status.unhealthy_shards.len() {
            let _ = writeln!(text, "… and {} more", status.unhealthy_shards.len() - listed);
        }
    }
    text
}

/// Nodes as a table.
pub fn nodes_table(nodes: &[Node]) -> String {
    let mut rows = vec![
        ["NODE", "STATE", "ROLE", "OWNS", "SERVES", "HEARTBEAT", "DISK FREE", "HTTP"]
            .map(str::to_owned),
    ];
    rows.extend(nodes.iter().map(|node| {
        [
            printable(node.name.as_bytes()),
            node.state.clone(),
            if node.voter { "voter" } else { "" }.to_owned(),
            node.shards_owned.to_string(),
            node.shards_serving.to_string(),
            node.heartbeat_age_ms.map_or_else(|| "never".to_owned(), heartbeat),
            disk_free(node),
            printable(node.http.as_bytes()),
        ]
    }));
    aligned(&rows)
}

/// Shards as a table.
pub fn shards_table(shards: &[Shard]) -> String {
    let head =
        ["SHARD", "STATE", "EPOCH", "OWNER", "COPIES", "MOVES TO", "PIN", "SIZE", "WAITS FOR"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(shards.iter().map(|shard| {
        let name = |name: &Option<String>| printable(name.as_deref().unwrap_or("-").as_bytes());
        [
            shard.shard.to_string(),
            shard.state.clone(),
            shard.epoch.to_string(),
            name(&shard.owner),
            name(&(!shard.replicas.is_empty()).then(|| shard.replicas.join(","))),
            name(&shard.moving_to),
            name(&shard.pin),
            HumanBytes(shard.bytes).to_string(),
            printable(shard.waits_for.as_deref().unwrap_or("").as_bytes()),
        ]
    }));
    aligned(&rows)
}

fn left(remaining_ms: Option<u64>) -> String {
    remaining_ms.map_or_else(String::new, |left| format!(", {} s left", left.div_ceil(1_000)))
}

/// Of a node that has not told of its disk nothing is known.
fn disk_free(node: &Node) -> String {
    if node.disk_total == 0 { "-".to_owned() } else { HumanBytes(node.disk_free).to_string() }
}

/// Heartbeats younger than this are not worth a number.
const FRESH_MS: u64 = 2_000;

fn heartbeat(age_ms: u64) -> String {
    if age_ms < FRESH_MS { "ok".to_owned() } else { format!("{} s ago", age_ms / 1000) }
}

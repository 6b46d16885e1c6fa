//! `aeterna cluster status`, and the tables of clusters.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use reqwest::Method;

use super::client::{Client, ClientError};
use super::cluster_args::ClusterStatusArgs;
use super::terminal::printable;
use super::{CommandError, Exit};
use crate::api::cluster::{ClusterStatus, Health, Node, Shard};

/// How often `--watch` asks.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Shards that a table lists one by one.
const LISTED_SHARDS: usize = 20;

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
    text.push_str(&nodes_table(&status.nodes));
    for restore in &status.restores {
        let _ = writeln!(
            text,
            "shard {} is being restored: {} of {}",
            restore.shard,
            size(restore.bytes_done),
            size(restore.bytes_total)
        );
    }
    for moved in &status.moves {
        let _ = writeln!(text, "shard {} moves from {} to {}", moved.shard, moved.from, moved.to);
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
            size(node.disk_free),
            printable(node.http.as_bytes()),
        ]
    }));
    aligned(&rows)
}

/// Shards as a table.
pub fn shards_table(shards: &[Shard]) -> String {
    let mut rows =
        vec![["SHARD", "STATE", "EPOCH", "OWNER", "PIN", "SIZE", "WAITS FOR"].map(str::to_owned)];
    rows.extend(shards.iter().map(|shard| {
        let name = |name: &Option<String>| printable(name.as_deref().unwrap_or("-").as_bytes());
        [
            shard.shard.to_string(),
            shard.state.clone(),
            shard.epoch.to_string(),
            name(&shard.owner),
            name(&shard.pin),
            size(shard.bytes),
            printable(shard.waits_for.as_deref().unwrap_or("").as_bytes()),
        ]
    }));
    aligned(&rows)
}

/// Rows with columns of one width each.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    rows.iter().fold(String::new(), |mut text, row| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
        text
    })
}

/// Heartbeats younger than this are not worth a number.
const FRESH_MS: u64 = 2_000;

fn heartbeat(age_ms: u64) -> String {
    if age_ms < FRESH_MS { "ok".to_owned() } else { format!("{} s ago", age_ms / 1000) }
}

/// Bytes for a person.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        for (bytes, text) in
            [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (2_000_000_000, "2.0 GB")]
        {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn columns_line_up() {
        let rows = [["A".to_owned(), "B".to_owned()], ["longer".to_owned(), "x".to_owned()]];
        assert_eq!(aligned(&rows), "A       B\nlonger  x\n");
    }
}

//! Everything that is driven: the nodes, their servers, and the history of what they do.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::history::History;
use crate::network::Host;
use crate::node::Node;
use crate::remotes::PART_BYTES;
use crate::servers::Server;

const LOOK_EVERY: Duration = Duration::from_millis(50);
const PEER_PORT: u16 = 8081;
const GOSSIP_PORT: u16 = 8082;
/// Shards of the cluster.
pub(crate) const SHARDS: u32 = 24;
/// Seconds without a heartbeat after which a node is dead.
pub(crate) const HEARTBEAT_TIMEOUT: u64 = 3;

/// How a cluster is made.
pub(crate) struct Plan {
    /// The program `aeterna`.
    pub(crate) program: PathBuf,
    /// Where everything of the run goes.
    pub(crate) folder: PathBuf,
    /// How many nodes.
    pub(crate) nodes: u8,
    /// Nodes that hold a shard.
    pub(crate) replicas: u32,
    /// Variables of the nodes' environment that name the servers.
    pub(crate) servers: Vec<(String, String)>,
}

/// A cluster and what is around it.
pub(crate) struct World {
    /// The nodes, by number.
    pub(crate) nodes: Vec<Node>,
    /// The database.
    pub(crate) database: Server,
    /// The object store.
    pub(crate) store: Server,
    /// What happens.
    pub(crate) history: History,
    /// Set when the clients are to stop.
    pub(crate) is_over: AtomicBool,
}

impl World {
    /// Makes the hosts and nodes; none runs yet.
    pub(crate) fn new(plan: &Plan, database: Server, store: Server) -> Result<Arc<Self>> {
        let history = History::new(&plan.folder.join("history.jsonl"))?;
        let key = write_key(&plan.folder)?;
        let hosts = (1..=plan.nodes).map(Host::new).collect::<Result<Vec<_>>>()?;
        let join: Vec<String> =
            hosts.iter().map(|host| format!("{}:{GOSSIP_PORT}", host.address)).collect();
        let join = join.join(",");
        let node = |(number, host): (u8, Host)| {
            let name = format!("node-{number}");
            let environment = environment(plan, &name, &host, &join, &key);
            Node::new(&name, host, &plan.program, &plan.folder, environment)
        };
        let nodes = (1..).zip(hosts).map(node).collect::<Result<Vec<_>>>()?;
        let is_over = AtomicBool::new(false);
        Ok(Arc::new(Self { nodes, database, store, history, is_over }))
    }

    /// Starts every node and waits until all is served.
    pub(crate) fn start(&self, within: Duration) -> Result<()> {
        for node in &self.nodes {
            node.start()?;
        }
        for node in &self.nodes {
            node.wait_until_it_answers()?;
        }
        self.settle(within)
    }

    /// Waits until every node sees every shard served and every node alive, and knows who leads.
    pub(crate) fn settle(&self, within: Duration) -> Result<()> {
        let until = Instant::now() + within;
        loop {
            let unsettled = |node: &Node| {
                let what = match node.cluster() {
                    Some(status) => unsettled(&status, self.nodes.len())?,
                    None => "does not answer".to_owned(),
                };
                Some(format!("{} {what}", node.name))
            };
            let Some(what) = self.nodes.iter().find_map(unsettled) else { return Ok(()) };
            if Instant::now() >= until {
                bail!("not settled within {within:?}: {what}");
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// The place of the node that leads, as the first that knows says.
    pub(crate) fn leader(&self) -> Option<usize> {
        let leads = |node: &Node| self.place(node.cluster()?["raft"]["leader"].as_str()?);
        self.nodes.iter().find_map(leads)
    }

    /// The place of a node.
    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// Waits, and returns early when the run is over.
    pub(crate) fn pause(&self, milliseconds: u64) {
        let until = Instant::now() + Duration::from_millis(milliseconds);
        while !self.is_over() && Instant::now() < until {
            std::thread::sleep(until.saturating_duration_since(Instant::now()).min(LOOK_EVERY));
        }
    }

    /// Whether the clients are to stop.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}

/// What a node, by its view of the cluster, still waits for.
fn unsettled(status: &Value, nodes: usize) -> Option<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let unhealthy = list(&status["unhealthyShards"]);
    if let Some(first) = unhealthy.first() {
        return Some(format!("sees {} shards that are not served, first {first}", unhealthy.len()));
    }
    let states = list(&status["nodes"]);
    let others: Vec<String> = states
        .iter()
        .filter(|node| node["state"] != "alive")
        .map(|node| format!("{} is {}", node["name"], node["state"]))
        .collect();
    if !others.is_empty() || states.len() != nodes {
        return Some(format!("sees {} nodes; {}", states.len(), others.join(", ")));
    }
    if !status["raft"]["leader"].is_string() {
        return Some("does not know who leads".to_owned());
    }
    // Whoever loses a second disk before the vote of the first is another's loses the majority for ever.
    let lost = list(&status["raft"]["lostVoters"]);
    if !lost.is_empty() {
        return Some(format!("counts on lost voters: {lost:?}"));
    }
    let is_moving = !list(&status["moves"]).is_empty();
    is_moving.then(|| "sees shards on their way".to_owned())
}

/// The cluster's key, for all nodes.
fn write_key(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("cluster.key");
    let random = std::fs::read("/proc/sys/kernel/random/uuid")?;
    let more = std::fs::read("/proc/sys/kernel/random/uuid")?;
    let key = [random.trim_ascii(), more.trim_ascii(), b"\n"].concat();
    std::fs::write(&path, key).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn environment(
    plan: &Plan,
    name: &str,
    host: &Host,
    join: &str,
    key: &Path,
) -> Vec<(String, String)> {
    let address = host.address;
    let ours = [
        ("SHARD_ID", name.to_owned()),
        ("POD_IP", address.to_string()),
        ("AETERNA_LISTEN", format!("127.0.0.1:{}", crate::http::PORT)),
        ("AETERNA_CLUSTER_JOIN", join.to_owned()),
        ("AETERNA_CLUSTER_LISTEN", format!("{address}:{PEER_PORT}")),
        ("AETERNA_CLUSTER_GOSSIP", format!("{address}:{GOSSIP_PORT}")),
        ("AETERNA_CLUSTER_KEY_FILE", key.display().to_string()),
        ("AETERNA_CLUSTER_SHARDS", SHARDS.to_string()),
        ("AETERNA_CLUSTER_REPLICAS", plan.replicas.to_string()),
        ("AETERNA_CLUSTER_HEARTBEAT_TIMEOUT_SECONDS", HEARTBEAT_TIMEOUT.to_string()),
        ("AETERNA_CLUSTER_PART_BYTES", PART_BYTES.to_string()),
        // An outage that lasts is no reason to give a repository up.
        ("AETERNA_INDEXING_ATTEMPTS", "1000".to_owned()),
        ("AETERNA_LOG_FORMAT", "json".to_owned()),
        ("AETERNA_LOG", "info".to_owned()),
        ("PATH", std::env::var("PATH").unwrap_or_default()),
        // Nothing of whoever runs this.
        ("HOME", plan.folder.join("nobody").display().to_string()),
        ("RUST_BACKTRACE", "1".to_owned()),
    ];
    let ours = ours.into_iter().map(|(key, value)| (key.to_owned(), value));
    ours.chain(plan.servers.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cluster_is_settled_when_a_node_misses_nothing() {
        let node = |state: &str| json!({"name": "node-1", "state": state});
        let well = json!({
            "unhealthyShards": [],
            "nodes": [node("alive"), node("alive")],
            "raft": {"leader": "node-2"},
            "moves": [],
        });
        assert_eq!(unsettled(&well, 2), None);
        for (name, value) in [
            ("unhealthyShards", json!([{"shard": 1}])),
            ("nodes", json!([node("alive")])),
            ("nodes", json!([node("alive"), node("dead")])),
            ("raft", json!({"leader": null})),
            ("raft", json!(null)),
            ("raft", json!({"leader": "node-2", "lostVoters": ["node-1"]})),
            ("moves", json!([{"shard": 1}])),
        ] {
            let mut status = well.clone();
            status[name] = value;
            assert!(unsettled(&status, 2).is_some(), "{status}");
        }
    }
}

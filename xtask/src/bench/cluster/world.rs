//! A cluster to be measured: its nodes, and the servers that they need.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::node::{Launch, Node, stay};
use super::spread::Part;
use crate::postgres::Postgres;
use crate::s3::S3;
use crate::servers::random_hex;

/// Shards of the clusters.
pub(super) const SHARDS: u32 = 64;
/// Seconds without a heartbeat after which a node is dead: what it is by itself.
pub(super) const HEARTBEAT_TIMEOUT: u64 = 10;
const PATIENCE: Duration = Duration::from_secs(180);
const INDEX_DEADLINE: Duration = Duration::from_secs(1800);
/// Repositories that wait to be indexed are looked at this often: their list is long.
const LOOK_AT_INDEXING_EVERY: Duration = Duration::from_millis(500);

/// Where a cluster keeps what outlives its nodes.
pub(super) enum Backing {
    /// As in production: PostgreSQL, and a server that speaks S3.
    Servers(Box<(Postgres, S3)>),
    /// One SQLite file and one folder.
    Files,
}

impl Backing {
    /// Starts PostgreSQL and the S3 server.
    pub(super) fn servers() -> Result<Self> {
        Ok(Self::Servers(Box::new((Postgres::start()?, S3::start()?))))
    }

    /// The servers' versions.
    pub(super) fn versions(&self) -> Vec<(String, String)> {
        match self {
            Self::Servers(servers) => vec![
                ("database".to_owned(), servers.0.version().to_owned()),
                ("cold storage".to_owned(), servers.1.version()),
            ],
            Self::Files => Vec::new(),
        }
    }

    fn settings(&self, folder: &Path) -> Vec<String> {
        match self {
            Self::Servers(_) => Vec::new(),
            Self::Files => vec![
                "cold_storage.provider=local".to_owned(),
                format!("cold_storage.path={}", folder.join("cold").display()),
                format!("database_url=sqlite://{}", folder.join("catalog.db").display()),
            ],
        }
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let Self::Servers(servers) = self else { return Vec::new() };
        let (postgres, s3) = servers.as_ref();
        s3.environment().into_iter().chain([("DATABASE_URL", postgres.url().to_owned())]).collect()
    }
}

/// A cluster that runs. Dropping it ends its nodes, and then its servers.
pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    folder: PathBuf,
    binary: PathBuf,
    backing: Backing,
    replicas: u32,
}

impl World {
    /// Starts so many nodes on an empty folder, and waits until they serve all shards.
    pub(super) fn start(
        binary: &Path,
        folder: &Path,
        backing: Backing,
        nodes: usize,
        replicas: u32,
    ) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        fs::write(folder.join("cluster.key"), random_hex(32)?)?;
        let numbered = (1..=nodes).map(|number| Node::new(number, folder));
        let nodes = numbered.collect::<Result<_>>()?;
        let folder = folder.to_owned();
        let mut world = Self { nodes, folder, binary: binary.to_owned(), backing, replicas };
        world.start_all()?;
        Ok(world)
    }

    fn start_all(&mut self) -> Result<()> {
        for number in 0..self.nodes.len() {
            self.start_node(number)?;
        }
        self.settled(0)
    }

    /// Starts a node that does not run.
    pub(super) fn start_node(&mut self, number: usize) -> Result<()> {
        let settings = self.settings();
        let environment = self.backing.environment();
        let launch =
            Launch { binary: &self.binary, settings: &settings, environment: &environment };
        self.nodes[number].start(&launch)
    }

    /// Adds a node, and starts it.
    pub(super) fn add_node(&mut self) -> Result<()> {
        let number = self.nodes.len();
        self.nodes.push(Node::new(number + 1, &self.folder)?);
        self.start_node(number)
    }

    fn settings(&self) -> Vec<String> {
        let join: Vec<String> = self.nodes.iter().map(|node| node.gossip().to_string()).collect();
        let mut settings = vec![
            "cluster.listen=127.0.0.1:0".to_owned(),
            format!("cluster.join={}", join.join(",")),
            format!("cluster.shards={SHARDS}"),
            format!("cluster.replicas={}", self.replicas),
            format!("cluster.heartbeat_timeout_seconds={HEARTBEAT_TIMEOUT}"),
            format!("cluster.key_file={}", self.folder.join("cluster.key").display()),
            // All nodes share one disk, however full it is.
            "cluster.disk_high_percent=100".to_owned(),
        ];
        settings.extend(self.backing.settings(&self.folder));
        settings
    }

    /// Copies of a shard, its owner's included.
    pub(super) fn replicas(&self) -> u32 {
        self.replicas
    }

    /// Stops all nodes and starts them again with so many copies of each shard.
    pub(super) fn restart_with_replicas(&mut self, replicas: u32) -> Result<()> {
        self.replicas = replicas;
        for node in &self.nodes {
            node.ask_to_stop()?;
        }
        self.nodes.iter_mut().try_for_each(Node::terminate)?;
        self.start_all()?;
        self.copied()
    }

    /// Nodes that run.
    pub(super) fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_running())
    }

    /// Waits until every shard is served and every node that runs is alive, as a node sees it.
    pub(super) fn settled(&self, via: usize) -> Result<()> {
        let running = self.running().count();
        self.wait("settled", |world| {
            let status = world.nodes[via].status()?;
            let nodes = status["nodes"].as_array().map_or(&[][..], Vec::as_slice);
            let alive = nodes.iter().filter(|node| node["state"] == "alive").count();
            let all = status["unhealthyShards"].as_array().is_some_and(Vec::is_empty);
            Ok((all && alive == running).then_some(()))
        })
    }

    /// Waits until cold storage has everything.
    pub(super) fn uploaded(&self) -> Result<()> {
        self.wait("uploaded", |world| {
            let mut waiting = 0.0;
            for node in world.running() {
                waiting += node.metric("code_search_shards_not_uploaded")?;
            }
            Ok((waiting == 0.0).then_some(()))
        })
    }

    /// Waits until every shard has all its copies, and they have all that was committed before.
    pub(super) fn copied(&self) -> Result<()> {
        self.uploaded()?;
        let begun = Instant::now();
        let wanted = f64::from(SHARDS * (self.replicas - 1));
        self.wait("copied", |world| {
            let (mut copies, mut oldest) = (0.0, 0.0_f64);
            let elapsed = begun.elapsed().as_secs_f64();
            for node in world.running() {
                copies += node.metric("code_search_replicas")?;
                oldest = oldest.max(node.metric("code_search_oldest_replica_seconds")?);
            }
            Ok((copies >= wanted && oldest < elapsed).then_some(()))
        })
    }

    /// Adds repositories and waits until all of them are indexed, with symbols, and in cold storage.
    pub(super) fn fill(&self, parts: &[Part]) -> Result<()> {
        let nodes: Vec<&Node> = self.running().collect();
        for (part, node) in parts.iter().zip(nodes.iter().cycle()) {
            let body = json!({"url": part.git_dir, "name": part.name});
            node.client().post("/api/v1/repos", &body)?.json()?;
        }
        let until = Instant::now() + INDEX_DEADLINE;
        loop {
            std::thread::sleep(LOOK_AT_INDEXING_EVERY);
            let lists = nodes.iter().map(|node| repositories(node)).collect::<Result<Vec<_>>>()?;
            let mut all = lists.iter().flat_map(BTreeMap::values);
            if let Some(failed) = all.find(|one| one["state"] == "error") {
                bail!("indexing failed: {failed}");
            }
            let is_done = |one: &Value| one["state"] == "ready" && one["symbols"] == "ready";
            // Whether symbols are still to be read, a list says only of what its own node indexes.
            let done =
                |part: &&Part| lists.iter().all(|list| list.get(&part.name).is_some_and(is_done));
            let indexed = parts.iter().filter(done).count();
            if indexed == parts.len() {
                return self.uploaded();
            }
            if Instant::now() > until {
                bail!(
                    "{indexed} of {} repositories are indexed after {INDEX_DEADLINE:?}",
                    parts.len()
                );
            }
            stay()?;
        }
    }

    /// All repositories by name.
    pub(super) fn repositories(&self) -> Result<BTreeMap<String, Value>> {
        repositories(self.running().next().context("no node runs")?)
    }

    /// Every shard as a node sees it, by number.
    pub(super) fn shards(&self, via: usize) -> Result<Vec<Shard>> {
        shards(&self.nodes[via])
    }

    /// The place of the node with this name.
    pub(super) fn place_of(&self, name: &str) -> Result<usize> {
        let place = self.nodes.iter().position(|node| node.name == name);
        place.with_context(|| format!("{name} is no node of this cluster"))
    }

    /// The place of the node that leads the Raft group, once one of the nodes knows of it.
    pub(super) fn leader(&self) -> Result<usize> {
        self.wait("led", |world| {
            for node in world.running() {
                if let Some(leader) = node.status()?["raft"]["leader"].as_str() {
                    return world.place_of(leader).map(Some);
                }
            }
            Ok(None)
        })
    }

    /// Waits until something is there.
    pub(super) fn wait<T>(
        &self,
        what: &str,
        mut look: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            if Instant::now() > until {
                let status = self.running().next().map(Node::status);
                bail!("not {what} after {PATIENCE:?}: {status:?}");
            }
            stay()?;
        }
    }

    /// Ends the nodes and removes their folder.
    pub(super) fn end(mut self) -> Result<()> {
        for node in &self.nodes {
            node.ask_to_stop()?;
        }
        self.nodes.iter_mut().try_for_each(Node::terminate)?;
        Ok(fs::remove_dir_all(&self.folder)?)
    }
}

/// All repositories by name, as a node lists them.
fn repositories(node: &Node) -> Result<BTreeMap<String, Value>> {
    let list = node.client().get("/api/v1/repos", &[("limit", "1000")])?.json()?;
    let list = list["repositories"].as_array().context("a list without `repositories`")?;
    let named = |one: &Value| Some((one["name"].as_str()?.to_owned(), one.clone()));
    Ok(list.iter().filter_map(named).collect())
}

/// Who owns a shard.
#[derive(Clone, Debug)]
pub(super) struct Shard {
    pub(super) owner: Option<String>,
    pub(super) is_moving: bool,
    /// Of its index, within a few percent.
    pub(super) bytes: u64,
}

/// Every shard as a node sees it, by number.
pub(super) fn shards(node: &Node) -> Result<Vec<Shard>> {
    let list = node.client().get("/api/v1/cluster/shards", &[])?.json()?;
    let list = list["shards"].as_array().context("a list without `shards`")?;
    let shard = |one: &Value| Shard {
        owner: one["owner"].as_str().map(str::to_owned),
        is_moving: !one["movingTo"].is_null(),
        bytes: one["bytes"].as_u64().unwrap_or_default(),
    };
    Ok(list.iter().map(shard).collect())
}

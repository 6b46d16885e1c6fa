//! Clusters that the tests start with `aeterna cluster dev`, as a user would.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::http::escape;
use super::{Ran, Reply, Request, aeterna, run, send_signal};

const START: Duration = Duration::from_secs(120);
const SETTLE: Duration = Duration::from_secs(120);
const NOT_UPLOADED: &str = "code_search_shards_not_uploaded";

/// A node of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterNode {
    pub name: String,
    pub pid: u64,
    pub http: SocketAddr,
    pub gossip: String,
}

/// A running cluster with a folder of its own.
pub struct Cluster {
    child: Child,
    pub nodes: Vec<ClusterNode>,
    folder: Option<TempDir>,
    path: PathBuf,
    settings: Vec<String>,
    /// Nodes that were started again, beside `cluster dev`.
    again: Vec<Child>,
    /// What `cluster dev` goes on to say.
    lines: Mutex<Receiver<String>>,
}

impl Cluster {
    /// So many nodes, with these settings.
    pub fn start(nodes: usize, settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut cluster = Self::start_in(folder.path().to_owned(), nodes, settings);
        cluster.folder = Some(folder);
        cluster
    }

    /// The same in this folder.
    pub fn start_in(path: PathBuf, nodes: usize, settings: &[&str]) -> Self {
        let mut command = aeterna(&["cluster", "dev", "--shards", "12", "--nodes"]);
        command.arg(nodes.to_string()).arg("--dir").arg(&path);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // At the end nobody may read any more.
                let _ = sender.send(line);
            }
        });
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut cluster = Self {
            child,
            nodes: Vec::new(),
            folder: None,
            path,
            settings,
            again: Vec::new(),
            lines: Mutex::new(lines),
        };
        let deadline = Instant::now() + START;
        while cluster.nodes.len() < nodes {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = cluster.lines.lock().unwrap().recv_timeout(left);
            let line = line.unwrap_or_else(|_| {
                panic!("the cluster did not start:\n{}", cluster.logs(nodes));
            });
            let Ok(node) = serde_json::from_str::<Value>(&line) else { continue };
            let address = |key: &str| {
                let text = node[key].as_str().unwrap().trim_start_matches("http://").to_owned();
                text.parse().unwrap_or_else(|_| panic!("{text} is no address: {line}"))
            };
            cluster.nodes.push(ClusterNode {
                name: node["name"].as_str().unwrap().to_owned(),
                pid: node["pid"].as_u64().unwrap(),
                http: address("http"),
                gossip: node["gossip"].as_str().unwrap().to_owned(),
            });
        }
        cluster
    }

    /// Folder of what a node keeps.
    pub fn data(&self, node: usize) -> PathBuf {
        self.path.join(format!("node-{}", node + 1))
    }

    /// A command with a node's configuration, as `cluster dev` gives it to that node.
    pub fn command_of(&self, node: usize, arguments: &[&str]) -> Command {
        let path = |name: &str| self.path.join(name).display().to_string();
        let gossip: Vec<&str> = self.nodes.iter().map(|node| node.gossip.as_str()).collect();
        let own = [
            "listen=127.0.0.1:0".to_owned(),
            "cluster.listen=127.0.0.1:0".to_owned(),
            format!("cluster.gossip={}", gossip[node]),
            format!("cluster.join={}", gossip.join(",")),
            "cluster.shards=12".to_owned(),
            format!("cluster.key_file={}", path("cluster.key")),
            "cluster.disk_high_percent=100".to_owned(),
            "cold_storage.provider=local".to_owned(),
            format!("cold_storage.path={}", path("cold")),
            format!("database_url=sqlite://{}", path("catalog.db")),
            format!("node_name=node-{}", node + 1),
        ];
        let mut command = aeterna(arguments);
        command.arg("--data").arg(self.data(node));
        for setting in own.iter().chain(&self.settings) {
            command.args(["--set", setting]);
        }
        command
    }

    /// Starts a node again that has ended, at the same address of gossip.
    pub fn start_again(&mut self, node: usize) {
        self.begin_again(node, "127.0.0.1:0");
        self.opened(node);
    }

    /// The same without waiting until it is open; `http` is where it listens.
    pub fn begin_again(&mut self, node: usize, http: &str) {
        let _ = std::fs::remove_file(self.data(node).join("server.json"));
        let mut command = self.command_of(node, &["serve", "--stop-with-stdin"]);
        command.arg("--set").arg(format!("listen={http}"));
        std::fs::create_dir_all(self.data(node)).unwrap();
        let log = self.data(node).join("log");
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        self.nodes[node].pid = u64::from(child.id());
        self.nodes[node].http = http.parse().unwrap();
        self.again.push(child);
    }

    /// Waits until a node that was started again is open.
    pub fn opened(&mut self, node: usize) {
        let facts = self.data(node).join("server.json");
        let deadline = Instant::now() + START;
        let facts = loop {
            let text = std::fs::read(&facts).unwrap_or_default();
            match serde_json::from_slice::<Value>(&text) {
                Ok(facts) if facts["pid"] == self.nodes[node].pid => break facts,
                _ => assert!(Instant::now() < deadline, "{}", self.logs(self.nodes.len())),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        self.nodes[node].http = facts["address"].as_str().unwrap().parse().unwrap();
    }

    /// Kills a node, and waits until the system has taken its files and ports back.
    pub fn kill(&mut self, node: usize) {
        self.signal(node, "-KILL");
        self.ended(node);
    }

    /// Waits until a node has ended, and returns what became of it.
    #[track_caller]
    pub fn ended(&mut self, node: usize) -> String {
        let (name, pid) = (self.nodes[node].name.clone(), self.nodes[node].pid);
        if let Some(child) = self.again.iter_mut().find(|child| u64::from(child.id()) == pid) {
            return child.wait().unwrap().to_string();
        }
        let deadline = Instant::now() + SETTLE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.lock().unwrap().recv_timeout(left);
            let line = line.unwrap_or_else(|error| {
                panic!("{name} has not ended ({error}):\n{}", self.logs(self.nodes.len()))
            });
            if let Some(status) = line.strip_prefix(&format!("{name} ended: ")) {
                return status.to_owned();
            }
        }
    }

    /// Waits until cold storage has everything that was committed on a node.
    #[track_caller]
    pub fn uploaded(&self, node: usize) {
        self.wait_until("uploaded", || self.metric(node, NOT_UPLOADED) == Some(0.0));
    }

    /// Waits until there are so many copies of shards, with all that was committed before.
    #[track_caller]
    pub fn copied(&self, copies: u64) {
        let all = |name: &str| -> Vec<f64> {
            let of = |node| self.metric(node, name).unwrap_or_else(|| panic!("no {name}"));
            (0..self.nodes.len()).map(of).collect()
        };
        let sum = |name: &str| all(name).into_iter().sum::<f64>();
        self.wait_until("copied", || sum("code_search_replicas") == copies as f64);
        self.wait_until("uploaded", || sum(NOT_UPLOADED) == 0.0);
        let uploaded = Instant::now();
        self.wait_until("up to date", || {
            let since = uploaded.elapsed().as_secs_f64();
            all("code_search_oldest_replica_seconds").into_iter().all(|age| age < since)
        });
    }

    /// A number that a node has for whoever watches it; `name` is with the labels.
    pub fn metric(&self, node: usize, name: &str) -> Option<f64> {
        let text = self.get(node, "/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    /// Waits until something is so.
    #[track_caller]
    pub fn wait_until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + SETTLE;
        while !holds() {
            assert!(Instant::now() < deadline, "not {what}:\n{}", self.logs(self.nodes.len()));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What a node wrote to its log.
    pub fn log(&self, node: usize) -> String {
        let path = self.path.join(format!("node-{}/log", node + 1));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    fn logs(&self, nodes: usize) -> String {
        let log = |number: usize| {
            let text = self.log(number - 1);
            let tail: Vec<&str> = text.lines().rev().take(25).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            format!("--- node-{number}\n{}\n", tail.join("\n"))
        };
        (1..=nodes).map(log).collect()
    }

    /// Gets a path from a node.
    pub fn get(&self, node: usize, target: &str) -> Reply {
        Request::new("GET", target).send(self.nodes[node].http)
    }

    /// Searches through a node.
    pub fn search(&self, node: usize, query: &str, parameters: &str) -> Reply {
        self.get(node, &format!("/api/v1/search?q={}{parameters}", escape(query)))
    }

    /// Runs a client command against a node.
    pub fn cli(&self, node: usize, arguments: &[&str]) -> Ran {
        let mut command = aeterna(arguments);
        command.env("AETERNA_SERVER", format!("http://{}", self.nodes[node].http));
        run(&mut command)
    }

    /// Adds a repository through a node and waits until it can be searched.
    #[track_caller]
    pub fn add(&self, node: usize, url: &str) -> Value {
        let ran = self.cli(node, &["repo", "add", url, "--wait", "--json"]);
        assert_eq!(ran.code, 0, "{ran:?}\n{}", self.logs(self.nodes.len()));
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// The state of the cluster as a node sees it.
    pub fn status(&self, node: usize) -> Value {
        self.get(node, "/api/v1/cluster").json()
    }

    /// Waits until a node sees what is wanted.
    #[track_caller]
    pub fn wait_for(&self, node: usize, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + SETTLE;
        loop {
            let status = self.status(node);
            if wanted(&status) {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "not {what}: {status:#}\n{}",
                self.logs(self.nodes.len())
            );
            // What a node sees changes without telling.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until every shard is served, so many nodes are alive, and all others are known to be dead.
    #[track_caller]
    pub fn settled(&self, node: usize, alive: usize) -> Value {
        self.wait_for(node, "settled", |status| {
            let nodes = status["nodes"].as_array().unwrap();
            let of = |state: &str| nodes.iter().filter(|node| node["state"] == state).count();
            status["unhealthyShards"].as_array().unwrap().is_empty()
                && of("alive") == alive
                && of("alive") + of("dead") == nodes.len()
                && !status["raft"]["leader"].is_null()
        })
    }

    /// Sends a signal to a node.
    pub fn signal(&self, node: usize, signal: &str) {
        send_signal(self.nodes[node].pid, signal);
    }

    /// The place of the node that owns a repository's shard.
    pub fn owner_of(&self, via: usize, repository: &str) -> usize {
        let text = "the map names an owner";
        let reply = self.get(via, &format!("/api/v1/repos/{}", escape(repository)));
        let shard = reply.json()["shard"].as_u64().expect("the shard of a repository");
        let shard = self.get(via, &format!("/api/v1/cluster/shards/{shard}")).json();
        let owner = shard["owner"].as_str().expect(text).to_owned();
        self.nodes.iter().position(|node| node.name == owner).expect(text)
    }

    /// Asks it to stop, and returns its exit code.
    pub fn stop(&mut self) -> i32 {
        send_signal(self.child.id(), "-INT");
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in &mut self.again {
            let _ = child.kill();
            let _ = child.wait();
        }
        // The nodes end with their standard input, which ends with this process.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

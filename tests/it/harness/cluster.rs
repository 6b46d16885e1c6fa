//! Clusters that the tests start with `aeterna cluster dev`, as a user would.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::http::escape;
use super::{Ran, Reply, Request, aeterna, run};

const START: Duration = Duration::from_secs(120);
const SETTLE: Duration = Duration::from_secs(120);

/// A node of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterNode {
    pub name: String,
    pub pid: u64,
    pub http: SocketAddr,
}

/// A running cluster with a folder of its own.
pub struct Cluster {
    child: Child,
    _stdin: Option<ChildStdin>,
    pub nodes: Vec<ClusterNode>,
    folder: Option<TempDir>,
    path: PathBuf,
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
                // After the nodes, nobody reads the tables.
                let _ = sender.send(line);
            }
        });
        let mut cluster = Self { child, _stdin: None, nodes: Vec::new(), folder: None, path };
        let deadline = Instant::now() + START;
        while cluster.nodes.len() < nodes {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = lines.recv_timeout(left).unwrap_or_else(|_| {
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
            });
        }
        cluster
    }

    fn logs(&self, nodes: usize) -> String {
        let log = |number: usize| {
            let path = self.path.join(format!("node-{number}/log"));
            let text = std::fs::read_to_string(&path).unwrap_or_default();
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

    /// Waits until every shard is served and so many nodes are alive.
    #[track_caller]
    pub fn settled(&self, node: usize, alive: usize) -> Value {
        self.wait_for(node, "settled", |status| {
            let nodes = status["nodes"].as_array().unwrap();
            let living = nodes.iter().filter(|node| node["state"] == "alive").count();
            status["unhealthyShards"].as_array().unwrap().is_empty()
                && status["shards"].as_u64().unwrap() > 0
                && living == alive
                && !status["raft"]["leader"].is_null()
        })
    }

    /// Sends a signal to a node.
    pub fn signal(&self, node: usize, signal: &str) {
        let pid = self.nodes[node].pid.to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
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
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The nodes end with their standard input, which ends with this process.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! Nodes beside those of a cluster that `aeterna cluster dev` has started.

use std::process::{Child, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{Cluster, send_signal};

/// A node that is not one of those that `cluster dev` has started.
pub struct Stray {
    child: Child,
    folder: TempDir,
}

impl Stray {
    /// With the configuration of this node, but a disk and an address of its own, and these settings.
    pub fn start(cluster: &Cluster, node: usize, settings: &[&str]) -> Self {
        // Without any keys, a store is not asked.
        let stray = Self::begin(cluster, node, settings, ("some", "one"));
        cluster.wait_until("open", || !stray.facts().is_null());
        stray
    }

    /// The same with a key and a secret for cold storage, and without waiting until it is open.
    pub fn begin(
        cluster: &Cluster,
        node: usize,
        settings: &[&str],
        (key, secret): (&str, &str),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = cluster.command_of(node, &["serve", "--stop-with-stdin"]);
        command.args(["--set", "cluster.gossip=127.0.0.1:0"]);
        command.arg("--set").arg(format!("data={}", folder.path().display()));
        settings.iter().for_each(|setting| _ = command.args(["--set", setting]));
        command.env("AWS_ACCESS_KEY_ID", key).env("AWS_SECRET_ACCESS_KEY", secret);
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        command.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        Self { child, folder }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        send_signal(self.child.id(), signal);
    }

    /// Waits until it has ended, and returns its exit code.
    pub fn ended(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Where it is; null before it is open.
    pub fn facts(&self) -> Value {
        let text = std::fs::read(self.folder.path().join("server.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        // One that has ended is no trouble.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

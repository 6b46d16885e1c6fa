//! One node of a cluster: a process of its own on loopback, with a folder of its own.

use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use crate::bench::http::Client;
use crate::bench::measure;
use crate::children::{self, Running};
use crate::servers;

const START_DEADLINE: Duration = Duration::from_secs(60);
/// Longer than `http.shutdown_timeout_seconds` is by itself.
const STOP_DEADLINE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A node of a cluster, running or not. Its addresses outlive its process.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    client: Client,
    gossip: SocketAddr,
    data: PathBuf,
    process: Option<Running>,
}

/// How a node is started.
pub(super) struct Launch<'a> {
    pub(super) binary: &'a Path,
    /// `KEY=VALUE`, beside what is a node's own.
    pub(super) settings: &'a [String],
    /// Where secrets are: not in what others see of a process.
    pub(super) environment: &'a [(&'static str, String)],
}

impl Node {
    pub(super) fn new(number: usize, folder: &Path) -> Result<Self> {
        let name = format!("node-{number}");
        let [http, gossip] = servers::free_ports::<2>()?;
        let address = SocketAddr::from(([127, 0, 0, 1], http));
        let gossip = SocketAddr::from(([127, 0, 0, 1], gossip));
        let data = folder.join(&name);
        Ok(Self { name, address, client: Client::new(address), gossip, data, process: None })
    }

    /// Where others find it.
    pub(super) fn gossip(&self) -> SocketAddr {
        self.gossip
    }

    pub(super) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Starts its process, and returns when that listens.
    pub(super) fn start(&mut self, launch: &Launch) -> Result<()> {
        fs::create_dir_all(&self.data)?;
        let log = self.data.with_extension("log");
        let output = OpenOptions::new().create(true).append(true).open(&log)?;
        let mut command = servers::as_account(None, launch.binary);
        command.arg("serve").arg("--data").arg(&self.data);
        let own = [
            format!("listen={}", self.address),
            format!("cluster.gossip={}", self.gossip),
            format!("node_name={}", self.name),
        ];
        for setting in own.iter().chain(launch.settings) {
            command.arg("--set").arg(setting);
        }
        command.envs(launch.environment.iter().map(|(name, value)| (name, value)));
        let quiet = File::options().write(true).open("/dev/null")?;
        let mut process = Running::start(command.stdout(quiet).stderr(output))?;
        let until = Instant::now() + START_DEADLINE;
        while !self.is_ready() {
            let ended = process.child().try_wait()?;
            if ended.is_some() || Instant::now() > until {
                bail!("{} does not start; its log is {}", self.name, log.display());
            }
            stay()?;
        }
        self.process = Some(process);
        Ok(())
    }

    /// Whether a service would send requests to it.
    fn is_ready(&self) -> bool {
        self.client.get("/readyz", &[]).is_ok_and(|answer| answer.status == 200)
    }

    /// Ends it without a word.
    pub(super) fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the node does not run")?;
        process.stop(Signal::SIGKILL, STOP_DEADLINE)
    }

    /// Stops it as an operator would: it hands over what it has first.
    pub(super) fn shut_down(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the node does not run")?;
        let asked = self.client.post("/internal/shutdown", &json!({}))?;
        if asked.status != 204 {
            bail!("{}: status {} for a shutdown", self.name, asked.status);
        }
        process.stop(Signal::SIGTERM, STOP_DEADLINE)
    }

    /// Stops it by SIGTERM; for several at once, whose shards nobody can take.
    pub(super) fn terminate(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.stop(Signal::SIGTERM, STOP_DEADLINE),
            None => Ok(()),
        }
    }

    /// Asks it to stop, and does not wait.
    pub(super) fn ask_to_stop(&self) -> Result<()> {
        if let Some(process) = &self.process {
            kill(process.pid(), Signal::SIGTERM)?;
        }
        Ok(())
    }

    /// Seconds of processor time that it has used, user's and system's.
    pub(super) fn cpu(&self) -> Result<f64> {
        match &self.process {
            Some(process) => Ok(measure::process_state(process.pid())?.cpu),
            None => Ok(0.0),
        }
    }

    /// The cluster as it sees it.
    pub(super) fn status(&self) -> Result<Value> {
        self.client.get("/api/v1/cluster", &[])?.json()
    }

    /// The sum over all labels of one of its metrics; 0 when it has none of that name.
    pub(super) fn metric(&self, name: &str) -> Result<f64> {
        let answer = self.client.get("/metrics", &[])?;
        Ok(crate::bench::engines::aeterna::sum_of(name, &answer.body).unwrap_or(0.0))
    }
}

/// A moment between two looks at something that changes without telling; ends with a signal.
pub(super) fn stay() -> Result<()> {
    if let Some(signal) = children::interrupted() {
        bail!("stopped by signal {signal}");
    }
    std::thread::sleep(LOOK_EVERY);
    Ok(())
}

//! `aeterna cluster dev`: real node processes on loopback, one SQLite file, one folder of cold storage.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use super::client::Client;
use super::cluster::{ask, redraw, table};
use super::cluster_args::ClusterDevArgs;
use super::{CommandError, Exit};
use crate::files::write_durably;
use crate::serve::{SERVER_FILE, ServerFacts};

/// How long a node may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the start of a node, and the state of the cluster, is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// Time that nodes get to hand over and end, before they are ended.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// Ports that no system gives to a socket that asks for any (those begin at 32,768 on Linux, at 49,152 by
/// RFC 6335), so that none is taken while a node is about to start, or to start again.
const GOSSIP_PORTS: Range<u16> = 20_000..32_000;
/// How far apart two processes begin to look for theirs.
const PORTS_OF_A_PROCESS: u32 = 64;

/// What is told of a node when it runs.
#[derive(Serialize, Deserialize)]
struct Started {
    name: String,
    pid: u32,
    http: String,
    grpc: String,
    gossip: String,
}

/// A node process.
struct Process {
    name: String,
    data: PathBuf,
    child: Child,
    ended: bool,
}

/// Runs `aeterna cluster dev`.
///
/// # Errors
/// When a node does not start.
pub async fn run(args: &ClusterDevArgs) -> Result<Exit, CommandError> {
    let folder = std::path::absolute(&args.dir)?;
    fs::create_dir_all(&folder).map_err(|error| in_folder(&folder, &error))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let key = key_file(&folder).map_err(|error| in_folder(&folder, &error))?;
    let gossip = GossipPort::reserve(args.nodes as usize)?;
    let address = |port: &GossipPort| format!("127.0.0.1:{}", port.port);
    let join = gossip.iter().map(address).collect::<Vec<_>>().join(",");
    let mut processes = Vec::new();
    for (number, port) in (1..).zip(&gossip) {
        let settings = [
            ("listen", "127.0.0.1:0".to_owned()),
            ("cluster.listen", "127.0.0.1:0".to_owned()),
            ("cluster.gossip", address(port)),
            ("cluster.join", join.clone()),
            ("cluster.shards", args.shards.to_string()),
            ("cluster.key_file", key.display().to_string()),
            // All nodes share the disk of whoever tries this, however full it is.
            ("cluster.disk_high_percent", "100".to_owned()),
            ("cold_storage.provider", "local".to_owned()),
            ("cold_storage.path", folder.join("cold").display().to_string()),
            ("database_url", format!("sqlite://{}", folder.join("catalog.db").display())),
            ("node_name", format!("node-{number}")),
        ];
        let given = args.set.iter().map(|(key, value)| (key.as_str(), value.clone()));
        let settings: Vec<_> = settings.into_iter().chain(given).collect();
        processes.push(Process::start(&folder, number, &settings)?);
    }
    let outcome = tokio::select! {
        outcome = show(&mut processes) => outcome,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    stop(processes).await;
    outcome.map(|()| Exit::Success)
}

fn in_folder(folder: &Path, error: &io::Error) -> CommandError {
    CommandError::Other(format!("cannot use {}: {error}; choose another --dir", folder.display()))
}

/// The cluster's key, made when the folder is first used.
fn key_file(folder: &Path) -> io::Result<PathBuf> {
    let path = folder.join("cluster.key");
    if !path.exists() {
        // Each has 122 random bits.
        let key = format!("{}{}\n", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        write_durably(&path, key.as_bytes())?;
    }
    Ok(path)
}

/// A free UDP port. Every node has to know those of all before any runs.
struct GossipPort {
    port: u16,
    /// The TCP port of this number, which nobody needs: a second `cluster dev` that cannot have it
    /// leaves the UDP port alone, whether or not its node runs just now.
    _reserved: TcpListener,
}

impl GossipPort {
    fn reserve(count: usize) -> io::Result<Vec<Self>> {
        let room = GOSSIP_PORTS.len();
        let first = std::process::id().wrapping_mul(PORTS_OF_A_PROCESS) as usize % room;
        let ports = GOSSIP_PORTS.cycle().skip(first).take(room);
        let found: Vec<Self> = ports.filter_map(|port| Self::of(port).ok()).take(count).collect();
        if found.len() < count {
            let Range { start, end } = GOSSIP_PORTS;
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("fewer than {count} ports of 127.0.0.1 from {start} to {end} are free"),
            ));
        }
        Ok(found)
    }

    fn of(port: u16) -> io::Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, port);
        UdpSocket::bind(address)?;
        Ok(Self { port, _reserved: TcpListener::bind(address)? })
    }
}

impl Process {
    fn start(
        folder: &Path,
        number: u32,
        settings: &[(&str, String)],
    ) -> Result<Self, CommandError> {
        let name = format!("node-{number}");
        let data = folder.join(&name);
        fs::create_dir_all(&data).map_err(|error| in_folder(&data, &error))?;
        // What an earlier run left says nothing of this one.
        match fs::remove_file(data.join(SERVER_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(in_folder(&data, &error));
            }
            _ => {}
        }
        let log = OpenOptions::new().create(true).append(true).open(data.join("log"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg("--stop-with-stdin").arg("--data").arg(&data);
        for (key, value) in settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        // Ctrl-C in the terminal is for this process, which then stops the nodes in order.
        let child = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { name, data, child, ended: false })
    }

    /// Waits until the node listens.
    async fn started(&mut self) -> Result<Started, CommandError> {
        let path = self.data.join(SERVER_FILE);
        let failed = |reason: String| {
            CommandError::Other(format!(
                "{} did not start: {reason}; its log is {}",
                self.name,
                self.data.join("log").display()
            ))
        };
        let start = tokio::time::Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(failed(format!("it ended with {status}")));
            }
            let text = fs::read(&path).unwrap_or_default();
            let facts = serde_json::from_slice::<ServerFacts>(&text).ok();
            if let (Some(facts), Some(pid)) = (facts, self.child.id())
                && facts.pid == pid
            {
                return Ok(Started {
                    name: self.name.clone(),
                    pid,
                    http: facts.url,
                    grpc: facts.grpc.unwrap_or_default(),
                    gossip: facts.gossip.unwrap_or_default(),
                });
            }
            if start.elapsed() > START_TIMEOUT {
                return Err(failed(format!("it does not listen after {START_TIMEOUT:?}")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Tells of each node, and then how the cluster is, for as long as any node runs.
async fn show(processes: &mut [Process]) -> Result<(), CommandError> {
    let mut clients = Vec::new();
    for process in processes.iter_mut() {
        let started = process.started().await?;
        let line = serde_json::to_string(&started)
            .map_err(|error| CommandError::Other(error.to_string()))?;
        writeln!(io::stdout(), "{line}")?;
        clients.push(Client::new(&started.http)?);
    }
    let mut shown = String::new();
    loop {
        let mut text = String::new();
        for process in processes.iter_mut() {
            if !process.ended
                && let Some(status) = process.child.try_wait()?
            {
                process.ended = true;
                redraw("", &format!("{} ended: {status}\n", process.name))?;
                shown.clear();
            }
        }
        if processes.iter().all(|process| process.ended) {
            return Err(CommandError::Other("every node has ended; the logs say why".to_owned()));
        }
        let running = processes.iter().zip(&clients).filter(|(process, _)| !process.ended);
        for (_, client) in running {
            if let Ok(Ok(status)) = tokio::time::timeout(SHOW_EVERY, ask(client)).await {
                text = table(&status);
                break;
            }
        }
        if text != shown && !text.is_empty() {
            redraw(&shown, &text)?;
            shown = text;
        }
        tokio::time::sleep(SHOW_EVERY).await;
    }
}

/// Asks every node to stop, and waits for them.
async fn stop(mut processes: Vec<Process>) {
    for process in &mut processes {
        // The end of its standard input is what asks it.
        drop(process.child.stdin.take());
    }
    let all = async {
        for process in &mut processes {
            if let Err(error) = process.child.wait().await {
                eprintln!("aeterna: {}: {error}", process.name);
            }
        }
    };
    if tokio::time::timeout(STOP_TIMEOUT, all).await.is_err() {
        for process in &mut processes {
            // One that has ended by itself cannot be ended again.
            let _ = process.child.start_kill();
        }
    }
}

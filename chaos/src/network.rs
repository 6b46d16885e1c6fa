//! Hosts on one machine: each is a network namespace with one link to a bridge.
//!
//! A namespace lives as long as the thread that made it or a process in it, and its link with it: nothing is left
//! behind, however this program ends. Packets are lost on purpose by an entry of the neighbour table that leads to
//! an address that nobody has: silently, in one direction, between two hosts.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;

/// Address of the database and of the object store.
pub(crate) const SERVERS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The bridge that whoever starts this program has made, in a namespace that has nothing else.
const BRIDGE: &str = "chaos";
/// A hardware address that no host has.
const NOWHERE: &str = "02:00:00:00:00:ff";
/// A host's only link.
const LINK: &str = "eth0";

type Task = Box<dyn FnOnce() + Send>;

/// A host.
pub(crate) struct Host {
    /// Its address on the bridge.
    pub(crate) address: Ipv4Addr,
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
}

/// Fails unless this program's network has nothing but loopback and the bridge: no link of the machine is touched.
pub(crate) fn check() -> Result<()> {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev")
        .context("cannot list network links")?;
    let links: Vec<&str> = table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim())
        .collect();
    let strange: Vec<&&str> = links.iter().filter(|name| !["lo", BRIDGE].contains(name)).collect();
    if !links.contains(&BRIDGE) || !strange.is_empty() {
        bail!(
            "this program wants a network namespace with a bridge `{BRIDGE}` and nothing else; \
             start it with `cargo xtask chaos`, which makes one"
        );
    }
    Ok(())
}

impl Host {
    /// A new host; `number` is from 1 to 200.
    pub(crate) fn new(number: u8) -> Result<Self> {
        let address = Ipv4Addr::new(10, 77, 0, number.saturating_add(10));
        let (tasks, work) = channel::<Task>();
        let (made, is_made) = channel();
        let thread =
            std::thread::Builder::new().name(format!("host-{number}")).spawn(move || {
                // Only this thread goes there, and what it starts.
                let outcome = unshare(CloneFlags::CLONE_NEWNET).map(|()| gettid());
                let _ = made.send(outcome);
                for task in work {
                    task();
                }
            })?;
        let inside = is_made
            .recv()?
            .context("cannot make a network namespace; that takes root, or CAP_SYS_ADMIN")?;
        let host = Self { address, tasks: Some(tasks), thread: Some(thread) };
        let link = format!("{BRIDGE}{number}");
        let inside = inside.to_string();
        ip(&["link", "add", &link, "type", "veth", "peer", "name", LINK, "netns", &inside])?;
        ip(&["link", "set", &link, "master", BRIDGE, "up"])?;
        host.run(move || {
            ip(&["link", "set", "lo", "up"])?;
            ip(&["addr", "add", &format!("{address}/24"), "dev", LINK])?;
            ip(&["link", "set", LINK, "up"])
        })??;
        Ok(host)
    }

    /// Does something on this host: a process that is started there, and a socket that is made there, stay there.
    /// The thread lives as long as the host, so that what it starts may end with it.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (sender, outcome) = channel();
        let task: Task = Box::new(move || {
            let _ = sender.send(work());
        });
        let tasks = self.tasks.as_ref().context("the host is gone")?;
        tasks.send(task).map_err(|_| anyhow!("the host is gone"))?;
        outcome.recv().context("the host's thread panicked")
    }

    /// From now on, what this host sends to that address is lost.
    pub(crate) fn lose(&self, to: Ipv4Addr) -> Result<()> {
        self.run(move || {
            let to = to.to_string();
            ip(&["neigh", "replace", &to, "lladdr", NOWHERE, "dev", LINK, "nud", "permanent"])
        })?
    }

    /// What this host sends to that address arrives again.
    pub(crate) fn deliver(&self, to: Ipv4Addr) -> Result<()> {
        self.run(move || ip(&["neigh", "del", &to.to_string(), "dev", LINK]))?
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot run `ip`")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

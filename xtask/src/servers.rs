//! What the private servers of one run of the tests have in common: they end with it, and leave nothing behind.

use std::fs::{self, File};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};

use crate::children::Running;
use crate::paths;

const STOP_DEADLINE: Duration = Duration::from_secs(20);
const STARTS_AGAIN: usize = 20;
const START_AGAIN: Duration = Duration::from_millis(250);

/// A server, running or not. Dropping it stops it.
pub(crate) struct Server {
    name: &'static str,
    /// What asks it to stop.
    stop: Signal,
    running: Option<Running>,
}

impl Server {
    /// One that does not run yet.
    pub(crate) fn new(name: &'static str, stop: Signal) -> Self {
        Self { name, stop, running: None }
    }

    /// Takes the process that has been started for it.
    pub(crate) fn runs(&mut self, running: Running) {
        self.running = Some(running);
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Result<Pid> {
        let running = self.running.as_ref();
        Ok(running.with_context(|| format!("{} was never started", self.name))?.pid())
    }

    /// Whether it ran and has ended.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        self.running.as_mut().map_or(Ok(false), Running::has_ended)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take()
            && let Err(error) = running.stop(self.stop, STOP_DEADLINE)
        {
            eprintln!("warning: {} may still be running: {error:#}", self.name);
        }
    }
}

/// The first success of several attempts, or what was wrong with the last.
pub(crate) fn attempt<T>(times: usize, mut start: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..times {
        if let Ok(started) = start() {
            return Ok(started);
        }
    }
    start()
}

/// Starts again what has just ended: its children may need a moment to notice, and keep its memory or its ports
/// until then.
pub(crate) fn start_again(mut start: impl FnMut() -> Result<Running>) -> Result<Running> {
    attempt(STARTS_AGAIN, || start().inspect_err(|_| std::thread::sleep(START_AGAIN)))
        .context("it does not start again")
}

/// A temporary folder, which is gone with this program: where that was killed, with the next that makes one like it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// An empty folder, whose name is the prefix and this process's id.
    pub(crate) fn new(prefix: &str) -> Result<Self> {
        sweep(prefix);
        let folder = std::env::temp_dir().join(format!("{prefix}{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl std::ops::Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("warning: cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Ports that no system gives to a socket that asks for any: those begin at 32,768 on Linux, at 49,152 by RFC 6335.
const PORTS: Range<u16> = 20_000..32_000;
/// How far apart two processes begin to look for theirs.
const PORTS_OF_A_PROCESS: u32 = 128;

/// Free loopback ports, TCP and UDP, that this process has not been given before. Another program that chooses its
/// ports may take one before it is used: whoever cannot live with that tries again.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    static LOOKED_AT: AtomicUsize = AtomicUsize::new(0);
    let first = std::process::id().wrapping_mul(PORTS_OF_A_PROCESS) as usize;
    let mut ports = [0; N];
    for port in &mut ports {
        *port = std::iter::repeat_with(|| LOOKED_AT.fetch_add(1, Relaxed))
            .take(PORTS.len())
            .filter_map(|looked_at| PORTS.clone().nth((first + looked_at) % PORTS.len()))
            .find(|port| is_free(*port))
            .with_context(|| format!("no port of 127.0.0.1 from {PORTS:?} is free"))?;
    }
    Ok(ports)
}

fn is_free(port: u16) -> bool {
    let address = (Ipv4Addr::LOCALHOST, port);
    UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()
}

/// `program` under the account. Where `setpriv` exists (Linux), the kernel ends it when this program dies, even
/// by SIGKILL.
pub(crate) fn as_account(account: Option<&User>, program: &Path) -> Command {
    use std::os::unix::process::CommandExt;
    let Some(setpriv) = paths::program("setpriv") else {
        let mut command = Command::new(program);
        if let Some(user) = account {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        return command;
    };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "INT"]);
    if let Some(user) = account {
        command.arg(format!("--reuid={}", user.uid)).arg(format!("--regid={}", user.gid));
        command.arg("--clear-groups");
    }
    command.arg("--").arg(program);
    command
}

/// Removes the temporary folders that runs that were killed have left behind: their names are a prefix and a
/// process id.
fn sweep(folder_prefix: &str) {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix(folder_prefix)) else {
            continue;
        };
        let Ok(pid) = pid.parse() else { continue };
        if kill(Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH) {
            // Someone else's folder may be in the way; it hurts nobody.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// So many random bytes in hex, for a password.
pub(crate) fn random_hex(bytes: usize) -> Result<String> {
    let mut random = vec![0; bytes];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

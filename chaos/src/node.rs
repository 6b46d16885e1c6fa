//! A node: a process on a host of its own, with a disk of its own.

use std::fs::{self, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::http::{Reply, Request};
use crate::network::Host;

/// How long a node may take until it answers.
const START: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const ASK: Duration = Duration::from_secs(5);
/// Bytes of a node's disk.
const DISK: &str = "size=256m";

/// A node.
pub(crate) struct Node {
    /// Its name.
    pub(crate) name: String,
    /// Where it runs.
    pub(crate) host: Host,
    program: PathBuf,
    environment: Vec<(String, String)>,
    data: PathBuf,
    log: PathBuf,
    child: Mutex<Option<Child>>,
    starts: AtomicU32,
    is_wanted: AtomicBool,
}

impl Node {
    /// A node that does not run yet, with an empty disk under `folder`.
    pub(crate) fn new(
        name: &str,
        host: Host,
        program: &Path,
        folder: &Path,
        environment: Vec<(String, String)>,
    ) -> Result<Self> {
        let data = folder.join(name);
        fs::create_dir_all(&data)?;
        mount(Some("none"), &data, Some("tmpfs"), MsFlags::empty(), Some(DISK))
            .with_context(|| format!("cannot mount a disk at {}", data.display()))?;
        Ok(Self {
            name: name.to_owned(),
            host,
            program: program.to_owned(),
            environment,
            data,
            log: folder.join(format!("{name}.log")),
            child: Mutex::new(None),
            starts: AtomicU32::new(0),
            is_wanted: AtomicBool::new(false),
        })
    }

    /// Starts it, and does not wait until it answers.
    pub(crate) fn start(&self) -> Result<()> {
        let mut child = self.child();
        if child.is_some() {
            bail!("{} runs already", self.name);
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        // The kernel ends it with this program, whatever ends that.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program).arg("serve");
        command.arg("--data").arg(&self.data);
        command.env_clear().envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let started = self.host.run(move || command.spawn())?;
        *child = Some(started.with_context(|| format!("cannot start {}", self.name))?);
        self.starts.fetch_add(1, Ordering::AcqRel);
        self.is_wanted.store(true, Ordering::Release);
        Ok(())
    }

    /// Counts its starts.
    pub(crate) fn starts(&self) -> u32 {
        self.starts.load(Ordering::Acquire)
    }

    /// Waits until it answers.
    pub(crate) fn wait_until_it_answers(&self) -> Result<()> {
        let until = Instant::now() + START;
        while self.get("/livez").is_none_or(|reply| reply.status != 200) {
            if Instant::now() >= until {
                bail!(
                    "{} does not answer after {START:?}; its log: {}",
                    self.name,
                    self.log.display()
                );
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Gets a path from it; `None` when it does not answer.
    pub(crate) fn get(&self, target: &str) -> Option<Reply> {
        Request::new("GET", target).send(&self.host, ASK).ok()
    }

    /// The state of the cluster as it sees it; `None` when it does not answer.
    pub(crate) fn cluster(&self) -> Option<Value> {
        self.get("/api/v1/cluster").filter(|reply| reply.status == 200).map(|reply| reply.json())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        if matches!(signal, Signal::SIGKILL | Signal::SIGTERM) {
            self.is_wanted.store(false, Ordering::Release);
        }
        let child = self.child();
        let child = child.as_ref().with_context(|| format!("{} does not run", self.name))?;
        let pid = i32::try_from(child.id()).context("a process id over 2^31")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("{signal} to {}", self.name))
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(&self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        let mut child = self.child();
        if let Some(mut child) = child.take() {
            child.wait()?;
        }
        Ok(())
    }

    /// Waits for its end; `None` when it does not end in time.
    pub(crate) fn wait(&self, within: Duration) -> Result<Option<ExitStatus>> {
        let until = Instant::now() + within;
        loop {
            let mut child = self.child();
            let status = match child.as_mut() {
                Some(child) => child.try_wait()?,
                None => bail!("{} does not run", self.name),
            };
            if status.is_some() {
                *child = None;
                return Ok(status);
            }
            drop(child);
            if Instant::now() >= until {
                return Ok(None);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Its status where it has ended by itself: then it can be started again.
    pub(crate) fn unexpected_end(&self) -> Option<String> {
        let mut child = self.child();
        if !self.is_wanted.load(Ordering::Acquire) {
            return None;
        }
        let status = child.as_mut()?.try_wait().ok()??;
        *child = None;
        Some(match status.signal() {
            Some(signal) => format!("signal {signal}"),
            None => format!("status {}", status.code().unwrap_or(-1)),
        })
    }

    /// Takes all that is free of its disk.
    pub(crate) fn fill_disk(&self) -> Result<()> {
        let mut file = fs::File::create(self.data.join(FILLER))?;
        let mut zeros: &[u8] = &[0; 1 << 20];
        // Ever smaller pieces, until not a page is left.
        while !zeros.is_empty() {
            match std::io::Write::write_all(&mut file, zeros) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                    zeros = &zeros[..zeros.len() / 16];
                }
                Err(error) => return Err(error).context("cannot fill a disk"),
            }
        }
        Ok(())
    }

    /// Gives it back.
    pub(crate) fn free_disk(&self) -> Result<()> {
        fs::remove_file(self.data.join(FILLER)).context("cannot free a disk")
    }

    /// Loses all that is on its disk; it must not run.
    pub(crate) fn lose_disk(&self) -> Result<()> {
        for entry in fs::read_dir(&self.data)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
        Ok(())
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What takes the place on a full disk.
const FILLER: &str = "filler";

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child().take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

//! The database and the object store: whoever starts this program keeps them running, as a platform would.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const BACK: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A server that is started again whenever it ends.
pub(crate) struct Server {
    name: &'static str,
    address: SocketAddr,
    pid_file: PathBuf,
}

impl Server {
    /// The server whose process id is in the file: who starts it again writes the new one there.
    pub(crate) fn new(name: &'static str, address: SocketAddr, pid_file: PathBuf) -> Self {
        Self { name, address, pid_file }
    }

    fn pid(&self) -> Result<Pid> {
        let text = fs::read_to_string(&self.pid_file)
            .with_context(|| format!("cannot read {}", self.pid_file.display()))?;
        let pid = text.trim().parse().with_context(|| format!("{text:?} is no process id"))?;
        Ok(Pid::from_raw(pid))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid()?, signal).with_context(|| format!("{signal} to {}", self.name))
    }

    /// Ends it, and waits until another process has taken its place.
    pub(crate) fn restart(&self, signal: Signal) -> Result<()> {
        let before = self.pid()?;
        self.signal(signal)?;
        let until = Instant::now() + BACK;
        while self.pid()? == before || TcpStream::connect_timeout(&self.address, CONNECT).is_err() {
            if Instant::now() >= until {
                bail!("{} is not back {BACK:?} after {signal}", self.name);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

//! A private PostgreSQL for one run of the tests: a new cluster in a temporary folder, on a free loopback port,
//! with a password of its own, gone at the end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, Uid, User};

use crate::children::{self, Running};
use crate::servers::{Folder, Server, as_account, attempt, random_hex, start_again};
use crate::{paths, tools};

/// The oldest major version that the product supports.
const OLDEST: u32 = 15;
const PACKAGE: &str = "postgresql-15";
const FOLDER_PREFIX: &str = "aeterna-test-postgres-";
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Another program may take the port between its choice and PostgreSQL's use of it.
const PORTS_TRIED: usize = 5;

/// A running server; dropping it stops it and removes its files.
pub(crate) struct Postgres {
    // It ends before its folder goes.
    server: Server,
    folder: Folder,
    url: String,
    version: String,
    programs: PathBuf,
    address: SocketAddr,
    network: Option<String>,
}

impl Postgres {
    /// Finds or installs PostgreSQL and starts a new, empty cluster.
    pub(crate) fn start() -> Result<Self> {
        Self::start_at(IpAddr::V4(Ipv4Addr::LOCALHOST), None)
    }

    /// The same at another address, for clients of a network such as `10.77.0.0/24`.
    pub(crate) fn start_at(address: IpAddr, network: Option<&str>) -> Result<Self> {
        let programs = find_or_install()?;
        let mut postgres = Self {
            // SIGINT is PostgreSQL's "fast shutdown": it ends open sessions.
            server: Server::new("PostgreSQL", Signal::SIGINT),
            // Not under target/: that may be in a home folder which the server's user cannot enter, and a
            // socket's path has 107 bytes at most.
            folder: Folder::new(FOLDER_PREFIX)?,
            url: String::new(),
            version: String::new(),
            programs,
            address: SocketAddr::new(address, 0),
            network: network.map(str::to_owned),
        };
        postgres.initialise_and_start()?;
        Ok(postgres)
    }

    /// Finds or installs the programs, for whoever starts it where nothing can be installed.
    pub(crate) fn prepare() -> Result<()> {
        find_or_install().map(drop)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Result<Pid> {
        self.server.pid()
    }

    /// Starts it again, with its data, if it has ended; true if it had.
    pub(crate) fn revive(&mut self) -> Result<bool> {
        if !self.server.has_ended()? {
            return Ok(false);
        }
        let account = account()?;
        let running = start_again(|| self.start_on(self.address.port(), account.as_ref()));
        self.server.runs(running.context("PostgreSQL")?);
        Ok(true)
    }

    /// The superuser's URL, password included: for the environment of test processes, never for a log.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What `postgres --version` says.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    fn initialise_and_start(&mut self) -> Result<()> {
        let account = account()?;
        let mut version = Command::new(self.programs.join("postgres"));
        self.version = children::output(version.arg("--version"))?.trim().to_owned();
        let password = random_hex(16)?;
        let password_file = self.folder.join("password");
        fs::write(&password_file, &password)?;
        fs::set_permissions(&*self.folder, fs::Permissions::from_mode(0o700))?;
        if let Some(user) = &account {
            for path in [&self.folder, password_file.as_path()] {
                chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                    .with_context(|| format!("cannot give {} to {}", path.display(), user.name))?;
            }
        }
        let data = self.folder.join("data");
        children::output(
            as_account(account.as_ref(), &self.programs.join("initdb"))
                .current_dir(&*self.folder)
                .arg("--pgdata")
                .arg(&data)
                .arg("--pwfile")
                .arg(&password_file)
                .args(["--username=aeterna", "--auth=scram-sha-256", "--encoding=UTF8"])
                .args(["--locale=C", "--no-sync"]),
        )?;
        fs::remove_file(&password_file)?;
        if let Some(network) = &self.network {
            let mut rules = fs::OpenOptions::new().append(true).open(data.join("pg_hba.conf"))?;
            writeln!(rules, "host all all {network} scram-sha-256")?;
        }
        let ip = self.address.ip();
        let (port, running) = attempt(PORTS_TRIED, || {
            let port = TcpListener::bind((ip, 0))?.local_addr()?.port();
            Ok((port, self.start_on(port, account.as_ref())?))
        })
        .context("PostgreSQL does not start")?;
        self.server.runs(running);
        self.address.set_port(port);
        self.url = format!("postgres://aeterna:{password}@{}/postgres", self.address);
        Ok(())
    }

    fn start_on(&self, port: u16, account: Option<&User>) -> Result<Running> {
        let data = self.folder.join("data");
        let mut command = as_account(account, &self.programs.join("postgres"));
        command.current_dir(&*self.folder).arg("-D").arg(data).args(["-p", &port.to_string()]);
        let sockets = format!("unix_socket_directories={}", self.folder.display());
        let address = format!("listen_addresses={}", self.address.ip());
        // What is committed survives this server's end only where others come back to it.
        let commit =
            format!("synchronous_commit={}", if self.network.is_some() { "on" } else { "off" });
        for setting in [
            address.as_str(),
            sockets.as_str(),
            commit.as_str(),
            // The cluster is thrown away: nothing needs to survive a power cut.
            "fsync=off",
            "full_page_writes=off",
            "max_connections=200",
            "lc_messages=C",
        ] {
            command.args(["-c", setting]);
        }
        let mut server = Running::start(command.stdout(Stdio::null()).stderr(Stdio::piped()))?;
        let log = server.child().stderr.take().context("PostgreSQL has no log")?;
        wait_until_ready(log, &self.folder.join("log"))?;
        Ok(server)
    }
}

/// Reads the server's log until it accepts connections; a thread goes on copying it to `file`.
fn wait_until_ready(log: impl Read + Send + 'static, file: &Path) -> Result<()> {
    let mut copy = File::create(file)?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            let _ = writeln!(copy, "{line}");
            // Nobody listens any more once the server is ready.
            let _ = sender.send(line);
        }
    });
    let mut said = Vec::new();
    loop {
        match receiver.recv_timeout(START_DEADLINE) {
            Ok(line) if line.contains("database system is ready to accept connections") => {
                return Ok(());
            }
            Ok(line) => said.push(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                bail!("it ended and said:\n{}", said.join("\n"))
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("not ready within {START_DEADLINE:?}; it said:\n{}", said.join("\n"))
            }
        }
    }
}

fn find_or_install() -> Result<PathBuf> {
    if let Some(folder) = find()? {
        return Ok(folder);
    }
    tools::install_debian(PACKAGE, "the catalog's tests")?;
    find()?.with_context(|| format!("{PACKAGE} was installed and its programs are not found"))
}

/// The folder of the oldest supported PostgreSQL here: what passes on that passes on newer ones.
fn find() -> Result<Option<PathBuf>> {
    let mut folders = Vec::new();
    // Debian keeps the server's programs out of PATH, one folder a major version.
    if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
        for version in versions {
            folders.push(version?.path().join("bin"));
        }
    }
    if let Some(folder) = paths::program("initdb").and_then(|p| p.parent().map(Path::to_owned)) {
        folders.push(folder);
    }
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for folder in folders {
        let (initdb, server) = (folder.join("initdb"), folder.join("postgres"));
        if !initdb.is_file() || !server.is_file() {
            continue;
        }
        let version = children::output(Command::new(server).arg("--version"))?;
        if let Some(major) = major(&version).filter(|major| *major >= OLDEST) {
            found.push((major, folder));
        }
    }
    Ok(found.into_iter().min().map(|(_, folder)| folder))
}

/// 15 from `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`.
fn major(version: &str) -> Option<u32> {
    let number = version.split_whitespace().nth(2)?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The account that the server runs under: PostgreSQL refuses to be root.
fn account() -> Result<Option<User>> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = User::from_name(name)? {
            return Ok(Some(user));
        }
    }
    bail!(
        "PostgreSQL refuses to run as root and there is no user `postgres`; add one: useradd postgres"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_releases_and_betas() {
        assert_eq!(major("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 19beta2"), Some(19));
        assert_eq!(major("postgres"), None);
    }
}

//! A private PostgreSQL for one run of the tests: a new cluster in a temporary folder, on a free loopback port,
//! with a password of its own, gone at the end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::{Uid, User};

use crate::children::{self, Running};
use crate::servers::{as_account, random_hex, sweep};
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
    server: Option<Running>,
    folder: PathBuf,
    url: String,
    version: String,
}

impl Postgres {
    /// Finds or installs PostgreSQL and starts a new, empty cluster.
    pub(crate) fn start() -> Result<Self> {
        let programs = find_or_install()?;
        sweep(FOLDER_PREFIX);
        // Not under target/: that may be in a home folder which the server's user cannot enter, and a socket's
        // path has 107 bytes at most.
        let folder = std::env::temp_dir().join(format!("{FOLDER_PREFIX}{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut postgres =
            Self { server: None, folder, url: String::new(), version: String::new() };
        postgres.initialise_and_start(&programs)?;
        Ok(postgres)
    }

    /// The superuser's URL, password included: for the environment of test processes, never for a log.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What `postgres --version` says.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    fn initialise_and_start(&mut self, programs: &Path) -> Result<()> {
        let account = account()?;
        self.version = children::output(Command::new(programs.join("postgres")).arg("--version"))?
            .trim()
            .to_owned();
        let password = random_hex(16)?;
        let password_file = self.folder.join("password");
        fs::write(&password_file, &password)?;
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700))?;
        if let Some(user) = &account {
            for path in [&self.folder, &password_file] {
                chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                    .with_context(|| format!("cannot give {} to {}", path.display(), user.name))?;
            }
        }
        let data = self.folder.join("data");
        children::output(
            as_account(account.as_ref(), &programs.join("initdb"))
                .current_dir(&self.folder)
                .arg("--pgdata")
                .arg(&data)
                .arg("--pwfile")
                .arg(&password_file)
                .args(["--username=aeterna", "--auth=scram-sha-256", "--encoding=UTF8"])
                .args(["--locale=C", "--no-sync"]),
        )?;
        fs::remove_file(&password_file)?;
        let mut problem = None;
        for _ in 0..PORTS_TRIED {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            match self.start_on(port, programs, account.as_ref(), &data) {
                Ok(server) => {
                    self.server = Some(server);
                    self.url = format!("postgres://aeterna:{password}@127.0.0.1:{port}/postgres");
                    return Ok(());
                }
                Err(error) => problem = Some(error),
            }
        }
        match problem {
            Some(error) => Err(error.context("PostgreSQL does not start")),
            None => bail!("no port was tried"),
        }
    }

    fn start_on(
        &self,
        port: u16,
        programs: &Path,
        account: Option<&User>,
        data: &Path,
    ) -> Result<Running> {
        let mut command = as_account(account, &programs.join("postgres"));
        command.current_dir(&self.folder).arg("-D").arg(data).args(["-p", &port.to_string()]);
        let sockets = format!("unix_socket_directories={}", self.folder.display());
        for setting in [
            "listen_addresses=127.0.0.1",
            sockets.as_str(),
            // The cluster is thrown away: nothing needs to survive a power cut.
            "fsync=off",
            "synchronous_commit=off",
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

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // SIGINT is PostgreSQL's "fast shutdown": it ends open sessions.
            if let Err(error) = server.stop(Signal::SIGINT, Duration::from_secs(20)) {
                eprintln!("warning: PostgreSQL may still be running: {error:#}");
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("warning: cannot remove {}: {error}", self.folder.display());
        }
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

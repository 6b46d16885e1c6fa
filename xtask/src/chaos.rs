//! `cargo xtask chaos`: a network, a database and an object store of its own for `aeterna-chaos`, which breaks a
//! cluster of real nodes and judges what its clients saw.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::Pid;

use crate::children::{self, Running};
use crate::paths;
use crate::postgres::Postgres;
use crate::s3::S3;
use crate::servers::{Folder, as_account};
use crate::test::build_programs;
use crate::tools::{self, DebianProgram};

/// The bridge between the nodes' hosts, and its address, at which they reach the servers. There is nothing else in
/// its network.
const BRIDGE: &str = "chaos";
const SERVERS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const NETWORK: &str = "10.77.0.0/24";
const FOLDER_PREFIX: &str = "aeterna-chaos-";
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Seed, minutes and copies of the short runs: time for most kinds of fault, in the order that the seed gives them.
const SHORT_RUNS: [[&str; 3]; 2] = [["4", "3.5", "1"], ["9", "3", "2"]];

const IP: DebianProgram = DebianProgram {
    program: "ip",
    package: "iproute2",
    needed_for: "hosts of their own for nodes",
};

/// What `cargo xtask chaos` takes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What everything that is left to chance follows from
    #[arg(long)]
    pub(crate) seed: u64,
    /// Minutes for which something is broken; start, end and checks come on top
    #[arg(long)]
    pub(crate) minutes: f64,
    /// Nodes of the cluster
    #[arg(long, default_value_t = 5)]
    pub(crate) nodes: u8,
    /// Nodes that hold a shard
    #[arg(long, default_value_t = 1)]
    pub(crate) replicas: u32,
    /// Break only this, of all that can be broken (`aeterna-chaos run --help` lists it), separated by commas
    #[arg(long)]
    pub(crate) only: Option<String>,
    /// Where the report goes; its plot goes beside it
    #[arg(long)]
    pub(crate) report: Option<PathBuf>,
}

/// What a run needs, before anything else is done: programs, and leave to make networks.
pub(crate) fn prepare() -> Result<()> {
    tools::debian_program(&IP)?;
    // The network is gone with the thread that made it.
    let tried = std::thread::spawn(new_network).join();
    tried.map_err(|_| anyhow!("whoever tries panicked"))?
}

/// The short runs that belong to the tests, each in a process of its own: what goes into another network stays
/// there. To be asked for before anything is built: that may put another file in the place of this program, which
/// then has no path any more.
pub(crate) fn short() -> Result<Vec<Command>> {
    let program = std::env::current_exe()?;
    let run = |[seed, minutes, replicas]: [&str; 3]| {
        let mut command = as_account(None, &program);
        command.args(["chaos", "--seed", seed, "--minutes", minutes, "--replicas", replicas]);
        command
    };
    Ok(SHORT_RUNS.map(run).into())
}

/// Builds what is needed, and runs.
///
/// Only this thread goes into the network that it makes; what it starts from then on stays there.
pub(crate) fn run(options: &Options) -> Result<()> {
    let root = paths::workspace()?;
    let section = children::section("what chaos needs");
    prepare()?;
    Postgres::prepare()?;
    S3::prepare()?;
    section.done();
    let section = children::section("building");
    let [aeterna, chaos] = build_programs(&root, ["aeterna", "aeterna-chaos"])?;
    section.done();
    let report = options.report.as_ref().map(std::path::absolute).transpose()?;
    let folder = folder(&aeterna, options.seed)?;
    make_network()?;
    let section = children::section(&format!("chaos, seed {}", options.seed));
    let postgres = Postgres::start_at(IpAddr::V4(SERVERS), Some(NETWORK))?;
    let s3 = S3::start_at(IpAddr::V4(SERVERS))?;
    println!("{}, {}", postgres.version(), s3.version());
    let mut servers = Supervised { postgres, s3, folder: Folder::new(FOLDER_PREFIX)? };
    servers.tell_pids()?;
    let mut command = as_account(None, &chaos);
    command.arg("run").args(["--seed", &options.seed.to_string()]);
    command.args(["--minutes", &options.minutes.to_string()]);
    command.args(["--nodes", &options.nodes.to_string()]);
    command.args(["--replicas", &options.replicas.to_string()]);
    command.arg("--program").arg(&aeterna).arg("--folder").arg(&folder);
    if let Some(only) = &options.only {
        command.args(["--only", only]);
    }
    if let Some(report) = report {
        command.arg("--report").arg(report);
    }
    servers.describe(&mut command);
    let running = Running::start(&mut command)?;
    let status = servers.keep_up(running)?;
    children::succeeded(&command, status)?;
    section.done();
    Ok(())
}

/// Where a run of a seed leaves its history and logs; what an earlier one left is gone.
fn folder(program: &Path, seed: u64) -> Result<PathBuf> {
    let profile = program.parent().context("a program without a folder")?;
    let folder = profile.join("chaos").join(format!("seed-{seed}"));
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(folder)
}

/// Takes this thread into a new network, with a bridge in it and nothing else. It is gone when the last process in
/// it is.
fn make_network() -> Result<()> {
    new_network()?;
    let address = format!("{SERVERS}/24");
    for arguments in [
        &["link", "set", "lo", "up"][..],
        &["link", "add", BRIDGE, "type", "bridge"],
        &["addr", "add", &address, "dev", BRIDGE],
        &["link", "set", BRIDGE, "up"],
    ] {
        children::run(Command::new("ip").args(arguments))?;
    }
    Ok(())
}

fn new_network() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context(
        "chaos needs network namespaces, to part nodes from one another: run it as root on Linux \
         (CAP_SYS_ADMIN and CAP_NET_ADMIN), where making them is allowed",
    )
}

/// The servers, which are started again whenever they end, as a platform would.
struct Supervised {
    postgres: Postgres,
    s3: S3,
    /// Files with their process ids.
    folder: Folder,
}

impl Supervised {
    fn postgres_pid(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    fn s3_pid(&self) -> PathBuf {
        self.folder.join("s3")
    }

    fn describe(&self, command: &mut Command) {
        let address = self.postgres.address().to_string();
        command.args(["--database", &address]).arg("--database-pid").arg(self.postgres_pid());
        let address = self.s3.endpoint().to_string();
        command.args(["--store", &address]).arg("--store-pid").arg(self.s3_pid());
        command.env("DATABASE_URL", self.postgres.url()).envs(self.s3.environment());
    }

    fn tell_pids(&self) -> Result<()> {
        write_whole(&self.postgres_pid(), self.postgres.pid()?)?;
        write_whole(&self.s3_pid(), self.s3.pid()?)
    }

    /// Until the run ends.
    fn keep_up(&mut self, mut running: Running) -> Result<std::process::ExitStatus> {
        loop {
            if running.has_ended()? {
                return running.wait();
            }
            if children::interrupted().is_some() {
                bail!("interrupted");
            }
            // Both, whatever the first had to do.
            if self.postgres.revive()? | self.s3.revive()? {
                self.tell_pids()?;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Who reads it never sees half of it.
fn write_whole(path: &Path, pid: Pid) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, pid.to_string())?;
    fs::rename(&new, path).with_context(|| format!("cannot write {}", path.display()))
}

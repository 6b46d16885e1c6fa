//! What the tests stand on: the binary, servers that it runs, git repositories to index.

mod cluster;
mod git;
mod http;
mod remote;
mod server;
mod servers;
mod stray;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub use cluster::Cluster;
pub use git::Git;
pub use http::{Reply, Request, connection, escape, request_without_end};
pub use remote::Remote;
pub use server::{Server, ServerOptions};
pub use servers::{POSTGRES, S3, Way, free_address, server};
pub use stray::Stray;

/// The binary: `AETERNA_BIN`, or the one that `cargo build` puts beside the tests.
pub fn binary() -> PathBuf {
    let path = std::env::var_os("AETERNA_BIN").map_or_else(
        || {
            let tests = std::env::current_exe().expect("path of the tests");
            let profile = tests.parent().and_then(Path::parent).expect("folder of the profile");
            profile.join(format!("aeterna{}", std::env::consts::EXE_SUFFIX))
        },
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "{} does not exist: run `cargo build -p aeterna-node` first, or set AETERNA_BIN",
        path.display()
    );
    path
}

/// The binary with nothing of the caller's configuration.
pub fn aeterna(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    isolate(&mut command);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Keeps the caller's settings away: files in the home folder and variables.
fn isolate(command: &mut Command) {
    let ours = |name: &str| {
        name.starts_with("AETERNA_")
            || name.starts_with("XDG_")
            || name.to_ascii_lowercase().ends_with("_proxy")
            || ["DATABASE_URL", "CODE_SEARCH_BASE_PATH", "SHARD_ID", "NO_COLOR"].contains(&name)
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(ours) {
            command.env_remove(name);
        }
    }
    let nowhere = std::env::temp_dir().join("aeterna-tests-no-such-folder");
    command.env("HOME", &nowhere).env("XDG_CONFIG_HOME", &nowhere).env("XDG_DATA_HOME", nowhere);
}

/// What a command left.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    Ran {
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// Every file below a folder that holds the text.
pub fn files_with(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if std::fs::read(&path).is_ok_and(|bytes| {
                bytes.windows(text.len()).any(|window| window == text.as_bytes())
            }) {
                found.push(path);
            }
        }
    }
    found
}

/// Small numbers that look random and come from a seed, so that a failure can be repeated.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// A number below `end`: SplitMix64.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Sends a process that the tests have started a signal, such as `-TERM`.
pub fn send_signal(pid: impl Into<u64>, signal: &str) {
    let sent = Command::new("kill").args([signal, &pid.into().to_string()]).status().unwrap();
    assert!(sent.success());
}

//! What the private servers of one run of the tests have in common: they end with it, and leave nothing behind.

use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use nix::sys::signal::kill;
use nix::unistd::{Pid, User};

use crate::paths;

/// Free loopback ports. Another program may take one before it is used: whoever asks tries again then.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        // Held until all are chosen, so that they differ.
        listeners.push(listener);
    }
    Ok(ports)
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
pub(crate) fn sweep(folder_prefix: &str) {
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

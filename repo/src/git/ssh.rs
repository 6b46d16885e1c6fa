//! The `ssh` program as a transport: started without a shell, with nothing of this process's
//! environment but what ssh needs, and killed with all it started when its time is over.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::git::ConnectMode;
use gix::protocol::transport::client::git::blocking_io::Connection;

use super::GitError;
use super::url::SshUrl;
use crate::config::GitConfig;

/// Variables that ssh needs to find keys and an agent.
const KEPT_VARIABLES: [&str; 6] = ["HOME", "PATH", "USER", "LOGNAME", "SSH_AUTH_SOCK", "LANG"];
/// Bytes kept of what the remote says on standard error.
const MAX_COMPLAINT: usize = 4096;

/// How long is waited for it. What `ssh` leaves running may keep the pipe open.
const COMPLAINT_WAIT: Duration = Duration::from_secs(1);

/// A running `ssh`.
pub(crate) struct Ssh {
    child: Child,
    complaint: Receiver<String>,
    killer: Killer,
}

/// Ends the program and all it started; usable from another thread.
#[derive(Clone)]
pub(crate) struct Killer(Arc<Mutex<Option<i32>>>);

impl Killer {
    /// Sends SIGKILL to the process group, once, and never after the program was waited for.
    pub(crate) fn kill(&self) {
        let mut group = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(group) = group.take() {
            // SAFETY: a plain system call; the group was made for this child and is not reaped.
            unsafe { libc::kill(-group, libc::SIGKILL) };
        }
    }

    fn forget(&self) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
    }
}

impl Ssh {
    /// Starts `git-upload-pack` on the remote.
    pub(crate) fn start(
        url: &SshUrl,
        config: &GitConfig,
    ) -> Result<(Self, Connection<ChildStdout, ChildStdin>), GitError> {
        let mut command = Command::new(&config.ssh_program);
        command.args(arguments(url, config)).env_clear();
        for name in KEPT_VARIABLES {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("GIT_PROTOCOL", "version=2")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child =
            command.spawn().map_err(GitError::io("cannot start", &config.ssh_program))?;
        let killer = Killer(Arc::new(Mutex::new(i32::try_from(child.id()).ok())));
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            killer.kill();
            return Err(GitError::io("cannot talk to", &config.ssh_program)(
                std::io::ErrorKind::BrokenPipe.into(),
            ));
        };
        let (sender, complaint) = sync_channel(1);
        std::thread::Builder::new()
            .name("ssh-stderr".to_owned())
            // Nobody may want to know any more.
            .spawn(move || drop(sender.send(read_complaint(stderr))))
            .map_err(GitError::io("cannot start a thread for", &config.ssh_program))?;
        let connection = Connection::new(
            stdout,
            stdin,
            Protocol::V2,
            url.path.as_str(),
            None::<(String, Option<u16>)>,
            ConnectMode::Process,
            false,
        )
        .custom_url(Some(url.to_string().into()));
        Ok((Self { child, complaint, killer }, connection))
    }

    pub(crate) fn killer(&self) -> Killer {
        self.killer.clone()
    }

    /// Ends the program and returns what it said on standard error.
    pub(crate) fn finish(mut self) -> String {
        self.killer.kill();
        // After a kill this only collects the exit status.
        let _ = self.child.wait();
        self.killer.forget();
        self.complaint.recv_timeout(COMPLAINT_WAIT).unwrap_or_default()
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        self.killer.kill();
        let _ = self.child.wait();
    }
}

fn arguments(url: &SshUrl, config: &GitConfig) -> Vec<String> {
    let connect = format!("ConnectTimeout={}", config.connect_timeout.as_secs().max(1));
    let options = [
        "BatchMode=yes",
        &connect,
        "ServerAliveInterval=15",
        "ServerAliveCountMax=4",
        "SendEnv=GIT_PROTOCOL",
        "ControlMaster=no",
        "ControlPersist=no",
        "ForwardAgent=no",
        "ForwardX11=no",
        "ClearAllForwardings=yes",
        "PermitLocalCommand=no",
    ];
    let mut arguments: Vec<String> =
        options.iter().flat_map(|option| ["-o".to_owned(), (*option).to_owned()]).collect();
    if let Some(port) = url.port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    if let Some(user) = &url.user {
        arguments.extend(["-l".to_owned(), user.clone()]);
    }
    // The remote's shell sees the path: quote it as git does.
    let path = url.path.replace('\'', "'\\''").replace('!', "'\\!'");
    arguments.extend(["--".to_owned(), url.host.clone(), format!("git-upload-pack '{path}'")]);
    arguments
}

fn read_complaint(mut stderr: impl Read) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut buffer) {
        let room = MAX_COMPLAINT.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
    let text = String::from_utf8_lossy(&kept);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

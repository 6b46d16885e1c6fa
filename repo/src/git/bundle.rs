//! Git bundles of a mirror: made and read by the `git` program.
//!
//! It is started without a shell, without this process's environment and configuration, with every
//! transport refused, and killed with all it started when its time is over.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gix::bstr::BString;
use gix::hash::ObjectId;

use super::GitError;
use super::mirror::Mirror;

/// How often is looked whether the program has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Bytes of a line in a bundle's header: an id, and the name of a ref or a commit's title.
const MAX_LINE: u64 = 64 << 10;
/// Bytes kept of what the program says.
const MAX_COMPLAINT: u64 = 4096;
/// Settings that no configuration of a repository may change.
const SETTINGS: [&str; 5] = [
    "protocol.allow=never",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "safe.directory=*",
    "pack.threads=1",
];

/// The `git` program and what bounds its use.
pub(crate) struct Git<'a> {
    pub(crate) program: &'a Path,
    pub(crate) timeout: Duration,
    pub(crate) stop: &'a (dyn Fn() -> bool + Sync),
}

/// What a bundle is to hold.
pub(crate) struct Contents {
    /// Refs by full name, and what they point to. Objects of all of them must be there.
    pub(crate) refs: Vec<(BString, ObjectId)>,
    /// What whoever reads the bundle has already.
    pub(crate) without: Vec<ObjectId>,
}

impl Git<'_> {
    /// Writes a bundle of a mirror's objects; `false` when there is nothing to write.
    ///
    /// # Errors
    /// When the program fails, or its time is over. No file is left then.
    pub(crate) fn create_bundle(
        &self,
        mirror: &Mirror,
        contents: &Contents,
        into: &Path,
    ) -> Result<bool, GitError> {
        if !self.has_new_objects(mirror, contents)? {
            return Ok(false);
        }
        let mut input = Vec::new();
        for (name, _) in &contents.refs {
            input.extend_from_slice(name);
            input.push(b'\n');
        }
        input.extend_from_slice(excluded(&contents.without).as_bytes());
        let mut command = self.command(mirror);
        command.args(["bundle", "create", "--quiet"]).arg(into).arg("--stdin");
        let made = self.run(command, &input, into).and_then(|_| {
            let synced = File::open(into).and_then(|file| file.sync_all());
            synced.map_err(GitError::io("cannot sync", into))
        });
        if made.is_err() {
            // What the program left is of no use; the error is what is told.
            let _ = std::fs::remove_file(into);
        }
        made.map(|()| true)
    }

    /// `git bundle create` refuses to make one without objects.
    fn has_new_objects(&self, mirror: &Mirror, contents: &Contents) -> Result<bool, GitError> {
        let mut input = String::new();
        for (_, id) in &contents.refs {
            input.push_str(&format!("{id}\n"));
        }
        input.push_str(&excluded(&contents.without));
        let mut command = self.command(mirror);
        command.args(["rev-list", "--objects", "--no-object-names", "--max-count=1", "--stdin"]);
        let found = self.run(command, input.as_bytes(), mirror.path())?;
        Ok(!found.trim_ascii().is_empty())
    }

    /// Takes the objects of a bundle into a mirror whose refs lead to what the bundle builds on, and
    /// adds refs that lead to these objects too.
    ///
    /// # Errors
    /// When the bundle is damaged or needs objects that are not there, or as for making one.
    pub(crate) fn unbundle(&self, mirror: &Mirror, bundle: &Path) -> Result<(), GitError> {
        let tips = tips(bundle)?;
        let mut command = self.command(mirror);
        command.args(["bundle", "unbundle"]).arg(bundle);
        self.run(command, b"", bundle)?;
        let mut refs = mirror.refs()?;
        let name = |id: &ObjectId| BString::from(format!("refs/aeterna/tips/{id}"));
        refs.refs.extend(tips.into_iter().map(|id| (name(&id), id)));
        mirror.write_refs(&refs)
    }

    fn command(&self, mirror: &Mirror) -> Command {
        let mut command = Command::new(self.program);
        command.env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C")
            .current_dir(mirror.path())
            .arg("--git-dir")
            .arg(mirror.path());
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command
    }

    /// Runs the program and gives the start of what it writes.
    fn run(&self, mut command: Command, input: &[u8], what: &Path) -> Result<Vec<u8>, GitError> {
        let failed = |detail: String| GitError::Bundle { path: what.to_owned(), detail };
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let child = command.spawn().map_err(GitError::io("cannot start", self.program))?;
        let mut running = Running(child);
        let streams = (running.0.stdin.take(), running.0.stdout.take(), running.0.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = streams else {
            return Err(failed("it has no streams".to_owned()));
        };
        std::thread::scope(|scope| {
            // Each stream has a reader or writer, so that none fills up and blocks the program.
            scope.spawn(move || drop(stdin.write_all(input)));
            let out = scope.spawn(|| start_of(stdout));
            let complaint = scope.spawn(|| start_of(stderr));
            let ended = self.wait(&mut running, what);
            if ended.is_err() {
                running.kill();
            }
            let out = out.join().unwrap_or_default();
            let complaint = complaint.join().unwrap_or_default();
            let succeeded = ended?;
            if succeeded { Ok(out) } else { Err(failed(one_line(&complaint))) }
        })
    }

    /// Whether the program succeeded, once it has ended.
    fn wait(&self, running: &mut Running, what: &Path) -> Result<bool, GitError> {
        let started = Instant::now();
        loop {
            let status = running.0.try_wait().map_err(GitError::io("cannot wait for", "git"))?;
            if let Some(status) = status {
                return Ok(status.success());
            }
            if (self.stop)() {
                return Err(GitError::Cancelled);
            }
            if started.elapsed() > self.timeout {
                let location = what.display().to_string();
                return Err(GitError::TimedOut { location, what: "git", limit: self.timeout });
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// A program that ends with whoever waits for it.
struct Running(Child);

impl Running {
    fn kill(&mut self) {
        if let Ok(Some(_)) = self.0.try_wait() {
            return;
        }
        if let Ok(group) = i32::try_from(self.0.id()) {
            // SAFETY: a plain system call; the group was made for this child, which is not reaped.
            unsafe { libc::kill(-group, libc::SIGKILL) };
        }
        // After a kill this only collects the exit status.
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the refs in the header of a bundle point to.
fn tips(bundle: &Path) -> Result<Vec<ObjectId>, GitError> {
    let file = File::open(bundle).map_err(GitError::io("cannot open", bundle))?;
    let mut reader = BufReader::new(file);
    let (mut tips, mut line, mut starts) = (Vec::new(), Vec::new(), true);
    loop {
        line.clear();
        let limited = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
        limited.map_err(GitError::io("cannot read", bundle))?;
        if line.is_empty() || (starts && line == b"\n") {
            return Ok(tips);
        }
        // Other lines are the signature, capabilities, and what the bundle builds on.
        let id = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        tips.extend(ObjectId::from_hex(id).ok().filter(|_| starts));
        starts = line.ends_with(b"\n");
    }
}

fn excluded(ids: &[ObjectId]) -> String {
    ids.iter().map(|id| format!("^{id}\n")).collect()
}

/// The first bytes of a stream, which is read to its end.
fn start_of(mut stream: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    // A stream that breaks ends here.
    let _ = stream.by_ref().take(MAX_COMPLAINT).read_to_end(&mut kept);
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
    kept
}

fn one_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.trim().to_owned()
}

/// Whether the program is there.
pub(crate) fn is_installed(program: &Path) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}

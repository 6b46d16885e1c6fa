//! Programs that this one starts, and that never outlive it.
//!
//! Each child leads a process group of its own. A signal that asks this program to stop is passed on to every
//! group, so that `cargo test` takes its test binaries with it, and then `run` returns an error like any other:
//! whatever is dropped on the way out is cleaned up.

use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
static INTERRUPTED: AtomicU8 = AtomicU8::new(0);

/// The signal that asked this program to stop, if one did.
pub(crate) fn interrupted() -> Option<u8> {
    match INTERRUPTED.load(Ordering::SeqCst) {
        0 => None,
        signal => Some(signal),
    }
}

/// From here on, SIGINT, SIGTERM and SIGHUP end the children; a second one kills them.
pub(crate) fn forward_signals() -> Result<()> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot listen for signals")?;
    std::thread::spawn(move || {
        for number in signals.forever() {
            let again = interrupted().is_some();
            INTERRUPTED.store(u8::try_from(number).unwrap_or(1), Ordering::SeqCst);
            let signal = if again { Signal::SIGKILL } else { Signal::SIGTERM };
            for group in groups().iter() {
                // A group that has just ended by itself is no error.
                let _ = killpg(*group, signal);
            }
        }
    });
    Ok(())
}

fn groups() -> MutexGuard<'static, Vec<Pid>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says what comes next, so that a log of an hour can be found one's way in.
pub(crate) fn section(title: &str) -> Section {
    println!("\n== {title}");
    Section { title: title.to_owned(), started: Instant::now() }
}

/// A part of the run that has a name and a duration.
pub(crate) struct Section {
    title: String,
    started: Instant,
}

impl Section {
    /// Prints how long the part took.
    pub(crate) fn done(self) {
        println!("-- {}: {}", self.title, seconds(self.started.elapsed()));
    }
}

/// `1.2 s`, or `3 min 4 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {} s", whole / 60, whole % 60)
    }
}

/// Runs `command` with its output shown, and fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = Running::start(command)?.wait()?;
    succeeded(command, status)
}

/// Runs `command`, passing each line of its standard output to `line` as it comes, and gives its status.
pub(crate) fn run_by_line(command: &mut Command, mut line: impl FnMut(&str)) -> Result<ExitStatus> {
    let mut running = Running::start(command.stdout(Stdio::piped()))?;
    if let Some(stdout) = running.child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes)? > 0 {
            line(String::from_utf8_lossy(&bytes).trim_end_matches('\n'));
            bytes.clear();
        }
    }
    running.wait()
}

/// What `command` prints, when it succeeds.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&output_bytes(command)?).into_owned())
}

/// What `command` prints, when it succeeds.
pub(crate) fn output_bytes(command: &mut Command) -> Result<Vec<u8>> {
    let output = any_output(command)?;
    let said = String::from_utf8_lossy(&output.stderr);
    succeeded(command, output.status).with_context(|| said.trim().to_owned())?;
    Ok(output.stdout)
}

/// What `command` prints, whether it succeeds or not.
pub(crate) fn any_output(command: &mut Command) -> Result<Output> {
    Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?.wait_with_output()
}

/// An error that names the command, unless `status` is a success.
pub(crate) fn succeeded(command: &Command, status: ExitStatus) -> Result<()> {
    if let Some(signal) = interrupted() {
        bail!("stopped by signal {signal}");
    }
    if status.success() {
        return Ok(());
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit status".to_owned(),
    };
    Err(anyhow!("`{}` failed: {how}", describe(command)))
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy()));
    words.join(" ")
}

/// A child that is still running; dropping it ends it.
pub(crate) struct Running {
    child: Child,
    group: Pid,
    ended: bool,
}

impl Running {
    /// Starts `command` without standard input, in a process group of its own.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        Self::spawn(command.stdin(Stdio::null()))
    }

    /// Starts `command` in a process group of its own, and gives its standard input.
    pub(crate) fn start_with_input(command: &mut Command) -> Result<(Self, ChildStdin)> {
        let mut running = Self::spawn(command.stdin(Stdio::piped()))?;
        let input = running.child.stdin.take().context("a child without standard input")?;
        Ok((running, input))
    }

    fn spawn(command: &mut Command) -> Result<Self> {
        if let Some(signal) = interrupted() {
            bail!("stopped by signal {signal}");
        }
        let mut groups = groups();
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start `{}`", describe(command)))?;
        let group = Pid::from_raw(i32::try_from(child.id()).context("a process id over 2^31")?);
        groups.push(group);
        Ok(Self { child, group, ended: false })
    }

    /// The child's streams, for whoever set them up.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The child's process id.
    pub(crate) fn pid(&self) -> Pid {
        self.group
    }

    /// Whether the child has ended.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        if !self.ended && self.child.try_wait().context("cannot wait for a child")?.is_some() {
            self.forget();
        }
        Ok(self.ended)
    }

    /// Waits until the child ends.
    pub(crate) fn wait(mut self) -> Result<ExitStatus> {
        self.wait_by_reference()
    }

    fn wait_by_reference(&mut self) -> Result<ExitStatus> {
        let status = self.child.wait().context("cannot wait for a child")?;
        self.forget();
        Ok(status)
    }

    fn wait_with_output(mut self) -> Result<Output> {
        let stdout = self.child.stdout.take();
        let stderr = self.child.stderr.take();
        let (stdout, stderr) = std::thread::scope(|scope| {
            let errors = scope.spawn(|| read_all(stderr));
            (read_all(stdout), errors.join())
        });
        let stderr = stderr.map_err(|_| anyhow!("the reader of a child's errors panicked"))??;
        let status = self.wait_by_reference()?;
        Ok(Output { status, stdout: stdout?, stderr })
    }

    /// Sends `signal` to the child alone and waits until it ends, at most for `patience`; then kills its group.
    pub(crate) fn stop(&mut self, signal: Signal, patience: Duration) -> Result<()> {
        if self.has_ended()? {
            return Ok(());
        }
        let _ = kill(self.group, signal);
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if self.has_ended()? {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = killpg(self.group, Signal::SIGKILL);
        self.wait_by_reference()?;
        Ok(())
    }

    fn forget(&mut self) {
        self.ended = true;
        groups().retain(|group| *group != self.group);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing to be done about a child that cannot even be waited for.
        let _ = self.stop(Signal::SIGTERM, Duration::from_secs(5));
    }
}

fn read_all(stream: Option<impl std::io::Read>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut bytes).context("cannot read a child's output")?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_status() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c exit 3` failed: exit status 3");
    }

    #[test]
    fn lines_arrive_without_their_ends_and_with_the_status() {
        let mut lines = Vec::new();
        let status = run_by_line(
            Command::new("sh").args(["-c", "echo one; echo; printf two; exit 1"]),
            |line| lines.push(line.to_owned()),
        )
        .unwrap();
        assert_eq!(lines, ["one", "", "two"]);
        assert_eq!(status.code(), Some(1));
    }

    #[test]
    fn a_dropped_child_is_gone() {
        let running = Running::start(Command::new("sleep").arg("600")).unwrap();
        let pid = running.pid();
        drop(running);
        assert_eq!(kill(pid, None), Err(nix::errno::Errno::ESRCH));
    }

    #[test]
    fn durations_are_readable() {
        assert_eq!(seconds(Duration::from_millis(1240)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(184)), "3 min 4 s");
    }
}

//! Time, processor time, memory and size, as the kernel counts them.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde::{Deserialize, Serialize};

use crate::children;

/// What a program used from its start to its end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Seconds that passed.
    pub(crate) wall: f64,
    /// Seconds of processor time, user and system, children included.
    pub(crate) cpu: f64,
    /// Bytes of memory at the peak, of the largest process (children are not added up).
    pub(crate) peak_memory: u64,
}

/// `cargo xtask measured`: runs one program and writes what it used to a file.
///
/// Linux counts the memory of the process that starts a program into the program's own peak; this small one in
/// between keeps the benchmark's own memory out of the figure.
#[derive(clap::Args)]
pub(crate) struct Measured {
    /// Where the result goes, as JSON
    result: std::path::PathBuf,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

impl Measured {
    /// Runs the program; fails as it does.
    pub(crate) fn run(&self) -> Result<()> {
        let (program, arguments) = self.command.split_first().context("no program is named")?;
        let started = Instant::now();
        let status = Command::new(program)
            .args(arguments)
            .status()
            .with_context(|| format!("cannot start {program}"))?;
        let wall = started.elapsed().as_secs_f64();
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("cannot read the usage")?;
        let seconds = |time: nix::sys::time::TimeVal| {
            Duration::from_secs(u64::try_from(time.tv_sec()).unwrap_or_default()).as_secs_f64()
                + Duration::from_micros(u64::try_from(time.tv_usec()).unwrap_or_default())
                    .as_secs_f64()
        };
        let usage = Usage {
            wall,
            cpu: seconds(usage.user_time()) + seconds(usage.system_time()),
            peak_memory: u64::try_from(usage.max_rss()).unwrap_or_default() * 1024,
        };
        fs::write(&self.result, serde_json::to_vec(&usage)?)?;
        match (status.code(), status.signal()) {
            (Some(0), _) => Ok(()),
            (code, signal) => bail!("{program} failed: exit status {code:?}, signal {signal:?}"),
        }
    }
}

/// Runs `command` to its end through `Measured`.
pub(crate) fn usage_of(command: &Command, folder: &Path) -> Result<Usage> {
    let result = folder.join("usage.json");
    let mut measured = Command::new(std::env::current_exe()?);
    measured.arg("measured").arg(&result).arg("--").arg(command.get_program());
    measured.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => measured.env(name, value),
            None => measured.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        measured.current_dir(folder);
    }
    // Progress of others' indexers is long and says little; it is shown when they fail.
    children::output(&mut measured)?;
    let usage = serde_json::from_slice(&fs::read(&result)?)?;
    fs::remove_file(&result)?;
    Ok(usage)
}

/// What a running process holds and has used.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ProcessState {
    /// Bytes that are not the page cache's: heap, stacks.
    pub(crate) anonymous: u64,
    /// Bytes in memory, mapped files included.
    pub(crate) resident: u64,
    /// The most that `resident` has been.
    pub(crate) peak: u64,
    /// Seconds of processor time so far, ended children included.
    pub(crate) cpu: f64,
}

/// Reads a process's state from `/proc`.
pub(crate) fn process_state(pid: Pid) -> Result<ProcessState> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is gone"))?;
    let kibibytes = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
        number.and_then(|number| number.parse::<u64>().ok()).unwrap_or_default()
    };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Ok(ProcessState {
        anonymous: kibibytes("RssAnon") * 1024,
        resident: kibibytes("VmRSS") * 1024,
        peak: kibibytes("VmHWM") * 1024,
        cpu: cpu_seconds(&stat)?,
    })
}

fn cpu_seconds(stat: &str) -> Result<f64> {
    // The program's name, in parentheses, may have spaces; user, system and the children's times are the
    // 12th to the 15th field after it.
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(4)
        .map(|field| field.parse::<u64>().unwrap_or_default())
        .sum();
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("the kernel names no clock tick")?;
    Ok(to_f64(ticks) / to_f64(u64::try_from(per_second)?))
}

/// The bytes of all files under `folder`, as their lengths add up.
pub(crate) fn folder_size(folder: &Path) -> Result<u64> {
    let mut size = 0;
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let metadata = entry.metadata()?;
        size += if metadata.is_dir() { folder_size(&entry.path())? } else { metadata.len() };
    }
    Ok(size)
}

/// For figures in tables, which need no more than 53 bits.
#[allow(clippy::cast_precision_loss, reason = "figures in tables need no more than 53 bits")]
pub(crate) fn to_f64(number: u64) -> f64 {
    number as f64
}

/// How long a set of searches took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Distribution {
    pub(crate) count: usize,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    pub(crate) mean: f64,
}

impl Distribution {
    /// Percentiles by nearest rank: each is a time that was measured.
    pub(crate) fn of(times: &[Duration]) -> Self {
        let mut sorted: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1000.0).collect();
        sorted.sort_by(f64::total_cmp);
        let rank = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).copied().unwrap_or_default()
        };
        let count = to_f64(sorted.len().max(1) as u64);
        Self {
            count: sorted.len(),
            p50: rank(50),
            p95: rank(95),
            p99: rank(99),
            max: rank(100),
            mean: sorted.iter().sum::<f64>() / count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_times() {
        let times: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        let distribution = Distribution::of(&times);
        assert_eq!(
            (distribution.p50, distribution.p95, distribution.p99, distribution.max),
            (100.0, 190.0, 198.0, 200.0)
        );
        assert_eq!(Distribution::of(&[]).max, 0.0);
    }

    #[test]
    fn processor_time_is_read_past_a_name_with_spaces() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 1 2 3 4 100 200 300 400 20 0 1 0 5";
        let per_second = sysconf(SysconfVar::CLK_TCK).unwrap().unwrap();
        let expected = 1000.0 / to_f64(u64::try_from(per_second).unwrap());
        assert!((cpu_seconds(stat).unwrap() - expected).abs() < 1e-9);
    }

    #[test]
    fn this_process_has_memory() {
        let state = process_state(Pid::this()).unwrap();
        assert!(state.anonymous > 0 && state.resident >= state.anonymous);
        assert!(state.peak >= state.resident);
    }

    #[test]
    fn a_folder_is_as_large_as_its_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("a"), "12345").unwrap();
        fs::write(folder.path().join("inner/b"), "678").unwrap();
        assert_eq!(folder_size(folder.path()).unwrap(), 8);
    }
}

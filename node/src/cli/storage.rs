//! `aeterna code-search storage`.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use aeterna_repo::cold_storage::{Audit, AuditProgress, ColdStorage, ColdStorageConfig, Depth};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde::Serialize;

use super::args::{StorageArgs, StorageCommand, StorageVerifyArgs};
use super::terminal::printable;
use super::{CommandError, Exit};
use crate::{cluster, config};

/// How often a line tells how far it is, where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What `--json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    cold_storage: &'a str,
    full: bool,
    #[serde(flatten)]
    audit: &'a Audit,
}

/// Runs `aeterna code-search storage`.
///
/// # Errors
/// When the configuration names no cold storage of a cluster, or it fails.
pub async fn run(args: &StorageArgs) -> Result<Exit, CommandError> {
    let StorageCommand::Verify(args) = &args.command;
    let cold = open(args)?;
    let depth = if args.full { Depth::Contents } else { Depth::Sizes };
    let shown = Shown::new(args.full);
    let audit = cold.audit(depth, &|now| shown.tell(now)).await;
    shown.end();
    let failed = |error: &dyn std::fmt::Display| CommandError::Other(error.to_string());
    let audit = audit.map_err(|error| failed(&error))?.ok_or_else(|| {
        failed(&format!(
            "{} is no cluster's: it has no cluster.json; check the settings of `cold_storage`",
            cold.describe()
        ))
    })?;
    let text = if args.json {
        let report = Report { cold_storage: cold.describe(), full: args.full, audit: &audit };
        let json = serde_json::to_string(&report).map_err(|error| failed(&error))?;
        format!("{json}\n")
    } else {
        table(cold.describe(), &audit, args.full)
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(if audit.problem_count == 0 { Exit::Success } else { Exit::Nothing })
}

fn open(args: &StorageVerifyArgs) -> Result<ColdStorage, CommandError> {
    let loaded = config::load(args.config.config.as_deref(), &args.config.values())?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let failed = |error: &dyn std::fmt::Display| CommandError::Other(error.to_string());
    let place = cluster::cold_config(&loaded.config).map_err(|error| failed(&error))?;
    // Opening it would make it.
    if let ColdStorageConfig::Local { folder } = &place
        && !folder.is_dir()
    {
        let text = format!(
            "there is no folder {}; name that of the cluster with `cold_storage.path`",
            folder.display()
        );
        return Err(CommandError::Other(text));
    }
    ColdStorage::open_with(place, loaded.config.cold_limits()).map_err(|error| failed(&error))
}

/// Shows how far the audit is: a bar on a terminal, now and then a line elsewhere.
struct Shown {
    bar: Option<ProgressBar>,
    line: Mutex<Instant>,
    full: bool,
}

impl Shown {
    fn new(full: bool) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let template = "{spinner} {msg} [{bar:20}] {pos} of {len} shards and mirrors";
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::new(0).with_style(style.progress_chars("=> "))
        });
        Self { bar, line: Mutex::new(Instant::now()), full }
    }

    fn tell(&self, now: AuditProgress) {
        let mut message = String::new();
        if self.full {
            message = format!("{} read, ", HumanBytes(now.read));
        }
        message.push_str(&format!("{} problems", now.problems));
        if let Some(bar) = &self.bar {
            bar.set_length(now.total);
            bar.set_position(now.done);
            bar.set_message(message);
            return;
        }
        let mut last = self.line.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            eprintln!("{} of {} shards and mirrors; {message}", now.done, now.total);
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn table(place: &str, audit: &Audit, full: bool) -> String {
    let mut text = format!("{} of cluster {}\n", printable(place.as_bytes()), audit.cluster_id);
    text.push_str(&format!(
        "{} shards and {} mirrors: {} manifests name {} files, {}\n",
        audit.shards,
        audit.mirrors,
        audit.manifests,
        audit.files,
        HumanBytes(audit.bytes),
    ));
    for problem in &audit.problems {
        let needed = if problem.is_needed { "" } else { " (nothing needs it any more)" };
        text.push_str(&format!("problem: {}{needed}\n", printable(problem.message.as_bytes())));
    }
    let left_off = audit.problem_count.saturating_sub(audit.problems.len() as u64);
    if left_off > 0 {
        text.push_str(&format!("… and {left_off} more problems\n"));
    }
    for place in &audit.garbage {
        let garbage = place.garbage;
        text.push_str(&format!(
            "garbage: {}: {} replaced manifests; {} files that no manifest names, {}\n",
            place.place,
            garbage.manifests,
            garbage.files,
            HumanBytes(garbage.bytes),
        ));
    }
    let looked =
        if full { "every byte was read" } else { "sizes were compared; --full reads contents" };
    match audit.problem_count {
        0 => text.push_str(&format!("nothing is missing or damaged ({looked})\n")),
        1 => text.push_str(&format!("1 problem ({looked})\n")),
        count => text.push_str(&format!("{count} problems ({looked})\n")),
    }
    text
}

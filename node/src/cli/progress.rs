//! Follows the work on a repository: a bar on a terminal, a line for each phase elsewhere.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};

use crate::api::repos::{Phase, Progress, Repository};
use crate::cli::terminal::printable;

const TICK: Duration = Duration::from_millis(120);

/// Bars that are being drawn. Log lines go to the same stream and must not tear them.
static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// Runs `write`, which writes to standard error, while no bar is drawn.
pub fn above_bars(write: impl FnOnce()) {
    match BARS.get() {
        Some(bars) => bars.suspend(write),
        None => write(),
    }
}

/// Where a repository's work stands, as far as one who waits for it cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Still going on.
    Working,
    /// Its text can be searched.
    Ready,
    /// It failed, with the reason.
    Failed(String),
}

/// What the repository's state means for one who waits. `before` is its `updatedAt` when the work
/// was asked for: until that changes, the state is still that of earlier work.
pub fn outcome(repository: &Repository, before: Option<&str>) -> Outcome {
    let busy = repository.progress.is_some() || repository.queue_position.is_some();
    let settled = !busy && before != Some(repository.updated_at.as_str());
    match repository.state.as_str() {
        "ready" if settled => Outcome::Ready,
        "archived" | "rejected" => Outcome::Failed(format!("it is {}", repository.state)),
        "error" if settled => {
            let reason = repository.last_error.clone().unwrap_or_else(|| "no reason given".into());
            let again = repository
                .next_attempt_at
                .as_ref()
                .map(|at| format!(" (tried again at {at})"))
                .unwrap_or_default();
            Outcome::Failed(format!("{reason}{again}"))
        }
        _ => Outcome::Working,
    }
}

/// Shows how far one repository is.
#[derive(Debug)]
pub struct Follower {
    bar: Option<ProgressBar>,
    last_line: String,
}

impl Follower {
    /// Starts following.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = BARS.get_or_init(MultiProgress::new).add(ProgressBar::new_spinner());
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { bar, last_line: String::new() }
    }

    /// Shows a newer state.
    pub fn update(&mut self, repository: &Repository) {
        let name = printable(repository.name.as_bytes());
        let doing = describe(repository);
        match &self.bar {
            Some(bar) => draw(bar, &name, &doing, repository.progress.as_ref()),
            None => {
                let line = format!("{name}: {doing}");
                if line != self.last_line {
                    eprintln!("{line}");
                    self.last_line = line;
                }
            }
        }
    }

    /// Ends with a line that stays.
    pub fn finish(self, line: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        above_bars(|| eprintln!("{line}"));
    }
}

/// What is being done, without numbers: those are the bar's.
fn describe(repository: &Repository) -> String {
    match (&repository.progress, repository.queue_position) {
        (Some(progress), _) => progress.phase.as_str().to_owned(),
        (None, Some(0)) => "next in the queue".to_owned(),
        (None, Some(before)) => format!("waiting for {before} others"),
        // What earlier work left; the new work is about to start.
        (None, None) if matches!(repository.state.as_str(), "ready" | "error") => {
            "starting".to_owned()
        }
        (None, None) => repository.state.clone(),
    }
}

fn draw(bar: &ProgressBar, name: &str, doing: &str, progress: Option<&Progress>) {
    let counted = progress.and_then(|progress| progress.total.map(|total| (progress, total)));
    let template = match counted {
        Some(_) => "{spinner} {msg} [{bar:20}] {percent}%",
        None => "{spinner} {msg}",
    };
    // The templates are constant and valid; the default style would do as well.
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .progress_chars("=> ");
    bar.set_style(style);
    if let Some((progress, total)) = counted {
        bar.set_length(total);
        bar.set_position(progress.done);
    }
    let bytes = progress
        .filter(|progress| progress.bytes > 0 && progress.phase != Phase::Listing)
        .map(|progress| format!(" {}", HumanBytes(progress.bytes)))
        .unwrap_or_default();
    bar.set_message(format!("{name}: {doing}{bytes}"));
}

//! Logs and metrics.

mod metrics;

use std::io::{IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

pub use metrics::{Metrics, RepositoryGauges};

use crate::config::{Config, LogFormat};
use crate::http::context::ACCESS_LOG;

/// Starts logging to standard error. Lines for a person do not include each request; lines for
/// programs do.
pub fn start_logging(config: &Config) {
    let human = match config.log_format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let usual = if human {
        format!("warn,aeterna_node=info,{ACCESS_LOG}=warn")
    } else {
        "info,gix=warn,chitchat=warn,openraft=error,openraft::replication=off,openraft::core=off"
            .to_owned()
    };
    let directives = config.log_filter.0.as_deref().unwrap_or(&usual);
    // Directives were checked when the configuration was read.
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(LogWriter);
    if human {
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        lines.with_ansi(colour).with_target(false).init();
    } else {
        lines.json().flatten_event(true).with_current_span(true).with_span_list(false).init();
    }
    log_panics();
}

/// Writes a panic as one log line with its place, so that it is in the same stream as all else.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(place, message, %backtrace, "panic");
    }));
}

/// Standard error, with a progress bar that is being drawn moved out of the way.
#[derive(Clone, Copy, Debug)]
struct LogWriter;

impl MakeWriter<'_> for LogWriter {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line(Vec::with_capacity(256))
    }
}

/// One line, written in one piece when it is complete.
struct Line(Vec<u8>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        crate::cli::progress::above_bars(|| {
            // Nobody can be told that standard error is gone.
            let _ = std::io::stderr().lock().write_all(&self.0);
        });
    }
}

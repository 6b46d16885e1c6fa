//! Zoekt: an index of trigram positions with content, served over HTTP.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::Pid;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::{Engine, Found, Matches, PAGE, Want};
use crate::bench::http::{self, Client};
use crate::bench::measure::{self, Usage};
use crate::bench::patterns::{Kind, Pattern};
use crate::children::Running;
use crate::paths;
use crate::tools::{self, DebianProgram};

/// More than any corpus has: no match is cut.
const EVERY: u64 = 1_000_000_000;
const START_DEADLINE: Duration = Duration::from_secs(120);
/// In nanoseconds, as Go's `time.Duration` is written in JSON.
const WALL_TIME: u64 = 100_000_000_000;

/// Whether definitions are indexed too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Symbols {
    Without,
    WithCtags,
}

/// Zoekt's programs, where they are in `PATH`: Debian has no package of it.
pub(crate) fn programs() -> Option<(PathBuf, PathBuf)> {
    Some((paths::program("zoekt-git-index")?, paths::program("zoekt-webserver")?))
}

/// Indexes `HEAD` of a bare repository into a folder; `delta` adds to an index that is there.
pub(crate) fn index(
    git_dir: &Path,
    folder: &Path,
    symbols: Symbols,
    delta: bool,
    scratch: &Path,
) -> Result<Usage> {
    let (indexer, _) = programs().context("zoekt-git-index and zoekt-webserver are not in PATH")?;
    let mut command = Command::new(indexer);
    // It falls back from a delta to a full build unless submodules are off.
    command.arg("-submodules=false").arg("-index").arg(folder);
    command.arg(if delta { "-delta=true" } else { "-incremental=false" });
    match symbols {
        Symbols::Without => {
            command.arg("-disable_ctags");
        }
        Symbols::WithCtags => {
            let ctags = tools::debian_program(&DebianProgram {
                program: "ctags",
                package: "universal-ctags",
                needed_for: "Zoekt's symbols",
            })?;
            command.arg("-require_ctags").env("CTAGS_COMMAND", ctags);
        }
    }
    measure::usage_of(command.arg(git_dir), scratch)
}

/// `zoekt-webserver`; dropping it stops it.
pub(crate) struct Zoekt {
    server: Running,
    client: Client,
}

impl Zoekt {
    /// Serves the index in `folder`.
    pub(crate) fn serve(folder: &Path) -> Result<Self> {
        let (_, server) = programs().context("zoekt-webserver is not in PATH")?;
        let address = http::free_address()?;
        let mut command = Command::new(server);
        command.arg("-index").arg(folder).args(["-listen", &address.to_string(), "-rpc"]);
        let mut server = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        // It listens once its shards are loaded.
        http::wait_for_listener(&mut server, address, START_DEADLINE)?;
        Ok(Self { server, client: Client::new(address) })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.server.pid()
    }
}

/// The request for a pattern.
pub(crate) fn request(pattern: &Pattern, want: Want) -> serde_json::Value {
    let regex = match pattern.kind {
        Kind::Literal => super::escaped(&pattern.text),
        // Inside quotes, only these two mean something to Zoekt's query parser.
        Kind::Regex => pattern.text.replace('\\', r"\\").replace('"', "\\\""),
    };
    let query = match pattern.kind {
        Kind::Literal => format!("case:yes content:{regex}"),
        Kind::Regex => format!("case:yes content:\"{regex}\""),
    };
    let options = match want {
        Want::FirstPage => json!({
            "MaxDocDisplayCount": PAGE,
            "ChunkMatches": true,
            "NumContextLines": 1,
            "MaxWallTime": WALL_TIME,
        }),
        Want::Every | Want::Counts => json!({
            "ShardMaxMatchCount": EVERY,
            "TotalMaxMatchCount": EVERY,
            "MaxWallTime": WALL_TIME,
        }),
    };
    json!({"Q": query, "Opts": options})
}

/// The lines of an answer to `Want::Every`.
fn lines(answer: EveryMatch) -> Matches {
    let files = answer.result.files.into_iter().flatten();
    files
        .map(|file| (file.file_name, file.line_matches.map_or(0, |lines| lines.len() as u64)))
        .collect()
}

/// What is looked at of an answer: some have hundreds of megabytes.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EveryMatch {
    result: Files,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Files {
    files: Option<Vec<FileMatch>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FileMatch {
    file_name: String,
    line_matches: Option<Vec<IgnoredAny>>,
}

impl Engine for Zoekt {
    fn name(&self) -> &'static str {
        "Zoekt"
    }

    fn wants(&self) -> &'static [Want] {
        &[Want::FirstPage, Want::Every]
    }

    fn search(&mut self, pattern: &Pattern, want: Want) -> Result<Found> {
        let answer = self.client.post("/api/search", &request(pattern, want))?;
        Ok(Found { elapsed: answer.elapsed, matches: Box::new(move || Ok(lines(answer.read()?))) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_survive_the_query_language() {
        let query = |text: &str, kind| {
            let pattern = Pattern { text: text.to_owned(), kind };
            request(&pattern, Want::Every)["Q"].as_str().unwrap().to_owned()
        };
        assert_eq!(query("a -b", Kind::Literal), r"case:yes content:a\x{20}\x{2d}b");
        assert_eq!(query(r#"a\("x"#, Kind::Regex), r#"case:yes content:"a\\(\"x""#);
    }

    #[test]
    fn lines_of_files_are_counted() {
        let answer = json!({"Result": {"Files": [
            {"FileName": "a", "LineMatches": [{}, {}]}, {"FileName": "b", "LineMatches": [{}]}]}});
        let lines = |answer| lines(serde_json::from_value(answer).unwrap());
        assert_eq!(lines(answer), Matches::from([("a".to_owned(), 2), ("b".to_owned(), 1)]));
        assert!(lines(json!({"Result": {"Files": null}})).is_empty());
    }
}

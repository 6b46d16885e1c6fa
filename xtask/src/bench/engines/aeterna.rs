//! Aeterna Code Search, as its users run it: `aeterna serve`, asked over HTTP.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Engine, Found, Matches, PAGE, Want};
use crate::bench::http::{self, Client};
use crate::bench::measure::{self, ProcessState};
use crate::bench::patterns::{Kind, Pattern};
use crate::children::{self, Running};
use crate::paths;

const START_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(60);
/// How often a repository's state is looked at.
const POLL: Duration = Duration::from_millis(10);

/// A running `aeterna serve`; dropping it stops it.
pub(crate) struct Aeterna {
    server: Running,
    client: Client,
    address: SocketAddr,
    started: Instant,
}

/// How far a repository's index is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its text can be searched.
    Text,
    /// Its symbols too.
    Symbols,
}

/// The release binary, built unless one is given.
pub(crate) fn binary(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return path.canonicalize().with_context(|| format!("{} is not there", path.display()));
    }
    let root = paths::workspace()?;
    children::run(Command::new("cargo").current_dir(&root).args([
        "build",
        "--release",
        "--package",
        "aeterna-node",
        "--bin",
        "aeterna",
    ]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    Ok(target.join("release/aeterna"))
}

impl Aeterna {
    /// Starts a server on `data`, asking it to index `repository` if one is given.
    pub(crate) fn serve(binary: &Path, data: &Path, repository: Option<&Path>) -> Result<Self> {
        let address = http::free_address()?;
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", &address.to_string(), "--data"]).arg(data);
        if let Some(repository) = repository {
            command.arg("--index").arg(repository);
        }
        // The measured server logs as in production, to a file.
        std::fs::create_dir_all(data)?;
        let log = data.with_extension("log");
        let errors = std::fs::File::create(&log)?;
        let started = Instant::now();
        let mut server = Running::start(command.stdout(Stdio::null()).stderr(errors))?;
        http::wait_for_listener(&mut server, address, START_DEADLINE)
            .with_context(|| format!("its log is {}", log.display()))?;
        Ok(Self { server, client: Client::new(address), address, started })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.server.pid()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// When the process was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn state(&self) -> Result<ProcessState> {
        measure::process_state(self.pid())
    }

    /// Stops it as an operator would, so that all is on disk.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.server.stop(Signal::SIGTERM, STOP_DEADLINE)
    }

    /// Asks for a repository to be indexed.
    pub(crate) fn add(&self, git_dir: &Path, name: &str) -> Result<()> {
        let body = json!({"url": git_dir, "name": name});
        self.client.post("/api/v1/repos", &body)?.json()?;
        Ok(())
    }

    /// Asks for a repository's new commits to be fetched and indexed.
    pub(crate) fn sync(&self, repository: &Value) -> Result<()> {
        let id = repository["id"].as_str().context("a repository without an id")?;
        self.client.post(&format!("/api/v1/repos/{id}/sync"), &json!({}))?.json()?;
        Ok(())
    }

    /// The seconds that the server says it has spent indexing, fetching left out; none when it does not say.
    pub(crate) fn indexing_seconds(&self) -> Result<Option<f64>> {
        let answer = self.client.get("/metrics", &[])?;
        Ok(sum_of("code_search_repo_indexing_duration_seconds_sum", &answer.body))
    }

    /// All repositories, whatever their number.
    pub(crate) fn repositories(&self) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = vec![("limit", "1000")];
            if let Some(cursor) = &cursor {
                query.push(("cursor", cursor));
            }
            let page = self.client.get("/api/v1/repos", &query)?.json()?;
            let entries = page["repositories"].as_array();
            all.extend(entries.context("a list without `repositories`")?.iter().cloned());
            match page["nextCursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(all),
            }
        }
    }

    /// Waits until `count` repositories have come as far as `stage`.
    pub(crate) fn wait_until(&self, stage: Stage, count: usize, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        loop {
            let repositories = self.repositories()?;
            if let Some(failed) = repositories.iter().find(|r| r["state"] == "error") {
                bail!("indexing failed: {failed}");
            }
            let reached = repositories.iter().filter(|r| has_reached(r, stage)).count();
            if reached >= count {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("{reached} of {count} repositories are indexed after {patience:?}");
            }
            if let Some(signal) = children::interrupted() {
                bail!("stopped by signal {signal}");
            }
            std::thread::sleep(POLL);
        }
    }
}

fn has_reached(repository: &Value, stage: Stage) -> bool {
    let ready = repository["state"] == "ready";
    match stage {
        Stage::Text => ready,
        Stage::Symbols => ready && repository["symbols"] == "ready",
    }
}

/// The sum over all labels of a metric in Prometheus' text format.
pub(crate) fn sum_of(metric: &str, text: &[u8]) -> Option<f64> {
    let text = String::from_utf8_lossy(text);
    let values: Vec<f64> = text
        .lines()
        .filter_map(|line| line.strip_prefix(metric))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse().ok())
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// The query for a pattern, in the product's own language.
pub(crate) fn query(pattern: &Pattern, want: Want) -> String {
    let content = match pattern.kind {
        Kind::Literal => {
            format!("\"{}\"", pattern.text.replace('\\', r"\\").replace('"', "\\\""))
        }
        Kind::Regex => format!("/{}/", pattern.text.replace('/', r"\/")),
    };
    match want {
        Want::FirstPage => format!("case:yes content:{content}"),
        Want::Every | Want::Counts => format!("case:yes count:all content:{content}"),
    }
}

/// Searches over a connection of its own, in one repository where one is named.
pub(crate) fn search(
    client: &Client,
    pattern: &Pattern,
    want: Want,
    repository: Option<&str>,
) -> Result<http::Answer> {
    let filter = repository.map_or(String::new(), |name| format!("repo:{name} "));
    let query = filter + &query(pattern, want);
    let page = PAGE.to_string();
    let mut parameters = vec![("q", query.as_str())];
    match want {
        Want::FirstPage => parameters.extend([("pageSize", page.as_str()), ("context", "1")]),
        Want::Every => {}
        Want::Counts => parameters.push(("chunks", "false")),
    }
    client.get("/api/v1/search", &parameters)
}

/// What an answer says about its files.
#[derive(Debug, Default, PartialEq)]
struct Files {
    /// Lines in which matches begin, where the answer has all of them.
    whole: Matches,
    /// Files with more matches than an answer lists.
    cut: Vec<String>,
}

/// The files of an answer, which must be complete.
fn files(answer: EveryMatch) -> Result<Files> {
    if !answer.complete || answer.next_cursor.is_some() {
        bail!("an answer with count:all is cut: {}", answer.skipped);
    }
    let mut files = Files::default();
    for result in answer.results {
        let ranges = result.chunks.iter().flat_map(|chunk| &chunk.ranges);
        let matches = ranges.clone().count() as u64;
        let lines: BTreeSet<u64> = ranges.map(|range| range.start.line).collect();
        if result.match_count == matches {
            files.whole.insert(result.path, lines.len() as u64);
        } else {
            files.cut.push(result.path);
        }
    }
    Ok(files)
}

/// What is looked at of an answer: some have hundreds of megabytes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EveryMatch {
    complete: bool,
    next_cursor: Option<String>,
    #[serde(default)]
    skipped: Value,
    results: Vec<FileMatch>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileMatch {
    path: String,
    match_count: u64,
    #[serde(default)]
    chunks: Vec<Chunk>,
}

#[derive(Deserialize)]
struct Chunk {
    ranges: Vec<Range>,
}

#[derive(Deserialize)]
struct Range {
    start: Position,
}

#[derive(Deserialize)]
struct Position {
    line: u64,
}

/// The lines of every file of an answer; those of cut files are asked for one by one.
fn lines(client: &Client, pattern: &Pattern, answer: EveryMatch) -> Result<Matches> {
    let Files { mut whole, cut } = files(answer)?;
    for path in cut {
        let file = super::escaped(&path).replace('/', r"\/");
        let query = format!("{} path:/^{file}$/", query(pattern, Want::Every));
        let parameters = [("q", query.as_str()), ("chunks", "false")];
        let answer = client.get("/api/v1/search", &parameters)?.json()?;
        let count = answer["stats"]["lineCount"]["value"].as_u64();
        whole.insert(path, count.context("an answer without a count of lines")?);
    }
    Ok(whole)
}

impl Engine for Aeterna {
    fn name(&self) -> &'static str {
        "Aeterna"
    }

    fn wants(&self) -> &'static [Want] {
        &[Want::FirstPage, Want::Every, Want::Counts]
    }

    fn search(&mut self, pattern: &Pattern, want: Want) -> Result<Found> {
        let answer = search(&self.client, pattern, want, None)?;
        let (client, pattern) = (self.client.clone(), pattern.clone());
        let elapsed = answer.elapsed;
        let matches = move || lines(&client, &pattern, answer.read()?);
        Ok(Found { elapsed, matches: Box::new(matches) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_survive_the_query_language() {
        let query =
            |text: &str, kind| query(&Pattern { text: text.to_owned(), kind }, Want::FirstPage);
        assert_eq!(query(r#"a\"b"#, Kind::Literal), r#"case:yes content:"a\\\"b""#);
        assert_eq!(query("a/b", Kind::Regex), r"case:yes content:/a\/b/");
    }

    #[test]
    fn metrics_are_added_up() {
        let text =
            b"# TYPE a histogram\na_sum{kind=\"x y\"} 1.5\na_sum{kind=\"z\"} 2\na_summary 9\n";
        assert_eq!(sum_of("a_sum", text), Some(3.5));
        assert_eq!(sum_of("b_sum", text), None);
    }

    #[test]
    fn lines_are_counted_once_and_cut_files_are_noticed() {
        let at = |line| json!({"start": {"line": line}});
        let answer = json!({"complete": true, "nextCursor": null, "skipped": [], "results": [
            {"path": "a", "matchCount": 3,
                "chunks": [{"ranges": [at(1), at(1)]}, {"ranges": [at(9)]}]},
            {"path": "b", "matchCount": 2000, "chunks": [{"ranges": [at(1)]}]}]});
        let expected =
            Files { whole: Matches::from([("a".to_owned(), 2)]), cut: vec!["b".to_owned()] };
        let files = |answer| files(serde_json::from_value(answer).unwrap());
        assert_eq!(files(answer).unwrap(), expected);
        assert!(files(json!({"complete": false, "results": []})).is_err());
    }
}

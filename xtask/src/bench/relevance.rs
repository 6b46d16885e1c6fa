//! `cargo xtask bench relevance`: is the wanted document at the top? Labels and their rule are in `benches/relevance`.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use super::engines::aeterna::{self, Aeterna, Stage};
use super::http::Client;
use super::measure::to_f64;
use super::results::{Kept, Relevance, Run};
use super::{indexing, report, results_file};
use crate::{children, paths};

const PAIRS: &str = "benches/relevance/pairs.jsonl";
/// Ranks beyond this count as not found.
const CUT: usize = 10;
const DEADLINE: Duration = Duration::from_secs(1800);
/// The split whose single ranks may be looked at.
const TUNE: &str = "tune";

/// What `cargo xtask bench relevance` takes.
#[derive(clap::Args)]
pub(super) struct Options {
    /// The folder with the bare repositories, as DIR/owner/name.git
    #[arg(long, value_name = "DIR", required_unless_present = "server")]
    repositories: Option<PathBuf>,
    /// A running server that has indexed them already, instead of one started for this
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "repositories")]
    server: Option<SocketAddr>,
    /// The `aeterna` to start; the release binary is built when none is given
    #[arg(long, value_name = "FILE")]
    aeterna: Option<PathBuf>,
    /// Print the rank of each query that may be tuned on; the held-out half is never printed
    #[arg(long)]
    ranks: bool,
}

/// A labelled query.
#[derive(Deserialize)]
struct Pair {
    id: u64,
    split: String,
    query: String,
    wants: Vec<Document>,
}

#[derive(Deserialize, PartialEq, Eq, Debug, Clone)]
struct Document {
    repository: String,
    path: String,
}

/// Asks every query and adds the figures to the report.
pub(super) fn run(options: &Options) -> Result<()> {
    let file = paths::workspace()?.join(PAIRS);
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {PAIRS}"))?;
    let pairs = parse(&text)?;
    let ranks = match (&options.server, &options.repositories) {
        (Some(address), _) => ask(*address, &pairs)?,
        (None, Some(folder)) => with_own_server(options, folder, &pairs)?,
        (None, None) => bail!("neither --server nor --repositories is given"),
    };
    if options.ranks {
        for (pair, rank) in pairs.iter().zip(&ranks).filter(|(pair, _)| pair.split == TUNE) {
            let rank = rank.map_or("—".to_owned(), |rank| rank.to_string());
            println!("{rank:>3}  {:>4}  {}", pair.id, pair.query);
        }
    }
    let figures = figures(&pairs, &ranks);
    for row in &figures {
        println!(
            "{}: {} queries, recall@1 {:.3}, recall@5 {:.3}, MRR@10 {:.3}",
            row.split, row.queries, row.recall_at_1, row.recall_at_5, row.mrr
        );
    }
    let results = results_file()?;
    if results.is_file() {
        let mut run = Run::load(&results)?;
        run.relevance = figures;
        run.save(&results)?;
        report::write(&run)?;
    }
    Ok(())
}

fn parse(text: &str) -> Result<Vec<Pair>> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| {
            serde_json::from_str(line).with_context(|| format!("{PAIRS}:{}", number + 1))
        })
        .collect()
}

fn with_own_server(options: &Options, folder: &Path, pairs: &[Pair]) -> Result<Vec<Option<usize>>> {
    let binary = aeterna::binary(options.aeterna.as_deref())?;
    let repositories = bare_repositories(folder)?;
    let data = paths::cache()?.join("bench/relevance-data");
    indexing::empty(&data)?;
    let section = children::section(&format!("indexing {} repositories", repositories.len()));
    let server = Aeterna::serve(&binary, &data, None)?;
    for (name, git_dir) in &repositories {
        server.add(git_dir, name)?;
    }
    server.wait_until(Stage::Symbols, repositories.len(), DEADLINE)?;
    section.done();
    let ranks = ask(server.address(), pairs)?;
    server.stop()?;
    fs::remove_dir_all(&data)?;
    Ok(ranks)
}

/// `owner/name` and the folder of each `DIR/owner/name.git`.
fn bare_repositories(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let folder =
        folder.canonicalize().with_context(|| format!("{} is not there", folder.display()))?;
    let mut found = BTreeMap::new();
    for owner in fs::read_dir(&folder)? {
        let owner = owner?;
        if !owner.path().is_dir() {
            continue;
        }
        for repository in fs::read_dir(owner.path())? {
            let path = repository?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(name) = name.strip_suffix(".git") {
                found.insert(format!("{}/{name}", owner.file_name().to_string_lossy()), path);
            }
        }
    }
    if found.is_empty() {
        bail!("{} has no owner/name.git", folder.display());
    }
    Ok(found)
}

fn ask(address: SocketAddr, pairs: &[Pair]) -> Result<Vec<Option<usize>>> {
    let client = Client::new(address);
    let mut ranks = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let page = (2 * CUT).to_string();
        let parameters = [("q", pair.query.as_str()), ("pageSize", &page)];
        let answer = client.get("/api/v1/search", &parameters)?.json();
        let answer = answer.with_context(|| format!("query {}: {}", pair.id, pair.query))?;
        ranks.push(rank(&answer, &pair.wants));
    }
    Ok(ranks)
}

/// The 1-based place, among the answer's files, of the first wanted one.
fn rank(answer: &Value, wants: &[Document]) -> Option<usize> {
    let mut files: Vec<Document> = Vec::new();
    for result in answer["results"].as_array().into_iter().flatten() {
        let text = |name: &str| result[name].as_str().unwrap_or_default().to_owned();
        let file = Document { repository: text("repository"), path: text("path") };
        if !files.contains(&file) {
            files.push(file);
        }
    }
    files.iter().take(CUT).position(|file| wants.contains(file)).map(|index| index + 1)
}

fn figures(pairs: &[Pair], ranks: &[Option<usize>]) -> Vec<Relevance> {
    let mut by_split: BTreeMap<&str, Vec<Option<usize>>> = BTreeMap::new();
    for (pair, rank) in pairs.iter().zip(ranks) {
        by_split.entry(&pair.split).or_default().push(*rank);
    }
    let rows = by_split.into_iter().map(|(split, ranks)| {
        let queries = to_f64(ranks.len() as u64);
        let within = |most: usize| {
            let count = ranks.iter().flatten().filter(|rank| **rank <= most).count();
            to_f64(count as u64) / queries
        };
        let mrr = ranks.iter().flatten().map(|rank| 1.0 / to_f64(*rank as u64)).sum::<f64>();
        Relevance {
            split: split.to_owned(),
            queries: ranks.len(),
            recall_at_1: within(1),
            recall_at_5: within(5),
            mrr: mrr / queries,
        }
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(path: &str) -> Document {
        Document { repository: "o/n".to_owned(), path: path.to_owned() }
    }

    #[test]
    fn a_file_has_one_place_however_often_it_is_found() {
        let result = |path: &str| json!({"repository": "o/n", "path": path});
        let answer = json!({"results": [result("a"), result("a"), result("b")]});
        assert_eq!(rank(&answer, &[document("b"), document("c")]), Some(2));
        assert_eq!(rank(&answer, &[document("c")]), None);
        let far: Vec<Value> = (0..12).map(|n| result(&n.to_string())).collect();
        assert_eq!(rank(&json!({"results": far}), &[document("10")]), None);
    }

    #[test]
    fn figures_are_of_each_half() {
        let line = |id: u64, split: &str| {
            json!({"id": id, "split": split, "query": "q", "wants": [{"repository": "o/n", "path": "a"}],
                "kind": "symbol", "why": "x"})
            .to_string()
        };
        let text = [line(1, "tune"), line(2, "held-out"), line(3, "tune")].join("\n");
        let figures = figures(&parse(&text).unwrap(), &[Some(2), None, Some(1)]);
        assert_eq!(figures[0].mrr, 0.0);
        let tune = &figures[1];
        assert_eq!(
            (tune.queries, tune.recall_at_1, tune.recall_at_5, tune.mrr),
            (2, 0.5, 1.0, 0.75)
        );
        assert!(parse("{}").is_err());
    }

    #[test]
    fn repositories_are_named_by_their_folders() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("tokio-rs/tokio.git")).unwrap();
        fs::create_dir_all(folder.path().join("tokio-rs/notes")).unwrap();
        let names: Vec<String> = bare_repositories(folder.path()).unwrap().into_keys().collect();
        assert_eq!(names, ["tokio-rs/tokio"]);
        assert!(bare_repositories(&folder.path().join("tokio-rs")).is_err());
    }
}

//! `serve --index`: adds or syncs repositories at the start, shows how far they are, and ends with
//! a command that searches them.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aeterna_index::search::{Limits, SearchRequest};
use aeterna_repo::{AddRepository, DEFAULT_TENANT, ManagerError, RepoManager};
use tokio::sync::watch::Receiver;

use crate::api::repos::Repository;
use crate::api::time_of;
use crate::cli::progress::{Follower, Outcome, outcome};
use crate::cli::repos::{absolute, ready_line};
use crate::cli::terminal::printable;
use crate::cli::{program, shell_quoted};
use crate::config::ListenAddress;

/// A search that finds something in most repositories of the language.
const EXAMPLES: &[(&str, &str)] = &[
    ("Rust", "fn main lang:rust"),
    ("Go", "func main lang:go"),
    ("Python", "def main lang:python"),
    ("C", "int main lang:c"),
    ("C++", "int main lang:cpp"),
    ("Java", "static void main lang:java"),
    ("C#", "static void Main lang:csharp"),
    ("JavaScript", "function lang:javascript"),
    ("TypeScript", "export function lang:typescript"),
    ("Ruby", "def initialize lang:ruby"),
    ("PHP", "function lang:php"),
    ("Kotlin", "fun main lang:kotlin"),
    ("Swift", "func lang:swift"),
    ("Scala", "def main lang:scala"),
];

/// Adds or syncs each, waits for them, and prints the command.
pub async fn run(manager: Arc<RepoManager>, urls: Vec<String>, address: SocketAddr) {
    let jobs = urls.into_iter().map(|url| tokio::spawn(one(Arc::clone(&manager), url)));
    let mut ready = Vec::new();
    for job in jobs.collect::<Vec<_>>() {
        ready.extend(job.await.ok().flatten());
    }
    let example = match ready.first() {
        Some(name) => example(&manager, name).await,
        None => "fn main lang:rust".to_owned(),
    };
    // Whoever started the server may have closed its output.
    let _ = writeln!(io::stdout(), "{}", command(&example, address));
}

/// The name of the repository, once it can be searched.
async fn one(manager: Arc<RepoManager>, url: String) -> Option<String> {
    let started = start(&manager, &url).await;
    let mut follower = Follower::new();
    let (mut changes, before) = match started {
        Ok(started) => started,
        Err(error) => {
            follower
                .finish(&format!("cannot index it: {}", printable(error.to_string().as_bytes())));
            return None;
        }
    };
    loop {
        let now: Repository = changes.borrow_and_update().clone().into();
        match outcome(&now, before.as_deref()) {
            Outcome::Working => follower.update(&now),
            Outcome::Ready => {
                follower.finish(&ready_line(&now));
                return Some(now.name);
            }
            Outcome::Failed(reason) => {
                let name = printable(now.name.as_bytes());
                follower.finish(&format!("{name}: failed: {}", printable(reason.as_bytes())));
                return None;
            }
        }
        if changes.changed().await.is_err() {
            follower
                .finish("the server stops before it is indexed; it continues at the next start");
            return None;
        }
    }
}

/// Follows the repository from here; with its `updatedAt` from before, where it existed.
async fn start(
    manager: &RepoManager,
    url: &str,
) -> Result<(Receiver<aeterna_repo::Repository>, Option<String>), ManagerError> {
    let added = manager
        .add(AddRepository {
            tenant: DEFAULT_TENANT.to_owned(),
            url: absolute(url),
            name: None,
            branches: Vec::new(),
        })
        .await?;
    let id = added.repository.id;
    let before = (!added.created).then(|| time_of(added.repository.updated_at));
    if !added.created {
        manager.sync(id).await?;
    }
    Ok((manager.watch(id).await?, before))
}

/// A query that finds something in this repository.
async fn example(manager: &Arc<RepoManager>, name: &str) -> String {
    let everything = format!("repo:{name}");
    let visible = manager.visible(DEFAULT_TENANT);
    let index = Arc::clone(manager.index());
    let request = move |query: String, facets: bool| SearchRequest {
        page_size: 1,
        chunks: false,
        facets,
        limits: Limits { deadline: Duration::from_secs(2), ..Limits::default() },
        ..SearchRequest::new(query, visible.clone())
    };
    let all = everything.clone();
    let found = tokio::task::spawn_blocking(move || {
        let languages = index.search(&request(all, true)).ok()?.facets?.language;
        let examples = languages.iter().take(3).filter_map(|language| {
            EXAMPLES.iter().find(|(name, _)| *name == language.value).map(|(_, query)| *query)
        });
        examples
            .into_iter()
            .find(|query| {
                let search = index.search(&request((*query).to_owned(), false));
                search.is_ok_and(|response| !response.results.is_empty())
            })
            .map(str::to_owned)
    });
    found.await.ok().flatten().unwrap_or(everything)
}

/// The command as it can be pasted into the shell that started the server.
fn command(query: &str, address: SocketAddr) -> String {
    let server = format!("http://{address}");
    let usual =
        address == ListenAddress::default().0 && std::env::var_os("AETERNA_SERVER").is_none();
    let server = if usual { String::new() } else { format!(" --server {server}") };
    format!("{} search{server} {}", program(), shell_quoted(query))
}

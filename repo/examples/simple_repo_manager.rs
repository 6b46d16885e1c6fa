//! Indexes one repository in a temporary folder and searches it once.
//!
//! ```text
//! cargo run -p aeterna-repo --example simple_repo_manager -- [URL or path] [query]
//! ```

use std::error::Error;
use std::sync::Arc;

use aeterna_index::search::{SearchRequest, SearchResponse};
use aeterna_repo::{AddRepository, DEFAULT_TENANT, ManagerConfig, RepoManager, Repository, State};

const DEFAULT_QUERY: &str = "fn main";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| ".".to_owned());
    let query = arguments.next().unwrap_or_else(|| DEFAULT_QUERY.to_owned());

    let data = tempfile::tempdir()?;
    let manager = RepoManager::open(ManagerConfig::new(data.path())).await?;
    let result = index_and_search(&manager, url, query).await;
    manager.shutdown().await;
    result
}

async fn index_and_search(
    manager: &Arc<RepoManager>,
    url: String,
    query: String,
) -> Result<(), Box<dyn Error>> {
    let tenant = DEFAULT_TENANT.to_owned();
    let added =
        manager.add(AddRepository { tenant, url, name: None, branches: Vec::new() }).await?;
    println!("{} from {}", added.repository.name, added.repository.url);
    let repository = indexed(manager, &added.repository).await?;
    for revision in &repository.revisions {
        println!("indexed {} at {}", revision.name, revision.commit);
    }

    let (index, visible) = (manager.index().clone(), manager.visible(DEFAULT_TENANT));
    let request = SearchRequest { page_size: 10, ..SearchRequest::new(query, visible) };
    let response =
        tokio::task::spawn_blocking(move || index.search(&request).map(|r| (request, r))).await??;
    print_results(&response.0.query, &response.1);
    Ok(())
}

/// Follows a repository until it is ready, or has failed for good.
async fn indexed(
    manager: &RepoManager,
    repository: &Repository,
) -> Result<Repository, Box<dyn Error>> {
    let mut changes = manager.watch(repository.id).await?;
    loop {
        let now = changes.borrow_and_update().clone();
        if let Some(progress) = now.progress {
            let percent = progress.percent.map_or(String::new(), |p| format!(" {p:.0} %"));
            println!("{:?}{percent}", progress.phase);
        }
        match now.state {
            State::Ready => return Ok(now),
            State::Error if now.next_attempt_at.is_none() => {
                return Err(now.last_error.unwrap_or_else(|| "it failed".to_owned()).into());
            }
            _ => changes.changed().await?,
        }
    }
}

fn print_results(query: &str, response: &SearchResponse) {
    println!("\n{query:?}: {} documents", response.counts.documents.value);
    for result in &response.results {
        println!("{}", String::from_utf8_lossy(&result.path));
        for chunk in &result.chunks {
            let text = String::from_utf8_lossy(&chunk.content);
            for (number, line) in text.lines().enumerate() {
                println!("{:>6}: {line}", chunk.start.line as usize + number);
            }
        }
    }
}

//! `aeterna repo`.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::args::{RepoArgs, RepoCommand};
use super::client::Client;
use super::progress::{Follower, Outcome, outcome};
use super::terminal::{aligned, printable};
use super::{CommandError, Exit};
use crate::api::repos::{AddRequest, EventList, NotIndexedList, Repository, RepositoryList};

/// How often the state of a repository is asked for while waiting.
const POLL: Duration = Duration::from_millis(200);
/// Entries of a list that are asked for at once.
const PAGE: &str = "1000";

/// Runs one of the commands.
pub async fn run(args: &RepoArgs) -> Result<Exit, CommandError> {
    let client = Client::new(&args.server.server)?;
    let commands = Commands { client, json: args.json };
    match &args.command {
        RepoCommand::Add { url, name, branches, wait } => {
            let request =
                AddRequest { url: absolute(url), name: name.clone(), branches: branches.clone() };
            commands.add(&request, *wait).await
        }
        RepoCommand::List { name, state } => commands.list(name.as_deref(), state.as_deref()).await,
        RepoCommand::Show { repository } => commands.show(&named(repository)).await,
        RepoCommand::Sync { repository, wait } => {
            commands.work(&named(repository), "sync", *wait).await
        }
        RepoCommand::Reindex { repository, wait } => {
            commands.work(&named(repository), "reindex", *wait).await
        }
        RepoCommand::Rm { repository } => commands.remove(&named(repository)).await,
        RepoCommand::NotIndexed { repository } => commands.not_indexed(&named(repository)).await,
        RepoCommand::Events { repository, limit } => {
            commands.events(&named(repository), *limit).await
        }
    }
}

/// A repository to add as the server can find it, which has another working folder: a folder that
/// exists becomes its absolute path, anything else stays as it is.
pub fn absolute(typed: &str) -> String {
    let is_folder = !typed.contains("://") && Path::new(typed).is_dir();
    if is_folder { resolved(typed) } else { named(typed) }
}

/// A repository that was added, as it was typed. A relative path counts only where it starts with
/// a dot, since `owner/name` looks like one.
fn named(typed: &str) -> String {
    let dotted = matches!(typed, "." | "..") || typed.starts_with("./") || typed.starts_with("../");
    if dotted { resolved(typed) } else { typed.to_owned() }
}

fn resolved(typed: &str) -> String {
    let path = Path::new(typed);
    let found = path.canonicalize().or_else(|_| std::path::absolute(path));
    found.ok().and_then(|path| path.to_str().map(str::to_owned)).unwrap_or_else(|| typed.to_owned())
}

struct Commands {
    client: Client,
    json: bool,
}

impl Commands {
    async fn add(&self, request: &AddRequest, wait: bool) -> Result<Exit, CommandError> {
        let bytes = self.client.post_bytes(&["api", "v1", "repos"], request).await?;
        let repository = parse(&bytes)?;
        self.started(repository, None, wait).await
    }

    async fn work(&self, repository: &str, what: &str, wait: bool) -> Result<Exit, CommandError> {
        let before = self.get(repository).await?;
        let request = self.client.request(Method::POST, &["api", "v1", "repos", &before.id, what]);
        let repository = self.client.json(request).await?;
        self.started(repository, Some(&before.updated_at), wait).await
    }

    async fn started(
        &self,
        repository: Repository,
        before: Option<&str>,
        wait: bool,
    ) -> Result<Exit, CommandError> {
        if wait {
            return self.wait(repository, before).await;
        }
        if self.json {
            print_json(&repository)?;
        } else {
            let name = printable(repository.name.as_bytes());
            writeln!(io::stdout(), "{name}  {}  {}", state_of(&repository), repository.id)?;
        }
        Ok(Exit::Success)
    }

    async fn wait(
        &self,
        mut repository: Repository,
        before: Option<&str>,
    ) -> Result<Exit, CommandError> {
        let mut follower = Follower::new();
        loop {
            match outcome(&repository, before) {
                Outcome::Working => follower.update(&repository),
                Outcome::Ready => {
                    follower.finish(&ready_line(&repository));
                    if self.json {
                        print_json(&repository)?;
                    }
                    return Ok(Exit::Success);
                }
                Outcome::Failed(reason) => {
                    let name = printable(repository.name.as_bytes());
                    follower.finish(&format!("{name}: failed: {}", printable(reason.as_bytes())));
                    if self.json {
                        print_json(&repository)?;
                    }
                    return Ok(Exit::Error);
                }
            }
            tokio::time::sleep(POLL).await;
            let id = repository.id.clone();
            repository = self.get(&id).await?;
        }
    }

    async fn get(&self, repository: &str) -> Result<Repository, CommandError> {
        let request = self.client.request(Method::GET, &["api", "v1", "repos", repository]);
        Ok(self.client.json(request).await?)
    }

    async fn list(&self, name: Option<&str>, state: Option<&str>) -> Result<Exit, CommandError> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut request = self.client.request(Method::GET, &["api", "v1", "repos"]);
            request = request.query(&[("limit", PAGE)]);
            for (key, value) in [("name", name), ("state", state), ("cursor", cursor.as_deref())] {
                if let Some(value) = value {
                    request = request.query(&[(key, value)]);
                }
            }
            let page: RepositoryList = self.client.json(request).await?;
            all.extend(page.repositories);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        if self.json {
            print_json(&RepositoryList { repositories: all, next_cursor: None })?;
        } else {
            table(&all)?;
        }
        Ok(Exit::Success)
    }

    async fn show(&self, repository: &str) -> Result<Exit, CommandError> {
        let repository = self.get(repository).await?;
        if self.json {
            print_json(&repository)?;
        } else {
            io::stdout().write_all(details(&repository).as_bytes())?;
        }
        Ok(Exit::Success)
    }

    async fn remove(&self, repository: &str) -> Result<Exit, CommandError> {
        let request = self.client.request(Method::DELETE, &["api", "v1", "repos", repository]);
        self.client.bytes(request).await?;
        if !self.json {
            writeln!(io::stdout(), "removed {}", printable(repository.as_bytes()))?;
        }
        Ok(Exit::Success)
    }

    async fn not_indexed(&self, repository: &str) -> Result<Exit, CommandError> {
        let mut cursor: Option<String> = None;
        let mut all = Vec::new();
        loop {
            let path = ["api", "v1", "repos", repository, "not-indexed"];
            let mut request = self.client.request(Method::GET, &path).query(&[("limit", PAGE)]);
            if let Some(cursor) = &cursor {
                request = request.query(&[("cursor", cursor)]);
            }
            let mut page: NotIndexedList = self.client.json(request).await?;
            cursor = page.next_cursor.take();
            if self.json {
                all.append(&mut page.files);
            } else {
                print_not_indexed(&page)?;
            }
            if cursor.is_none() {
                break;
            }
        }
        if self.json {
            print_json(&NotIndexedList { files: all, next_cursor: None })?;
        }
        Ok(Exit::Success)
    }

    async fn events(&self, repository: &str, limit: u32) -> Result<Exit, CommandError> {
        let path = ["api", "v1", "repos", repository, "events"];
        let request = self.client.request(Method::GET, &path).query(&[("limit", limit)]);
        let list: EventList = self.client.json(request).await?;
        if self.json {
            print_json(&list)?;
            return Ok(Exit::Success);
        }
        let mut out = io::stdout().lock();
        for event in &list.events {
            let message = printable(event.message.as_bytes());
            writeln!(out, "{}  {:<13} {message}", event.at, event.kind)?;
        }
        Ok(Exit::Success)
    }
}

fn parse(bytes: &[u8]) -> Result<Repository, CommandError> {
    serde_json::from_slice(bytes).map_err(|error| {
        CommandError::Other(format!("the server's answer cannot be read: {error}"))
    })
}

fn print_json(value: &impl serde::Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| CommandError::Other(format!("cannot write JSON: {error}")))?;
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}

fn print_not_indexed(page: &NotIndexedList) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for file in &page.files {
        writeln!(out, "{}\t{}\t{}", printable(file.path.as_bytes()), file.reason, file.message)?;
    }
    Ok(())
}

/// The last line of a wait that succeeded.
pub fn ready_line(repository: &Repository) -> String {
    let revisions = repository.revisions.len();
    let plural = if revisions == 1 { "" } else { "s" };
    format!(
        "{}: ready, {} documents of {revisions} revision{plural}",
        printable(repository.name.as_bytes()),
        repository.document_count
    )
}

/// The state, with how far the work is.
fn state_of(repository: &Repository) -> String {
    let percent = repository
        .progress
        .and_then(|progress| progress.percent)
        .map(|percent| format!(" {percent:.0}%"))
        .unwrap_or_default();
    match repository.queue_position {
        Some(position) => format!("{} (queued, {position} before it)", repository.state),
        None => format!("{}{percent}", repository.state),
    }
}

/// Columns with a heading on a terminal, tabs and no heading elsewhere.
fn table(repositories: &[Repository]) -> io::Result<()> {
    let rows: Vec<[String; 5]> = repositories
        .iter()
        .map(|repository| {
            [
                printable(repository.name.as_bytes()),
                state_of(repository),
                repository.document_count.to_string(),
                repository.indexed_at.clone().unwrap_or_else(|| "never".to_owned()),
                printable(repository.url.as_bytes()),
            ]
        })
        .collect();
    let mut out = io::stdout().lock();
    if !io::stdout().is_terminal() {
        return rows.iter().try_for_each(|row| writeln!(out, "{}", row.join("\t")));
    }
    let heading = ["NAME", "STATE", "FILES", "INDEXED", "URL"].map(str::to_owned);
    let rows: Vec<_> = [heading].into_iter().chain(rows).collect();
    out.write_all(aligned(&rows).as_bytes())?;
    Ok(())
}

/// Everything that is known of a repository, one fact a line.
fn details(repository: &Repository) -> String {
    let Ok(Value::Object(facts)) = serde_json::to_value(repository) else { return String::new() };
    let order = [
        "name",
        "id",
        "url",
        "state",
        "queuePosition",
        "lastError",
        "attempts",
        "nextAttemptAt",
        "symbols",
        "lastChanges",
        "documentCount",
        "sizeBytes",
        "defaultBranch",
        "branches",
        "license",
        "createdAt",
        "updatedAt",
        "indexedAt",
    ];
    let mut text = String::new();
    for key in order {
        let value = match facts.get(key) {
            None | Some(Value::Null) => continue,
            Some(Value::String(value)) => value.clone(),
            Some(Value::Array(list)) if list.is_empty() => continue,
            Some(Value::Array(list)) => {
                list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
            }
            Some(value) => value.to_string(),
        };
        text.push_str(&format!("{:<15} {}\n", heading(key), printable(value.as_bytes())));
    }
    if let Some(progress) = &repository.progress {
        let total = progress.total.map(|total| format!(" of {total}")).unwrap_or_default();
        let line = format!("{} {}{total}", progress.phase.as_str(), progress.done);
        text.push_str(&format!("{:<15} {line}\n", "progress"));
    }
    for (number, part) in (1..).zip(&repository.parts) {
        let of = repository.parts.len();
        let line = format!("{number} of {of} in shard {}: {}", part.shard, part.state);
        text.push_str(&format!("{:<15} {line}\n", "part"));
    }
    for revision in &repository.revisions {
        let name = printable(revision.name.as_bytes());
        text.push_str(&format!("{:<15} {name} {}\n", "revision", revision.commit));
    }
    text
}

/// `queuePosition` as `queue position`.
fn heading(key: &str) -> String {
    key.chars().fold(String::new(), |mut words, letter| {
        if letter.is_ascii_uppercase() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
        words
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_and_urls_stay() {
        for same in [
            "https://example.com/a/b",
            "git@example.com:a/b.git",
            "ext::sh -c true",
            "--upload-pack=true",
            "owner/name",
            "0190a7f0-0000-7000-8000-000000000000",
        ] {
            assert_eq!(absolute(same), same);
        }
        assert!(Path::new(&absolute(".")).is_absolute());
        assert!(Path::new(&absolute("./does-not-exist")).is_absolute());
        assert!(Path::new(&absolute("src")).is_absolute());
        assert_eq!(named("src"), "src");
        assert!(Path::new(&named("..")).is_absolute());
    }

    #[test]
    fn names_of_facts_are_words() {
        assert_eq!(heading("nextAttemptAt"), "next attempt at");
    }
}

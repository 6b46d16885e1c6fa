//! Clients: some add, push to and remove repositories of their own; others search. Each goes through whichever node.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use crate::history::{Answer, Call, Entry, Operation, Seen, Span};
use crate::http::{Reply, Request, escape};
use crate::node::Node;
use crate::random::Random;
use crate::remotes::{self, Remote};
use crate::world::World;

/// Longer than a search may take, and not as long as a node may be away.
const ANSWER: Duration = Duration::from_secs(12);
/// How long a client waits for what it pushed.
const PATIENCE: Duration = Duration::from_secs(15);
const MOST_REPOSITORIES: usize = 5;

/// Asks a node, and tells the history.
pub(crate) fn ask(world: &World, client: &str, node: &Node, call: Call, url: &str) -> Answer {
    let begun = world.history.now();
    let answer = match request(&call, url).send(&node.host, ANSWER) {
        Ok(reply) => answer(&call, &reply),
        Err(error) => Answer::Failed(error.to_string()),
    };
    let span = Span { begun, ended: world.history.now() };
    let (client, node) = (client.to_owned(), node.name.clone());
    world.history.add(Entry::Operation(Operation {
        client,
        node,
        span,
        call,
        answer: answer.clone(),
    }));
    answer
}

fn request(call: &Call, url: &str) -> Request {
    let path = |name: &str| format!("/api/v1/repos/{}", escape(name));
    match call {
        Call::Add(name) => {
            Request::new("POST", "/api/v1/repos").json(&json!({"url": url, "name": name}))
        }
        Call::Sync(name) => Request::new("POST", format!("{}/sync", path(name))),
        Call::Show(name) => Request::new("GET", path(name)),
        Call::Remove(name) => Request::new("DELETE", path(name)),
        Call::Search { require_complete } => {
            let query = escape(&format!("{} count:all", remotes::MARK));
            let target = format!("/api/v1/search?q={query}&requireComplete={require_complete}");
            Request::new("GET", target)
        }
    }
}

fn answer(call: &Call, reply: &Reply) -> Answer {
    let body = reply.json();
    match (call, reply.status) {
        (Call::Add(_) | Call::Sync(_), 202) | (Call::Remove(_), 204) => Answer::Accepted,
        (Call::Show(_), 200) => shown(&body),
        (Call::Search { .. }, 200) => found(&body),
        (_, 404) if body["code"] == "repository-not-found" => Answer::Unknown,
        (_, status) => {
            let code = body["code"].as_str().unwrap_or("none").to_owned();
            Answer::Refused { status, code }
        }
    }
}

fn shown(body: &Value) -> Answer {
    let commit = body["revisions"][0]["commit"].as_str().map(str::to_owned);
    Answer::Shown { state: body["state"].as_str().unwrap_or_default().to_owned(), commit }
}

fn found(body: &Value) -> Answer {
    let empty = Vec::new();
    let list = |value: &Value| value.as_array().unwrap_or(&empty).clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut files: BTreeMap<String, (String, BTreeMap<String, String>)> = BTreeMap::new();
    for result in list(&body["results"]) {
        let content: String =
            list(&result["chunks"]).iter().map(|chunk| text(&chunk["content"])).collect();
        let (id, files) = files.entry(text(&result["repository"])).or_default();
        // One id for all of a repository's results, or none that any commit has.
        let commit = text(&result["commit"]);
        if *id != commit {
            id.push_str(&commit);
        }
        files.insert(text(&result["path"]), content);
    }
    let seen = |(name, (id, files)): (String, (String, BTreeMap<String, String>))| {
        let seen: Seen = remotes::seen(&name, &id, files);
        (name, seen)
    };
    let skipped = list(&body["skipped"]).iter().map(|skipped| text(&skipped["reason"])).collect();
    // What is on a later page was not seen.
    let complete = body["complete"] == true && body["nextCursor"].is_null();
    Answer::Found { complete, skipped, repositories: files.into_iter().map(seen).collect() }
}

/// Searches until the run is over.
pub(crate) fn search(world: &Arc<World>, client: &str, mut random: Random) {
    while !world.is_over() {
        let node = &world.nodes[random.place(world.nodes.len())];
        let call = Call::Search { require_complete: random.percent(30) };
        ask(world, client, node, call, "");
        world.pause(random.within(20, 250));
    }
}

/// How far the client has come with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// To be added, until that is acknowledged.
    Adding,
    /// Acknowledged.
    Added,
    /// To be removed, until that is acknowledged.
    Removing,
}

/// A client that changes repositories of its own.
pub(crate) struct Writer<'a> {
    client: String,
    random: Random,
    /// Where its repositories are.
    folder: &'a Path,
    remotes: Vec<(Remote, Step)>,
    gone: Vec<String>,
    made: u32,
}

/// What a writer leaves.
#[derive(Default)]
pub(crate) struct Left {
    /// Repositories that were asked for, and not removed for sure.
    pub(crate) remotes: Vec<Remote>,
    /// Names of those that were removed.
    pub(crate) gone: Vec<String>,
}

impl<'a> Writer<'a> {
    /// A client without repositories.
    pub(crate) fn new(client: &str, random: Random, folder: &'a Path) -> Self {
        Self {
            client: client.to_owned(),
            random,
            folder,
            remotes: Vec::new(),
            gone: Vec::new(),
            made: 0,
        }
    }

    /// Works until the run is over.
    ///
    /// # Errors
    /// When git fails.
    pub(crate) fn work(mut self, world: &Arc<World>) -> Result<Left> {
        while !world.is_over() {
            let choice = self.random.below(100);
            let last = self.remotes.len();
            if last < MOST_REPOSITORIES && (last == 0 || choice < 20) {
                self.made += 1;
                let name = format!("chaos/{}-{}", self.client, self.made);
                let remote = Remote::new(self.folder, &name, &mut self.random, &world.history)?;
                self.remotes.push((remote, Step::Adding));
                self.go_on(world, last);
            } else if last > 0 {
                let place = self.random.place(last);
                if choice > 92 && self.remotes[place].1 == Step::Added {
                    self.remotes[place].1 = Step::Removing;
                }
                match self.remotes[place].1 {
                    Step::Added => self.push(world, place)?,
                    Step::Adding | Step::Removing => self.go_on(world, place),
                }
            }
            world.pause(self.random.within(50, 600));
        }
        let remotes = self.remotes.into_iter().map(|(remote, _)| remote).collect();
        Ok(Left { remotes, gone: self.gone })
    }

    /// Asks again for what has not been acknowledged.
    fn go_on(&mut self, world: &World, place: usize) {
        let (remote, step) = &self.remotes[place];
        let (name, url) = (remote.name.clone(), remote.url());
        match step {
            Step::Adding => {
                if self.ask(world, Call::Add(name.clone()), &url) == Answer::Accepted {
                    let (remote, step) = &mut self.remotes[place];
                    *step = Step::Added;
                    remote.promise();
                    self.wait_for(world, &name);
                }
            }
            Step::Removing => {
                let answer = self.ask(world, Call::Remove(name), &url);
                if matches!(answer, Answer::Accepted | Answer::Unknown) {
                    let (remote, _) = self.remotes.swap_remove(place);
                    self.gone.push(remote.name);
                }
            }
            Step::Added => {}
        }
    }

    fn push(&mut self, world: &World, place: usize) -> Result<()> {
        let remote = &mut self.remotes[place].0;
        remote.push(&world.history)?;
        let name = remote.name.clone();
        if self.ask(world, Call::Sync(name.clone()), "") == Answer::Accepted {
            self.remotes[place].0.promise();
            if self.random.percent(70) {
                self.wait_for(world, &name);
            }
        }
        Ok(())
    }

    /// Looks at a repository until it is ready, as a person who waits would.
    fn wait_for(&mut self, world: &World, name: &str) {
        let until = Instant::now() + PATIENCE;
        while !world.is_over() && Instant::now() < until {
            let shown = self.ask(world, Call::Show(name.to_owned()), "");
            if matches!(shown, Answer::Shown { state, .. } if state == "ready") {
                return;
            }
            world.pause(self.random.within(50, 300));
        }
    }

    fn ask(&mut self, world: &World, call: Call, url: &str) -> Answer {
        let node = &world.nodes[self.random.place(world.nodes.len())];
        ask(world, &self.client, node, call, url)
    }
}

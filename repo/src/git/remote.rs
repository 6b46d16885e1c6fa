//! Fetching over https and ssh into a mirror, by gix.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use gix::bstr::{BString, ByteSlice};
use gix::hash::Kind as HashKind;
use gix::protocol::handshake::Ref;
use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::Transport;
use gix::protocol::transport::client::blocking_io::http;
use gix::remote::fetch::{RefMap, Tags};

use super::GitError;
use super::fetch::FetchContext;
use super::mirror::Mirror;
use super::progress::{Counters, Meter};
use super::refs::{RefSnapshot, Selector};
use super::ssh::{Killer, Ssh};
use super::url::{RemoteUrl, SshUrl};

/// How often a fetch is looked at: whether to stop it, and how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What became of a fetch.
pub(crate) enum Received {
    /// The mirror holds the objects of these refs.
    Refs(RefSnapshot),
    /// The remote has another object format than the mirror.
    OtherFormat(HashKind),
}

/// Fetches what `globs` select into the mirror, without touching its refs.
pub(crate) fn receive(
    url: &RemoteUrl,
    mirror: &Mirror,
    globs: &[String],
    context: &FetchContext<'_>,
) -> Result<Received, GitError> {
    let location = url.to_string();
    match url {
        RemoteUrl::Http(address) => {
            let parsed = parse(&location)?;
            let transport = http::connect::<http::reqwest::Remote>(parsed, Protocol::V2, false);
            let loopback = matches!(address.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
            let options = Box::new(http_options(context, loopback));
            let fetch = Fetch { location, mirror, globs, context };
            fetch.run(transport, options, None).map_err(|failure| failure.classify(""))
        }
        RemoteUrl::Ssh(address) => over_ssh(address, location, mirror, globs, context),
        RemoteUrl::Local(_) => Err(GitError::Fetch {
            location,
            detail: "a local repository is copied, not fetched".to_owned(),
        }),
    }
}

fn over_ssh(
    address: &SshUrl,
    location: String,
    mirror: &Mirror,
    globs: &[String],
    context: &FetchContext<'_>,
) -> Result<Received, GitError> {
    let (ssh, connection) = Ssh::start(address, context.config)?;
    let fetch = Fetch { location, mirror, globs, context };
    let killer = ssh.killer();
    match fetch.run(connection, Box::new(()), Some(killer)) {
        Ok(received) => {
            ssh.finish();
            Ok(received)
        }
        Err(failure) => {
            let complaint = ssh.finish();
            Err(failure.classify(&complaint))
        }
    }
}

fn parse(location: &str) -> Result<gix::Url, GitError> {
    gix::url::parse(location.as_bytes().as_bstr()).map_err(|_| GitError::InvalidUrl {
        url: location.to_owned(),
        reason: "it cannot be parsed",
    })
}

fn http_options(context: &FetchContext<'_>, loopback: bool) -> http::Options {
    let (connect, stall) = (context.config.connect_timeout, context.config.stall_timeout);
    let backend = http::reqwest::Options {
        configure_client: Some(Box::new(move |builder| {
            // The blocking client's timeout is for each read, not for the whole answer.
            let builder = builder.connect_timeout(connect).timeout(stall);
            Ok(if loopback { builder.no_proxy() } else { builder })
        })),
        configure_request: None,
    };
    http::Options { backend: Some(Arc::new(Mutex::new(backend))), ..Default::default() }
}

struct Fetch<'a> {
    location: String,
    mirror: &'a Mirror,
    globs: &'a [String],
    context: &'a FetchContext<'a>,
}

/// A fetch that failed, not yet put into words.
struct Failure {
    location: String,
    /// Set when the watch ended the fetch.
    ended: Option<GitError>,
    error: gix::Error,
    /// Whether the remote had answered as a git server does.
    connected: bool,
}

impl Fetch<'_> {
    fn run<T: Transport>(
        &self,
        transport: T,
        options: Box<dyn std::any::Any>,
        killer: Option<Killer>,
    ) -> Result<Received, Failure> {
        let watch = Watch::default();
        let connected = AtomicBool::new(false);
        let result = thread::scope(|scope| {
            let watcher = scope.spawn(|| watch.run(self.context, killer));
            let result = self.fetch(transport, options, &watch, &connected);
            watch.finished.store(true, Ordering::Release);
            watcher.thread().unpark();
            result
        });
        result.map_err(|error| Failure {
            location: self.location.clone(),
            ended: watch.ended.into_inner(),
            error,
            connected: connected.into_inner(),
        })
    }

    fn fetch<T: Transport>(
        &self,
        transport: T,
        options: Box<dyn std::any::Any>,
        watch: &Watch,
        connected: &AtomicBool,
    ) -> Result<Received, gix::Error> {
        let open = gix::open::Options::isolated().with(gix::sec::Trust::Full);
        let repository = gix::open_opts(self.mirror.path(), open)?;
        let specs = Selector::new(self.globs).refspecs();
        let remote = repository
            .remote_at_without_url_rewrite(self.location.as_str())?
            .with_refspecs(specs.iter().map(String::as_str), gix::remote::Direction::Fetch)?
            .with_fetch_tags(Tags::None);
        let prepared = remote
            .to_connection_with_transport(transport)
            .with_credentials(|_| Ok(None))
            .with_transport_options(options)
            .prepare_fetch(Meter::new(watch.counters.clone()), Default::default())?;
        connected.store(true, Ordering::Release);
        let map = prepared.ref_map();
        if map.object_hash != self.mirror.hash() {
            return Ok(Received::OtherFormat(map.object_hash));
        }
        let refs = snapshot(map);
        if !map.mappings.is_empty() {
            prepared
                .with_write_packed_refs_only(true)
                .receive(Meter::new(watch.counters.clone()), &watch.interrupt)?;
        }
        Ok(Received::Refs(refs))
    }
}

/// HEAD, and the refs that are fetched.
fn snapshot(map: &RefMap) -> RefSnapshot {
    let mut refs = RefSnapshot::default();
    for reference in &map.remote_refs {
        match reference {
            Ref::Symbolic { full_ref_name, target, object, .. } if full_ref_name == "HEAD" => {
                refs.head_branch = Some(target.clone());
                refs.head = Some(*object);
            }
            Ref::Unborn { full_ref_name, target } if full_ref_name == "HEAD" => {
                refs.head_branch = Some(target.clone());
            }
            Ref::Direct { full_ref_name, object } if full_ref_name == "HEAD" => {
                refs.head = Some(*object);
            }
            _ => {}
        }
    }
    for mapping in &map.mappings {
        let Some(name) = mapping.remote.as_name() else { continue };
        if let (true, Some(id)) = (RefSnapshot::keeps(name), mapping.remote.as_id()) {
            refs.refs.insert(BString::from(name), id.to_owned());
        }
    }
    refs
}

/// Looks at a fetch from beside it, and ends it when it has to end.
#[derive(Default)]
struct Watch {
    counters: Arc<Counters>,
    interrupt: AtomicBool,
    finished: AtomicBool,
    ended: OnceLock<GitError>,
}

impl Watch {
    fn run(&self, context: &FetchContext<'_>, killer: Option<Killer>) {
        let mut last = (0, std::time::Instant::now());
        while !self.finished.load(Ordering::Acquire) {
            thread::park_timeout(LOOK_EVERY);
            let activity = self.counters.activity();
            if activity != last.0 {
                last = (activity, std::time::Instant::now());
                (context.report)(self.counters.progress());
            }
            let stalled = last.1.elapsed() > context.config.stall_timeout;
            let end = context.check(self.counters.bytes()).err().or_else(|| {
                // Of ssh nothing else would notice; http has a timeout of its own.
                (stalled && killer.is_some()).then(|| context.stalled())
            });
            if let Some(end) = end {
                // Only the first reason counts, and it is set once.
                let _ = self.ended.set(end);
                self.interrupt.store(true, Ordering::Release);
                if let Some(killer) = &killer {
                    killer.kill();
                }
                return;
            }
        }
    }
}

impl Failure {
    /// What happened, from the kinds of errors in the chain and what ssh said.
    fn classify(self, complaint: &str) -> GitError {
        if let Some(ended) = self.ended {
            return ended;
        }
        let location = self.location;
        if let Some(full) = disk_full(&self.error) {
            return GitError::Io {
                action: "cannot write the pack of",
                path: location.into(),
                source: full,
            };
        }
        let chain: Vec<String> = self.error.iter_errors().map(ToString::to_string).collect();
        let detail = if complaint.is_empty() { describe(&chain) } else { complaint.to_owned() };
        let said = |words: &[&str]| {
            let complaint = complaint.to_ascii_lowercase();
            words.iter().any(|word| complaint.contains(word))
        };
        let status =
            |code: &str| chain.iter().any(|error| error.contains(&format!("status {code}")));
        if self.error.is_unauthenticated()
            || self.error.is_permission_denied()
            || status("401")
            || status("403")
            || said(&["permission denied", "host key verification failed"])
        {
            return GitError::AuthenticationRequired { location, detail };
        }
        if status("404")
            || status("410")
            || said(&["does not appear to be a git repository", "repository not found"])
        {
            return GitError::RemoteNotFound { location, detail };
        }
        if self.connected || status("5") || status("429") {
            return GitError::Fetch { location, detail };
        }
        let unreachable = ["resolve hostname", "refused", "timed out", "unreachable", "no route"];
        if self.error.is_retryable() || network(&self.error) || said(&unreachable) {
            return GitError::HostUnreachable { location, detail };
        }
        if !complaint.is_empty() {
            return GitError::Fetch { location, detail };
        }
        GitError::NotARepository { location, detail }
    }
}

/// The first and the last of a chain of errors, on one line and not too long.
fn describe(chain: &[String]) -> String {
    let mut words: Vec<&str> = chain.first().into_iter().map(String::as_str).collect();
    if let Some(last) = chain.last()
        && chain.len() > 1
    {
        words.push(last);
    }
    let text = words.join(": ");
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}

fn io_errors(error: &gix::Error) -> impl Iterator<Item = &std::io::Error> {
    error.iter_errors().filter_map(|error| error.downcast_ref::<std::io::Error>())
}

fn disk_full(error: &gix::Error) -> Option<std::io::Error> {
    let full = io_errors(error).find(|error| crate::error::is_disk_full(error))?;
    Some(std::io::Error::new(full.kind(), full.to_string()))
}

fn network(error: &gix::Error) -> bool {
    use std::io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable,
        TimedOut,
    };
    io_errors(error).any(|error| {
        matches!(
            error.kind(),
            ConnectionAborted
                | ConnectionRefused
                | ConnectionReset
                | HostUnreachable
                | NetworkUnreachable
                | TimedOut
        )
    })
}

//! Fetching over http and ssh, from servers of this machine.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aeterna_repo::GitConfig;
use aeterna_repo::git::{FetchContext, GitError, MirrorPlace, RemoteUrl};

use crate::support::{Origin, Place, paths, test_git};

/// A request: method, path with query, headers in lower case, body.
struct Request {
    method: String,
    target: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

/// An HTTP server that answers each request by a function, one connection a request.
struct Server {
    address: std::net::SocketAddr,
}

impl Server {
    fn start(answer: impl Fn(Request, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = answer.clone();
                thread::spawn(move || {
                    let mut stream = stream;
                    if let Some(request) = read_request(&mut stream) {
                        answer(request, &mut stream);
                    }
                });
            }
        });
        Self { address }
    }

    fn answering(status: &'static str, headers: &'static str, body: &'static str) -> Self {
        Self::start(move |_, stream| {
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
            );
        })
    }

    /// Git's own smart HTTP server over the repositories of a folder.
    fn git(root: PathBuf) -> Self {
        Self::start(move |request, stream| {
            let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
            let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
            let mut child = Command::new("git")
                .arg("http-backend")
                .env("GIT_PROJECT_ROOT", &root)
                .env("GIT_HTTP_EXPORT_ALL", "1")
                .env("GIT_CONFIG_COUNT", "1")
                .env("GIT_CONFIG_KEY_0", "safe.directory")
                .env("GIT_CONFIG_VALUE_0", "*")
                .env("REQUEST_METHOD", &request.method)
                .env("PATH_INFO", path)
                .env("QUERY_STRING", query)
                .env("CONTENT_TYPE", header("content-type"))
                .env("CONTENT_LENGTH", request.body.len().to_string())
                .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
                .env("HTTP_GIT_PROTOCOL", header("git-protocol"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(&request.body).unwrap();
            let output = child.wait_with_output().unwrap().stdout;
            let _ = write_cgi(stream, &output);
        })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }
}

fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = Vec::new();
    if let Some(length) = headers.get("content-length").and_then(|text| text.parse().ok()) {
        reader.take(length).read_to_end(&mut body).ok()?;
    } else if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    }
    Some(Request { method, target, headers, body })
}

fn write_cgi(stream: &mut TcpStream, output: &[u8]) -> std::io::Result<()> {
    let split = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(0);
    let head = String::from_utf8_lossy(&output[..split]);
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    let body = &output[split + 4..];
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len())?;
    for line in head.lines().filter(|line| !line.starts_with("Status: ")) {
        write!(stream, "{line}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(body)
}

fn served(origin: &Origin) -> (Server, String) {
    let root = origin.path().to_owned();
    let server = Server::git(root);
    let url = server.url(".git");
    (server, url)
}

fn code(url: &str) -> (&'static str, String) {
    let error = Place::new().fetch(url, &[]).unwrap_err();
    (error.code(), error.to_string())
}

#[test]
fn a_repository_is_fetched_over_http_and_fetched_again() {
    let origin = Origin::with_file("a.txt", "one");
    let (_server, url) = served(&origin);
    let place = Place::new();
    let first = place.fetch(&url, &[]).unwrap();
    assert_eq!(paths(&first, "HEAD"), ["a.txt"]);
    assert_eq!(first.refs.default_branch().as_deref(), Some("main"));
    for number in 0..3 {
        origin.write(&format!("file{number}"), format!("{number}").as_bytes());
        origin.commit("more");
        let next = place.fetch(&url, &[]).unwrap();
        assert_eq!(paths(&next, "HEAD").len(), number + 2);
    }
    let same = place.fetch(&url, &[]).unwrap();
    assert_eq!(paths(&same, "HEAD").len(), 4);
    crate::support::git(&place.home(), &["fsck", "--strict"]);
}

#[test]
fn only_what_the_globs_want_is_fetched_over_http() {
    let origin = Origin::with_file("a", "x");
    origin.git(&["branch", "release/1"]);
    origin.git(&["checkout", "-q", "-b", "side"]);
    origin.write("side", b"s");
    let side = origin.commit("side");
    origin.git(&["tag", "-a", "v1", "-m", "annotated"]);
    origin.git(&["checkout", "-q", "main"]);
    let (_server, url) = served(&origin);
    let place = Place::new();
    let first = place.fetch(&url, &["HEAD", "release/*"]).unwrap();
    let names: Vec<String> =
        first.refs.select(&["*".to_owned()]).into_iter().map(|revision| revision.name).collect();
    assert_eq!(names, ["release/1"]);
    assert!(
        std::process::Command::new("git")
            .args(["cat-file", "-e", &side])
            .current_dir(place.home())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| !status.success()),
        "nobody asked for it"
    );
    let second = place.fetch(&url, &["*", "tags/*"]).unwrap();
    assert_eq!(paths(&second, "side"), ["a", "side"]);
    assert_eq!(paths(&second, "tags/v1"), ["a", "side"]);
}

#[test]
fn history_is_rewritten_and_emptied_over_http() {
    let origin = Origin::with_file("old", "old");
    let (_server, url) = served(&origin);
    let place = Place::new();
    place.fetch(&url, &["*"]).unwrap();
    origin.git(&["checkout", "-q", "--orphan", "fresh"]);
    origin.git(&["rm", "-q", "-rf", "."]);
    origin.write("new", b"new");
    origin.commit("unrelated");
    origin.git(&["branch", "-M", "fresh", "main"]);
    let fetched = place.fetch(&url, &["*"]).unwrap();
    assert_eq!(paths(&fetched, "main"), ["new"]);
    origin.git(&["update-ref", "-d", "refs/heads/main"]);
    let emptied = place.fetch(&url, &[]).unwrap();
    assert!(emptied.refs.select(&[]).is_empty());
}

#[test]
fn a_detached_head_is_fetched_over_http() {
    let origin = Origin::with_file("a", "x");
    origin.git(&["checkout", "-q", "--detach"]);
    origin.write("b", b"y");
    origin.commit("detached");
    let (_server, url) = served(&origin);
    let place = Place::new();
    let fetched = place.fetch(&url, &[]).unwrap();
    assert_eq!(fetched.refs.default_branch(), None);
    assert_eq!(paths(&fetched, "HEAD"), ["a", "b"]);
}

#[test]
fn an_sha256_repository_is_fetched_over_http() {
    let origin = Origin::with_format("sha256");
    origin.write("a", b"x");
    origin.commit("first");
    let (_server, url) = served(&origin);
    let place = Place::new();
    let fetched = place.fetch(&url, &[]).unwrap();
    assert_eq!(paths(&fetched, "HEAD"), ["a"]);
}

#[test]
fn failures_of_http_are_told_apart() {
    let unauthorized = Server::answering("401 Unauthorized", "WWW-Authenticate: Basic\r\n", "");
    assert_eq!(code(&unauthorized.url("private")).0, "authentication-required");
    let forbidden = Server::answering("403 Forbidden", "", "no");
    assert_eq!(code(&forbidden.url("private")).0, "authentication-required");
    let missing = Server::answering("404 Not Found", "", "no");
    assert_eq!(code(&missing.url("missing")).0, "remote-not-found");
    let page = Server::answering("200 OK", "Content-Type: text/html\r\n", "<html>hello</html>");
    let (code_of_page, message) = code(&page.url("page"));
    assert_eq!(code_of_page, "not-a-git-repository", "{message}");
    let broken = Server::answering("503 Service Unavailable", "", "later");
    assert_eq!(code(&broken.url("later")).0, "fetch-failed");
    let (code_of_plain, message) = code(&page.url("page").replace("http://", "https://"));
    assert_eq!(code_of_plain, "host-unreachable", "no TLS there: {message}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}/a", listener.local_addr().unwrap());
    drop(listener);
    let (code_of_closed, message) = code(&closed);
    assert_eq!(code_of_closed, "host-unreachable", "{message}");
}

#[test]
fn nothing_is_left_of_a_fetch_that_failed() {
    let page = Server::answering("200 OK", "", "hello");
    let place = Place::new();
    place.fetch(&page.url("page"), &[]).unwrap_err();
    assert!(!place.home().exists());
}

#[test]
fn a_remote_that_says_nothing_is_given_up() {
    let silent = Server::start(|_, stream| {
        let mut rest = [0; 1];
        let _ = stream.read(&mut rest);
    });
    let config = GitConfig { stall_timeout: Duration::from_millis(300), ..test_git() };
    let started = Instant::now();
    let error = Place::new().fetch_with(&silent.url("a"), &[], &config).unwrap_err();
    assert!(matches!(error.code(), "host-unreachable" | "timed-out"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

/// A program in place of ssh that runs what the remote would.
fn fake_ssh(folder: &std::path::Path, script: &str) -> PathBuf {
    let path = folder.join("fake-ssh");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

const RUN_LAST: &str = "for last; do :; done\neval \"exec $last\"";

#[test]
fn a_repository_is_fetched_over_ssh() {
    let origin = Origin::with_file("it's a file", "x");
    let folder = tempfile::TempDir::new().unwrap();
    let log = folder.path().join("log");
    let script = format!("printf '%s\\n' \"$@\" > {}\n{RUN_LAST}", log.display());
    let config = GitConfig { ssh_program: fake_ssh(folder.path(), &script), ..test_git() };
    let place = Place::new();
    let url = format!("ssh://git@example.org:2222{}", origin.path().join(".git").display());
    let fetched = place.fetch_with(&url, &[], &config).unwrap();
    assert_eq!(paths(&fetched, "HEAD"), ["it's a file"]);
    let arguments = std::fs::read_to_string(&log).unwrap();
    for expected in ["BatchMode=yes", "ConnectTimeout=5", "-p\n2222", "-l\ngit", "--\nexample.org"]
    {
        assert!(arguments.contains(expected), "{expected} in {arguments}");
    }
    origin.write("b", b"y");
    origin.commit("second");
    let fetched = place.fetch_with(&url, &[], &config).unwrap();
    assert_eq!(paths(&fetched, "HEAD").len(), 2);
}

#[test]
fn failures_of_ssh_are_told_apart() {
    let folder = tempfile::TempDir::new().unwrap();
    let table = [
        ("git@example.org: Permission denied (publickey).", "authentication-required"),
        ("Host key verification failed.", "authentication-required"),
        ("ssh: Could not resolve hostname example.org", "host-unreachable"),
        ("ssh: connect to host example.org port 22: Connection refused", "host-unreachable"),
        ("fatal: 'a' does not appear to be a git repository", "remote-not-found"),
        ("something else", "fetch-failed"),
    ];
    for (complaint, expected) in table {
        let program = fake_ssh(folder.path(), &format!("echo \"{complaint}\" >&2; exit 255"));
        let config = GitConfig { ssh_program: program, ..test_git() };
        let error = Place::new().fetch_with("git@example.org:a", &[], &config).unwrap_err();
        assert_eq!(error.code(), expected, "{error}");
    }
    let config = GitConfig { ssh_program: "/nowhere/ssh".into(), ..test_git() };
    let error = Place::new().fetch_with("git@example.org:a", &[], &config).unwrap_err();
    assert!(error.to_string().contains("/nowhere/ssh"), "{error}");
}

#[test]
fn a_hanging_ssh_is_killed_with_what_it_started() {
    let folder = tempfile::TempDir::new().unwrap();
    let pid = folder.path().join("pid");
    let script = format!("sleep 1000 &\necho $! > {}\nwait", pid.display());
    let config = GitConfig {
        ssh_program: fake_ssh(folder.path(), &script),
        stall_timeout: Duration::from_millis(500),
        ..test_git()
    };
    let error = Place::new().fetch_with("git@example.org:a", &[], &config).unwrap_err();
    assert_eq!(error.code(), "timed-out", "{error}");
    let pid = std::fs::read_to_string(&pid).unwrap();
    let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z"), "the child still runs: {state}");
}

#[test]
fn a_fetch_is_cancelled() {
    let folder = tempfile::TempDir::new().unwrap();
    let config = GitConfig { ssh_program: fake_ssh(folder.path(), "sleep 1000"), ..test_git() };
    let cancelled = AtomicBool::new(false);
    let url = RemoteUrl::parse("git@example.org:a", &config).unwrap();
    let place = Place::new();
    let (home, temporary) = (place.home(), place.folder.path().join("tmp"));
    let context = FetchContext {
        config: &config,
        stop: &|| cancelled.swap(true, Ordering::AcqRel),
        report: &|_| {},
        location: url.to_string(),
        started: Instant::now(),
    };
    let where_to = MirrorPlace { home: &home, temporary: &temporary };
    let error = aeterna_repo::git::fetch(&url, where_to, &[], false, &context).unwrap_err();
    assert!(matches!(error, GitError::Cancelled), "{error}");
}

//! Servers that the tests start, and stop or kill by process id.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::escape;
use super::{Ran, Reply, Request, aeterna, run, send_signal};

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(60);

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// Further arguments of `serve`.
    pub arguments: Vec<String>,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
    /// Folder to start in.
    pub folder: Option<PathBuf>,
}

impl ServerOptions {
    /// With these settings.
    pub fn set(settings: &[&str]) -> Self {
        let arguments =
            settings.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]);
        Self { arguments: arguments.collect(), ..Self::default() }
    }
}

/// A running server with a data folder.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    lines: Mutex<Receiver<String>>,
    data: Option<TempDir>,
}

impl Server {
    /// A server on a free port with an empty data folder.
    pub fn start() -> Self {
        Self::start_with(&ServerOptions::default())
    }

    /// The same with options.
    pub fn start_with(options: &ServerOptions) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut server = Self::start_in(data.path(), options);
        server.data = Some(data);
        server
    }

    /// A server on a free port with this data folder.
    pub fn start_in(data: &Path, options: &ServerOptions) -> Self {
        let mut child = Self::command_in(data, options).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let first = lines.recv_timeout(START).unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("the server did not start: {}", std::fs::read_to_string(log_of(data)).unwrap())
        });
        let address = first
            .strip_prefix("listening on http://")
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("{first:?} is no address"));
        Self { child, address, lines: Mutex::new(lines), data: None }
    }

    fn command_in(data: &Path, options: &ServerOptions) -> Command {
        let mut log = std::fs::OpenOptions::new();
        let log = log.create(true).append(true).open(log_of(data)).unwrap();
        let mut command = aeterna(&["serve", "--listen", "127.0.0.1:0", "--data"]);
        command.arg(data).args(&options.arguments).envs(options.environment.iter().cloned());
        if let Some(folder) = &options.folder {
            command.current_dir(folder);
        }
        command.stderr(log);
        command
    }

    /// Starts a server and kills it after so long, most likely before it listens.
    pub fn kill_early(data: &Path, options: &ServerOptions, after: Duration) {
        let mut child = Self::command_in(data, options).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// The next line of its output.
    pub fn next_line(&self, within: Duration) -> Option<String> {
        self.lines.lock().unwrap().recv_timeout(within).ok()
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        self.data.as_ref().expect("a folder of its own").path()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(log_of(self.data())).unwrap()
    }

    /// Its address for clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Gets a path.
    pub fn get(&self, target: &str) -> Reply {
        Request::new("GET", target).send(self.address)
    }

    /// Posts JSON.
    pub fn post(&self, target: &str, body: &Value) -> Reply {
        Request::new("POST", target).json(body).send(self.address)
    }

    /// Searches with GET; `parameters` follow the query.
    pub fn search(&self, query: &str, parameters: &str) -> Reply {
        self.get(&format!("/api/v1/search?q={}{parameters}", escape(query)))
    }

    /// The paths that a search finds, sorted.
    pub fn paths(&self, query: &str) -> Vec<String> {
        let reply = self.search(query, "&pageSize=1000");
        assert_eq!(reply.status, 200, "{query}: {}", reply.text());
        let answer = reply.json();
        let results = answer["results"].as_array().unwrap();
        let mut paths: Vec<String> = results
            .iter()
            .map(|result| {
                format!(
                    "{}:{}",
                    result["repository"].as_str().unwrap(),
                    result["path"].as_str().unwrap()
                )
            })
            .collect();
        paths.sort();
        paths
    }

    /// A client command against this server.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = aeterna(arguments);
        command.env("AETERNA_SERVER", self.url());
        command
    }

    /// Runs a client command.
    pub fn cli(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }

    /// Adds a repository and waits until it can be searched.
    #[track_caller]
    pub fn add(&self, url: &str) -> Value {
        let ran = self.cli(&["repo", "add", url, "--wait", "--json"]);
        assert_eq!(
            ran.code,
            0,
            "{ran:?}\n{}",
            self.data.as_ref().map_or(String::new(), |_| self.log())
        );
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// Adds a repository that cannot be indexed; returns it with its error.
    #[track_caller]
    pub fn add_failing(&self, url: &str) -> Value {
        let ran = self.cli(&["repo", "add", url, "--wait", "--json"]);
        assert_eq!(ran.code, 2, "{ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// Asks for a repository without waiting.
    pub fn try_add(&self, url: &str, name: &str) -> std::io::Result<Reply> {
        let body = json!({"url": url, "name": name});
        Request::new("POST", "/api/v1/repos").json(&body).try_send(self.address)
    }

    /// Kills it without warning.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        send_signal(self.child.id(), signal);
    }

    /// Asks it to stop, waits for that, and returns its exit code.
    pub fn stop(&mut self) -> i32 {
        self.signal("-TERM");
        self.wait()
    }

    /// Waits for its end and returns its exit code.
    pub fn wait(&mut self) -> i32 {
        let deadline = Instant::now() + STOP;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "the server did not stop");
            // The standard library cannot wait for a process with a limit.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Its log is beside its data: a search of the data for secrets must look at both.
fn log_of(data: &Path) -> PathBuf {
    data.join("log.txt")
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

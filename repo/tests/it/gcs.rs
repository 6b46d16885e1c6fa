//! What is asked of Google Cloud Storage: there is no server of it to be had, so this is one that
//! keeps objects in memory, knows the part of its XML API that is used, and records requests.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aeterna_repo::cold_storage::{ClusterClaim, ColdLimits, ColdStorage, ColdStorageConfig, Depth};
use tempfile::TempDir;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::world::quiet;

const BUCKET: &str = "code";

/// A request as it came, and the status of its answer.
#[derive(Clone, Debug)]
struct Request {
    method: String,
    /// Key of an object, or the query of a listing.
    target: String,
    headers: BTreeMap<String, String>,
    status: u16,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    requests: Vec<Request>,
    /// Whether every other write is done and answered as if the server were overloaded.
    loses_answers: bool,
    writes: u64,
}

struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stopped: Arc<AtomicBool>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (state, stopped) = (Arc::<Mutex<State>>::default(), Arc::new(AtomicBool::new(false)));
        let (shared, is_stopped) = (state.clone(), stopped.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if is_stopped.load(Ordering::Acquire) {
                    return;
                }
                let state = shared.clone();
                std::thread::spawn(move || answer(stream.unwrap(), &state));
            }
        });
        Self { address, state, stopped }
    }

    fn open(&self, folder: &TempDir) -> ColdStorage {
        let key = folder.path().join("key.json");
        let text = format!(
            r#"{{"gcs_base_url": "http://{}", "disable_oauth": true, "client_email": "",
                 "private_key": "", "private_key_id": ""}}"#,
            self.address
        );
        fs::write(&key, text).unwrap();
        let config = ColdStorageConfig::Gcs {
            bucket: BUCKET.to_owned(),
            prefix: "some/where".to_owned(),
            service_account: Some(key),
        };
        let limits = ColdLimits { first_wait: Duration::from_millis(1), ..ColdLimits::default() };
        ColdStorage::open_with(config, limits).unwrap()
    }

    fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        // Wakes the thread that listens; that it is gone already is as good.
        let _ = TcpStream::connect(self.address);
    }
}

/// Answers requests of one connection until it ends.
fn answer(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some((mut request, body)) = read(&mut reader) {
        let (status, headers, content) = respond(&request, body, &mut state.lock().unwrap());
        request.status = status;
        let is_head = request.method == "HEAD";
        state.lock().unwrap().requests.push(request);
        let mut text = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", content.len());
        headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
        text.push_str("\r\n");
        let content: &[u8] = if is_head { b"" } else { &content };
        if writer.write_all(&[text.as_bytes(), content].concat()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<(Request, Vec<u8>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut first = lines[0].split(' ');
    let method = first.next()?.to_owned();
    let target = first.next()?.replace("%2F", "/").replace("%2D", "-").replace("%2E", ".");
    let headers: BTreeMap<String, String> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let target = target.strip_prefix(&format!("/{BUCKET}"))?.trim_start_matches('/').to_owned();
    Some((Request { method, target, headers, status: 0 }, body))
}

type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

fn respond(request: &Request, body: Vec<u8>, state: &mut State) -> Answer {
    let headers = || {
        vec![
            ("ETag", "\"1\"".to_owned()),
            ("x-goog-generation", "1".to_owned()),
            ("Last-Modified", "Sun, 22 Nov 2026 12:00:00 GMT".to_owned()),
        ]
    };
    let there = state.objects.get(&request.target);
    match request.method.as_str() {
        "PUT" => {
            let only_new = request.headers.get("x-goog-if-generation-match");
            if only_new.is_some_and(|generation| generation == "0") && there.is_some() {
                return (412, headers(), Vec::new());
            }
            state.objects.insert(request.target.clone(), body);
            state.writes += 1;
            let lost = state.loses_answers && state.writes % 2 == 1;
            (if lost { 503 } else { 200 }, headers(), Vec::new())
        }
        "GET" if request.target.starts_with('?') => (200, headers(), listing(request, state)),
        "GET" | "HEAD" => match (there, request.headers.get("range")) {
            (None, _) => (404, headers(), Vec::new()),
            (Some(content), None) => (200, headers(), content.clone()),
            (Some(content), Some(range)) => {
                let (start, end) = range.trim_start_matches("bytes=").split_once('-').unwrap();
                let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
                let mut headers = headers();
                let told = format!("bytes {start}-{end}/{}", content.len());
                headers.push(("Content-Range", told));
                (206, headers, content[start..=end].to_vec())
            }
        },
        "DELETE" => {
            let status = if state.objects.remove(&request.target).is_some() { 204 } else { 404 };
            (status, headers(), Vec::new())
        }
        _ => (400, headers(), Vec::new()),
    }
}

fn listing(request: &Request, state: &State) -> Vec<u8> {
    let parameter = |name: &str| {
        let pairs = request.target.trim_start_matches('?').split('&');
        pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|p| p.1)
    };
    let (prefix, after) = (parameter("prefix").unwrap_or(""), parameter("start-after"));
    let mut text = "<ListBucketResult>".to_owned();
    for (key, content) in state.objects.iter().filter(|(key, _)| key.starts_with(prefix)) {
        if after.is_none_or(|after| key.as_str() > after) {
            text.push_str(&format!(
                "<Contents><Key>{key}</Key><LastModified>2026-11-22T12:00:00.000Z</LastModified>\
                 <Size>{}</Size><ETag>\"1\"</ETag></Contents>",
                content.len()
            ));
        }
    }
    text.push_str("</ListBucketResult>");
    text.into_bytes()
}

fn claim(founder: u64) -> ClusterClaim {
    ClusterClaim {
        cluster: Uuid::from_u128(u128::from(founder)),
        shards: 4,
        founder,
        founder_name: "n-1".to_owned(),
        made_at: OffsetDateTime::UNIX_EPOCH,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_and_claims_are_written_only_where_there_are_none() {
    let (server, folder) = (Server::start(), TempDir::new().unwrap());
    let cold = server.open(&folder);
    for loses_answers in [false, true] {
        server.state.lock().unwrap().loses_answers = loses_answers;
        let first = cold.claim(&claim(u64::from(loses_answers))).await.unwrap();
        assert_eq!(first, claim(0), "whoever was first");
        let shard = u32::from(loses_answers);
        let mut old = cold.fence(shard, 1).await.unwrap();
        let files = TempDir::new().unwrap();
        fs::write(files.path().join("manifest"), b"text").unwrap();
        fs::write(files.path().join("1.segment"), vec![7; 100_000]).unwrap();
        cold.upload(&mut old, files.path(), 1, quiet()).await.unwrap();
        let new = cold.fence(shard, 2).await.unwrap();
        let into = TempDir::new().unwrap();
        let content = new.content.as_ref().unwrap();
        cold.restore(content, into.path(), quiet()).await.unwrap();
        assert_eq!(fs::read(into.path().join("1.segment")).unwrap(), vec![7; 100_000]);
        fs::write(files.path().join("manifest"), b"late").unwrap();
        let late = cold.upload(&mut old, files.path(), 2, quiet()).await.unwrap_err();
        assert!(late.is_fenced(), "{late}");
        cold.collect_garbage(&new, Duration::ZERO).await.unwrap();
        let verified = cold.verify(shard, Depth::Contents, &|_| {}).await.unwrap();
        assert_eq!((verified.problems, verified.files), (Vec::new(), 2));
    }
    let requests = server.requests();
    let writes: Vec<&Request> = requests.iter().filter(|request| request.method == "PUT").collect();
    assert!(writes.iter().all(|write| {
        write.headers.get("x-goog-if-generation-match").is_some_and(|only_new| only_new == "0")
            && write.target.starts_with("some/where/")
    }));
    assert!(writes.iter().any(|write| write.status == 412), "an answer was lost, or it was there");
    assert!(writes.iter().any(|write| write.status == 503));
}

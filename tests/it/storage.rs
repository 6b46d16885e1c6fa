//! Cold storage of a cluster as an operator sees it: the audit, a storage that fails, and a disk that is
//! nearly full.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use serde_json::Value;

use crate::harness::{Cluster, Git, Ran, Request, aeterna, free_address, run, send_signal};

fn repository() -> Git {
    Git::with_files("repository", &[("src/lib.rs", b"fn needle() {} // haystack\n".as_slice())])
}

fn verify(cold: &Path, flags: &[&str]) -> Ran {
    let setting = format!("cold_storage.path={}", cold.display());
    let mut command = aeterna(&["code-search", "storage", "verify", "--set", &setting]);
    run(command.args(flags))
}

/// Files below a folder whose path has a part in it.
fn files(folder: &Path, part: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, part));
        } else if path.to_string_lossy().contains(part) {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn an_audit_finds_what_is_broken_and_what_is_garbage() {
    let folder = tempfile::tempdir().unwrap();
    let cold = folder.path().join("cold");
    let refused = verify(&cold, &[]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(!cold.exists() && refused.stderr.contains("cold_storage.path"), "{refused:?}");

    let mut cluster = Cluster::start_in(folder.path().to_owned(), 1, &[]);
    cluster.settled(0, 1);
    cluster.add(0, &repository().url());
    let is_there = |part: &str| !files(&cold, part).is_empty();
    cluster.uploaded(0);
    cluster.wait_until("there", || is_there(".bundle.") && is_there(".segment."));
    // It may run beside the cluster.
    let running = verify(&cold, &["--full"]);
    assert_eq!(running.code, 0, "{running:?}");
    assert!(running.stdout.contains("nothing is missing or damaged"), "{running:?}");
    assert_eq!(cluster.stop(), 0);

    let whole = verify(&cold, &["--full", "--json"]);
    let report: Value = serde_json::from_str(&whole.stdout).unwrap();
    assert_eq!((whole.code, &report["problemCount"]), (0, &Value::from(0)), "{whole:?}");
    assert_eq!((&report["mirrors"], &report["full"]), (&Value::from(1), &Value::from(true)));
    assert!(report["shards"].as_u64() >= Some(1) && report["files"].as_u64() > Some(4), "{report}");

    // One byte of another value: the size says nothing.
    let segment = files(&cold, ".segment.").remove(0);
    let good = std::fs::read(&segment).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&segment, &bad).unwrap();
    assert_eq!(verify(&cold, &[]).code, 0);
    let found = verify(&cold, &["--full", "--json"]);
    let report: Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!((found.code, &report["problemCount"]), (1, &Value::from(1)), "{found:?}");
    let key = segment.strip_prefix(&cold).unwrap().to_str().unwrap();
    assert_eq!(report["problems"][0]["key"], key);
    assert_eq!(report["problems"][0]["isNeeded"], true);
    // A size, a bundle that is gone, a manifest that is none.
    std::fs::write(&segment, &good[1..]).unwrap();
    std::fs::remove_file(files(&cold, ".bundle.").remove(0)).unwrap();
    // Of another shard than the segment's.
    let other = if key.starts_with("shards/0000/") { "shards/0001" } else { "shards/0000" };
    let manifest = files(&cold.join(other), "manifests").pop().unwrap();
    std::fs::write(&manifest, "nonsense").unwrap();
    let orphan = segment.with_file_name("1.segment.0123456789abcdef");
    std::fs::write(orphan, "nobody's").unwrap();
    let found = verify(&cold, &[]);
    assert_eq!(found.code, 1, "{found:?}");
    for text in [key, ".bundle.", &format!("{other}/manifests"), "3 problems", "garbage: ", "8 B"] {
        assert!(found.stdout.contains(text), "no {text} in {found:?}");
    }

    std::fs::remove_file(cold.join("cluster.json")).unwrap();
    let nobodys = verify(&cold, &[]);
    assert_eq!(nobodys.code, 2, "{nobodys:?}");
    assert!(nobodys.stderr.contains("cluster.json"), "{nobodys:?}");
}

#[test]
fn cold_storage_that_fails_is_told_and_what_waits_is_uploaded_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start_in(folder.path().to_owned(), 1, &[]);
    cluster.settled(0, 1);
    let git = repository();
    cluster.add(0, &git.url());
    cluster.uploaded(0);
    let healthy = |status: &Value| status["status"] == "green";
    cluster.wait_for(0, "green", healthy);
    let operations = "code_search_cold_storage_operations_total";
    let written = format!("{operations}{{operation=\"write\",outcome=\"answered\"}}");
    let up = "code_search_cold_storage_bytes_total{direction=\"up\"}";
    let before = cluster.metric(0, &written).unwrap();
    assert!(before > 12.0 && cluster.metric(0, up) > Some(100.0), "{before}");

    // A file stands where the folder was: nothing can be read or written.
    let (cold, away) = (folder.path().join("cold"), folder.path().join("away"));
    std::fs::rename(&cold, &away).unwrap();
    std::fs::write(&cold, "").unwrap();
    git.write("src/new.rs", b"fn needle_new() {}\n");
    git.commit("second");
    let synced = cluster.cli(0, &["repo", "sync", "owner/repository", "--wait"]);
    assert_eq!(synced.code, 0, "{synced:?}");
    let status = cluster.wait_for(0, "yellow for its uploads", |status| {
        let reasons = status["reasons"].to_string();
        status["status"] == "yellow"
            && reasons.contains("wait to be uploaded")
            && reasons.contains("cold storage fails")
    });
    assert!(status["unhealthyShards"].as_array().unwrap().is_empty(), "{status}");
    let found = cluster.search(0, "needle_new", "").json();
    assert_eq!(found["stats"]["documentCount"]["value"], 1, "{found}");
    assert_eq!(cluster.metric(0, "code_search_shards_not_uploaded"), Some(1.0));
    assert!(cluster.metric(0, "code_search_oldest_upload_seconds") > Some(0.0));
    let failed = format!("{operations}{{operation=\"list\",outcome=\"failed\"}}");
    let retries = "code_search_cold_storage_retries_total";
    assert!(cluster.metric(0, &failed) > Some(0.0) && cluster.metric(0, retries) > Some(2.0));

    std::fs::remove_file(&cold).unwrap();
    std::fs::rename(&away, &cold).unwrap();
    cluster.uploaded(0);
    cluster.wait_for(0, "green again", healthy);
    assert!(cluster.metric(0, &written).unwrap() > before);
    assert_eq!(cluster.metric(0, "code_search_oldest_upload_seconds"), Some(0.0));
}

#[test]
fn a_node_whose_disk_is_nearly_full_answers_and_fetches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let git = repository();
    // More than a hundredth of any disk that programs are built on is in use.
    let setting = "indexing.disk_critical_percent=1";
    let mut cluster = Cluster::start_in(folder.path().to_owned(), 1, &[setting]);
    let status = cluster.wait_for(0, "out of disk space", |status| {
        status["reasons"].to_string().contains("neither fetches nor indexes")
    });
    assert_ne!(status["status"], "green", "{status}");
    assert_eq!(cluster.settled(0, 1)["status"], "yellow");
    let added = cluster.cli(0, &["repo", "add", &git.url(), "--json"]);
    assert_eq!(added.code, 0, "{added:?}");
    let ready = cluster.get(0, "/readyz").json();
    assert!(ready["indexingPaused"].as_str().unwrap().contains("the limit is 1 %"), "{ready}");
    assert_eq!(cluster.metric(0, "code_search_indexing_paused"), Some(1.0));
    assert!(cluster.metric(0, "code_search_disk_used_ratio") > Some(0.01));
    assert_eq!(cluster.search(0, "needle", "").status, 200);
    let waiting = cluster.get(0, "/api/v1/repos/owner%2Frepository").json();
    assert!(waiting["indexedAt"].is_null() && waiting["progress"].is_null(), "{waiting}");
    assert_eq!(cluster.stop(), 0);

    // With room, it goes on where it was.
    let cluster =
        Cluster::start_in(folder.path().to_owned(), 1, &["indexing.disk_critical_percent=100"]);
    cluster.settled(0, 1);
    cluster.wait_until("indexed", || {
        cluster.search(0, "needle", "").json()["stats"]["documentCount"]["value"] == 1
    });
    assert_eq!(cluster.metric(0, "code_search_indexing_paused"), Some(0.0));
}

/// Runs a command whose folder is a disk of its own that has no room: what is in it, and a file that takes the
/// rest. Nobody else sees that disk.
const FULL_DISK: &str = r#"
set -e
folder=$1; shift
cp -a "$folder" "$folder.copy"
mount -t tmpfs -o size=64m none "$folder"
cp -a "$folder.copy/." "$folder"
head -c 128m /dev/zero >"$folder/filler" 2>/dev/null || true
exec "$@"
"#;

/// A node on a disk that is full.
struct Cramped {
    child: Child,
    /// Its folder, which only its own process sees by its path.
    folder: PathBuf,
}

impl Cramped {
    fn start(folder: &Path, command: &Command, log: &Path) -> Self {
        let log = std::fs::File::create(log).unwrap();
        let mut cramped = Command::new("unshare");
        cramped.args(["--mount", "sh", "-c", FULL_DISK, "sh"]).arg(folder);
        cramped.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => cramped.env(name, value),
                None => cramped.env_remove(name),
            };
        }
        let child = cramped.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let inside = PathBuf::from(format!("/proc/{}/root", child.id()));
        Self { child, folder: inside.join(folder.strip_prefix("/").unwrap()) }
    }
}

impl Drop for Cramped {
    fn drop(&mut self) {
        // One that has ended is no trouble.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_node_that_starts_on_a_full_disk_is_searched_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let (mut cluster, git) = (Cluster::start(1, &[]), repository());
    cluster.settled(0, 1);
    cluster.add(0, &git.url());
    cluster.uploaded(0);
    cluster.kill(0);

    let (http, log) = (free_address(), folder.path().join("log"));
    let mut command = cluster.command_of(0, &["serve"]);
    // The last one counts.
    command.args(["--set", &format!("listen={http}")]);
    let mut node = Cramped::start(&cluster.data(0), &command, &log);
    let get = |path: &str| Request::new("GET", path).try_send(http);
    let is_ready = || get("/readyz").is_ok_and(|reply| reply.status == 200);
    cluster.wait_until("ready", is_ready);
    let documents = |query: &str| -> Value {
        let answer = get(&format!("/api/v1/search?q={query}")).unwrap().json();
        // Its shards are opened one after another.
        if answer["complete"] == true {
            answer["stats"]["documentCount"]["value"].clone()
        } else {
            Value::Null
        }
    };
    cluster.wait_until("whole", || !documents("needle").is_null());
    assert_eq!(documents("needle"), 1);
    let paused = get("/readyz").unwrap().json()["indexingPaused"].to_string();
    assert!(paused.contains("100 % full"), "{paused}");
    assert!(!node.folder.join("server.json").exists());
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains(&format!("`--server http://{http}`")), "{said}");

    git.write("src/more.rs", b"fn another() {}\n");
    git.commit("more");
    let sync = Request::new("POST", "/api/v1/repos/owner%2Frepository/sync").send(http);
    assert_eq!(sync.status, 202, "{}", sync.text());
    assert_eq!(documents("another"), 0);
    std::fs::remove_file(node.folder.join("filler")).unwrap();
    cluster.wait_until("indexed", || documents("another") == 1);
    send_signal(node.child.id(), "-TERM");
    assert!(node.child.wait().unwrap().success());
}

//! `aeterna serve`: its start, its last line, its end.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{
    Git, Request, Server, ServerOptions, binary, connection, request_without_end,
};

const SOON: Duration = Duration::from_secs(60);

fn indexing(git: &Git) -> ServerOptions {
    ServerOptions {
        arguments: vec!["--index".into(), ".".into()],
        folder: Some(git.path()),
        ..ServerOptions::default()
    }
}

#[test]
fn the_last_line_is_a_command_that_finds_something() {
    let git = Git::with_files("shop", &[("src/main.rs", b"fn main() {}\n")]);
    let server = Server::start_with(&indexing(&git));
    let line = server.next_line(SOON).expect("the command");
    let program = binary();
    assert!(line.starts_with(program.to_str().unwrap()), "it was not called through PATH: {line}");
    assert!(line.contains("'fn main lang:rust'"), "{line}");
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("src/main.rs:1:fn main() {}"));
    assert!(server.log().contains("owner/shop: ready, 1 documents"), "{}", server.log());
}

#[test]
fn the_command_fits_the_repository() {
    let git = Git::with_files("shop", &[("notes.txt", b"just text\n")]);
    let server = Server::start_with(&indexing(&git));
    let line = server.next_line(SOON).expect("the command");
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
}

#[test]
fn a_repository_that_is_indexed_already_is_synced() {
    let git = Git::with_files("shop", &[("a.txt", b"alpha\n")]);
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(data.path(), &indexing(&git));
    server.next_line(SOON).expect("the command");
    assert_eq!(server.stop(), 0);
    git.write("b.txt", b"alpha\n");
    git.commit("second");
    let server = Server::start_in(data.path(), &indexing(&git));
    assert_eq!(server.paths("alpha").first().map(String::as_str), Some("owner/shop:a.txt"));
    server.next_line(SOON).expect("the command");
    assert_eq!(server.paths("alpha"), ["owner/shop:a.txt", "owner/shop:b.txt"]);
}

#[test]
fn a_repository_that_cannot_be_indexed_does_not_stop_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let options = ServerOptions {
        arguments: vec!["--index".into(), folder.path().to_str().unwrap().into()],
        ..ServerOptions::default()
    };
    let server = Server::start_with(&options);
    server.next_line(SOON).expect("the command");
    assert_eq!(server.get("/readyz").status, 200);
    assert!(server.log().contains("not a git repository"), "{}", server.log());
}

#[test]
fn the_server_file_says_where_it_is_and_goes_with_it() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(data.path(), &ServerOptions::default());
    let path = data.path().join("server.json");
    let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(file["url"], server.url());
    assert_eq!(server.stop(), 0);
    assert!(!path.exists());
}

#[test]
fn a_shutdown_answers_when_it_is_done() {
    let git = Git::with_files("shop", &[("a.txt", b"alpha\n")]);
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(data.path(), &ServerOptions::default());
    server.add(&git.url());
    let reply = Request::new("POST", "/internal/shutdown").send(server.address);
    assert_eq!(reply.status, 204, "{}", reply.text());
    assert_eq!(server.wait(), 0);
    let server = Server::start_in(data.path(), &ServerOptions::default());
    assert_eq!(server.paths("alpha"), ["owner/shop:a.txt"]);
}

#[test]
fn connections_without_a_request_do_not_delay_the_end() {
    let mut server = Server::start();
    let silent = TcpStream::connect(server.address).unwrap();
    let idle =
        connection(server.address, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", "\"alive\"");
    let begun = Instant::now();
    assert_eq!(server.stop(), 0);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?} of 30 s", begun.elapsed());
    drop((silent, idle));
}

#[test]
fn a_request_is_waited_for_as_long_as_all_of_a_shutdown_may_take() {
    let mut server = Server::start_with(&ServerOptions::set(&["http.shutdown_timeout_seconds=3"]));
    let waiting = request_without_end(server.address, "/api/v1/search");
    let begun = Instant::now();
    assert_eq!(server.stop(), 0);
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(2), "nobody waited for the request: {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?} of 3 s");
    drop(waiting);
}

#[test]
fn a_second_signal_does_not_wait_for_requests() {
    let mut server = Server::start();
    let waiting = request_without_end(server.address, "/api/v1/search");
    let begun = Instant::now();
    server.signal("-TERM");
    while !server.log().contains("asked once more it hurries") {
        assert!(begun.elapsed() < SOON, "{}", server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    server.signal("-INT");
    assert_eq!(server.wait(), 0);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?} of 30 s", begun.elapsed());
    drop(waiting);
}

#[test]
fn work_that_a_shutdown_cut_off_continues() {
    let files: Vec<(String, Vec<u8>)> = (0..300)
        .map(|n| (format!("f{n}.txt"), format!("common {n}\n").repeat(50).into_bytes()))
        .collect();
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, content)| (path.as_str(), content.as_slice())).collect();
    let git = Git::with_files("many", &files);
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(data.path(), &ServerOptions::default());
    assert_eq!(server.try_add(&git.url(), "owner/many").unwrap().status, 202);
    assert_eq!(server.stop(), 0);
    let server = Server::start_in(data.path(), &ServerOptions::default());
    server.add(&git.url());
    assert_eq!(server.paths("common count:all").len(), 300);
}

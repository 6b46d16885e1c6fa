//! Every bad input has an answer that says what is wrong.

use serde_json::json;

use crate::harness::{Git, Remote, Request, Server, ServerOptions, escape, files_with};

#[test]
fn bad_queries() {
    let server = Server::start();
    for (query, code) in [
        ("/(/", "invalid-regex"),
        ("/(?=a)/", "invalid-regex"),
        ("lang:rusty", "unknown-language"),
        ("type:nonsense x", "invalid-value"),
        ("count:-1 x", "invalid-value"),
        ("timeout:soon x", "invalid-value"),
    ] {
        let problem = server.search(query, "").assert_problem(400, code);
        let position = &problem["position"];
        let (start, end) = (position["start"].as_u64().unwrap(), position["end"].as_u64().unwrap());
        assert!(start <= end && end <= query.len() as u64, "{query}: {problem}");
        let posted = server.post("/api/v1/search", &json!({"q": query}));
        posted.assert_problem(400, code);
    }
}

#[test]
fn unknown_qualifiers_are_not_ignored() {
    let server = Server::start();
    let reply = server.search("nonsense:x y", "");
    // Either it is refused or an alert says that it was taken as text.
    match reply.status {
        400 => drop(reply.assert_problem(400, "unknown-qualifier")),
        _ => assert_eq!(
            reply.json()["alerts"][0]["code"],
            "looks-like-qualifier",
            "{}",
            reply.text()
        ),
    }
}

#[test]
fn long_queries() {
    let server = Server::start();
    let long = "x".repeat(1 << 20);
    let problem =
        server.post("/api/v1/search", &json!({"q": long})).assert_problem(400, "query-too-long");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() < 500), "not repeated");
    // A URL of this size is refused before there is a request that could have an answer of its own.
    let status = server.search(&long, "").status;
    assert!(matches!(status, 414 | 431), "{status}");
    server
        .post("/api/v1/search", &json!({"q": "x".repeat(3 << 20)}))
        .assert_problem(413, "body-too-large");
    let deep = format!("{}x{}", "(".repeat(5_000), ")".repeat(5_000));
    let reply = server.post("/api/v1/search", &json!({"q": deep}));
    assert_eq!(reply.status, 400, "{}", reply.text());
}

#[test]
fn bad_parameters_are_named() {
    let server = Server::start();
    for (target, parameter) in [
        ("/api/v1/search?q=x&pageSize=-1", "pageSize"),
        ("/api/v1/search?q=x&pageSize=0", "pageSize"),
        ("/api/v1/search?q=x&pageSize=1001", "pageSize"),
        ("/api/v1/search?q=x&pageSize=ten", "pageSize"),
        ("/api/v1/search?q=x&pageSize=99999999999999999999", "pageSize"),
        ("/api/v1/search?q=x&context=-1", "context"),
        ("/api/v1/search?q=x&facets=maybe", "facets"),
        ("/api/v1/search?q=x&page=2", "page"),
        ("/api/v1/search?q=x&q=y", "q"),
        ("/api/v1/search", "q"),
        ("/api/v1/search?q=x&cursor=nonsense", "cursor"),
        ("/api/v1/repos?limit=0", "limit"),
        ("/api/v1/repos?limit=-5", "limit"),
        ("/api/v1/repos?state=lost", "state"),
        ("/api/v1/repos?cursor=%21", "cursor"),
        ("/api/v1/repos?nonsense=1", "nonsense"),
    ] {
        let reply = server.get(target);
        let code = if parameter == "cursor" && target.contains("search") {
            "invalid-cursor"
        } else {
            "invalid-parameter"
        };
        let problem = reply.assert_problem(400, code);
        assert_eq!(problem["parameter"], parameter, "{target}: {problem}");
    }
}

#[test]
fn bad_bodies() {
    let server = Server::start();
    for body in [&b"{"[..], b"[]", b"{\"q\": 5}", b"{}", b"{\"q\":\"x\",\"page\":1}", b"\xff"] {
        let reply = Request::new("POST", "/api/v1/search")
            .body("application/json", body)
            .send(server.address);
        reply.assert_problem(400, "invalid-body");
    }
    Request::new("POST", "/api/v1/search")
        .body("text/plain", b"{\"q\":\"x\"}")
        .send(server.address)
        .assert_problem(415, "unsupported-media-type");
}

#[test]
fn unknown_paths_and_methods() {
    let server = Server::start();
    server.get("/nothing/here").assert_problem(404, "not-found");
    let reply = Request::new("PUT", "/api/v1/search").send(server.address);
    reply.assert_problem(405, "method-not-allowed");
    assert!(reply.header("allow").is_some_and(|allow| allow.contains("GET")), "{reply:?}");
    Request::new("BREW", "/livez").send(server.address).assert_problem(405, "method-not-allowed");
}

#[test]
fn expired_cursors() {
    let files: Vec<(String, Vec<u8>)> =
        (0..10).map(|n| (format!("f{n}.txt"), b"common\n".to_vec())).collect();
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, content)| (path.as_str(), content.as_slice())).collect();
    let git = Git::with_files("shop", &files);
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(data.path(), &ServerOptions::default());
    server.add(&git.url());
    let first = server.search("common", "&pageSize=3").json();
    let cursor = first["nextCursor"].as_str().unwrap();
    git.write("f5.txt", b"changed\n");
    git.commit("second");
    assert_eq!(server.cli(&["repo", "sync", "owner/shop", "--wait"]).code, 0);
    let pinned = server.search("common", &format!("&pageSize=10&cursor={cursor}")).json();
    assert_eq!(pinned["results"].as_array().unwrap().len(), 7, "it shows what it was made on");
    // States that were replaced are kept in memory alone.
    assert_eq!(server.stop(), 0);
    let server = Server::start_in(data.path(), &ServerOptions::default());
    server
        .search("common", &format!("&pageSize=3&cursor={cursor}"))
        .assert_problem(410, "cursor-expired");
    // One of another query is not taken either.
    server
        .search("other", &format!("&pageSize=3&cursor={cursor}"))
        .assert_problem(400, "invalid-cursor");
}

#[test]
fn repositories_and_files_that_do_not_exist() {
    let git = Git::with_files("shop", &[("src/a.txt", b"alpha\n")]);
    let server = Server::start();
    server.add(&git.url());
    for id in ["owner%2Fnothing", "01900000-0000-7000-8000-000000000000", "%00", "..%2F..%2Fetc"] {
        for (method, below) in [
            ("GET", ""),
            ("DELETE", ""),
            ("POST", "/sync"),
            ("POST", "/reindex"),
            ("GET", "/events"),
            ("GET", "/not-indexed"),
            ("GET", "/file?path=a"),
            ("GET", "/tree"),
        ] {
            let target = format!("/api/v1/repos/{id}{below}");
            let reply = Request::new(method, &target).send(server.address);
            reply.assert_problem(404, "repository-not-found");
        }
    }
    let repo = "/api/v1/repos/owner%2Fshop";
    for (target, status, code) in [
        ("/file?path=../../../etc/passwd", 400, "path-outside-repository"),
        ("/file?path=/etc/passwd", 400, "path-outside-repository"),
        ("/file?path=src/../../x", 400, "path-outside-repository"),
        ("/tree?path=..", 400, "path-outside-repository"),
        ("/file?path=src/none.txt", 404, "path-not-found"),
        ("/file?path=src", 400, "not-a-file"),
        ("/tree?path=src/a.txt", 400, "not-a-folder"),
        ("/file?path=src/a.txt&rev=no-such-branch", 404, "revision-not-indexed"),
        ("/file?path=src/a.txt&rev=--upload-pack", 404, "revision-not-indexed"),
        ("/file?pathBase64=%21", 400, "invalid-parameter"),
        ("/file", 400, "invalid-parameter"),
    ] {
        server.get(&format!("{repo}{target}")).assert_problem(status, code);
    }
    assert_eq!(server.cli(&["repo", "rm", "owner/nothing"]).code, 2);
}

#[test]
fn urls_that_are_refused_at_once() {
    let server = Server::start();
    for (url, code) in [
        ("ext::sh -c 'touch /tmp/aeterna-owned'", "protocol-not-allowed"),
        ("--upload-pack=touch /tmp/aeterna-owned", "invalid-url"),
        ("-c core.fsmonitor=x", "invalid-url"),
        ("", "invalid-url"),
        ("https://", "invalid-url"),
        ("ftp://example.com/a/b", "protocol-not-allowed"),
        ("http://example.com/a/b", "protocol-not-allowed"),
        ("ssh://-oProxyCommand=x/a/b", "invalid-url"),
        ("https://user:hunter2@example.com/a/b", "url-has-password"),
    ] {
        let reply = server.post("/api/v1/repos", &json!({"url": url}));
        let problem = reply.assert_problem(400, code);
        assert!(!problem.to_string().contains("hunter2"));
        let ran = server.cli(&["repo", "add", "--", url]);
        assert_eq!(ran.code, 2, "{url}: {ran:?}");
    }
    let listed = server.get("/api/v1/repos").json();
    assert_eq!(listed["repositories"], json!([]), "nothing of it was stored");
    let named = json!({"url": "https://example.com/a/b", "name": "../../etc"});
    server.post("/api/v1/repos", &named).assert_problem(400, "invalid-name");
    let globs = json!({"url": "https://example.com/a/b", "branches": [""]});
    server.post("/api/v1/repos", &globs).assert_problem(400, "invalid-branch-glob");
}

#[test]
fn a_password_is_neither_logged_nor_stored() {
    let options = ServerOptions {
        environment: vec![("AETERNA_LOG".into(), "trace".into())],
        ..ServerOptions::default()
    };
    let mut server = Server::start_with(&options);
    let url = "https://someone:hunter2hunter2@127.0.0.1:1/a/b";
    server.post("/api/v1/repos", &json!({"url": url})).assert_problem(400, "url-has-password");
    let shown = server.get(&format!("/api/v1/repos/{}", escape(url)));
    assert_eq!(shown.status, 404);
    assert!(!shown.text().contains("hunter2hunter2"), "{}", shown.text());
    let ran = server.cli(&["repo", "add", url]);
    assert!(
        !ran.stdout.contains("hunter2hunter2") && !ran.stderr.contains("hunter2hunter2"),
        "{ran:?}"
    );
    server.search("hunter2", "");
    assert_eq!(server.stop(), 0);
    let found = files_with(server.data(), "hunter2hunter2");
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn remotes_that_fail() {
    let options = ServerOptions::set(&["git.allow_http=true", "indexing.attempts=1"]);
    let server = Server::start_with(&options);
    let (pages, private, without) = (Remote::with_pages(), Remote::private(), Remote::without_it());
    let folder = tempfile::tempdir().unwrap();
    let unreachable = "http://127.0.0.1:1/owner/name";
    for (url, code) in [
        (pages.url(), "not-a-git-repository"),
        (private.url(), "authentication-required"),
        (without.url(), "remote-not-found"),
        (unreachable.to_owned(), "host-unreachable"),
    ] {
        let repository = server.add_failing(&url);
        assert_eq!(repository["state"], "error");
        assert_eq!(repository["lastErrorCode"], code, "{url}: {repository}");
        assert!(repository["lastError"].as_str().is_some_and(|error| !error.is_empty()));
        let ran = server.cli(&["repo", "events", repository["id"].as_str().unwrap()]);
        assert!(ran.stdout.contains("failed"), "{ran:?}");
    }
    // A folder without a repository fails at once or as work; either says what it is.
    let ran = server.cli(&["repo", "add", folder.path().to_str().unwrap(), "--wait"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("git repository"), "{ran:?}");
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn names_that_are_taken() {
    let one = Git::with_files("one", &[("a", b"x")]);
    let two = Git::with_files("two", &[("a", b"x")]);
    let server = Server::start();
    assert_eq!(server.try_add(&one.url(), "owner/same").unwrap().status, 202);
    server.try_add(&two.url(), "owner/same").unwrap().assert_problem(409, "name-taken");
}

#[test]
fn pages_of_other_sites_reach_nothing() {
    let server = Server::start();
    let body = json!({"url": "https://example.com/a/b"});
    let post = || Request::new("POST", "/api/v1/repos").json(&body);
    let rebound = post().header("Host", "evil.example:8080").send(server.address);
    rebound.assert_problem(421, "unknown-host");
    Request::new("GET", "/api/v1/repos")
        .header("Host", "evil.example")
        .send(server.address)
        .assert_problem(421, "unknown-host");
    for (name, value) in [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")] {
        post().header(name, value).send(server.address).assert_problem(403, "cross-site-request");
        Request::new("POST", "/internal/shutdown")
            .header(name, value)
            .send(server.address)
            .assert_problem(403, "cross-site-request");
    }
    assert_eq!(server.get("/api/v1/repos").json()["repositories"], json!([]));
    assert_eq!(server.get("/livez").header("access-control-allow-origin"), None);
}

#[test]
fn a_client_that_dawdles_is_cut_off() {
    use std::io::{Read, Write};
    let server = Server::start_with(&ServerOptions::set(&["http.read_timeout_seconds=1"]));
    let mut slow = std::net::TcpStream::connect(server.address).unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n").unwrap();
    let mut rest = Vec::new();
    slow.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    assert!(slow.read_to_end(&mut rest).is_ok(), "the server closes the connection");
    assert_eq!(server.get("/livez").status, 200);
}

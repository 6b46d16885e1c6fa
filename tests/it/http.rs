//! The HTTP API on good requests.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Git, Request, Server, ServerOptions};

fn indexed() -> (Git, Server, Value) {
    let git = Git::with_files(
        "shop",
        &[
            ("src/main.rs", "fn main() {\n    // grüße needle\n}\n".as_bytes()),
            ("latin1.txt", b"caf\xe9 needle\n"),
            ("logo.bin", b"\0\x01\x02needle"),
            ("empty", b""),
        ],
    );
    let server = Server::start();
    let repository = server.add(&git.url());
    (git, server, repository)
}

#[test]
fn a_search_has_offsets_lines_and_columns() {
    let (git, server, repository) = indexed();
    let reply = server.search("needle path:src/", "");
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let answer = reply.json();
    let result = &answer["results"][0];
    assert_eq!(result["type"], "content");
    assert_eq!(result["repository"], "owner/shop");
    assert_eq!(result["repositoryId"], repository["id"]);
    assert_eq!(result["commit"].as_str(), Some(git.git(&["rev-parse", "HEAD"]).trim()));
    assert_eq!(result["branches"], json!(["main"]));
    assert_eq!(result["path"], "src/main.rs");
    assert_eq!(result["language"], "Rust");
    let range = &result["chunks"][0]["ranges"][0];
    // "fn main() {\n" has 12 bytes; ü and ß have two bytes and one code point each.
    assert_eq!(range["start"], json!({"offset": 12 + 15, "line": 2, "column": 14}));
    assert_eq!(range["end"], json!({"offset": 12 + 21, "line": 2, "column": 20}));
    assert_eq!(answer["stats"]["documentCount"], json!({"value": 1, "relation": "eq"}));
    let shards = &answer["stats"]["shards"];
    assert_eq!((&shards["failed"], &shards["answered"]), (&json!(0), &shards["total"]));
    assert_eq!((&answer["complete"], &answer["nextCursor"]), (&json!(true), &Value::Null));
}

#[test]
fn bytes_that_are_not_utf8_come_in_base64_too() {
    let (_git, server, _) = indexed();
    let answer = server.search("needle path:latin1.txt", "").json();
    let chunk = &answer["results"][0]["chunks"][0];
    assert_eq!(chunk["content"], "caf\u{fffd} needle\n");
    assert_eq!(chunk["contentBase64"], "Y2Fm6SBuZWVkbGUK");
    assert_eq!(chunk["ranges"][0]["start"], json!({"offset": 5, "line": 1, "column": 6}));
}

#[test]
fn get_and_post_answer_alike_and_options_are_honoured() {
    let (_git, server, _) = indexed();
    let get = server.search("needle", "&pageSize=1&facets=true&explain=true&chunks=false");
    let body =
        json!({"q": "needle", "pageSize": 1, "facets": true, "explain": true, "chunks": false});
    let post = server.post("/api/v1/search", &body);
    let strip = |reply: Value| (reply["results"].clone(), reply["facets"].clone());
    assert_eq!(strip(get.json()), strip(post.json()));
    let answer = get.json();
    assert_eq!(answer["results"].as_array().unwrap().len(), 1);
    assert_eq!(answer["results"][0]["chunks"], json!([]));
    assert_eq!(answer["facets"]["repository"], json!([{"value": "owner/shop", "count": 2}]));
    assert!(answer["explain"]["plan"].as_str().is_some_and(|plan| !plan.is_empty()));
    let cursor = answer["nextCursor"].as_str().unwrap();
    let next = server.search("needle", &format!("&pageSize=1&facets=true&cursor={cursor}")).json();
    assert_eq!(next["results"].as_array().unwrap().len(), 1);
    assert_ne!(next["results"][0]["path"], answer["results"][0]["path"]);
}

#[test]
fn a_stream_ends_with_done() {
    let (_git, server, _) = indexed();
    let reply = server.get("/api/v1/search/stream?q=needle%20or%20x&facets=true");
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let reply = server.get("/api/v1/search/stream?q=needle&facets=true");
    let text = reply.text();
    let events: Vec<(&str, Value)> = text
        .split("\n\n")
        .filter_map(|block| {
            let name = block.lines().find_map(|line| line.strip_prefix("event: "))?;
            let data = block.lines().find_map(|line| line.strip_prefix("data: "))?;
            Some((name, serde_json::from_str(data).unwrap()))
        })
        .collect();
    let names: Vec<&str> = events.iter().map(|(name, _)| *name).collect();
    for name in ["progress", "matches", "facets"] {
        assert!(names.contains(&name), "{name}: {text}");
    }
    let (last, done) = events.last().unwrap();
    assert_eq!(*last, "done");
    assert_eq!(done["stats"]["documentCount"]["value"], 2);
    let (_, matches) = events.iter().find(|(name, _)| *name == "matches").unwrap();
    assert_eq!(matches, &server.search("needle", "").json()["results"]);
    server.get("/api/v1/search/stream?q=%2F(%2F").assert_problem(400, "invalid-regex");
}

#[test]
fn files_and_folders_are_read() {
    let (git, server, repository) = indexed();
    let id = repository["id"].as_str().unwrap();
    let file = server.get(&format!("/api/v1/repos/{id}/file?path=latin1.txt&rev=main")).json();
    assert_eq!(file["contentBase64"], "Y2Fm6SBuZWVkbGUK");
    assert_eq!(file["sizeBytes"], 12);
    let commit = git.git(&["rev-parse", "HEAD"]);
    assert_eq!(file["commit"].as_str(), Some(commit.trim()));
    let by_name = server.get("/api/v1/repos/owner%2Fshop/file?path=src/main.rs").json();
    assert!(by_name["content"].as_str().is_some_and(|text| text.starts_with("fn main")));
    let tree = server.get(&format!("/api/v1/repos/{id}/tree")).json();
    let mut names: Vec<&str> =
        tree["entries"].as_array().unwrap().iter().filter_map(|e| e["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["empty", "latin1.txt", "logo.bin", "src"]);
    let src = server.get(&format!("/api/v1/repos/{id}/tree?path=src")).json();
    assert_eq!(src["entries"][0]["path"], "src/main.rs");
    assert_eq!(src["entries"][0]["kind"], "file");
}

#[test]
fn health_metrics_and_description_are_there() {
    let (_git, server, _) = indexed();
    let alive = server.get("/livez").json();
    assert_eq!((&alive["status"], &alive["node"]), (&json!("alive"), &json!("local")));
    assert_eq!(server.get("/readyz").json()["status"], "ready");
    server.search("needle", "");
    let metrics = server.get("/metrics");
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = metrics.text();
    for line in [
        "code_search_indexer_shards_active 1",
        "code_search_repo_indexing_duration_seconds_count 1",
        "code_search_usage_metrics_total{tenant=\"default\",kind=\"search\"} 1",
        "code_search_usage_metrics_total{tenant=\"default\",kind=\"repoAdd\"} 1",
        "code_search_search_duration_seconds_count 1",
        "code_search_repositories{state=\"ready\"} 1",
        "code_search_repositories{state=\"error\"} 0",
        "code_search_queue_length 0",
        "code_search_http_requests_total{method=\"GET\",route=\"/api/v1/search\",status=\"200\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).expect(name);
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(value("code_search_index_bytes") > 0.0);
    assert!(value("code_search_index_documents") >= 4.0);
    assert!(value("process_resident_memory_bytes") > 1e6);

    let document = server.get("/openapi.json").json();
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/api/v1/search",
        "/api/v1/search/stream",
        "/api/v1/repos",
        "/api/v1/repos/{id}",
        "/api/v1/repos/{id}/sync",
        "/api/v1/repos/{id}/reindex",
        "/api/v1/repos/{id}/not-indexed",
        "/api/v1/repos/{id}/events",
        "/api/v1/repos/{id}/file",
        "/api/v1/repos/{id}/tree",
        "/livez",
        "/readyz",
        "/metrics",
        "/internal/shutdown",
        "/api/search",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
    let parameters = document["paths"]["/api/v1/search"]["get"]["parameters"].to_string();
    for name in ["pageSize", "cursor", "context", "facets", "explain", "requireComplete", "chunks"]
    {
        assert!(parameters.contains(name), "{name}: {parameters}");
    }
    assert!(document["components"]["schemas"]["SearchAnswer"].is_object());
}

#[test]
fn every_answer_has_an_id_and_harmless_ones_are_kept() {
    let server = Server::start();
    let made = server.get("/livez");
    assert!(made.header("x-request-id").is_some_and(|id| id.len() == 36));
    let kept = Request::new("GET", "/livez").header("X-Request-Id", "my-id.1").send(server.address);
    assert_eq!(kept.header("x-request-id"), Some("my-id.1"));
    let hostile =
        Request::new("GET", "/livez").header("X-Request-Id", "{\"a\":1}").send(server.address);
    assert_ne!(hostile.header("x-request-id"), Some("{\"a\":1}"));
    let trace = "0af7651916cd43dd8448eb211c80319c";
    Request::new("GET", "/api/v1/repos")
        .header("X-Request-Id", "traced")
        .header("traceparent", &format!("00-{trace}-b7ad6b7169203331-01"))
        .send(server.address);
    let log = server.log();
    let line =
        log.lines().find(|line| line.contains("\"traced\"")).expect("a line for the request");
    let line: Value = serde_json::from_str(line).expect("lines are JSON behind a pipe");
    assert_eq!(line["span"]["trace_id"], trace);
    assert_eq!(line["span"]["route"], "/api/v1/repos");
    assert_eq!(line["status"], 200);
}

#[test]
fn answers_are_compressed_when_asked_for() {
    let server = Server::start();
    let plain = server.get("/openapi.json");
    assert_eq!(plain.header("content-encoding"), None);
    let packed =
        Request::new("GET", "/openapi.json").header("Accept-Encoding", "gzip").send(server.address);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.len() * 2 < plain.body.len() && packed.body.starts_with(&[0x1f, 0x8b]));
}

#[test]
fn zoekts_clients_are_understood() {
    let (_git, server, _) = indexed();
    let reply = server.post("/api/search", &json!({"Q": "nee.le f:main", "Opts": {}}));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let result = &reply.json()["Result"];
    assert_eq!(result["FileCount"], 1);
    assert!(result["MatchCount"].as_u64().is_some_and(|count| count > 0), "{result}");
    let file = &result["Files"][0];
    assert_eq!(
        (&file["Repository"], &file["FileName"]),
        (&json!("owner/shop"), &json!("src/main.rs"))
    );
    assert_eq!((&file["Branches"], &file["Language"]), (&json!(["main"]), &json!("Rust")));
    let line = &file["LineMatches"][0];
    assert_eq!(line["Line"], "ICAgIC8vIGdyw7zDn2UgbmVlZGxlCg==");
    assert_eq!((&line["LineNumber"], &line["LineStart"]), (&json!(2), &json!(12)));
    let fragment = &line["LineFragments"][0];
    assert_eq!((&fragment["LineOffset"], &fragment["MatchLength"]), (&json!(15), &json!(6)));

    let chunked =
        server.post("/api/search", &json!({"Q": "needle", "Opts": {"ChunkMatches": true}})).json();
    let chunk = &chunked["Result"]["Files"][0]["ChunkMatches"][0];
    assert!(chunk["Ranges"][0]["Start"]["ByteOffset"].is_u64(), "{chunked}");
    for body in
        [json!({}), json!({"Q": "x", "RepoIDs": [1]}), json!({"Q": "x", "Opts": {"Whole": true}})]
    {
        let reply = server.post("/api/search", &body);
        assert_eq!(reply.status, 400);
        assert!(reply.json()["Error"].is_string(), "{}", reply.text());
    }
}

/// Every result, by pages of a few.
fn by_pages(server: &Server, query: &str) -> Vec<Value> {
    let mut results = Vec::new();
    let mut next = String::new();
    loop {
        let page = server.search(query, &format!("&pageSize=7{next}")).json();
        results.extend(page["results"].as_array().unwrap().iter().cloned());
        match page["nextCursor"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => return results,
        }
    }
}

fn sorted(mut results: Vec<Value>) -> Vec<String> {
    let mut texts: Vec<String> = results.drain(..).map(|result| result.to_string()).collect();
    texts.sort();
    texts
}

#[test]
fn a_large_answer_is_sent_in_parts_and_is_whole() {
    let git = Git::new("large");
    for file in 0..40 {
        git.write(
            &format!("f{file}.txt"),
            &b"a needle, and another needle\n".repeat(100 + 20 * file),
        );
    }
    git.commit("first");
    // Less is held than the answer has: most results are made when their turn comes.
    let server = Server::start_with(&ServerOptions::set(&["search.held_bytes=100000"]));
    server.add(&git.url());
    let reply = server.search("needle count:all", "");
    assert!(reply.body.len() > 2 << 20, "{} bytes", reply.body.len());
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    let answer = reply.json();
    let results = answer["results"].as_array().unwrap().clone();
    assert_eq!(results.len(), 40);
    let matches: u64 = results.iter().map(|result| result["matchCount"].as_u64().unwrap()).sum();
    assert_eq!(matches, answer["stats"]["matchCount"]["value"].as_u64().unwrap());
    let scores: Vec<f64> = results.iter().map(|result| result["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|one, next| one >= next), "{scores:?}");
    // A result has a thousand ranges at most, and says so.
    for result in &results {
        let chunks = result["chunks"].as_array().unwrap();
        let ranges: usize =
            chunks.iter().map(|chunk| chunk["ranges"].as_array().unwrap().len()).sum();
        let all = result["matchCount"].as_u64().unwrap();
        assert_eq!(ranges as u64, all.min(1_000));
        assert_eq!(result["rangesCut"].as_bool().unwrap_or(false), all > 1_000);
    }
    assert_eq!(sorted(results), sorted(by_pages(&server, "needle")));
}

#[test]
fn files_are_found_by_who_changed_them_last_and_when() {
    let git = Git::with_files("team", &[("one.txt", b"needle"), ("two.txt", b"needle")]);
    git.write("two.txt", b"needle again");
    let ada = ["commit", "-q", "-a", "-m", "two", "--author", "Ada Lovelace <ada@example.org>"];
    git.git(&ada);
    let server = Server::start();
    let repository = server.add(&git.url());
    // What is not known yet is told.
    let until = Instant::now() + Duration::from_secs(60);
    let paths = |query: &str| loop {
        let answer = server.search(query, "").json();
        if answer["complete"] == true {
            let results = answer["results"].as_array().unwrap();
            let paths = results.iter().map(|result| result["path"].as_str().unwrap().to_owned());
            return paths.collect::<Vec<_>>();
        }
        assert_eq!(answer["skipped"][0]["reason"], "indexStale", "{answer}");
        assert!(Instant::now() < until, "{answer}");
    };
    assert_eq!(paths("needle author:lovelace"), ["two.txt"]);
    assert_eq!(paths("needle -author:ada"), ["one.txt"]);
    assert_eq!(paths("needle updated:<1h"), ["one.txt", "two.txt"]);
    assert!(paths("needle updated:<2020").is_empty());
    let id = repository["id"].as_str().unwrap();
    let repository = server.get(&format!("/api/v1/repos/{id}")).json();
    assert_eq!(repository["lastChanges"], "ready", "{repository}");
    let facets = server.search("needle", "&facets=true").json()["facets"].take();
    let authors: Vec<_> = facets["author"].as_array().unwrap().iter().collect();
    assert_eq!(authors.len(), 2, "{facets}");
    assert!(authors.contains(&&json!({"value": "Ada Lovelace <ada@example.org>", "count": 1})));
    let months = facets["updated"].as_array().unwrap().clone();
    assert_eq!(months.iter().map(|month| month["count"].as_u64().unwrap()).sum::<u64>(), 2);
    // What a facet lists can be asked for.
    for month in months {
        let query = format!("needle updated:{}", month["value"].as_str().unwrap());
        assert_eq!(paths(&query).len() as u64, month["count"].as_u64().unwrap(), "{query}");
    }
    // It is searchable before that is written down.
    let written = || {
        let events = server.get(&format!("/api/v1/repos/{id}/events")).text();
        events.contains("history-ready")
    };
    while !written() {
        assert!(Instant::now() < until, "no event tells of it");
    }
}

//! Configuration as a user gives and sees it.

use serde_json::Value;

use crate::harness::{Server, ServerOptions, aeterna, run};

#[test]
fn effective_values_have_their_sources_and_secrets_are_masked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    std::fs::write(&file, "[search]\npage_size = 7\n").unwrap();
    let arguments = ["config", "show", "--json", "--listen", "127.0.0.1:9", "--config"];
    let ran = run(aeterna(&arguments)
        .arg(&file)
        .env("DATABASE_URL", "postgres://me:hunter2@localhost/aeterna")
        .env("CODE_SEARCH_BASE_PATH", "/somewhere/mirrors")
        .env("SHARD_ID", "code-search-indexer-0"));
    assert_eq!(ran.code, 0, "{ran:?}");
    let shown: Value = serde_json::from_str(&ran.stdout).unwrap();
    let of = |key: &str| (shown[key]["value"].clone(), shown[key]["source"].clone());
    assert_eq!(of("listen"), ("127.0.0.1:9".into(), "flag --listen".into()));
    assert_eq!(of("search.page_size"), (7.into(), format!("file {}", file.display()).into()));
    assert_eq!(of("base_path"), ("/somewhere/mirrors".into(), "env CODE_SEARCH_BASE_PATH".into()));
    assert_eq!(of("node_name"), ("code-search-indexer-0".into(), "env SHARD_ID".into()));
    assert_eq!(of("search.max_page_size"), (1000.into(), "default".into()));
    assert_eq!(of("database_url").0, "postgres://me:***@localhost/aeterna");
    assert!(!ran.stdout.contains("hunter2") && !ran.stderr.contains("hunter2"));
}

#[test]
fn what_is_shown_can_be_read_again() {
    let shown = run(&mut aeterna(&["config", "show", "--set", "search.page_size=11"]));
    assert_eq!(shown.code, 0, "{shown:?}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shown.toml");
    std::fs::write(&file, &shown.stdout).unwrap();
    let again = run(aeterna(&["config", "show", "--json", "--config"]).arg(&file));
    assert_eq!(again.code, 0, "{again:?}");
    let value: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(value["search.page_size"]["value"], 11);
}

#[test]
fn an_unknown_key_and_a_bad_value_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    for (content, named) in [
        ("[search]\npage_sise = 7\n", &["a.toml:2", "search.page_sise", "search.page_size"][..]),
        ("listen = \"127.0.0.1\"\n", &["a.toml:1", "listen", "127.0.0.1:8080"]),
        ("[indexing]\nshards = 0\n", &["a.toml:2", "indexing.shards", "1 to 1024"]),
        ("listen = \n", &["a.toml", "line 1"]),
    ] {
        std::fs::write(&file, content).unwrap();
        for command in [&["config", "show", "--config"][..], &["serve", "--config"]] {
            let ran = run(aeterna(command).arg(&file));
            assert_eq!(ran.code, 2, "{content}: {ran:?}");
            for name in named {
                assert!(ran.stderr.contains(name), "{name}: {ran:?}");
            }
        }
    }
    let ran = run(aeterna(&["serve"]).env("AETERNA_INDEXING_WORKERS", "many"));
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("AETERNA_INDEXING_WORKERS"), "{ran:?}");
    let ran = run(&mut aeterna(&["serve", "--set", "nonsense=1"]));
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("nonsense"), "{ran:?}");
    let ran = run(&mut aeterna(&["serve", "--config", "no/such/file.toml"]));
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("no/such/file.toml"), "{ran:?}");
}

#[test]
fn an_unknown_variable_is_warned_of() {
    let ran = run(aeterna(&["config", "show"]).env("AETERNA_DATTA", "/d"));
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.contains("AETERNA_DATTA") && ran.stderr.contains("AETERNA_DATA"), "{ran:?}");
}

#[test]
fn only_loopback_is_listened_on() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8080"] {
        let data = tempfile::tempdir().unwrap();
        let ran = run(aeterna(&["serve", "--listen", address, "--data"]).arg(data.path()));
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains("authentication"), "{ran:?}");
        assert_eq!(ran.stdout, "");
        assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0, "nothing was written");
    }
}

#[test]
fn a_port_or_folder_in_use_is_an_error_that_says_so() {
    let server = Server::start();
    let address = server.address.to_string();
    let other = tempfile::tempdir().unwrap();
    let ran = run(aeterna(&["serve", "--listen", &address, "--data"]).arg(other.path()));
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains(&address) && ran.stderr.contains("--listen"), "{ran:?}");
    let ran = run(aeterna(&["serve", "--listen", "127.0.0.1:0", "--data"]).arg(server.data()));
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("in use"), "{ran:?}");
    assert_eq!(server.get("/livez").status, 200);
}

#[test]
fn settings_reach_the_server() {
    let options = ServerOptions::set(&["search.max_page_size=60", "search.max_query_bytes=100"]);
    let server = Server::start_with(&options);
    let problem = server.search("x", "&pageSize=61").assert_problem(400, "invalid-parameter");
    assert_eq!(problem["parameter"], "pageSize");
    server.search(&"x".repeat(101), "").assert_problem(400, "query-too-long");
}

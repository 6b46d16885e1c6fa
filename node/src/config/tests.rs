#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn flag(flag: &str, key: &str, value: &str) -> FlagValue {
    FlagValue { flag: flag.into(), key: key.into(), value: value.into() }
}

fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aeterna.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn later_layers_win_and_sources_are_known() {
    let (_folder, path) = written(
        "data = \"/from/file\"\nlisten = \"127.0.0.1:1\"\n[search]\npage_size = 10\nmax_page_size = 20\n",
    );
    let environment =
        environment(&[("AETERNA_LISTEN", "127.0.0.1:2"), ("AETERNA_SEARCH_PAGE_SIZE", "11")]);
    let flags = [flag("--listen", "listen", "127.0.0.1:3")];
    let loaded = load_from(Some(&path), &environment, &flags).unwrap();
    let shown = |name: &str| {
        let key = KEYS.iter().find(|key| key.name == name).unwrap();
        ((key.show)(&loaded.config), loaded.source(name).to_string())
    };
    assert_eq!(shown("listen"), ("127.0.0.1:3".into(), "flag --listen".into()));
    assert_eq!(shown("search.page_size"), ("11".into(), "env AETERNA_SEARCH_PAGE_SIZE".into()));
    assert_eq!(shown("search.max_page_size"), ("20".into(), format!("file {}", path.display())));
    assert_eq!(shown("indexing.shards"), ("16".into(), "default".into()));
    assert_eq!(shown("base_path"), ("/from/file/repositories".into(), "default".into()));
    assert_eq!(shown("database_url").0, "sqlite:///from/file/catalog.db");
}

#[test]
fn an_unknown_key_is_named_with_file_line_and_nearest() {
    let (_folder, path) = written("[search]\n\npage_sise = 10\n");
    let error = load_from(Some(&path), &[], &[]).unwrap_err().to_string();
    assert!(error.contains(&format!("{}:3", path.display())), "{error}");
    assert!(error.contains("`search.page_sise`"), "{error}");
    assert!(error.contains("search.page_size"), "{error}");
}

#[test]
fn a_bad_value_is_named_and_not_repeated() {
    let (_folder, path) = written("database_url = \"mysql://u:hunter2@h/d\"\n");
    let error = load_from(Some(&path), &[], &[]).unwrap_err().to_string();
    assert!(error.contains("aeterna.toml:1") && error.contains("`database_url`"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");

    let bad = environment(&[("AETERNA_INDEXING_SHARDS", "0")]);
    let error = load_from(None, &bad, &[]).unwrap_err().to_string();
    assert!(error.contains("AETERNA_INDEXING_SHARDS") && error.contains("1 to 1024"), "{error}");

    let error =
        load_from(None, &[], &[flag("--set", "search.page_size", "2000")]).unwrap_err().to_string();
    assert!(error.contains("search.max_page_size"), "{error}");
}

#[test]
fn a_number_in_quotes_and_a_text_without_are_refused() {
    for text in [
        "[search]\npage_size = \"10\"\n",
        "data = 5\n",
        "data = true\n",
        "[git]\nallow_http = \"true\"\n",
        "[search]\npage_size = 1.5\n",
    ] {
        let (_folder, path) = written(text);
        assert!(
            matches!(load_from(Some(&path), &[], &[]), Err(ConfigError::BadValue { .. })),
            "{text}"
        );
    }
}

#[test]
fn unknown_variables_are_warned_of_and_those_of_others_are_not() {
    let all = environment(&[
        ("AETERNA_DATTA", "/d"),
        ("AETERNA_SERVER", "http://h"),
        ("AETERNA_CONFIG", "/f"),
        ("PATH", "/bin"),
    ]);
    let warnings = load_from(None, &all, &[]).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("AETERNA_DATTA") && warnings[0].contains("AETERNA_DATA"));
}

#[test]
fn secrets_are_masked_wherever_the_configuration_is_shown() {
    let all = environment(&[("DATABASE_URL", "postgres://me:hunter2@host/db")]);
    let loaded = load_from(None, &all, &[]).unwrap();
    assert_eq!(loaded.config.database_url.reveal(), "postgres://me:hunter2@host/db");
    for shown in [show_text(&loaded), show_json(&loaded).to_string(), format!("{loaded:?}")] {
        assert!(shown.contains("postgres://me:***@host/db"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn names_and_variables_are_unique_and_documented() {
    for (index, key) in KEYS.iter().enumerate() {
        assert!(!key.doc.trim().is_empty(), "{}", key.name);
        assert!(
            KEYS[index + 1..].iter().all(|other| other.name != key.name && other.env != key.env)
        );
    }
}

#[test]
fn the_readme_lists_every_setting_as_it_is() {
    let readme = include_str!("../../../README.md");
    let rows: Vec<&str> = readme.lines().filter(|line| line.contains("` | `")).collect();
    assert_eq!(rows.len(), KEYS.len());
    for (key, row) in KEYS.iter().zip(rows) {
        let doc = key.doc.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(row.starts_with(&format!("| `{}` | `{}` | `", key.name, key.env)), "{row}");
        assert!(row.ends_with(&format!("` | {doc} |")), "{row}\n{doc}");
        let fixed = !["data", "base_path", "database_url", "cold_storage.path"].contains(&key.name);
        let default = format!("| `{}` |", (key.show)(&Config::default()));
        assert!(!fixed || row.contains(&default), "{row}\n{default}");
    }
}

#[test]
fn a_pod_listens_at_its_address() {
    let of = |pairs: &[(&str, &str)]| {
        let config = load_from(None, &environment(pairs), &[]).unwrap().config;
        [config.cluster_listen.0.to_string(), config.cluster_gossip.0.to_string()]
    };
    assert_eq!(of(&[]), ["127.0.0.1:8081", "127.0.0.1:8082"]);
    assert_eq!(of(&[("POD_IP", "10.1.2.3")]), ["10.1.2.3:8081", "10.1.2.3:8082"]);
    let said = [("POD_IP", "fd00::1"), ("AETERNA_CLUSTER_LISTEN", "0.0.0.0:1")];
    assert_eq!(of(&said), ["0.0.0.0:1", "[fd00::1]:8082"]);
}

//! Which URLs are taken, in what form, and which are refused.

use aeterna_repo::GitConfig;
use aeterna_repo::git::{GitError, RemoteUrl};

use crate::support::Origin;

fn code(url: &str) -> &'static str {
    match RemoteUrl::parse(url, &GitConfig::default()) {
        Ok(url) => panic!("{url} was taken"),
        Err(error) => error.code(),
    }
}

#[test]
fn dangerous_and_malformed_urls_are_refused() {
    let table = [
        ("", "invalid-url"),
        ("   ", "invalid-url"),
        ("--upload-pack=touch /tmp/x", "invalid-url"),
        ("-u/x", "invalid-url"),
        ("ext::sh -c touch% /tmp/x", "protocol-not-allowed"),
        ("fd::17", "protocol-not-allowed"),
        ("git://example.org/a/b", "protocol-not-allowed"),
        ("http://example.org/a/b", "protocol-not-allowed"),
        ("http://127.0.0.1/a/b", "protocol-not-allowed"),
        ("ftp://example.org/a/b", "protocol-not-allowed"),
        ("javascript://x/y", "protocol-not-allowed"),
        ("https://user:secret@example.org/a/b", "url-has-password"),
        ("https://ghp_token@example.org/a/b", "url-has-password"),
        ("ssh://git:secret@example.org/a/b", "url-has-password"),
        ("git:secret@example.org:a/b", "url-has-password"),
        ("https://example.org/a/b?access_token=secret", "invalid-url"),
        ("https://example.org/a/b#x", "invalid-url"),
        ("https://example.org/", "invalid-url"),
        ("https://example.org", "invalid-url"),
        ("https://exa mple.org/a", "invalid-url"),
        ("https://example.org/a\nb", "invalid-url"),
        ("https://example.org/a\0b", "invalid-url"),
        ("ssh://-oProxyCommand=touch/a/b", "invalid-url"),
        ("ssh://-oProxyCommand=x@example.org/a", "invalid-url"),
        ("-oProxyCommand=x:a/b", "invalid-url"),
        ("example.org:-x", "invalid-url"),
        ("example.org:", "invalid-url"),
        ("file://otherhost/a/b", "invalid-url"),
        ("/nowhere/at/all", "not-a-git-repository"),
        ("./nowhere", "not-a-git-repository"),
        ("file:///nowhere/at/all", "not-a-git-repository"),
    ];
    for (url, expected) in table {
        assert_eq!(code(url), expected, "{url:?}");
    }
    assert_eq!(code(&format!("https://example.org/{}", "a".repeat(5000))), "invalid-url");
}

#[test]
fn secrets_are_not_in_errors() {
    let urls = [
        "https://user:s3cret@example.org/a/b",
        "https://s3cret@example.org/a/b",
        "ssh://git:s3cret@example.org/a/b",
        "git:s3cret@example.org:a/b",
        "https://example.org/a/b?token=s3cret",
        "https://user:s3cret@example.org:port/a/b",
        "ftp://user:s3cret@example.org/a",
        "user:s3cret@/x",
    ];
    for url in urls {
        let error = RemoteUrl::parse(url, &GitConfig::default()).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("s3cret"), "{url}: {shown}");
    }
}

#[test]
fn urls_have_one_form_and_a_key() {
    let table = [
        ("https://Example.ORG:443/a/b.git/", "https://example.org/a/b.git", "a/b"),
        (
            "https://example.org/group/sub/project",
            "https://example.org/group/sub/project",
            "group/sub/project",
        ),
        ("git@example.org:a/b.git", "ssh://git@example.org/~/a/b.git", "a/b"),
        ("ssh://git@example.org:22/a/b.git", "ssh://git@example.org/a/b.git", "a/b"),
        ("ssh://git@example.org:2222/a/b", "ssh://git@example.org:2222/a/b", "a/b"),
        ("example.org:/srv/a/b", "ssh://example.org/srv/a/b", "srv/a/b"),
        ("ssh://git@[::1]:2222/a/b", "ssh://git@[::1]:2222/a/b", "a/b"),
    ];
    for (typed, canonical, name) in table {
        let url = RemoteUrl::parse(typed, &GitConfig::default()).unwrap();
        assert_eq!(url.to_string(), canonical, "{typed}");
        assert_eq!(url.default_name(), name, "{typed}");
        let again = RemoteUrl::parse(canonical, &GitConfig::default()).unwrap();
        assert_eq!(again, url, "{canonical} reads as what it was made from");
    }
    let key = |url| RemoteUrl::parse(url, &GitConfig::default()).unwrap().key();
    assert_eq!(key("https://example.org/a/b"), key("https://EXAMPLE.org/a/b.git/"));
    assert_ne!(key("https://example.org/a/b"), key("https://example.org/a/B"));
}

#[test]
fn a_local_repository_is_found_from_inside_it() {
    let origin = Origin::with_file("src/deep/file", "x");
    let url = origin.url();
    let parse = |path: &str| RemoteUrl::parse(path, &GitConfig::default()).unwrap();
    let root = parse(&url);
    assert_eq!(parse(&format!("{url}/src/deep")), root);
    assert_eq!(parse(&format!("file://{url}")), root);
    assert_eq!(parse(&format!("{url}/.git")).key(), root.key());
    let bare = origin.path().join("bare.git");
    origin.git(&["clone", "-q", "--bare", ".", "bare.git"]);
    let bare = parse(bare.to_str().unwrap());
    assert!(bare.to_string().ends_with("/bare.git"));
    assert!(bare.default_name().ends_with("/bare"), "{}", bare.default_name());
}

#[test]
fn local_repositories_can_be_forbidden() {
    let config = GitConfig { allow_local_paths: false, ..GitConfig::default() };
    let origin = Origin::with_file("a", "x");
    for url in [origin.url(), format!("file://{}", origin.url()), "/nowhere".to_owned()] {
        let error = RemoteUrl::parse(&url, &config).unwrap_err();
        assert!(matches!(error, GitError::LocalPathNotAllowed), "{error}");
    }
}

#[test]
fn http_can_be_allowed_on_loopback_alone() {
    let config = GitConfig { allow_loopback_http: true, ..GitConfig::default() };
    for url in ["http://127.0.0.1:8080/a", "http://localhost/a", "http://[::1]/a"] {
        assert!(RemoteUrl::parse(url, &config).is_ok(), "{url}");
    }
    for url in ["http://example.org/a", "http://127.0.0.1.example.org/a", "http://10.0.0.1/a"] {
        let error = RemoteUrl::parse(url, &config).unwrap_err();
        assert_eq!(error.code(), "protocol-not-allowed", "{url}");
    }
}

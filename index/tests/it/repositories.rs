//! Repositories as results.

use aeterna_index::search::{MatchKind, SearchRequest, Visible};
use aeterna_index::{NoProgress, RepositoryInfo, ShardSet};

use crate::support::{
    Memory, all, file, index, info, open, replace, repository_id, request, search,
};

fn prepared(folder: &std::path::Path) -> ShardSet {
    let (set, source) = (open(folder), Memory::default());
    let mut archived = info(3, "other/parser");
    archived.archived = true;
    for (repository, files) in [
        (info(1, "acme/parser"), vec![("a.rs", &b"nothing\n"[..])]),
        (
            info(2, "acme/tools"),
            vec![("a.rs", b"a parser\n"), ("b.rs", b"parser\n"), ("c.go", b"x\n")],
        ),
        (archived, vec![("a.rs", b"a parser\n")]),
        (info(4, "acme/unrelated"), vec![("a.rs", b"nothing\n")]),
    ] {
        index(&set, &source, &repository, &files);
    }
    let empty = RepositoryInfo { default_branch: None, ..info(5, "acme/empty") };
    let update = replace(&empty, "0", Vec::new());
    set.shard_of(empty.id).unwrap().apply(&update, &source, &NoProgress).unwrap();
    set
}

fn names(set: &ShardSet, query: &str) -> Vec<(String, u64)> {
    let response = all(set, query);
    assert!(response.results.iter().all(|result| result.kind == MatchKind::Repository));
    let results = response.results.into_iter();
    results.map(|result| (result.repository.name.clone(), result.match_count)).collect()
}

#[test]
fn by_name_and_by_documents() {
    let folder = tempfile::tempdir().unwrap();
    let set = prepared(folder.path());
    for (query, wanted) in [
        ("parser type:repo", &[("other/parser", 1), ("acme/parser", 0), ("acme/tools", 2)][..]),
        ("parser select:repo", &[("acme/tools", 2), ("other/parser", 1)]),
        ("content:parser type:repo", &[("acme/tools", 2), ("other/parser", 1)]),
        ("parser type:repo archived:no", &[("acme/parser", 0), ("acme/tools", 2)]),
        ("/^other.parser/ type:repo", &[("other/parser", 0)]),
        ("PARSER case:yes type:repo", &[]),
        (
            "type:repo org:acme -repo:tools",
            &[("acme/parser", 1), ("acme/unrelated", 1), ("acme/empty", 0)],
        ),
        ("type:repo lang:go", &[("acme/tools", 1)]),
        ("empty type:repo", &[("acme/empty", 0)]),
        ("nowhere type:repo", &[]),
    ] {
        let wanted: Vec<(String, u64)> =
            wanted.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        assert_eq!(names(&set, query), wanted, "{query}");
    }
}

#[test]
fn names_that_may_not_be_seen_are_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let set = prepared(folder.path());
    let visible = Visible::Only(std::sync::Arc::new([repository_id(2)].into()));
    let response = search(&set, &SearchRequest { visible, ..request("parser type:repo") }).unwrap();
    let found: Vec<&str> =
        response.results.iter().map(|result| result.repository.name.as_str()).collect();
    assert_eq!(found, ["acme/tools"]);
}

#[test]
fn the_default_branch_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let repository = info(1, "a/b");
    let mut update = replace(&repository, "1", vec![file("a", source.put(b"a"))]);
    let aeterna_index::RevisionChange::Replace { files, .. } = update.revisions[0].clone() else {
        panic!("it is a listing");
    };
    let (name, commit) = ("dev".to_owned(), "2".to_owned());
    update.revisions.push(aeterna_index::RevisionChange::Replace { name, commit, files });
    set.shard_of(repository.id).unwrap().apply(&update, &source, &NoProgress).unwrap();
    for query in ["type:repo", "repo:a/b"] {
        let result = &all(&set, query).results[0];
        assert_eq!(
            (result.branches.join(" "), result.commit.as_str()),
            ("main dev".to_owned(), "1")
        );
    }
}

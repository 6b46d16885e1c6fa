//! A commit of a shard that is copied elsewhere while the shard goes on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use aeterna_index::search::{SearchError, SearchRequest};
use aeterna_index::{
    Exported, HistoryUpdate, IndexError, LastChange, MANIFEST_FILE, RepositoryInfo, Shard, ShardSet,
};
use tempfile::TempDir;

use crate::support::{
    Memory, all, files_of, id_of, index, info, options, paths, request, search, settle,
};

const FILES: [(&str, &[u8]); 3] = [
    ("src/main.rs", b"fn main() {\n    needle();\n}\n"),
    ("src/lib.rs", b"pub fn needle() {}\n"),
    ("readme.md", b"about needles\n"),
];

fn one_shard(folder: &Path) -> ShardSet {
    ShardSet::open(folder, 1, options()).unwrap()
}

/// Copies what was exported, and nothing else, into the shard's folder of a new set.
fn opened(exported: &Exported, from: &Path) -> (TempDir, ShardSet) {
    let folder = tempfile::tempdir().unwrap();
    let set = ShardSet::open_none(folder.path(), 1, options()).unwrap();
    fs::create_dir_all(set.folder_of(0)).unwrap();
    for file in &exported.files {
        let bytes = fs::copy(from.join(&file.name), set.folder_of(0).join(&file.name)).unwrap();
        assert_eq!(bytes, file.bytes, "{}", file.name);
    }
    set.open_shard(0).unwrap();
    (folder, set)
}

/// Everything that some searches say.
fn answers(set: &ShardSet) -> Vec<String> {
    let queries =
        ["needle", "/ne+dle/ lang:rust", "sym:needle", "author:ada", "type:repo", "other"];
    let answers = queries.iter().map(|query| {
        let response = all(set, query);
        assert!(response.complete, "{query}: {:?}", response.skipped);
        format!("{query}: {:?} {:?}", response.counts, response.results)
    });
    answers.collect()
}

fn prepared(set: &ShardSet, source: &Memory) -> RepositoryInfo {
    let repository = info(1, "a/b");
    index(set, source, &repository, &FILES);
    index(set, source, &info(2, "a/c"), &[("needle.go", b"package needle\n")]);
    settle(set);
    for id in [repository.id, info(2, "a/c").id] {
        let history = HistoryUpdate {
            commits: set.shards()[0].revisions(id).unwrap(),
            complete: true,
            authors: vec!["Ada <ada@example.org>".to_owned()],
            changes: vec![LastChange {
                path: FILES[0].0.into(),
                content: id_of(FILES[0].1),
                seconds: 9,
                author: 0,
            }],
            ..HistoryUpdate::default()
        };
        set.shards()[0].set_history(id, &history).unwrap();
    }
    repository
}

fn names(exported: &Exported) -> Vec<&str> {
    exported.files.iter().map(|file| file.name.as_str()).collect()
}

#[test]
fn an_export_is_the_shard_as_it_was() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Memory::default());
    let set = one_shard(&folder.path().join("index"));
    let repository = prepared(&set, &source);
    let before = answers(&set);
    let cursor = search(&set, &SearchRequest { page_size: 1, ..request("needle") }).unwrap().next;
    let go_on = |set: &ShardSet| {
        search(set, &SearchRequest { cursor: cursor.clone(), ..request("needle") })
    };
    let rest = paths(&go_on(&set).unwrap());
    let shard = set.shard(0).unwrap();

    let into = folder.path().join("export");
    let exported = shard.export(&into).unwrap();
    assert_eq!(exported.generation, shard.generation());
    assert_eq!(names(&exported).last(), Some(&MANIFEST_FILE));
    let mut listed: Vec<&str> = names(&exported);
    listed.sort_unstable();
    assert_eq!(listed, files_of(&into).keys().collect::<Vec<_>>());
    assert_eq!(files_of(&into), files_of(&set.folder_of(0)), "the shard has nothing else");

    shard.remove_repository(info(2, "a/c").id).unwrap();
    index(&set, &source, &repository, &[("new.rs", b"fn needle() {}\n")]);
    settle(&set);
    let later = answers(&set);
    assert_ne!(later, before);
    let (_copy, copy) = opened(&exported, &into);
    assert_eq!(answers(&copy), before);
    assert_eq!(paths(&go_on(&copy).unwrap()), rest, "cursors go on where the copy is");
    copy.shards()[0].scrub().unwrap();
    assert!(copy.shards()[0].take_damage().is_empty());

    // What two commits have in common has one name, and one content.
    let again = shard.export(&folder.path().join("again")).unwrap();
    let (first, second) = (files_of(&into), files_of(&folder.path().join("again")));
    for (name, bytes) in second.iter().filter(|(name, _)| *name != MANIFEST_FILE) {
        assert!(first.get(name).is_none_or(|known| known == bytes), "{name}");
    }
    assert!(again.generation > exported.generation);

    // The copy goes on by itself, and a commit of it is none of the original's.
    index(&copy, &source, &repository, &[("own.rs", b"fn needle() { other(); }\n")]);
    assert_eq!(paths(&all(&copy, "other")), ["own.rs"]);
    assert_eq!(answers(&set), later);
}

#[test]
fn commits_of_one_number_are_not_taken_for_each_other() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Memory::default());
    let set = one_shard(&folder.path().join("index"));
    let repository = info(1, "a/b");
    index(&set, &source, &repository, &FILES);
    let into = folder.path().join("export");
    let (_copy, copy) = opened(&set.shards()[0].export(&into).unwrap(), &into);
    for (set, path) in [(&set, "here"), (&copy, "there")] {
        let names = ["1", "2", "3"].map(|number| format!("{path}{number}"));
        let files = names.each_ref().map(|name| (name.as_str(), &b"needle\n"[..]));
        index(set, &source, &repository, &files);
    }
    assert_eq!(set.shards()[0].generation(), copy.shards()[0].generation());
    let first = SearchRequest { page_size: 1, ..request("needle") };
    let cursor = search(&set, &first).unwrap().next;
    let next = SearchRequest { cursor, ..first };
    assert_eq!(paths(&search(&set, &next).unwrap()), ["here2"]);
    assert!(matches!(search(&copy, &next), Err(SearchError::ExpiredCursor)));
}

#[test]
fn numbers_of_files_are_not_used_again_after_a_damaged_manifest() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Memory::default());
    let set = one_shard(folder.path());
    prepared(&set, &source);
    let before = files_of(&set.folder_of(0));
    set.close_shard(0);
    fs::write(set.folder_of(0).join(MANIFEST_FILE), b"damaged").unwrap();
    set.open_shard(0).unwrap();
    index(&set, &source, &info(1, "a/b"), &FILES);
    settle(&set);
    let after = files_of(&set.folder_of(0));
    assert!(after.len() > 2);
    let common: Vec<&String> = after.keys().filter(|name| before.contains_key(*name)).collect();
    assert_eq!(common, [MANIFEST_FILE]);
}

#[test]
fn what_holds_nothing_exports_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let set = one_shard(&folder.path().join("index"));
    let into = folder.path().join("deep/export");
    let exported = set.shards()[0].export(&into).unwrap();
    assert_eq!(exported, Exported { generation: 0, files: Vec::new() });
    let (_copy, copy) = opened(&exported, &into);
    assert_eq!(copy.shards()[0].generation(), 0);
}

#[test]
fn an_export_that_fails_leaves_nothing() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Memory::default());
    let set = one_shard(&folder.path().join("index"));
    prepared(&set, &source);
    let shard = set.shard(0).unwrap();
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("mine"), b"of somebody else").unwrap();
    assert!(matches!(shard.export(&taken), Err(IndexError::Io { .. })));
    assert_eq!(files_of(&taken).len(), 1);

    // A history is made again when it is missed: an export does without.
    let in_shard = files_of(&set.folder_of(0));
    let of_kind = |kind: &str| in_shard.keys().find(|name| name.ends_with(kind)).unwrap();
    let into = folder.path().join("export");
    fs::remove_file(set.folder_of(0).join(of_kind(".history"))).unwrap();
    let exported = shard.export(&into).unwrap();
    assert_eq!(exported.files.len(), in_shard.len() - 1);
    let (_copy, copy) = opened(&exported, &into);
    assert_eq!(paths(&all(&copy, "needle")), paths(&all(&set, "needle")));
    fs::remove_dir_all(&into).unwrap();

    // A lost segment is set aside, and what is left can be exported.
    fs::remove_file(set.folder_of(0).join(of_kind(".live"))).unwrap();
    let refused = shard.export(&into);
    assert!(matches!(refused, Err(IndexError::Damaged { .. })), "{refused:?}");
    assert!(!into.exists());
    assert!(!shard.take_damage().is_empty(), "it is indexed again");
    assert!(shard.export(&into).is_ok());

    set.close_shard(0);
    let refused = shard.export(&folder.path().join("late"));
    assert!(matches!(refused, Err(IndexError::Closed { shard: 0 })), "{refused:?}");
    assert!(!folder.path().join("late").exists());
}

#[test]
fn exports_are_whole_whatever_happens_meanwhile() {
    const UPDATES: u32 = 40;
    let (folder, source) = (tempfile::tempdir().unwrap(), Memory::default());
    let set = one_shard(&folder.path().join("index"));
    let repository = info(1, "a/b");
    let done = AtomicBool::new(false);
    let mut generations = BTreeMap::new();
    let mut check = |shard: &Shard, number: usize| {
        let into = folder.path().join(format!("export{number}"));
        let exported = shard.export(&into).unwrap();
        let (_copy, copy) = opened(&exported, &into);
        copy.shards()[0].scrub().unwrap();
        assert!(copy.shards()[0].take_damage().is_empty());
        let found = all(&copy, "together");
        let texts: Vec<_> = found.results.iter().map(|r| r.chunks[0].content.clone()).collect();
        assert!(texts.windows(2).all(|pair| pair[0] == pair[1]), "files of one update");
        assert!([0, 3].contains(&texts.len()));
        generations.insert(exported.generation, texts.len());
    };
    std::thread::scope(|scope| {
        let (set, source, done) = (&set, &source, &done);
        scope.spawn(move || {
            for update in 0..UPDATES {
                let text = format!("together {update}\n");
                let files = ["a", "b", "c"].map(|name| (name, text.as_bytes()));
                index(set, source, &repository, &files);
                set.shards()[0].maintain(&|| false).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        let shard = set.shard(0).unwrap();
        for number in 0.. {
            let last = done.load(Ordering::Acquire);
            check(&shard, number);
            if last {
                break;
            }
        }
    });
    assert_eq!(generations.last_key_value(), Some((&set.shards()[0].generation(), &3)));
    assert!(generations.len() > 2, "updates went on meanwhile: {generations:?}");
}

#[test]
fn a_copy_is_replaced_while_it_is_searched() {
    let (folder, source) = (tempfile::tempdir().unwrap(), Memory::default());
    let set = one_shard(&folder.path().join("index"));
    let repository = prepared(&set, &source);
    let first = folder.path().join("first");
    let (_copy, copy) = opened(&set.shard(0).unwrap().export(&first).unwrap(), &first);
    let before = answers(&copy);
    let cursor = search(&copy, &SearchRequest { page_size: 1, ..request("needle") }).unwrap().next;
    let go_on = || {
        let rest = SearchRequest { cursor: cursor.clone(), ..request("needle") };
        search(&copy, &rest).map(|rest| paths(&rest))
    };
    let rest = go_on().unwrap();
    index(&set, &source, &repository, &[("new.rs", b"fn needle() {}\n")]);
    settle(&set);
    let second = folder.path().join("second");
    set.shard(0).unwrap().export(&second).unwrap();

    // What fails changes nothing for searches, but nothing writes there any more.
    let there = copy.folder_of(0);
    let failing = copy.replace_shard(0, || Err(IndexError::NotHeld { shard: 0 }));
    assert!(matches!(failing, Err(IndexError::NotHeld { .. })));
    assert_eq!(answers(&copy), before);
    let closed = copy.shard(0).unwrap().remove_repository(repository.id);
    assert!(matches!(closed, Err(IndexError::Closed { shard: 0 })));

    let replaced = copy.replace_shard(0, || {
        assert_eq!(answers(&copy), before, "searches go on meanwhile");
        fs::remove_dir_all(&there).unwrap();
        fs::rename(&second, &there).unwrap();
        assert_eq!(answers(&copy), before, "also when its files have other names, or none");
        Ok::<(), IndexError>(())
    });
    assert_eq!(answers(&copy), answers(&set));
    assert_ne!(answers(&copy), before);
    assert_eq!(go_on().unwrap(), rest, "cursors go on in the state that they were made on");
    replaced.unwrap().remove_repository(repository.id).unwrap();
    assert!(copy.replace_shard(1, || Ok::<(), IndexError>(())).is_err(), "there is no such shard");
}

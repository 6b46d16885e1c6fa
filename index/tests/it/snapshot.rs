//! Searches see one state of the index, whatever happens meanwhile; cursors keep to theirs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aeterna_index::search::{SearchError, SearchRequest, SearchResponse};
use aeterna_index::{NoProgress, RepositoryInfo, RepositoryUpdate, RevisionChange, ShardSet};

use crate::support::{Memory, all, file, index, info, open, path, replace, request, search};
use crate::world::{Branch, difference, replace_with};

/// Files that always change together: each holds the number of the update that wrote it.
const TOGETHER: usize = 6;
const UPDATES: u64 = 60;

fn branch(source: &Memory, update: u64) -> Branch {
    let files = (0..TOGETHER).map(|number| {
        let text = format!("fn together() -> u64 {{ // {number}\n    {update:05}\n}}\n");
        let entry = file(format!("src/file{number}.rs"), source.put(text.as_bytes()));
        (entry.path.clone(), entry)
    });
    Branch { commit: format!("{update:040x}"), files: files.collect() }
}

/// The number that a result's file holds.
fn number_in(result: &aeterna_index::search::Match) -> u64 {
    let text = String::from_utf8_lossy(&result.chunks[0].content).into_owned();
    text.trim().parse().unwrap()
}

/// Checks that an answer shows one update, whole.
fn check_whole(response: &SearchResponse) -> Option<u64> {
    let numbers: Vec<u64> = response.results.iter().map(number_in).collect();
    let first = *numbers.first()?;
    assert_eq!(numbers, vec![first; TOGETHER], "files of several updates, or not all of one");
    let commits: Vec<&str> = response.results.iter().map(|result| result.commit.as_str()).collect();
    assert_eq!(commits, vec![format!("{first:040x}"); TOGETHER], "commits of another update");
    Some(first)
}

fn write(set: &ShardSet, source: &Memory, repository: &RepositoryInfo) {
    let shard = set.shard_of(repository.id).unwrap();
    let mut before: Option<Branch> = None;
    for update in 1..=UPDATES {
        let after = branch(source, update);
        if update % 20 == 0 {
            shard.remove_repository(repository.id).unwrap();
            before = None;
        }
        let change = match before.take().filter(|_| update % 3 != 0) {
            Some(before) => difference("main", &before, &after),
            None => replace_with("main", &after),
        };
        let update = RepositoryUpdate { repository: repository.clone(), revisions: vec![change] };
        shard.apply(&update, source, &NoProgress).unwrap();
        before = Some(after);
    }
}

#[test]
fn searches_see_whole_updates_only() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source, repository) = (open(folder.path()), Memory::default(), info(1, "a/b"));
    let (done, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (set, done, answers) = (&set, &done, &answers);
            scope.spawn(move || {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let query = ["/^    [0-9]{5}$/", "/^ {4}\\d+$/ lang:rust"][thread % 2];
                    let response = all(set, query);
                    if let Some(update) = check_whole(&response) {
                        assert!(update >= last, "an older state came back");
                        last = update;
                        answers.fetch_add(1, Ordering::Relaxed);
                    } else {
                        assert!(response.results.is_empty());
                    }
                }
            });
        }
        let (set, done) = (&set, &done);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                for shard in set.shards() {
                    shard.maintain(&|| false).unwrap();
                }
            }
        });
        write(set, &source, &repository);
        done.store(true, Ordering::Relaxed);
    });
    assert!(answers.into_inner() > 0, "searches ran meanwhile");
    assert_eq!(check_whole(&all(&set, "/^    [0-9]{5}$/")), Some(UPDATES));
}

/// Ten files with one word, and what of them a first page of three shows.
fn paged(set: &ShardSet, source: &Memory) -> (RepositoryInfo, SearchResponse) {
    let repository = info(1, "a/b");
    let names: Vec<String> = (0..10).map(|number| format!("file{number}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (&name[..], &b"word\n"[..])).collect();
    index(set, source, &repository, &files);
    let first = search(set, &SearchRequest { page_size: 3, ..request("word") }).unwrap();
    assert_eq!(first.results.len(), 3);
    (repository, first)
}

fn page(
    set: &ShardSet,
    query: &str,
    cursor: Option<String>,
) -> Result<SearchResponse, SearchError> {
    search(set, &SearchRequest { page_size: 3, cursor, ..request(query) })
}

#[test]
fn a_cursor_keeps_to_its_state() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let (repository, first) = paged(&set, &source);
    // Everything that was there goes away, and other files with the word come.
    index(&set, &source, &repository, &[("a-new-one", b"word word\n"), ("b-new-one", b"word\n")]);
    set.shards().iter().for_each(|shard| assert!(shard.maintain(&|| false).is_ok()));
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut response = first;
    loop {
        response.results.iter().for_each(|result| *seen.entry(path(result)).or_default() += 1);
        let Some(next) = response.next else { break };
        response = page(&set, "word", Some(next)).unwrap();
    }
    let wanted: BTreeMap<String, usize> = (0..10).map(|n| (format!("file{n}"), 1)).collect();
    assert_eq!(seen, wanted);
    assert_eq!(all(&set, "word").results.len(), 2, "a new search sees the new state");
}

#[test]
fn a_cursor_expires_when_its_state_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (mut set, source) = (open(folder.path()), Memory::default());
    let (repository, first) = paged(&set, &source);
    let next = first.next;
    for commit in 0..20 {
        let files = vec![file(format!("other{commit}"), source.put(b"word"))];
        let update = replace(&repository, &commit.to_string(), files);
        set.shard_of(repository.id).unwrap().apply(&update, &source, &NoProgress).unwrap();
    }
    let expired = page(&set, "word", next.clone());
    assert!(matches!(expired, Err(SearchError::ExpiredCursor)), "{expired:?}");
    drop(set);
    set = open(folder.path());
    let expired = page(&set, "word", next);
    assert!(matches!(expired, Err(SearchError::ExpiredCursor)), "{expired:?}");
}

#[test]
fn a_cursor_outlives_a_restart_when_nothing_changed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut set, source) = (open(folder.path()), Memory::default());
    let (_, first) = paged(&set, &source);
    let paths = |response: &SearchResponse| response.results.iter().map(path).collect::<Vec<_>>();
    assert_eq!(paths(&first), ["file0", "file1", "file2"]);
    drop(set);
    set = open(folder.path());
    let second = page(&set, "word", first.next).unwrap();
    assert_eq!(paths(&second), ["file3", "file4", "file5"]);
}

#[test]
fn cursors_of_other_queries_and_garbage_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let next = paged(&set, &source).1.next.unwrap();
    let altered = format!("{}0", &next[..next.len() - 1]);
    let long = "ab".repeat(100_000);
    let nothing_like_it = ["", "garbage", "ééé", "00", &next[2..], &altered, &long];
    for cursor in nothing_like_it {
        let refused = page(&set, "word", Some(cursor.to_owned()));
        assert!(matches!(refused, Err(SearchError::BadCursor)), "{cursor:.40}: {refused:?}");
    }
    let refused = page(&set, "other", Some(next.clone()));
    assert!(matches!(refused, Err(SearchError::BadCursor)), "{refused:?}");
    let (other_folder, source) = (tempfile::tempdir().unwrap(), Memory::default());
    let more_shards = ShardSet::open(other_folder.path(), 3, Default::default()).unwrap();
    paged(&more_shards, &source);
    let refused = page(&more_shards, "word", Some(next));
    assert!(matches!(refused, Err(SearchError::BadCursor)), "{refused:?}");
}

#[test]
fn repositories_are_paged_once_each() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    for number in 1..=7u128 {
        let files = [("one", &b"word\n"[..]), ("two", b"word\n")];
        index(&set, &source, &info(number, &format!("a/repo{number}")), &files);
    }
    for query in ["word select:repo", "word type:repo"] {
        let (mut seen, mut cursor) = (Vec::new(), None);
        for _ in 0..10 {
            let response = page(&set, query, cursor).unwrap();
            assert!(response.results.len() <= 3);
            seen.extend(response.results.iter().map(|result| result.repository.name.clone()));
            cursor = response.next;
            if cursor.is_none() {
                break;
            }
        }
        let wanted: Vec<String> = (1..=7).map(|number| format!("a/repo{number}")).collect();
        assert_eq!(seen, wanted, "{query}");
    }
}

#[test]
fn updates_from_another_base_are_refused_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source, repository) = (open(folder.path()), Memory::default(), info(1, "a/b"));
    index(&set, &source, &repository, &[("old", b"word\n")]);
    let update = RepositoryUpdate {
        repository: repository.clone(),
        revisions: vec![RevisionChange::Update {
            name: "main".to_owned(),
            from: "another".to_owned(),
            commit: "2".to_owned(),
            removed: Vec::new(),
            added: vec![file("new", source.put(b"word\n"))],
        }],
    };
    let error =
        set.shard_of(repository.id).unwrap().apply(&update, &source, &NoProgress).unwrap_err();
    assert!(error.to_string().contains("c0ffee"), "it says what is held: {error}");
    let found: Vec<String> = all(&set, "word").results.iter().map(path).collect();
    assert_eq!(found, ["old"]);
}

//! Shards that are opened and closed one by one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use aeterna_index::{
    ContentId, ContentReader, ContentSource, IndexError, Maintenance, NoProgress, ReadError,
    RepositoryInfo, RepositoryUpdate, ShardSet,
};

use crate::support::{
    Memory, Random, all, file, files_of, index, info, open, options, path, paths, replace, settle,
};

const SHARDS: u32 = 4;

fn none(folder: &Path) -> ShardSet {
    ShardSet::open_none(folder, SHARDS, options()).unwrap()
}

/// A repository of each shard.
fn one_each(set: &ShardSet) -> Vec<RepositoryInfo> {
    let of_shard = |shard| {
        let all = (1..).map(|id| info(id, &format!("a/{shard}")));
        all.into_iter().find(|info: &RepositoryInfo| set.number_of(info.id) == shard).unwrap()
    };
    (0..set.count()).map(of_shard).collect()
}

#[test]
fn a_shard_is_held_from_its_opening_to_its_closing() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (none(folder.path()), Memory::default());
    assert!(set.shards().is_empty() && set.shard(1).is_none());
    let repositories = one_each(&set);
    let refused = set.shard_of(repositories[1].id).map(drop);
    assert!(matches!(refused, Err(IndexError::NotHeld { shard: 1 })), "{refused:?}");
    for number in [1, 3] {
        let shard = set.open_shard(number).unwrap();
        assert_eq!((shard.number(), shard.generation()), (number, 0));
        assert!(Arc::ptr_eq(&shard, &set.open_shard(number).unwrap()), "it is open already");
        let repository = &repositories[number as usize];
        index(&set, &source, repository, &[(&format!("in{number}"), b"word\n")]);
        assert_eq!(shard.generation(), 1);
    }
    assert_eq!(set.shards().iter().map(|shard| shard.number()).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(paths(&all(&set, "word")), ["in1", "in3"]);
    set.close_shard(1);
    set.close_shard(1);
    assert_eq!(paths(&all(&set, "word")), ["in3"]);
    assert!(matches!(
        set.shard_of(repositories[1].id).map(drop),
        Err(IndexError::NotHeld { shard: 1 })
    ));
    set.open_shard(1).unwrap();
    assert_eq!(paths(&all(&set, "word")), ["in1", "in3"]);
    let refused = set.open_shard(SHARDS).map(drop);
    assert!(matches!(refused, Err(IndexError::NoSuchShard { shard: 4, count: 4 })), "{refused:?}");
    // Only shards that were opened have a folder.
    let folders = (0..SHARDS).map(|number| set.folder_of(number).exists());
    assert_eq!(folders.collect::<Vec<_>>(), [false, true, false, true]);
}

#[test]
fn a_closed_shard_takes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let repository = info(1, "a/b");
    index(&set, &source, &repository, &[("kept", b"word\n")]);
    let shard = set.shard_of(repository.id).unwrap();
    settle(&set);
    set.close_shard(shard.number());
    let before = files_of(&set.folder_of(shard.number()));
    let update = replace(&repository, "2", vec![file("new", source.put(b"word\n"))]);
    let renamed = RepositoryInfo { name: "a/c".to_owned(), ..repository.clone() };
    let refused: [(&str, Result<(), IndexError>); 6] = [
        ("apply", shard.apply(&update, &source, &NoProgress).map(drop)),
        ("maintain", shard.maintain(&|| false).map(drop)),
        ("remove", shard.remove_repository(repository.id)),
        ("rename", shard.set_repository(renamed)),
        ("history", shard.set_history(repository.id, &Default::default())),
        ("scrub", shard.scrub()),
    ];
    for (what, result) in refused {
        assert!(matches!(result, Err(IndexError::Closed { .. })), "{what}: {result:?}");
    }
    assert_eq!(files_of(&set.folder_of(shard.number())), before);
    assert!(shard.revisions(repository.id).is_some(), "what it held can still be read");
    set.open_shard(shard.number()).unwrap();
    assert_eq!(paths(&all(&set, "word")), ["kept"]);
}

/// Tells when it is read, and gives the content once it is told to.
struct Held {
    read: Sender<()>,
    go_on: Mutex<Receiver<()>>,
    source: Memory,
}

impl ContentSource for Held {
    fn reader(&self) -> Result<Box<dyn ContentReader + '_>, ReadError> {
        Ok(Box::new(HeldReader(self, self.source.reader()?)))
    }
}

struct HeldReader<'a>(&'a Held, Box<dyn ContentReader + 'a>);

impl ContentReader for HeldReader<'_> {
    fn read(&mut self, id: &ContentId, limit: u64, into: &mut Vec<u8>) -> Result<(), ReadError> {
        let _ = self.0.read.send(());
        // Fails once nobody tells any more: then it goes on.
        let _ = self.0.go_on.lock().unwrap_or_else(PoisonError::into_inner).recv();
        self.1.read(id, limit, into)
    }
}

/// Files of one content each.
fn files(source: &Memory, count: u32) -> Vec<aeterna_index::FileEntry> {
    let text = |number| format!("word {number}\n");
    (0..count).map(|n| file(format!("file{n}"), source.put(text(n).as_bytes()))).collect()
}

#[test]
fn closing_cancels_updates_and_waits_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let (set, plain) = (open(folder.path()), Memory::default());
    let repository = info(1, "a/b");
    index(&set, &plain, &repository, &[("kept", b"word\n")]);
    let shard = set.shard_of(repository.id).unwrap();
    let before = files_of(&set.folder_of(shard.number()));
    let (read, reads) = channel();
    let (go_on, told) = channel();
    let source = Held { read, go_on: Mutex::new(told), source: Memory::default() };
    let update = replace(&repository, "2", files(&source.source, 64));
    std::thread::scope(|scope| {
        let (set, shard, source, update) = (&set, &shard, &source, &update);
        let applied = scope.spawn(move || shard.apply(update, source, &NoProgress));
        reads.recv().unwrap();
        let closed = scope.spawn(move || set.close_shard(shard.number()));
        // It is let go of before the last writer has ended.
        while set.shard(shard.number()).is_some() {
            std::thread::yield_now();
        }
        assert!(!closed.is_finished() && !applied.is_finished());
        drop(go_on);
        closed.join().unwrap();
        // From here on its folder is somebody else's.
        assert_eq!(files_of(&set.folder_of(shard.number())), before);
        let applied = applied.join().unwrap();
        assert!(matches!(applied, Err(IndexError::Closed { .. })), "{applied:?}");
        assert_eq!(files_of(&set.folder_of(shard.number())), before);
    });
    set.open_shard(shard.number()).unwrap();
    assert_eq!(paths(&all(&set, "word")), ["kept"]);
}

#[test]
fn a_set_that_is_dropped_leaves_no_writer_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let repository = info(1, "a/b");
    index(&set, &source, &repository, &[("kept", b"word\n")]);
    let shard = set.shard_of(repository.id).unwrap();
    drop(set);
    let set = open(folder.path());
    assert!(matches!(shard.remove_repository(repository.id), Err(IndexError::Closed { .. })));
    assert_eq!(paths(&all(&set, "word")), ["kept"]);
}

#[test]
fn a_closed_shard_is_read_to_the_end_and_opened_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let repository = info(1, "a/b");
    index(&set, &source, &repository, &[("old", b"word\n")]);
    let number = set.number_of(repository.id);
    let before = set.shard(number).unwrap();
    set.close_shard(number);
    let after = set.open_shard(number).unwrap();
    index(&set, &source, &repository, &[("new", b"word\n")]);
    while after.maintain(&|| false).unwrap() != Maintenance::Idle {}
    assert_eq!((before.documents(repository.id), before.generation()), (1, 1));
    assert!(after.generation() > 1);
    assert_eq!(paths(&all(&set, "word")), ["new"]);
}

#[test]
fn another_number_of_shards_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(none(folder.path()));
    let refused = ShardSet::open_none(folder.path(), 5, options()).map(drop);
    let Err(error @ IndexError::OtherCount { found: 4, wanted: 5, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
    // A damaged number is what the cluster says.
    std::fs::write(folder.path().join("shards"), b"7 damaged").unwrap();
    assert_eq!(none(folder.path()).count(), SHARDS);
    let refused = ShardSet::open_none(folder.path(), 5, options()).map(drop);
    assert!(matches!(refused, Err(IndexError::OtherCount { .. })));
}

/// Opens and closes a shard until it is told to stop: at once, or after a commit or two.
fn open_and_close(set: &ShardSet, number: u32, done: &AtomicBool) {
    let mut random = Random(u64::from(number));
    let is_done = || done.load(Ordering::Acquire);
    while !is_done() {
        set.close_shard(number);
        let shard = set.open_shard(number).unwrap();
        let until = shard.generation() + random.below(3) as u64;
        while shard.generation() < until && !is_done() {
            std::thread::yield_now();
        }
    }
}

/// Sends an update until a shard takes it, as whoever finds the owner of a shard does.
fn insist(set: &ShardSet, source: &Memory, update: &RepositoryUpdate) {
    loop {
        let shard = set.shard_of(update.repository.id);
        let applied = shard.and_then(|shard| {
            let applied = shard.apply(update, source, &NoProgress)?;
            let _ = shard.maintain(&|| false)?;
            Ok(applied)
        });
        match applied {
            Ok(_) => return,
            Err(IndexError::NotHeld { .. } | IndexError::Closed { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn what_was_acknowledged_survives_any_closing() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source, done) = (open(folder.path()), Memory::default(), AtomicBool::new(false));
    let repositories = one_each(&set);
    std::thread::scope(|scope| {
        let (set, source, done) = (&set, &source, &done);
        for shard in 0..set.count() {
            scope.spawn(move || open_and_close(set, shard, done));
        }
        scope.spawn(move || {
            while !done.load(Ordering::Acquire) {
                let response = all(set, "word");
                assert!(response.complete, "{:?}", response.skipped);
                assert!([0, 3, 6].contains(&response.results.len()), "updates are seen whole");
            }
        });
        let writers: Vec<_> = repositories
            .iter()
            .map(|repository| {
                scope.spawn(move || {
                    for commit in 1..=25 {
                        let name = |number: u32| format!("{number} of {commit}");
                        let files = (0..3).map(|n| file(name(n), source.put(b"word\n")));
                        let update = replace(repository, &commit.to_string(), files.collect());
                        insist(set, source, &update);
                        // Whoever opens it finds what was acknowledged.
                        let held = set.shard_of(repository.id).map(|s| s.revisions(repository.id));
                        let is_there = |held: Option<BTreeMap<String, String>>| {
                            held.unwrap()["main"] == commit.to_string()
                        };
                        assert!(held.map_or(true, is_there));
                    }
                })
            })
            .collect();
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Release);
        assert!(ended.iter().all(Result::is_ok));
    });
    let found = all(&set, "word");
    assert!(found.results.iter().all(|result| path(result).ends_with(" of 25")));
    assert_eq!(found.results.len(), 6);
    set.shards().iter().for_each(|shard| shard.scrub().unwrap());
    assert!(set.shards().iter().all(|shard| shard.take_damage().is_empty()));
}

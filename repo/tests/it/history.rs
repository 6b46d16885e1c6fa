//! Who changed each file last: held against `git log`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use aeterna_index::{ContentId, RepositoryId};
use aeterna_repo::RepoManager;
use aeterna_repo::git::{File, LastChanges, Trees, Wanted, last_changes};
use gix::hash::ObjectId;

use crate::support::{Node, Origin, PATIENCE, Place, add, git, sync};

const PATHS: [&str; 7] = ["a", "dir/b", "dir/c", "dir/deep/d", "dir/deep/e", "other/f", "z"];
/// When the first commit was made, in seconds since 1970.
const FIRST: u64 = 1_600_000_000;

/// Small and repeatable randomness (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

/// What a branch holds.
type State = BTreeMap<&'static str, String>;

/// Writes a history with branches and merges; no content is written twice.
fn random_history(seed: u64, commits: usize) -> Origin {
    let origin = Origin::new();
    let mut random = Random(seed);
    let mut branches: Vec<(String, usize, State)> = Vec::new();
    let mut stream = String::new();
    for number in 1..=commits {
        let (from, merged, mut state) = match branches.len() {
            0 => (None, None, State::new()),
            count => {
                let (_, from, state) = &branches[random.below(count)];
                let (_, other, theirs) = &branches[random.below(count)];
                let mut state = state.clone();
                let merged = (from != other && random.below(3) == 0).then_some(*other);
                if merged.is_some() {
                    merge(&mut state, theirs, &mut random);
                }
                (Some(*from), merged, state)
            }
        };
        if merged.is_none() || random.below(4) == 0 {
            let path = PATHS[random.below(PATHS.len())];
            match random.below(5) {
                0 => drop(state.remove(path)),
                _ => drop(state.insert(path, format!("content {number}\n"))),
            }
        }
        let name = format!("branch{}", random.below(3));
        write_commit(&mut stream, &name, number, from, merged, &state);
        branches.retain(|(other, _, _)| *other != name);
        branches.push((name, number, state));
    }
    import(origin.path(), &stream);
    let (tip, _, _) = branches.last().unwrap();
    origin.git(&["symbolic-ref", "HEAD", &format!("refs/heads/{tip}")]);
    origin
}

/// Each path as one of the two has it.
fn merge(ours: &mut State, theirs: &State, random: &mut Random) {
    for path in PATHS {
        if random.below(2) == 0 {
            match theirs.get(path) {
                Some(content) => drop(ours.insert(path, content.clone())),
                None => drop(ours.remove(path)),
            }
        }
    }
}

fn write_commit(
    stream: &mut String,
    branch: &str,
    number: usize,
    from: Option<usize>,
    merged: Option<usize>,
    state: &State,
) {
    let at = FIRST + 60 * number as u64;
    let author = number % 3;
    // The branch is moved and not continued: a commit's parents are those that are named.
    let _ = writeln!(stream, "reset refs/heads/{branch}\n");
    let _ = writeln!(stream, "commit refs/heads/{branch}\nmark :{number}");
    let _ = writeln!(stream, "author Author {author} <a{author}@example.org> {} +0200", at - 5);
    let _ = writeln!(stream, "committer C <c@example.org> {at} +0000\ndata 0");
    for (word, parent) in [("from", from), ("merge", merged)] {
        if let Some(parent) = parent {
            let _ = writeln!(stream, "{word} :{parent}");
        }
    }
    let _ = writeln!(stream, "deleteall");
    for (path, content) in state {
        let _ = writeln!(stream, "M 100644 inline {path}\ndata {}\n{content}", content.len());
    }
    stream.push('\n');
}

fn import(folder: &Path, stream: &str) {
    let mut import = Command::new("git")
        .args(["fast-import", "--quiet", "--force"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    import.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
}

/// Reads what a fetched commit's files changed last.
fn read(place: &Place, url: &str, tip: &str, known: &[&str], limit: u64) -> (LastChanges, usize) {
    let fetched = place.fetch(url, &["*"]).unwrap();
    let objects = fetched.mirror.objects(1 << 20).unwrap();
    let mut reader = objects.reader();
    let never = || false;
    let mut trees = Trees::new(&mut reader, 1 << 20, &never);
    let id = |hex: &str| ObjectId::from_hex(hex.as_bytes()).unwrap();
    let listing = trees.list(&id(tip)).unwrap();
    let file = |content: &ContentId| ObjectId::try_from(content.as_bytes()).unwrap();
    let files: Vec<File> =
        listing.files.into_iter().map(|entry| (entry.path, file(&entry.content))).collect();
    let count = files.len();
    let known: Vec<ObjectId> = known.iter().map(|hex| id(hex)).collect();
    let wanted = Wanted { tips: &[id(tip)], known: &known, files, limit };
    (last_changes(&mut trees, wanted, &|_| {}).unwrap(), count)
}

#[test]
fn last_changes_are_those_of_git_log() {
    for seed in 0..24 {
        let origin = random_history(seed, 30);
        let tip = origin.head();
        let (changes, files) = read(&Place::new(), &origin.url(), &tip, &[], u64::MAX);
        assert_eq!(changes.found.len(), files, "seed {seed}: {changes:?}");
        for ((path, _), (seconds, author)) in &changes.found {
            let path = std::str::from_utf8(path).unwrap();
            let log = origin.git(&["log", "-1", "--format=%ct %an <%ae>", &tip, "--", path]);
            let found = format!("{seconds} {}", changes.authors[*author as usize]);
            assert_eq!(found, log, "seed {seed}: {path}");
        }
    }
}

#[test]
fn known_commits_are_not_read() {
    let origin = Origin::with_file("a", "1");
    origin.write("b", b"1");
    let old = origin.commit("second");
    origin.write("a", b"2");
    let tip = origin.commit("third");
    let place = Place::new();
    let (changes, _) = read(&place, &origin.url(), &tip, &[&old], u64::MAX);
    let found: Vec<&[u8]> = changes.found.keys().map(|(path, _)| path.as_slice()).collect();
    assert_eq!(found, [b"a"]);
    assert_eq!((changes.commits, changes.missing.len()), (1, 1));
    // What is not there is known to nobody.
    let gone = "5".repeat(40);
    let (changes, _) = read(&place, &origin.url(), &tip, &[&gone], u64::MAX);
    assert_eq!((changes.found.len(), changes.missing.len()), (2, 0));
    let (changes, _) = read(&place, &origin.url(), &tip, &[], 1);
    assert_eq!((changes.found.len(), changes.missing.len()), (1, 1));
}

#[test]
fn a_shallow_clone_tells_of_what_it_has() {
    let origin = Origin::with_file("old", "1");
    origin.write("new", b"1");
    let tip = origin.commit("second");
    let folder = tempfile::tempdir().unwrap();
    let shallow = folder.path().join("shallow");
    let source = format!("file://{}", origin.url());
    git(folder.path(), &["clone", "-q", "--depth=1", &source, shallow.to_str().unwrap()]);
    let (changes, files) = read(&Place::new(), shallow.to_str().unwrap(), &tip, &[], u64::MAX);
    assert_eq!((files, changes.found.len(), changes.missing.len()), (2, 0, 2));
}

#[test]
fn a_damaged_commit_hides_what_came_before_it() {
    let origin = Origin::with_file("old", "1");
    origin.write("middle", b"1");
    let middle = origin.commit("second");
    origin.write("new", b"1");
    let tip = origin.commit("third");
    let loose = origin.loose(&middle);
    std::fs::remove_file(&loose).unwrap();
    std::fs::write(&loose, b"this is no object").unwrap();
    let (changes, _) = read(&Place::new(), &origin.url(), &tip, &[], u64::MAX);
    // The commit before is not there for whoever cannot read this one; nor is what `tip` changed.
    assert_eq!((changes.found.len(), changes.missing.len()), (0, 3));
}

/// Waits until the last changes of a repository are known.
async fn read_whole(manager: &RepoManager, id: RepositoryId) {
    let deadline = Instant::now() + PATIENCE;
    while manager.index().shard_of(id).unwrap().history_pending(id) {
        assert!(Instant::now() < deadline, "the last changes are not read");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// The commits' times and authors of the files that are known, and how many are not.
async fn known(manager: &RepoManager, id: RepositoryId, origin: &Origin, rev: &str) -> Vec<String> {
    read_whole(manager, id).await;
    let history = manager.index().shard_of(id).unwrap().history(id).unwrap();
    let tree = origin.git(&["ls-tree", "-r", rev]);
    tree.lines()
        .map(|line| {
            let (head, path) = line.split_once('\t').unwrap();
            let id = ObjectId::from_hex(head.split(' ').nth(2).unwrap().as_bytes()).unwrap();
            let content = ContentId::from_bytes(id.as_bytes()).unwrap();
            match history.of(path.as_bytes(), &content) {
                Some(changed) => format!(
                    "{path} {} {}",
                    changed.seconds,
                    history.authors()[changed.author as usize]
                ),
                None => format!("{path} is not known"),
            }
        })
        .collect()
}

fn logged(origin: &Origin, rev: &str) -> Vec<String> {
    let paths = origin.git(&["ls-tree", "-r", "--name-only", rev]);
    let log = |path| origin.git(&["log", "-1", "--format=%ct %an <%ae>", rev, "--", path]);
    paths.lines().map(|path| format!("{path} {}", log(path))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_are_taken_in_as_they_come() {
    let origin = random_history(99, 25);
    let branch = origin.git(&["symbolic-ref", "--short", "HEAD"]);
    let node = Node::new();
    let manager = node.open().await;
    let id = add(&manager, &origin.url(), &[&branch, "tags/v*"]).await.id;
    assert_eq!(known(&manager, id, &origin, &branch).await, logged(&origin, &branch));

    // A file that becomes again what it was changes with the commit that made it so.
    origin.git(&["checkout", "-q", "-f", &branch]);
    origin.write("again", b"one");
    origin.commit("one");
    origin.write("again", b"two");
    origin.commit("two");
    sync(&manager, id).await;
    read_whole(&manager, id).await;
    origin.write("again", b"one");
    let reverted = ["commit", "-q", "-a", "-m", "one again", "--author", "Someone <s@else.org>"];
    origin.git(&reverted);
    sync(&manager, id).await;
    let found = known(&manager, id, &origin, &branch).await;
    assert_eq!(found, logged(&origin, &branch));
    assert!(found.iter().any(|line| line.ends_with("Someone <s@else.org>")), "{found:?}");

    // A tag of an old commit has files that no new commit tells of.
    let old = origin.git(&["rev-list", "--max-count=1", "--skip=6", "HEAD"]);
    origin.git(&["tag", "v1", &old]);
    sync(&manager, id).await;
    assert_eq!(known(&manager, id, &origin, "v1").await, logged(&origin, "v1"));
    assert_eq!(known(&manager, id, &origin, &branch).await, logged(&origin, &branch));

    // A restart finds it all as it was, and reads what came meanwhile.
    manager.shutdown().await;
    drop(manager);
    let manager = node.open().await;
    assert!(!manager.index().shard_of(id).unwrap().history_pending(id));
    assert_eq!(known(&manager, id, &origin, &branch).await, logged(&origin, &branch));
    manager.shutdown().await;
}

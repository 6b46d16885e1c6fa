//! Local repositories of every kind, fetched and fetched again.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use aeterna_repo::GitConfig;
use aeterna_repo::git::{GitError, Mirror, RefSnapshot};

use crate::support::{Origin, Place, git, paths, test_git};

fn names(refs: &RefSnapshot, globs: &[&str]) -> Vec<String> {
    let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_owned()).collect();
    refs.select(&globs).into_iter().map(|selected| selected.name).collect()
}

#[test]
fn a_fetch_brings_what_is_new() {
    let origin = Origin::with_file("a.txt", "one");
    let place = Place::new();
    let first = place.fetch(&origin.url(), &[]).unwrap();
    assert_eq!(paths(&first, "HEAD"), ["a.txt"]);
    assert_eq!(first.refs.default_branch().as_deref(), Some("main"));
    origin.write("b/c.txt", b"two");
    origin.commit("second");
    let second = place.fetch(&format!("file://{}", origin.url()), &[]).unwrap();
    assert_eq!(paths(&second, "HEAD"), ["a.txt", "b/c.txt"]);
}

#[test]
fn the_mirror_does_not_need_its_source() {
    let origin = Origin::with_file("a.txt", "one");
    origin.pack();
    let place = Place::new();
    let fetched = place.fetch(&origin.url(), &[]).unwrap();
    drop(origin);
    assert_eq!(paths(&fetched, "HEAD"), ["a.txt"]);
    assert_eq!(git(&place.home(), &["show", "HEAD:a.txt"]), "one");
    git(&place.home(), &["fsck", "--strict"]);
}

#[test]
fn globs_select_branches_and_tags() {
    let origin = Origin::with_file("a", "x");
    for branch in ["release/1", "release/2", "wip/x", "v1"] {
        origin.git(&["branch", branch]);
    }
    origin.git(&["tag", "v1"]);
    origin.git(&["tag", "-a", "v2", "-m", "annotated"]);
    let refs = Place::new().fetch(&origin.url(), &[]).unwrap().refs;
    assert_eq!(names(&refs, &[]), ["main"]);
    assert_eq!(names(&refs, &["HEAD", "release/*"]), ["main", "release/1", "release/2"]);
    assert_eq!(names(&refs, &["*", "!wip/*"]), ["main", "release/1", "release/2", "v1"]);
    assert_eq!(names(&refs, &["tags/*"]), ["v1", "v2"]);
    assert_eq!(names(&refs, &["refs/tags/v2", "refs/heads/main"]), ["main", "v2"]);
    assert_eq!(names(&refs, &["v1", "tags/v1"]), ["tags/v1", "v1"], "one name for two revisions");
    assert!(names(&refs, &["nothing"]).is_empty());
}

#[test]
fn a_tag_leads_to_its_commit() {
    let origin = Origin::with_file("a", "x");
    origin.git(&["tag", "-a", "inner", "-m", "annotated"]);
    origin.git(&["tag", "-a", "outer", "inner", "-m", "a tag of a tag"]);
    origin.write("b", b"later");
    origin.commit("second");
    let place = Place::new();
    let fetched = place.fetch(&origin.url(), &["tags/outer"]).unwrap();
    assert_eq!(paths(&fetched, "tags/outer"), ["a"]);
}

#[test]
fn the_default_branch_is_what_head_says() {
    let origin = Origin::with_file("a", "x");
    let place = Place::new();
    place.fetch(&origin.url(), &[]).unwrap();
    origin.git(&["branch", "-m", "main", "trunk"]);
    let renamed = place.fetch(&origin.url(), &[]).unwrap();
    assert_eq!(renamed.refs.default_branch().as_deref(), Some("trunk"));
    assert_eq!(names(&renamed.refs, &["*"]), ["trunk"], "the old name is gone");
    origin.git(&["checkout", "-q", "--detach"]);
    let detached = place.fetch(&origin.url(), &[]).unwrap();
    assert_eq!(detached.refs.default_branch(), None);
    assert_eq!(names(&detached.refs, &[]), ["HEAD"]);
    assert_eq!(paths(&detached, "HEAD"), ["a"]);
}

#[test]
fn an_empty_repository_is_no_error() {
    let origin = Origin::new();
    let place = Place::new();
    let fetched = place.fetch(&origin.url(), &["*"]).unwrap();
    assert_eq!(fetched.refs.default_branch(), None);
    assert!(names(&fetched.refs, &["HEAD", "*"]).is_empty());
    origin.write("a", b"x");
    origin.commit("first");
    let fetched = place.fetch(&origin.url(), &[]).unwrap();
    assert_eq!(paths(&fetched, "HEAD"), ["a"]);
}

#[test]
fn history_may_be_rewritten_deleted_and_replaced() {
    let origin = Origin::with_file("old.txt", "old");
    origin.git(&["branch", "gone"]);
    let place = Place::new();
    place.fetch(&origin.url(), &["*"]).unwrap();
    origin.git(&["branch", "-D", "gone"]);
    origin.git(&["checkout", "-q", "--orphan", "fresh"]);
    origin.git(&["rm", "-q", "-rf", "."]);
    origin.write("new.txt", b"new");
    origin.commit("unrelated");
    origin.git(&["branch", "-M", "fresh", "main"]);
    let fetched = place.fetch(&origin.url(), &["*"]).unwrap();
    assert_eq!(names(&fetched.refs, &["*"]), ["main"]);
    assert_eq!(paths(&fetched, "main"), ["new.txt"]);
}

#[test]
fn another_object_format_makes_another_mirror() {
    let origin = Origin::with_file("a", "x");
    let place = Place::new();
    place.fetch(&origin.url(), &[]).unwrap();
    fs::remove_dir_all(origin.path().join(".git")).unwrap();
    origin.git(&["init", "-q", "-b", "main", "--object-format=sha256"]);
    origin.commit("again");
    let fetched = place.fetch(&origin.url(), &[]).unwrap();
    assert_eq!(fetched.mirror.hash(), gix_hash_sha256(&fetched.mirror));
    let listed = crate::support::listed(&fetched, "HEAD");
    assert_eq!(listed[0].1.as_bytes().len(), 32);
}

fn gix_hash_sha256(mirror: &Mirror) -> gix::hash::Kind {
    assert!(fs::read_to_string(mirror.path().join("config")).unwrap().contains("sha256"));
    gix::hash::Kind::Sha256
}

#[test]
fn sha256_repositories_are_read() {
    let origin = Origin::with_format("sha256");
    origin.write("dir/a", b"x");
    origin.commit("loose");
    origin.pack();
    origin.write("dir/b", b"y");
    origin.commit("and packed");
    let place = Place::new();
    let fetched = place.fetch(&origin.url(), &[]).unwrap();
    assert_eq!(paths(&fetched, "HEAD"), ["dir/a", "dir/b"]);
}

#[test]
fn shallow_clones_and_alternates_are_read() {
    let origin = Origin::with_file("a", "x");
    origin.write("b", b"y");
    origin.commit("second");
    origin.git(&[
        "clone",
        "-q",
        "--bare",
        "--depth=1",
        &format!("file://{}", origin.url()),
        "shallow.git",
    ]);
    let shallow = origin.path().join("shallow.git");
    let place = Place::new();
    let fetched = place.fetch(shallow.to_str().unwrap(), &[]).unwrap();
    assert_eq!(paths(&fetched, "HEAD"), ["a", "b"]);
    assert!(
        fetched.notices.iter().any(|notice| notice.contains("shallow")),
        "{:?}",
        fetched.notices
    );

    origin.git(&["clone", "-q", "--bare", "--shared", ".", "shared.git"]);
    let shared = origin.path().join("shared.git");
    assert!(shared.join("objects/info/alternates").exists());
    let place = Place::new();
    let fetched = place.fetch(shared.to_str().unwrap(), &[]).unwrap();
    assert_eq!(paths(&fetched, "HEAD"), ["a", "b"]);
    assert!(!fetched.mirror.path().join("objects/info/alternates").exists());
}

#[test]
fn linked_working_trees_are_read() {
    let origin = Origin::with_file("a", "x");
    origin.git(&["worktree", "add", "-q", "-b", "side", "linked"]);
    let linked = origin.path().join("linked");
    fs::write(linked.join("side.txt"), "x").unwrap();
    git(&linked, &["add", "-A"]);
    git(&linked, &["commit", "-q", "-m", "side"]);
    let place = Place::new();
    let fetched = place.fetch(linked.to_str().unwrap(), &[]).unwrap();
    assert_eq!(fetched.refs.default_branch().as_deref(), Some("side"));
    assert_eq!(paths(&fetched, "HEAD"), ["a", "side.txt"]);
}

#[test]
fn a_working_tree_is_told_of() {
    let origin = Origin::with_file("a", "x");
    let place = Place::new();
    let fetched = place.fetch(&origin.url(), &[]).unwrap();
    assert!(fetched.notices.iter().any(|notice| notice.contains("only commits")));
}

#[test]
fn what_the_source_repacked_is_pruned() {
    let origin = Origin::with_file("a", "x");
    let place = Place::new();
    place.fetch(&origin.url(), &[]).unwrap();
    for number in 0..3 {
        origin.write(&format!("file{number}"), b"more");
        origin.commit("more");
        origin.pack();
        origin.git(&["prune-packed"]);
        let fetched = place.fetch(&origin.url(), &[]).unwrap();
        fetched.prune().unwrap();
        assert_eq!(paths(&fetched, "HEAD").len(), number + 2);
        assert_eq!(fetched.mirror.objects(1).unwrap().pack_count(), 1);
    }
}

#[test]
fn links_in_a_source_are_not_followed() {
    let origin = Origin::with_file("a", "x");
    let secret = origin.path().join("secret");
    fs::write(&secret, "not an object").unwrap();
    let objects = origin.path().join(".git/objects");
    let name = "aa".repeat(19);
    fs::create_dir_all(objects.join("aa")).unwrap();
    std::os::unix::fs::symlink(&secret, objects.join("aa").join(&name)).unwrap();
    let place = Place::new();
    let fetched = place.fetch(&origin.url(), &[]).unwrap();
    assert!(!fetched.mirror.path().join("objects/aa").join(&name).exists());
}

#[test]
fn hooks_and_commands_of_a_source_are_not_run() {
    use std::os::unix::fs::PermissionsExt;
    let origin = Origin::with_file("a", "x");
    let mark = origin.path().join("ran");
    let script = origin.path().join("script");
    fs::write(&script, format!("#!/bin/sh\ntouch {}\n", mark.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    for key in
        ["core.fsmonitor", "core.sshCommand", "uploadpack.packObjectsHook", "filter.x.smudge"]
    {
        origin.git(&["config", key, script]);
    }
    for hook in ["post-checkout", "reference-transaction", "post-rewrite"] {
        fs::copy(script, origin.path().join(".git/hooks").join(hook)).unwrap();
    }
    origin.write(".gitattributes", b"* filter=x\n");
    fs::write(origin.path().join(".git/info/attributes"), "* filter=x\n").unwrap();
    let place = Place::new();
    let fetched = place.fetch(&origin.url(), &["*"]).unwrap();
    assert_eq!(paths(&fetched, "HEAD"), ["a"]);
    assert!(!mark.exists(), "something of the repository was run");
}

#[test]
fn limits_hold() {
    let origin = Origin::new();
    let noise: Vec<u8> =
        (0..200_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
    origin.write("big", &noise);
    origin.commit("big");
    let place = Place::new();
    let config = GitConfig { max_repository_bytes: 100_000, ..test_git() };
    let error = place.fetch_with(&origin.url(), &[], &config).unwrap_err();
    assert!(matches!(error, GitError::TooLarge { limit: 100_000, .. }), "{error}");
    assert!(!place.home().exists());
}

#[test]
fn folders_that_are_no_repositories_are_told_apart() {
    let folder = tempfile::TempDir::new().unwrap();
    let error = Place::new().fetch(folder.path().to_str().unwrap(), &[]).unwrap_err();
    assert_eq!(error.code(), "not-a-git-repository");
    fs::create_dir_all(folder.path().join(".git/objects")).unwrap();
    fs::write(folder.path().join(".git/HEAD"), "nonsense\0").unwrap();
    let error = Place::new().fetch(folder.path().to_str().unwrap(), &[]).unwrap_err();
    assert_eq!(error.code(), "not-a-git-repository");
}

#[test]
fn leftovers_of_a_fetch_that_was_cut_off_do_not_count() {
    let origin = Origin::with_file("a", "x");
    origin.pack();
    let place = Place::new();
    let temporary = place.folder.path().join("tmp-mirror/objects/pack");
    fs::create_dir_all(&temporary).unwrap();
    fs::write(temporary.join("pack-half.pack"), "PACK").unwrap();
    let fetched = place.fetch(&origin.url(), &[]).unwrap();
    let packs = fetched.mirror.path().join("objects/pack");
    fs::write(packs.join("copying"), "half a pack").unwrap();
    fs::write(packs.join("pack-0123.pack"), "PACK").unwrap();
    let fetched = place.fetch(&origin.url(), &[]).unwrap();
    let left = fs::read_dir(&packs).unwrap().map(|entry| entry.unwrap().file_name());
    let odd: Vec<_> = left
        .filter(|name| {
            let name = name.as_bytes();
            name == b"copying" || name == b"pack-0123.pack"
        })
        .collect();
    assert!(odd.is_empty(), "{odd:?}");
    assert_eq!(paths(&fetched, "HEAD"), ["a"]);
}

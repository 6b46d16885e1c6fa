//! Listings and differences of commits, and reading what they list.

use std::collections::BTreeMap;
use std::fs;

use aeterna_index::{ContentId, ContentSource, FileEntry, FileKind, ReadError};
use aeterna_repo::git::{Difference, Fetched, MirrorSource, Trees};
use gix::hash::ObjectId;

use crate::support::{Origin, Place, git};

fn list(fetched: &Fetched, commit: &str) -> Vec<FileEntry> {
    let objects = fetched.mirror.objects(1 << 20).unwrap();
    let mut reader = objects.reader();
    let never = || false;
    let mut trees = Trees::new(&mut reader, 1 << 20, &never);
    trees.list(&id(commit)).unwrap().files
}

fn diff(fetched: &Fetched, old: &str, new: &str) -> Option<Difference> {
    let objects = fetched.mirror.objects(1 << 20).unwrap();
    let mut reader = objects.reader();
    let never = || false;
    Trees::new(&mut reader, 1 << 20, &never).diff(&id(old), &id(new)).unwrap()
}

fn id(hex: &str) -> ObjectId {
    ObjectId::from_hex(hex.as_bytes()).unwrap()
}

fn read(fetched: &Fetched, content: &ContentId, limit: u64) -> Result<Vec<u8>, ReadError> {
    let objects = fetched.mirror.objects(1 << 20).unwrap();
    let source = MirrorSource::new(&objects);
    let mut bytes = b"what was there before".to_vec();
    source.reader().unwrap().read(content, limit, &mut bytes)?;
    Ok(bytes)
}

fn by_path(files: Vec<FileEntry>) -> BTreeMap<Vec<u8>, (FileKind, ContentId)> {
    files.into_iter().map(|file| (file.path, (file.kind, file.content))).collect()
}

#[test]
fn strange_names_and_kinds_are_listed() {
    let origin = Origin::new();
    origin.write("plain", b"p");
    origin.write("new\nline", b"n");
    origin.write("deep/er/file", b"d");
    let latin = std::ffi::OsStr::new("x").to_owned();
    drop(latin);
    use std::os::unix::ffi::OsStrExt;
    let odd = std::ffi::OsStr::from_bytes(b"latin-\xe9");
    fs::write(origin.path().join(odd), "l").unwrap();
    std::os::unix::fs::symlink("plain", origin.path().join("link")).unwrap();
    origin.commit("files");
    let head = origin.head();
    origin.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},sub/module")]);
    origin.git(&["commit", "-q", "-m", "a submodule"]);
    let place = Place::new();
    let fetched = place.fetch(&origin.url(), &[]).unwrap();
    let files = by_path(list(&fetched, &origin.head()));
    let kinds: Vec<(&[u8], FileKind)> =
        files.iter().map(|(path, (kind, _))| (path.as_slice(), *kind)).collect();
    assert_eq!(
        kinds,
        [
            (b"deep/er/file".as_slice(), FileKind::File),
            (b"latin-\xe9", FileKind::File),
            (b"link", FileKind::Symlink),
            (b"new\nline", FileKind::File),
            (b"plain", FileKind::File),
            (b"sub/module", FileKind::Submodule),
        ]
    );
    assert_eq!(read(&fetched, &files[b"latin-\xe9".as_slice()].1, 10).unwrap(), b"l");
    assert_eq!(files[b"sub/module".as_slice()].1.to_string(), head);
}

#[test]
fn contents_are_the_same_packed_deltified_and_loose() {
    let origin = Origin::new();
    let mut text = String::new();
    let mut versions = Vec::new();
    for round in 0..40 {
        for line in 0..60 {
            text.push_str(&format!("round {round} line {line} {}\n", line * round));
        }
        origin.write("growing.txt", text.as_bytes());
        origin.write("constant", b"c");
        versions.push((origin.commit("more"), text.clone().into_bytes()));
    }
    origin.git(&["repack", "-q", "-a", "-d", "-f", "--depth=30", "--window=30"]);
    let last = versions.pop().unwrap();
    let place = Place::new();
    let fetched = place.fetch(&origin.url(), &[]).unwrap();
    for (commit, expected) in versions.iter().chain([&last]) {
        let files = by_path(list(&fetched, commit));
        let content = files[b"growing.txt".as_slice()].1;
        assert_eq!(&read(&fetched, &content, 1 << 20).unwrap(), expected);
        let size = expected.len() as u64;
        let refused = read(&fetched, &content, size - 1);
        assert!(matches!(refused, Err(ReadError::TooLarge(found)) if found == size));
    }
    let objects = fetched.mirror.objects(1).unwrap();
    let source = MirrorSource::new(&objects);
    let places: Vec<u64> = versions
        .iter()
        .map(|(commit, _)| {
            source.locality(&by_path(list(&fetched, commit))[b"growing.txt".as_slice()].1)
        })
        .collect();
    assert!(places.iter().all(|place| *place > 0), "{places:?}");
    let distinct: std::collections::BTreeSet<_> = places.iter().collect();
    assert_eq!(distinct.len(), places.len());
}

#[test]
fn differences_lead_from_one_listing_to_the_other() {
    let origin = Origin::new();
    for name in ["a", "b", "dir/x", "dir/y", "dir/sub/z", "becomes-folder", "becomes-file/in"] {
        origin.write(name, name.as_bytes());
    }
    let old = origin.commit("old");
    origin.write("b", b"changed");
    origin.write("dir/sub/new", b"new");
    origin.git(&["rm", "-q", "-r", "dir/x", "becomes-folder", "becomes-file"]);
    origin.write("becomes-folder/in", b"1");
    origin.write("becomes-file", b"2");
    origin.git(&["mv", "dir/y", "dir/moved"]);
    let new = origin.commit("new");
    origin.git(&["update-index", "--chmod=+x", "a"]);
    origin.git(&["commit", "-q", "-m", "executable"]);
    let place = Place::new();
    let fetched = place.fetch(&origin.url(), &[]).unwrap();
    let difference = diff(&fetched, &old, &new).unwrap();
    let mut files = by_path(list(&fetched, &old));
    for (path, content) in difference.removed {
        let (_, had) = files.remove(&path).expect("a removed path was there");
        assert_eq!(had, content);
    }
    for file in difference.added {
        let before = files.insert(file.path.clone(), (file.kind, file.content));
        assert!(before.is_none(), "{:?} is added over another", file.path);
    }
    assert_eq!(files, by_path(list(&fetched, &new)));
    let nothing = diff(&fetched, &new, &origin.head()).unwrap();
    assert!(nothing.removed.is_empty() && nothing.added.is_empty(), "{nothing:?}");
}

#[test]
fn a_difference_costs_what_changed() {
    let origin = Origin::new();
    for number in 0..300 {
        origin.write(&format!("folder{}/file{number}", number % 10), b"same");
    }
    let old = origin.commit("many");
    origin.write("folder3/one", b"one");
    let new = origin.commit("one");
    let place = Place::new();
    let fetched = place.fetch(&origin.url(), &[]).unwrap();
    let difference = diff(&fetched, &old, &new).unwrap();
    assert!(difference.removed.is_empty());
    assert_eq!(difference.added.len(), 1);
}

#[test]
fn other_attributes_or_a_lost_base_need_a_whole_listing() {
    let origin = Origin::with_file("dir/a", "x");
    let first = origin.head();
    origin.write("dir/.gitattributes", b"*.x linguist-language=Rust\n");
    let second = origin.commit("attributes");
    origin.write("dir/b", b"y");
    let third = origin.commit("more");
    let place = Place::new();
    let fetched = place.fetch(&origin.url(), &[]).unwrap();
    assert!(diff(&fetched, &first, &second).is_none());
    assert!(diff(&fetched, &second, &third).is_some());
    assert!(diff(&fetched, &"1".repeat(40), &third).is_none());
}

#[test]
fn what_is_missing_or_damaged_is_left_out_alone() {
    let origin = Origin::new();
    origin.write("good", b"good");
    origin.write("lost", b"lost");
    origin.write("broken", &b"a text that is long enough to be cut\n".repeat(50));
    origin.write("gone/below/file", b"below");
    let commit = origin.commit("files");
    let object = |spec: &str| origin.git(&["rev-parse", &format!("HEAD:{spec}")]);
    fs::remove_file(origin.loose(&object("lost"))).unwrap();
    fs::remove_file(origin.loose(&object("gone"))).unwrap();
    let broken = origin.loose(&object("broken"));
    let bytes = fs::read(&broken).unwrap();
    fs::remove_file(&broken).unwrap();
    fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    let gone = object("gone");
    let place = Place::new();
    let fetched = place.fetch(&origin.url(), &[]).unwrap();
    let files = by_path(list(&fetched, &commit));
    assert_eq!(files.len(), 4, "{files:?}");
    let reading = |path: &str| read(&fetched, &files[path.as_bytes()].1, 1 << 20);
    assert_eq!(reading("good").unwrap(), b"good");
    assert!(matches!(reading("lost"), Err(ReadError::Missing)));
    assert!(matches!(reading("broken"), Err(ReadError::Corrupt(_))));
    assert_eq!(files[b"gone".as_slice()].1.to_string(), gone);
    assert!(matches!(reading("gone"), Err(ReadError::Missing)));
}

#[test]
fn a_damaged_pack_loses_its_damaged_objects_alone() {
    let origin = Origin::new();
    for number in 0..50 {
        origin.write(
            &format!("file{number:02}"),
            format!("content {number}\n").repeat(200).as_bytes(),
        );
    }
    let commit = origin.commit("files");
    origin.pack();
    let place = Place::new();
    let fetched = place.fetch(&origin.url(), &[]).unwrap();
    let files = by_path(list(&fetched, &commit));
    let objects = fetched.mirror.objects(1).unwrap();
    let offset =
        MirrorSource::new(&objects).locality(&files[b"file25".as_slice()].1) & ((1 << 40) - 1);
    drop(objects);
    let packs = fetched.mirror.path().join("objects/pack");
    let pack = fs::read_dir(&packs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "pack"))
        .unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    for byte in &mut bytes[offset as usize + 6..offset as usize + 12] {
        *byte ^= 0xff;
    }
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, bytes).unwrap();
    let mut unreadable = Vec::new();
    for (path, (_, content)) in &files {
        match read(&fetched, content, 1 << 20) {
            Ok(_) => {}
            Err(ReadError::Corrupt(_)) => unreadable.push(path.clone()),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(unreadable.contains(&b"file25".to_vec()), "{unreadable:?}");
    assert!(unreadable.len() < files.len() / 2, "{unreadable:?}");
}

#[test]
fn a_pack_that_is_cut_off_is_told_of_and_the_rest_read() {
    let origin = Origin::with_file("a", "x");
    origin.pack();
    let place = Place::new();
    let fetched = place.fetch(&origin.url(), &[]).unwrap();
    let packs = fetched.mirror.path().join("objects/pack");
    fs::write(packs.join("pack-1111.pack"), "PACK").unwrap();
    fs::write(packs.join("pack-1111.idx"), "nonsense").unwrap();
    let objects = fetched.mirror.objects(1).unwrap();
    assert_eq!(objects.damaged().len(), 1);
    assert_eq!(objects.pack_count(), 1);
}

#[test]
fn a_hundred_thousand_files_in_a_folder_are_listed() {
    let origin = Origin::new();
    let blob = {
        origin.write("one", b"same");
        origin.git(&["hash-object", "-w", "one"])
    };
    let mut input = String::new();
    for number in 0..100_000 {
        input.push_str(&format!("100644 blob {blob}\tfile{number:06}\n"));
    }
    let list_file = origin.path().join("list");
    fs::write(&list_file, input).unwrap();
    let tree = std::process::Command::new("git")
        .arg("mktree")
        .current_dir(origin.path())
        .stdin(fs::File::open(&list_file).unwrap())
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    let commit = git(origin.path(), &["commit-tree", tree.trim(), "-m", "many"]);
    origin.git(&["update-ref", "refs/heads/main", &commit]);
    let place = Place::new();
    let fetched = place.fetch(&origin.url(), &[]).unwrap();
    let files = list(&fetched, &commit);
    assert_eq!(files.len(), 100_000);
    let never = || false;
    let objects = fetched.mirror.objects(1).unwrap();
    let mut reader = objects.reader();
    let limited = Trees::new(&mut reader, 50_000, &never).list(&id(&commit));
    assert_eq!(limited.unwrap_err().code(), "repository-too-large");
}

#[test]
fn names_that_no_path_can_have_are_left_out() {
    let origin = Origin::with_file("good", "x");
    let blob = origin.git(&["rev-parse", "HEAD:good"]);
    let mut tree = Vec::new();
    for name in ["a/b", "good"] {
        tree.extend_from_slice(format!("100644 {name}\0").as_bytes());
        tree.extend_from_slice(id(&blob).as_bytes());
    }
    fs::write(origin.path().join("tree"), tree).unwrap();
    let tree = origin.git(&["hash-object", "-w", "-t", "tree", "--literally", "tree"]);
    let commit = origin.git(&["commit-tree", &tree, "-m", "hostile"]);
    origin.git(&["update-ref", "refs/heads/main", &commit]);
    let place = Place::new();
    let fetched = place.fetch(&origin.url(), &[]).unwrap();
    let files = list(&fetched, &commit);
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].path, b"good");
}

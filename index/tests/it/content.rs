//! Contents and paths that are hard, and what is left out.

use std::time::{Duration, Instant};

use aeterna_index::search::{Limits, SearchRequest, SkipReason};
use aeterna_index::{FileKind, NoProgress, OmitReason, ShardOptions, ShardSet};

use crate::support::{
    Memory, Stored, all, file, id_of, index, info, open, path, paths, replace, request, search,
    skips,
};

#[test]
fn encodings_and_line_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source, repository) = (open(folder.path()), Memory::default(), info(1, "a/b"));
    let utf16: Vec<u8> = [0xff, 0xfe]
        .into_iter()
        .chain("größe\r\nmaß\r\n".encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
    index(
        &set,
        &source,
        &repository,
        &[
            ("latin1.txt", b"caf\xe9 needle\n"),
            ("utf16.txt", &utf16),
            ("crlf.txt", b"one needle\r\ntwo\r\n"),
            ("no-feed.txt", b"last needle"),
            ("empty.txt", b""),
            ("binary.bin", b"needle\0needle"),
        ],
    );
    assert_eq!(paths(&all(&set, "needle")), ["crlf.txt", "latin1.txt", "no-feed.txt"]);
    assert_eq!(paths(&all(&set, "größe")), ["utf16.txt"]);
    assert_eq!(paths(&all(&set, "/^maß$/")), ["utf16.txt"]);
    assert_eq!(paths(&all(&set, "content:/needle$/")), ["crlf.txt", "latin1.txt", "no-feed.txt"]);
    assert_eq!(paths(&all(&set, "type:path empty")), ["empty.txt"]);
    let binary = all(&set, "binary");
    assert_eq!(paths(&binary), ["binary.bin"], "its path is searched");
    assert!(skips(&binary, SkipReason::FileNotIndexed) && binary.complete);
}

#[test]
fn a_line_of_many_megabytes() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source, repository) = (open(folder.path()), Memory::default(), info(1, "a/b"));
    let mut line = vec![b'x'; 20 << 20];
    let at = (10 << 20) - 3;
    line[at..at + 6].copy_from_slice(b"needle");
    // A unit ends here, within the second one.
    let cut = (64 << 10) - 3;
    line[cut..cut + 6].copy_from_slice(b"needle");
    index(&set, &source, &repository, &[("one-line.txt", &line), ("other.txt", b"nothing\n")]);
    for query in ["content:needle", "content:/ne+dle/", "content:/x(?-u:needle)x/"] {
        let response = all(&set, query);
        assert_eq!(response.results.len(), 1, "{query}");
        assert_eq!(response.counts.matches.value, 2, "{query}");
        let chunk = &response.results[0].chunks[0];
        assert!(chunk.cut && chunk.content.len() <= 4 * Limits::default().line_bytes);
        assert_eq!(chunk.ranges[0].start.line, 1);
    }
    let starts: Vec<u64> = all(&set, "content:needle").results[0]
        .chunks
        .iter()
        .flat_map(|chunk| chunk.ranges.iter().map(|range| range.start.offset))
        .collect();
    assert_eq!(starts, [cut as u64, at as u64]);
}

#[test]
fn a_hundred_megabytes_and_random_text() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source, repository) = (open(folder.path()), Memory::default(), info(1, "a/b"));
    let mut large = b"a line of plain text that is repeated\n".repeat((100 << 20) / 38);
    large.extend_from_slice(b"the needle\n");
    let mut random = crate::support::Random(7);
    let noise: Vec<u8> = (0..1 << 20).map(|_| b'!' + (random.next() % 90) as u8).collect();
    let noisy: Vec<u8> = noise.iter().copied().chain(*b"needle").collect();
    index(&set, &source, &repository, &[("large.txt", &large), ("noise.txt", &noisy)]);
    let response = all(&set, "content:needle");
    assert_eq!(paths(&response), ["large.txt", "noise.txt"]);
    let of_large = response.results.iter().find(|result| path(result) == "large.txt").unwrap();
    let lines = large.iter().filter(|byte| **byte == b'\n').count() as u32;
    assert_eq!(of_large.chunks[0].ranges[0].start.line, lines);
    let known = String::from_utf8_lossy(&noise[500_000..500_012]).replace(['"', '\\'], ".");
    let query = format!("content:\"{known}\" case:yes");
    let expected = !noise[500_000..500_012].iter().any(|byte| matches!(byte, b'"' | b'\\'));
    assert_eq!(all(&set, &query).results.len(), usize::from(expected), "{query}");
}

#[test]
fn a_deadline_holds_within_a_document() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source, repository) = (open(folder.path()), Memory::default(), info(1, "a/b"));
    let text = b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n".repeat(1 << 20);
    index(&set, &source, &repository, &[("a.txt", &text)]);
    let limits = Limits { deadline: Duration::from_millis(50), ..Limits::default() };
    let started = Instant::now();
    let asked = SearchRequest { limits, ..request("content:/(?:a|aa|aaa)+b/ count:all") };
    let response = search(&set, &asked).unwrap();
    assert!(!response.complete && skips(&response, SkipReason::ShardTimeout));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn paths_of_any_bytes_and_many_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source, repository) = (open(folder.path()), Memory::default(), info(1, "a/b"));
    let content = source.put(b"the same needle\n");
    let mut files: Vec<_> =
        (0..100_000).map(|number| file(format!("many/{number:06}.txt"), content)).collect();
    files.push(file(b"bad-\xff-name.txt", content));
    files.push(file("two\nlines.txt", content));
    let update = replace(&repository, "1", files);
    let applied = set.shard_of(repository.id).apply(&update, &source, &NoProgress).unwrap();
    assert_eq!((applied.documents_added, applied.contents), (100_002, 1), "stored once");
    assert_eq!(all(&set, "needle").counts.documents.value, 100_002);
    let bad = all(&set, "type:path bad-");
    assert_eq!(bad.results[0].path, b"bad-\xff-name.txt");
    assert_eq!(all(&set, "path:lines.txt needle").results[0].path, b"two\nlines.txt");
    assert_eq!(paths(&all(&set, "path:many/012345 needle")), ["many/012345.txt"]);
}

#[test]
fn what_is_left_out_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let options = ShardOptions { max_file_bytes: 1_000, ..crate::support::options() };
    let set = ShardSet::open(folder.path(), 2, options).unwrap();
    let (source, repository) = (Memory::default(), info(1, "a/b"));
    let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n";
    let (missing, corrupt) = (id_of(b"missing needle"), id_of(b"corrupt"));
    source.set(missing, Stored::Missing);
    source.set(corrupt, Stored::Corrupt);
    let mut files = vec![
        file("binary", source.put(b"\0needle")),
        file("corrupt", corrupt),
        file("lfs", source.put(lfs)),
        file("link", source.put(b"target")),
        file("missing", missing),
        file("module", source.put(b"a commit")),
        file("text", source.put(b"needle")),
        file("too-large", source.put(&b"needle\n".repeat(1_000))),
    ];
    files[3].kind = FileKind::Symlink;
    files[5].kind = FileKind::Submodule;
    let shard = set.shard_of(repository.id);
    shard.apply(&replace(&repository, "1", files.clone()), &source, &NoProgress).unwrap();
    let omitted = shard.omitted(repository.id, None, 100).unwrap();
    let found: Vec<_> = omitted
        .iter()
        .map(|file| (String::from_utf8_lossy(&file.path).into_owned(), file.reason))
        .collect();
    let expected = [
        ("binary", OmitReason::Binary),
        ("corrupt", OmitReason::Corrupt),
        ("lfs", OmitReason::LfsPointer),
        ("link", OmitReason::Symlink),
        ("missing", OmitReason::Missing),
        ("module", OmitReason::Submodule),
        ("too-large", OmitReason::TooLarge),
    ];
    assert_eq!(found, expected.map(|(path, reason)| (path.to_owned(), reason)));
    assert_eq!(omitted[0].revisions, ["main"]);
    assert_eq!(shard.omitted(repository.id, Some(b"link"), 1).unwrap()[0].path, b"missing");
    assert_eq!(paths(&all(&set, "content:needle")), ["text"]);

    // What is there by now is picked up, though its path and id are the same.
    source.set(missing, Stored::Bytes(b"missing needle".to_vec()));
    shard.apply(&replace(&repository, "2", files), &source, &NoProgress).unwrap();
    assert_eq!(paths(&all(&set, "content:needle")), ["missing", "text"]);
}

#[test]
fn a_source_that_fails_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source, repository) = (open(folder.path()), Memory::default(), info(1, "a/b"));
    index(&set, &source, &repository, &[("a", b"needle")]);
    let failing = id_of(b"failing");
    source.set(failing, Stored::Failing);
    let update = replace(&repository, "2", vec![file("b", failing)]);
    let shard = set.shard_of(repository.id);
    shard.apply(&update, &source, &NoProgress).unwrap_err();
    assert_eq!(shard.revisions(repository.id).unwrap()["main"], "c0ffee");
    assert_eq!(paths(&all(&set, "needle")), ["a"]);
}

//! Contents and paths that are hard: encodings, sizes, and what cannot be read.

use std::time::{Duration, Instant};

use aeterna_index::search::{SearchError, SearchRequest, SkipReason};
use aeterna_index::{
    ContentId, FileEntry, FileKind, NoProgress, OmitReason, OmittedFile, ShardOptions, ShardSet,
    ShardStats,
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::support::{
    Memory, Random, Stored, all, file, index, info, open, options, paths, replace, request, search,
    settle, skips,
};

/// What the content of one file is found as: the queries that find it and those that do not.
fn finds(bytes: &[u8], found: &[&str], not: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    index(&set, &source, &info(1, "a/b"), &[("the-file", bytes), ("other", b"nothing here")]);
    for query in found {
        assert_eq!(paths(&all(&set, query)), ["the-file"], "{query}");
    }
    for query in not {
        assert_eq!(paths(&all(&set, query)), [""; 0], "{query}");
    }
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let mark = '\u{feff}'.encode_utf16(&mut [0; 2]).to_vec();
    mark.into_iter().chain(text.encode_utf16()).flat_map(bytes).collect()
}

#[test]
fn latin_1_is_searched_as_bytes() {
    let text = b"// caf\xe9 cr\xe8me\nna\xefve = 1;\n";
    finds(
        text,
        &["\"caf\"", r"/caf(?-u:\xe9)/", r"/na(?-u:.)ve/", "\"ve = 1;\""],
        &["\"café\"", "/na.ve/", "content:/^naïve/"],
    );
}

#[test]
fn utf_16_with_a_mark_is_searched_as_text() {
    let text = "first: größe\r\nsecond: 日本語 😀\r\n";
    for bytes in [utf16(text, u16::to_le_bytes), utf16(text, u16::to_be_bytes)] {
        finds(
            &bytes,
            &[
                "\"größe\"",
                "GRÖSSE OR GRÖßE",
                "/größe$/",
                "/^second: 日本/",
                "\"日本語 😀\"",
                r"/ß.\r\n/",
            ],
            &["\"\u{feff}first\"", "content:/größe.second/"],
        );
    }
}

#[test]
fn utf_16_without_a_mark_and_nul_bytes_are_binary() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let repository = info(1, "a/b");
    let bare = &utf16("plain", u16::to_le_bytes)[2..];
    index(
        &set,
        &source,
        &repository,
        &[("bare", bare), ("elf", b"\x7fELF\0plain"), ("t", b"plain")],
    );
    let response = all(&set, "plain");
    assert_eq!(paths(&response), ["t"]);
    assert!(skips(&response, SkipReason::FileNotIndexed), "{:?}", response.skipped);
    assert_eq!(paths(&all(&set, "file:elf")), ["elf"], "its path is searched");
    let omitted = set.shard_of(repository.id).unwrap().omitted(repository.id, None, 10).unwrap();
    let listed: Vec<_> = omitted.iter().map(|file| (&file.path[..], file.reason)).collect();
    assert_eq!(listed, [(&b"bare"[..], OmitReason::Binary), (b"elf", OmitReason::Binary)]);
}

#[test]
fn line_ends_of_all_kinds() {
    finds(
        b"one\r\ntwo\r\nthree",
        &[
            "/one$/",
            "/^two$/",
            "/^three$/",
            r"/one\r\n/",
            "/three\\z/",
            r"/one\s+two/",
            "\"one\r\ntwo\"",
        ],
        &["/one.two/", "\"one\ntwo\"", "/three\\n/", "/^one two/"],
    );
    finds(b"a\rb", &["/^b/", "/a$/"], &["/a.b/"]);
}

#[test]
fn empty_files_and_empty_matches() {
    finds(
        b"",
        &["file:^the content:/^$/", r"content:/\A\z/"],
        &["file:^the content:/./", "content:x"],
    );
    finds(b"\n", &[r"content:/\A\n\z/"], &["file:^the content:/./"]);
}

/// Bytes of a line of [`hundred_megabytes`].
const LINE: usize = 50;

/// 100 MB of short lines, each different.
fn hundred_megabytes() -> Vec<u8> {
    let mut text = Vec::with_capacity(105 << 20);
    let mut number = 0u32;
    while text.len() < 100 << 20 {
        text.extend_from_slice(
            format!("{number:08x} the line of that number, and of no other\n").as_bytes(),
        );
        number += 1;
    }
    text.extend_from_slice(b"the very last words, without a line end");
    text
}

#[test]
fn a_file_of_a_hundred_megabytes() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let text = hundred_megabytes();
    index(&set, &source, &info(1, "a/b"), &[("big.log", &text)]);
    for (query, at) in [
        ("\"00000000 the line\"", 0),
        ("\"00100000 the line\"", 0x0010_0000 * LINE),
        ("/last words, without a line end\\z/", text.len() - 30),
    ] {
        let response = all(&set, query);
        assert_eq!(response.counts.matches.value, 1, "{query}");
        assert_eq!(response.results[0].chunks[0].ranges[0].start.offset, at as u64, "{query}");
    }
    let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64;
    let response = all(&set, "\"the line of that\"");
    assert_eq!(response.counts.matches.value, lines);
    assert_eq!(response.results[0].match_count, lines);
    let shown: usize = response.results[0].chunks.iter().map(|chunk| chunk.ranges.len()).sum();
    assert_eq!(shown, 1_000, "as many ranges as are returned of one document");
}

#[test]
fn one_line_of_fifty_megabytes() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let mut text = b"var x=[1,2,3],".repeat((50 << 20) / 14);
    let middle = (400 << 16) - 5;
    text[middle..middle + 11].copy_from_slice(b"needle_here");
    index(&set, &source, &info(1, "a/b"), &[("one-line.js", &text)]);
    for query in ["needle_here", "/needle_[a-z]{4}/", "/3\\],.{0,14}needle/", "/(?i)E_HERE/"] {
        let response = all(&set, query);
        assert_eq!(response.counts.matches.value, 1, "{query}");
        let chunk = &response.results[0].chunks[0];
        assert!(chunk.cut && chunk.content.len() <= 2_048, "{query}: {}", chunk.content.len());
        assert!(chunk.content.windows(11).any(|window| window == b"needle_here"), "{query}");
        let start = chunk.ranges[0].start;
        assert_eq!((start.line, u64::from(start.column)), (1, start.offset + 1), "{query}");
    }
}

#[test]
fn the_time_limit_holds_within_one_long_line() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let mut random = Random(1);
    let text: Vec<u8> = (0..20 << 20).map(|_| b'a' + random.below(2) as u8).collect();
    index(&set, &source, &info(1, "a/b"), &[("slow", &text)]);
    // So many states that each byte costs a lot.
    let query = "content:/[ab]{0,90}a[ab]{90}[^ab]/ timeout:200ms";
    let started = Instant::now();
    let response = search(&set, &request(query)).unwrap();
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
    assert!(!response.complete && skips(&response, SkipReason::ShardTimeout), "{response:?}");
}

#[test]
fn what_was_found_before_a_limit_is_returned() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let text = b"needle in the hay\n".repeat(1_000);
    let names: Vec<String> = (0..200).map(|number| format!("file-{number}")).collect();
    // Each its own content: the same one would be verified once.
    let texts: Vec<Vec<u8>> =
        names.iter().map(|name| [name.as_bytes(), b"\n", text.as_slice()].concat()).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().zip(&texts).map(|(name, text)| (name.as_str(), text.as_slice())).collect();
    index(&set, &source, &info(1, "a/b"), &files);
    for query in ["needle count:all", "needle"] {
        let mut limited = request(query);
        limited.page_size = 150;
        limited.limits.matches = 100_500;
        let few_matches = search(&set, &limited).unwrap();
        limited.limits.matches = u64::MAX;
        limited.limits.bytes = 2 << 20;
        let few_bytes = search(&set, &limited).unwrap();
        for response in [few_matches, few_bytes] {
            assert!(!response.complete && skips(&response, SkipReason::MatchLimit), "{query}");
            let counted = usize::try_from(response.counts.documents.value).unwrap();
            assert!((50..150).contains(&counted), "{query}: {counted}");
            assert_eq!(response.results.len(), counted, "{query}");
            assert!(response.results.iter().all(|result| !result.chunks.is_empty()), "{query}");
        }
    }
}

/// Half a million different trigrams.
fn many_trigrams() -> Vec<u8> {
    let letters: Vec<u8> = (0x21u8..0x7f).filter(|byte| !byte.is_ascii_uppercase()).collect();
    let mut text = Vec::new();
    for a in &letters {
        for b in &letters {
            for c in &letters {
                text.extend([*a, *b, *c, b'\n']);
            }
        }
    }
    text.extend(
        (0..200_000u32)
            .flat_map(|n| char::from_u32(0x4e00 + n % 20_000).unwrap().to_string().into_bytes()),
    );
    text
}

#[test]
fn a_file_with_half_a_million_trigrams() {
    let text = many_trigrams();
    finds(
        &text,
        &["\"~~~\"", "/^!a0$/", "\"\u{4e02}\u{4e03}\u{4e04}\""],
        &["\"~~~~\"", "/^ABC~$/"],
    );
}

#[test]
fn a_hundred_thousand_files_in_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let repository = info(1, "a/b");
    let shared: Vec<ContentId> =
        (0..100).map(|n| source.put(format!("shared {n}\n").as_bytes())).collect();
    let mut files: Vec<FileEntry> = (0..100_000)
        .map(|n| file(format!("folder/file-{n:06}.txt"), shared[n % shared.len()]))
        .collect();
    files[77_777].content = source.put(b"the only one\n");
    let shard = set.shard_of(repository.id).unwrap();
    shard.apply(&replace(&repository, "1", files), &source, &NoProgress).unwrap();
    assert_eq!(paths(&all(&set, "\"the only one\"")), ["folder/file-077777.txt"]);
    assert_eq!(paths(&all(&set, "file:098765")), ["folder/file-098765.txt"]);
    let request = SearchRequest { chunks: false, ..request("\"shared 42\" count:all") };
    let response = search(&set, &request).unwrap();
    assert_eq!(response.counts.documents.value, 1_000);
    assert_eq!(response.results.len(), 1_000);
    assert_eq!(shard.stats().contents, 101, "each content is there once");
}

#[test]
fn paths_of_any_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let repository = info(1, "a/b");
    let content = source.put(b"text\n");
    let odd: [&[u8]; 5] = [
        b"latin/caf\xe9.txt",
        b"new\nline/x",
        "größe/日本.rs".as_bytes(),
        b"tab\there",
        b"\xff\xfe",
    ];
    let files = odd.iter().map(|path| file(path, content)).collect();
    let shard = set.shard_of(repository.id).unwrap();
    shard.apply(&replace(&repository, "1", files), &source, &NoProgress).unwrap();
    for (query, path) in [
        (r"file:/caf(?-u:\xe9)/", odd[0]),
        ("path:latin", odd[0]),
        ("file:/^new\\nline/", odd[1]),
        ("file:/^line/", odd[1]),
        ("path:GRÖßE", odd[2]),
        ("path:*.rs", odd[2]),
        ("file:/\\t/", odd[3]),
        (r"file:/(?-u:\xff\xfe)/", odd[4]),
    ] {
        let response = all(&set, query);
        let found: Vec<_> = response.results.iter().map(|result| &result.path[..]).collect();
        assert_eq!(found, [path], "{query}");
    }
    assert_eq!(all(&set, "content:text").results.len(), odd.len());
}

/// One file for each reason to leave a content out, and the reason.
fn left_out(source: &Memory) -> Vec<(FileEntry, OmitReason)> {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    let unreadable = |seed: &[u8], stored| {
        let id = source.put(seed);
        source.set(id, stored);
        id
    };
    let mut link = file("link", source.put(b"target/of/link"));
    link.kind = FileKind::Symlink;
    let mut module = file("module", source.put(b"a commit"));
    module.kind = FileKind::Submodule;
    vec![
        (file("binary", source.put(b"a\0b")), OmitReason::Binary),
        (file("corrupt", unreadable(b"1", Stored::Corrupt)), OmitReason::Corrupt),
        (file("large", source.put(&b"large ".repeat(400))), OmitReason::TooLarge),
        (file("lfs.bin", source.put(pointer)), OmitReason::LfsPointer),
        (link, OmitReason::Symlink),
        (file("missing", unreadable(b"2", Stored::Missing)), OmitReason::Missing),
        (module, OmitReason::Submodule),
    ]
}

fn open_with_small_files(folder: &std::path::Path) -> ShardSet {
    let options = ShardOptions { max_file_bytes: 2_000, ..options() };
    ShardSet::open(folder, 1, options).unwrap()
}

#[test]
fn what_is_left_out_is_listed_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let source = Memory::default();
    let mut set = open_with_small_files(folder.path());
    let repository = info(1, "a/b");
    let files = left_out(&source);
    let mut listing: Vec<FileEntry> = files.iter().map(|(entry, _)| entry.clone()).collect();
    listing.push(file("good", source.put(b"text\n")));
    let shard = set.shard_of(repository.id).unwrap();
    let applied = shard.apply(&replace(&repository, "1", listing), &source, &NoProgress).unwrap();
    assert_eq!((applied.documents_added, applied.omitted), (8, 7));
    let wanted: Vec<OmittedFile> = files
        .iter()
        .map(|(entry, reason)| OmittedFile {
            path: entry.path.clone(),
            reason: *reason,
            revisions: vec!["main".to_owned()],
        })
        .collect();
    let omitted = |set: &ShardSet, after: Option<&[u8]>, limit| {
        set.shard_of(repository.id).unwrap().omitted(repository.id, after, limit).unwrap()
    };
    assert_eq!(omitted(&set, None, 100), wanted);
    assert_eq!(omitted(&set, None, 2), wanted[..2], "the first page");
    assert_eq!(omitted(&set, Some(b"corrupt"), 3), wanted[2..5], "the page behind it");
    index(&set, &source, &info(2, "a/c"), &[("x", b"x")]);
    settle(&set);
    drop(set);
    set = open_with_small_files(folder.path());
    assert_eq!(omitted(&set, None, 100), wanted, "after a merge and a restart");
    for (entry, _) in &files {
        let path = String::from_utf8(entry.path.clone()).unwrap();
        assert_eq!(paths(&all(&set, &format!("file:^{path}$"))), [path]);
    }
    assert_eq!(paths(&all(&set, "repo:a/b content:/./")), ["good"]);
}

#[test]
fn what_could_not_be_read_is_read_when_it_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let repository = info(1, "a/b");
    let shard = set.shard_of(repository.id).unwrap();
    let (bytes, id) = (b"here at last\n", crate::support::id_of(b"here at last\n"));
    let files = || vec![file("late", id), file("good", source.put(b"good\n"))];
    for stored in [Stored::Missing, Stored::Corrupt] {
        source.set(id, stored);
        shard.apply(&replace(&repository, "1", files()), &source, &NoProgress).unwrap();
        assert_eq!(shard.omitted(repository.id, None, 9).unwrap().len(), 1);
        assert_eq!(all(&set, "repo:a/b").counts.documents.value, 2);
        settle(&set);
    }
    source.put(bytes);
    let applied = shard.apply(&replace(&repository, "1", files()), &source, &NoProgress).unwrap();
    assert_eq!(applied.documents_added, 1, "what could be read before is not read again");
    assert_eq!(paths(&all(&set, "\"here at last\"")), ["late"]);
    assert_eq!(shard.omitted(repository.id, None, 9).unwrap(), []);
    assert_eq!(all(&set, "repo:a/b").counts.documents.value, 2, "and it is there once");
}

#[test]
fn a_source_that_fails_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let repository = info(1, "a/b");
    index(&set, &source, &repository, &[("old", b"old text\n")]);
    let before = crate::support::files_of(&folder.path().join("0000"));
    let id = source.put(b"new");
    source.set(id, Stored::Failing);
    let update = replace(&repository, "2", vec![file("new", id)]);
    let error =
        set.shard_of(repository.id).unwrap().apply(&update, &source, &NoProgress).unwrap_err();
    assert!(error.to_string().contains("the disk is gone"), "{error}");
    assert_eq!(paths(&all(&set, "repo:a/b")), ["old"]);
    assert_eq!(
        crate::support::files_of(&folder.path().join("0000")),
        before,
        "and no file is left"
    );
}

#[test]
fn ids_of_both_lengths_live_together() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (ShardSet::open(folder.path(), 1, options()).unwrap(), Memory::default());
    let long = ContentId::from_bytes(&[7; 32]).unwrap();
    source.set(long, Stored::Bytes(b"under a long id\n".to_vec()));
    let (one, two) = (info(1, "a/sha1"), info(2, "a/sha256"));
    index(&set, &source, &one, &[("short", b"under a short id\n"), ("stays", b"stays\n")]);
    let update = replace(&two, "1", vec![file("long", long)]);
    set.shard_of(two.id).unwrap().apply(&update, &source, &NoProgress).unwrap();
    assert_eq!(settle(&set).1, 1, "both are merged");
    let response = all(&set, "under");
    assert_eq!(paths(&response), ["long", "short"]);
    for result in &response.results {
        let length = if result.path == b"long" { 32 } else { 20 };
        assert_eq!(result.content.unwrap().as_bytes().len(), length);
    }
    let applied = index_again(&set, &source, &one);
    assert_eq!(applied.documents_added, 0, "what the index has is found again by its id");
    assert_eq!(applied.documents_removed, 1);
}

fn index_again(
    set: &ShardSet,
    source: &Memory,
    repository: &aeterna_index::RepositoryInfo,
) -> aeterna_index::Applied {
    let update = replace(repository, "2", vec![file("stays", source.put(b"stays\n"))]);
    set.shard_of(repository.id).unwrap().apply(&update, source, &NoProgress).unwrap()
}

/// One of the sentences that contents are made of: nothing repeats within one.
fn sentence(number: u64) -> String {
    let word = |seed| format!("{:016x} ", xxh3_64_with_seed(&number.to_le_bytes(), seed));
    (0..6).map(word).collect::<String>() + "\n"
}

/// The numbers of the sentences of a content: 30 of 400.
fn sentences_of(content: u64) -> impl Iterator<Item = u64> {
    (0..30).map(move |place| xxh3_64_with_seed(&content.to_le_bytes(), place) % 400)
}

#[test]
fn many_contents_share_a_dictionary() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    let files = |numbers: std::ops::Range<u64>| -> Vec<FileEntry> {
        let text =
            |n| format!("content {n}\n") + &sentences_of(n).map(sentence).collect::<String>();
        numbers.map(|n| file(format!("{n:04}"), source.put(text(n).as_bytes()))).collect()
    };
    let check = |set: &ShardSet, numbers: std::ops::Range<u64>| {
        let found = all(set, "/^content 1999$/");
        assert_eq!(found.results[0].chunks[0].content, b"content 1999\n");
        let wanted = numbers.flat_map(sentences_of).filter(|number| *number == 77).count();
        let found = all(set, &format!("\"{}\"", sentence(77).trim_end()));
        assert_eq!(found.counts.matches.value, wanted as u64);
    };
    let part = |stats: ShardStats| stats.bytes as f64 / stats.content_bytes as f64;

    let few = info(1, "a/few");
    let shard = set.shard_of(few.id).unwrap();
    shard.apply(&replace(&few, "1", files(0..2_000)), &source, &NoProgress).unwrap();
    check(&set, 0..2_000);
    let without = part(shard.stats());
    shard.apply(&replace(&few, "2", files(0..4_000)), &source, &NoProgress).unwrap();
    check(&set, 0..4_000);
    // Two segments without a dictionary: what they are merged into has one.
    settle(&set);
    check(&set, 0..4_000);
    assert_eq!(shard.stats().segments, 1);
    let with = part(shard.stats());
    assert!(with < 0.6 * without, "{with} of the contents, {without} without a dictionary");
}

#[test]
fn a_cancelled_search_has_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()), Memory::default());
    index(&set, &source, &info(1, "a/b"), &[("f", b"needle\n")]);
    let request = request("needle");
    assert!(search(&set, &request).is_ok());
    request.cancel.cancel();
    assert!(matches!(search(&set, &request), Err(SearchError::Cancelled)));
}

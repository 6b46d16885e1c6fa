//! Results written as JSON, straight from the engine's.
//!
//! An answer can have millions of ranges, so they are not first made into the types that describe
//! the API; what is written is what those types would be written as.

use aeterna_index::search::{Chunk, Match, MatchKind, MatchRange, Position, SymbolHit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use time::OffsetDateTime;

use super::search::SearchResult;
use super::time_of;

/// Bytes of a result without its chunks, and of a chunk without its content and of a range; about.
const RESULT_BYTES: usize = 512;
const CHUNK_BYTES: usize = 128;
const RANGE_BYTES: usize = 112;

/// Writes a result as [`SearchResult`] is written.
pub fn write_result(found: &Match, into: &mut Vec<u8>) {
    into.reserve(
        RESULT_BYTES
            + found
                .chunks
                .iter()
                .map(|chunk| CHUNK_BYTES + chunk.content.len() + RANGE_BYTES * chunk.ranges.len())
                .sum::<usize>(),
    );
    let kind = match found.kind {
        MatchKind::Content => "content",
        MatchKind::Path => "path",
        MatchKind::Symbol => "symbol",
        MatchKind::Repository => "repository",
    };
    field(into, "{\"type\":", kind);
    field(into, ",\"repository\":", &found.repository.name);
    field(into, ",\"repositoryId\":", &found.repository.whole().to_string());
    field(into, ",\"commit\":", &found.commit);
    field(into, ",\"branches\":", &found.branches);
    text(into, ",\"path\":", ",\"pathBase64\":", &found.path);
    list(into, ",\"pathRanges\":[", &found.path_ranges, |into, (start, end)| {
        number(into, b"{\"start\":", u64::from(*start));
        number(into, b",\"end\":", u64::from(*end));
        into.push(b'}');
    });
    if let Some(id) = &found.content {
        field(into, ",\"object\":", &id.to_string());
    }
    field(into, ",\"language\":", &found.language);
    field(into, ",\"indexedAt\":", &time_of(OffsetDateTime::from(found.indexed_at)));
    list(into, ",\"chunks\":[", &found.chunks, write_chunk);
    if found.ranges_cut {
        into.extend_from_slice(b",\"rangesCut\":true");
    }
    number(into, b",\"matchCount\":", found.match_count);
    if let Some(symbol) = &found.symbol {
        into.extend_from_slice(b",\"symbol\":");
        write_symbol(into, symbol);
    }
    field(into, ",\"score\":", &found.score);
    into.push(b'}');
}

/// Makes what nodes have found of one repository, each in its parts of it, one result.
pub fn unite_results(results: &mut Vec<Vec<u8>>) {
    if results.len() < 2 {
        return;
    }
    let parsed = results.iter().map(|result| serde_json::from_slice::<SearchResult>(result));
    match parsed.collect::<Result<Vec<_>, _>>() {
        Ok(mut parsed) => {
            let match_count = parsed.iter().map(|result| result.match_count).sum();
            let united = SearchResult { match_count, ..parsed.swap_remove(0) };
            results[0] = crate::http::json(&united);
        }
        // A node of another version has told of it: its count is that of one part.
        Err(error) => tracing::warn!(%error, "what nodes tell of a repository is not put together"),
    }
    results.truncate(1);
}

fn write_chunk(into: &mut Vec<u8>, chunk: &Chunk) {
    text(into, "{\"content\":", ",\"contentBase64\":", &chunk.content);
    into.extend_from_slice(b",\"start\":");
    write_position(into, chunk.start);
    list(into, ",\"ranges\":[", &chunk.ranges, |into, range| write_range(into, *range));
    list(into, ",\"symbols\":[", &chunk.symbols, write_symbol);
    if chunk.cut {
        into.extend_from_slice(b",\"cut\":true");
    }
    into.push(b'}');
}

fn write_symbol(into: &mut Vec<u8>, symbol: &SymbolHit) {
    field(into, "{\"name\":", &symbol.name);
    field(into, ",\"kind\":", symbol.kind);
    if let Some(container) = &symbol.container {
        field(into, ",\"container\":", container);
    }
    into.extend_from_slice(b",\"range\":");
    write_range(into, symbol.range);
    into.push(b'}');
}

fn write_range(into: &mut Vec<u8>, range: MatchRange) {
    into.extend_from_slice(b"{\"start\":");
    write_position(into, range.start);
    into.extend_from_slice(b",\"end\":");
    write_position(into, range.end);
    into.push(b'}');
}

fn write_position(into: &mut Vec<u8>, at: Position) {
    number(into, b"{\"offset\":", at.offset);
    number(into, b",\"line\":", u64::from(at.line));
    number(into, b",\"column\":", u64::from(at.column));
    into.push(b'}');
}

fn number(into: &mut Vec<u8>, name: &[u8], value: u64) {
    into.extend_from_slice(name);
    into.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Bytes as a text, and the exact ones in base64 where they are not UTF-8.
fn text(into: &mut Vec<u8>, name: &str, exact: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => field(into, name, text),
        Err(_) => {
            field(into, name, &String::from_utf8_lossy(bytes));
            field(into, exact, &STANDARD.encode(bytes));
        }
    }
}

fn list<T>(into: &mut Vec<u8>, name: &str, values: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    into.extend_from_slice(name.as_bytes());
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            into.push(b',');
        }
        write(into, value);
    }
    into.push(b']');
}

fn field<T: Serialize + ?Sized>(into: &mut Vec<u8>, name: &str, value: &T) {
    into.extend_from_slice(name.as_bytes());
    let before = into.len();
    // Texts, numbers and lists of texts, written to memory: it cannot fail. Should it, the answer
    // stays JSON.
    if serde_json::to_writer(&mut *into, value).is_err() {
        into.truncate(before);
        into.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use aeterna_index::{ContentId, RepositoryId, RepositoryInfo};

    use super::*;
    use crate::api::search::SearchResult;

    fn position(offset: u64) -> Position {
        Position { offset, line: 3, column: 7 }
    }

    fn symbol(container: Option<&str>) -> SymbolHit {
        let range = MatchRange { start: position(9), end: position(11) };
        SymbolHit {
            name: "a\"b".to_owned(),
            kind: "method",
            container: container.map(str::to_owned),
            range,
        }
    }

    fn chunk(content: &[u8], cut: bool) -> Chunk {
        let range = MatchRange { start: position(1 << 40), end: position((1 << 40) + 2) };
        Chunk {
            content: content.to_vec(),
            start: position(0),
            ranges: vec![range, range],
            symbols: vec![symbol(None), symbol(Some("C"))],
            cut,
        }
    }

    fn full() -> Match {
        let repository = RepositoryInfo {
            id: RepositoryId(uuid::Uuid::from_u128(7)),
            tenant: "default".to_owned(),
            name: "o/r".to_owned(),
            default_branch: None,
            fork: false,
            archived: false,
            public: true,
            license: None,
            part: None,
        };
        Match {
            kind: MatchKind::Symbol,
            repository: Arc::new(repository),
            commit: "c0ffee".to_owned(),
            branches: vec!["main".to_owned(), "b\u{1}\\".to_owned()],
            path: b"caf\xe9/\"x\n".to_vec(),
            path_ranges: vec![(0, 3), (4, 5)],
            content: Some(ContentId::from_bytes(&[7; 20]).unwrap()),
            language: Some("C++"),
            indexed_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_234_567),
            chunks: vec![chunk("ü\t\u{2028}\n".as_bytes(), false), chunk(b"\xff", true)],
            ranges_cut: true,
            match_count: 5,
            symbol: Some(symbol(Some("C"))),
            score: 1.5,
        }
    }

    fn empty() -> Match {
        Match {
            kind: MatchKind::Repository,
            branches: Vec::new(),
            path: Vec::new(),
            path_ranges: Vec::new(),
            content: None,
            language: None,
            chunks: Vec::new(),
            ranges_cut: false,
            symbol: None,
            ..full()
        }
    }

    /// Read as the type that the API describes and written again, nothing is other than it was.
    #[test]
    fn what_is_written_is_what_is_described() {
        for found in [full(), empty()] {
            let mut written = Vec::new();
            write_result(&found, &mut written);
            let read: SearchResult = serde_json::from_slice(&written).unwrap();
            let again = serde_json::to_vec(&read).unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), String::from_utf8(again).unwrap());
            assert_eq!(read.chunks.len(), found.chunks.len());
            assert_eq!(read.match_count, found.match_count);
        }
    }
}

//! The shapes of Zoekt's JSON API (`POST /api/search`), so that its clients work: names and
//! meanings are those of `api.go` and `internal/json` in sourcegraph/zoekt. Go writes bytes as
//! base64 and durations as nanoseconds.

use aeterna_index::search as engine;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::bytes_of;
use super::search::{Chunk, Position, Range, SearchResult, Span, Symbol};

/// A search as Zoekt's clients ask for it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ZoektRequest {
    /// The query.
    #[serde(alias = "q", default)]
    pub q: String,
    /// Ids of repositories; not supported, since ids here are no numbers.
    #[serde(rename = "RepoIDs", default)]
    pub repo_ids: Option<Vec<u64>>,
    /// Options.
    #[serde(alias = "opts", default)]
    pub opts: Option<ZoektOptions>,
}

/// Options of a search. Further ones of Zoekt's only tune how it works, and are not read.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct ZoektOptions {
    /// Return whole files; not supported.
    pub whole: bool,
    /// Only estimate; not supported.
    pub estimate_doc_count: bool,
    /// Stop after so many matches; 0 is the server's limit.
    pub total_max_match_count: u64,
    /// Nanoseconds after which to answer with what there is; 0 is the server's default.
    pub max_wall_time: u64,
    /// Documents returned at most; 0 is the server's largest page.
    pub max_doc_display_count: u64,
    /// Lines of context.
    pub num_context_lines: u64,
    /// Chunks instead of lines.
    pub chunk_matches: bool,
}

/// The answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ZoektReply {
    /// The result.
    pub result: ZoektResult,
}

/// An error.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ZoektError {
    /// What is wrong.
    pub error: String,
}

/// Files and statistics.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ZoektResult {
    content_bytes_loaded: u64,
    index_bytes_loaded: u64,
    crashes: u64,
    duration: u64,
    file_count: u64,
    files_considered: u64,
    files_loaded: u64,
    match_count: u64,
    files: Vec<ZoektFile>,
    #[serde(rename = "RepoURLs")]
    repo_urls: std::collections::BTreeMap<String, String>,
    line_fragments: std::collections::BTreeMap<String, String>,
}

/// A file with matches.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ZoektFile {
    file_name: String,
    repository: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    language: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    branches: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    line_matches: Vec<ZoektLine>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    chunk_matches: Vec<ZoektChunk>,
    checksum: String,
    score: f64,
}

/// A line with matches.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ZoektLine {
    line: String,
    line_start: u64,
    line_end: u64,
    line_number: u64,
    before: String,
    after: String,
    file_name: bool,
    score: f64,
    debug_score: String,
    line_fragments: Vec<ZoektFragment>,
}

/// A match in a line.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ZoektFragment {
    line_offset: u64,
    offset: u64,
    match_length: u64,
    symbol_info: Option<ZoektSymbol>,
}

/// A definition.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ZoektSymbol {
    sym: String,
    kind: String,
    parent: String,
    parent_kind: String,
}

/// Adjacent lines with matches.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ZoektChunk {
    debug_score: String,
    content: String,
    ranges: Vec<ZoektRange>,
    symbol_info: Option<Vec<Option<ZoektSymbol>>>,
    file_name: bool,
    content_start: ZoektLocation,
    score: f64,
    best_line_match: u64,
}

/// A match.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ZoektRange {
    start: ZoektLocation,
    end: ZoektLocation,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ZoektLocation {
    byte_offset: u64,
    line_number: u64,
    column: u64,
}

impl ZoektReply {
    /// An answer in Zoekt's shape.
    pub fn new(response: engine::SearchResponse, results: Vec<SearchResult>, chunks: bool) -> Self {
        let explain = response.explain.unwrap_or_default();
        Self {
            result: ZoektResult {
                content_bytes_loaded: explain.bytes_read,
                index_bytes_loaded: explain.posting_bytes,
                crashes: 0,
                duration: u64::try_from(response.elapsed.as_nanos()).unwrap_or(u64::MAX),
                file_count: response.counts.documents.value,
                files_considered: explain.candidates,
                files_loaded: explain.verified,
                match_count: response.counts.matches.value,
                files: results.into_iter().map(|found| file(found, chunks)).collect(),
                repo_urls: Default::default(),
                line_fragments: Default::default(),
            },
        }
    }
}

fn file(found: SearchResult, chunks: bool) -> ZoektFile {
    let path = bytes_of(&found.path, found.path_base64.as_deref());
    let mut file = ZoektFile {
        file_name: found.path,
        repository: found.repository,
        version: found.commit,
        language: found.language.unwrap_or_default(),
        branches: found.branches,
        line_matches: Vec::new(),
        chunk_matches: Vec::new(),
        checksum: found.object.and_then(|id| checksum(&id)).unwrap_or_default(),
        score: f64::from(found.score),
    };
    let by_name = found.chunks.is_empty();
    match (chunks, by_name) {
        (true, true) => file.chunk_matches.push(name_chunk(&path, &found.path_ranges)),
        (true, false) => file.chunk_matches = found.chunks.iter().map(chunk).collect(),
        (false, true) => file.line_matches.push(name_line(&path, &found.path_ranges)),
        (false, false) => file.line_matches = found.chunks.iter().flat_map(lines).collect(),
    }
    file
}

/// An object id's bytes in base64.
fn checksum(id: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> = (0..id.len() / 2)
        .map(|at| u8::from_str_radix(id.get(at * 2..at * 2 + 2)?, 16).ok())
        .collect();
    bytes.map(|bytes| STANDARD.encode(bytes))
}

fn location(at: Position) -> ZoektLocation {
    ZoektLocation {
        byte_offset: at.offset,
        line_number: u64::from(at.line),
        column: u64::from(at.column),
    }
}

fn range(range: &Range) -> ZoektRange {
    ZoektRange { start: location(range.start), end: location(range.end) }
}

fn symbol_at(chunk: &Chunk, range: &Range) -> Option<ZoektSymbol> {
    let covers = |symbol: &&Symbol| {
        symbol.range.start.offset < range.end.offset && range.start.offset < symbol.range.end.offset
    };
    chunk.symbols.iter().find(covers).map(|symbol| ZoektSymbol {
        sym: symbol.name.clone(),
        kind: symbol.kind.clone(),
        parent: symbol.container.clone().unwrap_or_default(),
        parent_kind: String::new(),
    })
}

fn chunk(chunk: &Chunk) -> ZoektChunk {
    let symbols: Vec<_> = chunk.ranges.iter().map(|range| symbol_at(chunk, range)).collect();
    ZoektChunk {
        debug_score: String::new(),
        content: STANDARD.encode(bytes_of(&chunk.content, chunk.content_base64.as_deref())),
        ranges: chunk.ranges.iter().map(range).collect(),
        symbol_info: symbols.iter().any(Option::is_some).then_some(symbols),
        file_name: false,
        content_start: location(chunk.start),
        score: 0.0,
        best_line_match: chunk.ranges.first().map_or(0, |range| u64::from(range.start.line)),
    }
}

fn name_chunk(path: &[u8], ranges: &[Span]) -> ZoektChunk {
    let at = |offset: u64| ZoektLocation {
        byte_offset: offset,
        line_number: 1,
        column: String::from_utf8_lossy(&path[..path.len().min(offset as usize)]).chars().count()
            as u64
            + 1,
    };
    ZoektChunk {
        debug_score: String::new(),
        content: STANDARD.encode(path),
        ranges: ranges
            .iter()
            .map(|span| ZoektRange { start: at(span.start), end: at(span.end) })
            .collect(),
        symbol_info: None,
        file_name: true,
        content_start: at(0),
        score: 0.0,
        best_line_match: 0,
    }
}

fn name_line(path: &[u8], ranges: &[Span]) -> ZoektLine {
    ZoektLine {
        line: STANDARD.encode(path),
        line_start: 0,
        line_end: 0,
        line_number: 0,
        before: String::new(),
        after: String::new(),
        file_name: true,
        score: 0.0,
        debug_score: String::new(),
        line_fragments: ranges
            .iter()
            .map(|span| ZoektFragment {
                line_offset: span.start,
                offset: span.start,
                match_length: span.end.saturating_sub(span.start),
                symbol_info: None,
            })
            .collect(),
    }
}

/// One line match for each run of matches that starts on a line; a match over several lines makes
/// its line match span them, as Zoekt's does.
fn lines(chunk: &Chunk) -> Vec<ZoektLine> {
    let content = bytes_of(&chunk.content, chunk.content_base64.as_deref());
    let mut ranges = chunk.ranges.as_slice();
    let mut found = Vec::new();
    while let Some(first) = ranges.first() {
        let line = first.start.line;
        let count = ranges.iter().take_while(|range| range.start.line == line).count();
        let (here, rest) = ranges.split_at(count);
        ranges = rest;
        found.push(line_match(chunk, &content, here));
    }
    found
}

fn line_match(chunk: &Chunk, content: &[u8], ranges: &[Range]) -> ZoektLine {
    let inside =
        |offset: u64| (offset.saturating_sub(chunk.start.offset) as usize).min(content.len());
    let first = ranges.first().map_or(0, |range| inside(range.start.offset));
    let last = ranges.last().map_or(0, |range| inside(range.end.offset)).max(first);
    let start = content[..first].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    // A match that ends behind a line feed ends on that line, not on the next.
    let from = if last > first { last - 1 } else { last };
    let end = content[from..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(content.len(), |at| from + at + 1);
    let base = chunk.start.offset;
    ZoektLine {
        line: STANDARD.encode(&content[start..end]),
        line_start: base + start as u64,
        line_end: base + end as u64,
        line_number: ranges.first().map_or(0, |range| u64::from(range.start.line)),
        before: STANDARD.encode(&content[..start]),
        after: STANDARD.encode(&content[end..]),
        file_name: false,
        score: 0.0,
        debug_score: String::new(),
        line_fragments: ranges
            .iter()
            .map(|range| ZoektFragment {
                line_offset: (inside(range.start.offset) - start) as u64,
                offset: range.start.offset,
                match_length: range.end.offset - range.start.offset,
                symbol_info: symbol_at(chunk, range),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(offset: u64, line: u32, column: u32) -> Position {
        Position { offset, line, column }
    }

    fn found(start: Position, end: Position) -> Range {
        Range { start, end }
    }

    #[test]
    fn lines_carry_their_matches_and_context() {
        let chunk = Chunk {
            content: "one\ntwo two\nthree\n".to_owned(),
            content_base64: None,
            start: position(100, 7, 1),
            ranges: vec![
                found(position(104, 8, 1), position(107, 8, 4)),
                found(position(108, 8, 5), position(111, 8, 8)),
            ],
            symbols: Vec::new(),
            cut: false,
        };
        let lines = lines(&chunk);
        assert_eq!(lines.len(), 1);
        let line = &lines[0];
        assert_eq!(line.line, STANDARD.encode("two two\n"));
        assert_eq!((line.line_start, line.line_end, line.line_number), (104, 112, 8));
        assert_eq!(
            (line.before.as_str(), line.after.as_str()),
            (STANDARD.encode("one\n").as_str(), STANDARD.encode("three\n").as_str(),)
        );
        let offsets: Vec<_> =
            line.line_fragments.iter().map(|f| (f.line_offset, f.offset, f.match_length)).collect();
        assert_eq!(offsets, [(0, 104, 3), (4, 108, 3)]);
    }

    #[test]
    fn a_match_over_lines_spans_them_and_its_last_line_feed_adds_none() {
        let chunk = Chunk {
            content: "a\nb\nc\n".to_owned(),
            content_base64: None,
            start: position(0, 1, 1),
            ranges: vec![found(position(0, 1, 1), position(4, 3, 1))],
            symbols: Vec::new(),
            cut: false,
        };
        assert_eq!(lines(&chunk)[0].line, STANDARD.encode("a\nb\n"));
    }
}

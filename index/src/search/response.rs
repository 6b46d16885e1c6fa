//! The request and the answer of a search, independent of any transport.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::budget::Cancel;
use super::parts::SearchedPart;
use crate::document::{ContentId, RepositoryId, RepositoryInfo};

/// The repositories that the caller may see, applied before anything is read.
#[derive(Clone, Debug)]
pub enum Visible {
    /// Every repository.
    All,
    /// Only these.
    Only(Arc<HashSet<RepositoryId>>),
}

impl Visible {
    /// Whether the repository may be seen.
    pub fn contains(&self, id: &RepositoryId) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => ids.contains(id),
        }
    }
}

/// What bounds one search.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Time from the start of the search until it looks no further. Half a second more may go into
    /// the lines of what it has found.
    pub deadline: Duration,
    /// Bytes of content that may be read, uncompressed.
    pub bytes: u64,
    /// Match ranges that may be counted.
    pub matches: u64,
    /// Documents that may be returned with `count:all`.
    pub documents: usize,
    /// Match ranges returned of one document; its count stays exact.
    pub ranges_per_document: usize,
    /// Bytes of results that a search holds before it sends the first of them to an [`Output`].
    /// What is beyond is made when its turn comes.
    ///
    /// [`Output`]: super::Output
    pub held_bytes: usize,
    /// Bytes of one line that are returned; a longer line is cut around its match.
    pub line_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            bytes: 1 << 40,
            matches: 50_000_000,
            documents: 1_000_000,
            ranges_per_document: 1_000,
            held_bytes: 64 << 20,
            line_bytes: 2_048,
        }
    }
}

/// A search.
#[derive(Clone, Debug)]
pub struct SearchRequest {
    /// The query as typed, in the language of `query-language.md`.
    pub query: String,
    /// What the caller may see.
    pub visible: Visible,
    /// Results wanted a page; `count:` in the query wins, `count:all` asks for every result.
    pub page_size: usize,
    /// Lines of context above and below a match.
    pub context_lines: usize,
    /// Whether content is returned, or counts and paths alone.
    pub chunks: bool,
    /// Whether facets are counted: exact counts need every candidate to be verified.
    pub facets: bool,
    /// Values that each facet lists at most, the most frequent: [`FACET_VALUES`] for a person;
    /// whoever adds up those of several parts needs every value of each.
    pub facet_values: usize,
    /// Whether an answer that leaves out something that may match is an error.
    pub require_complete: bool,
    /// Whether the answer tells how it was found.
    pub explain: bool,
    /// Shards to search; `None` for all that are open. Those that are not are told as skipped.
    pub shards: Option<Vec<u32>>,
    /// How many searches, this one included, do together what one did alone: each looks at so small
    /// a part of what is ranked against each other at first, and none refuses to answer since it
    /// lacks a revision that another may have. 1 for one that is alone.
    pub share: u32,
    /// Results after which a search with an output pauses, for whoever merges several, or fewer down to a half:
    /// it does not look much further for the others. What follows is looked for when it is wanted, as many again
    /// each time, and a page has no end but theirs. See
    /// [`Output::pause`](super::Output::pause).
    pub first: Option<usize>,
    /// Cursor of the page before: the search goes on with the shards and the share of that one. It
    /// has expired when they are not all among those to search.
    pub cursor: Option<String>,
    /// Budgets.
    pub limits: Limits,
    /// Kept by whoever may end the search.
    pub cancel: Cancel,
}

impl SearchRequest {
    /// A search as most are: a page of 50 results with content, no context, facets or explanation, all
    /// open shards.
    pub fn new(query: impl Into<String>, visible: Visible) -> Self {
        Self {
            query: query.into(),
            visible,
            page_size: 50,
            context_lines: 0,
            chunks: true,
            facets: false,
            facet_values: FACET_VALUES,
            require_complete: false,
            explain: false,
            shards: None,
            share: 1,
            first: None,
            cursor: None,
            limits: Limits::default(),
            cancel: Cancel::default(),
        }
    }
}

/// Whether a count is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Relation {
    /// Exact.
    Equal,
    /// At least so many.
    GreaterOrEqual,
}

/// A count and whether it is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Count {
    /// The number.
    pub value: u64,
    /// Whether it is exact.
    pub relation: Relation,
}

/// Counts of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Match ranges: the sum of [`Match::match_count`] over all documents.
    pub matches: Count,
    /// Lines of content with at least one match.
    pub lines: Count,
    /// Documents with at least one match.
    pub documents: Count,
}

/// A place in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// 0-based byte in the document.
    pub offset: u64,
    /// 1-based line.
    pub line: u32,
    /// 1-based code point in the line.
    pub column: u32,
}

/// A match, `start` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatchRange {
    /// First byte.
    pub start: Position,
    /// Byte after the last one.
    pub end: Position,
}

/// A definition that a match is the name of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolHit {
    /// Name as written.
    pub name: String,
    /// Such as `function`.
    pub kind: &'static str,
    /// Enclosing symbol, such as the type of a method.
    pub container: Option<String>,
    /// Where the name stands.
    pub range: MatchRange,
}

/// Adjacent lines with at least one match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The lines' bytes, with line ends; not always UTF-8.
    pub content: Vec<u8>,
    /// Where `content` starts; column 1 unless the line was cut.
    pub start: Position,
    /// Matches in it, ascending.
    pub ranges: Vec<MatchRange>,
    /// Definitions whose names are matched in it.
    pub symbols: Vec<SymbolHit>,
    /// Whether a long line was cut around its match.
    pub cut: bool,
}

/// What a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchKind {
    /// A document with matches in its content.
    Content,
    /// A document whose path matches, or that the qualifiers alone select.
    Path,
    /// A definition.
    Symbol,
    /// A repository.
    Repository,
}

/// One result.
#[derive(Clone, Debug)]
pub struct Match {
    /// What it is.
    pub kind: MatchKind,
    /// Repository that it is in.
    pub repository: Arc<RepositoryInfo>,
    /// Commit, in hex, of the first of `branches`; empty for a repository without one.
    pub commit: String,
    /// Indexed branches and tags that hold the document, sorted, the default branch first.
    pub branches: Vec<String>,
    /// Path; empty for [`MatchKind::Repository`].
    pub path: Vec<u8>,
    /// Matched byte ranges of the path.
    pub path_ranges: Vec<(u32, u32)>,
    /// Content id; `None` for [`MatchKind::Repository`].
    pub content: Option<ContentId>,
    /// Linguist's name of the language.
    pub language: Option<&'static str>,
    /// When the revision was indexed.
    pub indexed_at: SystemTime,
    /// Content around the matches, ascending.
    pub chunks: Vec<Chunk>,
    /// Whether the content has more matches than `chunks` have ranges.
    pub ranges_cut: bool,
    /// Match ranges in the whole content, returned or not; in the path, for [`MatchKind::Path`].
    pub match_count: u64,
    /// For [`MatchKind::Symbol`].
    pub symbol: Option<SymbolHit>,
    /// What orders results, highest first.
    pub score: f32,
}

/// A value of a facet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FacetValue {
    /// The value.
    pub value: String,
    /// Documents that have it.
    pub count: u64,
}

/// Values of one facet that an answer lists.
pub const FACET_VALUES: usize = 1_000;

/// Documents by attribute, most frequent first, ties by value; at most
/// [`SearchRequest::facet_values`] of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facets {
    /// By language.
    pub language: Vec<FacetValue>,
    /// By repository.
    pub repository: Vec<FacetValue>,
    /// By who changed them last, `Name <address>`, as far as that is known.
    pub author: Vec<FacetValue>,
    /// By the month in which they were changed last, such as `2026-11`, newest first, as far as that
    /// is known.
    pub updated: Vec<FacetValue>,
    /// Whether the counts are exact.
    pub exact: bool,
}

/// Why something that may match is not in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SkipReason {
    /// A part of the index was damaged and is being rebuilt.
    ShardRestoring,
    /// A part of the index cannot be read.
    ShardUnavailable,
    /// The deadline passed.
    ShardTimeout,
    /// A limit on matches, bytes or results was reached.
    MatchLimit,
    /// A revision named in the query is not indexed.
    RevisionNotIndexed,
    /// Files whose content is not in the index.
    FileNotIndexed,
    /// The index lags behind: symbols are still being read.
    IndexStale,
}

impl SkipReason {
    /// The API's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ShardRestoring => "shardRestoring",
            Self::ShardUnavailable => "shardUnavailable",
            Self::ShardTimeout => "shardTimeout",
            Self::MatchLimit => "matchLimit",
            Self::RevisionNotIndexed => "revisionNotIndexed",
            Self::FileNotIndexed => "fileNotIndexed",
            Self::IndexStale => "indexStale",
        }
    }
}

/// Something that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Skipped {
    /// Why.
    pub reason: SkipReason,
    /// A sentence for a person.
    pub message: String,
    /// What: names, at most a handful.
    pub items: Vec<String>,
}

/// Advice on the query that does not stop it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// A stable word for programs.
    pub code: String,
    /// A sentence for a person.
    pub message: String,
    /// A query that may be what was meant.
    pub rewrite: Option<String>,
    /// Byte range in the query.
    pub position: Option<(usize, usize)>,
}

impl Skipped {
    /// Whether what was left out may have matched.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.reason != SkipReason::FileNotIndexed
    }

    /// Whether documents were left out that nobody has counted, whatever was looked at.
    pub(crate) fn hides_documents(&self) -> bool {
        match self.reason {
            SkipReason::ShardRestoring | SkipReason::ShardUnavailable => true,
            // Told by what was looked at, or about what is not in the index at all.
            SkipReason::ShardTimeout
            | SkipReason::MatchLimit
            | SkipReason::RevisionNotIndexed
            | SkipReason::FileNotIndexed
            | SkipReason::IndexStale => false,
        }
    }
}

/// Names listed of what was skipped.
pub(crate) const SKIPPED_ITEMS: usize = 10;

/// Steps of a search, in order.
pub(crate) const STEPS: [&str; 4] = ["plan", "candidates", "verify", "collect"];

/// Time of one step.
#[derive(Clone, Debug)]
pub struct StepTime {
    /// Name of the step: `plan`, `candidates`, `verify`, `collect`.
    pub step: &'static str,
    /// Wall time.
    pub elapsed: Duration,
}

/// How an answer was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explain {
    /// The simplified query.
    pub tree: String,
    /// The trigram expression of each pattern.
    pub plan: String,
    /// Segments read.
    pub segments: usize,
    /// Documents that the filters and trigrams left.
    pub candidates: u64,
    /// Documents whose content or path was checked.
    pub verified: u64,
    /// Bytes of content decompressed.
    pub bytes_read: u64,
    /// Bytes of trigram lists read.
    pub posting_bytes: u64,
}

/// The answer.
#[derive(Clone, Debug)]
pub struct SearchResponse {
    /// Results in order.
    pub results: Vec<Match>,
    /// Counts.
    pub counts: Counts,
    /// Whether every document that may match was looked at or is on a later page.
    pub complete: bool,
    /// What was left out.
    pub skipped: Vec<Skipped>,
    /// Advice.
    pub alerts: Vec<Alert>,
    /// Facets, where asked for.
    pub facets: Option<Facets>,
    /// Cursor of the next page.
    pub next: Option<String>,
    /// A cursor of the state that was searched, at no place of its own: [`cursor_at`] makes one for
    /// any [`Ranked`] of it. Empty when a budget ran out, and with it the order of what follows.
    ///
    /// [`cursor_at`]: super::cursor_at
    /// [`Ranked`]: super::Ranked
    pub pinned: String,
    /// How it was found, where asked for.
    pub explain: Option<Explain>,
    /// Time of each step, for metrics.
    pub steps: Vec<StepTime>,
    /// Parts of repositories that were searched, where some are indexed in parts.
    pub parts: Vec<SearchedPart>,
    /// Wall time.
    pub elapsed: Duration,
}

/// How far a search is, for streams.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Candidates looked at.
    pub verified: u64,
    /// Candidates in all.
    pub candidates: u64,
}

/// A search that cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The query is wrong.
    #[error("{message}")]
    Query {
        /// A stable word for programs.
        code: String,
        /// What is wrong and what to do.
        message: String,
        /// Byte range in the query.
        position: Option<(usize, usize)>,
        /// A query that may be what was meant.
        rewrite: Option<String>,
    },
    /// The cursor was not made by this server, or for another query.
    #[error("the cursor does not belong to this query; start again without it")]
    BadCursor,
    /// What the cursor was made on is gone.
    #[error("the cursor has expired, the index changed since; start again without it")]
    ExpiredCursor,
    /// Something was left out, and [`SearchRequest::require_complete`] was asked for.
    #[error("the answer would not be complete")]
    Incomplete(Vec<Skipped>),
    /// Nobody waits for the answer any more: [`Cancel::cancel`] was called.
    #[error("the search was cancelled")]
    Cancelled,
    /// The index failed.
    #[error(transparent)]
    Index(#[from] crate::IndexError),
}

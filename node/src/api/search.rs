//! The answer of a search.

use aeterna_index::search as engine;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The answer of a search.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SearchAnswer {
    /// Results, best first.
    pub results: Vec<SearchResult>,
    /// Counts and time.
    pub stats: Stats,
    /// Whether everything that may match was looked at or is on a later page.
    pub complete: bool,
    /// What was left out and why.
    pub skipped: Vec<Skipped>,
    /// Advice on the query.
    pub alerts: Vec<Alert>,
    /// Documents by attribute, where asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facets: Option<Facets>,
    /// How the answer was found, where asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<Explain>,
    /// Cursor of the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// What a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResultType {
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
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SearchResult {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: ResultType,
    /// Name of the repository, `owner/name`.
    pub repository: String,
    /// Id of the repository.
    pub repository_id: String,
    /// Commit of the first of `branches`.
    pub commit: String,
    /// Indexed branches and tags that hold the document, the default branch first.
    pub branches: Vec<String>,
    /// Path from the repository's root; bytes that are not UTF-8 are replaced by U+FFFD.
    pub path: String,
    /// The path's bytes, only where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
    /// Matched byte ranges of the path.
    pub path_ranges: Vec<Span>,
    /// Git object id of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Linguist's name of the language.
    pub language: Option<String>,
    /// When the revision was indexed.
    pub indexed_at: String,
    /// Content around the matches.
    pub chunks: Vec<Chunk>,
    /// Whether the content has more matches than `chunks` have ranges.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ranges_cut: bool,
    /// Matches in the whole content, returned or not; for `path`, those in the path.
    pub match_count: u64,
    /// The definition, for `symbol`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<Symbol>,
    /// What orders results, highest first.
    pub score: f32,
}

/// Adjacent lines with at least one match.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Chunk {
    /// The lines with their line ends; bytes that are not UTF-8 are replaced by U+FFFD.
    pub content: String,
    /// The exact bytes, only where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<String>,
    /// Where `content` starts.
    pub start: Position,
    /// Matches in it, ascending.
    pub ranges: Vec<Range>,
    /// Definitions whose names are matched in it.
    pub symbols: Vec<Symbol>,
    /// Whether a long line was cut around its match.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// A place in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Position {
    /// 0-based byte in the document; authoritative.
    pub offset: u64,
    /// 1-based line.
    pub line: u32,
    /// 1-based code point in the line.
    pub column: u32,
}

/// A match, from `start` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Range {
    /// First byte.
    pub start: Position,
    /// Byte after the last one.
    pub end: Position,
}

/// Bytes of a text, from `start` to before `end`, 0-based.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Span {
    /// First byte.
    pub start: u64,
    /// Byte after the last one.
    pub end: u64,
}

/// A definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Symbol {
    /// Name as written.
    pub name: String,
    /// Such as `function`.
    pub kind: String,
    /// Enclosing symbol, such as the type of a method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Where the name stands.
    pub range: Range,
}

/// Counts and time.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Matches: the sum of the results' own counts.
    pub match_count: Count,
    /// Lines with at least one match.
    pub line_count: Count,
    /// Documents with at least one match.
    pub document_count: Count,
    /// Milliseconds that the search took.
    pub duration_ms: f64,
    /// Shards that were asked.
    pub shards: Shards,
}

/// A count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Count {
    /// The number.
    pub value: u64,
    /// Whether it is exact (`eq`) or at least so many (`gte`).
    pub relation: Relation,
}

/// Whether a count is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// Exact.
    Eq,
    /// At least.
    Gte,
}

/// Shards of a search.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct Shards {
    /// All that hold what the caller may see.
    pub total: u64,
    /// Those that answered.
    pub answered: u64,
    /// Those that did not.
    pub failed: u64,
}

/// Something that was left out.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Skipped {
    /// Why, for programs: `shardRestoring`, `shardUnavailable`, `shardTimeout`, `matchLimit`,
    /// `revisionNotIndexed`, `fileNotIndexed` or `indexStale`.
    pub reason: String,
    /// Why, for a person.
    pub message: String,
    /// What: names, at most a handful.
    pub items: Vec<String>,
}

/// Advice on the query that does not stop it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Alert {
    /// A stable word for programs.
    pub code: String,
    /// A sentence for a person.
    pub message: String,
    /// A query that may be what was meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<String>,
    /// The bytes of the query that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Span>,
}

/// Documents by attribute, most frequent first; at most 1,000 values of each.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
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
    /// Whether the counts are exact or at least so many.
    pub relation: Relation,
}

/// A value of a facet.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FacetValue {
    /// The value.
    pub value: String,
    /// Documents that have it.
    pub count: u64,
}

/// How an answer was found.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explain {
    /// The simplified query.
    pub tree: String,
    /// The trigram expression of each pattern.
    pub plan: String,
    /// Segments read.
    pub segments: u64,
    /// Documents that filters and trigrams left.
    pub candidates: u64,
    /// Documents whose content or path was checked.
    pub verified: u64,
    /// Bytes of content decompressed.
    pub bytes_read: u64,
    /// Bytes of trigram lists read.
    pub posting_bytes: u64,
    /// Time of each step.
    pub steps: Vec<Step>,
}

/// Time of one step.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Name of the step.
    pub step: String,
    /// Milliseconds.
    pub duration_ms: f64,
}

impl SearchAnswer {
    /// The engine's answer for the wire, without its results: [`write_result`] writes those.
    /// `shards` is how many there are.
    ///
    /// [`write_result`]: super::result::write_result
    pub fn new(response: engine::SearchResponse, shards: u64) -> Self {
        let failed = failed_shards(&response.skipped).min(shards);
        let steps: Vec<Step> = response
            .steps
            .iter()
            .map(|step| Step {
                step: step.step.to_owned(),
                duration_ms: milliseconds(step.elapsed),
            })
            .collect();
        Self {
            results: Vec::new(),
            stats: Stats {
                match_count: response.counts.matches.into(),
                line_count: response.counts.lines.into(),
                document_count: response.counts.documents.into(),
                duration_ms: milliseconds(response.elapsed),
                shards: Shards { total: shards, answered: shards - failed, failed },
            },
            complete: response.complete,
            skipped: response.skipped.into_iter().map(Skipped::shortened).collect(),
            alerts: response.alerts.into_iter().map(Alert::from).collect(),
            facets: response.facets.map(Facets::from),
            explain: response.explain.map(|explain| Explain::new(explain, steps)),
            next_cursor: response.next,
        }
    }
}

/// Shards that an entry of `skipped` says could not be read at all.
fn failed_shards(skipped: &[engine::Skipped]) -> u64 {
    use engine::SkipReason::{
        FileNotIndexed, IndexStale, MatchLimit, RevisionNotIndexed, ShardRestoring, ShardTimeout,
        ShardUnavailable,
    };
    skipped
        .iter()
        .map(|entry| match entry.reason {
            ShardRestoring | ShardUnavailable => entry.items.len().max(1) as u64,
            ShardTimeout | MatchLimit | RevisionNotIndexed | FileNotIndexed | IndexStale => 0,
        })
        .sum()
}

fn milliseconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

impl From<(usize, usize)> for Span {
    fn from((start, end): (usize, usize)) -> Self {
        Self { start: start as u64, end: end as u64 }
    }
}

impl From<engine::Count> for Count {
    fn from(count: engine::Count) -> Self {
        let relation = match count.relation {
            engine::Relation::Equal => Relation::Eq,
            engine::Relation::GreaterOrEqual => Relation::Gte,
        };
        Self { value: count.value, relation }
    }
}

/// Names listed of what was skipped.
const LISTED_ITEMS: usize = 10;

impl Skipped {
    /// With a handful of names.
    fn shortened(skipped: engine::Skipped) -> Self {
        let mut shortened = Self::from(skipped);
        shortened.items.truncate(LISTED_ITEMS);
        shortened
    }
}

impl From<engine::Skipped> for Skipped {
    fn from(skipped: engine::Skipped) -> Self {
        Self {
            reason: skipped.reason.as_str().to_owned(),
            message: skipped.message,
            items: skipped.items,
        }
    }
}

impl From<engine::Alert> for Alert {
    fn from(alert: engine::Alert) -> Self {
        Self {
            code: alert.code,
            message: alert.message,
            rewrite: alert.rewrite,
            position: alert.position.map(Span::from),
        }
    }
}

impl From<engine::Facets> for Facets {
    fn from(facets: engine::Facets) -> Self {
        let values = |list: Vec<engine::FacetValue>| {
            list.into_iter()
                .map(|facet| FacetValue { value: facet.value, count: facet.count })
                .collect()
        };
        Self {
            relation: if facets.exact { Relation::Eq } else { Relation::Gte },
            language: values(facets.language),
            repository: values(facets.repository),
            author: values(facets.author),
            updated: values(facets.updated),
        }
    }
}

impl Explain {
    fn new(explain: engine::Explain, steps: Vec<Step>) -> Self {
        Self {
            tree: explain.tree,
            plan: explain.plan,
            segments: explain.segments as u64,
            candidates: explain.candidates,
            verified: explain.verified,
            bytes_read: explain.bytes_read,
            posting_bytes: explain.posting_bytes,
            steps,
        }
    }
}

//! Errors as RFC 9457 problem documents.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::search::{Skipped, Span};

/// Media type of a problem document.
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// What went wrong and what to do about it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemBody {
    /// `urn:aeterna:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status as words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What was asked, what failed, what to do.
    pub detail: String,
    /// A stable word for programs.
    pub code: String,
    /// Id of the request, which its log lines carry.
    #[serde(default)]
    pub request_id: String,
    /// The bytes of the query that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Span>,
    /// A query that may be what was meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<String>,
    /// Name of the parameter that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// What a search with `requireComplete` would have left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
}

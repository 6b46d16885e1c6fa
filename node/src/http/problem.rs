//! Errors of handlers, and how they become problem documents.

use std::time::Duration;

use aeterna_index::search::SearchError;
use aeterna_repo::ManagerError;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::IntoResponses;

use crate::api::problem::{PROBLEM_TYPE, ProblemBody};
use crate::api::search::{Skipped, Span};

/// An error that a handler answers with. It becomes a document once the request's id is known: see
/// [`finish`].
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    body: Box<ProblemBody>,
    retry_after_seconds: Option<u64>,
}

/// Code of an answer that was to be complete and is not.
const INCOMPLETE: &str = "incomplete";

/// A problem between nodes.
#[derive(Serialize, Deserialize)]
struct Wire {
    body: ProblemBody,
    retry_after_seconds: Option<u64>,
}

/// Of what the owner of a repository's shard answers, what is described alike for all.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it only describes")]
pub enum OfOwner {
    /// A node forwards as much as it may; `Retry-After` says when to try again.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(#[to_schema] ProblemBody),
    /// The shard, its owner or the database is not there now; `Retry-After` says when to try again.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(#[to_schema] ProblemBody),
}

impl Problem {
    /// A problem with a stable code and a sentence for a person.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let body = ProblemBody {
            kind: format!("urn:aeterna:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            ..ProblemBody::default()
        };
        Self { status, body: Box::new(body), retry_after_seconds: None }
    }

    /// 400 that names a parameter.
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::BAD_REQUEST, "invalid-parameter", detail);
        problem.body.parameter = Some(name.to_owned());
        problem
    }

    /// 429 with `Retry-After`.
    pub fn too_many(detail: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-searches", detail);
        problem.retry_after_seconds = Some(1);
        problem
    }

    /// 429 for a node that forwards, or answers for others, as much as it may.
    pub fn too_many_forwards(node: &str, most: u64) -> Self {
        let detail = format!(
            "{node} has {most} repository operations of other nodes, or for them, to do already (`cluster.concurrent_forwards`); try again in a moment"
        );
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-forwards", detail);
        problem.retry_after_seconds = Some(1);
        problem
    }

    /// 429 for a node that has too much to do, and is not asked for so long.
    pub fn busy_node(node: &str, left: Duration) -> Self {
        let detail = format!("{node} has too many searches; try again in a moment");
        let mut problem = Self::too_many(detail);
        problem.retry_after_seconds = Some(left.as_secs().max(1));
        problem
    }

    /// 503 for a search that was to be complete and is not.
    pub fn incomplete(skipped: Vec<Skipped>) -> Self {
        let mut problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            INCOMPLETE,
            "a part of what may match was left out, and requireComplete=true was asked for; \
             `skipped` says what and why",
        );
        problem.body.skipped = skipped;
        problem.retry_after_seconds = Some(5);
        problem
    }

    /// 500: something that should not happen; its cause is in the log and not in the answer.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the server failed; its log has the cause under this request's id",
        )
    }

    /// 503 with `Retry-After`.
    pub fn unavailable(code: &str, detail: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        problem.retry_after_seconds = Some(2);
        problem
    }

    /// 503 for what a shard is needed for that nobody serves now.
    pub fn shard_unavailable(detail: impl Into<String>) -> Self {
        Self::unavailable("shard-unavailable", detail)
    }

    /// Whether it is wrong with the request itself, wherever that is answered.
    pub fn is_of_request(&self) -> bool {
        self.status.is_client_error() && !self.is_busy()
    }

    /// Whether there is only too much else to do.
    pub fn is_busy(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// Whether an answer was to be complete and is not, here.
    pub fn is_incomplete(&self) -> bool {
        self.body.code == INCOMPLETE
    }

    /// Whether what was asked for was there once.
    pub fn is_gone(&self) -> bool {
        self.status == StatusCode::GONE
    }

    /// How long whoever asked is to wait.
    pub fn again_after(&self) -> Duration {
        Duration::from_secs(self.retry_after_seconds.unwrap_or(1))
    }

    /// For another node, which reads it with [`Problem::from_details`].
    pub fn into_grpc(self) -> tonic::Status {
        let wire = Wire { body: *self.body, retry_after_seconds: self.retry_after_seconds };
        // The type has text keys and finite numbers alone: writing it as JSON cannot fail.
        let details = serde_json::to_vec(&wire).unwrap_or_default();
        let message = wire.body.detail;
        tonic::Status::with_details(tonic::Code::Aborted, message, details.into())
    }

    /// A problem that another node answered with.
    pub fn from_details(details: &[u8]) -> Option<Self> {
        let wire: Wire = serde_json::from_slice(details).ok()?;
        let status = StatusCode::from_u16(wire.body.status).ok()?;
        let body = Box::new(wire.body);
        Some(Self { status, body, retry_after_seconds: wire.retry_after_seconds })
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What is said to a person.
    pub fn detail(&self) -> &str {
        &self.body.detail
    }

    /// Moves the position back by the bytes that were put before the caller's query.
    pub fn shift_position(mut self, bytes: u64) -> Self {
        if let Some(span) = &mut self.body.position {
            span.start = span.start.saturating_sub(bytes);
            span.end = span.end.saturating_sub(bytes);
        }
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives a response its problem document: one that carries a [`Problem`], or an error that the
/// framework made without one.
pub fn finish(response: Response, request_id: &str) -> Response {
    let status = response.status();
    let problem = match response.extensions().get::<Problem>() {
        Some(problem) => problem.clone(),
        None if is_plain_error(&response) => of_status(status),
        None => return response,
    };
    let mut body = problem.body;
    body.request_id = request_id.to_owned();
    // The type has text keys and finite numbers alone: writing it as JSON cannot fail.
    let document = serde_json::to_vec(&body).unwrap_or_default();
    let (mut parts, _) = response.into_parts();
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
    parts.headers.remove(header::CONTENT_LENGTH);
    if let Some(seconds) = problem.retry_after_seconds {
        parts.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Response::from_parts(parts, Body::from(document))
}

fn is_plain_error(response: &Response) -> bool {
    let status = response.status();
    let json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/"));
    (status.is_client_error() || status.is_server_error()) && !json
}

fn of_status(status: StatusCode) -> Problem {
    match status {
        StatusCode::NOT_FOUND => Problem::new(
            status,
            "not-found",
            "there is nothing at this path; /openapi.json lists what there is",
        ),
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(
            status,
            "method-not-allowed",
            "this path does not take this method; the Allow header lists those it takes",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            status,
            "body-too-large",
            "the body has more bytes than `http.max_body_bytes` allows",
        ),
        StatusCode::REQUEST_TIMEOUT => Problem::new(
            status,
            "request-timeout",
            "the body did not arrive in the time that `http.read_timeout_seconds` allows",
        ),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::new(
            status,
            "unsupported-media-type",
            "the body must be JSON, with Content-Type: application/json",
        ),
        other => Problem::new(
            other,
            "request-failed",
            other.canonical_reason().unwrap_or("the request failed"),
        ),
    }
}

impl From<SearchError> for Problem {
    fn from(error: SearchError) -> Self {
        let message = error.to_string();
        match error {
            SearchError::Query { code, position, rewrite, .. } => {
                let mut problem = Self::new(StatusCode::BAD_REQUEST, &code, message);
                problem.body.position = position.map(Span::from);
                problem.body.rewrite = rewrite;
                problem
            }
            SearchError::BadCursor => {
                let mut problem = Self::new(StatusCode::BAD_REQUEST, "invalid-cursor", message);
                problem.body.parameter = Some("cursor".to_owned());
                problem
            }
            SearchError::ExpiredCursor => Self::new(StatusCode::GONE, "cursor-expired", message),
            SearchError::Incomplete(skipped) => {
                Self::incomplete(skipped.into_iter().map(Skipped::from).collect())
            }
            // Nobody is there to read it.
            SearchError::Cancelled => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "cancelled", message)
            }
            SearchError::Index(error) => {
                tracing::error!(%error, "a search failed");
                Self::internal()
            }
        }
    }
}

impl From<ManagerError> for Problem {
    fn from(error: ManagerError) -> Self {
        let status = status_of(error.code());
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(%error, code = error.code(), "an operation on repositories failed");
            return Self::internal();
        }
        let mut problem = Self::new(status, error.code(), error.to_string());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            problem.retry_after_seconds = Some(5);
        }
        problem
    }
}

/// The status that says what a code of [`ManagerError::code`] means.
fn status_of(code: &str) -> StatusCode {
    match code {
        "invalid-name"
        | "invalid-branch-glob"
        | "invalid-url"
        | "protocol-not-allowed"
        | "url-has-password"
        | "path-outside-repository"
        | "not-a-file"
        | "not-a-folder"
        | "invalid-cursor" => StatusCode::BAD_REQUEST,
        "local-path-not-allowed" => StatusCode::FORBIDDEN,
        "repository-not-found" | "revision-not-indexed" | "path-not-found" => StatusCode::NOT_FOUND,
        "name-taken" | "other-branches" | "other-parts" | "repository-not-cloned" | "cancelled" => {
            StatusCode::CONFLICT
        }
        "not-a-git-repository"
        | "remote-not-found"
        | "authentication-required"
        | "repository-too-large"
        | "file-too-large" => StatusCode::UNPROCESSABLE_ENTITY,
        "host-unreachable" | "fetch-failed" => StatusCode::BAD_GATEWAY,
        "timed-out" => StatusCode::GATEWAY_TIMEOUT,
        "disk-full" => StatusCode::INSUFFICIENT_STORAGE,
        // A shard that changes hands, and a database that is away.
        "shutting-down" | "shard-not-held" | "fenced" | "stale-epoch" | "catalog-unavailable" => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

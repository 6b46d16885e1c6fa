//! `/api/v1/search`.

use std::sync::Arc;
use std::time::Duration;

use aeterna_index::query::{LanguageNames, ParseOptions, parse};
use aeterna_index::search::{Alert, Cancel, Limits, Output, SearchRequest, SearchResponse};
use aeterna_repo::DEFAULT_TENANT;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use utoipa::{IntoParams, ToSchema};

use super::AppState;
use super::answer::Answer;
use super::body::{self, Writer};
use super::context::{current, for_request};
use super::extract::{JsonBody, Parameters};
use super::problem::Problem;
use crate::api::problem::ProblemBody;
use crate::api::search::SearchAnswer;
use crate::config::Config;
use crate::gather;
use crate::telemetry::Metrics;

/// A search.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SearchParameters {
    /// The query.
    pub q: String,
    /// Results of a page; `count:` in the query wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1)]
    #[schema(minimum = 1)]
    pub page_size: Option<i64>,
    /// `nextCursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Lines of context above and below a match; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 0)]
    #[schema(minimum = 0)]
    pub context: Option<i64>,
    /// Count the matching documents by language, repository, author and month of the last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facets: Option<bool>,
    /// Tell how the answer was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<bool>,
    /// Answer 503 rather than leave out anything that may match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_complete: Option<bool>,
    /// Return content; default true. Without it, counts and paths alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<bool>,
}

/// Searches.
#[utoipa::path(get, path = "/api/v1/search", tag = "search", params(SearchParameters), responses(
    (status = 200, body = SearchAnswer),
    (status = 400, description = "The query or a parameter is wrong", body = ProblemBody, content_type = "application/problem+json"),
    (status = 410, description = "What the cursor was made on is gone", body = ProblemBody, content_type = "application/problem+json"),
    (status = 429, description = "Too many searches run; try again after `Retry-After` seconds", body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, description = "`requireComplete` was asked for and something was left out", body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn get_search(
    State(state): State<Arc<AppState>>,
    Parameters(parameters): Parameters<SearchParameters>,
) -> Result<Response, Problem> {
    answer(&state, parameters).await
}

/// Searches, with the parameters in a body: for long queries.
#[utoipa::path(post, path = "/api/v1/search", tag = "search", request_body = SearchParameters, responses(
    (status = 200, body = SearchAnswer),
    (status = 400, description = "The query or a parameter is wrong", body = ProblemBody, content_type = "application/problem+json"),
    (status = 410, description = "What the cursor was made on is gone", body = ProblemBody, content_type = "application/problem+json"),
    (status = 413, description = "The body is too large", body = ProblemBody, content_type = "application/problem+json"),
    (status = 415, description = "The body is no JSON", body = ProblemBody, content_type = "application/problem+json"),
    (status = 429, description = "Too many searches run; try again after `Retry-After` seconds", body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, description = "`requireComplete` was asked for and something was left out", body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn post_search(
    State(state): State<Arc<AppState>>,
    JsonBody(parameters): JsonBody<SearchParameters>,
) -> Result<Response, Problem> {
    answer(&state, parameters).await
}

async fn answer(state: &Arc<AppState>, parameters: SearchParameters) -> Result<Response, Problem> {
    let request = request_of(state, parameters)?;
    let (sender, body) = body::channel(Duration::from_secs(state.config.write_timeout_seconds));
    let search = start(state, request, move |state, request| {
        let answer = Answer::new(Writer::new(sender));
        let response = search(state, request, &answer)?;
        answer.end(SearchAnswer::new(response, u64::from(state.manager.index().count())));
        Ok(())
    })?;
    body.response(search).await
}

/// The engine's request, with every number checked against its limit.
pub fn request_of(
    state: &AppState,
    parameters: SearchParameters,
) -> Result<SearchRequest, Problem> {
    let config = &state.config;
    check_query(&parameters.q, config.max_query_bytes)?;
    let page_size = match parameters.page_size {
        None => config.page_size,
        Some(size) => within("pageSize", size, 1, config.max_page_size)?,
    };
    let context_lines = match parameters.context {
        None => 0,
        Some(lines) => within("context", lines, 0, config.max_context_lines)?,
    };
    let visible = state.manager.visible(DEFAULT_TENANT);
    let deadline = deadline_of(&parameters.q, config);
    Ok(SearchRequest {
        page_size: usize::try_from(page_size).unwrap_or(usize::MAX),
        context_lines: usize::try_from(context_lines).unwrap_or(usize::MAX),
        chunks: parameters.chunks != Some(false),
        facets: parameters.facets == Some(true),
        require_complete: parameters.require_complete == Some(true),
        explain: parameters.explain == Some(true),
        cursor: parameters.cursor,
        limits: Limits {
            deadline,
            documents: usize::try_from(config.max_results).unwrap_or(usize::MAX),
            held_bytes: usize::try_from(config.held_bytes).unwrap_or(usize::MAX),
            ..Limits::default()
        },
        ..SearchRequest::new(parameters.q, visible)
    })
}

/// Checks what the parser cannot: its own limit is for the language, this one is the server's.
pub fn check_query(query: &str, max_bytes: u64) -> Result<(), Problem> {
    if query.len() as u64 > max_bytes {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "query-too-long",
            format!(
                "the query has {} bytes; at most {max_bytes} are taken (`search.max_query_bytes`)",
                query.len()
            ),
        ));
    }
    Ok(())
}

/// Takes every language for one: whether it is does not matter for what is looked at here.
pub struct AnyLanguage;

impl LanguageNames for AnyLanguage {
    fn canonical(&self, _: &str) -> Option<&'static str> {
        Some("any")
    }

    fn nearest(&self, _: &str) -> Vec<&'static str> {
        Vec::new()
    }
}

/// The time that the query itself asks for with `timeout:`.
fn asked_time(query: &str) -> Option<Duration> {
    // Nearly every query is spared a second parse.
    if !query.contains("timeout:") {
        return None;
    }
    parse(query, &ParseOptions::new(&AnyLanguage)).ok()?.options.timeout
}

/// The engine takes `timeout:` up to the deadline it is given: that is the server's longest one for
/// a query that says a time, and the usual one for others.
fn deadline_of(query: &str, config: &Config) -> Duration {
    Duration::from_secs(match asked_time(query) {
        Some(_) => config.max_search_timeout_seconds,
        None => config.search_timeout_seconds,
    })
}

/// Says that `timeout:` asked for more than there is.
fn shortened(request: &SearchRequest) -> Option<Alert> {
    let longest = request.limits.deadline;
    asked_time(&request.query).filter(|asked| *asked > longest).map(|_| Alert {
        code: "timeout-shortened".to_owned(),
        message: format!(
            "a search may take {} s at most (`search.max_timeout_seconds`); `timeout:` asked for more",
            longest.as_secs()
        ),
        rewrite: None,
        position: None,
    })
}

fn within(name: &str, value: i64, low: u64, high: u64) -> Result<u64, Problem> {
    u64::try_from(value).ok().filter(|value| (low..=high).contains(value)).ok_or_else(|| {
        Problem::parameter(name, format!("`{name}` must be from {low} to {high}, not {value}"))
    })
}

/// A search on a thread that may block. It ends when this is dropped, as it is with the connection
/// that waits for it.
pub struct Started<T> {
    task: JoinHandle<Result<T, Problem>>,
    cancel: Cancel,
    metrics: Arc<Metrics>,
}

impl<T> Started<T> {
    /// Waits for its end.
    pub async fn finish(mut self) -> Result<T, Problem> {
        (&mut self.task).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a search ended without an answer");
            self.metrics.search_ended("failed");
            Err(Problem::internal())
        })
    }
}

impl<T> Drop for Started<T> {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Starts a search and what makes its answer on a thread that may block, within the limit on how
/// many run.
pub fn start<T: Send + 'static>(
    state: &Arc<AppState>,
    request: SearchRequest,
    run: impl FnOnce(&Arc<AppState>, &SearchRequest) -> Result<T, Problem> + Send + 'static,
) -> Result<Started<T>, Problem> {
    let Ok(permit) = Arc::clone(&state.searches).try_acquire_owned() else {
        return Err(busy(state));
    };
    state.metrics.usage(DEFAULT_TENANT, "search");
    let shared = Arc::clone(state);
    let cancel = request.cancel.clone();
    let (span, ids) = (tracing::Span::current(), current());
    let task = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let _running = shared.metrics.search_running();
        let _entered = span.enter();
        for_request(ids, || run(&shared, &request))
    });
    Ok(Started { task, cancel, metrics: Arc::clone(&state.metrics) })
}

/// The problem of one search too many.
pub fn busy(state: &AppState) -> Problem {
    state.metrics.search_ended("busy");
    Problem::too_many(format!(
        "{} searches run already (`search.concurrent_searches`); try again in a moment",
        state.config.concurrent_searches
    ))
}

/// Searches: this node alone, or all of its cluster. The results go to the output.
pub fn search(
    state: &Arc<AppState>,
    request: &SearchRequest,
    output: &dyn Output,
) -> Result<SearchResponse, Problem> {
    let answer = match &state.cluster {
        Some(cluster) => gather::search(state, cluster, request, output),
        None => search_here(state, request, output),
    };
    match answer {
        Ok(mut response) => {
            response.alerts.extend(shortened(request));
            let steps: Vec<_> =
                response.steps.iter().map(|step| (step.step, step.elapsed)).collect();
            state.metrics.search(response.elapsed, &steps);
            state.metrics.search_ended(if response.complete { "complete" } else { "incomplete" });
            Ok(response)
        }
        Err(problem) => {
            let outcome = match problem.status() {
                _ if request.cancel.is_cancelled() => "cancelled",
                status if status.is_server_error() => "failed",
                _ => "refused",
            };
            state.metrics.search_ended(outcome);
            Err(problem)
        }
    }
}

/// Searches shards of this node.
pub fn search_here(
    state: &AppState,
    request: &SearchRequest,
    output: &dyn Output,
) -> Result<SearchResponse, Problem> {
    Ok(state.manager.index().search_into(request, output)?)
}

//! `POST /api/search`, as Zoekt's webserver has it.

use std::sync::Arc;
use std::time::Duration;

use aeterna_index::search::SearchRequest;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::AppState;
use super::answer::Collected;
use super::extract::JsonBody;
use super::problem::Problem;
use super::search::{SearchParameters, request_of, search, start};
use crate::api::zoekt::{ZoektError, ZoektOptions, ZoektReply, ZoektRequest};

/// Zoekt's defaults, which an option in the query itself overrides: words are regular expressions,
/// and a query with an upper-case letter is case-sensitive.
const HABITS: &str = "patterntype:regexp case:auto ";

/// Searches as Zoekt's `/api/search` does. The query is in this server's language, with Zoekt's
/// defaults (`patterntype:regexp case:auto`).
#[utoipa::path(post, path = "/api/search", tag = "zoekt", request_body = ZoektRequest, responses(
    (status = 200, body = ZoektReply),
    (status = 400, body = ZoektError),
    (status = 429, body = ZoektError),
))]
pub async fn zoekt_search(
    State(state): State<Arc<AppState>>,
    body: Result<JsonBody<ZoektRequest>, Problem>,
) -> Response {
    let outcome = match body {
        Ok(JsonBody(request)) => run(&state, request).await,
        Err(problem) => Err(problem),
    };
    match outcome {
        Ok(reply) => Json(reply).into_response(),
        Err(problem) => {
            let error = ZoektError { error: problem.detail().to_owned() };
            (problem.status(), Json(error)).into_response()
        }
    }
}

async fn run(state: &Arc<AppState>, asked: ZoektRequest) -> Result<ZoektReply, Problem> {
    let options = asked.opts.unwrap_or_default();
    check(&asked.q, asked.repo_ids.is_some(), &options)?;
    let parameters = SearchParameters {
        q: format!("{HABITS}{}", asked.q),
        // Zoekt's statistics are made from these.
        explain: Some(true),
        ..SearchParameters::default()
    };
    let mut request = request_of(state, parameters)?;
    apply(state, &options, &mut request);
    let chunks = options.chunk_matches;
    start(state, request, move |state, request| {
        let results = Collected::default();
        let response = search(state, request, &results)?;
        Ok(ZoektReply::new(response, results.take(), chunks))
    })?
    .finish()
    .await
    .map_err(|problem| problem.shift_position(HABITS.len() as u64))
}

/// Refuses what cannot be honoured, rather than answer something else than was asked.
fn check(query: &str, by_ids: bool, options: &ZoektOptions) -> Result<(), Problem> {
    let refuse =
        |detail: &str| Err(Problem::new(StatusCode::BAD_REQUEST, "not-supported-here", detail));
    match () {
        () if query.is_empty() => refuse("missing query"),
        () if by_ids => {
            refuse("RepoIDs is not supported: ids of repositories are no numbers here; use repo:")
        }
        () if options.whole => {
            refuse("Opts.Whole is not supported; read files at /api/v1/repos/{id}/file")
        }
        () if options.estimate_doc_count => refuse("Opts.EstimateDocCount is not supported"),
        () => Ok(()),
    }
}

fn apply(state: &AppState, options: &ZoektOptions, search: &mut SearchRequest) {
    let config = &state.config;
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    search.page_size = match options.max_doc_display_count {
        0 => size(config.max_page_size),
        wanted => size(wanted.min(config.max_page_size)),
    };
    search.context_lines = size(options.num_context_lines.min(config.max_context_lines));
    if options.max_wall_time > 0 {
        let longest = Duration::from_secs(config.max_search_timeout_seconds);
        search.limits.deadline = Duration::from_nanos(options.max_wall_time).min(longest);
    }
    if options.total_max_match_count > 0 {
        search.limits.matches = search.limits.matches.min(options.total_max_match_count);
    }
}

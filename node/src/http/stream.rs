//! `/api/v1/search/stream`: a search as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use aeterna_index::search::SearchResponse;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use serde_json::json;

use super::AppState;
use super::extract::Parameters;
use super::problem::Problem;
use super::search::{SearchParameters, complete_enough, execute, request_of};
use crate::api::problem::ProblemBody;
use crate::api::search::SearchAnswer;

/// Results of one `matches` event at most.
const BATCH: usize = 50;

/// Searches, and answers as server-sent events: `progress` (`{"verified","candidates"}`), `matches`
/// (a list of results), `facets`, `alert` (one each), and `done` always last, with what `/search`
/// has beside its results.
#[utoipa::path(get, path = "/api/v1/search/stream", tag = "search", params(SearchParameters), responses(
    (status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream"),
    (status = 400, description = "A parameter is wrong", body = ProblemBody, content_type = "application/problem+json"),
    (status = 429, description = "Too many searches run", body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn stream(
    State(state): State<Arc<AppState>>,
    Parameters(parameters): Parameters<SearchParameters>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let require_complete = parameters.require_complete == Some(true);
    let explain = parameters.explain == Some(true);
    let mut request = request_of(&state, parameters)?;
    // Progress is told from what the engine counted.
    request.explain = true;
    let shards = state.manager.index().shards().len() as u64;
    let events = execute(&state, request, move |response| {
        complete_enough(&response, require_complete)?;
        Ok(events(response, shards, explain))
    })
    .await?;
    Ok(Sse::new(stream::iter(events).map(Ok)).keep_alive(KeepAlive::default()))
}

fn events(response: SearchResponse, shards: u64, explain: bool) -> Vec<Event> {
    let mut answer = SearchAnswer::new(response, shards);
    let mut events = Vec::new();
    if let Some(told) = &answer.explain {
        let progress = json!({"verified": told.verified, "candidates": told.candidates});
        events.push(event("progress", &progress));
    }
    let results = std::mem::take(&mut answer.results);
    for batch in results.chunks(BATCH) {
        events.push(event("matches", &batch));
    }
    if let Some(facets) = answer.facets.take() {
        events.push(event("facets", &facets));
    }
    for alert in std::mem::take(&mut answer.alerts) {
        events.push(event("alert", &alert));
    }
    if !explain {
        answer.explain = None;
    }
    let done = json!({
        "stats": answer.stats,
        "complete": answer.complete,
        "skipped": answer.skipped,
        "explain": answer.explain,
        "nextCursor": answer.next_cursor,
    });
    events.push(event("done", &done));
    events
}

fn event(name: &str, data: &impl Serialize) -> Event {
    // The types have text keys and finite numbers alone: writing them as JSON cannot fail.
    Event::default().event(name).data(serde_json::to_string(data).unwrap_or_default())
}

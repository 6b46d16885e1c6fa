//! `/api/v1/search/stream`: a search as server-sent events.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aeterna_index::search::{Match, Output, Progress, Ranked};
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use serde::Serialize;
use serde_json::json;

use super::AppState;
use super::answer::json as written;
use super::body::{self, Sender};
use super::extract::Parameters;
use super::problem::Problem;
use super::search::{SearchParameters, request_of, search, start};
use crate::api::problem::ProblemBody;
use crate::api::result::write_result;
use crate::api::search::SearchAnswer;

/// Results of one `matches` event at most.
const BATCH: usize = 50;

/// Searches, and answers as server-sent events while it searches: `progress`
/// (`{"verified","candidates"}`), `matches` (a list of results), `facets`, `alert` (one each), and
/// `done` always last, with what `/search` has beside its results. A stream that ends without `done`
/// was broken off.
#[utoipa::path(get, path = "/api/v1/search/stream", tag = "search", params(SearchParameters), responses(
    (status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream"),
    (status = 400, description = "A parameter is wrong", body = ProblemBody, content_type = "application/problem+json"),
    (status = 410, description = "What the cursor was made on is gone", body = ProblemBody, content_type = "application/problem+json"),
    (status = 429, description = "Too many searches run", body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, description = "`requireComplete` was asked for and something was left out", body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn stream(
    State(state): State<Arc<AppState>>,
    Parameters(parameters): Parameters<SearchParameters>,
) -> Result<Sse<impl Stream<Item = Result<Event, io::Error>>>, Problem> {
    let request = request_of(&state, parameters)?;
    let (sender, parts) = body::channel(Duration::from_secs(state.config.write_timeout_seconds));
    // An answer that may yet be refused has not begun.
    let events = Events { sender, begun: AtomicBool::new(!request.require_complete) };
    let search = start(&state, request, move |state, request| {
        let response = search(state, request, &events)?;
        // A client that is gone reads no end.
        let _ = events.end(SearchAnswer::new(response, u64::from(state.manager.index().count())));
        Ok(())
    })?;
    Ok(Sse::new(parts.parts(search).await?).keep_alive(KeepAlive::default()))
}

/// Sends a search's results as events.
struct Events {
    sender: Sender<Event>,
    begun: AtomicBool,
}

impl Events {
    /// Sends an event; it waits for the client.
    fn event(&self, name: &str, data: impl AsRef<str>) -> ControlFlow<()> {
        self.begun.store(true, Ordering::Relaxed);
        self.sender.send(Event::default().event(name).data(data))
    }

    /// Sends what is told after the results.
    fn end(&self, mut answer: SearchAnswer) -> ControlFlow<()> {
        if let Some(facets) = answer.facets.take() {
            self.event("facets", text(&facets))?;
        }
        for alert in std::mem::take(&mut answer.alerts) {
            self.event("alert", text(&alert))?;
        }
        let done = json!({
            "stats": answer.stats,
            "complete": answer.complete,
            "skipped": answer.skipped,
            "explain": answer.explain,
            "nextCursor": answer.next_cursor,
        });
        self.event("done", text(&done))
    }
}

impl Output for Events {
    fn write(&self, found: Match, into: &mut Vec<u8>) {
        write_result(&found, into);
    }

    fn send(&self, ranked: Vec<Ranked>) -> ControlFlow<()> {
        let results: Vec<Vec<u8>> = ranked.into_iter().flat_map(|one| one.results).collect();
        for batch in results.chunks(BATCH) {
            let list = [&b"["[..], &batch.join(&b','), b"]"].concat();
            self.event("matches", String::from_utf8_lossy(&list))?;
        }
        ControlFlow::Continue(())
    }

    fn progress(&self, progress: Progress) {
        if self.begun.load(Ordering::Relaxed) {
            let Progress { verified, candidates } = progress;
            let data = json!({"verified": verified, "candidates": candidates}).to_string();
            // Another follows where this one does not fit.
            self.sender.try_send(Event::default().event("progress").data(data));
        }
    }
}

fn text(data: &impl Serialize) -> String {
    String::from_utf8_lossy(&written(data)).into_owned()
}

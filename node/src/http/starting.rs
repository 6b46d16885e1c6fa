//! What is answered while the node is being opened, which in a cluster waits for cold storage and the database.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::context;
use super::guard::guard;
use super::health::{Alive, stop_by};
use super::listener::Peer;
use super::problem::{self, Problem};
use crate::stop::Stop;

/// A node that is being opened.
#[derive(Debug)]
pub struct Starting {
    node: String,
    stop: Stop,
    started: Instant,
    waits_for: Mutex<Option<String>>,
}

impl Starting {
    /// A node with this name.
    pub fn new(node: String, stop: Stop) -> Arc<Self> {
        Arc::new(Self { node, stop, started: Instant::now(), waits_for: Mutex::default() })
    }

    /// Says in the log and to whoever asks what the node waits for.
    pub fn waits_for(&self, what: String) {
        let mut waits_for = self.waits_for.lock().unwrap_or_else(PoisonError::into_inner);
        // It is said again and again.
        if waits_for.as_ref() != Some(&what) {
            tracing::warn!("waiting for {what}");
            *waits_for = Some(what);
        }
    }

    /// Says that what it waited for, if it did, is there.
    pub fn goes_on(&self) {
        let mut waits_for = self.waits_for.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(what) = waits_for.take() {
            tracing::info!("waits no longer for {what}");
        }
    }

    fn not_ready(&self) -> Problem {
        let waits_for = self.waits_for.lock().unwrap_or_else(PoisonError::into_inner);
        let detail = match &*waits_for {
            _ if self.stop.asked.is_cancelled() => "the server is stopping".to_owned(),
            Some(what) => format!("the node starts, and waits for {what}"),
            None => "the node starts".to_owned(),
        };
        Problem::unavailable("not-ready", detail)
    }
}

/// Answers that the node lives and is not ready; everything else is refused with 503.
pub fn router(starting: Arc<Starting>, address: SocketAddr) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/internal/shutdown", post(shutdown))
        .fallback(refused)
        .layer(from_fn_with_state(address.ip(), guard))
        .layer(from_fn(finished))
        .layer(map_response(context::with_safe_headers))
        .with_state(starting)
}

async fn live(State(starting): State<Arc<Starting>>) -> Json<Alive> {
    Json(Alive::since(starting.started, &starting.node))
}

async fn refused(State(starting): State<Arc<Starting>>) -> Response {
    starting.not_ready().into_response()
}

async fn shutdown(
    State(starting): State<Arc<Starting>>,
    peer: Option<Extension<Peer>>,
) -> Result<StatusCode, Problem> {
    stop_by(peer, &starting.stop).await
}

/// Writes the problem documents, and gives the answer its id.
async fn finished(request: Request, next: Next) -> Response {
    let id = context::request_id(request.headers());
    context::with_id(problem::finish(next.run(request).await, &id), &id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_waited_for_any_more() {
        let starting = Starting::new("node".to_owned(), Stop::default());
        let detail = || starting.not_ready().detail().to_owned();
        assert_eq!(detail(), "the node starts");
        starting.waits_for("the database: nobody listens".to_owned());
        assert_eq!(detail(), "the node starts, and waits for the database: nobody listens");
        starting.goes_on();
        assert_eq!(detail(), "the node starts");
        starting.waits_for("cold storage".to_owned());
        starting.stop.begin();
        assert_eq!(detail(), "the server is stopping");
    }
}

//! Connections beyond those that are served: whoever watches the node is answered over them, and everyone else
//! is told to come back. Else a node whose clients hold all connections would seem dead.

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// That a request came over such a connection.
#[derive(Clone, Copy, Debug)]
pub struct Crowded;

/// Who is answered nonetheless.
const WATCHERS: [&str; 4] = ["/livez", "/readyz", "/metrics", "/internal/shutdown"];

/// Refuses what came over such a connection with 503, and has the connection end with its first answer.
pub async fn shed(request: Request, next: Next) -> Response {
    if request.extensions().get::<Crowded>().is_none() {
        return next.run(request).await;
    }
    let mut response = match WATCHERS.contains(&request.uri().path()) {
        true => next.run(request).await,
        false => Problem::unavailable(
            "too-many-connections",
            "the node has as many connections as it serves (`http.max_connections`); try again in a moment",
        )
        .into_response(),
    };
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

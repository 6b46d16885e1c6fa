//! What every request has: an id, a span, a trace, an access log line, metrics, and a problem
//! document for its error.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;
use uuid::Uuid;

use super::AppState;
use super::problem::{self, Problem};

/// Carries the id of a request, in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Name of the access log, for filters.
pub const ACCESS_LOG: &str = "aeterna_node::http::access";

/// By what the log names a request.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    /// Its own.
    pub request: String,
    /// That of the trace that it is a part of; empty for none.
    pub trace: String,
}

tokio::task_local! {
    /// The request that is answered.
    static CURRENT: Ids;
}

/// The request that is answered here, for what is asked of other nodes because of it; empty where that is none.
pub fn current() -> Ids {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

/// Does a part of the work for a request on another thread.
pub fn for_request<T>(ids: Ids, work: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(ids, work)
}

/// The outermost layer of every route.
pub async fn with_context(
    State(state): State<Arc<AppState>>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    let method = request.method().clone();
    // The route and not the path, which may hold a URL with a password that someone typed.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched", |matched| matched.as_str())
        .to_owned();
    let trace = trace_id(request.headers()).unwrap_or_default();
    let span = tracing::info_span!("request", request_id = %id, trace_id = %trace, %method, route);

    let ids = Ids { request: id.clone(), trace };
    let answered = CURRENT.scope(ids, next.run(request));
    let response = answered.instrument(span.clone()).await;
    let response = with_id(problem::finish(response, &id), &id);
    let status = response.status().as_u16();
    let elapsed = started.elapsed();
    state.metrics.request(method.as_str(), &route, status, elapsed);
    let duration_ms = elapsed.as_secs_f64() * 1e3;
    span.in_scope(|| {
        tracing::info!(target: ACCESS_LOG, status, duration_ms, "answered");
    });
    response
}

/// Gives an answer the id of its request.
pub fn with_id(mut response: Response, id: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// What keeps a browser from taking an answer for something else than data.
pub async fn with_safe_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The caller's id where it is harmless in logs and headers, else a new one.
pub fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()))
        .filter(|id| id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)))
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// The trace id of a W3C `traceparent`: version, 32 hex digits of trace, 16 of parent, flags.
fn trace_id(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(TRACE_PARENT)?.to_str().ok()?;
    let mut parts = value.split('-');
    let (version, trace, parent, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let valid = hex(version, 2)
        && version != "ff"
        && (version != "00" || parts.next().is_none())
        && hex(trace, 32)
        && hex(parent, 16)
        && hex(flags, 2)
        && trace.bytes().any(|b| b != b'0')
        && parent.bytes().any(|b| b != b'0');
    valid.then(|| trace.to_owned())
}

/// A panic in a handler, as an answer. Its message is in the log: see `telemetry`.
pub fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    Problem::internal().into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn harmless_ids_are_taken_and_others_replaced() {
        for good in ["a", "0190f-A_b.c", &"x".repeat(128)] {
            assert_eq!(request_id(&headers(REQUEST_ID, good)), good);
        }
        for bad in ["", "a b", "a\"b", "{}", &"x".repeat(129)] {
            let made = request_id(&headers(REQUEST_ID, bad));
            assert_ne!(made, bad);
            assert!(Uuid::parse_str(&made).is_ok());
        }
    }

    #[test]
    fn only_valid_traces_are_taken() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let of = |value: &str| trace_id(&headers(TRACE_PARENT, value));
        assert_eq!(of(&format!("00-{trace}-b7ad6b7169203331-01")).as_deref(), Some(trace));
        assert_eq!(of(&format!("01-{trace}-b7ad6b7169203331-01-more")).as_deref(), Some(trace));
        for bad in [
            format!("00-{trace}-b7ad6b7169203331-01-more"),
            format!("ff-{trace}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{trace}-0000000000000000-01"),
            format!("00-{}-b7ad6b7169203331-01", trace.to_uppercase()),
            "garbage".to_owned(),
        ] {
            assert_eq!(of(&bad), None, "{bad}");
        }
    }
}

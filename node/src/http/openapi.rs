//! `/openapi.json`, made from the handlers' types.

use axum::Extension;
use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Aeterna Code Search",
        description = "Exact code search over git repositories. Offsets are 0-based bytes and \
            authoritative, lines 1-based, columns 1-based code points. Content and paths that are \
            not UTF-8 come as text with U+FFFD and, beside it, as base64 of the exact bytes. Errors \
            are RFC 9457 problem documents. Every answer has an `X-Request-Id`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "search", description = "Searching"),
        (name = "repositories", description = "What is indexed"),
        (name = "operation", description = "Health, metrics, shutdown"),
        (name = "zoekt", description = "For Zoekt's clients"),
    ),
)]
struct Base;

/// What is described beside the routes.
pub fn document() -> utoipa::openapi::OpenApi {
    Base::openapi()
}

/// The document as it is sent.
#[derive(Clone, Debug)]
pub struct Document(Bytes);

impl Document {
    /// Writes it once.
    pub fn new(document: &utoipa::openapi::OpenApi) -> Self {
        // The document has text keys and finite numbers alone: writing it as JSON cannot fail.
        Self(Bytes::from(serde_json::to_vec(document).unwrap_or_default()))
    }
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "operation", responses(
    (status = 200, description = "OpenAPI 3.1", content_type = "application/json"),
))]
pub async fn describe(Extension(Document(bytes)): Extension<Document>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}

//! The HTTP API: routes, and the layers that every request passes.

mod answer;
mod body;
pub mod cluster;
pub mod context;
mod crowd;
mod extract;
mod files;
mod guard;
mod health;
pub mod listener;
mod openapi;
pub mod problem;
pub mod repos;
pub mod search;
pub mod starting;
mod stream;
mod zoekt;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aeterna_repo::RepoManager;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use self::answer::json;
use crate::cluster::{Cluster, add_at_owner, to_owner};
use crate::config::Config;
use crate::stop::Stop;
use crate::telemetry::Metrics;

/// What handlers share.
pub struct AppState {
    /// Repositories and their index.
    pub manager: Arc<RepoManager>,
    /// The cluster that this node is one of.
    pub cluster: Option<Arc<Cluster>>,
    /// Configuration.
    pub config: Config,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Address that the server listens on.
    pub address: SocketAddr,
    /// One permit for each search that may run.
    pub searches: Arc<Semaphore>,
    /// One permit for each part of another node's search that may run.
    pub parts: Arc<Semaphore>,
    /// One permit for each repository operation that may be forwarded from here or to here.
    pub forwards: Arc<Semaphore>,
    /// How the server is asked to stop.
    pub stop: Stop,
    /// When the server started.
    pub started: Instant,
}

impl AppState {
    /// The state of a server at this address.
    pub fn new(
        manager: Arc<RepoManager>,
        cluster: Option<Arc<Cluster>>,
        config: Config,
        metrics: Arc<Metrics>,
        address: SocketAddr,
        stop: Stop,
    ) -> Self {
        let permits = |most: u64| {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)))
        };
        let searches = permits(config.concurrent_searches);
        let parts = permits(config.concurrent_parts);
        let forwards = permits(config.concurrent_forwards);
        let started = Instant::now();
        Self {
            manager,
            cluster,
            config,
            metrics,
            address,
            searches,
            parts,
            forwards,
            stop,
            started,
        }
    }
}

/// The described routes.
fn described(state: &Arc<AppState>) -> OpenApiRouter<Arc<AppState>> {
    let adding = OpenApiRouter::new()
        .routes(routes!(repos::add))
        .route_layer(from_fn_with_state(Arc::clone(state), add_at_owner));
    // What the owner of the repository's shard answers.
    let owned = OpenApiRouter::new()
        .routes(routes!(repos::show, repos::remove))
        .routes(routes!(repos::sync))
        .routes(routes!(repos::reindex))
        .routes(routes!(repos::not_indexed))
        .routes(routes!(files::file))
        .routes(routes!(files::tree))
        .route_layer(from_fn_with_state(Arc::clone(state), to_owner));
    OpenApiRouter::with_openapi(openapi::document())
        .merge(adding)
        .merge(owned)
        .routes(routes!(search::get_search, search::post_search))
        .routes(routes!(stream::stream))
        .routes(routes!(repos::list))
        .routes(routes!(repos::events))
        .routes(routes!(cluster::status))
        .routes(routes!(cluster::nodes))
        .routes(routes!(cluster::remove))
        .routes(routes!(cluster::drain))
        .routes(routes!(cluster::shards))
        .routes(routes!(cluster::shard))
        .routes(routes!(cluster::move_shard))
        .routes(routes!(cluster::pin_shard))
        .routes(routes!(cluster::rebalance))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(health::shutdown))
        .routes(routes!(zoekt::zoekt_search))
        .routes(routes!(openapi::describe))
}

/// The whole API.
pub fn router(state: Arc<AppState>) -> Router {
    let (routes, document) = described(&state).split_for_parts();
    let routes = routes.layer(axum::Extension(openapi::Document::new(&document)));
    layered(routes, state)
}

/// Routes behind everything that a request passes.
fn layered(routes: Router<Arc<AppState>>, state: Arc<AppState>) -> Router {
    let body_limit = usize::try_from(state.config.max_body_bytes).unwrap_or(usize::MAX);
    let read_timeout = Duration::from_secs(state.config.read_timeout_seconds);
    // The last layer is the outermost one.
    routes
        .layer(DefaultBodyLimit::max(body_limit))
        .layer(RequestBodyTimeoutLayer::new(read_timeout))
        .layer(from_fn_with_state(state.address.ip(), guard::guard))
        .layer(from_fn(crowd::shed))
        .layer(CatchPanicLayer::custom(context::panicked))
        .layer(from_fn_with_state(Arc::clone(&state), context::with_context))
        .layer(map_response(context::with_safe_headers))
        .layer(CompressionLayer::new())
        .with_state(state)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, header};
    use axum::routing::get;
    use tower::ServiceExt;

    async fn state(data: &std::path::Path) -> Arc<AppState> {
        let config = Config { data: data.to_owned(), ..Config::default() };
        let manager = RepoManager::open(aeterna_repo::ManagerConfig::new(data)).await.unwrap();
        let metrics = Arc::new(Metrics::default());
        let address = "127.0.0.1:8080".parse().unwrap();
        Arc::new(AppState::new(manager, None, config, metrics, address, Stop::default()))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_is_a_problem_and_the_server_goes_on() {
        async fn broken() -> &'static str {
            panic!("asked for")
        }
        let data = tempfile::tempdir().unwrap();
        let state = state(data.path()).await;
        let routes =
            Router::new().route("/broken", get(broken)).route("/fine", get(async || "fine"));
        let router = layered(routes, Arc::clone(&state));
        let ask = async |path: &str| {
            let request = Request::get(path).header(header::HOST, "localhost");
            router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
        };
        let response = ask("/broken").await;
        assert_eq!(response.status(), 500);
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let problem: crate::api::problem::ProblemBody = serde_json::from_slice(&body).unwrap();
        assert_eq!((problem.code.as_str(), problem.request_id), ("internal", id));
        assert!(!problem.detail.contains("asked for"), "the cause is for the log");
        assert_eq!(ask("/fine").await.status(), 200);
        state.manager.shutdown().await;
    }
}

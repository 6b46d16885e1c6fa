//! `/livez`, `/readyz`, `/metrics` and `/internal/shutdown`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use aeterna_repo::{DEFAULT_TENANT, DiskSpace, ListFilter, RepoManager, State as RepositoryState};
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::AppState;
use super::listener::Peer;
use super::problem::Problem;
use crate::api::problem::ProblemBody;
use crate::stop::Stop;
use crate::telemetry::RepositoryGauges;

/// Repositories that are read at once to count them.
const COUNTED_AT_ONCE: u32 = 1000;
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// That the process lives.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alive {
    /// Always `alive`.
    status: &'static str,
    /// Name of the node.
    node: String,
    /// Version of the program.
    version: &'static str,
    /// Seconds since it started.
    uptime_seconds: u64,
}

impl Alive {
    /// Of a node that has started then.
    pub fn since(started: Instant, node: &str) -> Self {
        Self {
            status: "alive",
            node: node.to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: started.elapsed().as_secs(),
        }
    }
}

/// That the node can answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// Always `ready`.
    status: &'static str,
    /// Jobs that run.
    jobs_running: u64,
    /// Jobs that wait.
    jobs_waiting: u64,
    /// Why indexing waits, such as for a full disk; searches go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    indexing_paused: Option<String>,
}

/// Whether the process lives; looks at nothing else.
#[utoipa::path(get, path = "/livez", tag = "operation", responses((status = 200, body = Alive)))]
pub async fn live(State(state): State<Arc<AppState>>) -> Json<Alive> {
    Json(Alive::since(state.started, &state.config.node_name))
}

/// Whether the node can answer searches, and outside of a cluster take work. A cluster's nodes search on
/// without their database. As long as a node starts, whatever else is asked for is refused as this is, with
/// what it waits for.
#[utoipa::path(get, path = "/readyz", tag = "operation", responses(
    (status = 200, body = Ready),
    (status = 503, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn ready(State(state): State<Arc<AppState>>) -> Result<Json<Ready>, Problem> {
    let not_ready =
        |detail: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", detail);
    if state.stop.asked.is_cancelled() {
        return Err(not_ready("the server is stopping".to_owned()));
    }
    if let Some(why) = state.cluster.as_ref().and_then(|cluster| cluster.lacks_map()) {
        return Err(not_ready(why));
    }
    let health = state.manager.health().await;
    match &state.cluster {
        None if !health.catalog => {
            return Err(not_ready("the catalog does not answer; the log says why".to_owned()));
        }
        Some(cluster) if !cluster.knows_whom_to_ask() => {
            return Err(not_ready("the node has not heard of all owners of shards yet".to_owned()));
        }
        _ => {}
    }
    if !health.failed_tasks.is_empty() {
        let tasks = health.failed_tasks.join(", ");
        return Err(not_ready(format!("a part of the node failed: {tasks}; restart it")));
    }
    Ok(Json(Ready {
        status: "ready",
        jobs_running: health.running as u64,
        jobs_waiting: health.waiting as u64,
        indexing_paused: health.paused.map(|pause| pause.reason),
    }))
}

/// Metrics for Prometheus, as OpenMetrics text.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses(
    (status = 200, body = String, content_type = "application/openmetrics-text"),
))]
pub async fn metrics(State(state): State<Arc<AppState>>) -> Result<Response, Problem> {
    let health = state.manager.health().await;
    // All else is known without the database, and wanted most then; it was waited for once already.
    let by_state = match health.catalog {
        true => count_by_state(&state.manager).await?,
        false => Vec::new(),
    };
    let mut gauges = RepositoryGauges {
        by_state,
        waiting: health.waiting as u64,
        running: health.running as u64,
        indexing_paused: health.paused.is_some(),
        disk: DiskSpace::of(&state.config.data).unwrap_or_default(),
        healthy: match &state.cluster {
            Some(cluster) => cluster.alive(),
            None => u64::from(health.catalog && health.failed_tasks.is_empty()),
        },
        ..RepositoryGauges::default()
    };
    // What is a copy here counts where it is owned.
    let is_copy = |shard| state.manager.searched_copy(shard).is_some();
    for shard in state.manager.index().shards().iter().filter(|shard| !is_copy(shard.number())) {
        let stats = shard.stats();
        gauges.index_bytes += stats.bytes;
        gauges.index_documents += stats.documents;
        gauges.index_segments += stats.segments;
    }
    if let Some(cluster) = &state.cluster {
        cluster.metrics().set(&cluster.gauges());
    }
    let text = state.metrics.encode(&gauges);
    Ok(([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response())
}

async fn count_by_state(manager: &RepoManager) -> Result<Vec<(&'static str, u64)>, Problem> {
    let mut counts = HashMap::new();
    let mut filter = ListFilter {
        tenant: DEFAULT_TENANT.to_owned(),
        name: None,
        state: None,
        after: None,
        limit: COUNTED_AT_ONCE,
    };
    loop {
        let page = manager.list(&filter).await?;
        for repository in &page {
            *counts.entry(repository.state).or_insert(0) += 1;
        }
        match page.last() {
            Some(last) if page.len() == COUNTED_AT_ONCE as usize => {
                filter.after = Some(last.name.clone());
            }
            _ => {
                let count = |state: &RepositoryState| counts.get(state).copied().unwrap_or(0);
                let all = RepositoryState::ALL.iter();
                return Ok(all.map(|state| (state.as_str(), count(state))).collect());
            }
        }
    }
}

/// Stops the server, from this machine alone, and answers once no work is left. A second call, or a signal after
/// the first, does not wait.
#[utoipa::path(post, path = "/internal/shutdown", tag = "operation", responses(
    (status = 204, description = "No work is left, or what is left is not waited for; the process ends"),
    (status = 403, description = "Not from this machine", body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn shutdown(
    State(state): State<Arc<AppState>>,
    peer: Option<Extension<Peer>>,
) -> Result<StatusCode, Problem> {
    stop_by(peer, &state.stop).await
}

/// Has the server stop, if it is asked from this machine, and waits until it has.
pub async fn stop_by(peer: Option<Extension<Peer>>, stop: &Stop) -> Result<StatusCode, Problem> {
    if !peer.is_some_and(|Extension(Peer(address))| address.ip().is_loopback()) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "loopback-only",
            "only a process of the same machine may stop the server",
        ));
    }
    if !stop.ask() {
        tracing::info!("stopping by a call; asked once more it hurries");
    }
    stop.drained.cancelled().await;
    Ok(StatusCode::NO_CONTENT)
}

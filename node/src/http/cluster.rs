//! `/api/v1/cluster`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AppState;
use super::extract::{JsonBody, Parameters};
use super::problem::Problem;
use super::repos::NoParameters;
use crate::api::cluster::{ClusterStatus, NodeList, Rebalance, Shard, ShardList};
use crate::api::problem::ProblemBody;
use crate::cluster::Cluster;

/// What to rebalance.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RebalanceRequest {
    /// Only tell what would move.
    #[serde(default)]
    pub dry_run: bool,
}

/// Where a shard is to go.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MoveRequest {
    /// Name of the node.
    pub to: String,
}

/// Where a shard is to stay.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PinRequest {
    /// Name of the node; null where it need not stay.
    pub to: Option<String>,
}

/// Nothing: an object without members.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoMembers {}

/// The node's part of a cluster.
fn cluster_of(state: &AppState) -> Result<&Arc<Cluster>, Problem> {
    state.cluster.as_ref().ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "no-cluster",
            "this node is alone; start it with `cluster.join` to make it one of a cluster",
        )
    })
}

/// Shows how the cluster is, as this node sees it: it waits for no other node.
#[utoipa::path(get, path = "/api/v1/cluster", tag = "cluster", responses(
    (status = 200, body = ClusterStatus),
    (status = 404, description = "The node is alone", body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn status(
    State(state): State<Arc<AppState>>,
    Parameters(NoParameters {}): Parameters<NoParameters>,
) -> Result<Json<ClusterStatus>, Problem> {
    Ok(Json(cluster_of(&state)?.status()))
}

/// Lists the nodes.
#[utoipa::path(get, path = "/api/v1/cluster/nodes", tag = "cluster", responses(
    (status = 200, body = NodeList),
    (status = 404, description = "The node is alone", body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn nodes(
    State(state): State<Arc<AppState>>,
    Parameters(NoParameters {}): Parameters<NoParameters>,
) -> Result<Json<NodeList>, Problem> {
    Ok(Json(NodeList { nodes: cluster_of(&state)?.nodes() }))
}

/// Lists the shards, who owns them, and how they are.
#[utoipa::path(get, path = "/api/v1/cluster/shards", tag = "cluster", responses(
    (status = 200, body = ShardList),
    (status = 404, description = "The node is alone", body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn shards(
    State(state): State<Arc<AppState>>,
    Parameters(NoParameters {}): Parameters<NoParameters>,
) -> Result<Json<ShardList>, Problem> {
    Ok(Json(cluster_of(&state)?.shards()))
}

/// Shows a shard.
#[utoipa::path(get, path = "/api/v1/cluster/shards/{shard}", tag = "cluster",
    params(("shard" = u32, Path, description = "Its number")), responses(
    (status = 200, body = Shard),
    (status = 404, description = "There is no such shard, or the node is alone", body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn shard(
    State(state): State<Arc<AppState>>,
    Path(shard): Path<u32>,
    Parameters(NoParameters {}): Parameters<NoParameters>,
) -> Result<Json<Shard>, Problem> {
    Ok(Json(cluster_of(&state)?.shard(shard)?))
}

/// Moves a shard to another node: it is copied, then changes its owner. To the node that has it, a move that is under
/// way is given up.
#[utoipa::path(post, path = "/api/v1/cluster/shards/{shard}/move", tag = "cluster",
    params(("shard" = u32, Path, description = "Its number")), request_body = MoveRequest, responses(
    (status = 202, description = "It is on its way, or stays where it is", body = Shard),
    (status = 404, description = "There is no such shard, or the node is alone", body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, description = "The shard cannot go there", body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, description = "Nobody leads the cluster now", body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn move_shard(
    State(state): State<Arc<AppState>>,
    Path(shard): Path<u32>,
    JsonBody(request): JsonBody<MoveRequest>,
) -> Result<(StatusCode, Json<Shard>), Problem> {
    let moved = cluster_of(&state)?.move_shard(shard, &request.to).await?;
    Ok((StatusCode::ACCEPTED, Json(moved)))
}

/// Keeps a shard on a node, whatever its size, or no longer.
#[utoipa::path(post, path = "/api/v1/cluster/shards/{shard}/pin", tag = "cluster",
    params(("shard" = u32, Path, description = "Its number")), request_body = PinRequest, responses(
    (status = 200, body = Shard),
    (status = 404, description = "There is no such shard, or the node is alone", body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, description = "The shard cannot stay there", body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, description = "Nobody leads the cluster now", body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn pin_shard(
    State(state): State<Arc<AppState>>,
    Path(shard): Path<u32>,
    JsonBody(request): JsonBody<PinRequest>,
) -> Result<Json<Shard>, Problem> {
    Ok(Json(cluster_of(&state)?.pin_shard(shard, request.to.as_deref()).await?))
}

/// Moves shards from nodes that hold too much to those that hold little, as few bytes as will do.
#[utoipa::path(post, path = "/api/v1/cluster/rebalance", tag = "cluster", request_body = RebalanceRequest, responses(
    (status = 200, body = Rebalance),
    (status = 404, description = "The node is alone", body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, description = "Shards are being restored, which comes first", body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, description = "Nobody leads the cluster now", body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn rebalance(
    State(state): State<Arc<AppState>>,
    JsonBody(request): JsonBody<RebalanceRequest>,
) -> Result<Json<Rebalance>, Problem> {
    Ok(Json(cluster_of(&state)?.rebalance(request.dry_run).await?))
}

/// Lets a node hand its shards over to the others.
#[utoipa::path(post, path = "/api/v1/cluster/nodes/{name}/drain", tag = "cluster",
    params(("name" = String, Path, description = "Its name")), request_body = NoMembers, responses(
    (status = 202, description = "It hands over", body = NodeList),
    (status = 404, description = "There is no such node, or the node is alone", body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, description = "No other node could take what it owns", body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, description = "Nobody leads the cluster now", body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn drain(
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    JsonBody(NoMembers {}): JsonBody<NoMembers>,
) -> Result<(StatusCode, Json<NodeList>), Problem> {
    let cluster = cluster_of(&state)?;
    cluster.drain_node(&name).await?;
    Ok((StatusCode::ACCEPTED, Json(NodeList { nodes: cluster.nodes() })))
}

/// Forgets a node that owns nothing.
#[utoipa::path(delete, path = "/api/v1/cluster/nodes/{name}", tag = "cluster",
    params(("name" = String, Path, description = "Its name")), responses(
    (status = 204, description = "It is forgotten"),
    (status = 404, description = "There is no such node, or the node is alone", body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, description = "It owns shards, or is alive", body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, description = "Nobody leads the cluster now", body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn remove(
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
    Parameters(NoParameters {}): Parameters<NoParameters>,
) -> Result<StatusCode, Problem> {
    cluster_of(&state)?.remove_node(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

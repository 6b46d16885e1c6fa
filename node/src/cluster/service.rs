//! What this node answers other nodes.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use aeterna_cluster::peers::Answers;
use aeterna_index::search::{Cancel, Limits, SearchRequest};
use aeterna_proto::node_server::Node;
use aeterna_proto::{self as proto};
use axum::Router;
use futures_util::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status};

use super::{Cluster, forward};
use crate::gather::{self, Wanted};
use crate::http::AppState;

/// Shards that one call may name.
const MAX_SHARDS: usize = 65_536;

/// The service of a node.
pub struct NodeService {
    cluster: Arc<Cluster>,
    answers: Answers,
    state: Weak<AppState>,
    router: Router,
}

impl NodeService {
    /// Answers with these parts of the node.
    pub fn new(cluster: Arc<Cluster>, state: &Arc<AppState>, router: Router) -> Self {
        Self { answers: cluster.answers(), cluster, state: Arc::downgrade(state), router }
    }

    fn state(&self) -> Result<Arc<AppState>, Status> {
        self.state.upgrade().ok_or_else(|| Status::unavailable("the node is stopping"))
    }
}

#[tonic::async_trait]
impl Node for NodeService {
    async fn raft(
        &self,
        request: Request<proto::RaftRequest>,
    ) -> Result<Response<proto::RaftResponse>, Status> {
        self.answers.raft(request.into_inner()).await.map(Response::new)
    }

    async fn shard_map(
        &self,
        request: Request<proto::ShardMapRequest>,
    ) -> Result<Response<proto::ShardMapResponse>, Status> {
        self.answers.shard_map(request.get_ref()).map(Response::new)
    }

    async fn propose(
        &self,
        request: Request<proto::ProposeRequest>,
    ) -> Result<Response<proto::ProposeResponse>, Status> {
        self.answers.propose(request.into_inner()).await.map(Response::new)
    }

    type SearchStream = Pin<Box<dyn Stream<Item = Result<proto::SearchPart, Status>> + Send>>;

    async fn search(
        &self,
        request: Request<proto::SearchRequest>,
    ) -> Result<Response<Self::SearchStream>, Status> {
        let state = self.state()?;
        let message = request.into_inner();
        if message.shards.len() > MAX_SHARDS {
            return Err(Status::invalid_argument("more shards are named than any cluster has"));
        }
        let permit = Arc::clone(&state.searches)
            .try_acquire_owned()
            .map_err(|_| crate::http::search::busy(&state).into_grpc())?;
        let wanted: Wanted =
            message.shards.iter().map(|shard| (shard.shard, shard.epoch)).collect();
        let span = tracing::info_span!("part", request_id = %message.request_id);
        let request = engine_request(&state, message);
        let parts = span.in_scope(|| gather::start_part(&state, request, &wanted));
        let parts = stream::unfold((parts, permit), async |(mut parts, permit)| {
            let part = parts.parts.recv().await?;
            Some((gather::encoded(part), (parts, permit)))
        });
        Ok(Response::new(parts.boxed()))
    }

    async fn forward(
        &self,
        request: Request<proto::ForwardRequest>,
    ) -> Result<Response<proto::ForwardResponse>, Status> {
        let answer = forward::answer(&self.cluster, &self.router, request.into_inner()).await?;
        Ok(Response::new(answer))
    }
}

fn engine_request(state: &AppState, message: proto::SearchRequest) -> SearchRequest {
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let config = &state.config;
    let longest = Duration::from_secs(config.max_search_timeout_seconds);
    SearchRequest {
        visible: state.manager.visible(&message.tenant),
        query: message.query,
        // What another node asks for is within its own limits, and within this node's.
        page_size: size(message.page_size.min(config.max_page_size)),
        context_lines: size(message.context_lines.min(config.max_context_lines)),
        chunks: message.chunks,
        facets: message.facets,
        facet_values: usize::MAX,
        require_complete: message.require_complete,
        explain: message.explain,
        cursor: (!message.cursor.is_empty()).then_some(message.cursor),
        shards: None,
        share: message.share.max(1),
        cancel: Cancel::default(),
        limits: Limits {
            deadline: Duration::from_millis(message.deadline_ms).min(longest),
            documents: size(message.max_results.min(config.max_results)),
            held_bytes: size(message.held_bytes.min(config.held_bytes)),
            matches: message.max_matches,
            ..Limits::default()
        },
    }
}

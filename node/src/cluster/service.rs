//! What this node answers other nodes.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aeterna_cluster::name::NodeName;
use aeterna_cluster::peers::{Answers, Caller};
use aeterna_cluster::shard_map::MAX_SHARDS;
use aeterna_index::search::{Limits, SearchRequest, Visible};
use aeterna_proto::node_server::Node;
use aeterna_proto::{self as proto};
use axum::Router;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use super::{Cluster, forward};
use crate::gather::{self, Running, Wanted};
use crate::http::AppState;
use crate::http::problem::Problem;

/// The service of a node.
pub struct NodeService {
    cluster: Arc<Cluster>,
    answers: Answers,
    state: Arc<AppState>,
    router: Router,
    searches: Searches,
}

/// Searches for other nodes that may pause, and what makes each go on: there are as many as may run.
type Searches = Arc<Mutex<HashMap<(NodeName, u64), mpsc::Sender<()>>>>;

/// That a search may be made to go on, until it is dropped.
struct MayResume {
    searches: Searches,
    key: (NodeName, u64),
}

impl MayResume {
    fn new(searches: &Searches, key: (NodeName, u64), more: mpsc::Sender<()>) -> Self {
        let all = &mut *searches.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(key.clone(), more);
        Self { searches: Arc::clone(searches), key }
    }
}

impl Drop for MayResume {
    fn drop(&mut self) {
        self.searches.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Who calls.
fn caller<T>(request: &Request<T>) -> Result<NodeName, Status> {
    let caller = request.extensions().get::<Caller>();
    caller.map(|caller| caller.0.clone()).ok_or_else(|| Status::unauthenticated("nobody calls"))
}

impl NodeService {
    /// Answers with these parts of the node.
    pub fn new(cluster: Arc<Cluster>, state: Arc<AppState>, router: Router) -> Self {
        let searches = Searches::default();
        Self { answers: cluster.answers(), cluster, state, router, searches }
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
        let state = &self.state;
        let caller = caller(&request)?;
        let message = request.into_inner();
        if message.shards.len() > MAX_SHARDS as usize {
            return Err(Status::invalid_argument("more shards are named than any cluster has"));
        }
        let permit = Arc::clone(&state.parts).try_acquire_owned().map_err(|_| {
            Problem::too_many(format!(
                "{} has {} parts of searches to do already (`search.concurrent_parts`)",
                self.cluster.name(),
                state.config.concurrent_parts
            ))
            .into_grpc()
        })?;
        let wanted: Wanted =
            message.shards.iter().map(|shard| (shard.shard, shard.epoch)).collect();
        let span = tracing::info_span!("part", request_id = %message.request_id, trace_id = %message.trace_id);
        let (tenant, key) = (message.tenant.clone(), (caller, message.search));
        let request = engine_request(state, message);
        let running = Running { _permit: permit, _counted: self.cluster.metrics().part_running() };
        let pauses = request.first.is_some();
        let start =
            || gather::start_part(state, &self.cluster, request, &wanted, &tenant, Some(running));
        let parts = span.in_scope(start);
        let may_resume = pauses.then(|| MayResume::new(&self.searches, key, parts.more.clone()));
        let parts = stream::unfold((parts, may_resume), async |(mut parts, may_resume)| {
            let part = parts.next_or_sign().await?;
            Some((gather::encoded(part), (parts, may_resume)))
        });
        Ok(Response::new(parts.boxed()))
    }

    async fn resume(
        &self,
        request: Request<proto::ResumeRequest>,
    ) -> Result<Response<proto::ResumeResponse>, Status> {
        let key = (caller(&request)?, request.get_ref().search);
        let all = self.searches.lock().unwrap_or_else(PoisonError::into_inner);
        let more = all.get(&key).ok_or_else(|| Status::not_found("no such search has paused"))?;
        // One that was asked already goes on anyway.
        let _ = more.try_send(());
        Ok(Response::new(proto::ResumeResponse {}))
    }

    async fn forward(
        &self,
        request: Request<proto::ForwardRequest>,
    ) -> Result<Response<proto::ForwardResponse>, Status> {
        let (state, cluster, router) = (&self.state, &self.cluster, &self.router);
        let answer = forward::answer(state, cluster, router, request.into_inner()).await?;
        Ok(Response::new(answer))
    }
}

fn engine_request(state: &AppState, message: proto::SearchRequest) -> SearchRequest {
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let config = &state.config;
    let longest = Duration::from_secs(config.max_search_timeout_seconds);
    SearchRequest {
        // What another node asks for is within its own limits, and within this node's.
        page_size: size(message.page_size.min(config.max_page_size)),
        context_lines: size(message.context_lines.min(config.max_context_lines)),
        chunks: message.chunks,
        facets: message.facets,
        facet_values: usize::MAX,
        require_complete: message.require_complete,
        explain: message.explain,
        cursor: (!message.cursor.is_empty()).then_some(message.cursor),
        share: message.share.max(1),
        first: (message.first > 0).then(|| size(message.first)),
        limits: Limits {
            deadline: Duration::from_millis(message.deadline_ms).min(longest),
            documents: size(message.max_results.min(config.max_results)),
            held_bytes: size(message.held_bytes.min(config.held_bytes)),
            matches: message.max_matches,
            ..Limits::default()
        },
        // What may be found is known when it is known which shards are searched.
        ..SearchRequest::new(message.query, Visible::Only(Arc::default()))
    }
}

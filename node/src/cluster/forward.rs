//! Repository operations go to the owner of the repository's shard: the HTTP request as it came in,
//! forwarded once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aeterna_cluster::name::NodeName;
use aeterna_index::RepositoryId;
use aeterna_proto as proto;
use aeterna_repo::ManagerError;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest, MatchedPath, RawPathParams, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tonic::{Code, Status};
use tower::ServiceExt;
use uuid::Uuid;

use super::{Cluster, Place, REFRESH};
use crate::http::AppState;
use crate::http::context::{REQUEST_ID, current};
use crate::http::problem::Problem;
use crate::http::repos::find;

/// Bytes of a response that is forwarded at most: the largest file in base64, and its frame.
pub const MAX_FORWARDED: usize = 64 << 20;
/// Time that a forwarded operation may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Headers that belong to one connection (RFC 9110, 7.6.1), or are made anew.
const HOP_HEADERS: [HeaderName; 6] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
    header::ACCEPT_ENCODING,
    header::HOST,
];

/// That a request was forwarded by another node, which has checked it.
#[derive(Clone, Copy, Debug)]
pub struct Forwarded;

/// The id that an added repository gets: it decides its shard.
#[derive(Clone, Copy, Debug)]
pub struct NewId(pub RepositoryId);

/// Has a repository added by the owner of its shard: one that is served now, as the id is free to
/// choose.
pub async fn add_at_owner(
    State(state): State<Arc<AppState>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(cluster) = state.cluster.clone() else { return next.run(request).await };
    if request.extensions().get::<Forwarded>().is_some() {
        return next.run(request).await;
    }
    let (id, place) = cluster.place_for_new();
    if let Place::Here = place {
        request.extensions_mut().insert(NewId(id));
        return next.run(request).await;
    }
    match forward(&state, &cluster, id, place, request, Some(id)).await {
        Ok(response) => response,
        Err((problem, _)) => problem.into_response(),
    }
}

/// Has a request about a repository answered by the owner of its shard.
pub async fn to_owner(
    State(state): State<Arc<AppState>>,
    parameters: RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let Some(cluster) = state.cluster.clone() else { return next.run(request).await };
    if request.extensions().get::<Forwarded>().is_some() {
        return next.run(request).await;
    }
    let what = parameters.iter().find(|(name, _)| *name == "id").map(|(_, value)| value);
    let repository = match find(&state, what.unwrap_or_default()).await {
        Ok(repository) => repository,
        Err(problem) => return problem.into_response(),
    };
    // Further parts are nobody's business but that of the nodes.
    if repository.is_further_part() {
        return Problem::from(ManagerError::NotFound { what: repository.id.to_string() })
            .into_response();
    }
    match cluster.place_of(repository.id) {
        Place::Here => next.run(request).await,
        place => match forward(&state, &cluster, repository.id, place, request, None).await {
            Err((problem, request)) if is_answered_by_the_catalog(&request) => {
                tracing::debug!(detail = problem.detail(), "answered from the catalog");
                next.run(request).await
            }
            Err((problem, _)) => problem.into_response(),
            Ok(response) => response,
        },
    }
}

/// What is known of a repository is in the catalog too, but for the progress of its work.
fn is_answered_by_the_catalog(request: &Request) -> bool {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    request.method() == Method::GET && route == Some("/api/v1/repos/{id}")
}

/// Forwards a request to the node where a repository is; with `new`, the request adds it. Where
/// nobody answers it comes back.
pub async fn forward(
    state: &Arc<AppState>,
    cluster: &Arc<Cluster>,
    id: RepositoryId,
    place: Place,
    request: Request,
    new: Option<RepositoryId>,
) -> Result<Response, (Problem, Request)> {
    // What is forwarded is held in memory as a whole.
    let Ok(_permit) = state.forwards.try_acquire() else {
        return Err((too_many(state, cluster), request));
    };
    let (parts, body) = request.into_parts();
    let body = Request::from_parts(parts.clone(), body);
    // By the limits that every body has.
    let body = match Bytes::from_request(body, state).await {
        Ok(body) => body,
        Err(rejection) => return Ok(rejection.into_response()),
    };
    let started = Instant::now();
    let mut place = place;
    for attempt in 0..2 {
        let (node, address, shard) = match place {
            Place::There { node, address, shard } => (node, address, shard),
            Place::Here | Place::Nowhere(_) => break,
        };
        let message = proto::ForwardRequest {
            request_id: current().request,
            shard: Some(shard),
            method: parts.method.as_str().to_owned(),
            uri: parts.uri.path_and_query().map_or("/", |uri| uri.as_str()).to_owned(),
            headers: headers_of(&parts.headers),
            body: body.clone(),
            repository_id: new.map(|id| id.to_string()).unwrap_or_default(),
        };
        match call(cluster, &node, &address, message, started).await {
            Ok(answer) => return Ok(answer),
            Err(status) if status.code() == Code::FailedPrecondition && attempt == 0 => {
                let newer = super::map_version_of(&status);
                if let Err(error) = cluster.router().refresh(newer, REFRESH).await {
                    tracing::debug!(%error, "no newer shard map");
                }
                place = cluster.place_of(id);
            }
            Err(status) => {
                cluster.metrics().forward_failed();
                let problem = unavailable(&node, shard.shard, &status);
                return Err((problem, Request::from_parts(parts, Body::from(body))));
            }
        }
    }
    let problem = match place {
        Place::Nowhere(reason) => Problem::shard_unavailable(reason),
        Place::Here | Place::There { .. } => Problem::shard_unavailable(
            "the repository's shard is changing hands; try again in a moment".to_owned(),
        ),
    };
    Err((problem, Request::from_parts(parts, Body::from(body))))
}

async fn call(
    cluster: &Arc<Cluster>,
    node: &NodeName,
    address: &str,
    message: proto::ForwardRequest,
    started: Instant,
) -> Result<Response, Status> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(DEADLINE.saturating_sub(started.elapsed()));
    let answer = cluster.client(node, address)?.forward(request).await?.into_inner();
    cluster.metrics().forwarded();
    let status = u16::try_from(answer.status).ok().and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or_else(|| Status::internal("the owner's answer has no status"))?;
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = status;
    put_headers(&answer.headers, response.headers_mut());
    Ok(response)
}

fn too_many(state: &AppState, cluster: &Cluster) -> Problem {
    cluster.metrics().forward_shed();
    Problem::too_many_forwards(cluster.name().as_str(), state.config.concurrent_forwards)
}

fn unavailable(node: &NodeName, shard: u32, status: &Status) -> Problem {
    Problem::shard_unavailable(format!(
        "{node}, which owns the repository's shard {shard}, does not answer ({}); if it stays away, another node takes over: try again in a moment",
        status.message()
    ))
}

fn headers_of(headers: &HeaderMap) -> Vec<proto::Header> {
    headers
        .iter()
        .filter(|(name, _)| !HOP_HEADERS.contains(name))
        .map(|(name, value)| proto::Header {
            name: name.as_str().to_owned(),
            value: value.as_bytes().to_vec().into(),
        })
        .collect()
}

fn put_headers(from: &[proto::Header], into: &mut HeaderMap) {
    for one in from {
        if let Ok(name) = HeaderName::from_bytes(one.name.as_bytes())
            && let Ok(value) = HeaderValue::from_bytes(&one.value)
            && !HOP_HEADERS.contains(&name)
        {
            into.append(name, value);
        }
    }
}

/// Answers a request that another node forwarded, if this node owns its shard.
///
/// # Errors
/// [`Code::FailedPrecondition`] when it does not, under that epoch.
pub async fn answer(
    state: &AppState,
    cluster: &Cluster,
    router: &Router,
    message: proto::ForwardRequest,
) -> Result<proto::ForwardResponse, Status> {
    let shard = message.shard.ok_or_else(|| Status::invalid_argument("no shard is named"))?;
    cluster.check_owned(shard)?;
    let repository = match message.repository_id.as_str() {
        "" => None,
        id => Some(RepositoryId(
            Uuid::parse_str(id)
                .map_err(|_| Status::invalid_argument("the repository's id is none"))?,
        )),
    };
    let method = Method::from_bytes(message.method.as_bytes())
        .map_err(|_| Status::invalid_argument("the method is none"))?;
    let mut request = Request::builder()
        .method(method)
        .uri(message.uri)
        .body(Body::from(message.body))
        .map_err(|_| Status::invalid_argument("the path is none"))?;
    put_headers(&message.headers, request.headers_mut());
    if let Ok(id) = HeaderValue::from_str(&message.request_id) {
        request.headers_mut().insert(REQUEST_ID, id);
    }
    request.extensions_mut().insert(Forwarded);
    if let Some(id) = repository {
        request.extensions_mut().insert(NewId(id));
    }
    let permit = state.forwards.try_acquire();
    let response = match &permit {
        Ok(_) => match router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        Err(_) => too_many(state, cluster).into_response(),
    };
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_FORWARDED)
        .await
        .map_err(|_| Status::resource_exhausted("the answer is too large to be forwarded"))?;
    Ok(proto::ForwardResponse {
        status: u32::from(parts.status.as_u16()),
        headers: headers_of(&parts.headers),
        body,
    })
}

//! `/api/v1/repos`.

use std::sync::Arc;

use aeterna_index::RepositoryId;
use aeterna_repo::catalog::CatalogError;
use aeterna_repo::{
    AddRepository, DEFAULT_TENANT, ListFilter, ManagerError, State as RepositoryState,
};
use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use utoipa::IntoParams;

use super::AppState;
use super::extract::{JsonBody, Parameters};
use super::problem::{OfOwner, Problem};
use crate::api::encode_cursor;
use crate::api::problem::ProblemBody;
use crate::api::repos::{AddRequest, Event, EventList, NotIndexedList, Repository, RepositoryList};
use crate::cluster::{NewId, not_indexed_further, remove_further};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;
/// Times that a repository's parts are removed at most, before it is: more may be made meanwhile.
const REMOVALS: usize = 3;

/// Which repositories.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// Only those with this in their name, in any case.
    name: Option<String>,
    /// Only those in this state.
    state: Option<String>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// Repositories of a page, 1 to 1000; default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
}

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageParameters {
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// Entries of a page, 1 to 1000; default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
}

/// How many events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventParameters {
    /// Events, newest first, 1 to 1000; default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
}

/// No parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParameters {}

fn limit_of(limit: Option<i64>) -> Result<u32, Problem> {
    let Some(limit) = limit else { return Ok(DEFAULT_LIMIT) };
    u32::try_from(limit).ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)).ok_or_else(|| {
        Problem::parameter("limit", format!("`limit` must be from 1 to {MAX_LIMIT}, not {limit}"))
    })
}

fn decode_cursor(cursor: &str) -> Result<Vec<u8>, Problem> {
    URL_SAFE_NO_PAD.decode(cursor).map_err(|_| {
        Problem::parameter("cursor", "the cursor was not made by this list; start without it")
    })
}

/// Lists repositories by name.
#[utoipa::path(get, path = "/api/v1/repos", tag = "repositories", params(ListParameters), responses(
    (status = 200, body = RepositoryList),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn list(
    State(state): State<Arc<AppState>>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<RepositoryList>, Problem> {
    let limit = limit_of(parameters.limit)?;
    let wanted = parameters
        .state
        .map(|word| word.parse::<RepositoryState>())
        .transpose()
        .map_err(|error| Problem::parameter("state", error.to_string()))?;
    let after = parameters.cursor.as_deref().map(decode_cursor).transpose()?;
    let after = after.map(String::from_utf8).transpose().map_err(|_| {
        Problem::parameter("cursor", "the cursor was not made by this list; start without it")
    })?;
    let filter = ListFilter {
        tenant: DEFAULT_TENANT.to_owned(),
        name: parameters.name,
        state: wanted,
        after,
        limit: limit + 1,
    };
    let mut found = state.manager.list(&filter).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next_cursor = found.last().filter(|_| more).map(|last| encode_cursor(last.name.as_bytes()));
    let repositories = found.into_iter().map(Repository::from).collect();
    Ok(Json(RepositoryList { repositories, next_cursor }))
}

/// Adds a repository and starts to index it. The same URL again answers with the one that exists.
#[utoipa::path(post, path = "/api/v1/repos", tag = "repositories", request_body = AddRequest, responses(
    (status = 202, description = "It is being indexed", body = Repository),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, description = "Another repository has the name", body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, description = "There is no git repository that could be read", body = ProblemBody, content_type = "application/problem+json"),
    OfOwner,
))]
pub async fn add(
    State(state): State<Arc<AppState>>,
    Parameters(NoParameters {}): Parameters<NoParameters>,
    new: Option<Extension<NewId>>,
    JsonBody(request): JsonBody<AddRequest>,
) -> Result<(StatusCode, Json<Repository>), Problem> {
    state.metrics.usage(DEFAULT_TENANT, "repoAdd");
    let add = AddRepository {
        tenant: DEFAULT_TENANT.to_owned(),
        url: request.url,
        name: request.name,
        branches: request.branches,
    };
    let added = match new {
        Some(Extension(NewId(id))) => state.manager.add_as(id, add).await?,
        None => state.manager.add(add).await?,
    };
    Ok((StatusCode::ACCEPTED, Json(added.repository.into())))
}

/// Shows a repository.
#[utoipa::path(get, path = "/api/v1/repos/{id}", tag = "repositories",
    params(("id" = String, Path, description = "Id, name (`owner%2Fname`) or URL")), responses(
    (status = 200, body = Repository),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    OfOwner,
))]
pub async fn show(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
    Parameters(NoParameters {}): Parameters<NoParameters>,
) -> Result<Json<Repository>, Problem> {
    Ok(Json(find(&state, &id).await?.into()))
}

/// The repository that an id, a name or a URL names.
pub async fn find(state: &AppState, what: &str) -> Result<aeterna_repo::Repository, Problem> {
    Ok(state.manager.resolve(DEFAULT_TENANT, what).await?)
}

/// Removes a repository: searches no longer find it from the answer on.
#[utoipa::path(delete, path = "/api/v1/repos/{id}", tag = "repositories",
    params(("id" = String, Path, description = "Id, name (`owner%2Fname`) or URL")), responses(
    (status = 204, description = "It is gone"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    OfOwner,
))]
pub async fn remove(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
    Parameters(NoParameters {}): Parameters<NoParameters>,
) -> Result<StatusCode, Problem> {
    state.metrics.usage(DEFAULT_TENANT, "repoRemove");
    let mut tries = REMOVALS;
    loop {
        let repository = find(&state, &id).await?;
        remove_further(&state, &repository).await?;
        tries -= 1;
        match state.manager.remove(repository.id).await {
            // Another part was made just now.
            Err(ManagerError::Catalog(CatalogError::OtherParts { .. })) if tries > 0 => {}
            removed => return Ok(removed.map(|()| StatusCode::NO_CONTENT)?),
        }
    }
}

/// Fetches a repository and indexes what changed.
#[utoipa::path(post, path = "/api/v1/repos/{id}/sync", tag = "repositories",
    params(("id" = String, Path, description = "Id, name (`owner%2Fname`) or URL")), responses(
    (status = 202, body = Repository),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    OfOwner,
))]
pub async fn sync(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
    Parameters(NoParameters {}): Parameters<NoParameters>,
) -> Result<(StatusCode, Json<Repository>), Problem> {
    state.metrics.usage(DEFAULT_TENANT, "repoSync");
    let repository = find(&state, &id).await?;
    state.manager.sync(repository.id).await?;
    queued(&state, repository.id).await
}

/// Indexes a repository from scratch.
#[utoipa::path(post, path = "/api/v1/repos/{id}/reindex", tag = "repositories",
    params(("id" = String, Path, description = "Id, name (`owner%2Fname`) or URL")), responses(
    (status = 202, body = Repository),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    OfOwner,
))]
pub async fn reindex(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
    Parameters(NoParameters {}): Parameters<NoParameters>,
) -> Result<(StatusCode, Json<Repository>), Problem> {
    state.metrics.usage(DEFAULT_TENANT, "repoReindex");
    let repository = find(&state, &id).await?;
    state.manager.reindex(repository.id).await?;
    queued(&state, repository.id).await
}

/// The repository with the work that was just asked for.
async fn queued(
    state: &Arc<AppState>,
    id: RepositoryId,
) -> Result<(StatusCode, Json<Repository>), Problem> {
    let repository = state.manager.get(DEFAULT_TENANT, id).await?;
    Ok((StatusCode::ACCEPTED, Json(repository.into())))
}

/// Lists the files whose content is not in the index, with the reason, by path.
#[utoipa::path(get, path = "/api/v1/repos/{id}/not-indexed", tag = "repositories",
    params(("id" = String, Path, description = "Id, name (`owner%2Fname`) or URL"), PageParameters), responses(
    (status = 200, body = NotIndexedList),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    OfOwner,
))]
pub async fn not_indexed(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
    Parameters(parameters): Parameters<PageParameters>,
) -> Result<Json<NotIndexedList>, Problem> {
    let limit = limit_of(parameters.limit)? as usize;
    let after = parameters.cursor.as_deref().map(decode_cursor).transpose()?;
    let repository = find(&state, &id).await?;
    let page = (after.as_deref(), parameters.cursor.as_deref(), limit);
    let further = not_indexed_further(&state, &repository, page).await?;
    let files = state.manager.not_indexed(repository.id, after, limit + 1).await?;
    Ok(Json(NotIndexedList::of(files, limit).united(further, limit)))
}

/// Lists what happened to a repository, newest first.
#[utoipa::path(get, path = "/api/v1/repos/{id}/events", tag = "repositories",
    params(("id" = String, Path, description = "Id, name (`owner%2Fname`) or URL"), EventParameters), responses(
    (status = 200, body = EventList),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn events(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
    Parameters(parameters): Parameters<EventParameters>,
) -> Result<Json<EventList>, Problem> {
    let limit = limit_of(parameters.limit)?;
    let repository = find(&state, &id).await?;
    let events = state.manager.events(repository.id, limit).await?;
    Ok(Json(EventList { events: events.into_iter().map(Event::from).collect() }))
}

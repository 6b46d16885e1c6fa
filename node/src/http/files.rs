//! `/api/v1/repos/{id}/file` and `/tree`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use utoipa::IntoParams;

use super::AppState;
use super::extract::Parameters;
use super::problem::{OfOwner, Problem};
use super::repos::find;
use crate::api::problem::ProblemBody;
use crate::api::repos::{File, Tree, TreeEntry};

/// What to read.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PathParameters {
    /// Path from the repository's root.
    path: Option<String>,
    /// The path's bytes in base64, in place of `path`: for paths that are not UTF-8.
    path_base64: Option<String>,
    /// Indexed branch or tag, or the commit of one; the default branch when missing.
    rev: Option<String>,
}

/// Which folder to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TreeParameters {
    /// Path from the repository's root; the root itself when missing.
    path: Option<String>,
    /// The path's bytes in base64, in place of `path`: for paths that are not UTF-8.
    path_base64: Option<String>,
    /// Indexed branch or tag, or the commit of one; the default branch when missing.
    rev: Option<String>,
}

fn path_of(text: Option<String>, base64: Option<String>) -> Result<Option<Vec<u8>>, Problem> {
    match (text, base64) {
        (Some(_), Some(_)) => {
            Err(Problem::parameter("pathBase64", "give `path` or `pathBase64`, not both"))
        }
        (Some(text), None) => Ok(Some(text.into_bytes())),
        (None, Some(encoded)) => STANDARD
            .decode(encoded)
            .map(Some)
            .map_err(|_| Problem::parameter("pathBase64", "`pathBase64` is no base64")),
        (None, None) => Ok(None),
    }
}

/// Reads a file of an indexed revision.
#[utoipa::path(get, path = "/api/v1/repos/{id}/file", tag = "repositories",
    params(("id" = String, Path, description = "Id, name (`owner%2Fname`) or URL"), PathParameters), responses(
    (status = 200, body = File),
    (status = 400, description = "The path leads out of the repository, or is no file", body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, description = "The file is too large", body = ProblemBody, content_type = "application/problem+json"),
    OfOwner,
))]
pub async fn file(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
    Parameters(parameters): Parameters<PathParameters>,
) -> Result<Json<File>, Problem> {
    let repository = find(&state, &id).await?;
    let path = path_of(parameters.path, parameters.path_base64)?
        .ok_or_else(|| Problem::parameter("path", "`path` is missing: say which file"))?;
    let file = state.manager.file(repository.id, parameters.rev.as_deref(), &path).await?;
    Ok(Json(file.into()))
}

/// Lists a folder of an indexed revision.
#[utoipa::path(get, path = "/api/v1/repos/{id}/tree", tag = "repositories",
    params(("id" = String, Path, description = "Id, name (`owner%2Fname`) or URL"), TreeParameters), responses(
    (status = 200, body = Tree),
    (status = 400, description = "The path leads out of the repository, or is no folder", body = ProblemBody, content_type = "application/problem+json"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    OfOwner,
))]
pub async fn tree(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
    Parameters(parameters): Parameters<TreeParameters>,
) -> Result<Json<Tree>, Problem> {
    let repository = find(&state, &id).await?;
    let path = path_of(parameters.path, parameters.path_base64)?.unwrap_or_default();
    let entries = state.manager.tree(repository.id, parameters.rev.as_deref(), &path).await?;
    Ok(Json(Tree { entries: entries.into_iter().map(TreeEntry::from).collect() }))
}

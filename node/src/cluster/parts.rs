//! Repositories that are indexed in parts: where the parts are, and what is asked of each at its owner.

use std::collections::BTreeMap;
use std::sync::Arc;

use aeterna_cluster::name::NodeName;
use aeterna_cluster::router::Router;
use aeterna_cluster::shard_map::ShardMap;
use aeterna_index::RepositoryId;
use aeterna_repo::{ManagerError, PlaceParts, Repository};
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::Response;

use super::Place;
use super::forward::{MAX_FORWARDED, forward};
use crate::api::repos::NotIndexedList;
use crate::http::AppState;
use crate::http::problem::Problem;

/// Chooses the shards of further parts by the shard map.
pub fn place_by(router: Arc<Router>) -> Arc<PlaceParts> {
    Arc::new(move |own, count| apart(&router.map(), own, count))
}

/// So many shards whose owners are different nodes, as far as there are enough; those of a shard's own owner are
/// the last.
fn apart(map: &ShardMap, own: u32, count: usize) -> Vec<u32> {
    let mut by_owner: BTreeMap<&NodeName, Vec<u32>> = BTreeMap::new();
    for (number, shard) in (0u32..).zip(map.shards()) {
        if let Some(owner) = shard.owner.as_ref().filter(|_| number != own) {
            by_owner.entry(owner).or_default().push(number);
        }
    }
    let own_owner = map.shards().get(own as usize).and_then(|shard| shard.owner.as_ref());
    let mut nodes: Vec<(&NodeName, Vec<u32>)> = by_owner.into_iter().collect();
    // Repositories of different shards begin with different nodes.
    let first = own as usize % nodes.len().max(1);
    nodes.rotate_left(first);
    nodes.sort_by_key(|(owner, _)| Some(*owner) == own_owner);
    for (_, shards) in &mut nodes {
        let first = own as usize % shards.len().max(1);
        shards.rotate_left(first);
    }
    let longest = nodes.iter().map(|(_, shards)| shards.len()).max().unwrap_or(0);
    let rounds = (0..longest)
        .flat_map(|round| nodes.iter().filter_map(move |(_, shards)| shards.get(round).copied()));
    rounds.take(count).collect()
}

/// Removes the further parts of a repository, which go before it: from then on nothing finds what they have.
///
/// # Errors
/// When the owner of one cannot be asked; those before it are gone then, and it may be tried again.
pub async fn remove_further(state: &Arc<AppState>, repository: &Repository) -> Result<(), Problem> {
    for part in repository.parts.iter().filter(|part| part.id != repository.id) {
        let Some(answer) = ask(state, part.id, Method::DELETE, "").await? else {
            match state.manager.remove(part.id).await {
                Err(ManagerError::NotFound { .. }) | Ok(()) => continue,
                Err(error) => return Err(error.into()),
            }
        };
        match answer.status() {
            StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => {}
            status => return Err(refused(part.shard, status)),
        }
    }
    Ok(())
}

/// What of a repository's further parts is not in the index: of each the first after a cursor.
///
/// # Errors
/// When the owner of one cannot be asked.
pub async fn not_indexed_further(
    state: &Arc<AppState>,
    repository: &Repository,
    (after, cursor, limit): (Option<&[u8]>, Option<&str>, usize),
) -> Result<Vec<NotIndexedList>, Problem> {
    let mut lists = Vec::new();
    for part in repository.parts.iter().filter(|part| part.id != repository.id) {
        let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let what = format!("/not-indexed?limit={limit}{cursor}");
        let Some(answer) = ask(state, part.id, Method::GET, &what).await? else {
            let after = after.map(<[u8]>::to_vec);
            let files = state.manager.not_indexed(part.id, after, limit + 1).await?;
            lists.push(NotIndexedList::of(files, limit));
            continue;
        };
        if answer.status() != StatusCode::OK {
            return Err(refused(part.shard, answer.status()));
        }
        let body = to_bytes(answer.into_body(), MAX_FORWARDED).await;
        let list = body.ok().and_then(|body| serde_json::from_slice(&body).ok());
        lists.push(list.ok_or_else(Problem::internal)?);
    }
    Ok(lists)
}

/// Asks the owner of a part; `None` where that is this node.
async fn ask(
    state: &Arc<AppState>,
    id: RepositoryId,
    method: Method,
    what: &str,
) -> Result<Option<Response>, Problem> {
    let Some(cluster) = &state.cluster else { return Ok(None) };
    let place = match cluster.place_of(id) {
        Place::Here => return Ok(None),
        place => place,
    };
    let request = Request::builder().method(method).uri(format!("/api/v1/repos/{id}{what}"));
    let request = request.body(Body::empty()).map_err(|_| Problem::internal())?;
    match forward(state, cluster, id, place, request, None).await {
        Ok(answer) => Ok(Some(answer)),
        Err((problem, _)) => Err(problem),
    }
}

fn refused(shard: u32, status: StatusCode) -> Problem {
    Problem::shard_unavailable(format!(
        "the owner of shard {shard}, which has a part of the repository, answers with status {status}; try again in a moment"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    use aeterna_cluster::name::ShardId;
    use aeterna_cluster::shard_map::{Assignment, Command};
    use uuid::Uuid;

    #[test]
    fn parts_are_on_different_nodes() {
        let mut map = ShardMap::new(Uuid::nil(), 12);
        let names: Vec<NodeName> =
            (0..4).map(|number| format!("node-{number}").parse().unwrap()).collect();
        for node in &names {
            map.apply(Command::Join { node: node.clone(), zone: None, capacity: 100 });
        }
        let assign = |number: u32| Assignment {
            shard: ShardId(number),
            seen: map.shards()[number as usize].epoch,
            owner: names[number as usize % names.len()].clone(),
            replicas: Vec::new(),
        };
        // The last one has no owner yet.
        let assignments = (0..11).map(assign).collect();
        map.apply(Command::Assign { assignments });
        let owner = |shard: &u32| map.shards()[*shard as usize].owner.clone().unwrap();
        for own in 0..11 {
            let chosen = apart(&map, own, 3);
            let mut owners: Vec<NodeName> = chosen.iter().chain([&own]).map(owner).collect();
            owners.sort();
            assert_eq!(owners, names, "{own}: {chosen:?}");
            let mut all = apart(&map, own, 100);
            all.push(own);
            all.sort_unstable();
            assert_eq!(all, (0..11).collect::<Vec<_>>());
        }
        assert_eq!(apart(&ShardMap::new(Uuid::nil(), 12), 3, 2), Vec::<u32>::new());
    }
}

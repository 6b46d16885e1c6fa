//! Which node is asked for which shards.

use std::sync::Arc;

use aeterna_cluster::name::{NodeName, ShardId};
use aeterna_cluster::router::Unavailable;
use aeterna_index::search::{Place, SearchError, SearchRequest, SkipReason, Skipped, place_of};
use xxhash_rust::xxh3::xxh3_64;

use super::cursor::ClusterCursor;
use super::part::Wanted;
use crate::cluster::Cluster;
use crate::http::problem::Problem;

/// What is asked of the nodes.
#[derive(Debug)]
pub struct Asked {
    /// Hash of the request.
    pub request: u64,
    /// Of each node its part.
    pub asks: Vec<Ask>,
    /// Shards that nobody can be asked for, and why.
    pub skipped: Vec<Skipped>,
}

/// What is asked of a node.
#[derive(Debug)]
pub struct Ask {
    /// Its name.
    pub node: NodeName,
    /// Address of its calls.
    pub address: String,
    /// The shards, each with its epoch.
    pub shards: Wanted,
    /// The node's cursor.
    pub cursor: Option<String>,
    /// Where its part begins.
    pub begin: Place,
}

impl Asked {
    /// By the shard map, or as the request's cursor says.
    ///
    /// # Errors
    /// When the cursor is wrong, or what it was made on is gone.
    pub fn of(cluster: &Arc<Cluster>, request: &SearchRequest) -> Result<Self, Problem> {
        let hash = xxh3_64(format!("{}\0{}", request.query, request.facets).as_bytes());
        if let Some(text) = &request.cursor {
            let cursor = ClusterCursor::decode(text).ok_or(SearchError::BadCursor)?;
            if cursor.request != hash {
                return Err(SearchError::BadCursor.into());
            }
            let asks = resumed(cluster, cursor)?;
            return Ok(Self { request: hash, asks, skipped: Vec::new() });
        }
        let plan = cluster.router().plan_search();
        let asks = plan.by_node.iter().map(|(target, shards)| Ask {
            node: target.name.clone(),
            address: target.address.clone(),
            shards: shards.iter().map(|(shard, epoch)| (shard.0, epoch.0)).collect(),
            cursor: None,
            begin: Place::default(),
        });
        let asks = asks.collect();
        let skipped = unavailable(&plan.unavailable);
        Ok(Self { request: hash, asks, skipped })
    }
}

/// Shards as an answer names them.
pub fn named(shards: impl Iterator<Item = u32>) -> Vec<String> {
    shards.map(|shard| format!("shard {shard}")).collect()
}

/// What nobody can be asked for.
fn unavailable(shards: &[(ShardId, Unavailable)]) -> Vec<Skipped> {
    let Some((_, why)) = shards.first() else { return Vec::new() };
    let message = match shards.len() {
        1 => format!("a shard is not served: {why}"),
        more => format!("{more} shards are not served, the first since {why}"),
    };
    let items = named(shards.iter().map(|(shard, _)| shard.0));
    vec![Skipped { reason: SkipReason::ShardUnavailable, message, items }]
}

/// What a cursor says, as long as the nodes hold the same shards as when it was made.
fn resumed(cluster: &Arc<Cluster>, cursor: ClusterCursor) -> Result<Vec<Ask>, Problem> {
    let (map, plan) = (cluster.map(), cluster.router().plan_search());
    let asks = cursor.parts.into_iter().map(|part| {
        let (window, within) = place_of(&part.cursor).ok_or(SearchError::BadCursor)?;
        let holds = part.shards.iter().all(|(shard, epoch)| {
            map.shard(ShardId(*shard))
                .is_some_and(|now| now.owner.as_ref() == Some(&part.node) && now.epoch.0 == *epoch)
        });
        let target = plan.by_node.iter().map(|(target, _)| target);
        let target = target.into_iter().find(|target| target.name == part.node).filter(|_| holds);
        let address = target.ok_or(SearchError::ExpiredCursor)?.address.clone();
        let shards = part.shards.into_iter().collect();
        Ok(Ask {
            node: part.node,
            address,
            shards,
            cursor: Some(part.cursor),
            begin: Place { window, within },
        })
    });
    asks.collect()
}

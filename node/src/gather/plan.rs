//! Which node is asked for which shards.

use std::sync::Arc;

use aeterna_cluster::name::NodeName;
use aeterna_index::query::tree::Count;
use aeterna_index::query::{ParseOptions, parse};
use aeterna_index::search::{SearchError, SearchRequest, SkipReason, Skipped, place_of};
use xxhash_rust::xxh3::xxh3_64;

use super::cursor::ClusterCursor;
use super::part::Wanted;
use crate::cluster::Cluster;
use crate::http::problem::Problem;
use crate::http::search::AnyLanguage;

/// What is asked of the nodes.
#[derive(Debug)]
pub struct Asked {
    /// Hash of the request.
    pub request: u64,
    /// Of each node its part.
    pub asks: Vec<Ask>,
    /// Shards that nobody can be asked for, and why.
    pub skipped: Vec<Skipped>,
    /// Number of those.
    pub unavailable: usize,
    /// Shards of the cluster.
    pub total: usize,
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
    pub start: (u64, u64),
}

impl Asked {
    /// By the shard map, or as the request's cursor says.
    ///
    /// # Errors
    /// When the cursor is wrong, or what it was made on is gone.
    pub fn of(cluster: &Arc<Cluster>, request: &SearchRequest) -> Result<Self, Problem> {
        let hash = xxh3_64(format!("{}\0{}", request.query, request.facets).as_bytes());
        let total = cluster.map().shards().len();
        if let Some(text) = &request.cursor {
            let cursor = ClusterCursor::decode(text).ok_or(SearchError::BadCursor)?;
            if cursor.request != hash {
                return Err(SearchError::BadCursor.into());
            }
            let asks = resumed(cluster, cursor)?;
            return Ok(Self { request: hash, asks, skipped: Vec::new(), unavailable: 0, total });
        }
        let plan = cluster.router().plan_search();
        let asks = plan.by_node.into_iter().map(|(target, shards)| Ask {
            node: target.name,
            address: target.address,
            shards: shards.into_iter().map(|(shard, epoch)| (shard.0, epoch.0)).collect(),
            cursor: None,
            start: (0, 0),
        });
        let unavailable = plan.unavailable.len();
        let skipped = if unavailable == 0 {
            Vec::new()
        } else {
            vec![Skipped {
                reason: SkipReason::ShardUnavailable,
                message: format!(
                    "{unavailable} of {total} shards have no owner that is alive; they are served again once another node has restored them"
                ),
                items: super::summary::items(plan.unavailable.iter().map(|(shard, _)| shard.0)),
            }]
        };
        Ok(Self { request: hash, asks: asks.collect(), skipped, unavailable, total })
    }
}

/// What a cursor says, as long as the nodes hold the same shards as when it was made.
fn resumed(cluster: &Arc<Cluster>, cursor: ClusterCursor) -> Result<Vec<Ask>, Problem> {
    let map = cluster.map();
    let asks = cursor.parts.into_iter().map(|part| {
        let holds = part.shards.iter().all(|(shard, epoch)| {
            map.shards().get(*shard as usize).is_some_and(|now| {
                now.owner.as_ref() == Some(&part.node) && now.epoch.0 == *epoch
            })
        });
        let address = cluster.router().address(&part.node);
        let place = place_of(&part.cursor);
        match (holds, address, place) {
            (true, Some(address), Some(start)) => Ok(Ask {
                node: part.node,
                address,
                shards: part.shards.into_iter().collect(),
                cursor: Some(part.cursor),
                start,
            }),
            (_, _, None) => Err(SearchError::BadCursor.into()),
            _ => Err(SearchError::ExpiredCursor.into()),
        }
    });
    asks.collect()
}

/// Documents of a page, as the engine decides it for one node.
pub fn page_of(request: &SearchRequest) -> usize {
    let options = parse(&request.query, &ParseOptions::new(&AnyLanguage)).map(|query| query.options);
    match options.ok().and_then(|options| options.count) {
        Some(Count::All) => request.limits.documents,
        Some(Count::Limit(count)) => count.min(request.limits.documents),
        None => request.page_size,
    }
}

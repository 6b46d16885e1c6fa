//! Which node is asked for which shards.

use std::sync::Arc;

use aeterna_cluster::name::{Epoch, NodeName, ShardId};
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
    /// Whether others may be asked when it fails: once, and not for the pages after the first, which are
    /// of what this node found.
    pub may_be_replaced: bool,
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
            may_be_replaced: true,
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
    let router = cluster.router();
    let asks = cursor.parts.into_iter().map(|part| {
        let (window, within) = place_of(&part.cursor).ok_or(SearchError::BadCursor)?;
        let holds = part
            .shards
            .iter()
            .map(|(shard, epoch)| router.holder(ShardId(*shard), Epoch(*epoch), &part.node));
        let target =
            holds.collect::<Option<Vec<_>>>().and_then(|targets| targets.into_iter().next());
        let address = target.ok_or(SearchError::ExpiredCursor)?.address;
        let shards = part.shards.into_iter().collect();
        Ok(Ask {
            node: part.node,
            address,
            shards,
            cursor: Some(part.cursor),
            begin: Place { window, within },
            may_be_replaced: false,
        })
    });
    asks.collect()
}

/// Who else can be asked for all that a node was to search; `None` when there is a shard that nobody
/// else holds.
pub fn instead(cluster: &Arc<Cluster>, ask: &Ask) -> Option<Vec<Ask>> {
    let mut asks: Vec<Ask> = Vec::new();
    for shard in ask.shards.keys() {
        let (target, epoch) = cluster.router().another(ShardId(*shard), &ask.node)?;
        let place = asks.iter().position(|other| other.node == target.name).unwrap_or_else(|| {
            asks.push(Ask {
                node: target.name,
                address: target.address,
                shards: Wanted::new(),
                cursor: None,
                begin: Place::default(),
                may_be_replaced: false,
            });
            asks.len() - 1
        });
        asks[place].shards.insert(*shard, epoch.0);
    }
    Some(asks)
}

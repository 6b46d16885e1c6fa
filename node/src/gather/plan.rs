//! Which node is asked for which shards.

use std::sync::Arc;

use aeterna_cluster::name::{NodeName, ShardId};
use aeterna_cluster::router::{Target, Unavailable};
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
    /// Shards that nobody can be asked for.
    pub missing: Vec<u32>,
    /// Why.
    pub skipped: Vec<Skipped>,
    /// Results of the pages before that come again.
    pub repeats: Vec<u128>,
    /// Repositories in parts that the pages before had.
    pub united: usize,
}

/// What is asked of a node.
#[derive(Clone, Debug)]
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
    /// Nodes that were asked for these shards and did not answer.
    pub tried: Vec<NodeName>,
}

impl Ask {
    /// Of the first page.
    fn of(target: Target, tried: Vec<NodeName>) -> Self {
        let Target { name: node, address, .. } = target;
        let shards = Wanted::new();
        Self { node, address, shards, cursor: None, begin: Place::default(), tried }
    }

    /// Nodes that were asked for these shards, this one included.
    fn all_tried(&self) -> Vec<NodeName> {
        self.tried.iter().chain([&self.node]).cloned().collect()
    }
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
            let missing = cursor.missing.clone();
            let skipped = match missing.is_empty() {
                true => Vec::new(),
                false => vec![Skipped {
                    reason: SkipReason::ShardUnavailable,
                    message: "the pages before were without these shards".to_owned(),
                    items: named(missing.iter().copied()),
                }],
            };
            let (repeats, united) = (cursor.repeats.clone(), cursor.united);
            let asks = resumed(cluster, cursor)?;
            return Ok(Self { request: hash, asks, missing, skipped, repeats, united });
        }
        let plan = cluster.router().plan_search();
        let asks = plan.by_node.iter().map(|(target, shards)| Ask {
            shards: shards.iter().map(|(shard, epoch)| (shard.0, epoch.0)).collect(),
            ..Ask::of(target.clone(), Vec::new())
        });
        let asks = asks.collect();
        let skipped = unavailable(&plan.unavailable);
        let missing = plan.unavailable.iter().map(|(shard, _)| shard.0).collect();
        Ok(Self { request: hash, asks, missing, skipped, repeats: Vec::new(), united: 0 })
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

/// What a cursor says: of its nodes, or of others that hold the same shards. Whether they have them in the
/// states that the cursor was made on, they tell.
fn resumed(cluster: &Arc<Cluster>, cursor: ClusterCursor) -> Result<Vec<Ask>, Problem> {
    let asks = cursor.parts.into_iter().map(|part| {
        let (window, within) = place_of(&part.cursor).ok_or(SearchError::BadCursor)?;
        let shards: Vec<u32> = part.shards.iter().map(|(shard, _)| *shard).collect();
        let holders = holders_of_all(cluster, &shards, &[]);
        let place = holders.iter().position(|target| target.name == part.node).unwrap_or(0);
        let target = holders.into_iter().nth(place).ok_or(SearchError::ExpiredCursor)?;
        Ok(Ask {
            shards: with_epochs(cluster, &shards),
            cursor: Some(part.cursor),
            begin: Place { window, within },
            ..Ask::of(target, Vec::new())
        })
    });
    asks.collect()
}

fn with_epochs(cluster: &Cluster, shards: &[u32]) -> Wanted {
    let map = cluster.map();
    let epoch = |shard: u32| map.shard(ShardId(shard)).map_or(0, |shard| shard.epoch.0);
    shards.iter().map(|shard| (*shard, epoch(*shard))).collect()
}

/// Nodes that hold every one of these shards.
fn holders_of_all(cluster: &Cluster, shards: &[u32], tried: &[NodeName]) -> Vec<Target> {
    let Some((first, others)) = shards.split_first() else { return Vec::new() };
    let holders = |shard: u32| cluster.router().holders(ShardId(shard)).0;
    let mut all = holders(*first);
    all.retain(|target| !tried.contains(&target.name));
    for shard in others {
        if all.is_empty() {
            break;
        }
        let these = holders(*shard);
        all.retain(|target| these.iter().any(|other| other.name == target.name));
    }
    all
}

/// Who else can be asked for what a node does not answer, and the shards that nobody else holds. A page
/// after the first is what one node has: another has all of it, or nobody.
pub fn instead(cluster: &Arc<Cluster>, ask: &Ask, shards: &[u32]) -> (Vec<Ask>, Vec<u32>) {
    let tried = ask.all_tried();
    if ask.cursor.is_some() {
        let other = holders_of_all(cluster, shards, &tried).into_iter().next();
        return match other {
            Some(Target { name: node, address, .. }) => {
                let shards = with_epochs(cluster, shards);
                (vec![Ask { node, address, shards, tried, ..ask.clone() }], Vec::new())
            }
            None => (Vec::new(), shards.to_vec()),
        };
    }
    let (mut asks, mut left): (Vec<Ask>, _) = (Vec::new(), Vec::new());
    for shard in shards {
        let (holders, epoch) = cluster.router().holders(ShardId(*shard));
        let other = holders.into_iter().find(|target| !tried.contains(&target.name));
        let Some(target) = other else {
            left.push(*shard);
            continue;
        };
        let place = asks.iter().position(|other| other.node == target.name).unwrap_or_else(|| {
            asks.push(Ask::of(target, tried.clone()));
            asks.len() - 1
        });
        asks[place].shards.insert(*shard, epoch.0);
    }
    (asks, left)
}

//! What a search looks at: shards as they are now, or as they were when a cursor was made.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::cursor::Cursor;
use super::response::{SearchError, SearchRequest, SkipReason, Skipped};
use crate::shard::{Shard, Snapshot};

/// Shards, each in one state, and the place in their results to begin at.
pub(super) struct Pinned {
    pub(super) shards: Vec<Arc<Shard>>,
    /// One for each of `shards`.
    pub(super) snapshots: Vec<Arc<Snapshot>>,
    pub(super) cursor: Cursor,
    /// Shards that were asked for and are not open.
    pub(super) closed: Vec<u32>,
}

/// Pins those of the open shards that a request is about; `count` is how many there are in all.
pub(super) fn pin(
    open: &[Arc<Shard>],
    count: u32,
    request: &SearchRequest,
) -> Result<Pinned, SearchError> {
    let is_asked = |number: u32| match &request.shards {
        Some(asked) => asked.contains(&number),
        None => true,
    };
    let shards: Vec<_> = open.iter().filter(|shard| is_asked(shard.number())).cloned().collect();
    match &request.cursor {
        Some(text) => at_cursor(&shards, text, hash(request, count)),
        None => Ok(as_they_are(shards, count, request)),
    }
}

fn as_they_are(shards: Vec<Arc<Shard>>, count: u32, request: &SearchRequest) -> Pinned {
    let snapshots: Vec<_> = shards.iter().map(|shard| shard.snapshot()).collect();
    let states = shards.iter().zip(&snapshots);
    let cursor = Cursor {
        request: hash(request, count),
        share: request.share.max(1),
        window: 0,
        within: 0,
        shards: states.map(|(shard, snapshot)| (shard.number(), snapshot.state())).collect(),
    };
    let is_open = |number: &u32| shards.iter().any(|shard| shard.number() == *number);
    let mut closed: Vec<u32> = request.shards.iter().flatten().copied().collect();
    closed.retain(|number| !is_open(number));
    closed.sort_unstable();
    closed.dedup();
    Pinned { shards, snapshots, cursor, closed }
}

/// That shards are not open.
pub(super) fn not_open(closed: &[u32]) -> Skipped {
    Skipped {
        reason: SkipReason::ShardUnavailable,
        message: "parts of the index are not held by the node that was asked for them".to_owned(),
        items: closed.iter().map(|number| format!("shard {number}")).collect(),
    }
}

/// The shards that a cursor names, in the states that it names.
fn at_cursor(shards: &[Arc<Shard>], text: &str, request: u64) -> Result<Pinned, SearchError> {
    let cursor = Cursor::decode(text).ok_or(SearchError::BadCursor)?;
    if cursor.request != request {
        return Err(SearchError::BadCursor);
    }
    let found = cursor.shards.iter().map(|(number, state)| {
        let shard = shards.iter().find(|shard| shard.number() == *number)?;
        Some((Arc::clone(shard), shard.snapshot_in(*state)?))
    });
    let found: Option<Vec<_>> = found.collect();
    let (shards, snapshots) = found.ok_or(SearchError::ExpiredCursor)?.into_iter().unzip();
    Ok(Pinned { shards, snapshots, cursor, closed: Vec::new() })
}

/// Hash of what decides on the results.
fn hash(request: &SearchRequest, count: u32) -> u64 {
    xxh3_64(format!("{}\0{}\0{count}", request.query, request.facets).as_bytes())
}

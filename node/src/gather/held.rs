//! Which of the shards that a node is asked for it can answer for.

use std::time::Duration;

use aeterna_cluster::name::ShardId;
use aeterna_cluster::shard_map::ShardMap;
use aeterna_index::search::{SkipReason, Skipped, Visible};
use aeterna_repo::RepoManager;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Wanted;
use super::plan::named;

/// What is asked of a node, by whether it can answer.
#[derive(Debug, Default)]
pub struct HeldOf {
    /// Shards that are searched here.
    pub serving: Vec<u32>,
    /// Shards that are not.
    pub away: Vec<Away>,
    /// What is old of that.
    pub stale: Vec<Skipped>,
}

/// A shard that a node does not search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away {
    /// The shard.
    pub shard: u32,
    /// Whether another node has it; it is about to be opened otherwise.
    pub elsewhere: bool,
}

/// What an answer says of shards that nobody searches.
pub fn told(away: &[Away]) -> Vec<Skipped> {
    let kinds = [
        (SkipReason::ShardRestoring, "shards are being restored", false),
        (SkipReason::ShardUnavailable, "shards have changed hands", true),
    ];
    let told = kinds.into_iter().filter_map(|(reason, message, elsewhere)| {
        let of_kind = away.iter().filter(|away| away.elsewhere == elsewhere);
        let items = named(of_kind.map(|away| away.shard));
        let message = format!("{} {message}", items.len());
        (!items.is_empty()).then_some(Skipped { reason, message, items })
    });
    told.collect()
}

/// What a node can answer for, and the repositories that may be found in it.
///
/// A shard's repositories may be found from before it is searched until after it is not. So those of a shard that is
/// searched before and after they are read are all there; one that was opened or let go of meanwhile is not
/// answered for.
///
/// What was said to be indexed before this was asked, copies of shards have or name; where the catalog does
/// not tell, they may be old. Blocks.
pub fn held_and_visible(
    manager: &RepoManager,
    map: &ShardMap,
    wanted: &Wanted,
    tenant: &str,
) -> (HeldOf, Visible) {
    let before = held_of(manager, map, wanted, true);
    let has_copies = before.serving.iter().any(|shard| manager.searched_copy(*shard).is_some());
    let are_compared = !has_copies || compare_copies(manager);
    let visible = manager.visible(tenant);
    let serving = before.serving.iter().filter_map(|shard| Some((*shard, *wanted.get(shard)?)));
    let mut held = held_of(manager, map, &serving.collect(), are_compared);
    held.away.extend(before.away);
    held.stale.extend(outdated(manager, &held.serving));
    (held, visible)
}

/// Returns whether the catalog has answered; that it does not is in the log of who follows the copies.
fn compare_copies(manager: &RepoManager) -> bool {
    let compared = async { timeout(CATALOG_PATIENCE, manager.compare_copies()).await };
    match Handle::current().block_on(compared) {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::debug!(%error, "copies of shards are searched as they are");
            false
        }
        Err(_) => {
            tracing::debug!("copies of shards are searched as they are: no catalog answers");
            false
        }
    }
}

/// How long a search of copies waits for the catalog.
const CATALOG_PATIENCE: Duration = Duration::from_millis(500);
/// Names listed of outdated repositories.
const LISTED: usize = 10;

/// What is older than it was.
fn outdated(manager: &RepoManager, serving: &[u32]) -> Option<Skipped> {
    let mut items = manager.outdated(serving);
    let message = format!(
        "{} repositories are older than they were before a node was lost, and are being indexed again",
        items.len()
    );
    items.truncate(LISTED);
    let reason = SkipReason::IndexStale;
    (!items.is_empty()).then_some(Skipped { reason, message, items })
}

/// Looks at what is wanted. Who asks with an older map than this node's is answered with what is newer;
/// what another node owns by this one's map is not answered for, though it is still open here.
///
/// A copy answers whoever owns the shard by now: it follows all that is uploaded for it, by any owner,
/// and it is known how long ago it last was equal to that, and what it lacks if copies are compared.
fn held_of(manager: &RepoManager, map: &ShardMap, wanted: &Wanted, are_compared: bool) -> HeldOf {
    let mut held = HeldOf::default();
    let mut stale = Vec::new();
    for (shard, epoch) in wanted {
        let newest = map.shard(ShardId(*shard)).map_or(0, |shard| shard.epoch.0).max(*epoch);
        let open = manager.searches(*shard);
        if open.is_some_and(|held| held >= newest) {
            held.serving.push(*shard);
        } else if let Some(copy) = manager.searched_copy(*shard) {
            held.serving.push(*shard);
            if copy.is_stale || !are_compared {
                stale.push(*shard);
            }
        } else {
            // What is open for another's epoch has changed hands; all else is to be opened, or about to be.
            held.away.push(Away { shard: *shard, elsewhere: open.is_some() });
        }
    }
    if !stale.is_empty() {
        held.stale.push(Skipped {
            reason: SkipReason::IndexStale,
            message: format!("{} shards were searched in copies that may be old", stale.len()),
            items: named(stale.into_iter()),
        });
    }
    held
}

//! Keeps the router's map new: from this node's log, and from whoever's gossip shows a newer one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::view::PeersView;
use super::{ConsensusApi, MembershipApi, PeerApi};
use crate::name::NodeName;
use crate::router::{NoNewerMap, Router};

/// How long one attempt to get a newer map may take.
const REFRESH_DEADLINE: Duration = Duration::from_secs(5);

/// How long this node's map may be behind what others show before the log says so, and says so again.
const BEHIND_PATIENCE: Duration = Duration::from_secs(10);
const BEHIND_TOLD_EVERY: Duration = Duration::from_secs(60);

/// Without a look for so long this process was paused, or is overloaded.
const PAUSE: Duration = Duration::from_secs(2);

/// Two ways side by side: a peer that does not answer must not hold up what the log brings.
pub(super) async fn run(
    router: Arc<Router>,
    consensus: Arc<dyn ConsensusApi>,
    membership: Arc<dyn MembershipApi>,
    peers: Arc<dyn PeerApi>,
    tick: Duration,
) {
    tokio::join!(
        follow_log(&router, &*consensus),
        follow_gossip(&router, &*membership, &*peers, tick)
    );
}

async fn follow_log(router: &Router, consensus: &dyn ConsensusApi) {
    let mut log = consensus.watch_map();
    loop {
        let map = Arc::clone(&log.borrow_and_update());
        router.offer(&map);
        if log.changed().await.is_err() {
            return;
        }
    }
}

async fn follow_gossip(
    router: &Router,
    membership: &dyn MembershipApi,
    peers: &dyn PeerApi,
    tick: Duration,
) {
    let mut seen = None;
    // When it is told that the map stays behind.
    let mut tell_at = None;
    let mut ticks = interval(tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let view = membership.peers();
        if !seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &view)) {
            peers.set_addresses(addresses(&view));
            match pull(router).await {
                Ok(()) => tell_at = None,
                Err(error) => {
                    let at = *tell_at.get_or_insert_with(|| Instant::now() + BEHIND_PATIENCE);
                    if Instant::now() >= at {
                        tracing::warn!(%error, "the shard map stays behind what other nodes have");
                        tell_at = Some(Instant::now() + BEHIND_TOLD_EVERY);
                    }
                }
            }
            seen = Some(view);
        }
        // After a pause the gossip shows what was before it.
        if router.unattended_for() > PAUSE {
            let newer = router.map().version() + 1;
            if let Err(error) = router.refresh(newer, REFRESH_DEADLINE).await {
                tracing::debug!(%error, "no newer shard map after a pause");
            }
        }
        router.attend();
    }
}

/// Where nodes are that may still be there.
fn addresses(view: &PeersView) -> BTreeMap<NodeName, String> {
    let present = view.iter().filter(|(_, peer)| !peer.gone());
    present.map(|(name, peer)| (name.clone(), peer.grpc.clone())).collect()
}

/// Gets the newest map that anyone shows. The gossip shows it again soon when that fails.
async fn pull(router: &Router) -> Result<(), NoNewerMap> {
    let newest = router.newest_heard_of();
    if newest > router.map().version() {
        router.refresh(newest, REFRESH_DEADLINE).await?;
    }
    Ok(())
}

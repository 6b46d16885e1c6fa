//! Keeps the router's map new: from this node's log, and from whoever's gossip shows a newer one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::{ConsensusApi, MembershipApi, PeerApi};
use crate::router::Router;

/// How long one attempt to get a newer map may take.
const REFRESH_DEADLINE: Duration = Duration::from_secs(5);

pub(super) async fn run(
    router: Arc<Router>,
    consensus: Arc<dyn ConsensusApi>,
    membership: Arc<dyn MembershipApi>,
    peers: Arc<dyn PeerApi>,
    tick: Duration,
) {
    let mut log = consensus.watch_map();
    let mut ticks = interval(tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let map = Arc::clone(&log.borrow_and_update());
        router.offer(&map);
        tokio::select! {
            changed = log.changed() => if changed.is_err() { return },
            _ = ticks.tick() => {
                let view = membership.peers();
                let addresses = view.iter().filter(|(_, peer)| !peer.gone());
                peers.set_addresses(
                    addresses.map(|(name, peer)| (name.clone(), peer.grpc.clone())).collect(),
                );
                let newest = view.values().filter(|peer| !peer.gone()).map(|peer| peer.map_version);
                let newest = newest.max().unwrap_or(0);
                if newest > router.map().version()
                    && let Err(error) = router.refresh(newest, REFRESH_DEADLINE).await
                {
                    tracing::debug!(%error, "the shard map is behind");
                }
            }
        }
    }
}

//! Handing over everything before a node stops.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::follower::Mode;
use super::run::Supervisor;
use crate::name::ShardId;
use crate::shard_map::{Command, ShardMap};

/// How often it is looked whether anything is left.
const LOOK: Duration = Duration::from_millis(100);
/// How long a proposal may take.
const PROPOSE_DEADLINE: Duration = Duration::from_secs(5);

/// What came of a drain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Shards that other nodes own now.
    pub handed_over: Vec<ShardId>,
    /// Shards that this node still owns in the map; they are served again when it is back, or when
    /// its heartbeat has timed out.
    pub left: Vec<ShardId>,
    /// Whether everything was uploaded and closed in time.
    pub closed: bool,
}

impl Supervisor {
    /// Hands over what this node owns, as far as other nodes take it, uploads and closes the rest, and
    /// returns; after the deadline at the latest, whatever is left. From then on this node takes
    /// nothing any more. The gossip should say that the node drains before this is called.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        let end = Instant::now() + deadline;
        let before = self.owned(&self.router().map());
        let handed_over = timeout_at(end, async {
            self.begin_drain().await;
            self.hand_over_all().await;
        });
        let handed_over = handed_over.await;
        if handed_over.is_err() {
            tracing::warn!(?deadline, "not everything was handed over in time");
        }
        // Whatever nobody has taken is at least uploaded.
        self.set_mode(Mode::Close);
        let closed = timeout_at(end, self.everything_closed()).await.is_ok();
        let left = self.owned(&self.router().map());
        let handed_over = before.into_iter().filter(|shard| !left.contains(shard)).collect();
        Drained { handed_over, left, closed }
    }

    /// Says that this node leaves, and waits until it owns nothing, or nobody can take what it owns.
    async fn hand_over_all(&self) {
        let leave = Command::Leave { node: self.router().me().clone() };
        let mut has_left = false;
        loop {
            if !self.can_be_taken(&self.router().map()) {
                return;
            }
            if !has_left {
                match self.proposals().propose(&leave, PROPOSE_DEADLINE).await {
                    Ok(_) => has_left = true,
                    Err(error) => tracing::warn!(%error, "this node cannot say that it leaves"),
                }
            }
            // One that owns nothing has nothing to wait for, even if nobody has heard that it leaves.
            if self.owned(&self.router().map()).is_empty() {
                return;
            }
            sleep(LOOK).await;
        }
    }

    /// Whether there is another node that takes shards.
    fn can_be_taken(&self, map: &ShardMap) -> bool {
        let peers = self.membership().peers();
        map.members().iter().any(|(name, member)| {
            let peer = peers.get(name);
            let takes = peer.is_some_and(|peer| peer.alive() && peer.ready && !peer.draining);
            name != self.router().me() && !member.leaving && takes
        })
    }

    async fn everything_closed(&self) {
        while !self.host().held().is_empty() {
            sleep(LOOK).await;
        }
    }

    fn owned(&self, map: &ShardMap) -> Vec<ShardId> {
        let shards = (0u32..).map(ShardId).zip(map.shards());
        let mine = shards.filter(|(_, shard)| shard.owner.as_ref() == Some(self.router().me()));
        mine.map(|(number, _)| number).collect()
    }
}

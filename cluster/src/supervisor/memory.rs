//! What the leader has to have seen before to decide well now.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::rules::Rules;
use super::sizes::Sizes;
use super::view::{PeersView, RaftView};
use crate::consensus::RaftId;
use crate::gossip::Liveness;
use crate::name::{NodeName, ShardId};
use crate::shard_map::ShardMap;

/// What has been seen, and since when. Times are since any one moment, by a clock that is not set.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Since when this process has looked again and again without a pause. Whoever was stopped, such
    /// as by SIGSTOP, finds everyone silent for as long as it was: that says nothing of the others.
    watching_since: Option<Duration>,
    looked_at: Duration,
    nodes: BTreeMap<NodeName, Seen>,
    /// Since when the same nodes have been alive.
    same_since: Duration,
    alive: BTreeSet<NodeName>,
    lost_voters: BTreeMap<RaftId, Duration>,
    sizes: Sizes,
    balanced_at: Option<Duration>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    /// Since when the gossip has not told of it at all.
    absent_since: Option<Duration>,
    dead_since: Option<Duration>,
    /// It said that it goes: its return is no sign that it flaps.
    has_left: bool,
    returned_at: Option<Duration>,
}

impl Memory {
    /// Takes in what is to be seen now. To be called often: after a gap of more than half a heartbeat
    /// timeout nobody is held to be dead until they have been silent for a whole one again.
    pub fn observe(
        &mut self,
        map: &ShardMap,
        peers: &PeersView,
        raft: &RaftView,
        now: Duration,
        rules: &Rules,
    ) {
        let was_paused = now.saturating_sub(self.looked_at) > rules.heartbeat_timeout / 2;
        if self.watching_since.is_none() || was_paused {
            self.watching_since = Some(now);
        }
        self.looked_at = now;
        self.see_nodes(map, peers, now, rules);
        self.see_voters(map, peers, raft, now);
        self.learn_sizes(map, peers);
    }

    /// Takes in what nodes say now of their shards' sizes.
    pub(super) fn learn_sizes(&mut self, map: &ShardMap, peers: &PeersView) {
        self.sizes.learn(map, peers);
    }

    fn see_nodes(&mut self, map: &ShardMap, peers: &PeersView, now: Duration, rules: &Rules) {
        let known = |name: &NodeName| map.members().contains_key(name) || peers.contains_key(name);
        self.nodes.retain(|name, _| known(name));
        for name in map.members().keys().chain(peers.keys()) {
            let seen = self.nodes.entry(name.clone()).or_default();
            match peers.contains_key(name) {
                true => seen.absent_since = None,
                false => _ = seen.absent_since.get_or_insert(now),
            }
            let is_dead = self.silence(name, peers, now) > rules.heartbeat_timeout;
            let Some(seen) = self.nodes.get_mut(name) else { continue };
            let liveness = peers.get(name).map(|peer| peer.liveness);
            seen.has_left |= liveness == Some(Liveness::Left);
            if is_dead {
                seen.dead_since.get_or_insert(now);
            } else if liveness == Some(Liveness::Alive) {
                let was_dead = seen.dead_since.take().is_some();
                if was_dead && !std::mem::take(&mut seen.has_left) {
                    seen.returned_at = Some(now);
                }
            }
        }
        let alive: BTreeSet<NodeName> =
            peers.iter().filter(|(_, peer)| peer.alive()).map(|(name, _)| name.clone()).collect();
        if alive != self.alive {
            self.alive = alive;
            self.same_since = now;
        }
    }

    fn see_voters(&mut self, map: &ShardMap, peers: &PeersView, raft: &RaftView, now: Duration) {
        let is_lost = |id: &RaftId, name: &NodeName| {
            let has_other_disk = peers.get(name).is_some_and(|peer| {
                peer.alive() && peer.raft_id.is_some_and(|raft_id| raft_id != *id)
            });
            has_other_disk || !map.members().contains_key(name)
        };
        let members = raft.voters.iter().chain(&raft.learners);
        let lost: BTreeSet<RaftId> = members
            .filter(|(id, member)| is_lost(id, &member.name) || self.is_dead(&member.name))
            .map(|(id, _)| *id)
            .collect();
        self.lost_voters.retain(|id, _| lost.contains(id));
        for id in lost {
            self.lost_voters.entry(id).or_insert(now);
        }
    }

    /// For how long a node has surely said nothing.
    fn silence(&self, name: &NodeName, peers: &PeersView, now: Duration) -> Duration {
        let silence = match peers.get(name) {
            Some(peer) if peer.alive() => return Duration::ZERO,
            Some(peer) if peer.liveness == Liveness::Left => return Duration::MAX,
            Some(peer) => peer.heartbeat_age,
            None => {
                let absent = self.nodes.get(name).and_then(|seen| seen.absent_since);
                now.saturating_sub(absent.unwrap_or(now))
            }
        };
        silence.min(self.watching_for(now))
    }

    /// For how long this process has looked without a pause.
    pub(super) fn watching_for(&self, now: Duration) -> Duration {
        now.saturating_sub(self.watching_since.unwrap_or(now))
    }

    /// When it was last looked.
    pub fn looked_at(&self) -> Duration {
        self.looked_at
    }

    /// Whether a node's heartbeat had timed out when it was last looked at.
    pub fn is_dead(&self, name: &NodeName) -> bool {
        self.nodes.get(name).is_some_and(|seen| seen.dead_since.is_some())
    }

    /// For how long a node has been dead.
    pub(super) fn dead_for(&self, name: &NodeName, now: Duration) -> Option<Duration> {
        let since = self.nodes.get(name).and_then(|seen| seen.dead_since);
        since.map(|since| now.saturating_sub(since))
    }

    /// Whether a node was dead a short while ago.
    pub(super) fn has_just_returned(&self, name: &NodeName, now: Duration, rules: &Rules) -> bool {
        let returned = self.nodes.get(name).and_then(|seen| seen.returned_at);
        returned.is_some_and(|at| now.saturating_sub(at) < rules.return_grace)
    }

    /// For how long the same nodes have been alive.
    pub(super) fn same_for(&self, now: Duration) -> Duration {
        now.saturating_sub(self.same_since)
    }

    /// For how long a member of the Raft group has been dead, without its disk, or no member.
    pub(super) fn lost_for(&self, id: RaftId, now: Duration) -> Option<Duration> {
        self.lost_voters.get(&id).map(|since| now.saturating_sub(*since))
    }

    /// Notes that it was looked for shards to move for balance.
    pub fn set_balanced(&mut self, now: Duration) {
        self.balanced_at = Some(now);
    }

    pub(super) fn balanced_at(&self) -> Option<Duration> {
        self.balanced_at
    }

    /// Bytes of a shard, as its owner said last.
    pub fn bytes(&self, shard: ShardId) -> u64 {
        self.sizes.of(shard)
    }
}

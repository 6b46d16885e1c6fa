//! Who votes: one change at a time, and a replacement before what it replaces goes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Action, Situation};
use crate::consensus::{RaftId, RaftNode};
use crate::name::NodeName;
use crate::supervisor::rules::wanted_voters;
use crate::supervisor::view::PeerView;

/// The next change of the Raft group.
pub(super) fn next_change(situation: &Situation) -> Option<Action> {
    if situation.raft.changing {
        return Some(Action::Settle);
    }
    let group = Group::new(situation);
    group
        .grow()
        .or_else(|| group.replace())
        .or_else(|| group.shrink())
        .or_else(|| group.tidy())
        .or_else(|| readdress(situation))
}

/// The Raft group, sorted out.
struct Group<'a> {
    situation: &'a Situation<'a>,
    wanted: usize,
    /// Voters that have been lost for so long that others are to take their places.
    lost: BTreeSet<RaftId>,
    /// Learners that could vote.
    ready: Vec<RaftId>,
}

impl<'a> Group<'a> {
    fn new(situation: &'a Situation<'a>) -> Self {
        let raft = situation.raft;
        let lost = raft.voters.iter().filter(|(id, voter)| is_lost(situation, **id, &voter.name));
        let ready = raft.learners.iter().filter(|(id, learner)| {
            let peer = situation.peers.get(&learner.name);
            peer.is_some_and(|peer| {
                peer.raft_id == Some(**id) && can_vote(situation, &learner.name, peer)
            })
        });
        Self {
            situation,
            wanted: wanted_voters(situation.map.members().len()),
            lost: lost.map(|(id, _)| *id).collect(),
            ready: ready.map(|(id, _)| *id).collect(),
        }
    }

    fn voters(&self) -> usize {
        self.situation.raft.voters.len()
    }

    fn healthy(&self) -> usize {
        self.voters() - self.lost.len()
    }

    /// Adds a learner, or lets one vote once there are enough of them: a group that grows is never
    /// left with an even number of voters for want of another node.
    fn grow(&self) -> Option<Action> {
        let needed = self.wanted.saturating_sub(self.healthy());
        if needed == 0 {
            return None;
        }
        let candidate = || {
            let (id, member) = self.candidate()?;
            Some(Action::AddLearner { id, member })
        };
        if self.ready.len() < needed
            && let Some(action) = candidate()
        {
            return Some(action);
        }
        let is_enough = self.ready.len() >= needed || !self.lost.is_empty();
        let promoted = self.ready.iter().min_by_key(|id| self.crowd(**id)).copied();
        promoted.filter(|_| is_enough).map(Action::Promote)
    }

    /// Takes the vote of one that is lost, when there are enough others.
    fn replace(&self) -> Option<Action> {
        let is_replaced = self.healthy() >= self.wanted || self.voters() > self.wanted;
        let lost = self.lost.first().copied();
        lost.filter(|id| is_replaced && self.can_do_without(*id)).map(Action::RemoveMember)
    }

    /// Takes a vote when there are too many: of the zone with the most voters, this node's last.
    fn shrink(&self) -> Option<Action> {
        let raft = self.situation.raft;
        if self.voters() <= self.wanted || !self.lost.is_empty() {
            return None;
        }
        let surplus = raft.voters.iter().max_by_key(|(id, voter)| {
            let member = self.situation.map.members().get(&voter.name);
            let is_staying = member.is_some_and(|member| !member.leaving);
            (**id != raft.id, !is_staying, self.crowd(**id), voter.name.clone(), **id)
        });
        let surplus = surplus.map(|(id, _)| *id).filter(|id| self.can_do_without(*id));
        surplus.map(Action::RemoveMember)
    }

    /// Whether those who would be left are enough to decide, as far as is known.
    fn can_do_without(&self, id: RaftId) -> bool {
        let others = self.situation.raft.voters.iter().filter(|(other, _)| **other != id);
        let is_alive = |(other, voter): &(&RaftId, &RaftNode)| {
            let peer = self.situation.peers.get(&voter.name);
            peer.is_some_and(|peer| peer.alive() && peer.raft_id == Some(**other))
        };
        let alive = others.clone().filter(is_alive).count();
        alive * 2 > others.count()
    }

    /// Lets go of learners that are not needed, or that are lost.
    fn tidy(&self) -> Option<Action> {
        let situation = self.situation;
        let is_needed = self.healthy() < self.wanted;
        let mut learners = situation.raft.learners.iter();
        let idle = learners
            .find(|(id, _)| !is_needed || is_lost_for(situation, **id, situation.rules.disk_grace));
        idle.map(|(id, _)| Action::RemoveMember(*id))
    }

    /// A node that could vote and is not in the group, of the zone with the fewest voters.
    fn candidate(&self) -> Option<(RaftId, RaftNode)> {
        let raft = self.situation.raft;
        let is_in = |id: &RaftId| raft.voters.contains_key(id) || raft.learners.contains_key(id);
        let mut zones: BTreeMap<&Option<String>, usize> = BTreeMap::new();
        for (id, member) in raft.voters.iter().chain(&raft.learners) {
            if !self.lost.contains(id)
                && let Some(peer) = self.situation.peers.get(&member.name)
            {
                *zones.entry(&peer.zone).or_default() += 1;
            }
        }
        let peers = self.situation.peers.iter();
        let candidates = peers.filter_map(|(name, peer)| {
            let id = peer.raft_id.filter(|id| !is_in(id))?;
            can_vote(self.situation, name, peer).then_some((id, name, peer))
        });
        let crowd = |peer: &PeerView| zones.get(&peer.zone).copied().unwrap_or(0);
        let best = candidates.min_by_key(|(_, name, peer)| (crowd(peer), (*name).clone()));
        best.map(|(id, name, peer)| {
            (id, RaftNode { name: name.clone(), address: peer.grpc.clone() })
        })
    }

    /// How many healthy voters stand in the zone of a member of the group.
    fn crowd(&self, id: RaftId) -> usize {
        let raft = self.situation.raft;
        let zone = |member: &RaftNode| {
            self.situation.peers.get(&member.name).and_then(|peer| peer.zone.clone())
        };
        let member = raft.voters.get(&id).or_else(|| raft.learners.get(&id));
        let Some(mine) = member.map(zone) else { return 0 };
        let voters = raft.voters.iter().filter(|(id, _)| !self.lost.contains(id));
        voters.filter(|(_, voter)| zone(voter) == mine).count()
    }
}

/// Members that are elsewhere by now, such as after a restart.
fn readdress(situation: &Situation) -> Option<Action> {
    let members = situation.raft.voters.iter().chain(&situation.raft.learners);
    let mut moved = members.filter_map(|(id, member)| {
        let peer = situation.peers.get(&member.name)?;
        let is_elsewhere = peer.alive() && peer.raft_id == Some(*id) && peer.grpc != member.address;
        let member = RaftNode { name: member.name.clone(), address: peer.grpc.clone() };
        is_elsewhere.then_some(Action::AddLearner { id: *id, member })
    });
    moved.next()
}

/// Whether a node may get a vote: one that is here to stay.
fn can_vote(situation: &Situation, name: &NodeName, peer: &PeerView) -> bool {
    let member = situation.map.members().get(name);
    peer.alive()
        && !peer.suspected
        && !peer.draining
        && member.is_some_and(|member| !member.leaving)
        && !situation.memory.has_just_returned(name, situation.now, situation.rules)
}

/// Whether a voter has been gone for so long that it is to be replaced: soon when its disk is gone,
/// late when it is only silent. A pod that is restarted is neither.
fn is_lost(situation: &Situation, id: RaftId, name: &NodeName) -> bool {
    let peer = situation.peers.get(name);
    let has_other_disk =
        peer.is_some_and(|peer| peer.alive() && peer.raft_id.is_some_and(|raft_id| raft_id != id));
    let is_gone = has_other_disk || !situation.map.members().contains_key(name);
    let grace = if is_gone { situation.rules.disk_grace } else { situation.rules.voter_grace };
    is_lost_for(situation, id, grace)
}

fn is_lost_for(situation: &Situation, id: RaftId, grace: Duration) -> bool {
    situation.memory.lost_for(id, situation.now).is_some_and(|lost_for| lost_for >= grace)
}

//! Who votes: one change at a time, from one odd number of voters to another. In between there would
//! be groups that stop when one of them is lost. A replacement votes from the moment on at which what it
//! replaces does not.

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
        .bring_the_log()
        .or_else(|| group.change_voters())
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
        let lost: BTreeSet<RaftId> = lost.map(|(id, _)| *id).collect();
        let is_urgent = !lost.is_empty();
        let ready = raft.learners.iter().filter(|(id, learner)| {
            let peer = situation.peers.get(&learner.name);
            peer.is_some_and(|peer| {
                peer.raft_id == Some(**id) && can_vote(situation, &learner.name, peer, is_urgent)
            })
        });
        Self {
            situation,
            wanted: wanted_voters(situation.map.members().len()),
            lost,
            ready: ready.map(|(id, _)| *id).collect(),
        }
    }

    fn voters(&self) -> usize {
        self.situation.raft.voters.len()
    }

    fn healthy(&self) -> usize {
        self.voters() - self.lost.len()
    }

    /// Healthy voters that are missing.
    fn needed(&self) -> usize {
        self.wanted.saturating_sub(self.healthy())
    }

    /// Adds a learner while there are fewer of them than are to vote.
    fn bring_the_log(&self) -> Option<Action> {
        if self.ready.len() >= self.needed() {
            return None;
        }
        let (id, member) = self.candidate()?;
        Some(Action::AddLearner { id, member })
    }

    /// Lets learners vote, and takes the votes of those that are lost or too many.
    fn change_voters(&self) -> Option<Action> {
        let raft = self.situation.raft;
        let voters: BTreeSet<RaftId> = raft.voters.keys().copied().collect();
        let mut add = self.best(&voters);
        let there = (self.healthy() + add.len()).min(self.wanted);
        // Lost ones for whom there is nobody yet: their votes count until there is.
        let mut kept = self.lost.len().min(self.wanted - there);
        if (there + kept).is_multiple_of(2) {
            match kept {
                0 => _ = add.pop(),
                _ => kept -= 1,
            }
        }
        let add: BTreeSet<RaftId> = add.into_iter().collect();
        let mut remove: BTreeSet<RaftId> = self.lost.iter().skip(kept).copied().collect();
        remove.extend(self.surplus(voters.difference(&self.lost).copied().collect()));
        if add.is_empty() && remove.is_empty() {
            return None;
        }
        let after: BTreeSet<RaftId> = voters.union(&add).copied().collect();
        let after = after.difference(&remove).copied().collect();
        (self.can_decide(&voters) && self.can_decide(&after))
            .then_some(Action::ChangeVoters { add, remove })
    }

    /// The learners that are to vote: each of the zone with the fewest voters.
    fn best(&self, voters: &BTreeSet<RaftId>) -> Vec<RaftId> {
        let mut voters: BTreeSet<RaftId> = voters.difference(&self.lost).copied().collect();
        let mut left = self.ready.clone();
        let mut best = Vec::new();
        while best.len() < self.needed()
            && let Some(id) = left.iter().min_by_key(|id| self.crowd(**id, &voters)).copied()
        {
            left.retain(|other| *other != id);
            voters.insert(id);
            best.push(id);
        }
        best
    }

    /// Voters that are too many: first those that are not there, each of the zone with the most of them,
    /// this node last.
    fn surplus(&self, mut voters: BTreeSet<RaftId>) -> Vec<RaftId> {
        let Situation { raft, map, .. } = self.situation;
        let mut surplus = Vec::new();
        while voters.len() > self.wanted {
            let named = raft.voters.iter().filter(|(id, _)| voters.contains(id));
            let next = named.max_by_key(|(id, voter)| {
                let member = map.members().get(&voter.name);
                let is_staying = member.is_some_and(|member| !member.leaving);
                let crowd = self.crowd(**id, &voters);
                let is_away = !self.is_alive(**id);
                (**id != raft.id, is_away, !is_staying, crowd, voter.name.clone(), **id)
            });
            let Some((id, _)) = next else { break };
            voters.remove(id);
            surplus.push(*id);
        }
        surplus
    }

    /// Whether enough of these voters are there to decide, as far as is known.
    fn can_decide(&self, voters: &BTreeSet<RaftId>) -> bool {
        voters.iter().filter(|id| self.is_alive(**id)).count() * 2 > voters.len()
    }

    /// Whether a member of the group is there, with its disk.
    fn is_alive(&self, id: RaftId) -> bool {
        let raft = self.situation.raft;
        let member = raft.voters.get(&id).or_else(|| raft.learners.get(&id));
        let peer = member.and_then(|member| self.situation.peers.get(&member.name));
        peer.is_some_and(|peer| peer.alive() && peer.raft_id == Some(id))
    }

    /// Lets go of learners that are not needed, or that are lost.
    fn tidy(&self) -> Option<Action> {
        let situation = self.situation;
        let is_needed = self.needed() > 0;
        let mut learners = situation.raft.learners.iter();
        let idle = learners
            .find(|(id, _)| !is_needed || is_lost_for(situation, **id, situation.rules.disk_grace));
        idle.map(|(id, _)| Action::RemoveLearner(*id))
    }

    /// A node that could vote and is not in the group, of the zone with the fewest voters; one that was dead a short
    /// while ago only where there is no other.
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
        let (peers, is_urgent) = (self.situation.peers.iter(), !self.lost.is_empty());
        let candidates = peers.filter_map(|(name, peer)| {
            let id = peer.raft_id.filter(|id| !is_in(id))?;
            can_vote(self.situation, name, peer, is_urgent).then_some((id, name, peer))
        });
        let returned = |name: &NodeName| has_just_returned(self.situation, name);
        let crowd = |peer: &PeerView| zones.get(&peer.zone).copied().unwrap_or(0);
        let best =
            candidates.min_by_key(|(_, name, peer)| (returned(name), crowd(peer), (*name).clone()));
        best.map(|(id, name, peer)| {
            (id, RaftNode { name: name.clone(), address: peer.grpc.clone() })
        })
    }

    /// How many of these voters stand in the zone of a member of the group.
    fn crowd(&self, id: RaftId, voters: &BTreeSet<RaftId>) -> usize {
        let raft = self.situation.raft;
        let zone = |id: &RaftId| {
            let member = raft.voters.get(id).or_else(|| raft.learners.get(id))?;
            Some(self.situation.peers.get(&member.name).and_then(|peer| peer.zone.clone()))
        };
        let Some(mine) = zone(&id) else { return 0 };
        voters.iter().filter(|voter| zone(voter).as_ref() == Some(&mine)).count()
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

/// Whether a node was dead a short while ago.
fn has_just_returned(situation: &Situation, name: &NodeName) -> bool {
    situation.memory.has_just_returned(name, situation.now, situation.rules)
}

/// Whether a node may get a vote: one that is here to stay. Where votes are lost it is better to have one that may
/// not stay than none: with one loss more nobody decides.
fn can_vote(situation: &Situation, name: &NodeName, peer: &PeerView, is_urgent: bool) -> bool {
    let member = situation.map.members().get(name);
    peer.alive()
        && !peer.suspected
        && !peer.draining
        && member.is_some_and(|member| !member.leaving)
        && (is_urgent || !has_just_returned(situation, name))
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

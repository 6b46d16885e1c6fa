//! Members, and who owns what.

use std::collections::BTreeMap;

use super::Situation;
use crate::name::{NodeName, ShardId};
use crate::placement::{self, Change, Input, Node, Plan, State};
use crate::shard_map::{Assignment, Command, Member, Shard};
use crate::supervisor::view::PeerView;

/// Assignments in one command: with the longest names it stays well below what a command may have.
const ASSIGNMENTS_AT_ONCE: usize = 1_024;

type Nodes = BTreeMap<NodeName, Node>;

/// Members for those who came, and what has changed of members. One that is leaving is not joined
/// again here: it says so itself when it is back.
pub(super) fn joins(situation: &Situation) -> Vec<Command> {
    let is_news = |name: &NodeName, peer: &PeerView| match situation.map.members().get(name) {
        None => peer.ready && !peer.draining,
        Some(member) => !member.leaving && !tells_the_same(member, peer),
    };
    let news = situation.peers.iter().filter(|(name, peer)| peer.alive() && is_news(name, peer));
    news.map(|(name, peer)| Command::Join {
        node: name.clone(),
        zone: peer.zone.clone(),
        capacity: peer.capacity.max(1),
    })
    .collect()
}

fn tells_the_same(member: &Member, peer: &PeerView) -> bool {
    member.zone == peer.zone && member.capacity == peer.capacity.max(1)
}

/// Members that have left for long, and own nothing.
pub(super) fn farewells(situation: &Situation) -> Vec<Command> {
    let owns = |name: &NodeName| {
        situation.map.shards().iter().any(|shard| shard.owner.as_ref() == Some(name))
    };
    let is_gone = |name: &NodeName| {
        let dead_for = situation.memory.dead_for(name, situation.now);
        dead_for.is_some_and(|dead_for| dead_for >= situation.rules.member_grace)
    };
    let members = situation.map.members().iter();
    members
        .filter(|(name, member)| member.leaving && is_gone(name) && !owns(name))
        .map(|(name, _)| Command::Remove { node: name.clone() })
        .collect()
}

/// New owners: of what nobody owns, or the dead, in one command; of what is to be moved, one by one.
pub(super) fn owners(situation: &Situation) -> Vec<Command> {
    if situation.map.members().is_empty() || is_forming(situation) {
        return Vec::new();
    }
    let nodes = nodes(situation);
    let moving = situation.map.shards().iter().filter(|shard| shard.moving_to.is_some()).count();
    let mut plan = Plan::default();
    // Placement is not cheap, and mostly everything is where it should be.
    if !is_settled(situation, &nodes) {
        plan = placement::repair(&input_of(situation, nodes.clone()));
    }
    if plan.changes.is_empty() && moving == 0 && is_time_to_balance(situation) {
        plan = placement::rebalance(&input_of(situation, nodes.clone()));
    }
    let room = situation.rules.moves_at_once.saturating_sub(moving);
    let mut commands = carry_out(situation, plan, room);
    commands.extend(aborts(situation, &nodes));
    commands
}

/// Whether every shard has its holders, and none of them has to go.
fn is_settled(situation: &Situation, nodes: &Nodes) -> bool {
    let state = |name: &NodeName| nodes.get(name).map(|node| node.state);
    let stays = |name: &NodeName| matches!(state(name), Some(State::Active | State::Full));
    let holders = nodes.values().filter(|node| node.state == State::Active).count();
    let copies = situation.rules.copies.clamp(1, holders.max(1));
    situation.map.shards().iter().all(|shard| {
        let owner = shard.owner.as_ref();
        let target = shard.moving_to.as_ref().filter(|to| stays(to)).or(owner);
        let is_pinned_elsewhere = shard
            .pin
            .as_ref()
            .is_some_and(|pin| state(pin) == Some(State::Active) && target != Some(pin));
        owner.is_some_and(|owner| !matches!(state(owner), None | Some(State::Dead)))
            && target.is_some_and(stays)
            && !is_pinned_elsewhere
            && shard.replicas.iter().all(stays)
            && shard.replicas.len() + 1 == copies
    })
}

/// What a plan means: whose owner cannot hand it over is given to another; the rest is moved, so many
/// shards at most.
pub(super) fn carry_out(situation: &Situation, plan: Plan, room: usize) -> Vec<Command> {
    let (mut assignments, mut moves) = (Vec::new(), Vec::new());
    for change in plan.changes {
        let Some(shard) = situation.map.shard(change.shard) else { continue };
        match act(situation, shard, change) {
            Some(Act::Assign(assignment)) => assignments.push(assignment),
            Some(Act::Move(begin)) => moves.push(begin),
            None => {}
        }
    }
    moves.truncate(room);
    let parts = assignments.chunks(ASSIGNMENTS_AT_ONCE);
    let assigns = parts.map(|part| Command::Assign { assignments: part.to_vec() });
    assigns.chain(moves).collect()
}

enum Act {
    Assign(Assignment),
    Move(Command),
}

fn act(situation: &Situation, shard: &Shard, change: Change) -> Option<Act> {
    let Change { shard: number, owner, replicas, .. } = change;
    let can_hand_over = |now: &NodeName| {
        situation.map.members().contains_key(now) && !situation.memory.is_dead(now)
    };
    let seen = shard.epoch;
    match &shard.owner {
        Some(now) if *now != owner && can_hand_over(now) => {
            let begin = Command::BeginMove { shard: number, seen, to: owner };
            shard.moving_to.is_none().then_some(Act::Move(begin))
        }
        // Its replicas change when it has arrived.
        Some(now) if *now == owner && shard.moving_to.is_some() => None,
        _ => Some(Act::Assign(Assignment { shard: number, seen, owner, replicas })),
    }
}

/// Moves to nodes that cannot take anything any more.
fn aborts(situation: &Situation, nodes: &Nodes) -> Vec<Command> {
    let shards = (0u32..).map(ShardId).zip(situation.map.shards());
    let is_lost = |shard: &Shard| {
        let target = shard.moving_to.as_ref().map(|to| nodes.get(to).map(|node| node.state));
        target.is_some_and(|state| matches!(state, None | Some(State::Dead | State::Leaving)))
    };
    shards
        .filter(|(_, shard)| is_lost(shard))
        .map(|(number, shard)| Command::AbortMove { shard: number, seen: shard.epoch })
        .collect()
}

/// What placement is asked about. What is on its way counts as being there.
pub(super) fn input(situation: &Situation) -> Input {
    input_of(situation, nodes(situation))
}

fn nodes(situation: &Situation) -> Nodes {
    let members = situation.map.members().iter();
    let mut nodes: Nodes = members
        .map(|(name, member)| {
            let state = state(situation, name, member);
            (name.clone(), Node { state, capacity: member.capacity, zone: member.zone.clone() })
        })
        .collect();
    // With nobody who would do better, who has just come back takes what there is.
    if nodes.values().all(|node| node.state != State::Active) {
        for (name, node) in &mut nodes {
            let returned = situation.memory.has_just_returned(name, situation.now, situation.rules);
            if returned && node.state == State::Full && may_take(situation, name) {
                node.state = State::Active;
            }
        }
    }
    nodes
}

fn input_of(situation: &Situation, nodes: Nodes) -> Input {
    let shards = (0u32..).map(ShardId).zip(situation.map.shards());
    let shards = shards.map(|(number, shard)| placement::Shard {
        bytes: situation.memory.bytes(number),
        owner: owner_to_be(situation, &nodes, shard),
        replicas: shard.replicas.clone(),
        pin: shard.pin.clone(),
    });
    let shards = shards.collect();
    Input { nodes, shards, copies: situation.rules.copies }
}

fn owner_to_be(situation: &Situation, nodes: &Nodes, shard: &Shard) -> Option<NodeName> {
    let is_dead = shard.owner.as_ref().is_some_and(|owner| situation.memory.is_dead(owner));
    let is_welcome = |to: &&NodeName| {
        let state = nodes.get(*to).map(|node| node.state);
        matches!(state, Some(State::Active | State::Full))
    };
    let arriving = shard.moving_to.as_ref().filter(is_welcome).filter(|_| !is_dead);
    arriving.or(shard.owner.as_ref()).cloned()
}

fn state(situation: &Situation, name: &NodeName, member: &Member) -> State {
    let peer = situation.peers.get(name);
    if situation.memory.is_dead(name) {
        State::Dead
    } else if member.leaving || peer.is_some_and(|peer| peer.draining) {
        State::Leaving
    } else if !may_take(situation, name)
        || situation.memory.has_just_returned(name, situation.now, situation.rules)
    {
        State::Full
    } else {
        State::Active
    }
}

fn may_take(situation: &Situation, name: &NodeName) -> bool {
    let peer = situation.peers.get(name);
    peer.is_some_and(|peer| peer.alive() && peer.ready && !peer.full && !peer.suspected)
}

/// Whether the cluster is so young that it is better to wait for more nodes.
fn is_forming(situation: &Situation) -> bool {
    let Situation { map, memory, rules, now, .. } = situation;
    if map.shards().iter().any(|shard| shard.owner.is_some()) {
        return false;
    }
    if memory.watching_for(*now) >= rules.form_timeout {
        return false;
    }
    map.members().len() < rules.expected_nodes || memory.same_for(*now) < rules.settle
}

/// Whether shards are to be moved for balance: everything is served, and the last look is long ago.
pub(super) fn is_time_to_balance(situation: &Situation) -> bool {
    let Situation { map, peers, memory, rules, now, .. } = situation;
    let is_due =
        memory.balanced_at().is_none_or(|at| now.saturating_sub(at) >= rules.rebalance_interval);
    rules.rebalance
        && is_due
        && peers.iter().filter(|(name, _)| map.members().contains_key(*name)).all(|(name, peer)| {
            let owned = map.shards().iter().filter(|shard| shard.owner.as_ref() == Some(name));
            peer.alive() && peer.shards_serving as usize >= owned.count()
        })
}

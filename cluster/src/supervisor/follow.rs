//! What a node has to do with the shards on its disk to be in line with the shard map: a pure
//! function of both.

use std::collections::BTreeMap;

use super::{Held, HeldState};
use crate::name::{Epoch, NodeName, ShardId};
use crate::shard_map::{Shard, ShardMap};

/// What is to be done with a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// [`super::ShardHost::activate`].
    Activate(Epoch),
    /// [`super::ShardHost::replicate`].
    Replicate(Epoch),
    /// To say that a shard that moves here under this epoch was copied.
    TellCopied(Epoch),
    /// [`super::ShardHost::hand_over`], of what is held under this epoch.
    HandOver(Epoch),
    /// To propose the end of a move that began under this epoch.
    EndMove(Epoch),
    /// [`super::ShardHost::release`]. Nothing is uploaded: who owns it now has fenced that off.
    Release,
    /// [`super::ShardHost::release`] with an upload, of what nobody else takes from a node that stops.
    Close,
}

/// What a node holds.
#[derive(Clone, Copy, Debug)]
pub struct Holding<'a> {
    /// What is on its disk.
    pub held: &'a BTreeMap<ShardId, Held>,
    /// What it has handed over in this life of the process, under which epoch.
    pub handed_over: &'a BTreeMap<ShardId, Epoch>,
    /// What it has copied in this life of the process, under which epoch.
    pub copied: &'a BTreeMap<ShardId, Epoch>,
}

/// The next step for each shard that needs one. A shard that is being opened or closed needs none.
pub fn next_steps(map: &ShardMap, me: &NodeName, holding: Holding) -> BTreeMap<ShardId, Step> {
    let shards = (0u32..).map(ShardId).zip(map.shards());
    let steps = shards.filter_map(|(number, shard)| {
        let held = holding.held.get(&number);
        if held.is_some_and(|held| is_busy(held.state)) {
            return None;
        }
        let is_of_now = |done: &BTreeMap<ShardId, Epoch>| done.get(&number) == Some(&shard.epoch);
        let step = match shard.owner.as_ref() == Some(me) {
            true => step_of_owner(shard, held, is_of_now(holding.handed_over)),
            false => step_of_other(shard, me, held, is_of_now(holding.copied)),
        };
        step.map(|step| (number, step))
    });
    steps.collect()
}

fn step_of_owner(shard: &Shard, held: Option<&Held>, is_handed_over: bool) -> Option<Step> {
    let epoch = shard.epoch;
    let state = held.map(|held| held.state);
    let is_copy = state == Some(HeldState::Replica);
    if held.is_some_and(|held| held.epoch != epoch && !is_copy) {
        return Some(Step::Release);
    }
    match (&shard.moving_to, state) {
        (Some(_), _) if is_handed_over => Some(Step::EndMove(epoch)),
        // What is not open has to be opened first: there may be more on the disk than in cold storage.
        (_, None | Some(HeldState::Failed | HeldState::Replica)) => Some(Step::Activate(epoch)),
        (Some(_), Some(_)) => shard.copied.then_some(Step::HandOver(epoch)),
        // The move was given up.
        (None, Some(HeldState::HandedOver)) => Some(Step::Activate(epoch)),
        (None, Some(_)) => is_handed_over.then_some(Step::Activate(epoch)),
    }
}

fn step_of_other(
    shard: &Shard,
    me: &NodeName,
    held: Option<&Held>,
    is_copied: bool,
) -> Option<Step> {
    let is_coming = shard.moving_to.as_ref() == Some(me);
    let is_wanted = is_coming || shard.replicas.contains(me);
    let copy = held.filter(|held| held.state == HeldState::Replica);
    if held.is_some() && (copy.is_none() || !is_wanted) {
        return Some(Step::Release);
    }
    let is_whole = copy.is_some_and(|copy| copy.epoch == shard.epoch) || is_copied;
    match is_wanted {
        true if !is_whole => Some(Step::Replicate(shard.epoch)),
        true if is_coming && !shard.copied => Some(Step::TellCopied(shard.epoch)),
        _ => None,
    }
}

/// The next step for each shard of a node that stops: what was handed over, or is another's by now, is
/// uploaded already, or may not be.
pub fn closing_steps(map: &ShardMap, me: &NodeName, holding: Holding) -> BTreeMap<ShardId, Step> {
    let idle = holding.held.values().filter(|held| !is_busy(held.state));
    let steps = idle.map(|held| {
        let entry = map.shard(held.shard);
        let is_mine = entry
            .is_some_and(|entry| entry.owner.as_ref() == Some(me) && entry.epoch == held.epoch);
        let is_uploaded = holding.handed_over.get(&held.shard) == Some(&held.epoch);
        let step = if is_mine && !is_uploaded { Step::Close } else { Step::Release };
        (held.shard, step)
    });
    steps.collect()
}

fn is_busy(state: HeldState) -> bool {
    match state {
        HeldState::Opening | HeldState::Closing => true,
        HeldState::Serving | HeldState::Replica | HeldState::HandedOver | HeldState::Failed => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::shard_map::{Assignment, Command};

    const SHARD: ShardId = ShardId(0);

    fn name(number: u8) -> NodeName {
        format!("node-{number}").parse().unwrap()
    }

    /// One shard that this node, number 0, owns under epoch 1.
    fn map() -> ShardMap {
        let mut map = ShardMap::new(uuid::Uuid::from_u128(1), 1);
        for number in 0..2 {
            map.apply(Command::Join { node: name(number), zone: None, capacity: 100 });
        }
        assign(&mut map, 0);
        map
    }

    fn assign(map: &mut ShardMap, owner: u8) {
        let (seen, owner) = (map.shard(SHARD).unwrap().epoch, name(owner));
        let assignment = Assignment { shard: SHARD, seen, owner, replicas: Vec::new() };
        assert_eq!(map.apply(Command::Assign { assignments: vec![assignment] }), [Ok(())]);
    }

    fn begin_move(map: &mut ShardMap) {
        let begin = Command::BeginMove { shard: SHARD, seen: Epoch(1), to: name(1) };
        assert_eq!(map.apply(begin), [Ok(())]);
    }

    fn step(
        map: &ShardMap,
        held: Option<(u64, HeldState)>,
        handed_over: Option<u64>,
    ) -> Option<Step> {
        let held =
            held.map(|(epoch, state)| Held { shard: SHARD, epoch: Epoch(epoch), state, bytes: 0 });
        let held = held.into_iter().map(|held| (SHARD, held)).collect();
        let handed_over = handed_over.into_iter().map(|epoch| (SHARD, Epoch(epoch))).collect();
        let holding = Holding { held: &held, handed_over: &handed_over, copied: &BTreeMap::new() };
        next_steps(map, &name(0), holding).remove(&SHARD)
    }

    /// What node 1 does, which owns nothing.
    fn step_of_node_1(
        map: &ShardMap,
        held: Option<(u64, HeldState)>,
        copied: Option<u64>,
    ) -> Option<Step> {
        let held = held.map(|(epoch, state)| {
            (SHARD, Held { shard: SHARD, epoch: Epoch(epoch), state, bytes: 0 })
        });
        let held = held.into_iter().collect();
        let copied = copied.into_iter().map(|epoch| (SHARD, Epoch(epoch))).collect();
        let holding = Holding { held: &held, handed_over: &BTreeMap::new(), copied: &copied };
        next_steps(map, &name(1), holding).remove(&SHARD)
    }

    #[test]
    fn an_owner_serves() {
        let map = map();
        assert_eq!(step(&map, None, None), Some(Step::Activate(Epoch(1))));
        assert_eq!(step(&map, Some((1, HeldState::Opening)), None), None);
        assert_eq!(step(&map, Some((1, HeldState::Serving)), None), None);
        assert_eq!(step(&map, Some((1, HeldState::Failed)), None), Some(Step::Activate(Epoch(1))));
    }

    #[test]
    fn a_node_that_stops_uploads_what_is_its_own() {
        let mut map = map();
        let step = |map: &ShardMap, state: HeldState, handed_over: Option<u64>| {
            let held = Held { shard: SHARD, epoch: Epoch(1), state, bytes: 0 };
            let held = BTreeMap::from([(SHARD, held)]);
            let handed_over = handed_over.into_iter().map(|epoch| (SHARD, Epoch(epoch))).collect();
            let copied = BTreeMap::new();
            let holding = Holding { held: &held, handed_over: &handed_over, copied: &copied };
            closing_steps(map, &name(0), holding).remove(&SHARD)
        };
        assert_eq!(step(&map, HeldState::Serving, None), Some(Step::Close));
        assert_eq!(step(&map, HeldState::Closing, None), None);
        assert_eq!(step(&map, HeldState::HandedOver, Some(1)), Some(Step::Release));
        assign(&mut map, 1);
        assert_eq!(step(&map, HeldState::Serving, None), Some(Step::Release));
    }

    #[test]
    fn what_is_held_under_another_epoch_is_let_go_first() {
        let mut map = map();
        assign(&mut map, 1);
        assign(&mut map, 0);
        assert_eq!(step(&map, Some((1, HeldState::Serving)), None), Some(Step::Release));
        assert_eq!(step(&map, Some((1, HeldState::Closing)), None), None);
        assert_eq!(step(&map, None, Some(1)), Some(Step::Activate(Epoch(3))));
    }

    #[test]
    fn who_owns_it_no_more_lets_go() {
        let mut map = map();
        assign(&mut map, 1);
        for state in [HeldState::Serving, HeldState::HandedOver, HeldState::Failed] {
            assert_eq!(step(&map, Some((1, state)), Some(1)), Some(Step::Release));
        }
        assert_eq!(step(&map, Some((1, HeldState::Opening)), None), None);
        assert_eq!(step(&map, None, Some(1)), None);
    }

    #[test]
    fn a_move_begins_with_a_copy() {
        let mut map = map();
        begin_move(&mut map);
        let (replicate, tell) = (Some(Step::Replicate(Epoch(1))), Some(Step::TellCopied(Epoch(1))));
        assert_eq!(step_of_node_1(&map, None, None), replicate);
        assert_eq!(step_of_node_1(&map, Some((1, HeldState::Opening)), None), None);
        // A host that makes copies, and one that does not.
        assert_eq!(step_of_node_1(&map, Some((1, HeldState::Replica)), None), tell);
        assert_eq!(step_of_node_1(&map, None, Some(1)), tell);
        // What is left from before is no copy.
        assert_eq!(step_of_node_1(&map, Some((1, HeldState::Failed)), None), Some(Step::Release));
        // Until then the owner goes on writing.
        assert_eq!(step(&map, Some((1, HeldState::Serving)), None), None);
        map.apply(Command::Copied { shard: SHARD, seen: Epoch(1) });
        assert_eq!(step_of_node_1(&map, Some((1, HeldState::Replica)), None), None);
        assert_eq!(step_of_node_1(&map, None, Some(1)), None);
        // After a restart it copies again.
        assert_eq!(step_of_node_1(&map, None, None), replicate);
        map.apply(Command::EndMove { shard: SHARD, seen: Epoch(1) });
        let activate = Some(Step::Activate(Epoch(2)));
        assert_eq!(step_of_node_1(&map, Some((1, HeldState::Replica)), Some(1)), activate);
        assert_eq!(step_of_node_1(&map, None, Some(1)), activate);
    }

    #[test]
    fn a_copy_for_a_move_that_was_given_up_goes() {
        let mut map = map();
        begin_move(&mut map);
        map.apply(Command::AbortMove { shard: SHARD, seen: Epoch(1) });
        let replica = Some((1, HeldState::Replica));
        assert_eq!(step_of_node_1(&map, replica, Some(1)), Some(Step::Release));
        assert_eq!(step_of_node_1(&map, None, Some(1)), None);
    }

    #[test]
    fn replicas_follow_their_owner() {
        let mut map = map();
        let replicas = vec![name(1)];
        let assignment = Assignment { shard: SHARD, seen: Epoch(1), owner: name(0), replicas };
        map.apply(Command::Assign { assignments: vec![assignment] });
        let replica = Some((1, HeldState::Replica));
        assert_eq!(step_of_node_1(&map, None, None), Some(Step::Replicate(Epoch(1))));
        assert_eq!(step_of_node_1(&map, replica, None), None);
        // Of an owner under another epoch.
        let older = Some((0, HeldState::Replica));
        assert_eq!(step_of_node_1(&map, older, Some(0)), Some(Step::Replicate(Epoch(1))));
        // The owner dies, and the replica becomes the owner.
        assign(&mut map, 1);
        assert_eq!(step_of_node_1(&map, replica, None), Some(Step::Activate(Epoch(2))));
    }

    #[test]
    fn a_move_ends_when_all_is_uploaded() {
        let mut map = map();
        begin_move(&mut map);
        map.apply(Command::Copied { shard: SHARD, seen: Epoch(1) });
        let (hand_over, end) = (Some(Step::HandOver(Epoch(1))), Some(Step::EndMove(Epoch(1))));
        assert_eq!(step(&map, Some((1, HeldState::Serving)), None), hand_over);
        // A host that goes on serving, and one that does not.
        assert_eq!(step(&map, Some((1, HeldState::HandedOver)), Some(1)), end);
        assert_eq!(step(&map, None, Some(1)), end);
        // After a restart nothing is known to have been uploaded.
        assert_eq!(step(&map, None, None), Some(Step::Activate(Epoch(1))));
        assert_eq!(step(&map, Some((1, HeldState::HandedOver)), None), hand_over);
    }

    #[test]
    fn a_move_that_is_given_up_leaves_the_owner_writing() {
        let mut map = map();
        begin_move(&mut map);
        map.apply(Command::AbortMove { shard: SHARD, seen: Epoch(1) });
        let again = Some(Step::Activate(Epoch(1)));
        assert_eq!(step(&map, Some((1, HeldState::HandedOver)), Some(1)), again);
        assert_eq!(step(&map, None, Some(1)), again);
        assert_eq!(step(&map, Some((1, HeldState::Serving)), Some(1)), again);
    }
}

//! What the leader of the Raft group does about what it sees: a pure function of it.
//!
//! Shards of the dead get new owners in one command; those of nodes that leave are moved, which is
//! slower and loses nothing. Nobody is held to be dead by a leader that was itself paused, see
//! [`Memory`]; and nothing here is done before the leader has made sure that it still leads.

mod ownership;
#[cfg(test)]
mod tests;
mod voters;

use std::collections::BTreeSet;
use std::time::Duration;

use super::memory::Memory;
use super::rules::Rules;
use super::view::{PeersView, RaftView};
use crate::consensus::{RaftId, RaftNode};
use crate::placement;
use crate::shard_map::{Command, ShardMap};

/// What the leader is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// To propose a change of the shard map.
    Propose(Command),
    /// To bring the log to a node that is to vote; for a member of the group, to note where it is now.
    AddLearner {
        /// Of its disk.
        id: RaftId,
        /// Where it is.
        member: RaftNode,
    },
    /// To let learners vote and take votes away, in one change.
    ChangeVoters {
        /// Learners that are to vote.
        add: BTreeSet<RaftId>,
        /// Voters that are to leave the group.
        remove: BTreeSet<RaftId>,
    },
    /// To finish a change of the voters that a leader before this one has begun.
    Settle,
    /// To stop sending the log to a learner.
    RemoveLearner(RaftId),
}

/// All that a decision is made of.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// Who owns what.
    pub map: &'a ShardMap,
    /// Who is there.
    pub peers: &'a PeersView,
    /// The Raft group.
    pub raft: &'a RaftView,
    /// What was seen before; [`Memory::observe`] has been told of all this.
    pub memory: &'a Memory,
    /// By what to decide.
    pub rules: &'a Rules,
    /// Since any one moment, by a clock that is not set.
    pub now: Duration,
}

/// What to do, the most urgent first; at most one change of the Raft group. Nothing, when this node
/// does not lead.
pub fn decide(situation: &Situation) -> Vec<Action> {
    if !situation.raft.leads {
        return Vec::new();
    }
    let joins = ownership::joins(situation);
    let owners = ownership::owners(situation);
    let farewells = ownership::farewells(situation);
    let commands = joins.into_iter().chain(owners).chain(farewells).map(Action::Propose);
    commands.chain(voters::next_change(situation)).collect()
}

/// What placement would be asked about, were it asked now: for a plan that is shown or carried out by
/// hand.
pub fn placement_input(situation: &Situation) -> placement::Input {
    ownership::input(situation)
}

/// The commands that carry a plan out, whatever [`Rules::moves_at_once`] says.
pub fn carry_out(situation: &Situation, plan: placement::Plan) -> Vec<Command> {
    ownership::carry_out(situation, plan, usize::MAX)
}

/// Whether the leader's [`Rules::rebalance`] had it look for shards to move just now.
pub(super) fn looks_for_balance(situation: &Situation) -> bool {
    ownership::is_time_to_balance(situation)
}

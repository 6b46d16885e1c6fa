//! What a node does in the Raft group, as it gossips it: `term:votes:leads:committed`. Nodes outside the
//! group know from this how it is; nothing is decided by it.

/// What a node does in the Raft group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupFacts {
    /// The highest term that it knows; 0 outside the group.
    pub term: u64,
    /// Whether it votes.
    pub votes: bool,
    /// Whether it leads, and a majority has said so a short while ago.
    pub leads: bool,
    /// Position up to which it knows the log to be committed.
    pub committed: u64,
}

pub(super) fn write(facts: GroupFacts) -> String {
    let GroupFacts { term, votes, leads, committed } = facts;
    format!("{term}:{}:{}:{committed}", u8::from(votes), u8::from(leads))
}

/// What [`write`] wrote; `None` for anything else.
pub(super) fn read(text: &str) -> Option<GroupFacts> {
    let mut fields = text.split(':');
    let mut next = |largest| super::facts::number(fields.next()?, largest);
    let (term, votes, leads): (u64, u64, u64) = (next(u64::MAX)?, next(1)?, next(1)?);
    let committed = next(u64::MAX)?;
    let facts = GroupFacts { term, votes: votes == 1, leads: leads == 1, committed };
    fields.next().is_none().then_some(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for (votes, leads) in [(false, false), (true, false), (true, true)] {
            let facts = GroupFacts { term: u64::MAX, votes, leads, committed: u64::MAX };
            assert_eq!(read(&write(facts)), Some(facts));
        }
        for bad in ["", "1", "1:1:1", "1:2:0:1", "1:1:1:1:1", "01:1:1:1", "1:1:1:-1", "1:1:1:1 "] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}

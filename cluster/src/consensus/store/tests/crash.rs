//! Loss of power at any moment: what was said to be written is there afterwards, and what was being
//! written is there whole or not at all.

use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::{AnyError, CommittedLeaderId, EntryPayload, RaftLogReader};
use proptest::prelude::*;

use super::super::Store;
use super::disk::Shared;
use crate::consensus::types::{
    Entry, LogId, RaftId, Request, SnapshotMeta, StorageError, StorageIOError, Vote,
};
use crate::shard_map::Command;

/// What openraft may ask of a store.
#[derive(Clone, Debug)]
enum Step {
    Vote { term: u64 },
    Append { entries: u64 },
    Truncate { last: u64 },
    Purge { first: u64 },
    Commit,
    Snapshot { pages: usize },
}

/// What a store should hold.
#[derive(Clone, Debug, Default, PartialEq)]
struct Held {
    vote: Option<Vote>,
    log: Vec<Entry>,
    purged: Option<LogId>,
    committed: Option<LogId>,
    snapshot: Option<(SnapshotMeta, Vec<u8>)>,
}

fn log_id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(1, RaftId(7)), index)
}

fn entry(index: u64) -> Entry {
    let node = format!("node-{index}").parse().unwrap();
    // Some of them larger than a page.
    let zone = Some("z".repeat((index as usize % 5) * 2000));
    let command = Command::Join { node, zone, capacity: 1 };
    Entry { log_id: log_id(index), payload: EntryPayload::Normal(Request::Change(command)) }
}

impl Held {
    fn next(&self) -> u64 {
        let last = self.log.last().map(|entry| entry.log_id).or(self.purged);
        last.map_or(0, |last| last.index + 1)
    }

    /// What it holds after a step, and the step done to a store.
    async fn step(&self, step: &Step, store: &mut Store) -> (Self, Result<(), StorageError>) {
        let mut after = self.clone();
        let done = match step {
            Step::Vote { term } => {
                let vote = Vote::new(*term, RaftId(3));
                after.vote = Some(vote);
                store.save_vote(&vote).await
            }
            Step::Append { entries } => {
                let entries: Vec<Entry> = (self.next()..self.next() + entries).map(entry).collect();
                after.log.extend(entries.clone());
                store.blocking_append(entries).await
            }
            Step::Truncate { last } => {
                let keep = self.log.len().saturating_sub(*last as usize);
                let Some(from) = self.log.get(keep) else { return (after, Ok(())) };
                after.log.truncate(keep);
                store.truncate(from.log_id).await
            }
            Step::Purge { first } => {
                let gone = self.log.len().min(*first as usize);
                let Some(until) = gone.checked_sub(1) else { return (after, Ok(())) };
                let until = self.log[until].log_id;
                after.log.drain(..gone);
                after.purged = Some(until);
                store.purge(until).await
            }
            Step::Commit => {
                let last = self.log.last().map(|entry| entry.log_id);
                // It never goes back.
                after.committed = self.committed.max(last);
                store.save_committed(after.committed).await
            }
            Step::Snapshot { pages } => {
                let meta = SnapshotMeta { last_log_id: self.committed, ..SnapshotMeta::default() };
                let bytes = vec![*pages as u8; pages * 4096];
                let saved = store.save_snapshot(&meta, bytes.clone()).await;
                after.snapshot = Some((meta, bytes));
                saved.map_err(|error| StorageIOError::write(AnyError::new(&error)).into())
            }
        };
        (after, done)
    }

    async fn of(store: &mut Store) -> Self {
        let state = store.get_log_state().await.unwrap();
        let log = store.try_get_log_entries(..).await.unwrap();
        assert_eq!(state.last_log_id, log.last().map(|e| e.log_id).or(state.last_purged_log_id));
        Self {
            vote: store.read_vote().await.unwrap(),
            log,
            purged: state.last_purged_log_id,
            committed: store.read_committed().await.unwrap(),
            snapshot: store.snapshot().await.unwrap(),
        }
    }
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1u64..50).prop_map(|term| Step::Vote { term }),
        4 => (1u64..6).prop_map(|entries| Step::Append { entries }),
        1 => (1u64..4).prop_map(|last| Step::Truncate { last }),
        1 => (1u64..6).prop_map(|first| Step::Purge { first }),
        2 => Just(Step::Commit),
        1 => (1usize..5).prop_map(|pages| Step::Snapshot { pages }),
    ]
}

async fn lose_power(steps: &[Step], left: usize, luck: u64) -> Result<(), TestCaseError> {
    let disk = Shared::default();
    let mut store = disk.open().unwrap();
    disk.disk().left = Some(left);
    let (mut before, mut after) = (Held::default(), Held::default());
    for step in steps {
        let (held, done) = after.step(step, &mut store).await;
        before = after;
        after = held;
        if done.is_err() {
            break;
        }
        before = after.clone();
    }
    let image = disk.disk().after_loss(luck);
    let mut again = Shared::with(image).open().map_err(|error| {
        TestCaseError::fail(format!("the store cannot be opened again: {error}"))
    })?;
    let found = Held::of(&mut again).await;
    prop_assert!(
        found == before || found == after,
        "acknowledged: {before:?}\nbeing written: {after:?}\nfound: {found:?}"
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_survives_a_loss_of_power(
        steps in prop::collection::vec(steps(), 1..25),
        left in 0usize..200,
        luck: u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(lose_power(&steps, left, luck))?;
    }
}

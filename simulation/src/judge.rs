//! What must be true at every step, and the log of what happened.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aeterna_cluster::name::NodeName;
use aeterna_cluster::shard_map::ShardMap;

use crate::catalog::{Document, Right};

/// Lines of the log that are kept.
const LINES: usize = 20_000;

/// A moment, among others of the same simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

#[derive(Clone, Debug)]
struct Indexed {
    document: Document,
    epoch: u64,
    at: Moment,
}

#[derive(Default)]
struct State {
    now: Duration,
    moments: u64,
    lines: VecDeque<String>,
    /// Of all lines.
    hash: u64,
    wrong: Option<String>,
    /// Each shard map that was seen, by its version.
    maps: BTreeMap<u64, Arc<ShardMap>>,
    /// Who owned each shard under each epoch.
    owners: BTreeMap<(u32, u64), NodeName>,
    /// Who served it.
    servers: BTreeMap<(u32, u64), usize>,
    /// Who led, and in which terms. There may be several in a term, one after the other: the greater
    /// id of a disk wins (openraft's `leader_id::adv`).
    leaders: BTreeSet<(u64, u64)>,
    /// Who made each entry of the log that was applied: the term and the disk.
    applied: BTreeMap<u64, (u64, u64)>,
    indexed: BTreeMap<u32, Vec<Indexed>>,
    /// When each shard was fenced off last, and under which epoch.
    fences: BTreeMap<u32, (u64, Moment)>,
    /// What was uploaded of each shard, under each epoch.
    uploads: BTreeMap<u32, BTreeMap<u64, BTreeSet<Document>>>,
    /// Each content of a shard whose upload was begun.
    contents: BTreeMap<u32, BTreeSet<BTreeSet<Document>>>,
    /// What clients were told is kept.
    acknowledged: BTreeMap<u32, BTreeSet<Document>>,
}

/// Watches a simulation.
#[derive(Default)]
pub struct Judge(Mutex<State>);

impl Judge {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is so late now.
    pub fn set_now(&self, now: Duration) {
        self.lock().now = now;
    }

    /// Writes down what happened.
    pub fn log(&self, line: impl FnOnce() -> String) {
        self.lock().log(&line());
    }

    /// Says that something is wrong. What is wrong first counts.
    pub fn wrong(&self, what: String) {
        self.lock().wrong(what);
    }

    /// What is wrong, if anything is.
    pub fn verdict(&self) -> Option<String> {
        self.lock().wrong.clone()
    }

    /// The last lines of the log.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.iter().cloned().collect()
    }

    /// A number that two logs share only if they are the same.
    pub fn hash(&self) -> u64 {
        self.lock().hash
    }

    /// This moment.
    pub fn moment(&self) -> Moment {
        let mut state = self.lock();
        state.moments += 1;
        Moment(state.moments)
    }

    /// A node shows a shard map.
    pub fn see_map(&self, node: &str, map: &Arc<ShardMap>) {
        self.lock().see_map(node, map);
    }

    /// A disk of the Raft group leads in a term.
    pub fn see_leader(&self, term: u64, disk: u64) {
        let mut state = self.lock();
        if state.leaders.insert((term, disk)) {
            state.log(&format!("disk {disk} leads in term {term}"));
        }
    }

    /// A node has applied an entry of the log, that was made in a term by a disk.
    pub fn see_applied(&self, node: &str, index: u64, made: (u64, u64)) {
        let mut state = self.lock();
        let known = *state.applied.entry(index).or_insert(made);
        if known != made {
            state.wrong(format!(
                "{node} has applied entry {index} of (term, disk) {made:?}, and others that of {known:?}"
            ));
        }
    }

    /// A node has begun to serve a shard.
    pub fn serves(&self, node: usize, right: Right) {
        let mut state = self.lock();
        let Right { shard, epoch } = right;
        state.log(&format!("node {node} serves shard {shard} under epoch {epoch}"));
        let other = *state.servers.entry((shard, epoch)).or_insert(node);
        if other != node {
            state
                .wrong(format!("nodes {other} and {node} serve shard {shard} under epoch {epoch}"));
        }
    }

    /// A shard was fenced off under an epoch.
    pub fn fenced(&self, right: Right) {
        let at = self.moment();
        let mut state = self.lock();
        let known = state.fences.entry(right.shard).or_insert((right.epoch, at));
        if right.epoch > known.0 {
            *known = (right.epoch, at);
        }
    }

    /// An upload of a shard begins.
    pub fn begin_upload(&self, shard: u32, documents: &BTreeSet<Document>) -> Moment {
        self.lock().contents.entry(shard).or_default().insert(documents.clone());
        self.moment()
    }

    /// An upload has succeeded that began then: nothing of it may be lost.
    pub fn uploaded(&self, right: Right, begun: Moment, documents: &BTreeSet<Document>) {
        let mut state = self.lock();
        let Right { shard, epoch } = right;
        if let Some((by, at)) = state.fences.get(&shard).copied()
            && by > epoch
            && at < begun
        {
            state.wrong(format!(
                "an upload of shard {shard} under epoch {epoch} succeeded after epoch {by} had fenced it off"
            ));
        }
        state.uploads.entry(shard).or_default().entry(epoch).or_default().extend(documents);
    }

    /// What was uploaded of a shard until now, under an epoch or earlier ones.
    pub fn uploads_of(&self, shard: u32, epoch: u64) -> BTreeSet<Document> {
        let state = self.lock();
        let uploads = state.uploads.get(&shard).into_iter().flat_map(|all| all.range(..=epoch));
        uploads.flat_map(|(_, documents)| documents).copied().collect()
    }

    /// A node's copy of a shard has become another: of something that its owners have uploaded, as a whole, and
    /// with all of what was uploaded that it had before. Of an upload that counts for nothing, because another
    /// owner had come, more may be gone.
    pub fn copied(
        &self,
        (node, shard): (usize, u32),
        before: &BTreeSet<Document>,
        documents: &BTreeSet<Document>,
    ) {
        let uploaded = self.uploads_of(shard, u64::MAX);
        let is_gone =
            |document: &&Document| uploaded.contains(document) && !documents.contains(document);
        let gone: Vec<_> = before.iter().filter(is_gone).collect();
        let mut state = self.lock();
        let contents = state.contents.get(&shard);
        if !documents.is_empty() && !contents.is_some_and(|contents| contents.contains(documents)) {
            state.wrong(format!(
                "node {node} has a copy of shard {shard} that nobody has uploaded: {documents:?}"
            ));
        } else if !gone.is_empty() {
            state
                .wrong(format!("node {node}'s copy of shard {shard} goes back: {gone:?} are gone"));
        }
    }

    /// A node has looked whether its copy of a shard is behind, and it is not any more: what had been uploaded
    /// before it looked is in it.
    pub fn followed(
        &self,
        (node, shard): (usize, u32),
        uploaded: &BTreeSet<Document>,
        documents: &BTreeSet<Document>,
    ) {
        let lacking: Vec<_> = uploaded.difference(documents).collect();
        if !lacking.is_empty() {
            self.wrong(format!(
                "node {node}'s copy of shard {shard} counts as up to date, without {lacking:?}"
            ));
        }
    }

    /// A shard was brought to a node; at least what had been uploaded before must be in it.
    pub fn restored(
        &self,
        right: Right,
        uploaded: &BTreeSet<Document>,
        documents: &BTreeSet<Document>,
    ) {
        let lost: Vec<_> = uploaded.difference(documents).collect();
        if !lost.is_empty() {
            let Right { shard, epoch } = right;
            self.wrong(format!(
                "{lost:?} of shard {shard} were uploaded, and are not there under epoch {epoch}"
            ));
        }
    }

    /// The catalog has noted that a document is indexed.
    pub fn indexed(&self, right: Right, document: Document) {
        let at = self.moment();
        let mut state = self.lock();
        let Right { shard, epoch } = right;
        state.log(&format!("document {document} of shard {shard} is indexed under epoch {epoch}"));
        state.indexed.entry(shard).or_default().push(Indexed { document, epoch, at });
    }

    /// A client was told that a document is kept.
    pub fn acknowledged(&self, shard: u32, document: Document) {
        let mut state = self.lock();
        state.log(&format!("document {document} of shard {shard} is acknowledged"));
        state.acknowledged.entry(shard).or_default().insert(document);
    }

    /// What clients were told is kept.
    pub fn kept(&self, shard: u32) -> BTreeSet<Document> {
        self.lock().acknowledged.get(&shard).cloned().unwrap_or_default()
    }

    /// A client has an answer that says it is complete: what was indexed before it asked must be in it,
    /// but for what was indexed by later owners than the one that has answered. A copy is no owner's: it answers
    /// for all of them.
    pub fn read(&self, right: Right, asked: Moment, documents: &BTreeSet<Document>) {
        let mut state = self.lock();
        let Right { shard, epoch } = right;
        let indexed = state.indexed.get(&shard).into_iter().flatten();
        let due = indexed.filter(|indexed| indexed.epoch <= epoch && indexed.at < asked);
        let missing: Vec<Document> = due
            .map(|indexed| indexed.document)
            .filter(|document| !documents.contains(document))
            .collect();
        if !missing.is_empty() {
            state.wrong(format!(
                "an answer for shard {shard} under epoch {epoch} says that it is complete, without {missing:?}"
            ));
        }
    }
}

impl State {
    fn log(&mut self, line: &str) {
        let line = format!("{:>9.3} {line}", self.now.as_secs_f64());
        for byte in line.bytes() {
            // FNV-1a.
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    fn wrong(&mut self, what: String) {
        if self.wrong.is_none() {
            self.log(&format!("WRONG: {what}"));
            self.wrong = Some(what);
        }
    }

    fn see_map(&mut self, node: &str, map: &Arc<ShardMap>) {
        let version = map.version();
        if let Some(known) = self.maps.get(&version) {
            if !Arc::ptr_eq(known, map) && **known != **map {
                self.wrong(format!("{node} has another shard map of version {version}"));
            }
            return;
        }
        if let Some(broken) = map.broken_invariant() {
            self.wrong(format!("the shard map of version {version}: {broken}"));
        }
        let before = self.maps.range(..version).next_back().map(|(_, map)| Arc::clone(map));
        let after = self.maps.range(version..).next().map(|(_, map)| Arc::clone(map));
        let pairs = before.map(|before| (before, Arc::clone(map)));
        for (older, newer) in pairs.into_iter().chain(after.map(|after| (Arc::clone(map), after))) {
            self.compare(&older, &newer);
        }
        self.maps.insert(version, Arc::clone(map));
        for (number, shard) in (0u32..).zip(map.shards()) {
            let Some(owner) = &shard.owner else { continue };
            let known = self.owners.entry((number, shard.epoch.0)).or_insert_with(|| owner.clone());
            if known != owner {
                let (epoch, known) = (shard.epoch, known.clone());
                self.wrong(format!(
                    "{known} and {owner} both own shard {number} under epoch {epoch}"
                ));
            }
        }
        let owned = map.shards().iter().map(|shard| match &shard.owner {
            Some(owner) => format!("{owner}@{}", shard.epoch),
            None => "-".to_owned(),
        });
        let owned: Vec<_> = owned.collect();
        self.log(&format!("shard map {version}: {}", owned.join(" ")));
    }

    fn compare(&mut self, older: &ShardMap, newer: &ShardMap) {
        let pairs = older.shards().iter().zip(newer.shards());
        let back = (0u32..).zip(pairs).find(|(_, (older, newer))| newer.epoch < older.epoch);
        if let Some((number, _)) = back {
            let versions = (older.version(), newer.version());
            self.wrong(format!(
                "the epoch of shard {number} goes back between shard maps {versions:?}"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use aeterna_cluster::name::{Epoch, ShardId};
    use aeterna_cluster::shard_map::{Assignment, Command};
    use uuid::Uuid;

    use super::*;

    const OLD: Right = Right { shard: 0, epoch: 1 };
    const NEW: Right = Right { shard: 0, epoch: 2 };

    /// A map of a version, in which shard 0 has this owner.
    fn map(version: u64, owner: Option<&str>) -> Arc<ShardMap> {
        let mut map = ShardMap::new(Uuid::nil(), 1);
        let join =
            |name: &str| Command::Join { node: name.parse().unwrap(), zone: None, capacity: 100 };
        map.apply(join("a"));
        map.apply(join("b"));
        if let Some(owner) = owner {
            let (shard, seen) = (ShardId(0), Epoch::default());
            let (owner, replicas) = (owner.parse().unwrap(), Vec::new());
            map.apply(Command::Assign {
                assignments: vec![Assignment { shard, seen, owner, replicas }],
            });
        }
        while map.version() < version {
            map.apply(Command::Leave { node: "a".parse().unwrap() });
            map.apply(join("a"));
        }
        assert_eq!(map.version(), version);
        Arc::new(map)
    }

    /// What is said when these are seen, one after the other.
    fn seen(maps: [Arc<ShardMap>; 2]) -> Option<String> {
        let judge = Judge::default();
        maps.iter().for_each(|map| judge.see_map("a", map));
        judge.verdict()
    }

    #[track_caller]
    fn says(judge: &Judge, sign: &str) {
        assert!(judge.verdict().is_some_and(|wrong| wrong.contains(sign)), "{:?}", judge.verdict());
    }

    #[test]
    fn shard_maps_that_contradict_each_other_are_found() {
        assert_eq!(seen([map(3, Some("a")), map(3, Some("a"))]), None);
        assert_eq!(seen([map(2, None), map(3, Some("a"))]), None);
        let another = seen([map(3, Some("a")), map(3, Some("b"))]).unwrap();
        assert!(another.contains("another shard map of version 3"), "{another}");
        let both = seen([map(3, Some("a")), map(5, Some("b"))]).unwrap();
        assert!(both.contains("both own shard 0 under epoch 1"), "{both}");
        // In whichever order they are seen.
        for maps in [[map(3, Some("a")), map(4, None)], [map(4, None), map(3, Some("a"))]] {
            let back = seen(maps).unwrap();
            assert!(back.contains("goes back"), "{back}");
        }
    }

    #[test]
    fn applied_entries_that_contradict_each_other_are_found() {
        let judge = Judge::default();
        judge.see_applied("a", 7, (1, 10));
        judge.see_applied("b", 7, (1, 10));
        assert_eq!(judge.verdict(), None);
        judge.see_applied("b", 7, (2, 11));
        says(&judge, "b has applied entry 7");
    }

    #[test]
    fn two_nodes_that_serve_under_one_epoch_are_found() {
        let judge = Judge::default();
        judge.serves(0, OLD);
        judge.serves(0, OLD);
        judge.serves(1, NEW);
        assert_eq!(judge.verdict(), None);
        judge.serves(1, OLD);
        says(&judge, "nodes 0 and 1 serve shard 0 under epoch 1");
    }

    #[test]
    fn an_upload_after_a_later_fence_is_found() {
        let judge = Judge::default();
        let before = judge.begin_upload(0, &BTreeSet::new());
        judge.fenced(OLD);
        judge.fenced(NEW);
        judge.uploaded(OLD, before, &BTreeSet::from([1]));
        judge.uploaded(NEW, judge.begin_upload(0, &BTreeSet::new()), &BTreeSet::from([1, 2]));
        assert_eq!(judge.verdict(), None);
        judge.uploaded(OLD, judge.begin_upload(0, &BTreeSet::new()), &BTreeSet::new());
        says(&judge, "after epoch 2 had fenced it off");
    }

    #[test]
    fn a_restore_without_what_was_uploaded_is_found() {
        let judge = Judge::default();
        judge.uploaded(OLD, judge.begin_upload(0, &BTreeSet::new()), &BTreeSet::from([1, 2]));
        let uploaded = judge.uploads_of(0, NEW.epoch);
        judge.restored(NEW, &uploaded, &BTreeSet::from([1, 2, 3]));
        assert_eq!(judge.verdict(), None);
        judge.restored(NEW, &uploaded, &BTreeSet::from([1, 3]));
        says(&judge, "[2] of shard 0 were uploaded, and are not there");
    }

    #[test]
    fn a_copy_of_what_was_never_uploaded_is_found() {
        let judge = Judge::default();
        judge.begin_upload(0, &BTreeSet::from([1, 2]));
        judge.copied((1, 0), &BTreeSet::new(), &BTreeSet::from([1, 2]));
        assert_eq!(judge.verdict(), None);
        judge.copied((1, 0), &BTreeSet::new(), &BTreeSet::from([1]));
        says(&judge, "that nobody has uploaded: {1}");
    }

    #[test]
    fn a_copy_that_goes_back_is_found() {
        let judge = Judge::default();
        for documents in [BTreeSet::from([1]), BTreeSet::from([1, 2]), BTreeSet::from([1, 3])] {
            judge.begin_upload(0, &documents);
        }
        judge.uploaded(NEW, judge.moment(), &BTreeSet::from([1, 3]));
        // What a former owner has uploaded too late counts for nothing.
        judge.copied((1, 0), &BTreeSet::from([1, 2]), &BTreeSet::from([1, 3]));
        assert_eq!(judge.verdict(), None);
        judge.copied((1, 0), &BTreeSet::from([1, 3]), &BTreeSet::from([1, 2]));
        says(&judge, "node 1's copy of shard 0 goes back: [3]");
    }

    #[test]
    fn a_copy_that_is_behind_and_does_not_know_it_is_found() {
        let judge = Judge::default();
        judge.uploaded(OLD, judge.moment(), &BTreeSet::from([1]));
        judge.uploaded(NEW, judge.moment(), &BTreeSet::from([1, 2]));
        judge.followed((1, 0), &judge.uploads_of(0, OLD.epoch), &BTreeSet::from([1]));
        assert_eq!(judge.verdict(), None);
        judge.followed((1, 0), &judge.uploads_of(0, NEW.epoch), &BTreeSet::from([1]));
        says(&judge, "counts as up to date, without [2]");
    }

    #[test]
    fn a_complete_answer_without_what_was_indexed_is_found() {
        let judge = Judge::default();
        let early = judge.moment();
        judge.indexed(OLD, 1);
        judge.indexed(NEW, 2);
        judge.read(NEW, early, &BTreeSet::new());
        judge.read(OLD, judge.moment(), &BTreeSet::from([1]));
        judge.read(NEW, judge.moment(), &BTreeSet::from([1, 2]));
        assert_eq!(judge.verdict(), None);
        judge.read(NEW, judge.moment(), &BTreeSet::from([1]));
        says(&judge, "complete, without [2]");
    }
}

//! Copies of shards that other nodes own, and of this node's own while the database does not answer: made of
//! what cold storage has, kept up with it, searched, and taken over, as `repo::manager::replicas` does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aeterna_cluster::supervisor::HeldState;
use aeterna_repo::cold_storage::{ColdError, ColdManifest, Position};
use tokio::time::{Instant, timeout};

use super::{Host, Shard};
use crate::catalog::{Document, Rows};
use crate::index::{Index, Places};
use crate::mistakes::{Mistake, is_made};

/// How often it is looked for something newer of a copy.
const FOLLOW_EVERY: Duration = Duration::from_millis(400);
/// So much less often, at most, where nothing changes.
const IDLE_FACTOR: u32 = 5;
/// The part of the time that nothing has changed for, after which it is looked again.
const IDLE_SHARE: u32 = 10;
/// How often the manifests are listed, whoever the owner is.
const LIST_EVERY: Duration = Duration::from_secs(6);
/// A copy that has not been known to be up to date for longer is stale.
const STALE_AFTER: Duration = Duration::from_secs(3);
/// How long a search of a copy waits for the database.
const CATALOG_PATIENCE: Duration = Duration::from_millis(500);

/// What a copy is equal to.
#[derive(Clone)]
pub struct Copied {
    content: Option<ColdManifest>,
    /// The last manifest that was looked at, with files or without.
    seen: Option<Position>,
    /// It had all that there was at this time.
    current_at: Instant,
    looked_at: Instant,
    changed_at: Instant,
    /// When the manifests were last listed, and under which epoch of the owner.
    listed: (Instant, u64),
    /// Whether it may hold more than that content: this node owned the shard, and is to own it again.
    goes_on: bool,
}

impl Copied {
    fn is_due(&self) -> bool {
        let longest = (FOLLOW_EVERY * IDLE_FACTOR).min(STALE_AFTER / 2).max(FOLLOW_EVERY);
        let every = (self.changed_at.elapsed() / IDLE_SHARE).clamp(FOLLOW_EVERY, longest);
        self.looked_at.elapsed() >= every
    }

    fn is_to_list(&self, epoch: u64) -> bool {
        self.listed.1 != epoch || self.listed.0.elapsed() >= LIST_EVERY
    }

    /// The content that its folder is equal to, where it is.
    fn equals(&self) -> Option<&ColdManifest> {
        self.content.as_ref().filter(|_| !self.goes_on)
    }

    fn is_stale(&self) -> bool {
        self.current_at.elapsed() > STALE_AFTER
    }
}

/// What a search of a shard finds.
pub struct Found {
    /// Documents.
    pub documents: BTreeSet<Document>,
    /// Whether they are all that were indexed.
    pub is_complete: bool,
    /// The epoch under which the shard is served here; `None` for a copy, which answers whoever owns it.
    pub epoch: Option<u64>,
}

impl Shard {
    fn copied(&self) -> Option<Copied> {
        self.lock().copied.clone()
    }

    /// Whether a copy is searched, also while it is taken over.
    fn is_searched_copy(&self) -> bool {
        let inner = self.lock();
        inner.copied.is_some() && matches!(inner.state, HeldState::Replica | HeldState::Opening)
    }
}

impl Host {
    /// What a shard holds here, for whoever knows it under this epoch at least, as `node::gather::held` finds it: of
    /// a copy it is known whether it is all, because the database was asked after the search had come.
    pub async fn read(&self, shard: u32, newest: u64) -> Result<Found, String> {
        let rows = match self.shard(shard).is_some_and(|held| held.is_searched_copy()) {
            true => timeout(CATALOG_PATIENCE, self.parts.catalog.rows_of(shard)).await,
            false => Ok(Ok(Rows::default())),
        };
        let rows = rows.ok().and_then(Result::ok);
        let held = self.shard(shard).ok_or("stale epoch")?;
        let inner = held.lock();
        let documents = inner.index.documents().clone();
        match (inner.state, &inner.copied) {
            (HeldState::Serving | HeldState::HandedOver, _) if held.right.epoch >= newest => {
                let is_complete = inner.missing.is_empty();
                Ok(Found { documents, is_complete, epoch: Some(held.right.epoch) })
            }
            (HeldState::Replica | HeldState::Opening, Some(copied)) => {
                let has_all = rows.is_some_and(|rows| rows.indexed.is_subset(&documents));
                let is_complete = has_all && !copied.is_stale();
                Ok(Found { documents, is_complete, epoch: None })
            }
            (HeldState::Serving | HeldState::HandedOver, _) => Err("stale epoch".to_owned()),
            _ => Err("not served yet".to_owned()),
        }
    }

    /// What a shard holds here, for whoever looks from outside.
    pub fn documents(&self, shard: u32) -> Option<BTreeSet<Document>> {
        Some(self.shard(shard)?.lock().index.documents().clone())
    }

    /// The epoch of the owner that a copy of a shard follows here, and what it holds.
    pub fn copy_of(&self, shard: u32) -> Option<(u64, BTreeSet<Document>)> {
        let held = self.shard(shard).filter(|held| held.is_replica())?;
        let documents = held.lock().index.documents().clone();
        Some((held.right.epoch, documents))
    }

    /// Looks for something newer of the copies that it is time for.
    pub async fn follow_all(&self) {
        let copies = self
            .all()
            .into_iter()
            .filter(|held| held.is_replica() && held.copied().is_some_and(|copy| copy.is_due()));
        let looks: Vec<_> = copies.collect();
        futures_util::future::join_all(looks.iter().map(|held| self.follow(held))).await;
    }

    async fn follow(&self, held: &Arc<Shard>) {
        let turn = self.turn(held.right.shard);
        // It is being taken over or let go of.
        let Ok(_turn) = turn.try_lock() else { return };
        let is_it = self.shard(held.right.shard).is_some_and(|now| Arc::ptr_eq(&now, held));
        let Some(copied) = held.copied().filter(|_| is_it && held.is_replica()) else {
            return;
        };
        let looked_at = Instant::now();
        let newer = tokio::select! {
            biased;
            () = held.stop.notified() => return,
            newer = self.newer(held, &copied, looked_at) => newer,
        };
        held.lock().copied = Some(newer.unwrap_or(Copied { looked_at, ..copied }));
    }

    async fn newer(
        &self,
        held: &Arc<Shard>,
        before: &Copied,
        looked_at: Instant,
    ) -> Result<Copied, ColdError> {
        let (shard, epoch) = (held.right.shard, held.right.epoch);
        let is_to_list = before.is_to_list(epoch);
        let cold = &self.parts.cold;
        // What another owner has written is only found in a list.
        let asked = before.seen.filter(|_| !is_to_list);
        let due = asked.map_or(u64::MAX, |seen| seen.epoch);
        let uploaded = self.parts.judge.uploads_of(shard, due);
        let (seen, found) = match asked {
            Some(seen) => cold.following(shard, seen).await?,
            None => cold.newest_above(shard, before.seen).await?,
        };
        let mut now = Copied {
            seen: seen.or(before.seen),
            current_at: looked_at,
            looked_at,
            changed_at: if seen.is_some() { looked_at } else { before.changed_at },
            listed: if is_to_list { (looked_at, epoch) } else { before.listed },
            ..before.clone()
        };
        if let Some(content) = found {
            // The same under another epoch is nothing newer.
            let is_known =
                before.content.as_ref().is_some_and(|known| known.origin == content.origin);
            if !is_known {
                self.put_in_place(held, before.equals(), &content).await?;
                now.goes_on = false;
            }
            now.content = Some(content);
        }
        let place = (self.parts.node, shard);
        self.parts.judge.followed(place, &uploaded, held.lock().index.documents());
        Ok(now)
    }

    /// Makes a copy where there is none. The caller has the shard's turn. What goes on from the newest upload stays if
    /// this node `is_owner`: there is no other that has it.
    pub(super) async fn copy(&self, held: &Arc<Shard>, is_owner: bool) -> Result<(), ColdError> {
        let shard = held.right.shard;
        let places = Places::new(&self.parts.disk, shard);
        let asked = Instant::now();
        let uploaded = self.parts.judge.uploads_of(shard, u64::MAX);
        let (seen, content) = self.parts.cold.newest_above(shard, None).await?;
        let goes_on = is_owner && places.is_current(content.as_ref());
        match &content {
            _ if goes_on => self.open(held, &places)?,
            Some(content) if places.is_copy(content) => {
                self.disk(places.write_origin(Some(content)))?;
                self.open(held, &places)?;
            }
            Some(content) => self.put_in_place(held, None, content).await?,
            None => {
                self.disk(places.install(false))?;
                self.open(held, &places)?;
            }
        }
        let times = (asked, asked, asked, (asked, held.right.epoch));
        let (current_at, looked_at, changed_at, listed) = times;
        let place = (self.parts.node, shard);
        let mut inner = held.lock();
        if !goes_on {
            self.parts.judge.copied(place, &BTreeSet::new(), inner.index.documents());
        }
        self.parts.judge.followed(place, &uploaded, inner.index.documents());
        inner.copied =
            Some(Copied { content, seen, current_at, looked_at, changed_at, listed, goes_on });
        self.say(|| {
            let count = inner.index.documents().len();
            format!("copied shard {shard}: {count} documents, goes on: {goes_on}")
        });
        Ok(())
    }

    /// Brings a copy to what its new owner starts with: this node. The caller has the shard's turn. Returns what the
    /// folder goes on from.
    pub(super) async fn catch_up(
        &self,
        held: &Arc<Shard>,
        content: Option<ColdManifest>,
    ) -> Result<Option<ColdManifest>, ColdError> {
        let copied = held.copied();
        let places = Places::new(&self.parts.disk, held.right.shard);
        if copied.as_ref().is_some_and(|copied| copied.goes_on)
            && places.is_current(content.as_ref())
        {
            return Ok(content);
        }
        let known = copied.and_then(|copied| copied.equals().cloned());
        match content {
            Some(content)
                if known.as_ref().is_none_or(|known| known.origin != content.origin)
                    && !is_made(Mistake::PromotedAsItIs) =>
            {
                self.put_in_place(held, known.as_ref(), &content).await?;
                Ok(Some(content))
            }
            content => Ok(content.or(known)),
        }
    }

    /// Puts content in the place of what a shard's folder holds, which is `known`, and opens it.
    async fn put_in_place(
        &self,
        held: &Arc<Shard>,
        known: Option<&ColdManifest>,
        content: &ColdManifest,
    ) -> Result<(), ColdError> {
        let shard = held.right.shard;
        let places = Places::new(&self.parts.disk, shard);
        let missing = self.disk(places.link(known, content))?;
        self.parts.cold.restore(&missing, &places.restoring, Arc::new(|_, _| {})).await?;
        self.disk(places.exchange(content))?;
        // What is not known to be an upload may be ahead of all of them.
        let before = known.map(|_| held.lock().index.documents().clone()).unwrap_or_default();
        self.open(held, &places)?;
        let inner = held.lock();
        self.parts.judge.copied((self.parts.node, shard), &before, inner.index.documents());
        self.say(|| {
            let (at, count) = (content.origin, inner.index.documents().len());
            format!("the copy of shard {shard} is at {at}: {count} documents")
        });
        Ok(())
    }

    fn open(&self, held: &Shard, places: &Places) -> Result<(), ColdError> {
        let index = self.disk(Index::open(&places.folder))?;
        held.lock().index = index;
        Ok(())
    }
}

//! Known mistakes that can be made on purpose, to show that the simulation finds them: with the feature
//! `mistakes`, one at a time and chosen when the program runs; without it none.

use clap::ValueEnum;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mistake {
    /// The catalog does not look at the epoch under which it is changed.
    NoEpochCheck,
    /// A vote is given before it is on the disk.
    VoteNotSynced,
    /// Who sees no node before itself in its gossip begins the Raft group, without a claim.
    BootstrapFromGossip,
    /// A former owner's upload takes the next place, whoever took the shard over.
    LateUpload,
    /// A shard is served while it is being restored.
    ServedBeforeWhole,
    /// A copy becomes the shard without what was uploaded after it was made.
    PromotedAsItIs,
}

#[cfg(feature = "mistakes")]
mod chosen {
    use std::sync::Mutex;

    use super::Mistake;

    static MADE: Mutex<Option<Mistake>> = Mutex::new(None);

    fn made() -> Option<Mistake> {
        *MADE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether this mistake is made.
    pub fn is_made(mistake: Mistake) -> bool {
        made() == Some(mistake)
    }

    /// From now on this mistake is made in every simulation of this process, or none.
    pub fn make(mistake: Option<Mistake>) {
        *MADE.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = mistake;
        let is = |one| mistake == Some(one);
        aeterna_cluster::consensus::forget_to_sync_votes(is(Mistake::VoteNotSynced));
        aeterna_repo::cold_storage::let_former_owners_upload(is(Mistake::LateUpload));
    }
}

#[cfg(feature = "mistakes")]
pub use chosen::{is_made, make};

/// Without the feature none is made.
#[cfg(not(feature = "mistakes"))]
pub fn is_made(_mistake: Mistake) -> bool {
    false
}

//! Repositories that are indexed in parts, and searched as one.
//!
//! Each part is brought to a new commit by itself. What a search finds of a repository is of one commit only
//! if all its parts were searched, each at that commit: otherwise the answer says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::response::{SkipReason, Skipped};
use crate::document::{Part, RepositoryId};
use crate::shard::manifest::RepositoryState;

/// A part of a repository in the state that it was searched in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchedPart {
    /// The part's own identity.
    pub id: RepositoryId,
    /// Which one it is.
    pub part: Part,
    /// Name of the repository.
    pub name: String,
    /// Hash of the revisions and their commits.
    pub revisions: u64,
}

impl SearchedPart {
    /// Of a repository in the index; `None` where it is in one piece.
    pub(super) fn of(state: &RepositoryState) -> Option<Self> {
        let part = state.info.part?;
        let mut hash = Xxh3::new();
        for (name, revision) in &state.revisions {
            for text in [name, &revision.commit] {
                hash.update(&(text.len() as u64).to_le_bytes());
                hash.update(text.as_bytes());
            }
        }
        let (id, name) = (state.info.id, state.info.name.clone());
        Some(Self { id, part, name, revisions: hash.digest() })
    }
}

/// What an answer says of repositories that were not searched in all their parts at the same commits.
pub(super) fn uneven(parts: &[SearchedPart]) -> Option<Skipped> {
    let mut wholes: BTreeMap<RepositoryId, Vec<&SearchedPart>> = BTreeMap::new();
    for part in parts {
        wholes.entry(part.part.whole).or_default().push(part);
    }
    let is_uneven = |parts: &Vec<&SearchedPart>| {
        let first = parts[0];
        let mut numbers: Vec<u32> = parts.iter().map(|part| part.part.number).collect();
        numbers.sort_unstable();
        !numbers.into_iter().eq(0..first.part.of)
            || parts
                .iter()
                .any(|part| (part.part.of, part.revisions) != (first.part.of, first.revisions))
    };
    let uneven = wholes.values().filter(|parts| is_uneven(parts));
    let mut items: Vec<String> = uneven.map(|parts| parts[0].name.clone()).collect();
    items.sort_unstable();
    items.dedup();
    (!items.is_empty()).then(|| Skipped {
        reason: SkipReason::IndexStale,
        message: "these repositories are indexed in parts, of which some are missing or of another commit"
            .to_owned(),
        items,
    })
}

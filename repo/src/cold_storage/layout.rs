//! Keys of the objects, relative to where cold storage is.
//!
//! ```text
//! cluster.json                                            the cluster's claim
//! recoveries/{number:08x}.json                            who made the Raft group anew
//! shards/0003/manifests/{epoch:016x}-{sequence:016x}.json what the shard held then
//! shards/0003/files/{epoch:016x}/{name}.{hash:.16}        a file, never changed
//! mirrors/{repository id}/…                               the same for a repository's mirror
//! ```
//! Numbers are written so that the order of the keys is the order of what they name.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Key of the cluster's claim.
pub(crate) const CLAIM: &str = "cluster.json";

/// Folder of the recoveries.
pub(crate) const RECOVERIES: &str = "recoveries";

/// Folder of everything about shards.
pub(crate) const SHARDS: &str = "shards";

/// Folder of everything about mirrors.
pub(crate) const MIRRORS: &str = "mirrors";

/// Place of a manifest among those of its shard. Whoever takes a shard over writes at a higher
/// place, so who finds a higher one than its own owns the shard no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Epoch of the owner that wrote it.
    pub epoch: u64,
    /// Grows by one with each manifest of an epoch.
    pub sequence: u64,
}

impl Position {
    pub(crate) fn next(self) -> Self {
        Self { sequence: self.sequence.saturating_add(1), ..self }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {} manifest {}", self.epoch, self.sequence)
    }
}

/// What manifests are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A shard's index.
    Shard(u32),
    /// The git mirror of the repository with this id.
    Mirror(Uuid),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shard(number) => write!(f, "{SHARDS}/{number:04}"),
            Self::Mirror(id) => write!(f, "{MIRRORS}/{id}"),
        }
    }
}

impl From<u32> for Place {
    fn from(shard: u32) -> Self {
        Self::Shard(shard)
    }
}

/// Key of a recovery.
pub(crate) fn recovery(number: u32) -> String {
    format!("{RECOVERIES}/{number:08x}.json")
}

/// Folder of the manifests of a place.
pub(crate) fn manifests(place: Place) -> String {
    format!("{place}/manifests")
}

/// Key of a manifest.
pub(crate) fn manifest(place: Place, at: Position) -> String {
    format!("{}/{:016x}-{:016x}.json", manifests(place), at.epoch, at.sequence)
}

/// The place that the last part of a manifest's key tells; `None` for other objects.
pub(crate) fn position(name: &str) -> Option<Position> {
    let (epoch, sequence) = name.strip_suffix(".json")?.split_once('-')?;
    let number = |text: &str| {
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 16 && text.bytes().all(is_hex))
            .then(|| u64::from_str_radix(text, 16).ok())?
    };
    Some(Position { epoch: number(epoch)?, sequence: number(sequence)? })
}

/// Folder of the files of a place.
pub(crate) fn files(place: Place) -> String {
    format!("{place}/files")
}

/// Folder of the files that were written under an epoch.
pub(crate) fn files_of(place: Place, epoch: u64) -> String {
    format!("{}/{epoch:016x}", files(place))
}

/// Key of a file. Its hash is part of it: whatever an attempt that was cut off has left there is
/// the same bytes.
pub(crate) fn file(place: Place, epoch: u64, name: &str, sha256: &str) -> String {
    let hash = sha256.get(..16).unwrap_or(sha256);
    format!("{}/{name}.{hash}", files_of(place, epoch))
}

/// The epoch that a file's key tells; `None` for other objects.
pub(crate) fn epoch_of_file(place: Place, key: &str) -> Option<u64> {
    let rest = key.strip_prefix(&files(place))?.strip_prefix('/')?;
    let (epoch, name) = rest.split_once('/')?;
    (epoch.len() == 16 && is_file_name(name)).then(|| u64::from_str_radix(epoch, 16).ok())?
}

/// Whether a name is that of a file in a shard's folder, and of nothing else: a manifest comes from
/// outside, and its names become paths.
pub(crate) fn is_file_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=128).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_order_of_keys_is_that_of_positions() {
        let mut at = Vec::new();
        for epoch in [0, 1, 9, 10, 255, 256, u64::MAX] {
            for sequence in [0, 1, 15, 16, u64::MAX] {
                at.push(Position { epoch, sequence });
            }
        }
        let keys: Vec<_> = at.iter().map(|at| manifest(Place::Shard(7), *at)).collect();
        assert!(keys.is_sorted());
        for (key, at) in keys.iter().zip(at) {
            assert_eq!(position(key.rsplit('/').next().unwrap()), Some(at));
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        for name in ["", ".", "..", "../x", "a/b", ".hidden", "a\\b", "a\0", "ä", "a b"] {
            assert!(!is_file_name(name), "{name:?}");
        }
        assert!(!is_file_name(&"a".repeat(129)));
        assert!(is_file_name("0000000017.segment"));
        let hash = "00ff".repeat(16);
        let key = file(Place::Shard(3), 10, "manifest", &hash);
        assert_eq!(epoch_of_file(Place::Shard(3), &key), Some(10));
        assert_eq!(epoch_of_file(Place::Mirror(Uuid::nil()), &key), None);
        assert_eq!(epoch_of_file(Place::Shard(3), "shards/0003/files/000000000000000a/../x"), None);
        for name in [
            "1-2.json",
            "x",
            "000000000000000A-0000000000000000.json",
            "+00000000000000f-0000000000000000.json",
        ] {
            assert_eq!(position(name), None, "{name}");
        }
    }
}

//! Where a page of a cluster's answer ends: a place in each node's part.

use aeterna_cluster::name::NodeName;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Tells these cursors from those of a single node, and forms of them from each other.
const START: &str = "c1.";
/// Bytes of a cursor at most.
const MAX_BYTES: usize = 1 << 20;

/// A cursor of a cluster's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterCursor {
    /// Hash of what was asked.
    pub request: u64,
    /// Each node with its place.
    pub parts: Vec<Place>,
    /// Shards that an earlier page was without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<u32>,
    /// Results of earlier pages that come again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats: Vec<u128>,
    /// Repositories in parts that earlier pages had.
    #[serde(default, skip_serializing_if = "is_none")]
    pub united: usize,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// A place in one node's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The node.
    pub node: NodeName,
    /// The shards that it answers for, each with the epoch under which it did.
    pub shards: Vec<(u32, u64)>,
    /// The node's own cursor.
    pub cursor: String,
}

impl ClusterCursor {
    /// As text.
    pub fn encode(&self) -> String {
        // The type has text keys and whole numbers alone: writing it as JSON cannot fail.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
        format!("{START}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// From text; `None` for what was never such a cursor.
    pub fn decode(text: &str) -> Option<Self> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(START)?).ok()?;
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(8)?)?;
        (xxh3_64(body).to_le_bytes() == sum).then(|| serde_json::from_slice(body).ok())?
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn cursors_come_back_and_others_do_not() {
        let place =
            Place { node: "a-1".parse().unwrap(), shards: vec![(3, 9)], cursor: "00ff".to_owned() };
        let cursor = ClusterCursor {
            request: u64::MAX,
            parts: vec![place],
            missing: vec![7],
            repeats: vec![u128::MAX, 1],
            united: 2,
        };
        let text = cursor.encode();
        assert_eq!(ClusterCursor::decode(&text), Some(cursor));
        for bad in ["", "c1.", "c1.AAAA", "c2.x", &text[3..], &text[..text.len() - 2], "c1.é"] {
            assert_eq!(ClusterCursor::decode(bad), None, "{bad}");
        }
    }
}

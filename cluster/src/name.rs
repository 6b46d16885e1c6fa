//! What nodes and shards are called.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Bytes of a node's name, at most: those of a DNS name (RFC 1035, 2.3.4).
pub const MAX_NODE_NAME_BYTES: usize = 253;

/// The stable name of a node: `SHARD_ID`, a pod's name. It outlives restarts; the node's generation
/// does not.
///
/// ```
/// use aeterna_cluster::name::NodeName;
///
/// let name: NodeName = "code-search-indexer-0".parse().unwrap();
/// assert_eq!(name.as_str(), "code-search-indexer-0");
/// assert!("../etc".parse::<NodeName>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

/// A text that cannot name a node.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{0}` cannot name a node: a name has 1 to 253 ASCII letters, digits, `-`, `_` and `.`, and \
     begins and ends with a letter or a digit"
)]
pub struct BadNodeName(String);

impl NodeName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a node that nobody has told the name of.
    pub(crate) fn unknown() -> Self {
        Self("unknown".to_owned())
    }
}

impl TryFrom<String> for NodeName {
    type Error = BadNodeName;

    fn try_from(name: String) -> Result<Self, BadNodeName> {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = name.as_bytes();
        let good = bytes.len() <= MAX_NODE_NAME_BYTES
            && bytes.iter().copied().all(is_inner)
            && is_end(bytes.first())
            && is_end(bytes.last());
        match good {
            true => Ok(Self(name)),
            // What is hostile may be long, too.
            false => Err(BadNodeName(name.escape_debug().take(80).collect())),
        }
    }
}

impl std::str::FromStr for NodeName {
    type Err = BadNodeName;

    fn from_str(name: &str) -> Result<Self, BadNodeName> {
        Self::try_from(name.to_owned())
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of a shard, below the cluster's N.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(pub u32);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How often a shard's owner has changed: the fencing token of everything that is done for it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The one after this.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_those_of_pods() {
        for good in ["a", "code-search-indexer-12", "node_1.example.org", "0"] {
            assert_eq!(good.parse::<NodeName>().unwrap().to_string(), good);
        }
        let long = "x".repeat(254);
        for bad in ["", "-a", "a-", ".", "a/b", "a b", "a\n", "ä", long.as_str()] {
            let error = bad.parse::<NodeName>().unwrap_err().to_string();
            assert!(error.len() < 400 && !error.contains('\n'), "{error}");
        }
    }
}

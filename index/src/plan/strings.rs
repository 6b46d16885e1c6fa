//! Small sets of folded strings.

use std::collections::BTreeSet;

/// The most strings in a set that is made by putting sets one after the other.
pub(super) const MAX_PRODUCT: usize = 64;

/// The most strings in a set that the pattern itself lists as alternatives.
pub(super) const MAX_UNION: usize = 256;

/// The most bytes of all the strings in a set.
const MAX_BYTES: usize = 16 << 10;

/// Strings of slots (see [`crate::trigram::fold_byte`]), never empty as a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StringSet {
    strings: BTreeSet<Vec<u8>>,
}

impl StringSet {
    /// The set of the empty string alone.
    pub fn empty_string() -> Self {
        Self::one(Vec::new())
    }

    pub fn one(string: Vec<u8>) -> Self {
        Self { strings: BTreeSet::from([string]) }
    }

    /// The set of the strings, or `None` when there are none.
    pub fn new(strings: impl IntoIterator<Item = Vec<u8>>) -> Option<Self> {
        let strings: BTreeSet<_> = strings.into_iter().collect();
        (!strings.is_empty()).then_some(Self { strings })
    }

    pub fn len(&self) -> usize {
        self.strings.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.strings.iter().map(Vec::as_slice)
    }

    /// The length of the shortest string.
    pub fn shortest(&self) -> usize {
        self.strings.iter().map(Vec::len).min().unwrap_or(0)
    }

    fn bytes(&self) -> usize {
        self.strings.iter().map(Vec::len).sum()
    }

    /// Each string followed by each of the other set; `None` when those are too many.
    pub fn product(&self, other: &Self) -> Option<Self> {
        let bytes = self
            .bytes()
            .saturating_mul(other.len())
            .saturating_add(other.bytes().saturating_mul(self.len()));
        let pairs = self.len().saturating_mul(other.len());
        // A set that does not grow is as good as it was, however large.
        if pairs > MAX_PRODUCT.max(self.len()).max(other.len()) || bytes > MAX_BYTES {
            return None;
        }
        Self::new(self.iter().flat_map(|start| other.iter().map(move |end| [start, end].concat())))
    }

    /// The strings of both; `None` when those are too many.
    pub fn union(&self, other: &Self) -> Option<Self> {
        if self.bytes() + other.bytes() > MAX_BYTES {
            return None;
        }
        let strings: BTreeSet<_> = self.strings.union(&other.strings).cloned().collect();
        (strings.len() <= MAX_UNION).then_some(Self { strings })
    }

    /// The first `length` slots of each, fewer when those would still be too many strings.
    pub fn starts(&self, length: usize) -> Self {
        self.shortened(length, |string, length| &string[..length])
    }

    /// The last `length` slots of each, fewer when those would still be too many strings.
    pub fn ends(&self, length: usize) -> Self {
        self.shortened(length, |string, length| &string[string.len() - length..])
    }

    fn shortened(&self, longest: usize, cut: fn(&[u8], usize) -> &[u8]) -> Self {
        for length in (1..=longest).rev() {
            let strings: BTreeSet<Vec<u8>> =
                self.iter().map(|string| cut(string, length.min(string.len())).to_vec()).collect();
            if strings.len() <= MAX_PRODUCT {
                return Self { strings };
            }
        }
        Self::empty_string()
    }
}

//! What orders results: within one search, and among those of several parts of an index.

use std::cmp::{Ordering, Reverse};

use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

use crate::document::{ContentId, RepositoryId};

/// What orders a document or repository among all that a search finds, the first first. It does not
/// depend on how or where they are stored: whoever searches the parts of an index puts the results
/// together by it.
#[derive(Clone, Debug)]
pub struct RankKey(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Document(DocumentKey),
    Repository(RepositoryKey),
}

/// Highest score first; ties by repository, path and content, so that the order is the same however
/// the documents came into the index.
#[derive(Clone, Debug)]
pub(super) struct DocumentKey {
    pub(super) score: f32,
    pub(super) name: String,
    pub(super) repository: RepositoryId,
    pub(super) path: Vec<u8>,
    pub(super) content: Option<ContentId>,
    pub(super) attributes: u8,
}

/// First those whose name satisfies the query, then those with the most documents that do.
#[derive(Clone, Debug)]
pub(super) struct RepositoryKey {
    pub(super) named: bool,
    pub(super) documents: u64,
    pub(super) name: String,
    pub(super) repository: RepositoryId,
}

impl DocumentKey {
    fn compare(&self, other: &Self) -> Ordering {
        let place = |key: &Self| (key.content, key.attributes);
        (other.score.total_cmp(&self.score))
            .then_with(|| self.name.cmp(&other.name))
            .then_with(|| self.repository.cmp(&other.repository))
            .then_with(|| self.path.cmp(&other.path))
            .then_with(|| place(self).cmp(&place(other)))
    }
}

impl RepositoryKey {
    fn compare(&self, other: &Self) -> Ordering {
        let best = |key: &Self| Reverse((key.named, key.documents));
        best(self)
            .cmp(&best(other))
            .then_with(|| self.name.cmp(&other.name))
            .then_with(|| self.repository.cmp(&other.repository))
    }
}

impl Ord for RankKey {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Kind::Document(a), Kind::Document(b)) => a.compare(b),
            (Kind::Repository(a), Kind::Repository(b)) => a.compare(b),
            // No search finds both.
            (Kind::Document(_), Kind::Repository(_)) => Ordering::Less,
            (Kind::Repository(_), Kind::Document(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for RankKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for RankKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for RankKey {}

impl From<DocumentKey> for RankKey {
    fn from(key: DocumentKey) -> Self {
        Self(Kind::Document(key))
    }
}

impl From<RepositoryKey> for RankKey {
    fn from(key: RepositoryKey) -> Self {
        Self(Kind::Repository(key))
    }
}

/// First byte of an encoded key.
const DOCUMENT: u8 = 1;
const REPOSITORY: u8 = 2;

impl RankKey {
    /// Which document or repository it orders, whatever its rank: the same in each state of an index that
    /// has it, and in each copy. It is a hash of 128 bits.
    pub fn identity(&self) -> u128 {
        let mut hash = Xxh3::new();
        match &self.0 {
            Kind::Document(key) => {
                let content = key.content.as_ref().map_or(&[][..], ContentId::as_bytes);
                hash.update(&[DOCUMENT, key.attributes, content.len() as u8]);
                hash.update(key.repository.0.as_bytes());
                hash.update(content);
                hash.update(&key.path);
            }
            Kind::Repository(key) => {
                hash.update(&[REPOSITORY]);
                hash.update(key.repository.0.as_bytes());
            }
        }
        hash.digest128()
    }

    /// Whether it orders a repository.
    pub fn is_repository(&self) -> bool {
        matches!(self.0, Kind::Repository(_))
    }

    /// Adds what speaks for a repository in another of its parts.
    pub(super) fn unite(&mut self, other: &Self) {
        if let (Kind::Repository(key), Kind::Repository(other)) = (&mut self.0, &other.0) {
            key.named |= other.named;
            key.documents = key.documents.saturating_add(other.documents);
        }
    }

    /// As bytes, for other processes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match &self.0 {
            Kind::Document(key) => {
                let content = key.content.as_ref().map_or(&[][..], ContentId::as_bytes);
                bytes.reserve(64 + key.name.len() + key.path.len());
                bytes.push(DOCUMENT);
                bytes.extend_from_slice(&key.score.to_bits().to_le_bytes());
                bytes.extend_from_slice(key.repository.0.as_bytes());
                bytes.extend_from_slice(&[key.attributes, content.len() as u8]);
                bytes.extend_from_slice(content);
                bytes.extend_from_slice(&(key.name.len() as u32).to_le_bytes());
                bytes.extend_from_slice(key.name.as_bytes());
                bytes.extend_from_slice(&key.path);
            }
            Kind::Repository(key) => {
                bytes.push(REPOSITORY);
                bytes.push(u8::from(key.named));
                bytes.extend_from_slice(&key.documents.to_le_bytes());
                bytes.extend_from_slice(key.repository.0.as_bytes());
                bytes.extend_from_slice(key.name.as_bytes());
            }
        }
        bytes
    }

    /// From bytes; `None` for what [`RankKey::encode`] never made.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let from = &mut bytes;
        match array::<1>(from)? {
            [DOCUMENT] => {
                let score = f32::from_bits(u32::from_le_bytes(array(from)?));
                let repository = RepositoryId(Uuid::from_bytes(array(from)?));
                let [attributes, content] = array(from)?;
                let content = match content {
                    0 => None,
                    length => Some(ContentId::from_bytes(slice(from, usize::from(length))?)?),
                };
                let length = usize::try_from(u32::from_le_bytes(array(from)?)).ok()?;
                let name = text(slice(from, length)?)?;
                let path = from.to_vec();
                Some(DocumentKey { score, name, repository, path, content, attributes }.into())
            }
            [REPOSITORY] => {
                let named = match array(from)? {
                    [0] => false,
                    [1] => true,
                    _ => return None,
                };
                let documents = u64::from_le_bytes(array(from)?);
                let repository = RepositoryId(Uuid::from_bytes(array(from)?));
                let name = text(from)?;
                Some(RepositoryKey { named, documents, name, repository }.into())
            }
            _ => None,
        }
    }
}

/// Takes bytes off the front.
fn array<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = from.split_first_chunk::<N>()?;
    *from = rest;
    Some(*taken)
}

fn slice<'a>(from: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(taken)
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn document() -> impl Strategy<Value = RankKey> {
        let content = prop_oneof![
            Just(None),
            any::<[u8; 20]>().prop_map(|bytes| ContentId::from_bytes(&bytes)),
            any::<[u8; 32]>().prop_map(|bytes| ContentId::from_bytes(&bytes)),
        ];
        let score = prop_oneof![any::<f32>(), Just(1.0)];
        (score, "[ab]{0,2}", 0..3u128, "[a/]{0,3}", content, any::<u8>()).prop_map(
            |(score, name, id, path, content, attributes)| {
                let repository = RepositoryId(Uuid::from_u128(id));
                let path = path.into_bytes();
                DocumentKey { score, name, repository, path, content, attributes }.into()
            },
        )
    }

    fn repository() -> impl Strategy<Value = RankKey> {
        (any::<bool>(), 0..3u64, "[ab]{0,2}", 0..3u128).prop_map(|(named, documents, name, id)| {
            let repository = RepositoryId(Uuid::from_u128(id));
            RepositoryKey { named, documents, name, repository }.into()
        })
    }

    fn key() -> impl Strategy<Value = RankKey> {
        prop_oneof![document(), repository()]
    }

    proptest! {
        #[test]
        fn keys_come_back_in_order(a in key(), b in key(), c in key()) {
            let again = |key: &RankKey| RankKey::decode(&key.encode()).unwrap();
            prop_assert_eq!(&again(&a), &a);
            prop_assert_eq!(again(&a).encode(), a.encode());
            prop_assert_eq!(again(&a).cmp(&again(&b)), a.cmp(&b));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert!(!(a <= b && b <= c) || a <= c);
            prop_assert_eq!(again(&a).identity(), a.identity());
            prop_assert!(a != b || a.identity() == b.identity());
        }

        #[test]
        fn bytes_of_a_stranger_do_no_harm(
            key in key(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            noise in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut bytes = key.encode();
            let end = at.index(bytes.len());
            let _ = RankKey::decode(&bytes[..end]);
            bytes[end] = byte;
            for hostile in [bytes, noise] {
                if let Some(key) = RankKey::decode(&hostile) {
                    prop_assert_eq!(key.encode(), hostile);
                }
            }
        }
    }
}

//! An audit: whether everything that the manifests name is there and is what was written, and what is
//! there that no manifest names.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{Context, SHA256};
use futures_util::{StreamExt, TryStreamExt};
use serde::Serialize;
use uuid::Uuid;

use super::calls::ranges;
use super::manifest::{ColdFile, ColdManifest};
use super::{ColdError, ColdStorage, Place, Position, hex, layout};

/// How closely is looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every object is there and has its size.
    Sizes,
    /// Every byte is read and its checksum compared.
    Contents,
}

/// Something that is not as a manifest says, or a manifest that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Key of the object.
    pub key: String,
    /// What is wrong with it, for a person.
    pub message: String,
    /// Whether the newest content needs it: without it something cannot be restored. What only older
    /// content needs is missed by nobody.
    pub is_needed: bool,
}

/// What nothing needs. The owner of a shard removes it a while after it has become garbage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Garbage {
    /// Manifests that a newer one has replaced.
    pub manifests: u64,
    /// Files that no manifest names. Those of an upload that is under way are among them.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
}

/// What an audit of a shard or mirror found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Manifests that were read.
    pub manifests: u64,
    /// Files that they name.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What is missing or damaged, by key. Empty when all is well.
    pub problems: Vec<Problem>,
    /// What could be removed.
    pub garbage: Garbage,
}

/// A file and the newest manifest that names it.
struct Named {
    file: ColdFile,
    by: Position,
}

impl ColdStorage {
    /// Audits what cold storage has of a shard or mirror: every manifest, and each file that one of them
    /// names. It only reads, and may run beside nodes that upload and collect garbage. `read` is told
    /// bytes of files whose checksum is computed.
    ///
    /// # Errors
    /// When the store fails. What is lost is no error but a problem that is told.
    pub async fn verify(
        &self,
        place: impl Into<Place>,
        depth: Depth,
        read: &(dyn Fn(u64) + Sync),
    ) -> Result<Verified, ColdError> {
        let place = place.into();
        let mut verified = Verified::default();
        let positions = self.positions(place, None).await?;
        let mut lost = Vec::new();
        let (newest, named) =
            self.verify_manifests(place, &positions, (&mut verified, &mut lost)).await?;
        // Listed after the manifests were read: what they name was there before them.
        let listed = self.calls.list(&layout::files(place), None).await?;
        let there: BTreeMap<&str, u64> =
            listed.iter().map(|(key, meta)| (key.as_str(), meta.size)).collect();
        verified.files = named.len() as u64;
        verified.bytes = named.values().map(|named| named.file.bytes).sum();
        let mut sound = Vec::new();
        for named in named.values() {
            match misses(&named.file, there.get(named.file.key.as_str()).copied()) {
                Some(error) => lost.push((named.by, error)),
                None => sound.push(named),
            }
        }
        if depth == Depth::Contents {
            lost.extend(self.verify_contents(sound, read).await?);
        }
        for (by, error) in lost {
            verified.problems.extend(self.problem(place, (by, error), newest).await?);
        }
        verified.problems.sort();
        verified.problems.dedup();
        let Some(newest) = newest else { return Ok(verified) };
        verified.garbage.manifests = positions.iter().filter(|at| **at < newest).count() as u64;
        for (key, bytes) in there.into_iter().filter(|(key, _)| !named.contains_key(*key)) {
            // A later owner's, who has not written its manifest yet.
            if layout::epoch_of_file(place, key).is_some_and(|epoch| epoch <= newest.epoch) {
                verified.garbage.files += 1;
                verified.garbage.bytes += bytes;
            }
        }
        Ok(verified)
    }

    /// Reads every manifest; returns the position of the newest content, and what files they name.
    async fn verify_manifests(
        &self,
        place: Place,
        positions: &[Position],
        (verified, lost): (&mut Verified, &mut Vec<(Position, ColdError)>),
    ) -> Result<(Option<Position>, BTreeMap<String, Named>), ColdError> {
        let reading = positions.iter().rev().map(|at| async move {
            let read: Result<ColdManifest, ColdError> = self.read_manifest(place, *at).await;
            (*at, read)
        });
        let mut read = futures_util::stream::iter(reading).buffered(self.calls.limits.files.max(1));
        let (mut newest, mut named) = (None, BTreeMap::new());
        while let Some((at, manifest)) = read.next().await {
            let manifest = match manifest {
                Ok(manifest) => manifest,
                // What a newer version has written is for that to judge.
                Err(error) if error.is_lost() => {
                    lost.push((at, error));
                    continue;
                }
                Err(error) => return Err(error),
            };
            verified.manifests += 1;
            if manifest.files.is_some() && newest.is_none() {
                newest = Some(at);
            }
            for file in manifest.files.into_iter().flat_map(BTreeMap::into_values) {
                named.entry(file.key.clone()).or_insert(Named { file, by: at });
            }
        }
        Ok((newest, named))
    }

    /// Reads files and tells which are not what was written.
    async fn verify_contents(
        &self,
        named: Vec<&Named>,
        read: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<(Position, ColdError)>, ColdError> {
        let checking = named.into_iter().map(|named| async move {
            let wrong = self.verify_content(&named.file, read).await?;
            Ok::<_, ColdError>(wrong.map(|error| (named.by, error)))
        });
        let checked: Vec<_> = futures_util::stream::iter(checking)
            .buffer_unordered(self.calls.limits.files.max(1))
            .try_collect()
            .await?;
        Ok(checked.into_iter().flatten().collect())
    }

    async fn verify_content(
        &self,
        file: &ColdFile,
        read: &(dyn Fn(u64) + Sync),
    ) -> Result<Option<ColdError>, ColdError> {
        let mut context = Context::new(&SHA256);
        for range in ranges(file.bytes, self.calls.limits.part_bytes) {
            match self.calls.part(&file.key, range).await {
                Ok(part) => {
                    context.update(&part.bytes);
                    read(part.bytes.len() as u64);
                }
                Err(error) if error.is_lost() => return Ok(Some(error)),
                Err(error) => return Err(error),
            }
        }
        let detail = "its checksum does not fit".to_owned();
        let fits = hex(context.finish().as_ref()) == file.sha256;
        Ok((!fits).then(|| ColdError::Damaged { key: file.key.clone(), detail }))
    }

    /// What is wrong as a problem, unless what needed it was collected meanwhile.
    async fn problem(
        &self,
        place: Place,
        (by, error): (Position, ColdError),
        newest: Option<Position>,
    ) -> Result<Option<Problem>, ColdError> {
        let (ColdError::Missing { key } | ColdError::Damaged { key, .. }) = &error else {
            return Err(error);
        };
        if matches!(error, ColdError::Missing { .. })
            && self.calls.size(&layout::manifest(place, by)).await?.is_none()
        {
            return Ok(None);
        }
        let is_needed = newest.is_none_or(|newest| by >= newest);
        Ok(Some(Problem { key: key.clone(), message: error.to_string(), is_needed }))
    }

    /// The repositories whose mirrors cold storage has anything of.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn mirrors(&self) -> Result<Vec<Uuid>, ColdError> {
        let names = self.calls.folders(layout::MIRRORS).await?;
        let mut ids: Vec<Uuid> = names.iter().filter_map(|name| name.parse().ok()).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// The shards that cold storage has anything of, by number.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn shards(&self) -> Result<Vec<u32>, ColdError> {
        let names = self.calls.folders(layout::SHARDS).await?;
        let mut shards: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
        shards.sort_unstable();
        Ok(shards)
    }
}

/// What is wrong with a file of which cold storage has so many bytes.
fn misses(file: &ColdFile, there: Option<u64>) -> Option<ColdError> {
    let key = file.key.clone();
    match there {
        None => Some(ColdError::Missing { key }),
        Some(bytes) if bytes != file.bytes => {
            let detail = format!("it has {bytes} bytes, not {}", file.bytes);
            Some(ColdError::Damaged { key, detail })
        }
        Some(_) => None,
    }
}

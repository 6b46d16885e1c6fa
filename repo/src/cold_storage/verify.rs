//! An audit: whether everything that the manifests name is there and is what was written.

use aws_lc_rs::digest::{Context, SHA256};
use futures_util::{StreamExt, TryStreamExt};
use uuid::Uuid;

use super::calls::ranges;
use super::manifest::ColdFile;
use super::{ColdError, ColdStorage, Place, hex, layout};

/// How closely is looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every object is there and has its size.
    Sizes,
    /// Every byte is read and its checksum compared.
    Contents,
}

/// What an audit of a shard or mirror found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Manifests that were read.
    pub manifests: u64,
    /// Files that the newest content names.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What is missing or damaged, each in a sentence. Empty when all is well.
    pub problems: Vec<String>,
}

impl ColdStorage {
    /// Audits what cold storage has of a shard or mirror: every manifest, and each file of the newest content.
    /// It only reads.
    ///
    /// # Errors
    /// When the store fails. What is lost is no error but a problem that is told.
    pub async fn verify(
        &self,
        place: impl Into<Place>,
        depth: Depth,
    ) -> Result<Verified, ColdError> {
        let place = place.into();
        let mut verified = Verified::default();
        let mut newest = None;
        for at in self.positions(place, None).await? {
            match self.read_manifest(place, at).await {
                Ok(manifest) => {
                    verified.manifests += 1;
                    newest = Some(manifest).filter(|found| found.files.is_some()).or(newest);
                }
                Err(error) if error.is_lost() => verified.problems.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        let Some(newest) = newest else { return Ok(verified) };
        let files: Vec<ColdFile> = newest.files().map(|(_, file)| file.clone()).collect();
        verified.files = files.len() as u64;
        verified.bytes = newest.bytes();
        let checking = files.into_iter().map(|file| self.verify_file(file, depth));
        let checked: Vec<Option<ColdError>> = futures_util::stream::iter(checking)
            .buffer_unordered(self.calls.limits.files.max(1))
            .try_collect()
            .await?;
        verified.problems.extend(checked.into_iter().flatten().map(|error| error.to_string()));
        verified.problems.sort();
        Ok(verified)
    }

    /// What is wrong with a file.
    async fn verify_file(
        &self,
        file: ColdFile,
        depth: Depth,
    ) -> Result<Option<ColdError>, ColdError> {
        let key = file.key.clone();
        match self.calls.size(&key).await? {
            None => return Ok(Some(ColdError::Missing { key })),
            Some(size) if size != file.bytes => {
                let detail = format!("it has {size} bytes, not {}", file.bytes);
                return Ok(Some(ColdError::Damaged { key, detail }));
            }
            Some(_) if depth == Depth::Sizes => return Ok(None),
            Some(_) => {}
        }
        let mut context = Context::new(&SHA256);
        for range in ranges(file.bytes, self.calls.limits.part_bytes) {
            context.update(&self.calls.part(&key, range).await?.bytes);
        }
        let detail = "its checksum does not fit".to_owned();
        let fits = hex(context.finish().as_ref()) == file.sha256;
        Ok((!fits).then_some(ColdError::Damaged { key, detail }))
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

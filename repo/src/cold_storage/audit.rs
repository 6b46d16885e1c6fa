//! An audit of all that cold storage has.

use futures_util::StreamExt;
use serde::Serialize;
use uuid::Uuid;

use super::{ColdError, ColdStorage, Depth, Garbage, Place, Problem, Verified, layout};

/// Problems that are listed at most: beyond, it is a disaster however many there are.
const MAX_PROBLEMS: usize = 10_000;

/// How far an audit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditProgress {
    /// Shards and mirrors that were looked at.
    pub done: u64,
    /// Shards and mirrors that there are.
    pub total: u64,
    /// Bytes whose checksum was computed.
    pub read: u64,
    /// Problems so far.
    pub problems: u64,
}

/// What could be removed of a shard or mirror.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlaceGarbage {
    /// Folder of the shard or mirror.
    pub place: String,
    /// What it is.
    #[serde(flatten)]
    pub garbage: Garbage,
}

/// What an audit of everything found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// Identity of the cluster that cold storage belongs to.
    pub cluster_id: Uuid,
    /// Shards that cold storage has anything of.
    pub shards: u64,
    /// Repositories whose mirrors it has.
    pub mirrors: u64,
    /// Manifests that were read.
    pub manifests: u64,
    /// Files that they name.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Number of problems.
    pub problem_count: u64,
    /// What is missing or damaged, by key; the first ten thousand.
    pub problems: Vec<Problem>,
    /// What could be removed, by shard and mirror, where there is anything.
    pub garbage: Vec<PlaceGarbage>,
}

impl Audit {
    fn add(&mut self, place: Place, verified: Verified) {
        self.manifests += verified.manifests;
        self.files += verified.files;
        self.bytes += verified.bytes;
        verified.problems.into_iter().for_each(|problem| self.add_problem(problem));
        if verified.garbage != Garbage::default() {
            let (place, garbage) = (place.to_string(), verified.garbage);
            self.garbage.push(PlaceGarbage { place, garbage });
        }
    }

    fn add_problem(&mut self, problem: Problem) {
        self.problem_count += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }
}

impl ColdStorage {
    /// Audits every shard and mirror ([`ColdStorage::verify`]); `None` when no cluster has ever claimed
    /// this cold storage. It only reads.
    ///
    /// # Errors
    /// When the store fails: then it is not known whether all is well.
    pub async fn audit(
        &self,
        depth: Depth,
        told: &(dyn Fn(AuditProgress) + Sync),
    ) -> Result<Option<Audit>, ColdError> {
        let Some(claim) = self.read_claim().await? else { return Ok(None) };
        let (shards, mirrors) = (self.shards().await?, self.mirrors().await?);
        let mut audit = Audit {
            cluster_id: claim.cluster,
            shards: shards.len() as u64,
            mirrors: mirrors.len() as u64,
            ..Audit::default()
        };
        for shard in shards.iter().filter(|shard| **shard >= claim.shards) {
            audit.add_problem(Problem {
                key: format!("{}/{shard:04}", layout::SHARDS),
                message: format!(
                    "the cluster has {} shards, and this is none of them",
                    claim.shards
                ),
                is_needed: false,
            });
        }
        let places =
            shards.into_iter().map(Place::Shard).chain(mirrors.into_iter().map(Place::Mirror));
        let places: Vec<Place> = places.collect();
        let progress = std::sync::Mutex::new(AuditProgress {
            total: places.len() as u64,
            ..AuditProgress::default()
        });
        let tell = |change: &dyn Fn(&mut AuditProgress)| {
            let mut now = progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            change(&mut now);
            told(*now);
        };
        let read = |bytes| tell(&|now| now.read += bytes);
        tell(&|_| {});
        let looking = places.into_iter().map(|place| {
            let read = &read;
            async move { (place, self.verify(place, depth, read).await) }
        });
        // Each reads several files at a time.
        let at_once = (self.calls.limits.calls / self.calls.limits.files.max(1)).max(1);
        let mut looked = futures_util::stream::iter(looking).buffer_unordered(at_once);
        while let Some((place, verified)) = looked.next().await {
            audit.add(place, verified?);
            let problems = audit.problem_count;
            tell(&|now| (now.done, now.problems) = (now.done + 1, problems));
        }
        audit.problems.sort();
        audit.garbage.sort_by(|a, b| a.place.cmp(&b.place));
        Ok(Some(audit))
    }
}

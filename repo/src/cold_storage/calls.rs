//! Calls to the object store: each with a deadline, a bounded number of attempts, and a bound on how
//! many are under way.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::bandwidth::Bandwidth;
use super::counters::{ColdAction, ColdOutcome, Counters};
use super::{ColdError, ColdLimits};

/// Longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Characters of the store's reason that are kept: some answer with a whole page.
const MAX_REASON: usize = 400;

/// A store.
pub(crate) struct Store {
    pub(crate) objects: Arc<dyn ObjectStore>,
    /// The same, where it can continue uploads that were cut off.
    pub(crate) multipart: Option<Arc<dyn MultipartStore>>,
}

struct Multipart(Arc<dyn MultipartStore>);

impl std::fmt::Debug for Multipart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Multipart")
    }
}

/// The store, and what bounds its use.
#[derive(Debug)]
pub(crate) struct Calls {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The same where it can continue uploads that were cut off.
    multipart: Option<Multipart>,
    /// What every key starts with.
    base: String,
    pub(crate) limits: ColdLimits,
    slots: Arc<Semaphore>,
    pub(crate) counters: Counters,
    pub(crate) upload: Bandwidth,
    download: Bandwidth,
}

/// Why a call did not succeed.
pub(crate) enum Fault {
    Missing,
    Exists,
    Denied(String),
    /// It may pass.
    Passing(String),
}

/// Bytes that were fetched. They count among the calls under way until they are dropped.
pub(crate) struct Part {
    pub(crate) bytes: Bytes,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Calls {
    pub(crate) fn new(store: Store, prefix: &str, limits: ColdLimits) -> Result<Self, ColdError> {
        let base = prefix.trim_matches('/').to_owned();
        Path::parse(&base).map_err(|error| ColdError::Config {
            reason: format!("the prefix {base:?} cannot be used: {error}"),
        })?;
        Ok(Self {
            store: store.objects,
            multipart: store.multipart.map(Multipart),
            base,
            counters: Counters::default(),
            slots: Arc::new(Semaphore::new(limits.calls.max(1))),
            upload: Bandwidth::new(limits.upload_rate),
            download: Bandwidth::new(limits.download_rate),
            limits,
        })
    }

    pub(crate) fn multipart(&self) -> Option<&dyn MultipartStore> {
        self.multipart.as_ref().map(|Multipart(store)| &**store)
    }

    pub(crate) fn path(&self, key: &str) -> Result<Path, ColdError> {
        let full =
            if self.base.is_empty() { key.to_owned() } else { format!("{}/{key}", self.base) };
        Path::parse(full).map_err(|error| ColdError::Damaged {
            key: key.to_owned(),
            detail: format!("it is no key: {error}"),
        })
    }

    pub(crate) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        self.slots.clone().acquire_owned().await.ok()
    }

    /// Calls until it succeeds, fails for good, or all attempts are used.
    pub(crate) async fn attempts<T, F>(
        &self,
        action: ColdAction,
        key: &str,
        call: impl Fn() -> F,
    ) -> Result<Result<T, Fault>, ColdError>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let mut wait = self.limits.first_wait;
        let mut attempt = 1;
        loop {
            let answer = tokio::time::timeout(self.limits.call_timeout, call()).await;
            let reason = match answer {
                Ok(Ok(value)) => {
                    self.counters.answered(action);
                    return Ok(Ok(value));
                }
                Ok(Err(error)) => match fault(&error) {
                    Fault::Passing(reason) if reason.contains("NoSuchBucket") => {
                        self.counters.failed(action, ColdOutcome::Failed, &reason);
                        return Err(no_bucket());
                    }
                    Fault::Passing(reason) => reason,
                    Fault::Denied(reason) => {
                        self.counters.failed(action, ColdOutcome::Denied, &reason);
                        let (action, key) = (action.verb(), key.to_owned());
                        return Err(ColdError::Denied { action, key, reason });
                    }
                    told => {
                        self.counters.answered(action);
                        return Ok(Err(told));
                    }
                },
                Err(_) => format!("no answer within {:?}", self.limits.call_timeout),
            };
            if attempt >= self.limits.attempts.max(1) {
                self.counters.failed(action, ColdOutcome::Failed, &reason);
                let (action, key) = (action.verb(), key.to_owned());
                return Err(ColdError::Unavailable { action, key, reason });
            }
            self.counters.count(action, ColdOutcome::Retried);
            tracing::debug!(?action, key, attempt, reason, "cold storage is asked again");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            attempt += 1;
        }
    }

    /// An object of at most `limit` bytes; `None` where there is none.
    pub(crate) async fn read(&self, key: &str, limit: u64) -> Result<Option<Bytes>, ColdError> {
        let path = self.path(key)?;
        let _slot = self.slot().await;
        let found = self
            .attempts(ColdAction::Read, key, || async {
                let found = self.store.get_opts(&path, GetOptions::default()).await?;
                let size = found.meta.size;
                if size > limit {
                    return Ok(Err(size));
                }
                found.bytes().await.map(Ok)
            })
            .await?;
        match found {
            Ok(Ok(bytes)) => {
                self.counters.fetched(bytes.len() as u64);
                self.download.take(bytes.len() as u64).await;
                Ok(Some(bytes))
            }
            Ok(Err(size)) => Err(ColdError::Damaged {
                key: key.to_owned(),
                detail: format!("it has {size} bytes, more than the limit of {limit}"),
            }),
            Err(Fault::Missing) => Ok(None),
            Err(other) => Err(odd(ColdAction::Read, key, &other)),
        }
    }

    /// A part of an object that must be there. Parts that are asked for in order get their turn in
    /// that order; they come while nobody waits, too.
    pub(crate) async fn part(
        self: &Arc<Self>,
        key: &str,
        range: Range<u64>,
    ) -> Result<Part, ColdError> {
        let slot = self.slot().await;
        let (calls, name) = (Arc::clone(self), key.to_owned());
        let fetching = tokio::spawn(async move { calls.part_in(slot, &name, range).await });
        let mut fetching = AbortOnDrop(fetching);
        let fetched = (&mut fetching.0).await;
        fetched.unwrap_or_else(|error| {
            let (action, key) = (ColdAction::Read.verb(), key.to_owned());
            Err(ColdError::Unavailable { action, key, reason: error.to_string() })
        })
    }

    async fn part_in(
        &self,
        slot: Option<OwnedSemaphorePermit>,
        key: &str,
        range: Range<u64>,
    ) -> Result<Part, ColdError> {
        let path = self.path(key)?;
        self.download.take(range.end - range.start).await;
        let found = self
            .attempts(ColdAction::Read, key, || self.store.get_range(&path, range.clone()))
            .await?;
        match found {
            Ok(bytes) => {
                self.counters.fetched(bytes.len() as u64);
                Ok(Part { bytes, _slot: slot })
            }
            Err(Fault::Missing) => Err(ColdError::Missing { key: key.to_owned() }),
            Err(other) => Err(odd(ColdAction::Read, key, &other)),
        }
    }

    /// Bytes of an object; `None` where there is none.
    pub(crate) async fn size(&self, key: &str) -> Result<Option<u64>, ColdError> {
        let path = self.path(key)?;
        let _slot = self.slot().await;
        match self.attempts(ColdAction::Head, key, || self.store.head(&path)).await? {
            Ok(meta) => Ok(Some(meta.size)),
            Err(Fault::Missing) => Ok(None),
            Err(other) => Err(odd(ColdAction::Head, key, &other)),
        }
    }

    /// Writes an object unless there is one; returns whether what is there now are these bytes.
    pub(crate) async fn create(&self, key: &str, bytes: Bytes) -> Result<bool, ColdError> {
        let path = self.path(key)?;
        {
            let _slot = self.slot().await;
            self.upload.take(bytes.len() as u64).await;
            let options = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let put = || self.store.put_opts(&path, bytes.clone().into(), options());
            match self.attempts(ColdAction::Write, key, put).await? {
                Ok(_) => {
                    self.counters.sent(bytes.len() as u64);
                    return Ok(true);
                }
                Err(Fault::Exists) => {}
                // There is no other way to miss what is to be made.
                Err(Fault::Missing) => return Err(no_bucket()),
                Err(other) => return Err(odd(ColdAction::Write, key, &other)),
            }
        }
        // An attempt whose answer was lost may have written it.
        let there = self.read(key, bytes.len() as u64).await;
        match there {
            Ok(there) => Ok(there.as_ref() == Some(&bytes)),
            Err(ColdError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The objects below a folder whose keys come after `after`, sorted, with their keys as this
    /// program knows them.
    pub(crate) async fn list(
        &self,
        folder: &str,
        after: Option<&str>,
    ) -> Result<Vec<(String, ObjectMeta)>, ColdError> {
        let path = self.path(folder)?;
        let after = after.map(|after| self.path(after)).transpose()?;
        let _slot = self.slot().await;
        let listed = self
            .attempts(ColdAction::List, folder, || async {
                let stream = match &after {
                    Some(after) => self.store.list_with_offset(Some(&path), after),
                    None => self.store.list(Some(&path)),
                };
                stream.try_collect::<Vec<_>>().await
            })
            .await?;
        let listed = match listed {
            Ok(listed) => listed,
            // A folder that nothing was written to yet.
            Err(Fault::Missing) => Vec::new(),
            Err(other) => return Err(odd(ColdAction::List, folder, &other)),
        };
        let mut found: Vec<(String, ObjectMeta)> = listed
            .into_iter()
            .filter_map(|meta| {
                let full = meta.location.as_ref();
                let key = if self.base.is_empty() {
                    full
                } else {
                    full.strip_prefix(&self.base)?.strip_prefix('/')?
                };
                Some((key.to_owned(), meta))
            })
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// Names of the folders in a folder.
    pub(crate) async fn folders(&self, folder: &str) -> Result<Vec<String>, ColdError> {
        let path = self.path(folder)?;
        let _slot = self.slot().await;
        let list = || self.store.list_with_delimiter(Some(&path));
        match self.attempts(ColdAction::List, folder, list).await? {
            Ok(listed) => Ok(listed
                .common_prefixes
                .iter()
                .filter_map(|path| path.filename().map(str::to_owned))
                .collect()),
            Err(Fault::Missing) => Ok(Vec::new()),
            Err(other) => Err(odd(ColdAction::List, folder, &other)),
        }
    }

    /// Removes an object; one that is not there is no error.
    pub(crate) async fn delete(&self, key: &str) -> Result<(), ColdError> {
        let path = self.path(key)?;
        let _slot = self.slot().await;
        match self.attempts(ColdAction::Remove, key, || self.store.delete(&path)).await? {
            Ok(()) | Err(Fault::Missing) => Ok(()),
            Err(other) => Err(odd(ColdAction::Remove, key, &other)),
        }
    }
}

/// A task that nobody needs once this is dropped.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The parts of a file.
pub(crate) fn ranges(size: u64, part: u64) -> impl Iterator<Item = Range<u64>> {
    let part = part.max(1);
    (0..size.div_ceil(part)).map(move |number| number * part..(number * part + part).min(size))
}

fn fault(error: &object_store::Error) -> Fault {
    use object_store::Error;
    match error {
        Error::NotFound { .. } => Fault::Missing,
        Error::AlreadyExists { .. } | Error::Precondition { .. } => Fault::Exists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            Fault::Denied(reason(error))
        }
        _ => {
            let text = error.to_string();
            match REFUSALS.iter().any(|code| text.contains(code)) {
                true => Fault::Denied(reason(error)),
                false => Fault::Passing(reason(error)),
            }
        }
    }
}

/// Codes of S3 that say that the caller is not let, though not all of them come with status 401 or 403:
/// asking again at once gives the same.
const REFUSALS: [&str; 9] = [
    "403 Forbidden",
    "401 Unauthorized",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "TokenRefreshRequired",
    "InvalidToken",
    "InvalidAccessKeyId",
    "RequestTimeTooSkewed",
    "AuthorizationHeaderMalformed",
];

fn no_bucket() -> ColdError {
    ColdError::Config { reason: "the bucket does not exist; make it, or name another".to_owned() }
}

/// An answer that makes no sense for what was asked.
pub(crate) fn odd(action: ColdAction, key: &str, fault: &Fault) -> ColdError {
    let reason = match fault {
        Fault::Missing => "it is not there",
        Fault::Exists => "it is there already",
        Fault::Denied(reason) | Fault::Passing(reason) => reason,
    };
    let (action, key) = (action.verb(), key.to_owned());
    ColdError::Unavailable { action, key, reason: reason.to_owned() }
}

/// The store's words, on one line and not too many: what an answer in XML says, where there is one.
pub(crate) fn reason(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let tag = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
    };
    if let Some(code) = tag("Code") {
        text = format!("{code}: {}", tag("Message").unwrap_or_default());
    }
    let mut words: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = words.char_indices().nth(MAX_REASON) {
        words.truncate(at);
        words.push('…');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_file_once() {
        for (size, part) in [(0, 5), (1, 5), (5, 5), (6, 5), (23, 5), (3, 0)] {
            let parts: Vec<_> = ranges(size, part).collect();
            let mut end = 0;
            for range in &parts {
                assert_eq!(range.start, end, "{size} {part}");
                assert!(range.end > range.start);
                end = range.end;
            }
            assert_eq!(end, size);
        }
    }
}

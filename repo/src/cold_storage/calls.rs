//! Calls to the object store: each with a deadline, a bounded number of attempts, and a bound on how
//! many are under way.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::bandwidth::Bandwidth;
use super::counters::{ColdAction, ColdOutcome, Counters};
use super::{ColdError, ColdLimits};

/// Longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Characters of the store's reason that are kept: some answer with a whole page.
const MAX_REASON: usize = 400;

/// The store, and what bounds its use.
#[derive(Debug)]
pub(crate) struct Calls {
    store: Arc<dyn ObjectStore>,
    /// What every key starts with.
    base: String,
    pub(crate) limits: ColdLimits,
    slots: Arc<Semaphore>,
    pub(crate) counters: Counters,
    upload: Bandwidth,
    download: Bandwidth,
}

/// Why a call did not succeed.
enum Fault {
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
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        limits: ColdLimits,
    ) -> Result<Self, ColdError> {
        let base = prefix.trim_matches('/').to_owned();
        Path::parse(&base).map_err(|error| ColdError::Config {
            reason: format!("the prefix {base:?} cannot be used: {error}"),
        })?;
        Ok(Self {
            store,
            base,
            counters: Counters::default(),
            slots: Arc::new(Semaphore::new(limits.calls.max(1))),
            upload: Bandwidth::new(limits.upload_rate),
            download: Bandwidth::new(limits.download_rate),
            limits,
        })
    }

    fn path(&self, key: &str) -> Result<Path, ColdError> {
        let full =
            if self.base.is_empty() { key.to_owned() } else { format!("{}/{key}", self.base) };
        Path::parse(full).map_err(|error| ColdError::Damaged {
            key: key.to_owned(),
            detail: format!("it is no key: {error}"),
        })
    }

    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        self.slots.clone().acquire_owned().await.ok()
    }

    /// Calls until it succeeds, fails for good, or all attempts are used.
    async fn attempts<T, F>(
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
                    self.counters.count(action, ColdOutcome::Answered);
                    return Ok(Ok(value));
                }
                Ok(Err(error)) => match fault(&error) {
                    Fault::Passing(reason) if reason.contains("NoSuchBucket") => {
                        let reason =
                            "the bucket does not exist; make it, or name another".to_owned();
                        return Err(ColdError::Config { reason });
                    }
                    Fault::Passing(reason) => reason,
                    Fault::Denied(reason) => {
                        self.counters.count(action, ColdOutcome::Denied);
                        let (action, key) = (action.verb(), key.to_owned());
                        return Err(ColdError::Denied { action, key, reason });
                    }
                    told => {
                        self.counters.count(action, ColdOutcome::Answered);
                        return Ok(Err(told));
                    }
                },
                Err(_) => format!("no answer within {:?}", self.limits.call_timeout),
            };
            if attempt >= self.limits.attempts.max(1) {
                self.counters.count(action, ColdOutcome::Failed);
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

    /// A part of an object that must be there.
    pub(crate) async fn part(&self, key: &str, range: Range<u64>) -> Result<Part, ColdError> {
        let path = self.path(key)?;
        let slot = self.slot().await;
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

    /// Sends a large object in parts; `part` gives each. What was there is replaced as a whole.
    pub(crate) async fn send<F>(
        &self,
        key: &str,
        size: u64,
        part: impl Fn(Range<u64>) -> F,
        sent: impl Fn(u64),
    ) -> Result<(), ColdError>
    where
        F: Future<Output = Result<Bytes, ColdError>>,
    {
        let path = self.path(key)?;
        let action = ColdAction::Write;
        let opened = self.attempts(action, key, || self.store.put_multipart(&path)).await?;
        let mut upload = opened.map_err(|other| odd(action, key, &other))?;
        let timeout = self.limits.call_timeout;
        let failed = |reason: String| {
            self.counters.count(action, ColdOutcome::Failed);
            let (action, key) = (action.verb(), key.to_owned());
            ColdError::Unavailable { action, key, reason }
        };
        let sending = async {
            let mut parts = tokio::task::JoinSet::new();
            for range in ranges(size, self.limits.part_bytes) {
                let slot = self.slot().await;
                let bytes = part(range.clone()).await?;
                self.upload.take(bytes.len() as u64).await;
                let call = upload.put_part(bytes.into());
                let length = range.end - range.start;
                parts.spawn(async move {
                    let answer = tokio::time::timeout(timeout, call).await;
                    drop(slot);
                    answer.map(|answer| answer.map(|()| length))
                });
                while let Some(ended) = parts.try_join_next() {
                    sent(self.part_sent(ended, timeout).map_err(failed)?);
                }
            }
            while let Some(ended) = parts.join_next().await {
                sent(self.part_sent(ended, timeout).map_err(failed)?);
            }
            match tokio::time::timeout(timeout, upload.complete()).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(failed(reason(&error))),
                Err(_) => Err(failed(format!("no answer within {timeout:?}"))),
            }
        };
        let done = sending.await;
        if done.is_err() {
            // Parts of an upload that is given up cost until they are removed.
            let _ = tokio::time::timeout(timeout, upload.abort()).await;
        }
        done
    }

    /// Bytes of a part, once it was sent.
    fn part_sent(&self, ended: PartAnswer, timeout: Duration) -> Result<u64, String> {
        match ended {
            Ok(Ok(Ok(length))) => {
                self.counters.count(ColdAction::Write, ColdOutcome::Answered);
                self.counters.sent(length);
                Ok(length)
            }
            Ok(Ok(Err(error))) => Err(reason(&error)),
            Ok(Err(_)) => Err(format!("no answer within {timeout:?}")),
            Err(error) => Err(error.to_string()),
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

/// The parts of a file.
pub(crate) fn ranges(size: u64, part: u64) -> impl Iterator<Item = Range<u64>> {
    let part = part.max(1);
    (0..size.div_ceil(part)).map(move |number| number * part..(number * part + part).min(size))
}

type PartAnswer =
    Result<Result<object_store::Result<u64>, tokio::time::error::Elapsed>, tokio::task::JoinError>;

fn fault(error: &object_store::Error) -> Fault {
    use object_store::Error;
    match error {
        Error::NotFound { .. } => Fault::Missing,
        Error::AlreadyExists { .. } | Error::Precondition { .. } => Fault::Exists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            Fault::Denied(reason(error))
        }
        _ => Fault::Passing(reason(error)),
    }
}

/// An answer that makes no sense for what was asked.
fn odd(action: ColdAction, key: &str, fault: &Fault) -> ColdError {
    let reason = match fault {
        Fault::Missing => "it is not there",
        Fault::Exists => "it is there already",
        Fault::Denied(reason) | Fault::Passing(reason) => reason,
    };
    let (action, key) = (action.verb(), key.to_owned());
    ColdError::Unavailable { action, key, reason: reason.to_owned() }
}

/// The store's words, on one line and not too many.
fn reason(error: &object_store::Error) -> String {
    let text = error.to_string();
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

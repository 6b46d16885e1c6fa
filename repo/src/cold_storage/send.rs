//! Sending a large object in parts.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use super::ColdError;
use super::calls::{Calls, Fault, odd, ranges, reason};
use super::counters::{ColdAction, ColdOutcome};
use super::ledger::{Begun, Ledger};

const ACTION: ColdAction = ColdAction::Write;

/// An object to send.
#[derive(Clone, Copy)]
pub(crate) struct Sending<'a> {
    pub(crate) key: &'a str,
    pub(crate) bytes: u64,
    /// What was sent of it before.
    pub(crate) ledger: &'a Ledger,
}

type PartAnswer =
    Result<Result<object_store::Result<u64>, tokio::time::error::Elapsed>, tokio::task::JoinError>;

impl Calls {
    /// Sends a large object in parts; `part` gives each, `sent` is told of its bytes. What was there is
    /// replaced as a whole.
    pub(crate) async fn send<F>(
        &self,
        object: Sending<'_>,
        part: impl Fn(Range<u64>) -> F,
        sent: impl Fn(u64),
    ) -> Result<(), ColdError>
    where
        F: Future<Output = Result<Bytes, ColdError>>,
    {
        let Some(store) = self.multipart() else {
            return self.send_at_once(object, part, sent).await;
        };
        let path = self.path(object.key)?;
        let begun = self.begin(store, object, &path).await?;
        let done = self.send_parts(store, (object, &path, &begun), part, sent).await;
        match done {
            Ok(parts) => self.complete(store, (object, &path, &begun), parts).await,
            Err(error) => {
                // Parts of an upload that nobody continues cost until they are removed.
                if !object.ledger.is_kept() {
                    self.forget(object.key, &begun).await;
                }
                Err(error)
            }
        }
    }

    /// Continues what was begun, or begins.
    async fn begin(
        &self,
        store: &dyn MultipartStore,
        Sending { key, bytes, ledger }: Sending<'_>,
        path: &Path,
    ) -> Result<Begun, ColdError> {
        let part_bytes = self.limits.part_bytes;
        if let Some(begun) = ledger.get(key)
            && (begun.bytes, begun.part_bytes) == (bytes, part_bytes)
        {
            return Ok(begun);
        }
        let opened = self.attempts(ACTION, key, || store.create_multipart(path)).await?;
        let upload = opened.map_err(|other| odd(ACTION, key, &other))?;
        let begun = Begun { upload, bytes, part_bytes, parts: BTreeMap::new() };
        ledger.begin(key, begun.clone());
        Ok(begun)
    }

    /// Sends the parts that the store does not have; returns all.
    async fn send_parts<F>(
        &self,
        store: &dyn MultipartStore,
        (object, path, begun): (Sending<'_>, &Path, &Begun),
        part: impl Fn(Range<u64>) -> F,
        sent: impl Fn(u64),
    ) -> Result<Vec<PartId>, ColdError>
    where
        F: Future<Output = Result<Bytes, ColdError>>,
    {
        let (key, part, sent) = (object.key, &part, &sent);
        let numbered = ranges(object.bytes, begun.part_bytes).enumerate();
        let sending = numbered.map(|(number, range)| async move {
            let length = range.end - range.start;
            if let Some(there) = begun.parts.get(&number) {
                sent(length);
                return Ok(PartId { content_id: there.clone() });
            }
            let _slot = self.slot().await;
            let payload = PutPayload::from(part(range).await?);
            self.upload.take(length).await;
            let put = || store.put_part(path, &begun.upload, number, payload.clone());
            match self.attempts(ACTION, key, put).await? {
                Ok(id) => {
                    self.counters.sent(length);
                    object.ledger.add_part(key, number, id.content_id.clone());
                    sent(length);
                    Ok(id)
                }
                Err(fault) => {
                    // The store does not know the upload any more: the next attempt begins anew.
                    object.ledger.end(key);
                    Err(odd(ACTION, key, &fault))
                }
            }
        });
        let at_once = self.limits.calls.max(1);
        futures_util::stream::iter(sending).buffered(at_once).try_collect().await
    }

    async fn complete(
        &self,
        store: &dyn MultipartStore,
        (object, path, begun): (Sending<'_>, &Path, &Begun),
        parts: Vec<PartId>,
    ) -> Result<(), ColdError> {
        let complete = || store.complete_multipart(path, &begun.upload, parts.clone());
        let completed = self.attempts(ACTION, object.key, complete).await?;
        object.ledger.end(object.key);
        match completed {
            // An attempt whose answer was lost has completed it; whether the object is there, the caller
            // looks.
            Ok(_) | Err(Fault::Missing) => Ok(()),
            Err(other) => Err(odd(ACTION, object.key, &other)),
        }
    }

    /// Has the store forget an upload in parts. That it cannot is no failure: it costs a little until the
    /// bucket's own rules remove it.
    pub(crate) async fn forget(&self, key: &str, begun: &Begun) {
        let (Some(store), Ok(path)) = (self.multipart(), self.path(key)) else { return };
        let abort = store.abort_multipart(&path, &begun.upload);
        let _ = tokio::time::timeout(self.limits.call_timeout, abort).await;
    }

    /// Sends an object to a store that cannot continue what was cut off.
    async fn send_at_once<F>(
        &self,
        Sending { key, bytes: size, .. }: Sending<'_>,
        part: impl Fn(Range<u64>) -> F,
        sent: impl Fn(u64),
    ) -> Result<(), ColdError>
    where
        F: Future<Output = Result<Bytes, ColdError>>,
    {
        let path = self.path(key)?;
        let opened = self.attempts(ACTION, key, || self.store.put_multipart(&path)).await?;
        let mut upload = opened.map_err(|other| odd(ACTION, key, &other))?;
        let timeout = self.limits.call_timeout;
        let failed = |reason: String| {
            self.counters.failed(ACTION, ColdOutcome::Failed, &reason);
            let (action, key) = (ACTION.verb(), key.to_owned());
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
                self.counters.answered(ACTION);
                self.counters.sent(length);
                Ok(length)
            }
            Ok(Ok(Err(error))) => Err(reason(&error)),
            Ok(Err(_)) => Err(format!("no answer within {timeout:?}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

//! Answers sent while a search makes them.

use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::problem::Problem;
use super::search::Started;

/// Bytes of the blocks that a body is sent in.
const BLOCK_BYTES: usize = 256 << 10;
/// Bytes that an answer has before it is sent in blocks; a smaller one goes in one piece, with its
/// length.
const WHOLE_BYTES: usize = 1 << 20;
/// Parts that wait for the client.
const PARTS_AHEAD: usize = 16;

/// Where a thread puts the parts of an answer.
pub struct Sender<T> {
    parts: mpsc::Sender<T>,
    runtime: Handle,
    patience: Duration,
}

/// Where the parts come out.
pub struct Receiver<T>(mpsc::Receiver<T>);

/// The two ends of an answer. A client has `patience` to take a part.
///
/// # Panics
/// Outside of a runtime.
pub fn channel<T>(patience: Duration) -> (Sender<T>, Receiver<T>) {
    let (parts, receiver) = mpsc::channel(PARTS_AHEAD);
    (Sender { parts, runtime: Handle::current(), patience }, Receiver(receiver))
}

impl<T> Sender<T> {
    /// Sends a part: it waits for the client, and is for threads that may. `Break` when the client
    /// is gone or too slow.
    pub fn send(&self, part: T) -> ControlFlow<()> {
        let send = tokio::time::timeout(self.patience, self.parts.send(part));
        match self.runtime.block_on(send) {
            Ok(Ok(())) => ControlFlow::Continue(()),
            Ok(Err(_)) => ControlFlow::Break(()),
            Err(_) => {
                tracing::warn!(patience = ?self.patience, "a client takes its answer too slowly; it is broken off");
                ControlFlow::Break(())
            }
        }
    }

    /// Sends a part if there is room for it.
    pub fn try_send(&self, part: T) {
        // What does not fit is not missed: its sender knows.
        let _ = self.parts.try_send(part);
    }
}

impl<T> Receiver<T> {
    /// The parts as they come, those that came already first. Where the search fails, the stream ends
    /// with an error, which breaks the answer off.
    fn stream(
        self,
        ready: impl Iterator<Item = T>,
        search: Started<()>,
    ) -> impl Stream<Item = Result<T, io::Error>> {
        stream::unfold((ready, self.0, Some(search)), async |(mut ready, mut parts, mut search)| {
            let next = match ready.next() {
                Some(part) => Some(part),
                None => parts.recv().await,
            };
            let part = match next {
                Some(part) => Ok(part),
                None => match search.take()?.finish().await {
                    Ok(()) => return None,
                    Err(problem) => Err(io::Error::other(problem.detail().to_owned())),
                },
            };
            Some((part, (ready, parts, search)))
        })
    }

    /// The parts that `search` sends. An error before the first is the answer.
    pub async fn parts(
        mut self,
        search: Started<()>,
    ) -> Result<impl Stream<Item = Result<T, io::Error>>, Problem> {
        match self.0.recv().await {
            Some(first) => Ok(self.stream(std::iter::once(first), search)),
            None => {
                search.finish().await?;
                // A search that ends well has sent its end.
                Err(Problem::internal())
            }
        }
    }
}

/// Puts the bytes of a body together in blocks.
pub struct Writer {
    sender: Sender<Bytes>,
    block: Vec<u8>,
    /// Bytes from which it is sent.
    limit: usize,
    expected: usize,
}

impl Writer {
    /// With nothing written yet.
    pub fn new(sender: Sender<Bytes>) -> Self {
        Self { sender, block: Vec::new(), limit: WHOLE_BYTES, expected: 0 }
    }

    /// Says that about so many bytes follow.
    pub fn expect(&mut self, bytes: usize) {
        self.expected = bytes;
    }

    /// Adds bytes, and sends what is a block, as [`Sender::send`] does.
    pub fn write(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        if self.block.capacity() == 0 {
            self.block.reserve(self.expected.clamp(bytes.len(), self.limit + bytes.len()));
        }
        self.block.extend_from_slice(bytes);
        if self.block.len() < self.limit { ControlFlow::Continue(()) } else { self.flush() }
    }

    /// Sends what is left.
    pub fn flush(&mut self) -> ControlFlow<()> {
        self.limit = BLOCK_BYTES;
        self.sender.send(Bytes::from(std::mem::take(&mut self.block)))
    }
}

impl Receiver<Bytes> {
    /// The response with the JSON that `search` writes.
    pub async fn response(mut self, search: Started<()>) -> Result<Response, Problem> {
        let (first, second) = (self.0.recv().await, self.0.recv().await);
        let json = [(header::CONTENT_TYPE, "application/json")];
        if second.is_none() {
            search.finish().await?;
            return Ok((json, first.unwrap_or_default()).into_response());
        }
        let ready = first.into_iter().chain(second);
        Ok((json, Body::from_stream(self.stream(ready, search))).into_response())
    }
}

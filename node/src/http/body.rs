//! Bodies written by a thread while they are sent.

use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::problem::Problem;
use super::search::Started;

/// Bytes of the blocks that a body is sent in.
const BLOCK_BYTES: usize = 256 << 10;
/// Bytes that an answer has before it is sent in blocks; a smaller one goes in one piece, with its
/// length.
const WHOLE_BYTES: usize = 1 << 20;
/// Blocks that wait for the client.
const BLOCKS_AHEAD: usize = 16;

/// Where a body is written to.
pub struct Writer {
    block: Vec<u8>,
    /// Bytes from which it is sent.
    limit: usize,
    expected: usize,
    sender: mpsc::Sender<Bytes>,
    runtime: Handle,
    patience: Duration,
}

/// What is sent.
pub struct Receiver(mpsc::Receiver<Bytes>);

/// The two ends of a body. A client has `patience` to take a block.
///
/// # Panics
/// Outside of a runtime.
pub fn channel(patience: Duration) -> (Writer, Receiver) {
    let (sender, receiver) = mpsc::channel(BLOCKS_AHEAD);
    let runtime = Handle::current();
    let (block, limit) = (Vec::new(), WHOLE_BYTES);
    let writer = Writer { block, limit, expected: 0, sender, runtime, patience };
    (writer, Receiver(receiver))
}

impl Writer {
    /// Says that about so many bytes follow.
    pub fn expect(&mut self, bytes: usize) {
        self.expected = bytes;
    }

    /// Adds bytes, and sends what is a block: it waits for the client, and is for threads that may.
    /// `Break` when the client is gone or too slow.
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
        let block = Bytes::from(std::mem::take(&mut self.block));
        let send = tokio::time::timeout(self.patience, self.sender.send(block));
        match self.runtime.block_on(send) {
            Ok(Ok(())) => ControlFlow::Continue(()),
            Ok(Err(_)) => ControlFlow::Break(()),
            Err(_) => {
                tracing::warn!(patience = ?self.patience, "a client takes its answer too slowly; it is broken off");
                ControlFlow::Break(())
            }
        }
    }
}

impl Receiver {
    /// The response with the body that `search` writes. An error before its first block is the
    /// answer; after it, the body breaks off.
    pub async fn response(mut self, search: Started<()>) -> Result<Response, Problem> {
        let (first, second) = (self.0.recv().await, self.0.recv().await);
        let json = [(header::CONTENT_TYPE, "application/json")];
        let Some(second) = second else {
            search.finish().await?;
            return Ok((json, first.unwrap_or_default()).into_response());
        };
        let ready: Vec<Bytes> = first.into_iter().chain([second]).collect();
        let parts = stream::unfold(
            (ready.into_iter(), self.0, Some(search)),
            |(mut ready, mut blocks, mut search)| async move {
                let next = match ready.next() {
                    Some(block) => Some(block),
                    None => blocks.recv().await,
                };
                let part = match next {
                    Some(block) => Ok(block),
                    None => match search.take()?.finish().await {
                        Ok(()) => return None,
                        Err(problem) => Err(io::Error::other(problem.detail().to_owned())),
                    },
                };
                Some((part, (ready, blocks, search)))
            },
        );
        Ok((json, Body::from_stream(parts)).into_response())
    }
}

//! Results made and sent, a batch at a time.

use std::cell::Cell;
use std::time::Instant;

use rayon::ThreadPool;

use super::output::Output;
use super::response::{Match, SearchError};
use super::running::Running;
use super::verify::Verified;

/// Bytes of results that are made, and sent, at a time; about, since they are not known before.
const BATCH_BYTES: u64 = 8 << 20;
/// What a result is taken to need that is not written yet, and each match of it.
const RESULT_BYTES: u64 = 512;
const MATCH_BYTES: u64 = 256;

/// The results of a search on their way to whoever asked.
pub(crate) struct Delivery<'a> {
    running: Running<'a>,
    /// What is made of the documents so far.
    batch: Batch<'a>,
    /// Documents whose results are not made yet.
    left: std::vec::IntoIter<Verified>,
}

/// Results that are made and not delivered.
enum Batch<'a> {
    /// To be given back.
    Kept(Vec<Match>),
    /// To be sent.
    Written(&'a dyn Output, Vec<Vec<u8>>),
}

impl<'a> Delivery<'a> {
    /// Makes the first results of documents, or all where there is no output; for threads of the
    /// search's pool.
    pub(crate) fn start(running: Running<'a>, found: Vec<Verified>) -> Result<Self, SearchError> {
        let mut left = found.into_iter();
        let batch = match running.output {
            Some(output) => Batch::Written(output, write_batch(running, output, &mut left)?),
            None => Batch::Kept(running.results(left.by_ref().collect(), |made| made, |_| None)?),
        };
        Ok(Self { running, batch, left })
    }

    /// With results that need no content.
    pub(crate) fn made(running: Running<'a>, results: Vec<Match>) -> Self {
        let batch = match running.output {
            Some(output) => {
                let written = results.into_iter().map(|result| written(output, result));
                Batch::Written(output, written.collect())
            }
            None => Batch::Kept(results),
        };
        Self { running, batch, left: Vec::new().into_iter() }
    }

    /// Gives the results back, or sends them, and makes and sends the others: this waits for the
    /// client, and is for a thread that may. `sent` tells that some were sent.
    pub(crate) fn finish(
        mut self,
        pool: &ThreadPool,
        sent: &Cell<bool>,
    ) -> Result<Vec<Match>, SearchError> {
        let running = self.running;
        let (output, mut batch) = match self.batch {
            Batch::Kept(results) => return Ok(results),
            Batch::Written(output, batch) => (output, batch),
        };
        loop {
            if !batch.is_empty() {
                sent.set(true);
                let before = Instant::now();
                if output.send(batch).is_break() {
                    running.request.cancel.cancel();
                }
                running.budget.extend(before.elapsed());
            }
            if self.left.len() == 0 || !running.budget.go_on() {
                return Ok(Vec::new());
            }
            batch = pool.install(|| write_batch(running, output, &mut self.left))?;
        }
    }
}

/// Makes the next results.
fn write_batch(
    running: Running,
    output: &dyn Output,
    left: &mut impl Iterator<Item = Verified>,
) -> Result<Vec<Vec<u8>>, SearchError> {
    let results = running.results(
        next_batch(running, left),
        |result| written(output, result),
        |verified| verified.written.take(),
    );
    Ok(results?)
}

fn written(output: &dyn Output, result: Match) -> Vec<u8> {
    let mut written = Vec::new();
    output.write(result, &mut written);
    written
}

fn next_batch(running: Running, found: &mut impl Iterator<Item = Verified>) -> Vec<Verified> {
    let most = running.matches_of_result() as u64;
    let mut batch = Vec::new();
    let mut bytes = 0;
    while bytes < BATCH_BYTES
        && let Some(verified) = found.next()
    {
        bytes += match &verified.written {
            Some(written) => written.len() as u64,
            None => RESULT_BYTES + MATCH_BYTES * verified.count.min(most),
        };
        batch.push(verified);
    }
    batch
}

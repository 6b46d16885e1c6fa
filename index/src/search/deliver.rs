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

/// Makes the results of documents on the threads of `pool`. They are given back, or sent where there
/// is an output; `sent` tells that some were.
pub(crate) fn deliver(
    pool: &ThreadPool,
    running: Running,
    found: Vec<Verified>,
    sent: &Cell<bool>,
) -> Result<Vec<Match>, SearchError> {
    let Some(output) = running.output else {
        return Ok(pool.install(|| running.results(found, |result| result, |_| None))?);
    };
    let mut found = found.into_iter();
    loop {
        let batch = next_batch(running, &mut found);
        if batch.is_empty() || !running.budget.go_on() {
            return Ok(Vec::new());
        }
        let written = pool.install(|| {
            running.results(
                batch,
                |result| written(output, result),
                |verified| verified.written.take(),
            )
        })?;
        sent.set(true);
        send(running, output, written);
    }
}

/// Sends results that need no content.
pub(crate) fn deliver_made(running: Running, results: Vec<Match>) -> Vec<Match> {
    let Some(output) = running.output else { return results };
    send(running, output, results.into_iter().map(|result| written(output, result)).collect());
    Vec::new()
}

fn written(output: &dyn Output, result: Match) -> Vec<u8> {
    let mut written = Vec::new();
    output.write(result, &mut written);
    written
}

fn send(running: Running, output: &dyn Output, written: Vec<Vec<u8>>) {
    let before = Instant::now();
    if output.send(written).is_break() {
        running.request.cancel.cancel();
    }
    running.budget.extend(before.elapsed());
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

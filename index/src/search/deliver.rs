//! Results made and sent, a batch at a time.

use std::cell::Cell;
use std::time::Instant;

use super::key::RankKey;
use super::output::{Output, Ranked};
use super::response::{Match, SearchError};
use super::running::Running;
use super::verify::{Interrupted, Verified, Verifier};
use super::windows::Places;

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
    left: Left,
}

/// Results that are made and not delivered.
enum Batch<'a> {
    /// To be given back.
    Kept(Vec<Match>),
    /// To be sent.
    Written(&'a dyn Output, Vec<Ranked>),
}

/// The documents of a page that are still to come.
struct Left {
    documents: std::vec::IntoIter<Verified>,
    /// Those that came before.
    before: usize,
    places: Places,
}

impl<'a> Delivery<'a> {
    /// Makes the first results of documents, or all where there is no output; within
    /// [`Hands::run`](super::hands::Hands::run).
    pub(crate) fn start(
        running: Running<'a>,
        found: Vec<Verified>,
        places: Places,
    ) -> Result<Self, SearchError> {
        let mut left = Left { documents: found.into_iter(), before: 0, places };
        let batch = match running.output {
            Some(output) => Batch::Written(output, left.write_batch(running, output)?),
            None => {
                let found = left.documents.by_ref().collect();
                let made = running
                    .made(found, |verifier, verified| running.results_of(verifier, &verified))?;
                Batch::Kept(made.into_iter().flat_map(|(_, results)| results).collect())
            }
        };
        Ok(Self { running, batch, left })
    }

    /// With repositories, which need no content; `first` of them came before.
    pub(crate) fn of_repositories(
        running: Running<'a>,
        found: Vec<(RankKey, Match)>,
        first: usize,
    ) -> Self {
        let batch = match running.output {
            Some(output) => Batch::Written(output, written_repositories(output, found, first)),
            None => Batch::Kept(found.into_iter().map(|(_, result)| result).collect()),
        };
        let left = Left { documents: Vec::new().into_iter(), before: 0, places: Places::default() };
        Self { running, batch, left }
    }

    /// Gives the results back, or sends them, and makes and sends the others: this waits for the
    /// client, and is for a thread that may. `sent` tells that some were sent.
    pub(crate) fn finish(mut self, sent: &Cell<bool>) -> Result<Vec<Match>, SearchError> {
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
            if self.left.documents.len() == 0 || !running.budget.go_on() {
                return Ok(Vec::new());
            }
            batch = running.hands.run(|| self.left.write_batch(running, output))?;
        }
    }
}

impl Left {
    /// Makes the next results.
    fn write_batch(
        &mut self,
        running: Running,
        output: &dyn Output,
    ) -> Result<Vec<Ranked>, SearchError> {
        let documents = next_batch(running, &mut self.documents);
        let before = self.before;
        self.before += documents.len();
        let made = running.made(documents, |verifier, verified| {
            let key = running.key_of(&verified);
            Ok((key, write_document(running, output, verifier, verified)?))
        })?;
        let ranked = made.into_iter().map(|(rank, (key, results))| {
            let (window, within) = self.places.after(before + rank);
            Ranked { key, results, window, within }
        });
        Ok(ranked.collect())
    }
}

/// The results of a document, written; none when the time runs out: the answer says so.
fn write_document(
    running: Running,
    output: &dyn Output,
    verifier: &mut Verifier,
    verified: Verified,
) -> Result<Vec<Vec<u8>>, Interrupted> {
    if let Some(written) = verified.written {
        return Ok(vec![written]);
    }
    match running.results_of(verifier, &verified) {
        Ok(results) => Ok(results.into_iter().map(|result| written(output, result)).collect()),
        Err(Interrupted::Budget) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Repositories, of which `first` came before.
pub(crate) fn written_repositories(
    output: &dyn Output,
    found: Vec<(RankKey, Match)>,
    first: usize,
) -> Vec<Ranked> {
    let ranked = found.into_iter().zip(first as u64 + 1..);
    let ranked = ranked.map(|((key, result), within)| Ranked {
        key,
        results: vec![written(output, result)],
        window: 0,
        within,
    });
    ranked.collect()
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

//! The JSON answer of a search, sent while it is made.

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use aeterna_index::search::{Match, Output, Ranked};

use super::body::Writer;
use crate::api::result::write_result;
use crate::api::search::{SearchAnswer, SearchResult};

/// How an answer without results begins.
const START: &[u8] = b"{\"results\":[";

/// About what stands after the results.
const END_BYTES: usize = 1_024;

/// Writes an answer as [`SearchAnswer`] would be written.
pub struct Answer(Mutex<Parts>);

struct Parts {
    writer: Writer,
    results: u64,
}

impl Answer {
    /// With nothing written yet.
    pub fn new(writer: Writer) -> Self {
        Self(Mutex::new(Parts { writer, results: 0 }))
    }

    /// Writes what stands after the results.
    pub fn end(self, rest: SearchAnswer) {
        debug_assert!(rest.results.is_empty());
        let rest = json(&rest);
        let Parts { mut writer, results } =
            self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let from = if results == 0 { 0 } else { START.len() };
        // A client that is gone reads no end.
        let _ = writer.write(&rest[from..]).is_continue() && writer.flush().is_continue();
    }
}

impl Output for Answer {
    fn write(&self, found: Match, into: &mut Vec<u8>) {
        write_result(&found, into);
    }

    fn send(&self, ranked: Vec<Ranked>) -> ControlFlow<()> {
        let written: Vec<Vec<u8>> = ranked.into_iter().flat_map(|one| one.results).collect();
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts
            .writer
            .expect(written.iter().map(|result| result.len() + 1).sum::<usize>() + END_BYTES);
        for result in written {
            let before = if parts.results == 0 { START } else { b"," };
            parts.writer.write(before)?;
            parts.writer.write(&result)?;
            parts.results += 1;
        }
        ControlFlow::Continue(())
    }
}

/// Keeps results, for an answer of another shape.
#[derive(Debug, Default)]
pub struct Collected(Mutex<Vec<SearchResult>>);

impl Collected {
    /// What was found.
    pub fn take(self) -> Vec<SearchResult> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Output for Collected {
    fn write(&self, found: Match, into: &mut Vec<u8>) {
        write_result(&found, into);
    }

    fn send(&self, ranked: Vec<Ranked>) -> ControlFlow<()> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for written in ranked.iter().flat_map(|one| &one.results) {
            match serde_json::from_slice(written) {
                Ok(result) => all.push(result),
                Err(error) => tracing::error!(%error, "a result cannot be read"),
            }
        }
        ControlFlow::Continue(())
    }
}

/// The types of answers have text keys and finite numbers alone: writing them as JSON cannot fail.
pub fn json(data: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(data).unwrap_or_default()
}

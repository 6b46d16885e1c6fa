//! Candidates verified in order, a window of them at a time, until a page is full.

use std::ops::Range;

use rayon::prelude::*;

use super::budget::Budget;
use super::candidates::SegmentCandidates;
use super::chunks::ChunkOptions;
use super::collect::{Collector, Page};
use super::compile::Compiled;
use super::cursor::Cursor;
use super::execute::Mode;
use super::response::SearchRequest;
use super::verify::{Interrupted, Making, Verified, Verifier};
use crate::IndexError;

/// Content that the first window of candidates holds, in bytes. What is ranked against each other
/// is a window: large enough to find the best of a common word, small enough for a few
/// milliseconds.
const FIRST_WINDOW: u64 = 4 << 20;
/// Content of each window that follows.
const NEXT_WINDOW: u64 = 16 << 20;
/// Candidates of one window.
const WINDOW_CANDIDATES: usize = 1 << 16;
/// What a candidate counts beside its content.
const CANDIDATE_COST: u64 = 512;
/// Documents that a thread takes at a time.
const BATCH: usize = 16;
/// Matches kept of a document that may not be on the page.
const RANKED_HITS: usize = 64;

/// A document that may match.
#[derive(Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) segment: u32,
    pub(crate) document: u32,
}

/// The candidates of a search, highest prior first, and what they are verified with.
pub(crate) struct Windows<'a> {
    query: &'a Compiled,
    mode: &'a Mode,
    segments: &'a [SegmentCandidates<'a>],
    order: &'a [Candidate],
    budget: &'a Budget,
    making: Making,
}

impl<'a> Windows<'a> {
    /// With nothing verified yet.
    pub(crate) fn new(
        query: &'a Compiled,
        mode: &'a Mode,
        request: &SearchRequest,
        segments: &'a [SegmentCandidates<'a>],
        order: &'a [Candidate],
        budget: &'a Budget,
    ) -> Self {
        // Where each document that matches is a result with its lines, they are cut while its text
        // is at hand.
        let is_result_each = !mode.symbols && !mode.repositories && mode.page >= order.len();
        let at_once = mode.exhaustive && request.chunks && is_result_each;
        let making = Making {
            keep: match mode.exhaustive && !at_once {
                true => RANKED_HITS,
                false => request.limits.ranges_per_document,
            },
            chunks: at_once.then(|| ChunkOptions::of(request, false)),
        };
        Self { query, mode, segments, order, budget, making }
    }

    /// Verifies windows from the cursor's on until the page is full, or nothing is left.
    pub(crate) fn page(
        &self,
        cursor: &Cursor,
        collector: &mut Collector,
    ) -> Result<Page, IndexError> {
        let all = self.order.len();
        let mut start = usize::try_from(cursor.window).unwrap_or(usize::MAX).min(all);
        let mut within = usize::try_from(cursor.within).unwrap_or(usize::MAX);
        let mut page = Page { looked_at: start, ..Page::default() };
        loop {
            let end = if self.mode.exhaustive { all } else { self.end(start) };
            let found = self.verify(start..end)?;
            page.looked_at = end;
            let left = collector.take_window(found, within, &mut page);
            if left > 0 {
                page.next = Some((start as u64, (within + page.from_last_window) as u64));
                return Ok(page);
            }
            if end == all || !self.budget.go_on() {
                return Ok(page);
            }
            if page.results.len() >= self.mode.page {
                page.next = Some((end as u64, 0));
                return Ok(page);
            }
            (start, within) = (end, 0);
        }
    }

    /// The end of the window that starts at `start`.
    fn end(&self, start: usize) -> usize {
        let reads = self.query.atoms.iter().any(|atom| atom.in_content || atom.symbol.is_some());
        let limit = if start == 0 { FIRST_WINDOW } else { NEXT_WINDOW };
        let mut bytes = 0;
        let mut end = start;
        while end < self.order.len() && end - start < WINDOW_CANDIDATES && bytes < limit {
            let candidate = self.order[end];
            bytes += CANDIDATE_COST;
            if reads {
                let segment = &self.segments[candidate.segment as usize];
                bytes += u64::from(segment.blob_of(candidate.document).length);
            }
            end += 1;
        }
        end
    }

    /// Verifies candidates in parallel; those of one unit by one thread.
    fn verify(&self, window: Range<usize>) -> Result<Vec<Verified>, IndexError> {
        let mut by_place: Vec<(u32, u32, u32)> = self.order[window]
            .iter()
            .map(|candidate| {
                let segment = &self.segments[candidate.segment as usize];
                let first_piece = segment.blob_of(candidate.document).first_piece;
                (candidate.segment, first_piece, candidate.document)
            })
            .collect();
        by_place.sort_unstable();
        let parts: Vec<Result<Vec<Verified>, IndexError>> = by_place
            .par_chunks(BATCH)
            .map_init(
                || Verifier::new(self.query, self.segments, self.budget, self.making),
                |verifier, batch| {
                    let mut found = Vec::new();
                    for (segment, _, document) in batch {
                        match verifier.verify(*segment, *document) {
                            Ok(verified) => found.extend(verified),
                            Err(Interrupted::Budget) => break,
                            Err(Interrupted::Index(error)) => return Err(error),
                        }
                    }
                    Ok(found)
                },
            )
            .collect();
        let mut all = Vec::new();
        for part in parts {
            all.extend(part?);
        }
        Ok(all)
    }
}

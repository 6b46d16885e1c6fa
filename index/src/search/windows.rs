//! Candidates verified in order, a window of them at a time, until a page is full.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use rayon::prelude::*;

use super::candidates::SegmentCandidates;
use super::collect::{Collector, Page};
use super::compile::Compiled;
use super::cursor::Cursor;
use super::execute::Mode;
use super::order::{Candidate, Order};
use super::output::Output;
use super::response::Progress;
use super::running::Running;
use super::verify::{Interrupted, Verified, Verifier};
use crate::IndexError;

/// Content that the first window of candidates holds, in bytes. What is ranked against each other
/// is a window: large enough to find the best of a common word, small enough for a few
/// milliseconds. Searches that work together look at so much together.
const FIRST_WINDOW: u64 = 1 << 20;
/// The first window of each of them, at least.
const SMALLEST_WINDOW: u64 = 64 << 10;
/// Content of each window that follows, at most. It has as many candidates as those before it
/// together: a page that is nearly full does not wait for much more than it needs.
const NEXT_WINDOW: u64 = 16 << 20;
/// Candidates of one window.
const WINDOW_CANDIDATES: usize = 1 << 16;
/// What a candidate counts beside its content.
const CANDIDATE_COST: u64 = 512;
/// Documents that a thread takes at a time.
const BATCH: usize = 16;
/// Matches kept of a document whose result is made later, once it is ranked.
const KEPT_HITS: usize = 64;

/// Content of the first window of a search that has this share.
pub(crate) fn first_window(share: u32) -> u64 {
    (FIRST_WINDOW / u64::from(share.max(1))).max(SMALLEST_WINDOW)
}

/// Where a cursor stands right after each result of a page.
#[derive(Default)]
pub(crate) struct Places(Vec<Taken>);

/// What a page takes of one window.
struct Taken {
    /// The page's results from this number on are of it.
    first: usize,
    /// Where the window starts.
    window: u64,
    /// Results of it that an earlier page had.
    skipped: u64,
    /// Number after its last result on this page.
    end: usize,
    /// Where a cursor stands after that one.
    after: (u64, u64),
}

impl Places {
    /// After a result of the page, by its number.
    pub(crate) fn after(&self, result: usize) -> (u64, u64) {
        let taken = self.0.partition_point(|taken| taken.first <= result);
        let Some(taken) = taken.checked_sub(1).and_then(|last| self.0.get(last)) else {
            return (0, 0);
        };
        match result + 1 == taken.end {
            true => taken.after,
            false => (taken.window, taken.skipped + (result - taken.first) as u64 + 1),
        }
    }
}

/// The candidates of a search, highest prior first, and what becomes of them.
pub(crate) struct Windows<'a> {
    running: Running<'a>,
    order: &'a Order,
    /// Where results go that are written while their text is at hand.
    at_once: Option<&'a dyn Output>,
    /// Bytes of them.
    held: AtomicUsize,
}

impl<'a> Windows<'a> {
    /// With nothing verified yet.
    pub(crate) fn new(running: Running<'a>, order: &'a Order) -> Self {
        let mode = running.mode;
        // Each document that matches is a result, whatever its rank.
        let is_result_each = !mode.symbols && !mode.repositories && mode.page >= order.len();
        let at_once = running.output.filter(|_| mode.exhaustive && is_result_each);
        Self { running, order, at_once, held: AtomicUsize::new(0) }
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
        let mut page = Page { looked_at: start, of: all, ..Page::default() };
        self.tell(start);
        loop {
            let window = self.window(start);
            let end = start + window.len();
            let found = self.verify(&window)?;
            page.looked_at = end;
            self.tell(end);
            let first = page.results.len();
            let left = collector.take_window(found, within, &mut page);
            let here = (start as u64, within.saturating_add(page.from_last_window) as u64);
            let is_whole = start == 0 && end == all;
            // After all of a window comes the next. Where there is none, a cursor stays in it: counts
            // of the page after it are as exact as those of this one.
            let after = if left > 0 || is_whole { here } else { (end as u64, 0) };
            page.places.0.push(Taken {
                first,
                window: start as u64,
                skipped: within as u64,
                end: page.results.len(),
                after,
            });
            if left > 0 {
                page.next = Some(here);
                return Ok(page);
            }
            if end == all || !self.running.budget.go_on() {
                return Ok(page);
            }
            if page.results.len() >= self.running.mode.page {
                page.next = Some((end as u64, 0));
                return Ok(page);
            }
            (start, within) = (end, 0);
        }
    }

    /// Tells how far the search is.
    fn tell(&self, verified: usize) {
        if let Some(output) = self.running.output {
            let candidates = self.order.len() as u64;
            output.progress(Progress { verified: verified as u64, candidates });
        }
    }

    /// The candidates of the window that starts at `start`.
    fn window(&self, start: usize) -> Vec<Candidate> {
        if self.running.mode.exhaustive {
            return self.order.from(start).collect();
        }
        let reads = self.running.query.reads_content();
        let (limit, most) = match start {
            0 => (self.running.mode.first_window, WINDOW_CANDIDATES),
            _ => (NEXT_WINDOW, WINDOW_CANDIDATES.min(start)),
        };
        let mut bytes = 0;
        let mut window = Vec::new();
        for candidate in self.order.from(start) {
            bytes += cost(self.running.segments, &candidate, reads);
            window.push(candidate);
            if window.len() == most || bytes >= limit {
                break;
            }
        }
        window
    }

    /// Verifies candidates in parallel; those of one unit by one thread.
    fn verify(&self, window: &[Candidate]) -> Result<Vec<Verified>, IndexError> {
        let mut by_place: Vec<(u32, u32, u32)> = window
            .iter()
            .map(|candidate| {
                let segment = &self.running.segments[candidate.segment as usize];
                let first_piece = segment.blob_of(candidate.document).first_piece;
                (candidate.segment, first_piece, candidate.document)
            })
            .collect();
        by_place.sort_unstable();
        let parts: Vec<Result<Vec<Verified>, IndexError>> = by_place
            .par_chunks(BATCH)
            .map_init(
                || self.running.verifier(self.running.request.limits.ranges_per_document),
                |verifier, batch| {
                    let mut found = Vec::new();
                    for (segment, _, document) in batch {
                        match self.verify_one(verifier, *segment, *document) {
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

    fn verify_one(
        &self,
        verifier: &mut Verifier,
        segment: u32,
        document: u32,
    ) -> Result<Option<Verified>, Interrupted> {
        let Some(mut verified) = verifier.verify(segment, document)? else { return Ok(None) };
        let room = self.held.load(Relaxed) < self.running.request.limits.held_bytes;
        match self.at_once {
            Some(output) if room => {
                if let Some(result) = self.running.results_of(verifier, &verified)?.pop() {
                    let mut written = Vec::new();
                    output.write(result, &mut written);
                    self.held.fetch_add(written.len(), Relaxed);
                    verified.written = Some(written);
                }
                verified.hits = Vec::new();
            }
            // Of all that is found before the page is known, little can be kept of each.
            _ if self.running.mode.exhaustive => {
                verified.hits.truncate(KEPT_HITS);
                verified.hits.shrink_to_fit();
            }
            _ => {}
        }
        Ok(Some(verified))
    }
}

/// The order that a search needs.
pub(crate) fn order_of(
    query: &Compiled,
    mode: &Mode,
    segments: &[SegmentCandidates],
) -> Result<Order, IndexError> {
    let plain = Order::plain(segments);
    let mut room = mode.first_window;
    let reads = query.reads_content();
    let fits = |candidate: Candidate| {
        room = room.saturating_sub(cost(segments, &candidate, reads));
        room > 0
    };
    if mode.exhaustive || plain.from(0).all(fits) {
        return Ok(plain);
    }
    Order::by_prior(query, segments)
}

/// What a candidate counts in a window.
fn cost(segments: &[SegmentCandidates], candidate: &Candidate, reads: bool) -> u64 {
    let segment = &segments[candidate.segment as usize];
    let content = if reads { segment.blob_of(candidate.document).length } else { 0 };
    CANDIDATE_COST + u64::from(content)
}

//! Candidates verified in order, a window of them at a time, until a page is full.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::vec;

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
/// Content of each window that follows, at most; of all that searches look at that work together. It has as many
/// candidates as those before it together: a page that is nearly full does not wait for much more than it needs.
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

/// Content of each window after the first, at most.
pub(crate) fn next_window(share: u32) -> u64 {
    (NEXT_WINDOW / u64::from(share.max(1))).max(FIRST_WINDOW)
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
    /// Where the window starts that results are taken of.
    start: usize,
    /// Results of it that were taken.
    within: usize,
    /// The others, once it is verified.
    ready: Option<vec::IntoIter<Verified>>,
    /// Candidates that were looked at, from the first.
    looked_at: usize,
}

impl<'a> Windows<'a> {
    /// With nothing verified yet; the results of a first page follow from the cursor on.
    pub(crate) fn new(running: Running<'a>, order: &'a Order, cursor: &Cursor) -> Self {
        let mode = running.mode;
        // Each document that matches is a result, whatever its rank.
        let is_result_each = !mode.symbols && !mode.repositories && mode.page >= order.len();
        let at_once = running.output.filter(|_| mode.exhaustive && is_result_each);
        let start = usize::try_from(cursor.window).unwrap_or(usize::MAX).min(order.len());
        let within = usize::try_from(cursor.within).unwrap_or(usize::MAX);
        let held = AtomicUsize::new(0);
        Self { running, order, at_once, held, start, within, ready: None, looked_at: start }
    }

    /// The next results, at most so many: windows are verified until there are enough, or nothing is left.
    pub(crate) fn page(
        &mut self,
        most: usize,
        collector: &mut Collector,
    ) -> Result<Page, IndexError> {
        let all = self.order.len();
        let mut page = self.so_far();
        self.tell();
        loop {
            let (first, skipped) = (page.results.len(), self.within);
            let mut ready = match self.ready.take() {
                Some(ready) => ready,
                None => self.next_window(collector)?,
            };
            page.looked_at = self.looked_at;
            page.results.extend(ready.by_ref().take(most.saturating_sub(first)));
            self.within = skipped.saturating_add(page.results.len() - first);
            let (window, end) = (self.start as u64, self.looked_at);
            let here = (window, self.within as u64);
            let is_whole = self.start == 0 && end == all;
            let left = ready.len();
            // After all of a window comes the next. Where there is none, a cursor stays in it: counts
            // of the page after it are as exact as those of this one.
            let after = if left > 0 || is_whole { here } else { (end as u64, 0) };
            page.places.0.push(Taken {
                first,
                window,
                skipped: skipped as u64,
                end: page.results.len(),
                after,
            });
            if left > 0 {
                page.next = Some(here);
                self.ready = Some(ready);
                return Ok(page);
            }
            if end == all || !self.running.budget.go_on() {
                return Ok(page);
            }
            (self.start, self.within) = (end, 0);
            if page.results.len() >= self.enough(most) {
                page.next = Some((end as u64, 0));
                return Ok(page);
            }
        }
    }

    /// Results after which no further window is verified, of `most`. Whoever merges several searches may have
    /// what it needs from the others when one of them has half of it.
    fn enough(&self, most: usize) -> usize {
        if self.running.request.first.is_some() { most.div_ceil(2) } else { most }
    }

    /// Verifies the window that starts where the last one has ended; its results in order, without those
    /// that an earlier page had.
    fn next_window(
        &mut self,
        collector: &mut Collector,
    ) -> Result<vec::IntoIter<Verified>, IndexError> {
        let window = self.window(self.start);
        let found = self.verify(&window)?;
        self.looked_at = self.start + window.len();
        self.tell();
        let mut ready = collector.take_window(found).into_iter();
        ready.by_ref().take(self.within).for_each(drop);
        Ok(ready)
    }

    /// What was looked at so far, without results.
    pub(crate) fn so_far(&self) -> Page {
        Page { looked_at: self.looked_at, of: self.order.len(), ..Page::default() }
    }

    /// Tells how far the search is.
    fn tell(&self) {
        if let Some(output) = self.running.output {
            let (verified, candidates) = (self.looked_at as u64, self.order.len() as u64);
            output.progress(Progress { verified, candidates });
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
            _ => (self.running.mode.next_window, WINDOW_CANDIDATES.min(start)),
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
        let parts: Vec<Result<Vec<Verified>, IndexError>> = self.running.hands.map(
            by_place.chunks(BATCH).collect(),
            1..=usize::MAX,
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
        );
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

//! The matches of several patterns in one document as one list.

use std::cmp::Reverse;

use super::matches::Matches;
use super::verify::{Found, Hit, Interrupted, Verified, Verifier, is_word_end, is_word_start};

/// Matches after which the budget is asked.
const MATCHES_PER_CHECK: u64 = 4_096;

/// Matches that come in ascending order, longest first, and are kept apart: what overlaps an
/// earlier one is neither shown nor counted.
#[derive(Default)]
struct Apart {
    hits: Vec<Hit>,
    count: u64,
    lines: u64,
    last: Option<(u32, u32)>,
    last_line: Option<u32>,
}

impl Apart {
    fn push(&mut self, hit: Hit, keep: usize) {
        if self.last.is_some_and(|last| hit.start < last.1 || last == (hit.start, hit.end)) {
            return;
        }
        self.last = Some((hit.start, hit.end));
        self.count += 1;
        if self.last_line != Some(hit.line) {
            self.lines += 1;
            self.last_line = Some(hit.line);
        }
        if self.hits.len() < keep {
            self.hits.push(hit);
        }
    }
}

/// The matches of one atom, one after another.
enum Stream<'a> {
    Kept(std::slice::Iter<'a, Hit>),
    Text { matches: Matches<'a>, number: usize, text: &'a [u8] },
}

impl Iterator for Stream<'_> {
    type Item = Hit;

    /// The next match; of one that is found in the text the line is not known.
    fn next(&mut self) -> Option<Hit> {
        match self {
            Self::Kept(hits) => hits.next().copied(),
            Self::Text { matches, number, text } => {
                let (start, end) = matches.next()?;
                Some(Hit {
                    start: start as u32,
                    end: end as u32,
                    line: 0,
                    atom: *number as u16,
                    word_start: is_word_start(text, start),
                    word_end: is_word_end(text, end),
                })
            }
        }
    }
}

fn order(hit: &Hit) -> (u32, Reverse<u32>, u16) {
    (hit.start, Reverse(hit.end), hit.atom)
}

impl Verifier<'_> {
    /// Puts the atoms' matches in order. Matches of several atoms are counted anew where not all
    /// of them were kept, so that every count is exact.
    pub(super) fn merge_hits(&mut self, verified: &mut Verified) -> Result<(), Interrupted> {
        let found = std::mem::take(&mut self.found);
        let merged = self.merged(&found, verified);
        self.found = found;
        let merged = merged?;
        verified.hits = merged.hits;
        verified.count = merged.count;
        verified.lines = merged.lines;
        Ok(())
    }

    fn merged(
        &mut self,
        found: &[Option<Found>],
        verified: &Verified,
    ) -> Result<Apart, Interrupted> {
        let sources: Vec<(usize, &Found)> = found
            .iter()
            .enumerate()
            .filter(|(number, _)| self.query.atoms[*number].positive)
            .filter_map(|(number, found)| Some((number, found.as_ref()?)))
            .filter(|(_, found)| found.count > 0)
            .collect();
        let is_whole = |found: &Found| found.hits.len() as u64 == found.count;
        let mut apart = Apart::default();
        if let [(_, found)] = sources[..] {
            apart.hits = found.hits[..found.hits.len().min(self.keep_hits)].to_vec();
            (apart.count, apart.lines) = (found.count, found.lines);
        } else if sources.iter().all(|(_, found)| is_whole(found)) {
            let mut hits: Vec<Hit> =
                sources.iter().flat_map(|(_, found)| found.hits.iter().copied()).collect();
            hits.sort_unstable_by_key(order);
            hits.into_iter().for_each(|hit| apart.push(hit, self.keep_hits));
        } else {
            let document = verified.document;
            let view = &self.segments[verified.segment as usize].view;
            self.load_whole(verified.segment, view.documents.get(document).blob)?;
            self.count_anew(&sources, &mut apart)?;
        }
        Ok(apart)
    }

    /// Goes through the matches of every source at once, in the whole text that is loaded.
    fn count_anew(
        &self,
        sources: &[(usize, &Found)],
        apart: &mut Apart,
    ) -> Result<(), Interrupted> {
        let text = self.whole.as_slice();
        let mut streams: Vec<_> = sources
            .iter()
            .map(|(number, found)| {
                let atom = &self.query.atoms[*number];
                match atom.symbol {
                    Some(_) => Stream::Kept(found.hits.iter()),
                    None => Stream::Text {
                        matches: Matches::new(atom, text, self.budget),
                        number: *number,
                        text,
                    },
                }
                .peekable()
            })
            .collect();
        let (mut counted, mut line, mut unchecked) = (0, 0, 0);
        loop {
            let heads = streams.iter_mut().enumerate();
            let first = heads
                .filter_map(|(place, stream)| stream.peek().map(|hit| (order(hit), place)))
                .min();
            let Some(mut hit) = first.and_then(|(_, place)| streams[place].next()) else {
                break;
            };
            let start = hit.start as usize;
            line += memchr::memchr_iter(b'\n', &text[counted..start]).count() as u32;
            counted = start;
            hit.line = line;
            apart.push(hit, self.keep_hits);
            unchecked += 1;
            if unchecked % MATCHES_PER_CHECK == 0 && !self.budget.go_on() {
                break;
            }
        }
        if self.budget.has_run_out() { Err(Interrupted::Budget) } else { Ok(()) }
    }
}

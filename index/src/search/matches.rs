//! The matches of one pattern in one text, found in steps that the time limit can end.

use super::budget::Budget;
use super::compile::{Atom, Finds};

/// Bytes that are searched between two looks at the clock, at least. A regular expression with many
/// states can take a microsecond for each.
const STEP: usize = 64 << 10;
/// With longer matches the text is searched at once: each step reads that far beyond its end.
const LONGEST: usize = 4 << 20;
/// Bytes behind a match that decide whether it is one: `\b` and `$` look at one character.
const LOOK_AHEAD: usize = 4;

/// Matches in ascending order, as the iterators of the `regex` crate give them: an empty one where
/// the last one ended is none. They end early when the budget runs out.
pub(super) struct Matches<'a> {
    finds: &'a Finds,
    longest: Option<usize>,
    in_lines: bool,
    text: &'a [u8],
    budget: &'a Budget,
    at: usize,
    last_end: Option<usize>,
}

impl<'a> Matches<'a> {
    /// Of an atom.
    pub(super) fn new(atom: &'a Atom, text: &'a [u8], budget: &'a Budget) -> Self {
        let longest = atom.plan.max_len.filter(|length| *length <= LONGEST);
        let in_lines = !atom.plan.crosses_lines;
        Self { finds: &atom.finds, longest, in_lines, text, budget, at: 0, last_end: None }
    }

    fn find_from(&self, mut from: usize) -> Option<(usize, usize)> {
        loop {
            let Some((step_end, text_end)) = self.step(from) else {
                return self.finds.find_at(self.text, from);
            };
            let found = self.finds.find_at(&self.text[..text_end], from);
            if found.is_some_and(|(start, _)| start < step_end) {
                return found;
            }
            if !self.budget.go_on() {
                return None;
            }
            from = step_end;
        }
    }

    /// Where the step from a place ends, and how much of the text decides on every match that
    /// starts in it; `None` for the last step.
    fn step(&self, from: usize) -> Option<(usize, usize)> {
        let (step_end, text_end) = match self.longest {
            Some(longest) => {
                let end = from.saturating_add(STEP.max(longest));
                (end, end.saturating_add(longest + LOOK_AHEAD))
            }
            None if self.in_lines => {
                let rest = self.text.get(from + STEP..)?;
                let end = from + STEP + memchr::memchr(b'\n', rest)? + 1;
                (end, end)
            }
            None => return None,
        };
        (text_end < self.text.len()).then_some((step_end, text_end))
    }
}

impl Iterator for Matches<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        let mut found = self.find_from(self.at)?;
        if found.0 == found.1 && Some(found.1) == self.last_end {
            if found.1 == self.text.len() {
                return None;
            }
            found = self.find_from(found.1 + 1)?;
        }
        (self.at, self.last_end) = (found.1, Some(found.1));
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::search::compile::compile_query;
    use crate::search::{Cancel, Limits};

    fn found(query: &str, text: &[u8]) -> Vec<(usize, usize)> {
        let budget = Budget::start(&Limits::default(), None, Cancel::default());
        let query = compile_query(query).unwrap();
        Matches::new(&query.atoms[0], text, &budget).collect()
    }

    #[test]
    fn steps_find_what_one_search_finds() {
        let mut text = b"ab".repeat(3 * STEP / 2);
        for at in [STEP / 2, STEP - 1, STEP + 9, STEP + 10] {
            text[at] = b'\n';
        }
        for at in [0, STEP - 5, STEP, 2 * STEP - 1, 2 * STEP + 1, text.len() - 4] {
            text[at..at + 4].copy_from_slice("_\u{e9}_".as_bytes());
        }
        for source in [
            "a_",
            "\u{e9}",
            r"_\x{e9}_",
            r"(?-u:\xa9)_",
            r"b{0}",
            r"\b\w{1,9}\b",
            r"[_b]{2}",
            r"\z",
            r"_$",
            "x*",
            r"(?:ab){1,30000}",
            r"\B_",
            "a.*_",
            r"^b+.*$",
        ] {
            let regex = regex::bytes::RegexBuilder::new(source)
                .multi_line(true)
                .crlf(true)
                .case_insensitive(true)
                .build()
                .unwrap();
            let whole: Vec<_> =
                regex.find_iter(&text).map(|found| (found.start(), found.end())).collect();
            assert!(found(&format!("content:/{source}/"), &text) == whole, "{source}");
        }
    }

    #[test]
    fn the_clock_ends_a_search() {
        let budget = Budget::start(
            &Limits { deadline: std::time::Duration::ZERO, ..Limits::default() },
            None,
            Cancel::default(),
        );
        let query = compile_query("/[^b]b/").unwrap();
        let mut text = b"b".repeat(4 * STEP);
        text[3 * STEP] = b'a';
        assert_eq!(Matches::new(&query.atoms[0], &text, &budget).next(), None);
        assert!(budget.stopped().is_some());
    }
}

//! The programs that are compared, behind one interface.

pub(crate) mod aeterna;
pub(crate) mod codesearch;
pub(crate) mod ripgrep;
pub(crate) mod zoekt;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::patterns::Pattern;

/// How many files a first page has.
pub(crate) const PAGE: usize = 50;

/// How much of an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Want {
    /// The best `PAGE` files, with the lines around their matches.
    FirstPage,
    /// How often each file matches.
    Counts,
    /// Every line that matches, with its text.
    Every,
}

impl Want {
    /// As tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FirstPage => "first page",
            Self::Counts => "counts of every file",
            Self::Every => "every match",
        }
    }
}

/// The number of matching lines of each file that has some; paths as bytes made readable.
pub(crate) type Matches = BTreeMap<String, u64>;

/// What an engine answered, and how long that took. What is not part of the answer's time is done later.
pub(crate) struct Found {
    pub(crate) elapsed: Duration,
    /// Turns the answer into `Matches`.
    pub(crate) matches: Box<dyn FnOnce() -> Result<Matches>>,
}

/// Something that searches the corpus for a pattern, case-sensitively, in contents.
pub(crate) trait Engine {
    /// As tables call it.
    fn name(&self) -> &'static str;

    /// What it is asked for; the first alone where patterns have millions of matches.
    fn wants(&self) -> &'static [Want];

    /// Searches, and reads the answer to its last byte.
    fn search(&mut self, pattern: &Pattern, want: Want) -> Result<Found>;
}

/// What `grep --count` prints with a NUL after the path: `path NUL count newline`.
fn parse_counts(output: &[u8], separator: u8, prefix: &str) -> Matches {
    let mut matches = Matches::new();
    for line in output.split(|byte| *byte == b'\n') {
        let Some(at) = line.iter().rposition(|byte| *byte == separator) else {
            continue;
        };
        let path = String::from_utf8_lossy(&line[..at]);
        let count = String::from_utf8_lossy(&line[at + 1..]);
        if let Ok(count) = count.trim().parse::<u64>() {
            let path = path.strip_prefix(prefix).unwrap_or(&path);
            matches.insert(path.to_owned(), count);
        }
    }
    matches
}

/// The regex that matches these very bytes, in Go's and Rust's syntax, and without a character that a query language
/// could take for its own.
fn escaped(literal: &str) -> String {
    let mut escaped = String::with_capacity(literal.len());
    for c in literal.chars() {
        if c.is_alphanumeric() || c == '_' {
            escaped.push(c);
        } else {
            escaped.push_str(&format!("\\x{{{:x}}}", u32::from(c)));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read() {
        let matches = parse_counts(b"./a:b.c\x002\n./d\x0013\n", 0, "./");
        assert_eq!(matches, Matches::from([("a:b.c".to_owned(), 2), ("d".to_owned(), 13)]));
    }

    #[test]
    fn nothing_is_left_that_could_be_syntax() {
        assert_eq!(escaped("a_1 (\"x\")"), r"a_1\x{20}\x{28}\x{22}x\x{22}\x{29}");
    }
}

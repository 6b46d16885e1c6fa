//! What is searched for: patterns sampled from the corpus with a fixed seed, so that every run asks the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Files that are read for patterns; one of this size is read whole.
const LARGEST_FILE: u64 = 1 << 20;
/// So that a corpus without text ends with an error, not never.
const MOST_TRIES: usize = 100_000;

/// How a pattern is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// These very bytes.
    Literal,
    /// A regular expression that Rust's `regex` and RE2 read alike.
    Regex,
}

/// Something to search file contents for, case-sensitively.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Pattern {
    pub(crate) text: String,
    pub(crate) kind: Kind,
}

impl Pattern {
    fn regex(text: impl Into<String>) -> Self {
        Self { text: text.into(), kind: Kind::Regex }
    }
}

/// Regexes that no trigram narrows: every byte must be looked at.
pub(crate) fn without_trigrams() -> Vec<Pattern> {
    ["[A-Z]{4}[0-9]{5}", "if", "[0-9]{3}-[0-9]{2}-", "[a-f]{9}", "q[^u\\n]z"]
        .into_iter()
        .map(Pattern::regex)
        .collect()
}

/// The regexes of the first measurements, each hard in its own way.
const FIXED: [&str; 6] = [
    r"kmalloc\([a-z]+, GFP_ATOMIC\)",
    "(read|write)_lock_irqsave",
    "[a-z]{3}_[0-9]{4}_init",
    r"static (inline )?int [a-z_]+_probe\(",
    "(EINVAL|ENOMEM|ENODEV);",
    "0x[0-9a-f]{8}, 0x[0-9a-f]{8}",
];

/// The generator of everything random here: splitmix64, which is the same everywhere and forever.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..end`; 0 when `end` is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u128::try_from(end).unwrap_or_default();
        usize::try_from((u128::from(self.next()) * end) >> 64).unwrap_or_default()
    }

    /// One of `items`.
    pub(crate) fn choose<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }
}

/// Draws patterns from the text files of a folder.
pub(crate) struct Sampler<'a> {
    root: &'a Path,
    files: &'a [PathBuf],
    random: Random,
}

impl<'a> Sampler<'a> {
    /// `files` are relative to `root`, and in an order that does not change.
    pub(crate) fn new(root: &'a Path, files: &'a [PathBuf], seed: u64) -> Self {
        Self { root, files, random: Random::new(seed) }
    }

    /// `count` different literals, as people type them: names, parts of names, calls, pieces of lines.
    pub(crate) fn literals(&mut self, count: usize) -> Result<Vec<Pattern>> {
        self.distinct(count, Kind::Literal, Self::literal)
    }

    /// `count` different regexes: fixed ones first, then such as are made of what the corpus has.
    pub(crate) fn regexes(&mut self, count: usize) -> Result<Vec<Pattern>> {
        let mut patterns: Vec<Pattern> =
            FIXED.into_iter().take(count).map(Pattern::regex).collect();
        let more = self.distinct(count - patterns.len(), Kind::Regex, Self::regex_text)?;
        patterns.extend(more);
        Ok(patterns)
    }

    fn distinct(
        &mut self,
        count: usize,
        kind: Kind,
        draw: impl Fn(&mut Self) -> Result<Option<String>>,
    ) -> Result<Vec<Pattern>> {
        let mut seen = BTreeSet::new();
        let mut patterns = Vec::new();
        for _ in 0..MOST_TRIES {
            if patterns.len() == count {
                return Ok(patterns);
            }
            if let Some(text) = draw(self)?
                && seen.insert(text.clone())
            {
                patterns.push(Pattern { text, kind });
            }
        }
        bail!("{} has too little text to sample {count} patterns from", self.root.display())
    }

    fn literal(&mut self) -> Result<Option<String>> {
        let Some(line) = self.line()? else {
            return Ok(None);
        };
        let tokens = tokens(&line);
        let choice = self.random.below(100);
        let Some(&(start, end)) = self.random.choose(&tokens) else {
            return Ok(None);
        };
        let name = &line[start..end];
        Ok(match choice {
            // The whole name.
            0..35 => Some(name.to_owned()),
            // Its beginning, as while one still types.
            35..50 => {
                let length = 3 + self.random.below(name.len() - 2);
                Some(name[..length].to_owned())
            }
            // A piece from its middle.
            50..60 => self.slice(name, 3, 12),
            // Some neighbouring tokens with what is between them.
            60..85 => {
                let following: Vec<_> = tokens.iter().filter(|token| token.0 > start).collect();
                let last = following.get(self.random.below(following.len().min(3)));
                last.map(|token| line[start..token.1].to_owned())
            }
            // Any piece of the line.
            _ => self.slice(&line, 8, 40),
        }
        .filter(|text| text.trim() == text && text.len() >= 3))
    }

    fn slice(&mut self, text: &str, shortest: usize, longest: usize) -> Option<String> {
        let length = shortest + self.random.below(longest - shortest + 1);
        let length = length.min(text.len());
        let start = self.random.below(text.len() - length + 1);
        text.get(start..start + length).map(str::to_owned)
    }

    fn regex_text(&mut self) -> Result<Option<String>> {
        let (Some(one), Some(other)) = (self.name()?, self.name()?) else {
            return Ok(None);
        };
        let half = one.len() / 2;
        Ok(Some(match self.random.below(7) {
            0 => format!(r"\b{one}\b"),
            1 => format!("{}[a-z0-9_]+", &one[..half.max(3)]),
            2 => format!("({one}|{other})"),
            3 => format!(r"{one} *\("),
            4 => format!("{}[A-Za-z0-9_]*{}", &one[..half], &one[half + 1..]),
            5 => {
                let at = 1 + self.random.below(one.len() - 1);
                format!("{}[A-Za-z0-9_]{}", &one[..at], &one[at + 1..])
            }
            _ => {
                let Some(line) = self.line()? else {
                    return Ok(None);
                };
                match tokens(&line).as_slice() {
                    [first, .., last] => {
                        format!("{}.*{}", &line[first.0..first.1], &line[last.0..last.1])
                    }
                    _ => return Ok(None),
                }
            }
        }))
    }

    /// A name of at least five characters.
    fn name(&mut self) -> Result<Option<String>> {
        let Some(line) = self.line()? else {
            return Ok(None);
        };
        let long: Vec<_> = tokens(&line).into_iter().filter(|(s, e)| e - s >= 5).collect();
        Ok(self.random.choose(&long).map(|(start, end)| line[*start..*end].to_owned()))
    }

    /// A printable ASCII line of any file, each file being as likely as the others.
    fn line(&mut self) -> Result<Option<String>> {
        let Some(file) = self.random.choose(self.files) else {
            return Ok(None);
        };
        let path = self.root.join(file);
        let metadata =
            fs::symlink_metadata(&path).with_context(|| format!("{} is gone", path.display()))?;
        if !metadata.is_file() || metadata.len() > LARGEST_FILE {
            return Ok(None);
        }
        let bytes = fs::read(&path)?;
        let Ok(text) = String::from_utf8(bytes) else {
            return Ok(None);
        };
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| line.len() >= 3 && line.bytes().all(|b| (b' '..0x7f).contains(&b)))
            .collect();
        Ok(self.random.choose(&lines).map(|line| (*line).to_owned()))
    }
}

/// Where the names in `line` of at least three characters begin and end.
fn tokens(line: &str) -> Vec<(usize, usize)> {
    let mut tokens = Vec::new();
    let mut start = None;
    for (at, byte) in line.bytes().chain([b' ']).enumerate() {
        let in_name = byte.is_ascii_alphanumeric() || byte == b'_';
        match (start, in_name) {
            (None, true) => start = Some(at),
            (Some(begun), false) => {
                if at - begun >= 3 {
                    tokens.push((begun, at));
                }
                start = None;
            }
            _ => {}
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found() {
        assert_eq!(tokens("if (foo_bar(a1b, x))"), [(4, 11), (12, 15)]);
    }

    #[test]
    fn the_generator_never_changes() {
        // From the reference implementation of splitmix64 with seed 1234567.
        let mut random = Random::new(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn the_same_seed_gives_the_same_patterns_and_all_occur() {
        let folder = tempfile::tempdir().unwrap();
        let text: String = (0..200)
            .map(|n| format!("static int name_{n}(struct thing_{n} *argument) {{ return {n}; }}\n"))
            .collect();
        fs::write(folder.path().join("a.c"), &text).unwrap();
        fs::write(folder.path().join("b.bin"), [0, 159, 146, 150]).unwrap();
        let files = [PathBuf::from("a.c"), PathBuf::from("b.bin")];
        let sample = |seed| {
            let mut sampler = Sampler::new(folder.path(), &files, seed);
            (sampler.literals(40).unwrap(), sampler.regexes(30).unwrap())
        };
        let (literals, regexes) = sample(1);
        assert_eq!((literals.clone(), regexes.clone()), sample(1));
        assert_ne!(literals, sample(2).0);
        assert!(literals.iter().all(|pattern| text.contains(&pattern.text)));
        assert_eq!((literals.len(), regexes.len()), (40, 30));
    }

    #[test]
    fn a_corpus_without_text_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Sampler::new(folder.path(), &[], 1).literals(1).is_err());
    }
}

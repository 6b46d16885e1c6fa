//! How long searches take, and whether the answers are the same.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::engines::{Engine, Matches, Want};
use super::measure::Distribution;
use super::patterns::Pattern;
use super::results::{AgainstScan, Agreement, Latency};

const SLOWEST_SHOWN: usize = 5;

/// The patterns of a run, by the name of their set.
pub(crate) struct Sets {
    pub(crate) literals: Vec<Pattern>,
    pub(crate) regexes: Vec<Pattern>,
    pub(crate) without_trigrams: Vec<Pattern>,
}

impl Sets {
    /// Name, patterns, and whether every match is asked for too.
    fn all(&self) -> [(&'static str, &[Pattern], bool); 3] {
        [
            ("literals", &self.literals, true),
            ("regexes", &self.regexes, true),
            // Millions of matches: nobody asks for all of them.
            ("no trigram", &self.without_trigrams, false),
        ]
    }
}

/// Numbers instead of paths: an answer has thousands, a run has hundreds of answers.
#[derive(Default)]
pub(crate) struct Paths {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
}

impl Paths {
    fn number(&mut self, path: String) -> u32 {
        if let Some(number) = self.numbers.get(&path) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(path.clone());
        self.numbers.insert(path, number);
        number
    }

    fn name(&self, number: u32) -> &str {
        self.names.get(number as usize).map_or("?", String::as_str)
    }
}

/// One engine's complete answers, with the time of each.
#[derive(Default)]
pub(crate) struct Answers {
    by_pattern: BTreeMap<Pattern, (Duration, BTreeMap<u32, u64>)>,
}

/// Asks `engine` everything, `repetitions` times, and keeps the better times.
pub(crate) fn measure(
    engine: &mut dyn Engine,
    sets: &Sets,
    repetitions: usize,
    paths: &mut Paths,
) -> Result<(Vec<Latency>, Answers)> {
    let mut latencies = Vec::new();
    let mut answers = Answers::default();
    for (set, patterns, every_too) in sets.all() {
        if engine.has_pages() {
            let times = repeat(engine, patterns, Want::FirstPage, repetitions, |_, _| ())?;
            latencies.push(summary(engine, set, "first page", patterns, &times));
        }
        if every_too || !engine.has_pages() {
            let mut found = BTreeMap::new();
            let times = repeat(engine, patterns, Want::Every, repetitions, |pattern, matches| {
                let numbered = matches.into_iter().map(|(path, lines)| (paths.number(path), lines));
                found.insert(pattern.clone(), numbered.collect());
            })?;
            latencies.push(summary(engine, set, "every match", patterns, &times));
            if every_too {
                for (pattern, time) in patterns.iter().zip(&times) {
                    let matches = found.remove(pattern).unwrap_or_default();
                    answers.by_pattern.insert(pattern.clone(), (*time, matches));
                }
            }
        }
    }
    Ok((latencies, answers))
}

/// The times of the repetition that took less in sum. The last one's answers are taken apart, each
/// after its time was taken.
fn repeat(
    engine: &mut dyn Engine,
    patterns: &[Pattern],
    want: Want,
    repetitions: usize,
    mut keep: impl FnMut(&Pattern, Matches),
) -> Result<Vec<Duration>> {
    let mut best: Option<Vec<Duration>> = None;
    for repetition in 1..=repetitions.max(1) {
        let mut times = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            let name = engine.name();
            let context = || format!("{name}: {}", pattern.text);
            let found = engine.search(pattern, want).with_context(context)?;
            times.push(found.elapsed);
            if repetition == repetitions.max(1) && want == Want::Every {
                keep(pattern, (found.matches)().with_context(context)?);
            }
        }
        let sum = |times: &[Duration]| times.iter().sum::<Duration>();
        if best.as_ref().is_none_or(|best| sum(&times) < sum(best)) {
            best = Some(times);
        }
    }
    Ok(best.unwrap_or_default())
}

fn summary(
    engine: &dyn Engine,
    set: &str,
    want: &str,
    patterns: &[Pattern],
    times: &[Duration],
) -> Latency {
    let mut slowest: Vec<(String, f64)> = patterns
        .iter()
        .zip(times)
        .map(|(pattern, time)| (pattern.text.clone(), time.as_secs_f64() * 1000.0))
        .collect();
    slowest.sort_by(|a, b| b.1.total_cmp(&a.1));
    slowest.truncate(SLOWEST_SHOWN);
    let times = Distribution::of(times);
    println!(
        "{}, {set}, {want}: p50 {:.1}, p95 {:.1}, p99 {:.1}, max {:.1} ms",
        engine.name(),
        times.p50,
        times.p95,
        times.p99,
        times.max
    );
    Latency { engine: engine.name().into(), set: set.into(), want: want.into(), times, slowest }
}

/// Compares our time for every match with the scan's, pattern by pattern.
pub(crate) fn against_scan(ours: &Answers, scan: &Answers) -> AgainstScan {
    let mut slower = Vec::new();
    let mut worst_ratio: f64 = 0.0;
    for (pattern, (time, _)) in &ours.by_pattern {
        let Some((scan_time, _)) = scan.by_pattern.get(pattern) else {
            continue;
        };
        let (time, scan_time) = (time.as_secs_f64() * 1000.0, scan_time.as_secs_f64() * 1000.0);
        worst_ratio = worst_ratio.max(time / scan_time);
        if time > scan_time {
            slower.push((pattern.text.clone(), time, scan_time));
        }
    }
    AgainstScan { patterns: ours.by_pattern.len(), slower, worst_ratio }
}

/// Compares an engine's answers with the scan's, file by file, and says why they differ.
pub(crate) fn agreement(
    engine: &str,
    answers: &Answers,
    scan: &Answers,
    paths: &Paths,
    tree: &Path,
) -> Agreement {
    let mut same = 0;
    let mut reasons: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut known = HashMap::new();
    for (pattern, (_, matches)) in &answers.by_pattern {
        let Some((_, expected)) = scan.by_pattern.get(pattern) else {
            continue;
        };
        if matches == expected {
            same += 1;
            continue;
        }
        let mut files: Vec<u32> = matches.keys().chain(expected.keys()).copied().collect();
        files.sort_unstable();
        files.dedup();
        for file in files {
            let (has, wanted) = (matches.get(&file), expected.get(&file));
            if has == wanted {
                continue;
            }
            let name = paths.name(file);
            let reason = match (has, wanted) {
                (None, Some(_)) => {
                    let why = known.entry(file).or_insert_with(|| peculiarity(&tree.join(name)));
                    format!("file missing: {why}")
                }
                (Some(_), None) => "file that ripgrep has no match in".to_owned(),
                _ => "another number of lines".to_owned(),
            };
            let count = |lines: Option<&u64>| lines.copied().unwrap_or_default();
            let example = format!(
                "{} in {name}: {} lines, ripgrep {}",
                pattern.text,
                count(has),
                count(wanted)
            );
            reasons.entry(reason).or_insert((0, example)).0 += 1;
        }
    }
    let patterns = answers.by_pattern.len();
    println!("{engine} agrees with ripgrep on {same} of {patterns} patterns");
    for (reason, (count, example)) in &reasons {
        println!("  {count} × {reason}, such as {example}");
    }
    Agreement { engine: engine.to_owned(), patterns, same, reasons }
}

/// What about a file makes indexers leave it out.
fn peculiarity(path: &Path) -> String {
    let Ok(bytes) = fs::read(path) else {
        return "it cannot be read".to_owned();
    };
    let mut trigrams: Vec<&[u8]> = bytes.windows(3).collect();
    trigrams.sort_unstable();
    trigrams.dedup();
    let longest = bytes.split(|byte| *byte == b'\n').map(<[u8]>::len).max().unwrap_or_default();
    if bytes.contains(&0) {
        "it has a NUL byte"
    } else if bytes.len() > 2 << 20 {
        "larger than 2 MiB"
    } else if trigrams.len() > 20_000 {
        "more than 20,000 different trigrams"
    } else if longest > 2000 {
        "a line longer than 2,000 bytes"
    } else if std::str::from_utf8(&bytes).is_err() {
        "not UTF-8"
    } else {
        "for no reason that is visible in the file"
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::engines::Found;
    use crate::bench::patterns::Kind;

    struct Fake(u64);

    impl Engine for Fake {
        fn name(&self) -> &'static str {
            "fake"
        }

        fn has_pages(&self) -> bool {
            true
        }

        fn search(&mut self, pattern: &Pattern, _want: Want) -> Result<Found> {
            let matches = Matches::from([("small".to_owned(), self.0), (pattern.text.clone(), 1)]);
            Ok(Found { elapsed: Duration::from_millis(self.0), matches: Box::new(|| Ok(matches)) })
        }
    }

    fn sets() -> Sets {
        let literal = |text: &str| Pattern { text: text.to_owned(), kind: Kind::Literal };
        Sets {
            literals: vec![literal("one"), literal("two")],
            regexes: Vec::new(),
            without_trigrams: Vec::new(),
        }
    }

    #[test]
    fn answers_are_compared_file_by_file() {
        let mut paths = Paths::default();
        let (latencies, ours) = measure(&mut Fake(3), &sets(), 2, &mut paths).unwrap();
        assert_eq!(latencies.iter().map(|l| l.times.p50).fold(0.0, f64::max), 3.0);
        let (_, scan) = measure(&mut Fake(2), &sets(), 1, &mut paths).unwrap();
        let tree = Path::new("");
        let different = agreement("ours", &ours, &scan, &paths, tree);
        assert_eq!((different.patterns, different.same), (2, 0));
        assert_eq!(different.reasons["another number of lines"].0, 2);
        assert_eq!(agreement("ours", &ours, &ours, &paths, tree).same, 2);
        let against = against_scan(&ours, &scan);
        assert_eq!((against.slower.len(), against.worst_ratio), (2, 1.5));
    }
}

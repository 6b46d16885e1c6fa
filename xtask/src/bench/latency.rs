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
    /// Name, patterns, and whether all of them are asked for.
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
    by_pattern: BTreeMap<Pattern, BTreeMap<u32, u64>>,
    times: BTreeMap<(Want, Pattern), Duration>,
}

/// What was measured of one engine.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) latencies: Vec<Latency>,
    pub(crate) answers: Answers,
}

/// Asks the engines everything, `repetitions` times, and keeps the better times. They take turns, so
/// that what else the machine does meanwhile falls on all of them.
pub(crate) fn measure(
    engines: &mut [&mut dyn Engine],
    sets: &Sets,
    repetitions: usize,
    paths: &mut Paths,
) -> Result<Vec<Figures>> {
    let mut figures: Vec<Figures> = engines.iter().map(|_| Figures::default()).collect();
    for (set, patterns, all_too) in sets.all() {
        for want in [Want::FirstPage, Want::Counts, Want::Every] {
            let is_asked = |engine: &dyn Engine| {
                engine.wants().contains(&want) && (all_too || engine.wants()[0] == want)
            };
            let all = engines.iter_mut().zip(&mut figures);
            let mut asked: Vec<_> = all.filter(|(engine, _)| is_asked(&***engine)).collect();
            let keep = if all_too { Some(&mut *paths) } else { None };
            take_turns(&mut asked, set, patterns, want, repetitions.max(1), keep)?;
        }
    }
    Ok(figures)
}

/// Asks each engine for all patterns, again and again, and adds the better times to its figures. With
/// paths, the last answers with the most in them are kept.
fn take_turns(
    asked: &mut [(&mut &mut dyn Engine, &mut Figures)],
    set: &str,
    patterns: &[Pattern],
    want: Want,
    repetitions: usize,
    mut paths: Option<&mut Paths>,
) -> Result<()> {
    let sum = |times: &[Duration]| times.iter().sum::<Duration>();
    let mut best: Vec<Vec<Duration>> = asked.iter().map(|_| Vec::new()).collect();
    for repetition in 1..=repetitions {
        for ((engine, figures), best) in asked.iter_mut().zip(&mut best) {
            let is_kept = repetition == repetitions && engine.wants().iter().max() == Some(&want);
            let mut paths = paths.as_deref_mut().filter(|_| is_kept);
            let times = pass(&mut ***engine, patterns, want, |pattern, matches| {
                let Some(paths) = &mut paths else { return Ok(()) };
                let matches = matches()?.into_iter();
                let numbered = matches.map(|(path, lines)| (paths.number(path), lines)).collect();
                figures.answers.by_pattern.insert(pattern.clone(), numbered);
                Ok(())
            })?;
            if best.is_empty() || sum(&times) < sum(best) {
                *best = times;
            }
        }
    }
    for ((engine, figures), times) in asked.iter_mut().zip(best) {
        figures.latencies.push(summary(engine.name(), set, want, patterns, &times));
        let questions = patterns.iter().map(|pattern| (want, pattern.clone()));
        figures.answers.times.extend(questions.zip(times));
    }
    Ok(())
}

/// The times of all patterns. `keep` gets each answer, after its time was taken.
fn pass(
    engine: &mut dyn Engine,
    patterns: &[Pattern],
    want: Want,
    mut keep: impl FnMut(&Pattern, Box<dyn FnOnce() -> Result<Matches>>) -> Result<()>,
) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(patterns.len());
    for pattern in patterns {
        let name = engine.name();
        let context = || format!("{name}: {}", pattern.text);
        let found = engine.search(pattern, want).with_context(context)?;
        times.push(found.elapsed);
        keep(pattern, found.matches).with_context(context)?;
    }
    Ok(times)
}

fn summary(
    engine: &str,
    set: &str,
    want: Want,
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
        "{engine}, {set}, {}: p50 {:.1}, p95 {:.1}, p99 {:.1}, max {:.1} ms",
        want.name(),
        times.p50,
        times.p95,
        times.p99,
        times.max
    );
    Latency { engine: engine.into(), set: set.into(), want: want.name().into(), times, slowest }
}

/// Compares our times with the scan's, pattern by pattern.
pub(crate) fn against_scan(ours: &Answers, want: Want, scan: &Answers) -> AgainstScan {
    let mut slower = Vec::new();
    let mut worst_ratio: f64 = 0.0;
    let mut patterns = 0;
    for ((_, pattern), time) in ours.times.iter().filter(|((wanted, _), _)| *wanted == want) {
        let Some(scan_time) = scan.times.get(&(Want::Counts, pattern.clone())) else {
            continue;
        };
        patterns += 1;
        let (time, scan_time) = (time.as_secs_f64() * 1000.0, scan_time.as_secs_f64() * 1000.0);
        worst_ratio = worst_ratio.max(time / scan_time);
        if time > scan_time {
            slower.push((pattern.text.clone(), time, scan_time));
        }
    }
    AgainstScan { want: want.name().to_owned(), patterns, slower, worst_ratio }
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
    for (pattern, matches) in &answers.by_pattern {
        let Some(expected) = scan.by_pattern.get(pattern) else {
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

        fn wants(&self) -> &'static [Want] {
            &[Want::FirstPage, Want::Counts]
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
        let (mut slow, mut quick) = (Fake(3), Fake(2));
        let mut engines: [&mut dyn Engine; 2] = [&mut slow, &mut quick];
        let measured = measure(&mut engines, &sets(), 2, &mut paths).unwrap();
        let [ours, scan] = measured.as_slice() else { panic!("two engines were asked") };
        let asked = ours.latencies.iter().filter(|row| row.times.count > 0);
        assert_eq!(asked.map(|row| row.times.p50).collect::<Vec<_>>(), [3.0; 2]);
        let (ours, scan) = (&ours.answers, &scan.answers);
        let tree = Path::new("");
        let different = agreement("ours", ours, scan, &paths, tree);
        assert_eq!((different.patterns, different.same), (2, 0));
        assert_eq!(different.reasons["another number of lines"].0, 2);
        assert_eq!(agreement("ours", ours, ours, &paths, tree).same, 2);
        let against = against_scan(ours, Want::FirstPage, scan);
        assert_eq!((against.slower.len(), against.worst_ratio), (2, 1.5));
    }
}

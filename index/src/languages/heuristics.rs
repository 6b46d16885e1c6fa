//! Linguist's rules that tell languages with a common extension apart by content.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

use super::Language;

static DATA: &str = include_str!("data/heuristics.json");

static BLOCKS: LazyLock<Blocks> = LazyLock::new(|| Blocks::parse(DATA));

/// Bytes of a file that the rules look at. Linguist reads 50 KiB; the difference is files with
/// such a preface, and this is called for every header file of a repository.
const CONSIDERED: usize = 16 * 1024;

#[derive(Deserialize)]
struct Block {
    extensions: Vec<String>,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    languages: Vec<String>,
    all: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    pattern: Option<String>,
    not: Option<String>,
    /// Compiled when it is first needed: few of the patterns ever are.
    #[serde(skip)]
    compiled: OnceLock<Option<Regex>>,
}

struct Blocks {
    blocks: Vec<Block>,
    by_extension: HashMap<String, usize>,
}

impl Blocks {
    fn parse(data: &str) -> Self {
        let blocks: Vec<Block> = serde_json::from_str(data).unwrap_or_default();
        let by_extension = blocks
            .iter()
            .enumerate()
            .flat_map(|(index, block)| block.extensions.iter().map(move |e| (e.clone(), index)))
            .collect();
        Self { blocks, by_extension }
    }
}

impl Condition {
    fn regex(&self) -> Option<&Regex> {
        let pattern = self.pattern.as_ref().or(self.not.as_ref())?;
        self.compiled.get_or_init(|| compile(pattern)).as_ref()
    }

    fn holds(&self, content: &[u8]) -> bool {
        let wanted = self.pattern.is_some();
        self.regex().is_some_and(|regex| regex.is_match(content) == wanted)
    }
}

/// Ruby's `^` and `$` are those of lines, and its blobs are bytes.
fn compile(pattern: &str) -> Option<Regex> {
    RegexBuilder::new(pattern).multi_line(true).unicode(false).build().ok()
}

/// Whether there are rules for this lower-case extension, and the languages that the first rule
/// that holds gives; empty where none holds.
pub(super) fn languages(extension: &str, content: &[u8]) -> Vec<Language> {
    let Some(&index) = BLOCKS.by_extension.get(extension) else {
        return Vec::new();
    };
    let content = content.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(content);
    let content = &content[..content.len().min(CONSIDERED)];
    let holds = |rule: &&Rule| rule.all.iter().all(|condition| condition.holds(content));
    BLOCKS.blocks[index]
        .rules
        .iter()
        .find(holds)
        .map(|rule| rule.languages.iter().filter_map(|name| Language::from_name(name)).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles_and_every_language_exists() {
        assert!(BLOCKS.blocks.len() > 100);
        for block in &BLOCKS.blocks {
            for rule in &block.rules {
                for name in &rule.languages {
                    assert!(Language::from_name(name).is_some(), "{name}");
                }
                for condition in &rule.all {
                    let pattern = condition.pattern.as_ref().or(condition.not.as_ref());
                    assert!(condition.regex().is_some(), "{:?}: {pattern:?}", block.extensions);
                }
            }
        }
    }
}

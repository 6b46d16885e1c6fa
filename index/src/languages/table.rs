//! Linguist's languages, read once from the text that is built in.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::{Language, LanguageType};

static DATA: &str = include_str!("data/languages.tsv");

pub(super) static TABLE: LazyLock<Table> = LazyLock::new(|| Table::parse(DATA));

/// One line of the data.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) language_type: LanguageType,
    pub(super) group: &'static str,
    pub(super) aliases: Vec<&'static str>,
    extensions: Vec<&'static str>,
}

/// The languages and the ways to find them.
#[derive(Default)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
    /// By folded name and alias.
    pub(super) by_name: HashMap<String, Language>,
    /// By lower-case extension with its dot.
    pub(super) by_extension: HashMap<String, Vec<Language>>,
    pub(super) by_file_name: HashMap<&'static str, Vec<Language>>,
    pub(super) by_interpreter: HashMap<&'static str, Vec<Language>>,
}

impl Table {
    fn parse(data: &'static str) -> Self {
        let mut table = Self::default();
        for line in data.lines().filter(|line| !line.starts_with("# ")) {
            table.add(line);
        }
        table.add_aliases();
        table
    }

    fn add(&mut self, line: &'static str) {
        let mut fields = line.split('\t');
        let mut next = || fields.next().unwrap_or_default();
        let (name, language_type, group) = (next(), language_type(next()), next());
        let [aliases, extensions, file_names, interpreters] = [(); 4].map(|()| list(next()));
        let Ok(index) = u16::try_from(self.entries.len()) else {
            return;
        };
        let language = Language(index);
        for extension in &extensions {
            let key = extension.to_ascii_lowercase();
            let languages = self.by_extension.entry(key).or_default();
            if !languages.contains(&language) {
                languages.push(language);
            }
        }
        for name in file_names {
            self.by_file_name.entry(name).or_default().push(language);
        }
        for name in interpreters {
            self.by_interpreter.entry(name).or_default().push(language);
        }
        self.entries.push(Entry { name, language_type, group, aliases, extensions });
    }

    /// After all names, so that no alias hides a name.
    fn add_aliases(&mut self) {
        for (entry, language) in self.entries.iter().zip((0..).map(Language)) {
            self.by_name.insert(folded(entry.name), language);
        }
        for (entry, language) in self.entries.iter().zip((0..).map(Language)) {
            for alias in &entry.aliases {
                self.by_name.entry(folded(alias)).or_insert(language);
            }
        }
    }

    /// Whether linguist lists `extension` first among those of `language`.
    pub(super) fn is_primary(&self, language: Language, extension: &[u8]) -> bool {
        self.entries
            .get(usize::from(language.0))
            .and_then(|entry| entry.extensions.first())
            .is_some_and(|first| first.as_bytes().eq_ignore_ascii_case(extension))
    }
}

fn list(field: &'static str) -> Vec<&'static str> {
    field.split('|').filter(|item| !item.is_empty()).collect()
}

fn language_type(name: &str) -> LanguageType {
    match name {
        "programming" => LanguageType::Programming,
        "markup" => LanguageType::Markup,
        "prose" => LanguageType::Prose,
        _ => LanguageType::Data,
    }
}

/// A name as it is compared: lower case, spaces as dashes.
pub(super) fn folded(name: &str) -> String {
    name.trim().to_lowercase().replace(' ', "-")
}

/// How many names are suggested.
const MAX_SUGGESTIONS: usize = 5;
/// A longer name is not compared: no language has one.
const MAX_COMPARED: usize = 64;

pub(super) fn nearest(name: &str) -> Vec<&'static str> {
    let wanted = folded(name);
    if wanted.is_empty() || wanted.len() > MAX_COMPARED {
        return Vec::new();
    }
    let mut found: Vec<(usize, bool, &'static str)> = Vec::new();
    for entry in &TABLE.entries {
        let names = std::iter::once(&entry.name).chain(&entry.aliases);
        if let Some(distance) = names.filter_map(|other| distance(&wanted, &folded(other))).min() {
            let unusual = entry.language_type != LanguageType::Programming;
            found.push((distance, unusual, entry.name));
        }
    }
    found.sort_unstable();
    found.truncate(MAX_SUGGESTIONS);
    found.into_iter().map(|(_, _, name)| name).collect()
}

/// How many letters differ, where they are few enough for a slip; a beginning counts as one slip.
fn distance(wanted: &str, other: &str) -> Option<usize> {
    let allowed = (wanted.len() / 3).clamp(1, 3);
    if wanted.len() >= 2 && other.starts_with(wanted) {
        return Some(1);
    }
    if wanted.len().abs_diff(other.len()) > allowed {
        return None;
    }
    let distance = edits(wanted.as_bytes(), other.as_bytes());
    (distance <= allowed).then_some(distance)
}

/// Edits between two words; two letters that changed places are one edit.
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = row[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            next[j] = replaced.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                next[j] = next[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

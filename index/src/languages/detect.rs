//! Which language a file is in, by linguist's strategies in linguist's order.

use super::table::TABLE;
use super::{Language, base_name, heuristics, modeline, shebang};

/// Languages that win over rarer ones with the same extension where no rule decides, the most
/// common first.
const COMMON: [&str; 30] = [
    "JavaScript",
    "Python",
    "Java",
    "TypeScript",
    "C#",
    "C++",
    "C",
    "PHP",
    "Shell",
    "Go",
    "Rust",
    "Ruby",
    "Kotlin",
    "Swift",
    "Scala",
    "Objective-C",
    "Perl",
    "Haskell",
    "Lua",
    "R",
    "MATLAB",
    "Assembly",
    "SQL",
    "HTML",
    "CSS",
    "XML",
    "JSON",
    "YAML",
    "Markdown",
    "Text",
];
/// A longer extension is of no language.
const MAX_EXTENSION: usize = 32;
/// Bytes in which an XML declaration is looked for.
const XML_SCOPE: usize = 256;

/// The language of the file at `path` (a repository path, `/` between its parts) with this
/// content; only its first and last kilobytes are looked at.
#[must_use]
pub fn detect(path: &[u8], content: &[u8]) -> Option<Language> {
    if let Some(language) = modeline::language(content) {
        return Some(language);
    }
    let name = base_name(path);
    let mut candidates = Candidates::default();
    candidates.narrow(by_file_name(name));
    if let Some(language) = candidates.only() {
        return Some(language);
    }
    candidates.narrow(shebang::languages(content));
    if let Some(language) = candidates.only() {
        return Some(language);
    }
    let (extension, languages) = by_extension(name);
    candidates.narrow(languages);
    match candidates.languages() {
        [] => by_content(name, content),
        [language] => Some(*language),
        several => Some(disambiguate(&extension, several, content)),
    }
}

/// The languages that are still possible; empty before the first strategy found any.
#[derive(Default)]
struct Candidates {
    found: Vec<Language>,
}

impl Candidates {
    fn languages(&self) -> &[Language] {
        &self.found
    }

    fn only(&self) -> Option<Language> {
        match *self.found {
            [language] => Some(language),
            _ => None,
        }
    }

    /// Keeps those that are in `languages` too; a strategy that would leave none is ignored.
    fn narrow(&mut self, languages: &[Language]) {
        if self.found.is_empty() {
            self.found = languages.to_vec();
        } else if self.found.iter().any(|language| languages.contains(language)) {
            self.found.retain(|language| languages.contains(language));
        }
    }
}

fn by_file_name(name: &[u8]) -> &'static [Language] {
    std::str::from_utf8(name)
        .ok()
        .and_then(|name| TABLE.by_file_name.get(name))
        .map_or(&[], Vec::as_slice)
}

/// The longest known extension in lower case, and its languages.
fn by_extension(name: &[u8]) -> (String, &'static [Language]) {
    for dot in memchr::memchr_iter(b'.', name) {
        let extension = &name[dot..];
        if extension.len() > MAX_EXTENSION {
            continue;
        }
        let Ok(extension) = std::str::from_utf8(extension) else {
            continue;
        };
        let extension = extension.to_ascii_lowercase();
        if let Some(languages) = TABLE.by_extension.get(&extension) {
            return (extension, languages);
        }
    }
    (String::new(), &[])
}

/// For names that say nothing: an XML declaration, a manual page's section.
fn by_content(name: &[u8], content: &[u8]) -> Option<Language> {
    let head = &content[..content.len().min(XML_SCOPE)];
    if head.trim_ascii_start().starts_with(b"<?xml version=") {
        return Language::from_name("XML");
    }
    let dot = memchr::memrchr(b'.', name)?;
    let is_manual = match &name[dot + 1..] {
        [b'1'..=b'9', rest @ ..] => rest.iter().all(|b| b.is_ascii_lowercase() || *b == b'_'),
        _ => false,
    };
    let is_roff = || head.starts_with(b".") || head.starts_with(b"'\\\"");
    (is_manual && is_roff()).then(|| Language::from_name("Roff Manpage")).flatten()
}

fn disambiguate(extension: &str, candidates: &[Language], content: &[u8]) -> Language {
    let found = heuristics::languages(extension, content);
    let narrowed: Vec<Language> =
        candidates.iter().copied().filter(|language| found.contains(language)).collect();
    match narrowed[..] {
        [] => most_common(extension, candidates),
        [language] => language,
        _ => most_common(extension, &narrowed),
    }
}

/// The languages whose main extension this is, of these the most common, then the first by name.
/// `candidates` is not empty.
fn most_common(extension: &str, candidates: &[Language]) -> Language {
    let rank = |language: &Language| {
        let common = COMMON.iter().position(|name| *name == language.name());
        let primary = TABLE.is_primary(*language, extension.as_bytes());
        (!primary, common.unwrap_or(usize::MAX), *language)
    };
    candidates.iter().copied().min_by_key(rank).unwrap_or(candidates[0])
}

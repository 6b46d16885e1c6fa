//! Linguist's attributes in a repository's `.gitattributes` files.

use std::collections::HashMap;

use super::Language;
use super::glob::Glob;

/// Rules that are kept for one repository; more are ignored.
const MAX_RULES: usize = 10_000;
/// Bytes of one `.gitattributes` that are read.
const MAX_FILE: usize = 1024 * 1024;
/// The longest line that git takes, in bytes.
const MAX_LINE: usize = 2048;

/// What the `.gitattributes` files of a repository say to linguist.
///
/// Later lines win over earlier ones, and a folder's file wins over those above it.
#[derive(Debug, Default)]
pub struct Attributes {
    /// By folder, without a slash at the end; the root is empty.
    folders: HashMap<Vec<u8>, Vec<Rule>>,
    /// `[attr]name` definitions, which git takes from the root's file only.
    macros: HashMap<Vec<u8>, Overrides>,
    rules: usize,
}

/// What was said about one path; `None` where nothing was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathAttributes {
    /// `linguist-language`.
    pub language: Option<Language>,
    /// `linguist-vendored`.
    pub vendored: Option<bool>,
    /// `linguist-generated`.
    pub generated: Option<bool>,
    /// `linguist-documentation`.
    pub documentation: Option<bool>,
}

#[derive(Debug)]
struct Rule {
    glob: Glob,
    overrides: Overrides,
}

/// `Some(None)` takes back what an earlier line said.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Overrides {
    language: Option<Option<Language>>,
    vendored: Option<Option<bool>>,
    generated: Option<Option<bool>>,
    documentation: Option<Option<bool>>,
}

impl Attributes {
    /// Whether no file said anything: [`Attributes::lookup`] then has no cost worth avoiding.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules == 0
    }

    /// Adds the `.gitattributes` of the folder `dir` (a repository path; empty for the root).
    /// Lines that cannot be read are skipped, as git does. The root's file is to be added before
    /// others, for its macros.
    pub fn add_file(&mut self, dir: &[u8], text: &[u8]) {
        let dir = dir.strip_suffix(b"/").unwrap_or(dir);
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        let text = &text[..text.len().min(MAX_FILE)];
        for line in text.split(|&byte| byte == b'\n') {
            let line = line.trim_ascii();
            if !line.is_empty() && line.len() <= MAX_LINE && !line.starts_with(b"#") {
                self.add_line(dir, line);
            }
        }
    }

    fn add_line(&mut self, dir: &[u8], line: &[u8]) {
        let Some((pattern, rest)) = split_pattern(line) else {
            return;
        };
        let overrides = self.overrides(rest);
        if let Some(name) = pattern.strip_prefix(b"[attr]") {
            if dir.is_empty() {
                self.macros.insert(name.to_vec(), overrides);
            }
            return;
        }
        if overrides == Overrides::default() || self.rules >= MAX_RULES {
            return;
        }
        if let Some(glob) = Glob::new(&pattern) {
            let rules = self.folders.entry(dir.to_vec()).or_default();
            rules.push(Rule { glob, overrides });
            self.rules += 1;
        }
    }

    fn overrides(&self, attributes: &[u8]) -> Overrides {
        let mut overrides = Overrides::default();
        let words = attributes.split(u8::is_ascii_whitespace);
        for word in words.filter(|word| !word.is_empty()) {
            match self.macros.get(word) {
                Some(expansion) => overrides.apply(expansion),
                None => overrides.set(word),
            }
        }
        overrides
    }

    /// What the files say about the file at `path`.
    #[must_use]
    pub fn lookup(&self, path: &[u8]) -> PathAttributes {
        if self.is_empty() {
            return PathAttributes::default();
        }
        let mut found = Overrides::default();
        let slashes = memchr::memchr_iter(b'/', path);
        for (dir, relative) in std::iter::once((&path[..0], path))
            .chain(slashes.map(|slash| (&path[..slash], &path[slash + 1..])))
        {
            for rule in self.folders.get(dir).into_iter().flatten() {
                if rule.glob.matches(relative) {
                    found.apply(&rule.overrides);
                }
            }
        }
        PathAttributes {
            language: found.language.flatten(),
            vendored: found.vendored.flatten(),
            generated: found.generated.flatten(),
            documentation: found.documentation.flatten(),
        }
    }
}

impl Overrides {
    fn apply(&mut self, other: &Self) {
        self.language = other.language.or(self.language);
        self.vendored = other.vendored.or(self.vendored);
        self.generated = other.generated.or(self.generated);
        self.documentation = other.documentation.or(self.documentation);
    }

    /// One attribute: `name`, `-name`, `!name` or `name=value`.
    fn set(&mut self, word: &[u8]) {
        let (name, value) = match memchr::memchr(b'=', word) {
            Some(equals) => (&word[..equals], Some(&word[equals + 1..])),
            None => (word, None),
        };
        let (name, state) = match (name.first(), value) {
            (Some(b'!'), _) => (&name[1..], None),
            (Some(b'-'), _) => (&name[1..], Some(false)),
            (_, Some(b"false")) => (name, Some(false)),
            _ => (name, Some(true)),
        };
        match name {
            b"linguist-vendored" => self.vendored = Some(state),
            b"linguist-generated" => self.generated = Some(state),
            b"linguist-documentation" => self.documentation = Some(state),
            b"linguist-language" | b"gitlab-language" => self.language = language(state, value),
            _ => {}
        }
    }
}

/// An unknown language is as if the attribute were not there.
fn language(state: Option<bool>, value: Option<&[u8]>) -> Option<Option<Language>> {
    match (state, value) {
        (Some(true), Some(name)) => Language::from_name(std::str::from_utf8(name).ok()?).map(Some),
        _ => Some(None),
    }
}

/// The pattern at the start of a line, unquoted, and the rest. `None` for a broken quotation.
fn split_pattern(line: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    if line.first() != Some(&b'"') {
        let end = line.iter().position(u8::is_ascii_whitespace);
        let (pattern, rest) = line.split_at(end.unwrap_or(line.len()));
        return Some((pattern.to_vec(), rest));
    }
    let mut pattern = Vec::new();
    let mut at = 1;
    loop {
        match *line.get(at)? {
            b'"' => return Some((pattern, &line[at + 1..])),
            b'\\' => at += unescape(&line[at + 1..], &mut pattern)?,
            byte => pattern.push(byte),
        }
        at += 1;
    }
}

/// Reads what follows a backslash in a C-like quotation; returns its length.
fn unescape(rest: &[u8], pattern: &mut Vec<u8>) -> Option<usize> {
    let byte = match *rest.first()? {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'a' => 7,
        b'b' => 8,
        b'v' => 11,
        b'f' => 12,
        b'0'..=b'3' => {
            let digits = std::str::from_utf8(rest.get(..3)?).ok()?;
            pattern.push(u8::from_str_radix(digits, 8).ok()?);
            return Some(3);
        }
        byte @ (b'"' | b'\\') => byte,
        _ => return None,
    };
    pattern.push(byte);
    Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rust() -> Option<Language> {
        Language::from_name("Rust")
    }

    #[test]
    fn later_lines_and_nearer_files_win() {
        let mut attributes = Attributes::default();
        attributes.add_file(
            b"",
            b"# comment\r\n*.inc linguist-language=PHP\r\ngen/** linguist-generated\n*.rs -linguist-vendored\n",
        );
        attributes.add_file(
            b"lib",
            b"*.inc linguist-language=rust linguist-vendored\nkeep.inc !linguist-vendored",
        );
        assert_eq!(attributes.lookup(b"a/x.inc").language, Language::from_name("PHP"));
        let nested = attributes.lookup(b"lib/x.inc");
        assert_eq!((nested.language, nested.vendored), (rust(), Some(true)));
        assert_eq!(attributes.lookup(b"lib/keep.inc").vendored, None);
        assert_eq!(attributes.lookup(b"gen/a/b.go").generated, Some(true));
        assert_eq!(attributes.lookup(b"x.rs").vendored, Some(false));
        assert_eq!(attributes.lookup(b"other.c"), PathAttributes::default());
    }

    #[test]
    fn values_macros_and_quotes() {
        let mut attributes = Attributes::default();
        attributes.add_file(
            b"",
            br#"[attr]made linguist-generated linguist-documentation=false
*.pb made
"a b\t\".c" linguist-language=C++
x.z linguist-language=NoSuchLanguage
y.z linguist-vendored=false
"broken linguist-vendored"#,
        );
        let made = attributes.lookup(b"q/x.pb");
        assert_eq!((made.generated, made.documentation), (Some(true), Some(false)));
        assert_eq!(attributes.lookup(b"a b\t\".c").language, Language::from_name("cpp"));
        assert_eq!(attributes.lookup(b"x.z").language, None);
        assert_eq!(attributes.lookup(b"y.z").vendored, Some(false));
    }

    #[test]
    fn rules_are_bounded() {
        let mut attributes = Attributes::default();
        let line = b"*.a linguist-vendored\n";
        attributes.add_file(b"", &line.repeat(MAX_RULES + 10));
        assert_eq!(attributes.rules, MAX_RULES);
    }
}

//! The patterns of `.gitattributes`, as regular expressions: these match in linear time,
//! whatever a repository's author wrote.

use regex::bytes::{Regex, RegexBuilder};

/// A pattern of more bytes is ignored; git ignores lines of more than 2,048.
const MAX_PATTERN: usize = 2048;
/// Memory that one compiled pattern may take, in bytes.
const MAX_COMPILED: usize = 256 * 1024;

/// A pattern relative to the folder of its file.
#[derive(Debug)]
pub(super) struct Glob {
    regex: Regex,
    /// Without a slash a pattern is about the last part of the path only.
    base_name_only: bool,
}

impl Glob {
    /// `None` for what matches nothing in `.gitattributes`: an empty pattern, a negated one, a
    /// folder (`docs/`), a broken class.
    pub(super) fn new(pattern: &[u8]) -> Option<Self> {
        if pattern.len() > MAX_PATTERN || pattern.starts_with(b"!") || pattern.ends_with(b"/") {
            return None;
        }
        let base_name_only = !pattern.contains(&b'/');
        let pattern = pattern.strip_prefix(b"/").unwrap_or(pattern);
        if pattern.is_empty() {
            return None;
        }
        let regex = RegexBuilder::new(&translate(pattern)?)
            .unicode(false)
            .dot_matches_new_line(true)
            .size_limit(MAX_COMPILED)
            .build()
            .ok()?;
        Some(Self { regex, base_name_only })
    }

    /// `path` is relative to the folder of the pattern's file.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        let subject = if self.base_name_only { super::base_name(path) } else { path };
        self.regex.is_match(subject)
    }
}

/// Git's wildmatch with `WM_PATHNAME`: `*`, `?` and classes stop at a slash, `**` between slashes
/// does not.
fn translate(pattern: &[u8]) -> Option<String> {
    let mut regex = String::from("^");
    let mut at = 0;
    while at < pattern.len() {
        let rest = &pattern[at..];
        at += match rest[0] {
            b'*' => stars(rest, at == 0 || pattern[at - 1] == b'/', &mut regex),
            b'?' => {
                regex.push_str("[^/]");
                1
            }
            b'[' => class(rest, &mut regex)?,
            b'\\' => {
                literal(*rest.get(1)?, &mut regex);
                2
            }
            byte => {
                literal(byte, &mut regex);
                1
            }
        };
    }
    regex.push('$');
    Some(regex)
}

fn literal(byte: u8, regex: &mut String) {
    regex.push_str(&format!("\\x{byte:02x}"));
}

/// Writes what the stars at the start of `rest` match, and returns how many bytes were read.
fn stars(rest: &[u8], starts_part: bool, regex: &mut String) -> usize {
    let count = rest.iter().take_while(|&&byte| byte == b'*').count();
    let next = rest.get(count);
    match next {
        Some(b'/') if count == 2 && starts_part => {
            regex.push_str("(?:.*/)?");
            3
        }
        None if count == 2 && starts_part => {
            regex.push_str(".*");
            2
        }
        _ => {
            regex.push_str("[^/]*");
            count
        }
    }
}

/// Writes the class at the start of `rest`; `None` where it has no end.
fn class(rest: &[u8], regex: &mut String) -> Option<usize> {
    let mut at = 1;
    let negated = matches!(rest.get(at), Some(b'!' | b'^'));
    at += usize::from(negated);
    let first = at;
    let mut members = String::new();
    loop {
        match *rest.get(at)? {
            b']' if at > first => break,
            b'[' if rest.get(at + 1) == Some(&b':') => {
                let name = named_class(&rest[at + 2..])?;
                members.push_str(&format!("[:{name}:]"));
                at += name.len() + 4;
            }
            b'-' if at > first && rest.get(at + 1).is_some_and(|&byte| byte != b']') => {
                members.push('-');
                at += 1;
            }
            b'\\' => {
                literal(*rest.get(at + 1)?, &mut members);
                at += 2;
            }
            byte => {
                literal(byte, &mut members);
                at += 1;
            }
        }
    }
    let class = if negated { format!("[^/{members}]") } else { format!("[{members}&&[^/]]") };
    regex.push_str(&class);
    Some(at + 1)
}

/// The class named at the start of `rest`, which follows `[:`.
fn named_class(rest: &[u8]) -> Option<&'static str> {
    const NAMES: [&str; 12] = [
        "alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
        "upper", "xdigit",
    ];
    NAMES
        .into_iter()
        .find(|name| rest.strip_prefix(name.as_bytes()).is_some_and(|end| end.starts_with(b":]")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::Glob;

    fn matches(pattern: &str, path: &str) -> bool {
        Glob::new(pattern.as_bytes()).unwrap().matches(path.as_bytes())
    }

    #[test]
    fn as_git_matches() {
        for (pattern, path, expected) in [
            ("*.c", "a/b/x.c", true),
            ("*.c", "x.cc", false),
            ("/*.c", "a/x.c", false),
            ("/*.c", "x.c", true),
            ("docs/*", "docs/a", true),
            ("docs/*", "docs/a/b", false),
            ("docs/**", "docs/a/b", true),
            ("docs/**", "docs", false),
            ("**/gen/*.go", "gen/a.go", true),
            ("**/gen/*.go", "x/y/gen/a.go", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a**b", "axxb", true),
            ("x/a**b", "x/a/b", false),
            ("[a-c].rs", "b.rs", true),
            ("[!a-c].rs", "b.rs", false),
            ("[]x].rs", "].rs", true),
            ("[[:digit:]].rs", "7.rs", true),
            ("x?y", "x/y", false),
            (r"\*.c", "*.c", true),
            (r"\*.c", "a.c", false),
            ("a.c", "axc", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn what_matches_nothing() {
        for pattern in ["", "/", "docs/", "!a", "[a", "a\\", "[[:nonsense:]]"] {
            assert!(Glob::new(pattern.as_bytes()).is_none(), "{pattern}");
        }
    }

    #[test]
    fn hostile_patterns_stay_linear() {
        let pattern = "*a".repeat(500) + "/b";
        let path = "a".repeat(20_000);
        let glob = Glob::new(pattern.as_bytes());
        assert!(!glob.is_some_and(|glob| glob.matches(path.as_bytes())));
    }
}

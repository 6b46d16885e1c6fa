//! Names of repositories and revisions, and the globs in them and in paths.

use regex_automata::meta::Regex;

use super::error::QueryError;
use super::regex::compile_source;
use super::tree::Case;

/// How a name is matched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NameMatch {
    /// The whole name.
    Exact(String),
    /// A part of it.
    Substring(String),
    /// The whole name, with `*` and `?`.
    Glob(String),
    /// An unanchored regular expression.
    Regex(String),
}

/// A [`NameMatch`] made ready to be used on many names.
#[derive(Clone, Debug)]
pub struct NameMatcher(Regex);

impl NameMatcher {
    /// Whether the name matches.
    #[must_use]
    pub fn is_match(&self, name: &str) -> bool {
        self.0.is_match(name.as_bytes())
    }
}

impl NameMatch {
    /// For the names of repositories, where case does not matter. A glob without a `/` is held
    /// against the last segment, and `*` stops at `/`.
    ///
    /// # Errors
    ///
    /// When the regular expression is too large.
    pub fn for_repositories(&self) -> Result<NameMatcher, QueryError> {
        let source = match self {
            Self::Glob(glob) if glob.contains('/') => format!(r"\A{}\z", glob_source(glob)),
            Self::Glob(glob) => format!(r"\A(?:(?s:.)*/)?{}\z", glob_source(glob)),
            other => other.plain_source(),
        };
        compile_source(&source, Case::Insensitive, 0..0).map(NameMatcher)
    }

    /// For the names of branches and tags, where case matters. `*` goes across `/`, as in git.
    ///
    /// # Errors
    ///
    /// When the regular expression is too large.
    pub fn for_revisions(&self) -> Result<NameMatcher, QueryError> {
        let source = match self {
            Self::Glob(glob) => format!(r"\A{}\z", glob_source(&glob.replace('*', "**"))),
            other => other.plain_source(),
        };
        compile_source(&source, Case::Sensitive, 0..0).map(NameMatcher)
    }

    fn plain_source(&self) -> String {
        match self {
            Self::Exact(name) => format!(r"\A{}\z", regex_syntax::escape(name)),
            Self::Substring(part) => regex_syntax::escape(part),
            Self::Glob(glob) => glob_source(glob),
            Self::Regex(source) => source.clone(),
        }
    }
}

/// Whether the text has what makes it a glob.
pub(super) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// The regular expression of a `path:` glob. A leading `/` is the repository's root; without one
/// the glob starts at any segment. It ends where the path ends.
pub(super) fn path_glob(glob: &str) -> String {
    match glob.strip_prefix('/') {
        Some(rooted) => format!(r"\A{}\z", glob_source(rooted)),
        None => format!(r"(?:\A|/){}\z", glob_source(glob)),
    }
}

/// One character of a path that is not `/`, or one byte of what is not UTF-8.
const ONE: &str = "(?:[^/]|(?-u:[^/]))";

/// `*` and `?` without `/`, `**` with it, and `**/` for any number of segments, none included.
fn glob_source(glob: &str) -> String {
    let mut source = String::with_capacity(glob.len() * 2);
    let mut rest = glob;
    let mut at_segment = true;
    while let Some(c) = rest.chars().next() {
        let stars = rest.len() - rest.trim_start_matches('*').len();
        let taken = match (c, stars) {
            ('*', 1) => {
                source.push_str("(?-u:[^/])*");
                1
            }
            ('*', _) if at_segment && rest[stars..].starts_with('/') => {
                source.push_str("(?:(?s-u:.)*/)?");
                stars + 1
            }
            ('*', _) => {
                source.push_str("(?s-u:.)*");
                stars
            }
            ('?', _) => {
                source.push_str(ONE);
                1
            }
            _ => {
                source.push_str(&regex_syntax::escape(c.encode_utf8(&mut [0; 4])));
                c.len_utf8()
            }
        };
        at_segment = rest[..taken].ends_with('/');
        rest = &rest[taken..];
    }
    source
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn path(glob: &str, path: &[u8]) -> bool {
        compile_source(&path_glob(glob), Case::Insensitive, 0..0).unwrap().is_match(path)
    }

    #[test]
    fn globs_in_paths() {
        for (glob, text, expected) in [
            ("*.rs", "src/main.rs", true),
            ("*.rs", "src/main.rs.bak", false),
            ("src/*.js", "app/src/main.js", true),
            ("src/*.js", "appsrc/main.js", false),
            ("src/*.js", "src/deep/main.js", false),
            ("/src/*.js", "src/main.js", true),
            ("/src/*.js", "app/src/main.js", false),
            ("/src/**/*.js", "src/main.js", true),
            ("/src/**/*.js", "src/a/b/main.js", true),
            ("src/**", "src/a/b", true),
            ("**/test/**", "a/test/b", true),
            ("**/test/**", "test/b", true),
            ("**/test/**", "atest/b", false),
            ("*.a?c", "f.abc", true),
            ("*.a?c", "f.aéc", true),
            ("*.a?c", "f.a/c", false),
            ("a[b]*", "a[b]c", true),
            ("*.RS", "a.rs", true),
            ("a*b", "a\nb", true),
            ("*.c", "x.c\n", false),
        ] {
            assert_eq!(path(glob, text.as_bytes()), expected, "{glob} {text:?}");
        }
        assert!(path("a*?c", b"a\xFF\xFEc"));
    }

    #[test]
    fn names_of_repositories() {
        let matches = |rule: &NameMatch, name| rule.for_repositories().unwrap().is_match(name);
        let exact = NameMatch::Exact("Tokio-rs/tokio".into());
        assert!(matches(&exact, "tokio-rs/tokio"));
        assert!(!matches(&exact, "tokio-rs/tokio-util"));
        assert!(matches(&NameMatch::Substring("KIO".into()), "tokio-rs/mio"));
        assert!(matches(&NameMatch::Glob("tokio-rs/*".into()), "tokio-rs/mio"));
        assert!(!matches(&NameMatch::Glob("*/mio".into()), "a/b/mio"));
        assert!(matches(&NameMatch::Glob("tok*".into()), "tokio-rs/tokio"));
        assert!(!matches(&NameMatch::Glob("mio*".into()), "tokio-rs/tokio"));
        assert!(matches(&NameMatch::Regex("^a.*z$".into()), "A/xyz"));
    }

    #[test]
    fn names_of_revisions() {
        let matches = |rule: &NameMatch, name| rule.for_revisions().unwrap().is_match(name);
        assert!(matches(&NameMatch::Exact("main".into()), "main"));
        assert!(!matches(&NameMatch::Exact("main".into()), "Main"));
        assert!(matches(&NameMatch::Glob("release*".into()), "release/1.0"));
        assert!(!matches(&NameMatch::Glob("release*".into()), "old/release/1.0"));
    }
}

//! What a parse is given besides the text.

use std::time::{SystemTime, UNIX_EPOCH};

/// The names of programming languages, as linguist has them.
pub trait LanguageNames {
    /// The language's own name, for it or one of its aliases in any case.
    fn canonical(&self, name: &str) -> Option<&'static str>;
    /// Names that a person may have meant, the nearest first.
    fn nearest(&self, name: &str) -> Vec<&'static str>;
}

/// The limits and the surroundings of a parse.
#[derive(Clone, Copy)]
pub struct ParseOptions<'a> {
    /// The most bytes of a query.
    pub max_length: usize,
    /// How deep groups and negations may be nested.
    pub max_depth: usize,
    /// The most words, quoted texts, regular expressions and qualifiers of a query.
    pub max_terms: usize,
    /// What ages such as `<30d` count back from.
    pub now: SystemTime,
    /// The values of `lang:`.
    pub languages: &'a dyn LanguageNames,
}

impl<'a> ParseOptions<'a> {
    /// The default limits: 8 KiB, 100 levels, 256 terms; and the present time.
    #[must_use]
    pub fn new(languages: &'a dyn LanguageNames) -> Self {
        Self {
            max_length: 8 << 10,
            max_depth: 100,
            max_terms: 256,
            now: SystemTime::now(),
            languages,
        }
    }

    /// [`Self::now`] in seconds since 1970; 0 before.
    pub(super) fn now_seconds(&self) -> i64 {
        self.now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
    }
}

//! The names of the qualifiers.

/// A qualifier of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Qualifier {
    Repository,
    Organisation,
    Path,
    File,
    Language,
    Symbol,
    Content,
    Revision,
    Type,
    Select,
    Is,
    Archived,
    Fork,
    License,
    Author,
    Label,
    State,
    Created,
    Updated,
    Before,
    After,
    Count,
    Timeout,
    Case,
    PatternType,
}

/// Every name and alias.
const NAMES: [(&str, Qualifier); 35] = [
    ("repo", Qualifier::Repository),
    ("r", Qualifier::Repository),
    ("org", Qualifier::Organisation),
    ("user", Qualifier::Organisation),
    ("path", Qualifier::Path),
    ("file", Qualifier::File),
    ("f", Qualifier::File),
    ("lang", Qualifier::Language),
    ("language", Qualifier::Language),
    ("l", Qualifier::Language),
    ("sym", Qualifier::Symbol),
    ("symbol", Qualifier::Symbol),
    ("content", Qualifier::Content),
    ("c", Qualifier::Content),
    ("rev", Qualifier::Revision),
    ("branch", Qualifier::Revision),
    ("b", Qualifier::Revision),
    ("type", Qualifier::Type),
    ("select", Qualifier::Select),
    ("is", Qualifier::Is),
    ("archived", Qualifier::Archived),
    ("fork", Qualifier::Fork),
    ("license", Qualifier::License),
    ("licence", Qualifier::License),
    ("author", Qualifier::Author),
    ("label", Qualifier::Label),
    ("state", Qualifier::State),
    ("created", Qualifier::Created),
    ("updated", Qualifier::Updated),
    ("before", Qualifier::Before),
    ("after", Qualifier::After),
    ("count", Qualifier::Count),
    ("timeout", Qualifier::Timeout),
    ("case", Qualifier::Case),
    ("patterntype", Qualifier::PatternType),
];

/// The qualifier of a name, in any case (`patternType:` is a habit from Sourcegraph).
pub(super) fn find(name: &str) -> Option<Qualifier> {
    NAMES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, qualifier)| *qualifier)
}

/// The names that are close enough to take the given one for a mistake, the nearest first: one
/// edit away in names of four or five letters that begin alike, two in longer ones. Shorter names
/// are near to too much of what code is made of (`std:`, `arg:`, `ref:`).
pub(super) fn misspelled(name: &str) -> Vec<&'static str> {
    let name = name.to_ascii_lowercase();
    let most = match name.len() {
        0..=3 => return Vec::new(),
        4..=5 => 1,
        _ => 2,
    };
    let mut near: Vec<(usize, &'static str)> = NAMES
        .iter()
        .filter(|(known, _)| known.len() >= 4 && (most == 2 || known[..1] == name[..1]))
        .map(|(known, _)| (distance(&name, known), *known))
        .filter(|(distance, _)| *distance <= most)
        .collect();
    near.sort_unstable();
    near.into_iter().map(|(_, known)| known).collect()
}

/// How many insertions, deletions, substitutions and swaps of neighbours make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substitution = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = substitution.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_from_code() {
        for (name, expected) in [
            ("langauge", vec!["language"]),
            ("lnag", vec!["lang"]),
            ("paht", vec!["path"]),
            ("symbl", vec!["symbol"]),
            ("brnach", vec!["branch"]),
            ("ahtuor", vec!["author"]),
            ("foo", vec![]),
            ("std", vec![]),
            ("arg", vec![]),
            ("base", vec![]),
            ("http", vec![]),
            ("default", vec![]),
        ] {
            assert_eq!(misspelled(name), expected, "{name}");
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(find("patternType"), Some(Qualifier::PatternType));
        assert_eq!(find("R"), Some(Qualifier::Repository));
        assert_eq!(find("repository"), None);
    }
}

//! "Did you mean": the known names nearest to one that is not known.

/// A name further away than this is no help.
const SIMILAR: f64 = 0.7;
/// At most so many names are offered.
const OFFERED: usize = 3;

/// The nearest of `known` to `name`, best first.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .map(|candidate| {
            let whole = strsim::jaro_winkler(name, candidate);
            let part = strsim::jaro_winkler(&last(name), &last(candidate));
            (whole.max(part), candidate)
        })
        .filter(|(score, _)| *score >= SIMILAR)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(OFFERED).map(|(_, candidate)| candidate).collect()
}

/// `; did you mean a, b?`, or nothing where no name is near.
pub fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(name, known).as_slice() {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_and_a_missing_section_find_their_key() {
        let known = ["search.page_size", "http.max_body_bytes", "listen"];
        assert_eq!(nearest("search.page_sice", known).first(), Some(&"search.page_size"));
        assert_eq!(nearest("page_size", known).first(), Some(&"search.page_size"));
        assert_eq!(suggestion("zzz", known), "");
    }
}

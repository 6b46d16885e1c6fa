//! A few languages, a fixed day, and a printed form of what a query means.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use aeterna_index::query::tree::{Count, QueryOptions};
use aeterna_index::query::{LanguageNames, ParseOptions, parse, simplify};

/// A title, and queries with what they mean.
pub type Section = (&'static str, &'static [(&'static str, &'static str)]);

/// A handful of linguist's names.
pub struct FewLanguages;

const LANGUAGES: [(&str, &[&str]); 9] = [
    ("Rust", &["rs"]),
    ("Go", &["golang"]),
    ("C", &[]),
    ("C++", &["cpp"]),
    ("Python", &["py"]),
    ("Ruby", &["rb"]),
    ("TypeScript", &["ts"]),
    ("JavaScript", &["js"]),
    ("Jupyter Notebook", &["ipython notebook"]),
];

impl LanguageNames for FewLanguages {
    fn canonical(&self, name: &str) -> Option<&'static str> {
        let names = LANGUAGES.iter();
        let mut found = names.filter(|(canonical, aliases)| {
            let mut all = aliases.iter().chain([canonical]);
            all.any(|known| known.eq_ignore_ascii_case(name))
        });
        found.next().map(|(canonical, _)| *canonical)
    }

    fn nearest(&self, name: &str) -> Vec<&'static str> {
        let start = name.to_ascii_lowercase().chars().next();
        let names = LANGUAGES.iter().map(|(canonical, _)| *canonical);
        names.filter(|known| known.to_ascii_lowercase().chars().next() == start).collect()
    }
}

/// The default options on 2026-11-21, 00:00 UTC.
pub fn options() -> ParseOptions<'static> {
    let mut options = ParseOptions::new(&FewLanguages);
    options.now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_219_200);
    options
}

/// The simplified tree, then what is asked for besides, then alerts; or the error.
pub fn meaning(input: &str) -> String {
    let query = match parse(input, &options()) {
        Ok(query) => query,
        Err(error) => {
            let mut text = format!("error {} at {:?}", error.code, error.position);
            if let Some(rewrite) = error.rewrite {
                write!(text, ", write {rewrite}").unwrap();
            }
            return text;
        }
    };
    let mut text = simplify(query.root).to_string();
    write_options(&query.options, &mut text);
    for alert in query.alerts {
        write!(text, "; alert {} at {:?}", alert.code, alert.position).unwrap();
        if let Some(rewrite) = alert.rewrite {
            write!(text, ", write {rewrite}").unwrap();
        }
    }
    text
}

fn write_options(options: &QueryOptions, text: &mut String) {
    if options.result_type != QueryOptions::default().result_type {
        write!(text, "; type {}", options.result_type).unwrap();
    }
    if let Some(select) = &options.select {
        write!(text, "; select {select}").unwrap();
    }
    match options.count {
        None => {}
        Some(Count::All) => text.push_str("; count all"),
        Some(Count::Limit(limit)) => write!(text, "; count {limit}").unwrap(),
    }
    if let Some(timeout) = options.timeout {
        write!(text, "; timeout {timeout:?}").unwrap();
    }
}

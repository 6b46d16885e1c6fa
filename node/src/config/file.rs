//! Reading the TOML file into dotted names, with the line of each.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;

/// A configuration file larger than this is a mistake.
const MAX_BYTES: u64 = 1 << 20;

/// One `key = value` of the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, with its tables before dots.
    pub key: String,
    /// The value as text.
    pub value: String,
    /// Whether it was written without quotes.
    pub bare: bool,
    /// 1-based line.
    pub line: usize,
}

/// Reads a file.
pub fn read(path: &Path) -> Result<Vec<Entry>, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > MAX_BYTES {
        let message = format!("it has {size} bytes, more than {MAX_BYTES}");
        return Err(ConfigError::Syntax { path: path.to_owned(), message });
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    entries(&text).map_err(|message| ConfigError::Syntax { path: path.to_owned(), message })
}

fn entries(text: &str) -> Result<Vec<Entry>, String> {
    let table = DeTable::parse(text).map_err(|error| {
        // The parser's own rendering quotes the line, which may hold a password.
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        format!("line {line}: {}", error.message())
    })?;
    let mut found = Vec::new();
    collect(text, "", table.get_ref(), &mut found)?;
    Ok(found)
}

fn collect(text: &str, prefix: &str, table: &DeTable, into: &mut Vec<Entry>) -> Result<(), String> {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        let line = line_of(text, name.span().start);
        if let DeValue::Table(inner) = value.get_ref() {
            collect(text, &format!("{key}."), inner, into)?;
        } else {
            into.push(entry(key, value, line)?);
        }
    }
    Ok(())
}

fn entry(key: String, value: &Spanned<DeValue>, line: usize) -> Result<Entry, String> {
    let (value, bare) = match value.get_ref() {
        DeValue::String(text) => (text.to_string(), false),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(&number.as_str().replace('_', ""), number.radix());
            let parsed = parsed.map_err(|_| format!("line {line}: `{key}` is out of range"))?;
            (parsed.to_string(), true)
        }
        DeValue::Float(number) => (number.as_str().to_owned(), true),
        DeValue::Boolean(value) => (value.to_string(), true),
        DeValue::Array(_) | DeValue::Datetime(_) | DeValue::Table(_) => {
            return Err(format!("line {line}: `{key}` must be a number or a text in quotes"));
        }
    };
    Ok(Entry { key, value, bare, line })
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn tables_become_dots_and_lines_are_kept() {
        let found =
            entries("data = \"/d\"\n\n[search]\npage_size = 1_0\nmax_page_size=0x10\n").unwrap();
        let found: Vec<_> =
            found.iter().map(|e| (e.key.as_str(), e.value.as_str(), e.bare, e.line)).collect();
        assert_eq!(
            found,
            [
                ("data", "/d", false, 1),
                ("search.max_page_size", "16", true, 5),
                ("search.page_size", "10", true, 4),
            ]
        );
    }

    #[test]
    fn a_syntax_error_says_the_line_and_repeats_no_value() {
        let error =
            entries("data = \"/d\"\ndatabase_url = \"postgres://u:hunter2@h\n").unwrap_err();
        assert!(error.starts_with("line 2"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        assert!(entries("listen = [1]").unwrap_err().contains("`listen`"));
    }
}

//! `aeterna config show`.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{KEYS, Loaded};

/// The effective values as a table for a person, with the source of each.
pub fn show_text(loaded: &Loaded) -> String {
    let rows: Vec<(String, String)> = KEYS
        .iter()
        .map(|key| {
            let shown = (key.show)(&loaded.config);
            let value = if key.bare { shown } else { Value::from(shown).to_string() };
            (format!("{} = {value}", key.name), loaded.source(key.name).to_string())
        })
        .collect();
    let width = rows.iter().map(|(left, _)| left.chars().count()).max().unwrap_or(0);
    rows.iter().fold(String::new(), |mut text, (left, source)| {
        let padding = width - left.chars().count();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{left}{:padding$}  # {source}", "");
        text
    })
}

/// The same for programs: an object by name, each with value, source and meaning.
pub fn show_json(loaded: &Loaded) -> Value {
    let settings: serde_json::Map<String, Value> = KEYS
        .iter()
        .map(|key| {
            let shown = (key.show)(&loaded.config);
            // A number or a boolean is JSON as it stands.
            let bare = key.bare.then(|| shown.parse::<Value>().ok()).flatten();
            let value = bare.unwrap_or(Value::from(shown));
            let source = loaded.source(key.name).to_string();
            (
                key.name.to_owned(),
                json!({"value": value, "source": source, "env": key.env, "description": key.doc.trim()}),
            )
        })
        .collect();
    Value::Object(settings)
}

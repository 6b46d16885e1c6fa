//! The interpreter that a script's first line names.

use super::Language;
use super::table::TABLE;

/// How many lines are searched for `exec interpreter "$0"` behind `#!/bin/sh`.
const EXEC_LINES: usize = 5;

/// The languages of the interpreter that `content` asks for; empty without one.
pub(super) fn languages(content: &[u8]) -> &'static [Language] {
    interpreter(content)
        .and_then(|name| {
            let unversioned = name.rsplit_once('.').map(|(name, _)| name);
            let known = |name: &str| TABLE.by_interpreter.get(name);
            known(name).or_else(|| unversioned.and_then(known))
        })
        .map_or(&[], Vec::as_slice)
}

fn interpreter(content: &[u8]) -> Option<&str> {
    if !content.starts_with(b"#!") {
        return None;
    }
    let line = content[2..].split(|&byte| byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let mut script = file_name(words.next()?);
    if script == "env" {
        let is_command = |word: &&str| !word.starts_with('-') && !word.contains('=');
        script = file_name(words.find(is_command)?);
    }
    if script == "sh" {
        script = executed(content).unwrap_or(script);
    }
    Some(script)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The interpreter that a shell script hands itself to, an old way to write `env`.
fn executed(content: &[u8]) -> Option<&str> {
    let lines = content.split(|&byte| byte == b'\n').take(EXEC_LINES);
    for line in lines.filter_map(|line| std::str::from_utf8(line).ok()) {
        let Some((_, command)) = line.split_once("exec ") else {
            continue;
        };
        let end = command.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, rest) = command.split_at(end.unwrap_or(command.len()));
        if !name.is_empty() && rest.trim_start_matches([' ', '\t', '\'', '"']).starts_with("$0") {
            return Some(name);
        }
    }
    None
}

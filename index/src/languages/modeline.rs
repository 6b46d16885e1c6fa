//! The language that a line for Vim or Emacs names.

use memchr::memmem;

use super::Language;
use super::table::{TABLE, folded};

/// Lines at each end of a file that editors look at.
const LINES: usize = 5;
/// Bytes at each end that are searched for these lines.
const SCOPE: usize = 2048;

/// The language that a modeline at the start or the end of `content` names.
pub(super) fn language(content: &[u8]) -> Option<Language> {
    let head = &content[..content.len().min(SCOPE)];
    let tail = &content[content.len().saturating_sub(SCOPE)..];
    let first = lines(head).take(LINES);
    let last = tail.rsplit(|&byte| byte == b'\n').take(LINES + 1);
    first.chain(last).find_map(|line| {
        let mode = emacs(line).or_else(|| vim(line))?;
        by_alias(std::str::from_utf8(mode).ok()?)
    })
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
}

fn by_alias(mode: &str) -> Option<Language> {
    TABLE.by_name.get(&folded(mode)).copied()
}

/// `-*- mode: ruby -*-`, `-*- ruby -*-`.
fn emacs(line: &[u8]) -> Option<&[u8]> {
    let start = memmem::find(line, b"-*-")? + 3;
    let end = memmem::find(&line[start..], b"-*-")?;
    let inside = &line[start..start + end];
    if !inside.contains(&b':') {
        let mode = inside.trim_ascii();
        return (!mode.is_empty() && !mode.iter().any(|b| b.is_ascii_whitespace() || *b == b';'))
            .then_some(mode);
    }
    inside.split(|&byte| byte == b';').find_map(|setting| {
        let colon = memchr::memchr(b':', setting)?;
        let key = setting[..colon].trim_ascii();
        key.eq_ignore_ascii_case(b"mode").then(|| setting[colon + 1..].trim_ascii())
    })
}

/// `vim: set ft=ruby:`, `vi:ts=4:filetype=ruby`, ` ex: syntax=ruby`.
fn vim(line: &[u8]) -> Option<&[u8]> {
    let options = vim_options(line)?;
    options.split(|&byte| byte == b':' || byte.is_ascii_whitespace()).find_map(|option| {
        let equals = memchr::memchr(b'=', option)?;
        let is_type = matches!(&option[..equals], b"ft" | b"filetype" | b"syntax");
        is_type.then(|| &option[equals + 1..])
    })
}

/// What follows `vi:`, `vim:`, `vim<700:` or ` ex:` in a line.
fn vim_options(line: &[u8]) -> Option<&[u8]> {
    memchr::memchr_iter(b':', line).find_map(|colon| {
        let before = &line[..colon];
        let start = before.iter().rposition(|b| b.is_ascii_whitespace()).map_or(0, |at| at + 1);
        let word = &before[start..];
        let version = word.strip_prefix(b"vim").map(|rest| rest.trim_ascii_start());
        let is_vim = version.is_some_and(|rest| {
            rest.iter().all(|byte| matches!(byte, b'<' | b'=' | b'>' | b'0'..=b'9'))
        });
        let is_other = word == b"vi" || (word == b"ex" && start > 0);
        (is_vim || is_other).then(|| &line[colon + 1..])
    })
}

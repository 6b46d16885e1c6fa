//! Results as text: for people on a terminal, and for programs behind a pipe.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::terminal::{one_line, paint, printable};
use crate::api::bytes_of;
use crate::api::search::{Chunk, Explain, Facets, SearchResult};

const PATH: Style = AnsiColor::Magenta.on_default().bold();
const LINE: Style = AnsiColor::Green.on_default();
const MATCH: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Grouped by file under a heading, with line numbers.
    Grouped,
    /// `owner/name:path:line:text`, one match a line.
    Plain,
    /// Paths alone.
    Paths,
    /// Paths with the number of matches.
    Counts,
}

/// Writes results.
#[derive(Debug)]
pub struct Printer<W> {
    out: W,
    form: Form,
    colors: bool,
    /// Whether escape sequences of others are made harmless: always where a person may look.
    safe: bool,
    printed: bool,
}

/// A line of a chunk.
struct Line<'a> {
    number: u64,
    /// Bytes, without the line end.
    text: &'a [u8],
    /// Matched bytes of `text`.
    matched: Vec<(usize, usize)>,
}

impl<W: Write> Printer<W> {
    /// A printer to `out`, which is a terminal or not.
    pub fn new(out: W, form: Form, colors: bool, terminal: bool) -> Self {
        Self { out, form, colors, safe: terminal || colors, printed: false }
    }

    /// Writes one result.
    pub fn result(&mut self, result: &SearchResult) -> io::Result<()> {
        let title = self.title(result);
        match self.form {
            Form::Grouped => self.grouped(&title, result),
            Form::Plain => self.plain(&title, result),
            Form::Paths => self.end_line(&title, b""),
            Form::Counts => self.end_line(&title, format!(":{}", result.match_count).as_bytes()),
        }
    }

    /// Hands back what is written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    /// `owner/name:path`, or the name of a repository.
    fn title(&self, result: &SearchResult) -> Vec<u8> {
        let path = bytes_of(&result.path, result.path_base64.as_deref());
        let mut title = result.repository.clone().into_bytes();
        if !path.is_empty() {
            title.push(b':');
            title.extend_from_slice(&path);
        }
        if self.safe { printable(&title).into_bytes() } else { one_line(&title) }
    }

    fn end_line(&mut self, title: &[u8], rest: &[u8]) -> io::Result<()> {
        paint(&mut self.out, PATH, self.colors, title)?;
        self.out.write_all(rest)?;
        self.out.write_all(b"\n")
    }

    fn grouped(&mut self, title: &[u8], result: &SearchResult) -> io::Result<()> {
        if self.printed && !result.chunks.is_empty() {
            self.out.write_all(b"\n")?;
        }
        self.printed = true;
        self.end_line(title, b"")?;
        for (index, chunk) in result.chunks.iter().enumerate() {
            let content = bytes_of(&chunk.content, chunk.content_base64.as_deref());
            let lines = lines(chunk, &content);
            if index > 0 && lines.iter().any(|line| line.matched.is_empty()) {
                paint(&mut self.out, DIM, self.colors, b"--")?;
                self.out.write_all(b"\n")?;
            }
            for line in &lines {
                self.numbered(line)?;
                self.text(line, chunk.cut)?;
            }
        }
        if result.chunks.is_empty() {
            self.symbol(result)?;
        }
        Ok(())
    }

    fn plain(&mut self, title: &[u8], result: &SearchResult) -> io::Result<()> {
        if result.chunks.is_empty() {
            self.end_line(title, b"")?;
            return self.symbol(result);
        }
        for chunk in &result.chunks {
            let content = bytes_of(&chunk.content, chunk.content_base64.as_deref());
            for line in lines(chunk, &content) {
                paint(&mut self.out, PATH, self.colors, title)?;
                let separator = separator(&line);
                self.out.write_all(separator)?;
                self.numbered(&line)?;
                self.text(&line, chunk.cut)?;
            }
        }
        Ok(())
    }

    /// A definition whose lines were not asked for.
    fn symbol(&mut self, result: &SearchResult) -> io::Result<()> {
        let Some(symbol) = &result.symbol else { return Ok(()) };
        let line = symbol.range.start.line.to_string();
        paint(&mut self.out, LINE, self.colors, line.as_bytes())?;
        writeln!(self.out, ":{} ({})", printable(symbol.name.as_bytes()), symbol.kind)
    }

    fn numbered(&mut self, line: &Line) -> io::Result<()> {
        paint(&mut self.out, LINE, self.colors, line.number.to_string().as_bytes())?;
        self.out.write_all(separator(line))
    }

    fn text(&mut self, line: &Line, cut: bool) -> io::Result<()> {
        let mut at = 0;
        for (start, end) in &line.matched {
            self.escaped(&line.text[at..*start], None)?;
            self.escaped(&line.text[*start..*end], Some(MATCH))?;
            at = *end;
        }
        self.escaped(&line.text[at..], None)?;
        if cut && self.safe {
            paint(&mut self.out, DIM, self.colors, " […]".as_bytes())?;
        }
        self.out.write_all(b"\n")
    }

    fn escaped(&mut self, bytes: &[u8], style: Option<Style>) -> io::Result<()> {
        let shown;
        let bytes = if self.safe {
            shown = printable(bytes);
            shown.as_bytes()
        } else {
            bytes
        };
        match style {
            Some(style) => paint(&mut self.out, style, self.colors, bytes),
            None => self.out.write_all(bytes),
        }
    }
}

/// `:` after a line with a match, `-` after one of context, as grep has it.
fn separator(line: &Line) -> &'static [u8] {
    if line.matched.is_empty() { b"-" } else { b":" }
}

/// The lines of a chunk with what is matched in each. A match over several lines is marked on all.
fn lines<'a>(chunk: &Chunk, content: &'a [u8]) -> Vec<Line<'a>> {
    let base = chunk.start.offset;
    let mut offset = 0;
    let mut found = Vec::new();
    for (number, whole) in
        (u64::from(chunk.start.line)..).zip(content.split_inclusive(|b| *b == b'\n'))
    {
        let text = whole.strip_suffix(b"\n").unwrap_or(whole);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let (line_start, line_end) = (offset, offset + whole.len());
        let mut matched: Vec<(usize, usize)> = Vec::new();
        for range in &chunk.ranges {
            let start = range.start.offset.saturating_sub(base) as usize;
            let end = range.end.offset.saturating_sub(base) as usize;
            // An empty match, such as that of `^`, still makes its line a matched one.
            if start < line_end && (end > line_start || start >= line_start) {
                let previous_end = matched.last().map_or(0, |(_, end)| *end);
                let from = start
                    .saturating_sub(line_start)
                    .clamp(previous_end, text.len().max(previous_end));
                let to = end.saturating_sub(line_start).clamp(from, text.len().max(from));
                matched.push((from, to));
            }
        }
        found.push(Line { number, text, matched });
        offset = line_end;
    }
    found
}

/// Writes facets, one list after another.
pub fn facets(out: &mut impl Write, facets: &Facets) -> io::Result<()> {
    let lists = [
        ("language", &facets.language),
        ("repository", &facets.repository),
        ("author", &facets.author),
        ("updated", &facets.updated),
    ];
    for (title, values) in lists {
        for facet in values {
            writeln!(out, "{title}\t{}\t{}", printable(facet.value.as_bytes()), facet.count)?;
        }
    }
    Ok(())
}

/// Writes how an answer was found.
pub fn explain(out: &mut impl Write, explain: &Explain) -> io::Result<()> {
    let block = |text: &str| printable_lines(text).join("\n  ");
    writeln!(out, "query:\n  {}", block(&explain.tree))?;
    writeln!(out, "trigrams:\n  {}", block(&explain.plan))?;
    writeln!(out, "segments:      {}", explain.segments)?;
    writeln!(out, "candidates:    {}", explain.candidates)?;
    writeln!(out, "verified:      {}", explain.verified)?;
    writeln!(out, "content read:  {} bytes", explain.bytes_read)?;
    writeln!(out, "postings read: {} bytes", explain.posting_bytes)?;
    writeln!(out, "time:")?;
    for step in &explain.steps {
        writeln!(out, "  {:<12} {:>9.3} ms", step.step, step.duration_ms)?;
    }
    Ok(())
}

fn printable_lines(text: &str) -> Vec<String> {
    text.lines().map(|line| printable(line.as_bytes())).collect()
}

#[cfg(test)]
mod tests;

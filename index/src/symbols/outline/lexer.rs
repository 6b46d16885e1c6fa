//! Reads C: words and punctuation; comments and preprocessor lines are taken out on the way.

use super::super::{Symbol, SymbolKind};
use super::output::Span;

/// The smallest part of C that matters here.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lexed {
    /// An identifier or keyword.
    Word(Span),
    /// A string.
    Text(Span),
    /// Punctuation, and where.
    Byte(u8, u32),
}

/// How far a reader was when an `#if` came.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct SavedState {
    pub(super) scopes: usize,
    pub(super) tokens: usize,
}

/// An `#if` whose `#endif` has not come yet.
#[derive(Clone, Copy)]
enum Conditional {
    /// Between declarations.
    Outside(SavedState),
    /// In a group of braces or parentheses: how deep it was then, and at the end of the first
    /// branch, which decides.
    Inside { depth: u32, first: Option<u32> },
}

/// How often a parenthesis that is never closed is looked for to the end of the file.
const MAX_UNCLOSED: u32 = 16;

pub(super) struct Lexer<'a> {
    content: &'a [u8],
    at: usize,
    /// Only blanks and comments since the line began: a `#` now is the preprocessor's.
    line_start: bool,
    conditionals: Vec<Conditional>,
    macros: Vec<Symbol>,
    max_macros: usize,
    unclosed: u32,
    /// Braces could not be counted: a body ends with a brace at the start of a line.
    by_column: bool,
    is_cpp: bool,
}

/// Bytes that a group may consist of without being looked at.
static PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let special = b"{}()[]\"'/\n";
    let mut index = 0;
    while index < special.len() {
        plain[special[index] as usize] = false;
        index += 1;
    }
    plain
};

/// Bytes of identifiers.
static WORD: [bool; 256] = {
    let mut word = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        word[byte] = b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80;
        byte += 1;
    }
    word
};

pub(super) fn is_word(byte: u8) -> bool {
    WORD[usize::from(byte)]
}

/// A position in a content of at most 4 GiB.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl<'a> Lexer<'a> {
    pub(super) fn new(content: &'a [u8], max_macros: usize) -> Self {
        Self {
            content,
            at: 0,
            line_start: true,
            conditionals: Vec::new(),
            macros: Vec::new(),
            max_macros,
            unclosed: 0,
            by_column: false,
            is_cpp: false,
        }
    }

    /// For C++, which has raw strings and numbers with apostrophes.
    pub(super) fn for_cpp(content: &'a [u8], max_macros: usize) -> Self {
        Self { is_cpp: true, ..Self::new(content, max_macros) }
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.content.get(self.at..).unwrap_or_default()
    }

    pub(super) fn content(&self) -> &'a [u8] {
        self.content
    }

    pub(super) fn end(&self) -> u32 {
        position(self.content.len().saturating_sub(1))
    }

    /// The last byte that was read.
    pub(super) fn here(&self) -> u32 {
        position(self.at.saturating_sub(1)).min(self.end())
    }

    pub(super) fn into_macros(self) -> Vec<Symbol> {
        self.macros
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.content.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// The next word or punctuation. `saved` is what an `#if` on the way has to remember.
    pub(super) fn next(&mut self, saved: SavedState) -> Option<Lexed> {
        while let Some(&byte) = self.content.get(self.at) {
            let start = self.at;
            match byte {
                b'\n' => {
                    self.at += 1;
                    self.line_start = true;
                    continue;
                }
                b' ' | b'\t' | b'\r' | b'\\' | 0x0b | 0x0c => {
                    self.at += 1;
                    continue;
                }
                b'#' if self.line_start => {
                    self.directive_outside(saved);
                    continue;
                }
                b'/' if self.skip_comment() => continue,
                _ => {}
            }
            self.line_start = false;
            return Some(match byte {
                b'"' => {
                    self.skip_quoted(b'"');
                    Lexed::Text(self.span(start))
                }
                b'\'' => {
                    self.skip_quoted(b'\'');
                    Lexed::Byte(b'\'', position(start))
                }
                b'0'..=b'9' => {
                    self.skip_word();
                    Lexed::Byte(b'0', position(start))
                }
                _ if is_word(byte) => {
                    self.skip_word();
                    Lexed::Word(self.span(start))
                }
                _ => {
                    self.at += 1;
                    Lexed::Byte(byte, position(start))
                }
            });
        }
        None
    }

    fn span(&self, start: usize) -> Span {
        Span { start: position(start), end: position(self.at) }
    }

    fn skip_word(&mut self) {
        while is_word(self.peek(0)) && self.at < self.content.len() {
            self.at += 1;
        }
    }

    /// Skips a comment that starts here; false where none does.
    fn skip_comment(&mut self) -> bool {
        let rest = &self.content[self.at..];
        let length = match rest.get(1) {
            Some(b'*') => memchr::memmem::find(&rest[2..], b"*/").map(|end| end + 4),
            Some(b'/') => memchr::memchr(b'\n', rest),
            _ => return false,
        };
        self.at += length.unwrap_or(rest.len());
        true
    }

    /// Skips a string or character; one that is not closed ends with its line.
    fn skip_quoted(&mut self, quote: u8) {
        if self.is_cpp && (self.skip_raw_string(quote) || self.skip_digit_separator(quote)) {
            return;
        }
        self.at += 1;
        while let Some(&byte) = self.content.get(self.at) {
            match byte {
                b'\\' => self.at += 1,
                b'\n' => return,
                _ if byte == quote => {
                    self.at += 1;
                    return;
                }
                _ => {}
            }
            self.at += 1;
        }
        self.at = self.content.len();
    }

    fn before(&self, back: usize) -> u8 {
        let at = self.at.checked_sub(back);
        at.and_then(|at| self.content.get(at)).copied().unwrap_or(0)
    }

    /// `R"mark(…)mark"`
    fn skip_raw_string(&mut self, quote: u8) -> bool {
        let is_prefix =
            !is_word(self.before(2)) || matches!(self.before(2), b'8' | b'u' | b'U' | b'L');
        if quote != b'"' || self.before(1) != b'R' || !is_prefix {
            return false;
        }
        let text = &self.content[self.at + 1..];
        let Some(length) =
            memchr::memchr2(b'(', b'\n', text).filter(|&length| text[length] == b'(')
        else {
            return false;
        };
        let end = [b")", &text[..length], b"\""].concat();
        let length = memchr::memmem::find(text, &end).map(|at| at + end.len());
        self.at += 1 + length.unwrap_or(text.len());
        true
    }

    /// The apostrophe in `1'000`.
    fn skip_digit_separator(&mut self, quote: u8) -> bool {
        let is_separator =
            quote == b'\'' && self.before(1).is_ascii_digit() && self.peek(1).is_ascii_hexdigit();
        self.at += usize::from(is_separator);
        is_separator
    }

    /// Skips from the bracket at `at`, which was just read, behind the one that closes it, and
    /// returns the place behind it. `None` where none does: then nothing was skipped.
    pub(super) fn skip_group(&mut self, at: u32, open: u8, close: u8) -> Option<u32> {
        if self.unclosed >= MAX_UNCLOSED {
            return None;
        }
        let before = (self.at, self.conditionals.len(), self.macros.len());
        self.at = at as usize + 1;
        if self.balance(open, close).is_some() {
            return Some(position(self.at));
        }
        self.unclosed += 1;
        self.at = before.0;
        self.conditionals.truncate(before.1);
        self.macros.truncate(before.2);
        None
    }

    /// The same for a function's body. Where braces cannot be counted, since macros hide some, it
    /// ends with the first one that starts a line.
    pub(super) fn skip_body(&mut self, at: u32) -> u32 {
        if !self.by_column {
            if let Some(end) = self.skip_group(at, b'{', b'}') {
                return end;
            }
            self.by_column = true;
        }
        self.at = at as usize + 1;
        let Some(length) = memchr::memmem::find(&self.content[self.at..], b"\n}") else {
            self.at = self.content.len();
            return position(self.at);
        };
        let end = self.at + length;
        while self.at < end {
            let line = &self.content[self.at..end];
            let length = memchr::memchr(b'\n', line).map_or(line.len(), |length| length + 1);
            if line.trim_ascii_start().starts_with(b"#") {
                self.at += length - line[..length].trim_ascii_start().len();
                self.directive_inside(&mut 1);
            } else {
                self.at += length;
            }
        }
        self.at = self.at.max(end + 2);
        position(self.at)
    }

    /// Reads up to behind the bracket that closes the open one.
    fn balance(&mut self, open: u8, close: u8) -> Option<()> {
        let mut depth = 1u32;
        loop {
            while PLAIN[usize::from(*self.content.get(self.at)?)] {
                self.at += 1;
            }
            let byte = self.content[self.at];
            match byte {
                _ if byte == open => depth += 1,
                _ if byte == close => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        return Some(());
                    }
                }
                b'"' | b'\'' => {
                    self.skip_quoted(byte);
                    continue;
                }
                b'/' if self.skip_comment() => continue,
                b'\n' => {
                    self.at += 1;
                    self.skip_blanks();
                    if self.peek(0) == b'#' {
                        self.directive_inside(&mut depth);
                    }
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    /// A preprocessor line between declarations.
    fn directive_outside(&mut self, saved: SavedState) {
        match self.directive() {
            Directive::If => self.conditionals.push(Conditional::Outside(saved)),
            Directive::Never => {
                self.conditionals.push(Conditional::Outside(saved));
                self.skip_branch(false);
            }
            // A branch that stops in the middle of something is the one that counts.
            Directive::Else => match self.conditionals.last() {
                Some(Conditional::Outside(at_if)) if *at_if == saved => {}
                None => {}
                Some(_) => self.skip_branch(true),
            },
            Directive::EndIf => {
                self.conditionals.pop();
            }
            Directive::Other => {}
        }
    }

    /// A preprocessor line in a group that is `depth` deep.
    fn directive_inside(&mut self, depth: &mut u32) {
        match self.directive() {
            Directive::If => {
                self.conditionals.push(Conditional::Inside { depth: *depth, first: None })
            }
            Directive::Never => {
                self.conditionals.push(Conditional::Inside { depth: *depth, first: None });
                self.skip_branch(false);
            }
            Directive::Else => match self.conditionals.last_mut() {
                Some(Conditional::Inside { depth: at_if, first }) => {
                    first.get_or_insert(*depth);
                    *depth = *at_if;
                }
                Some(Conditional::Outside(_)) => self.skip_branch(true),
                None => {}
            },
            Directive::EndIf => {
                if let Some(Conditional::Inside { first: Some(first), .. }) =
                    self.conditionals.pop()
                {
                    *depth = first;
                }
            }
            Directive::Other => {}
        }
    }

    /// Skips to the `#endif` of the current `#if`, or with `all` false to its next branch. Macros
    /// are still found there, as long as the branch is one that some build takes.
    fn skip_branch(&mut self, all: bool) {
        let mut nested = 0u32;
        while let Some(line_end) = self.next_line() {
            self.at = line_end;
            self.skip_blanks();
            if self.peek(0) != b'#' {
                continue;
            }
            match self.directive() {
                Directive::If | Directive::Never => nested += 1,
                Directive::EndIf if nested == 0 => {
                    self.conditionals.pop();
                    return;
                }
                Directive::EndIf => nested -= 1,
                Directive::Else if nested == 0 && !all => return,
                _ => {}
            }
        }
        self.at = self.content.len();
    }

    /// Behind the end of the current line; `None` at the end of the file.
    fn next_line(&self) -> Option<usize> {
        // A directive leaves its line's end to be read.
        memchr::memchr(b'\n', &self.content[self.at..]).map(|length| self.at + length + 1)
    }

    /// Reads the preprocessor line whose `#` is next, up to its end.
    fn directive(&mut self) -> Directive {
        let hash = self.at;
        self.at += 1;
        self.skip_blanks();
        let start = self.at;
        self.skip_word();
        let name = &self.content[start..self.at];
        self.skip_blanks();
        let directive = match name {
            b"define" => {
                self.define(hash);
                return Directive::Other;
            }
            b"if" if self.is_never() => Directive::Never,
            b"if" | b"ifdef" | b"ifndef" => Directive::If,
            b"else" | b"elif" | b"elifdef" | b"elifndef" => Directive::Else,
            b"endif" => Directive::EndIf,
            _ => Directive::Other,
        };
        self.skip_line();
        directive
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(0), b' ' | b'\t') {
            self.at += 1;
        }
    }

    fn is_never(&self) -> bool {
        self.peek(0) == b'0' && !is_word(self.peek(1))
    }

    fn define(&mut self, hash: usize) {
        let start = self.at;
        self.skip_word();
        let name = self.span(start);
        self.skip_line();
        if name.start < name.end && self.macros.len() <= self.max_macros {
            self.macros.push(Symbol {
                name: name.start..name.end,
                kind: SymbolKind::Macro,
                container: None,
                extent: position(hash)..position(self.at),
            });
        }
    }

    /// Reads up to the end of the line, with the lines that it is continued on.
    fn skip_line(&mut self) {
        while let Some(&byte) = self.content.get(self.at) {
            match byte {
                b'\n' => return,
                b'\\' => {
                    let is_crlf = self.peek(1) == b'\r' && self.peek(2) == b'\n';
                    self.at += if is_crlf { 3 } else { 2 };
                }
                b'"' => self.skip_quoted(b'"'),
                b'/' if self.skip_comment() => {}
                _ => self.at += 1,
            }
        }
        self.at = self.content.len();
    }
}

/// What a preprocessor line is.
enum Directive {
    If,
    /// `#if 0`
    Never,
    Else,
    EndIf,
    Other,
}

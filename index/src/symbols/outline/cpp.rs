//! C++ for its grammar: a copy of the content, byte for byte in its place, with blanks for what
//! holds no definitions (bodies, initialisers) and for macros that the grammar stumbles over
//! (`class EXPORT Name`, `name GUARDED_BY(lock)`).

use std::collections::VecDeque;
use std::sync::LazyLock;

use regex::bytes::Regex;

use super::super::Symbol;
use super::lexer::{Lexed, Lexer, SavedState};
use super::output::Span;
use super::words;

/// C++ that can be parsed, and the macros that were found on the way.
pub(in crate::symbols) struct Blanked {
    /// As long as the content.
    pub(in crate::symbols) text: Vec<u8>,
    /// With places in the content.
    pub(in crate::symbols) macros: Vec<Symbol>,
}

/// A part of a statement.
#[derive(Clone, Copy, PartialEq)]
enum Token {
    Word(Span),
    /// A macro's name, with its arguments where it has some.
    Macro(Span),
    Parens,
    /// Braces that were blanked.
    Braces,
    Byte(u8),
}

/// The tokens since the last semicolon or brace: of the earlier ones only what they say about the
/// statement is kept.
#[derive(Default)]
struct Statement {
    last: VecDeque<Token>,
    count: usize,
    has_scope_keyword: bool,
    has_value: bool,
    has_parens: bool,
    starts_with_extern: bool,
}

/// How many tokens are looked back at.
const LOOK_BACK: usize = 3;

impl Statement {
    fn push(&mut self, content: &[u8], token: Token) {
        match token {
            Token::Word(span) => {
                let word = span.of(content);
                self.has_scope_keyword |= words::opens_scope(word);
                self.starts_with_extern |= self.count == 0 && word == b"extern";
            }
            Token::Parens => self.has_parens = true,
            Token::Byte(b'=') => self.has_value = true,
            _ => {}
        }
        self.count += 1;
        self.last.push_back(token);
        if self.last.len() > LOOK_BACK {
            self.last.pop_front();
        }
    }

    fn pop(&mut self) {
        self.count -= usize::from(self.last.pop_back().is_some());
    }

    /// The token so many before the last one.
    fn back(&self, distance: usize) -> Option<Token> {
        let index = self.last.len().checked_sub(distance + 1)?;
        self.last.get(index).copied()
    }
}

/// Blanks what the grammar for C++ is better off without.
pub(in crate::symbols) fn blank(content: &[u8], max_macros: usize) -> Blanked {
    let mut pass = Pass {
        lexer: Lexer::for_cpp(content, max_macros),
        text: content.to_vec(),
        statement: Statement::default(),
    };
    pass.run();
    Blanked { text: pass.text, macros: pass.lexer.into_macros() }
}

struct Pass<'a> {
    lexer: Lexer<'a>,
    text: Vec<u8>,
    statement: Statement,
}

impl Pass<'_> {
    fn run(&mut self) {
        let nothing = SavedState { scopes: 0, tokens: 0 };
        while let Some(lexed) = self.lexer.next(nothing) {
            match lexed {
                Lexed::Word(span) => self.word(span),
                Lexed::Byte(b'(', at) => self.parens(at),
                Lexed::Byte(b'{', at) => self.open(at),
                Lexed::Byte(b'}' | b';', _) => self.clear(),
                Lexed::Byte(byte, _) => self.byte(byte),
                Lexed::Text(_) => self.push(Token::Byte(b'"')),
            }
        }
    }

    fn push(&mut self, token: Token) {
        self.statement.push(self.lexer.content(), token);
    }

    fn clear(&mut self) {
        self.statement = Statement::default();
    }

    fn of(&self, span: Span) -> &[u8] {
        span.of(self.lexer.content())
    }

    fn blank(&mut self, start: u32, end: u32) {
        if let Some(bytes) = self.text.get_mut(start as usize..end as usize) {
            bytes.fill(b' ');
        }
    }

    fn word(&mut self, span: Span) {
        self.blank_before(span);
        let word = self.of(span);
        let is_macro = words::is_macro_like(word);
        self.push(match is_macro {
            true => Token::Macro(span),
            false => Token::Word(span),
        });
    }

    /// A macro that stands before a word: `class EXPORT Name`, `EXPORT` alone in a line, and any
    /// before a word that starts a declaration.
    fn blank_before(&mut self, next: Span) {
        let Some(Token::Macro(name)) = self.statement.back(0) else {
            return;
        };
        let before = self.statement.back(1);
        let between = Span { start: name.end, end: next.start };
        let is_attribute = match before {
            None => self.of(between).contains(&b'\n') || words::starts_declaration(self.of(next)),
            Some(Token::Word(word)) => words::is_cpp_aggregate(self.of(word)),
            Some(Token::Byte(b':' | b'>')) => self.of(between).contains(&b'\n'),
            _ => false,
        };
        if is_attribute {
            self.blank(name.start, name.end);
            self.statement.pop();
        }
    }

    fn parens(&mut self, at: u32) {
        let Some(end) = self.lexer.skip_group(at, b'(', b')') else {
            return;
        };
        match self.statement.back(0) {
            // The arguments become part of the macro.
            Some(Token::Macro(name)) if self.statement.count > 1 || !self.is_followed_by_body() => {
                let start = name.start;
                self.statement.pop();
                self.push(Token::Macro(Span { start, end }));
            }
            _ => self.push(Token::Parens),
        }
        self.blank_after_declarator();
    }

    /// `TEST(A, b) {` is a function to the grammar, and may stay one.
    fn is_followed_by_body(&self) -> bool {
        self.lexer.rest().trim_ascii_start().starts_with(b"{")
    }

    fn byte(&mut self, byte: u8) {
        if matches!(byte, b'=' | b':' | b',') {
            self.blank_after_declarator();
        }
        self.push(Token::Byte(byte));
    }

    /// Macros behind a declarator: `f() LOCKS_EXCLUDED(a)`, `int a GUARDED_BY(b)`.
    fn blank_after_declarator(&mut self) {
        let back = |distance| self.statement.back(distance);
        let (Some(before_that), Some(before), Some(Token::Macro(name))) =
            (back(2), back(1), back(0))
        else {
            return;
        };
        let is_plain = |span: Span| !words::is_cpp_keyword(self.of(span));
        let is_attribute = match (before_that, before) {
            (_, Token::Parens) => true,
            (Token::Word(kind), Token::Word(word)) => {
                is_plain(word) && (is_plain(kind) || words::is_type(self.of(kind)))
            }
            (Token::Byte(b'*' | b'&' | b'>'), Token::Word(word)) => is_plain(word),
            _ => false,
        };
        if is_attribute {
            self.blank(name.start, name.end);
            self.statement.pop();
        }
    }

    fn open(&mut self, at: u32) {
        self.blank_after_declarator();
        if self.opens_scope() {
            self.clear();
            return;
        }
        let is_body = self.is_body();
        if let Some(end) = self.lexer.skip_group(at, b'{', b'}') {
            let (start, end) = (at + 1, end - 1);
            if !defines_type(self.of(Span { start, end })) {
                self.blank(start, end);
            }
        }
        match is_body {
            true => self.clear(),
            false => self.push(Token::Braces),
        }
    }

    /// Whether a brace now opens a class, a namespace or the like, where there is more to find.
    fn opens_scope(&self) -> bool {
        let statement = &self.statement;
        let ends_with_text = statement.back(0) == Some(Token::Byte(b'"'));
        let is_linkage = statement.starts_with_extern && ends_with_text;
        is_linkage || statement.has_scope_keyword && !statement.has_value && !self.is_body()
    }

    /// Whether a brace now opens a function's body.
    fn is_body(&self) -> bool {
        match self.statement.back(0) {
            Some(Token::Parens | Token::Braces) => true,
            Some(Token::Word(span)) => {
                let is_end = matches!(
                    self.of(span),
                    b"const" | b"noexcept" | b"override" | b"final" | b"volatile" | b"try"
                );
                is_end && self.statement.has_parens
            }
            Some(Token::Byte(b'&')) => self.statement.has_parens,
            _ => false,
        }
    }
}

/// Whether a body has a class of its own: then it is left to the grammar.
fn defines_type(body: &[u8]) -> bool {
    const LOCAL_TYPE: &str =
        r"(?-u)\b(?:class|struct|union|enum)\s+\w+(?:\s+final)?\s*(?::[^:;(){}][^;(){}]*)?\{";
    static REGEX: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(LOCAL_TYPE).ok());
    REGEX.as_ref().is_some_and(|regex| regex.is_match(body))
}

#[cfg(test)]
mod tests {
    use super::blank;

    #[track_caller]
    fn assert_blanked(code: &str, expected: &str) {
        let text = blank(code.as_bytes(), 100).text;
        assert_eq!(text.len(), code.len());
        let text = String::from_utf8_lossy(&text).into_owned();
        let squeezed: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(squeezed.join(" "), expected);
    }

    #[test]
    fn bodies_and_initialisers() {
        assert_blanked("int f() { return 1; }", "int f() { }");
        assert_blanked(
            "class A { int f() const { x(); } int b; };",
            "class A { int f() const { } int b; };",
        );
        assert_blanked("void f() { struct S { int a; }; }", "void f() { struct S { int a; }; }");
        assert_blanked("A::A() : a(1), b{2} { x; }", "A::A() : a(1), b{ } { }");
        assert_blanked(
            "namespace { template <class T> T f(T a) noexcept { g; } }",
            "namespace { template <class T> T f(T a) noexcept { } }",
        );
        assert_blanked("auto f = [](int a) { return a; };", "auto f = [](int a) { };");
        assert_blanked("enum class E : int { A, B };", "enum class E : int { A, B };");
        assert_blanked("struct S f() { x; }", "struct S f() { }");
        assert_blanked("extern \"C\" { int f() { x; } }", "extern \"C\" { int f() { } }");
        assert_blanked("struct S s = { 1 };", "struct S s = { };");
        assert_blanked(
            "auto s = R\"x(} )\" {)x\"; int f() { y; }",
            "auto s = R\"x(} )\" {)x\"; int f() { }",
        );
        assert_blanked("int f() { int a = 1'000; } int b;", "int f() { } int b;");
    }

    #[test]
    fn macros_in_declarations() {
        assert_blanked("class LIB_EXPORT A : public B { };", "class A : public B { };");
        assert_blanked("class LIB_ALIGN(8) A { };", "class A { };");
        assert_blanked("LIB_BEGIN\nnamespace a { }\n", "namespace a { }");
        assert_blanked("class A { Q_OBJECT\n int a; };", "class A { int a; };");
        assert_blanked("LIB_API void f();", "void f();");
        assert_blanked("BOOL f();", "BOOL f();");
        assert_blanked("void f() LOCKS_EXCLUDED(a) { x; }", "void f() { }");
        assert_blanked(
            "class A { int a GUARDED_BY(b); T* c GUARDED_BY(b) = 1; };",
            "class A { int a ; T* c = 1; };",
        );
        assert_blanked("const Type LIMIT = 1; int SIZE(3);", "const Type LIMIT = 1; int SIZE(3);");
        assert_blanked("TEST(A, b) { x; }", "TEST(A, b) { }");
        assert_blanked("enum E { ONE,\n TWO\n};", "enum E { ONE, TWO };");
    }
}

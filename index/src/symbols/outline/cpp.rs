//! C++ for its grammar: a copy of the content, byte for byte in its place, with blanks for what
//! holds no definitions (bodies, initialisers) and for macros that the grammar stumbles over
//! (`class EXPORT Name`, `name GUARDED_BY(lock)`).

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

/// A statement of more tokens is forgotten.
const MAX_TOKENS: usize = 4096;

/// Blanks what the grammar for C++ is better off without.
pub(in crate::symbols) fn blank(content: &[u8], max_macros: usize) -> Blanked {
    let mut pass = Pass {
        lexer: Lexer::for_cpp(content, max_macros),
        text: content.to_vec(),
        tokens: Vec::new(),
    };
    pass.run();
    Blanked {
        text: pass.text,
        macros: pass.lexer.into_macros(),
    }
}

struct Pass<'a> {
    lexer: Lexer<'a>,
    text: Vec<u8>,
    /// Since the last semicolon or brace.
    tokens: Vec<Token>,
}

impl Pass<'_> {
    fn run(&mut self) {
        let nothing = SavedState {
            scopes: 0,
            tokens: 0,
        };
        while let Some(lexed) = self.lexer.next(nothing) {
            match lexed {
                Lexed::Word(span) => self.word(span),
                Lexed::Byte(b'(', at) => self.parens(at),
                Lexed::Byte(b'{', at) => self.open(at),
                Lexed::Byte(b'}' | b';', _) => self.tokens.clear(),
                Lexed::Byte(byte, _) => self.byte(byte),
                Lexed::Text(_) => self.tokens.push(Token::Byte(b'"')),
            }
            if self.tokens.len() > MAX_TOKENS {
                self.tokens.clear();
            }
        }
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
        self.tokens.push(match is_macro {
            true => Token::Macro(span),
            false => Token::Word(span),
        });
    }

    /// A macro that stands before a word: `class EXPORT Name`, `EXPORT` alone in a line, and any
    /// before a word that starts a declaration.
    fn blank_before(&mut self, next: Span) {
        let Some(&Token::Macro(name)) = self.tokens.last() else {
            return;
        };
        let before = self
            .tokens
            .len()
            .checked_sub(2)
            .map(|index| self.tokens[index]);
        let between = Span {
            start: name.end,
            end: next.start,
        };
        let is_attribute = match before {
            None => self.of(between).contains(&b'\n') || words::starts_declaration(self.of(next)),
            Some(Token::Word(word)) => words::is_cpp_aggregate(self.of(word)),
            Some(Token::Byte(b':' | b'>')) => self.of(between).contains(&b'\n'),
            _ => false,
        };
        if is_attribute {
            self.blank(name.start, name.end);
            self.tokens.pop();
        }
    }

    fn parens(&mut self, at: u32) {
        let Some(end) = self.lexer.skip_group(at, b'(', b')') else {
            return;
        };
        match self.tokens.last() {
            // The arguments become part of the macro.
            Some(&Token::Macro(name)) if self.tokens.len() > 1 || !self.is_followed_by_body() => {
                self.tokens.pop();
                self.tokens.push(Token::Macro(Span {
                    start: name.start,
                    end,
                }));
            }
            _ => self.tokens.push(Token::Parens),
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
        self.tokens.push(Token::Byte(byte));
    }

    /// Macros behind a declarator: `f() LOCKS_EXCLUDED(a)`, `int a GUARDED_BY(b)`.
    fn blank_after_declarator(&mut self) {
        let [.., before_that, before, Token::Macro(name)] = self.tokens[..] else {
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
            self.tokens.pop();
        }
    }

    fn open(&mut self, at: u32) {
        self.blank_after_declarator();
        if self.opens_scope() {
            self.tokens.clear();
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
            true => self.tokens.clear(),
            false => self.tokens.push(Token::Braces),
        }
    }

    /// Whether a brace now opens a class, a namespace or the like, where there is more to find.
    fn opens_scope(&self) -> bool {
        let words = self.tokens.iter().filter_map(|token| match token {
            Token::Word(span) => Some(self.of(*span)),
            _ => None,
        });
        let has_keyword = words.clone().any(words::opens_scope);
        let is_linkage = words.clone().next() == Some(b"extern")
            && self.tokens.last() == Some(&Token::Byte(b'"'));
        has_keyword && !self.is_body() && !self.tokens.contains(&Token::Byte(b'=')) || is_linkage
    }

    /// Whether a brace now opens a function's body.
    fn is_body(&self) -> bool {
        match self.tokens.last() {
            Some(Token::Parens | Token::Braces) => true,
            Some(Token::Word(span)) => {
                let word = self.of(*span);
                matches!(
                    word,
                    b"const" | b"noexcept" | b"override" | b"final" | b"volatile" | b"try"
                ) && self.tokens.contains(&Token::Parens)
            }
            Some(Token::Byte(b'&')) => self.tokens.contains(&Token::Parens),
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
        assert_blanked(
            "void f() { struct S { int a; }; }",
            "void f() { struct S { int a; }; }",
        );
        assert_blanked("A::A() : a(1), b{2} { x; }", "A::A() : a(1), b{ } { }");
        assert_blanked(
            "namespace { template <class T> T f(T a) noexcept { g; } }",
            "namespace { template <class T> T f(T a) noexcept { } }",
        );
        assert_blanked(
            "auto f = [](int a) { return a; };",
            "auto f = [](int a) { };",
        );
        assert_blanked(
            "enum class E : int { A, B };",
            "enum class E : int { A, B };",
        );
        assert_blanked("struct S f() { x; }", "struct S f() { }");
        assert_blanked(
            "extern \"C\" { int f() { x; } }",
            "extern \"C\" { int f() { } }",
        );
        assert_blanked("struct S s = { 1 };", "struct S s = { };");
        assert_blanked(
            "auto s = R\"x(} )\" {)x\"; int f() { y; }",
            "auto s = R\"x(} )\" {)x\"; int f() { }",
        );
        assert_blanked("int f() { int a = 1'000; } int b;", "int f() { } int b;");
    }

    #[test]
    fn macros_in_declarations() {
        assert_blanked(
            "class LIB_EXPORT A : public B { };",
            "class A : public B { };",
        );
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
        assert_blanked(
            "const Type LIMIT = 1; int SIZE(3);",
            "const Type LIMIT = 1; int SIZE(3);",
        );
        assert_blanked("TEST(A, b) { x; }", "TEST(A, b) { }");
        assert_blanked("enum E { ONE,\n TWO\n};", "enum E { ONE, TWO };");
    }
}

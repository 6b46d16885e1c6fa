//! The outline of a C file: its declarations as plain C, without what the grammar stumbles over or
//! wastes its time on.
//!
//! Real C cannot be parsed without its preprocessor: attributes are macros before, between and
//! after the words of a declaration, branches of `#if` each hold half a function, definitions hide
//! in `DEFINE_MUTEX(name)`. And most of a file is bodies, initialisers, comments and lists of
//! `#define`, in which there is nothing to be found but further macros. So one pass over the bytes
//! (at hundreds of megabytes a second, where the grammar makes ten) finds the macros itself and
//! writes down the rest as `int name(){}`, `int name;`, `struct tag{int field;};`, remembering
//! where each name comes from. Only this outline goes to tree-sitter.

pub(super) mod cpp;
mod declaration;
mod lexer;
mod output;
mod words;

use declaration::{Level, Tail, Token};
use lexer::{Lexed, Lexer, SavedState};
use output::Output;

use super::Symbol;

/// An outline and the macros that were found on the way.
pub(super) struct Outline {
    output: Output,
    macros: Vec<Symbol>,
}

impl Outline {
    /// The outline of `content`, which is to be C; anything else gives a useless but valid one.
    pub(super) fn of(content: &[u8], max_macros: usize) -> Self {
        let mut builder = Builder {
            lexer: Lexer::new(content, max_macros),
            output: Output::default(),
            scopes: Vec::new(),
            tokens: Vec::new(),
            state: State::default(),
        };
        builder.run();
        Self { output: builder.output, macros: builder.lexer.into_macros() }
    }

    /// The C to be parsed.
    pub(super) fn text(&self) -> &[u8] {
        self.output.text()
    }

    /// Moves a symbol of the outline to its place in the content.
    pub(super) fn place(&self, symbol: &mut Symbol) {
        self.output.place(symbol);
    }

    /// The macros, with places in the content.
    pub(super) fn into_macros(self) -> Vec<Symbol> {
        self.macros
    }
}

/// What a brace opened.
#[derive(Clone, Copy, PartialEq)]
enum Scope {
    /// `extern "C" {`, which is left out of the outline.
    Linkage,
    /// A struct or union.
    Members { is_typedef: bool },
    /// An enumeration.
    Enumerators { is_typedef: bool },
}

/// What is known about the statement that is being read.
#[derive(Clone, Copy, Default)]
struct State {
    /// It began with a struct's body; this is what follows.
    after_body: bool,
    is_typedef: bool,
    /// Behind `=` or a bit field's `:`; up to the next comma nothing matters.
    in_value: bool,
    /// Declarations of parameters between a function's head and its body, as in old C.
    parameters: usize,
}

struct Builder<'a> {
    lexer: Lexer<'a>,
    output: Output,
    scopes: Vec<Scope>,
    tokens: Vec<Token>,
    state: State,
}

/// Deeper nested structs are not looked into.
const MAX_SCOPES: usize = 256;
/// A statement of more words is not C.
const MAX_TOKENS: usize = 4096;
/// A function of more parameters is not declared in the old style.
const MAX_PARAMETERS: usize = 32;

impl Builder<'_> {
    fn run(&mut self) {
        loop {
            let saved = SavedState { scopes: self.scopes.len(), tokens: self.tokens.len() };
            let Some(lexed) = self.lexer.next(saved) else {
                break;
            };
            self.take(lexed);
            if self.tokens.len() > MAX_TOKENS {
                self.abandon();
            }
        }
        self.close_all();
    }

    fn take(&mut self, lexed: Lexed) {
        match lexed {
            Lexed::Word(range) => self.word(range),
            Lexed::Text(range) => self.push(Token::Text(range)),
            Lexed::Byte(b'(', at) => self.group(at, b'(', b')'),
            Lexed::Byte(b'[', at) => self.group(at, b'[', b']'),
            Lexed::Byte(b'{', at) => self.open(at),
            Lexed::Byte(b'}', at) => self.close(at),
            Lexed::Byte(b';', at) => self.end(at),
            Lexed::Byte(b',', at) => self.comma(at),
            Lexed::Byte(b'=', _) => self.state.in_value = true,
            Lexed::Byte(b':', _) => self.state.in_value = !self.is_enum_head(),
            Lexed::Byte(b'*', at) => self.push(Token::Star(at)),
            Lexed::Byte(..) => {}
        }
    }

    fn push(&mut self, token: Token) {
        if !self.state.in_value {
            self.tokens.push(token);
        }
    }

    fn level(&self) -> Level {
        match self.scopes.last() {
            Some(Scope::Members { .. }) => Level::Members,
            Some(Scope::Enumerators { .. }) => Level::Enumerators,
            Some(Scope::Linkage) | None => Level::File,
        }
    }

    /// `EXPORT_SYMBOL(x)` needs no semicolon: a word on the next line starts a new statement.
    fn word(&mut self, range: output::Span) {
        if self.level() == Level::File
            && declaration::is_complete_call(self.lexer.content(), &self.tokens, range)
        {
            self.statement(Tail::Semicolon(range.start));
        }
        self.push(Token::Word(range));
    }

    fn group(&mut self, at: u32, open: u8, close: u8) {
        let end = self.lexer.skip_group(at, open, close);
        if let Some(end) = end {
            let span = output::Span { start: at, end };
            self.push(match open {
                b'(' => Token::Parens(span),
                _ => Token::Brackets,
            });
        }
    }

    /// Whether a colon now names the type of an enumeration: `enum name : u8 {`.
    fn is_enum_head(&self) -> bool {
        declaration::is_enum_head(self.lexer.content(), &self.tokens)
    }

    fn open(&mut self, at: u32) {
        if self.state.in_value || self.level() == Level::Enumerators {
            self.lexer.skip_group(at, b'{', b'}');
            return;
        }
        let content = self.lexer.content();
        if let Some(head) = declaration::aggregate_head(content, &self.tokens)
            && self.scopes.len() < MAX_SCOPES
        {
            let is_typedef = declaration::is_typedef(content, &self.tokens);
            self.end_body(at);
            self.output.aggregate(content, &head, is_typedef, at);
            self.scopes.push(match head.is_enum {
                true => Scope::Enumerators { is_typedef },
                false => Scope::Members { is_typedef },
            });
            self.reset();
        } else if declaration::is_linkage(&self.tokens) {
            self.scopes.push(Scope::Linkage);
            self.abandon();
        } else {
            let end = self.lexer.skip_body(at);
            self.statement(Tail::Body { open: at, end });
        }
    }

    fn close(&mut self, at: u32) {
        match self.scopes.last() {
            None => {}
            Some(Scope::Linkage) => {
                self.scopes.pop();
            }
            Some(&Scope::Members { is_typedef }) => {
                self.statement(Tail::Semicolon(at));
                self.close_aggregate(at, is_typedef);
                return;
            }
            Some(&Scope::Enumerators { is_typedef }) => {
                self.enumerator(at);
                self.close_aggregate(at, is_typedef);
                return;
            }
        }
        self.abandon();
    }

    fn close_aggregate(&mut self, at: u32, is_typedef: bool) {
        self.scopes.pop();
        self.reset();
        self.output.verbatim_byte(b'}', at);
        self.state = State { after_body: true, is_typedef, ..State::default() };
    }

    fn end(&mut self, at: u32) {
        if self.level() == Level::Enumerators {
            self.reset();
        } else if self.state.parameters < MAX_PARAMETERS
            && declaration::drop_old_style_parameter(self.lexer.content(), &mut self.tokens)
        {
            self.state.parameters += 1;
        } else {
            self.statement(Tail::Semicolon(at));
        }
    }

    fn comma(&mut self, at: u32) {
        self.state.in_value = false;
        match self.level() {
            Level::Enumerators => self.enumerator(at),
            _ => self.push(Token::Comma),
        }
    }

    fn enumerator(&mut self, at: u32) {
        if let Some(name) = declaration::enumerator(&self.tokens) {
            self.output.verbatim(self.lexer.content(), name);
            self.output.verbatim_byte(b',', at);
        }
        self.reset();
    }

    /// Writes what the words so far declare.
    fn statement(&mut self, tail: Tail) {
        let (level, state) = (self.level(), self.state);
        let content = self.lexer.content();
        let context = declaration::Context {
            content,
            level,
            after_body: state.after_body,
            is_typedef: state.is_typedef || declaration::is_typedef(content, &self.tokens),
        };
        declaration::write(&context, &self.tokens, tail, &mut self.output);
        self.reset();
    }

    /// Gives up the statement that is being read.
    fn abandon(&mut self) {
        self.end_body(self.lexer.here());
        self.reset();
    }

    /// Ends a struct whose semicolon did not come.
    fn end_body(&mut self, at: u32) {
        if self.state.after_body {
            self.output.literal(b";", at);
        }
    }

    fn reset(&mut self) {
        self.tokens.clear();
        self.state = State::default();
    }

    /// A file that ends in the middle of a struct is still one whose fields are known.
    fn close_all(&mut self) {
        let end = self.lexer.end();
        while let Some(scope) = self.scopes.pop() {
            if scope != Scope::Linkage {
                self.output.literal(b"};", end);
            }
        }
        self.end_body(end);
    }
}

#[cfg(test)]
mod tests;

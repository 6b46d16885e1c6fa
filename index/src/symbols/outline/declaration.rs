//! What the words of a declaration declare.

use super::lexer::is_word;
use super::output::{Output, Span};
use super::words;

/// A part of a statement.
#[derive(Clone, Copy, Debug)]
pub(super) enum Token {
    Word(Span),
    Text(Span),
    /// Parentheses and what is between them.
    Parens(Span),
    Brackets,
    Star(u32),
    Comma,
}

/// Where a statement stands.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Level {
    File,
    Members,
    Enumerators,
}

/// How a statement ends.
#[derive(Clone, Copy)]
pub(super) enum Tail {
    Semicolon(u32),
    Body { open: u32, end: u32 },
}

/// What is known about a statement beside its words.
pub(super) struct Context<'a> {
    pub(super) content: &'a [u8],
    pub(super) level: Level,
    pub(super) after_body: bool,
    pub(super) is_typedef: bool,
}

/// `struct tag` before a brace.
pub(super) struct Head {
    /// Where the statement starts.
    pub(super) start: u32,
    pub(super) keyword: Span,
    pub(super) tag: Option<Span>,
    pub(super) is_enum: bool,
}

impl Token {
    fn word(self, content: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Word(span) => Some(span.of(content)),
            _ => None,
        }
    }

    fn start(self) -> Option<u32> {
        match self {
            Self::Word(span) | Self::Text(span) | Self::Parens(span) => Some(span.start),
            Self::Star(at) => Some(at),
            Self::Brackets | Self::Comma => None,
        }
    }
}

pub(super) fn is_typedef(content: &[u8], tokens: &[Token]) -> bool {
    let mut words = tokens.iter().take(3).filter_map(|token| token.word(content));
    words.any(|word| word == b"typedef")
}

/// `extern "C" {`
pub(super) fn is_linkage(tokens: &[Token]) -> bool {
    matches!(tokens, [Token::Word(_), Token::Text(_)])
}

/// `enum name` before the colon of its type.
pub(super) fn is_enum_head(content: &[u8], tokens: &[Token]) -> bool {
    let mut last = tokens.iter().rev().take(2).filter_map(|token| token.word(content));
    last.any(|word| word == b"enum")
}

/// The struct, union or enumeration whose body a brace now opens.
pub(super) fn aggregate_head(content: &[u8], tokens: &[Token]) -> Option<Head> {
    let is_keyword = |token: &Token| token.word(content).is_some_and(words::is_aggregate);
    let at = tokens.iter().rposition(is_keyword)?;
    let keyword = match tokens[at] {
        Token::Word(span) => span,
        _ => return None,
    };
    let mut tag: Option<Span> = None;
    let mut rest = tokens[at + 1..].iter().peekable();
    while let Some(token) = rest.next() {
        let Token::Word(span) = *token else {
            return None;
        };
        let has_parens = rest.next_if(|next| matches!(next, Token::Parens(_))).is_some();
        let word = span.of(content);
        if has_parens {
            // `struct name *function(…) {` is no struct's body, `struct __aligned(8) name {` is.
            if !words::is_attribute(word)
                && !words::is_attribute_like(word)
                && !words::is_macro_like(word)
            {
                return None;
            }
        } else if tag.is_none_or(|tag| words::is_attribute_like(tag.of(content))) {
            tag = Some(span);
        }
    }
    Some(Head {
        start: tokens.first().and_then(|token| token.start()).unwrap_or(keyword.start),
        keyword,
        tag,
        is_enum: keyword.of(content) == b"enum",
    })
}

/// The name of an enumerator; macros that make several have none.
pub(super) fn enumerator(tokens: &[Token]) -> Option<Span> {
    match tokens {
        [Token::Word(name)] => Some(*name),
        [Token::Word(name), Token::Word(_), ..] => Some(*name),
        _ => None,
    }
}

/// Whether `tokens` are a macro's use that `next`, a word on a new line, does not belong to.
pub(super) fn is_complete_call(content: &[u8], tokens: &[Token], next: Span) -> bool {
    let Some((name, arguments)) = call(content, tokens) else {
        return false;
    };
    let between = Span { start: arguments.end, end: next.start };
    let word = next.of(content);
    between.of(content).contains(&b'\n')
        && (words::is_macro_like(name.of(content))
            || matches!(word, b"static" | b"extern" | b"typedef" | b"inline"))
}

/// The name and arguments where all of a statement is `MACRO(…)`, or that after `static`.
fn call(content: &[u8], tokens: &[Token]) -> Option<(Span, Span)> {
    match tokens {
        [qualifiers @ .., Token::Word(name), Token::Parens(arguments)] => {
            let is_qualifier = |token: &Token| token.word(content).is_some_and(words::is_qualifier);
            qualifiers.iter().all(is_qualifier).then_some((*name, *arguments))
        }
        _ => None,
    }
}

/// In `f(a) int a; {` the declaration of a parameter is taken away. True where it was one.
pub(super) fn drop_old_style_parameter(content: &[u8], tokens: &mut Vec<Token>) -> bool {
    let Some(at) = tokens.iter().position(|token| matches!(token, Token::Parens(_))) else {
        return false;
    };
    let Token::Parens(parameters) = tokens[at] else {
        return false;
    };
    let declared: Vec<&[u8]> =
        tokens[at + 1..].iter().filter_map(|token| token.word(content)).collect();
    let [first, .., name] = declared[..] else {
        return false;
    };
    let is_type = words::is_type(first) || words::is_qualifier(first) || words::is_aggregate(first);
    let is_parameter =
        is_type && arguments(content, parameters).any(|span| span.of(content) == name);
    if is_parameter {
        tokens.truncate(at + 1);
    }
    is_parameter
}

/// The arguments that are single words, in order; others are empty.
fn arguments(content: &[u8], parens: Span) -> impl Iterator<Item = Span> {
    let inside = Span { start: parens.start + 1, end: parens.end.saturating_sub(1) };
    let mut start = inside.start;
    inside.of(content).split(|&byte| byte == b',').map(move |argument| {
        let blanks = argument.len() - argument.trim_ascii_start().len();
        let trimmed = argument.trim_ascii();
        let is_single = trimmed.iter().all(|&byte| is_word(byte))
            && trimmed.first().is_some_and(|byte| !byte.is_ascii_digit());
        let length = if is_single { trimmed.len() } else { 0 };
        let at = start + position(blanks);
        start += position(argument.len()) + 1;
        Span { start: at, end: at + position(length) }
    })
}

fn position(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn argument(content: &[u8], parens: Span, index: usize) -> Option<Span> {
    arguments(content, parens).nth(index).filter(|span| span.start < span.end)
}

/// Writes what a statement declares, if it is a definition.
pub(super) fn write(context: &Context<'_>, tokens: &[Token], tail: Tail, output: &mut Output) {
    let content = context.content;
    if context.after_body {
        output.literal(b" ", first_start(tokens, tail));
        declarators(context, tokens, tail, output);
        finish(tail, output);
        return;
    }
    let words = || tokens.iter().filter_map(|token| token.word(content));
    if tokens.is_empty() || words().next().is_some_and(words::is_statement) {
        return;
    }
    if let Some((name, arguments)) = call(content, tokens) {
        macro_use(context, tokens, (name, arguments), tail, output);
        return;
    }
    let is_declaration = matches!(tail, Tail::Semicolon(_)) && !context.is_typedef;
    if is_declaration && words().any(|word| word == b"extern") {
        return;
    }
    let start = output.mark();
    let head: &[u8] = if context.is_typedef { b"typedef int " } else { b"int " };
    output.literal(head, first_start(tokens, tail));
    if declarators(context, tokens, tail, output) {
        finish(tail, output);
    } else {
        output.undo(start);
    }
}

fn first_start(tokens: &[Token], tail: Tail) -> u32 {
    let first = tokens.iter().find_map(|token| token.start());
    first.unwrap_or(match tail {
        Tail::Semicolon(at) => at,
        Tail::Body { open, .. } => open,
    })
}

fn finish(tail: Tail, output: &mut Output) {
    match tail {
        Tail::Semicolon(at) => output.verbatim_byte(b';', at),
        Tail::Body { open, end } => {
            output.verbatim_byte(b'{', open);
            output.verbatim_byte(b'}', end.saturating_sub(1));
        }
    }
}

/// `MACRO(…);` and `MACRO(…) {`, which define what one of the arguments names, or nothing.
fn macro_use(
    context: &Context<'_>,
    tokens: &[Token],
    (name, parens): (Span, Span),
    tail: Tail,
    output: &mut Output,
) {
    let content = context.content;
    let word = name.of(content);
    let is_static = tokens.iter().any(|token| token.word(content) == Some(b"static"));
    let defined = match (tail, context.level) {
        (Tail::Body { .. }, _) if words::is_macro_like(word) => {
            let count = arguments(content, parens).count();
            argument(content, parens, words::function_argument(word, count))
        }
        (Tail::Body { .. }, _) => Some(name),
        (_, Level::Members) => {
            words::member_argument(word).and_then(|at| argument(content, parens, at))
        }
        _ if !words::is_macro_like(word) => None,
        _ => words::defined_argument(word, is_static).and_then(|at| argument(content, parens, at)),
    };
    if let Some(defined) = defined {
        output.literal(b"int ", first_start(tokens, tail));
        output.verbatim(content, defined);
        if matches!(tail, Tail::Body { .. }) {
            output.literal(b"()", parens.start);
        }
        finish(tail, output);
    }
}

/// Writes the names in `type a, *b[2], (*c)(int)`. False where there is none, and for a prototype.
fn declarators(context: &Context<'_>, tokens: &[Token], tail: Tail, output: &mut Output) -> bool {
    let mut written = 0;
    let mut has_type = context.after_body;
    for part in tokens.split(|token| matches!(token, Token::Comma)) {
        let found = declarator(context, part, has_type);
        has_type = true;
        let Some(found) = found else {
            continue;
        };
        let is_body = matches!(tail, Tail::Body { .. });
        if found.is_function != is_body && !context.is_typedef {
            continue;
        }
        if written > 0 {
            output.literal(b",", found.name.start);
        }
        output.verbatim(context.content, found.name);
        if found.has_parameters {
            output.literal(b"()", found.name.end);
        }
        written += 1;
        if is_body {
            break;
        }
    }
    written > 0
}

/// One name, or the parentheses that it is in.
struct Declarator {
    name: Span,
    /// A function itself, not a pointer to one.
    is_function: bool,
    has_parameters: bool,
}

/// The name in one declarator, which for the first one follows the type.
fn declarator(context: &Context<'_>, tokens: &[Token], has_type: bool) -> Option<Declarator> {
    let mut names = Names::new(context.content, has_type);
    let mut index = 0;
    while let Some(&token) = tokens.get(index) {
        let next = tokens.get(index + 1).copied();
        index += 1;
        match (token, next) {
            (Token::Word(word), Some(Token::Parens(parens))) if names.is_call(word, parens) => {
                index += 1;
                if names.call(word, tokens.get(index).copied()) {
                    return Some(Declarator {
                        name: word,
                        is_function: true,
                        has_parameters: true,
                    });
                }
            }
            (Token::Word(word), _) => names.word(word),
            // `(*name)(…)`; a group before any name that is none is an attribute's.
            (Token::Parens(parens), _) if is_nested(context.content, parens) => {
                let has_parameters = matches!(next, Some(Token::Parens(_)));
                return Some(Declarator {
                    name: parens,
                    is_function: has_parameters && !is_plain_pointer(context.content, parens),
                    has_parameters,
                });
            }
            (Token::Star(_), _) => names.star(),
            (Token::Brackets, _) => break,
            _ => {}
        }
    }
    let name = names.last(context.is_typedef, context.after_body)?;
    Some(Declarator { name, is_function: false, has_parameters: false })
}

/// `(*name)`, as opposed to `(*name(int))`, which is a function.
fn is_plain_pointer(content: &[u8], parens: Span) -> bool {
    let text = parens.of(content);
    is_pointer(content, parens) && memchr::memchr_iter(b'(', text).count() == 1
}

/// Whether parentheses hold a pointer's declarator: `(*name)`.
fn is_pointer(content: &[u8], parens: Span) -> bool {
    let text = parens.of(content);
    let inside = text.get(1..).unwrap_or_default().trim_ascii_start();
    matches!(inside.first(), Some(b'*' | b'^'))
}

/// Whether parentheses hold a declarator: `(*name)`, `(name)`.
fn is_nested(content: &[u8], parens: Span) -> bool {
    let text = parens.of(content);
    let inside = text.get(1..).unwrap_or_default();
    is_pointer(content, parens)
        || memchr::memchr(b')', inside).is_some_and(|end| {
            let word = inside[..end].trim_ascii();
            !word.is_empty() && word.iter().all(|&byte| is_word(byte))
        })
}

/// The words of a declarator that may be its name.
struct Names<'a> {
    content: &'a [u8],
    /// A word that can only be a type was seen.
    has_type: bool,
    /// The next word is the name of a struct.
    tag_next: bool,
    /// Words since the last star.
    words: Vec<Span>,
}

impl<'a> Names<'a> {
    fn new(content: &'a [u8], has_type: bool) -> Self {
        Self { content, has_type, tag_next: false, words: Vec::new() }
    }

    fn word(&mut self, word: Span) {
        let text = word.of(self.content);
        if words::is_qualifier(text) {
            return;
        }
        if words::is_aggregate(text) {
            self.tag_next = true;
            self.found_type();
        } else if words::is_type(text) {
            self.found_type();
        } else if !std::mem::take(&mut self.tag_next) {
            self.words.push(word);
        }
    }

    /// What came before a type were attributes.
    fn found_type(&mut self) {
        self.has_type = true;
        self.words.clear();
    }

    /// What came before a star was a type.
    fn star(&mut self) {
        self.found_type();
    }

    /// Words that can be the name, the type left out.
    fn candidates(&self) -> &[Span] {
        match self.has_type {
            true => &self.words,
            false => self.words.get(1..).unwrap_or_default(),
        }
    }

    fn is_plain(&self, word: &Span) -> bool {
        !words::is_attribute_like(word.of(self.content))
    }

    /// Whether parentheses behind `word` are its own: not in `int (*name)(int)`.
    fn is_call(&self, word: Span, parens: Span) -> bool {
        let text = word.of(self.content);
        let is_type = words::is_type(text) || words::is_qualifier(text) || self.tag_next;
        let is_pointer = is_pointer(self.content, parens);
        !(is_type || words::is_aggregate(text)) && (!is_pointer || words::is_attribute_like(text))
    }

    /// `word(…)`: true where the word is a function's name, false for an attribute.
    fn call(&mut self, word: Span, next: Option<Token>) -> bool {
        let text = word.of(self.content);
        if words::is_attribute(text) {
            return false;
        }
        if words::is_type_operator(text) {
            self.found_type();
            return false;
        }
        let has_name = match self.has_type {
            true => self.words.iter().any(|word| self.is_plain(word)),
            false => self.words.len() > 1,
        };
        let leads_on = match next {
            Some(Token::Word(next)) => self.is_plain(&next),
            Some(Token::Star(_)) => true,
            _ => false,
        };
        if words::is_attribute_like(text) {
            return !has_name && !leads_on;
        }
        if words::is_macro_like(text) && leads_on {
            // A macro that makes a type: `STACK_OF(X509) *certificates`.
            self.found_type();
            return false;
        }
        !(has_name && words::is_macro_like(text))
    }

    /// The name of what is not a function.
    fn last(&self, is_typedef: bool, after_body: bool) -> Option<Span> {
        let candidates = self.candidates();
        let plain = candidates.iter().rfind(|word| self.is_plain(word));
        match plain {
            Some(name) => Some(*name),
            // `} __packed;` declares nothing.
            None if after_body && !is_typedef => None,
            None => candidates.last().copied(),
        }
    }
}

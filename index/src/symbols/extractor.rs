//! Content in, symbols out.

use std::ops::ControlFlow;
use std::time::Instant;

use tree_sitter::{ParseOptions, Parser, Tree};

use super::grammar::Grammar;
use super::outline::{Outline, cpp};
use super::visit::{Found, visit};
use super::{Limits, Symbol, SymbolError};
use crate::languages::Language;

/// How much larger than what is parsed a file may be whose outline is parsed.
const OUTLINE_FACTOR: usize = 16;

/// Finds the symbols of files; keep one for each thread, since it holds a parser.
#[derive(Default)]
pub struct Extractor {
    parser: Parser,
    grammar: Option<Grammar>,
    cut: bool,
}

impl Extractor {
    /// An extractor for any number of files in any languages.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is a grammar for this language.
    #[must_use]
    pub fn supports(language: Language) -> bool {
        Grammar::of(language).is_some()
    }

    /// Whether the last file had more symbols than its limit.
    #[must_use]
    pub fn was_cut(&self) -> bool {
        self.cut
    }

    /// The symbols of a file, by where their names are; none for a language without a grammar.
    ///
    /// # Errors
    ///
    /// When the file is over the limits for size or time.
    pub fn extract(
        &mut self,
        language: Language,
        content: &[u8],
        limits: &Limits,
    ) -> Result<Vec<Symbol>, SymbolError> {
        self.cut = false;
        let Some(grammar) = Grammar::of(language) else {
            return Ok(Vec::new());
        };
        let size_limit = match grammar {
            Grammar::C => limits.size.saturating_mul(OUTLINE_FACTOR),
            _ => limits.size,
        };
        check_size(content, size_limit)?;
        self.use_grammar(grammar, language)?;
        let deadline = Deadline::after(limits);
        let mut found = match grammar {
            Grammar::C => self.find_by_outline(content, limits, &deadline)?,
            Grammar::Cpp => self.find_in_cpp(content, limits, &deadline)?,
            _ => self.find(grammar, content, limits, &deadline)?,
        };
        found.symbols = in_order(found.symbols);
        self.cut = found.cut || found.symbols.len() > limits.symbols;
        truncate(&mut found.symbols, limits.symbols);
        Ok(found.symbols)
    }

    fn find(
        &mut self,
        grammar: Grammar,
        content: &[u8],
        limits: &Limits,
        deadline: &Deadline,
    ) -> Result<Found, SymbolError> {
        let tree = self.parse(content, deadline)?;
        let go_on = || deadline.check();
        match visit(&tree, content, grammar.table(), limits.symbols, go_on) {
            ControlFlow::Continue(found) => Ok(found),
            ControlFlow::Break(()) => Err(deadline.error()),
        }
    }

    /// The grammar sees the declarations only, the macros are found without it.
    fn find_by_outline(
        &mut self,
        content: &[u8],
        limits: &Limits,
        deadline: &Deadline,
    ) -> Result<Found, SymbolError> {
        let outline = Outline::of(content, limits.symbols);
        check_size(outline.text(), limits.size)?;
        let mut found = self.find(Grammar::C, outline.text(), limits, deadline)?;
        for symbol in &mut found.symbols {
            outline.place(symbol);
        }
        found.symbols.extend(outline.into_macros());
        Ok(found)
    }

    /// The grammar sees neither bodies nor some macros.
    fn find_in_cpp(
        &mut self,
        content: &[u8],
        limits: &Limits,
        deadline: &Deadline,
    ) -> Result<Found, SymbolError> {
        let blanked = cpp::blank(content, limits.symbols);
        let mut found = self.find(Grammar::Cpp, &blanked.text, limits, deadline)?;
        found.symbols.extend(blanked.macros);
        Ok(found)
    }

    fn use_grammar(&mut self, grammar: Grammar, language: Language) -> Result<(), SymbolError> {
        if self.grammar != Some(grammar) {
            self.grammar = None;
            self.parser
                .set_language(grammar.language())
                .map_err(|source| SymbolError::Grammar { language: language.name(), source })?;
            self.grammar = Some(grammar);
        }
        Ok(())
    }

    fn parse(&mut self, content: &[u8], deadline: &Deadline) -> Result<Tree, SymbolError> {
        let mut progress = |_: &tree_sitter::ParseState| deadline.check();
        let options = ParseOptions::new().progress_callback(&mut progress);
        let mut read = |at: usize, _| content.get(at..).unwrap_or_default();
        let tree = self.parser.parse_with_options(&mut read, None, Some(options));
        // A parser that was stopped would go on where it was with the next file.
        self.parser.reset();
        tree.ok_or_else(|| deadline.error())
    }
}

fn check_size(content: &[u8], limit: usize) -> Result<(), SymbolError> {
    let limit = limit.min(u32::MAX as usize);
    if content.len() > limit {
        let size = content.len();
        return Err(SymbolError::TooLarge { size, limit });
    }
    Ok(())
}

/// Keeps the first `limit` symbols.
fn truncate(symbols: &mut Vec<Symbol>, limit: usize) {
    symbols.truncate(limit);
    let is_kept = |index: &u32| (*index as usize) < limit;
    for symbol in symbols {
        symbol.container = symbol.container.filter(is_kept);
    }
}

/// When a file has taken too long.
struct Deadline {
    limit: std::time::Duration,
    /// `None` where the limit is further away than clocks count.
    at: Option<Instant>,
}

impl Deadline {
    fn after(limits: &Limits) -> Self {
        Self { limit: limits.time, at: Instant::now().checked_add(limits.time) }
    }

    fn check(&self) -> ControlFlow<()> {
        match self.at {
            Some(at) if Instant::now() >= at => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn error(&self) -> SymbolError {
        SymbolError::TimedOut { limit: self.limit }
    }
}

/// Sorts symbols by the start of their names, containers with them.
fn in_order(symbols: Vec<Symbol>) -> Vec<Symbol> {
    let mut order: Vec<u32> = (0..).take(symbols.len()).collect();
    order.sort_by_key(|&index| {
        let symbol = &symbols[index as usize];
        (symbol.name.start, symbol.name.end)
    });
    let mut places = vec![0u32; symbols.len()];
    for (place, &index) in (0..).zip(&order) {
        places[index as usize] = place;
    }
    let mut sorted = symbols;
    for symbol in &mut sorted {
        symbol.container = symbol.container.map(|index| places[index as usize]);
    }
    sorted.sort_by_key(|symbol| (symbol.name.start, symbol.name.end));
    sorted
}

//! Content in, symbols out.

use std::ops::ControlFlow;
use std::time::Instant;

use tree_sitter::{ParseOptions, Parser, Tree};

use super::grammar::Grammar;
use super::visit::{Found, visit};
use super::{Limits, Symbol, SymbolError};
use crate::languages::Language;

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
        let size_limit = limits.size.min(u32::MAX as usize);
        if content.len() > size_limit {
            return Err(SymbolError::TooLarge { size: content.len(), limit: size_limit });
        }
        let deadline = Deadline::after(limits);
        let found = self.find(grammar, language, content, limits, &deadline)?;
        self.cut = found.cut;
        Ok(in_order(found.symbols))
    }

    fn find(
        &mut self,
        grammar: Grammar,
        language: Language,
        content: &[u8],
        limits: &Limits,
        deadline: &Deadline,
    ) -> Result<Found, SymbolError> {
        self.use_grammar(grammar, language)?;
        let tree = self.parse(content, deadline)?;
        let go_on = || deadline.check();
        match visit(&tree, content, grammar.table(), limits.symbols, go_on) {
            ControlFlow::Continue(found) => Ok(found),
            ControlFlow::Break(()) => Err(deadline.error()),
        }
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

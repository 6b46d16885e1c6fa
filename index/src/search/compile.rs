//! From a parsed query to what is evaluated: patterns planned and compiled, filters made ready.

use memchr::memmem::Finder;
use regex_automata::Input;
use regex_automata::meta::Regex;

use crate::languages::Language;
use crate::plan::{GramExpr, Plan, plan};
use crate::query::regex::compile;
use crate::query::tree::{
    Case, Filter, Matcher, Node, Pattern, QueryOptions, ResultType, Scope, Select,
};
use crate::query::{LanguageNames, NameMatcher, ParseOptions, QueryError, parse, simplify};
use crate::trigram::fold_text;

use super::response::{Alert, SearchError};

/// Linguist's names for the parser.
pub(crate) struct Linguist;

impl LanguageNames for Linguist {
    fn canonical(&self, name: &str) -> Option<&'static str> {
        Language::from_name(name).map(Language::name)
    }
    fn nearest(&self, name: &str) -> Vec<&'static str> {
        Language::nearest(name)
    }
}

/// What finds the matches of a pattern in bytes.
pub(crate) enum Finds {
    /// These bytes.
    Needle(Box<Finder<'static>>),
    /// What an expression matches.
    Regex(Regex),
}

impl Finds {
    /// The leftmost match at or after `from`.
    pub(crate) fn find_at(&self, text: &[u8], from: usize) -> Option<(usize, usize)> {
        match self {
            Self::Needle(finder) => {
                finder.find(&text[from..]).map(|at| (from + at, from + at + finder.needle().len()))
            }
            Self::Regex(regex) => {
                let found = regex.find(Input::new(text).range(from..))?;
                Some((found.start(), found.end()))
            }
        }
    }

    /// Whether the text holds a match.
    pub(crate) fn is_match(&self, text: &[u8]) -> bool {
        match self {
            Self::Needle(finder) => finder.find(text).is_some(),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

/// One pattern of a query.
pub(crate) struct Atom {
    pub(crate) pattern: Pattern,
    pub(crate) plan: Plan,
    pub(crate) finds: Finds,
    /// Grams of the path: like the plan's, since the same text is looked for.
    pub(crate) in_content: bool,
    pub(crate) in_path: bool,
    /// For a symbol's name: what it must be defined in.
    pub(crate) symbol: Option<SymbolScope>,
    /// Folded text of a literal, for ranking and for finding definitions by name.
    pub(crate) folded: Option<String>,
    /// Whether it stands under no NOT: its matches are shown.
    pub(crate) positive: bool,
}

/// Restricts an atom to names of definitions.
pub(crate) struct SymbolScope {
    pub(crate) container: Option<String>,
}

/// A filter made ready.
pub(crate) enum Ready {
    /// On repositories' names.
    Repository(NameMatcher),
    /// On revisions' names; the name as written, to say that it is not indexed.
    Revision(NameMatcher, String),
    /// As parsed.
    Other(Filter),
}

/// The query as a tree over atoms and filters.
pub(crate) enum Expr {
    All,
    Nothing,
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Atom(usize),
    Filter(usize),
}

/// A query that can be run.
pub(crate) struct Compiled {
    pub(crate) expr: Expr,
    pub(crate) atoms: Vec<Atom>,
    pub(crate) filters: Vec<Ready>,
    pub(crate) options: QueryOptions,
    pub(crate) alerts: Vec<Alert>,
    /// The simplified tree, printed.
    pub(crate) tree: String,
}

impl From<QueryError> for SearchError {
    fn from(error: QueryError) -> Self {
        Self::Query {
            code: error.code.as_str().to_owned(),
            message: error.message,
            position: Some((error.position.start, error.position.end)),
            rewrite: error.rewrite,
        }
    }
}

/// Parses, simplifies, plans and compiles.
pub(crate) fn compile_query(text: &str) -> Result<Compiled, SearchError> {
    let query = parse(text, &ParseOptions::new(&Linguist))?;
    let root = simplify(query.root);
    let mut compiled = Compiled {
        expr: Expr::All,
        atoms: Vec::new(),
        filters: Vec::new(),
        options: query.options,
        alerts: query
            .alerts
            .into_iter()
            .map(|alert| Alert {
                code: alert.code.as_str().to_owned(),
                message: alert.message,
                rewrite: alert.rewrite,
                position: Some((alert.position.start, alert.position.end)),
            })
            .collect(),
        tree: root.to_string(),
    };
    compiled.expr = compiled.lower(root, true)?;
    compiled.every_symbol()?;
    Ok(compiled)
}

impl Compiled {
    /// Whether it asks for last changes.
    pub(crate) fn asks_for_changes(&self) -> bool {
        let asks =
            |ready: &Ready| matches!(ready, Ready::Other(Filter::Author(_) | Filter::Updated(_)));
        self.filters.iter().any(asks)
    }

    /// Whether content is looked at.
    pub(crate) fn reads_content(&self) -> bool {
        self.atoms.iter().any(|atom| atom.in_content || atom.symbol.is_some())
    }

    /// Whether results are definitions.
    pub(crate) fn wants_symbols(&self) -> bool {
        matches!(self.options.result_type, ResultType::Symbol)
            || matches!(self.options.select, Some(Select::Symbol(_)))
    }

    /// Definitions that qualifiers alone select are all of a file's.
    fn every_symbol(&mut self) -> Result<(), SearchError> {
        let is_named = |atom: &Atom| atom.positive && atom.symbol.is_some();
        if !self.wants_symbols() || self.atoms.iter().any(is_named) {
            return Ok(());
        }
        let every = Pattern {
            matcher: Matcher::Regex(String::new()),
            case: Case::Sensitive,
            scope: Scope::Symbol { container: None },
            position: 0..0,
        };
        let atom = self.atom(every, true)?;
        self.atoms.push(atom);
        let selected = std::mem::replace(&mut self.expr, Expr::All);
        self.expr = Expr::And(vec![selected, Expr::Atom(self.atoms.len() - 1)]);
        Ok(())
    }

    fn lower(&mut self, node: Node, positive: bool) -> Result<Expr, SearchError> {
        Ok(match node {
            Node::All => Expr::All,
            Node::Nothing => Expr::Nothing,
            Node::And(children) => Expr::And(self.lower_all(children, positive)?),
            Node::Or(children) => Expr::Or(self.lower_all(children, positive)?),
            Node::Not(child) => Expr::Not(Box::new(self.lower(*child, !positive)?)),
            Node::Pattern(pattern) => {
                let atom = self.atom(pattern, positive)?;
                self.atoms.push(atom);
                Expr::Atom(self.atoms.len() - 1)
            }
            Node::Filter(filter) => {
                self.filters.push(ready(filter)?);
                Expr::Filter(self.filters.len() - 1)
            }
        })
    }

    fn lower_all(&mut self, nodes: Vec<Node>, positive: bool) -> Result<Vec<Expr>, SearchError> {
        nodes.into_iter().map(|node| self.lower(node, positive)).collect()
    }

    fn atom(&self, pattern: Pattern, positive: bool) -> Result<Atom, SearchError> {
        let plan = plan(&pattern)?;
        let finds = match &plan.literal {
            Some(text) => Finds::Needle(Box::new(Finder::new(text).into_owned())),
            None => Finds::Regex(compile(&pattern)?),
        };
        let wants_symbols = self.wants_symbols();
        let symbol = match &pattern.scope {
            Scope::Symbol { container } => Some(SymbolScope { container: container.clone() }),
            Scope::Either | Scope::Content if wants_symbols => {
                Some(SymbolScope { container: None })
            }
            _ => None,
        };
        let paths_only = matches!(self.options.result_type, ResultType::Path);
        let in_path = match pattern.scope {
            Scope::Path => true,
            Scope::Either => {
                symbol.is_none() && !matches!(self.options.select, Some(Select::Content))
            }
            _ => false,
        };
        let in_content = !paths_only
            && symbol.is_none()
            && matches!(pattern.scope, Scope::Either | Scope::Content);
        let folded = match &pattern.matcher {
            Matcher::Literal(text) => Some(fold(text)),
            Matcher::Regex(_) => None,
        };
        Ok(Atom { plan, finds, in_content, in_path, symbol, folded, positive, pattern })
    }

    /// The trigram expressions, a line for each pattern.
    pub(crate) fn plan_text(&self) -> String {
        let lines = self.atoms.iter().map(|atom| {
            let scope = match (&atom.symbol, atom.in_content, atom.in_path) {
                (Some(_), ..) => "symbol",
                (None, true, true) => "content or path",
                (None, true, false) => "content",
                (None, false, _) => "path",
            };
            let text = match &atom.pattern.matcher {
                Matcher::Literal(text) => format!("{text:?}"),
                Matcher::Regex(source) => format!("/{source}/"),
            };
            let lines = if atom.plan.crosses_lines { ", may cross lines" } else { "" };
            match &atom.plan.expr {
                GramExpr::All => format!("{text} in {scope}: no trigram, scans{lines}"),
                expr => format!("{text} in {scope}: {expr}{lines}"),
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Text with case folded away.
pub(crate) fn fold(text: &str) -> String {
    let mut folded = Vec::with_capacity(text.len());
    fold_text(text.as_bytes(), &mut folded);
    String::from_utf8_lossy(&folded).into_owned()
}

fn ready(filter: Filter) -> Result<Ready, SearchError> {
    Ok(match filter {
        Filter::Repository(name) => Ready::Repository(name.for_repositories()?),
        Filter::Revision(name) => {
            let matcher = name.for_revisions()?;
            let written = match name {
                crate::query::NameMatch::Exact(text)
                | crate::query::NameMatch::Substring(text)
                | crate::query::NameMatch::Glob(text)
                | crate::query::NameMatch::Regex(text) => text,
            };
            Ready::Revision(matcher, written)
        }
        other => Ready::Other(other),
    })
}

/// Whether the pattern's case matters.
pub(crate) fn is_sensitive(pattern: &Pattern) -> bool {
    pattern.case == Case::Sensitive
}

//! The walk through a syntax tree that collects symbols.

use std::collections::{HashMap, HashSet};
use std::ops::{ControlFlow, Range};

use tree_sitter::{Node, Tree};

use super::rules::{Action, Inside, Table};
use super::{Symbol, SymbolKind};

/// How many nodes are visited between two looks at the clock.
const NODES_BETWEEN_CHECKS: u32 = 4096;

/// A walk: where it is and what it found.
pub(super) struct Visit<'a> {
    content: &'a [u8],
    symbols: Vec<Symbol>,
    max_symbols: usize,
    cut: bool,
    scopes: Vec<Scope>,
    seen: HashSet<(Option<u32>, &'a [u8])>,
    /// The types that were found, by name.
    types: HashMap<&'a [u8], u32>,
}

/// What holds below a node at `depth`.
#[derive(Clone, Copy, Default)]
struct Scope {
    depth: u32,
    container: Option<u32>,
    local: bool,
}

/// What a walk found.
pub(super) struct Found {
    /// In no particular order.
    pub(super) symbols: Vec<Symbol>,
    /// Whether there were more than the limit.
    pub(super) cut: bool,
}

/// Walks through `tree`, the tree of `content`. `go_on` is asked now and then and may break it off.
pub(super) fn visit(
    tree: &Tree,
    content: &[u8],
    table: &Table,
    max_symbols: usize,
    mut go_on: impl FnMut() -> ControlFlow<()>,
) -> ControlFlow<(), Found> {
    let mut visit = Visit {
        content,
        symbols: Vec::new(),
        max_symbols,
        cut: false,
        scopes: vec![Scope::default()],
        seen: HashSet::new(),
        types: HashMap::new(),
    };
    let mut cursor = tree.walk();
    let mut depth = 0;
    let mut nodes = 0u32;
    'walk: while !visit.cut {
        nodes += 1;
        if nodes.is_multiple_of(NODES_BETWEEN_CHECKS) {
            go_on()?;
        }
        let inside = visit.node(table, cursor.node());
        if visit.enter(inside, depth) && cursor.goto_first_child() {
            depth += 1;
            continue;
        }
        visit.leave(depth);
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                break 'walk;
            }
            depth -= 1;
            visit.leave(depth);
        }
    }
    ControlFlow::Continue(Found { symbols: visit.symbols, cut: visit.cut })
}

impl<'a> Visit<'a> {
    fn node(&mut self, table: &Table, node: Node<'_>) -> Inside {
        match table.action(node) {
            Action::Look => Inside::Look,
            Action::Local => Inside::LookLocal,
            Action::Skip => Inside::Skip,
            Action::Define(kind, field) => self.define_field(kind, field, node),
            Action::DefineGlobal(kind, field) => {
                if self.is_local() {
                    Inside::Look
                } else {
                    self.define_field(kind, field, node)
                }
            }
            Action::Handle(handler) => handler(self, node),
        }
    }

    fn define_field(&mut self, kind: SymbolKind, field: &str, node: Node<'_>) -> Inside {
        match node.child_by_field_name(field) {
            Some(name) => self.define(kind, name, node),
            None if kind.is_callable() => Inside::LookLocal,
            None => Inside::Look,
        }
    }

    /// Opens the scope of the children of a node at `depth`; false to skip them.
    fn enter(&mut self, inside: Inside, depth: u32) -> bool {
        let mut scope = self.scope();
        scope.depth = depth;
        match inside {
            Inside::Skip => return false,
            Inside::Look => return true,
            Inside::LookLocal => scope.local = true,
            Inside::LookIn(symbol) => {
                let kind = self.symbols.get(symbol as usize).map(|symbol| symbol.kind);
                scope.local = kind.is_some_and(SymbolKind::is_callable);
                scope.container = Some(symbol);
            }
        }
        self.scopes.push(scope);
        true
    }

    /// Closes the scope that the node at `depth` opened, if it did.
    fn leave(&mut self, depth: u32) {
        if self.scopes.len() > 1 && self.scope().depth == depth {
            self.scopes.pop();
        }
    }

    fn scope(&self) -> Scope {
        self.scopes.last().copied().unwrap_or_default()
    }

    /// Whether the node is in a function, so that a variable is local.
    pub(super) fn is_local(&self) -> bool {
        self.scope().local
    }

    /// The symbol that the node is in.
    pub(super) fn container(&self) -> Option<u32> {
        self.scope().container
    }

    /// Its kind.
    pub(super) fn container_kind(&self) -> Option<SymbolKind> {
        let index = self.container()? as usize;
        self.symbols.get(index).map(|symbol| symbol.kind)
    }

    /// The nearest type that the node is in.
    pub(super) fn enclosing_type(&self) -> Option<u32> {
        let is_type = |index: &u32| {
            let symbol = self.symbols.get(*index as usize);
            symbol.is_some_and(|symbol| symbol.kind.is_type())
        };
        let mut containers = self.scopes.iter().rev().filter_map(|scope| scope.container);
        containers.find(is_type)
    }

    /// The text of a node.
    pub(super) fn text(&self, node: Node<'_>) -> &'a [u8] {
        self.content.get(node.byte_range()).unwrap_or_default()
    }

    /// The text of a symbol's name.
    pub(super) fn name(&self, symbol: u32) -> &'a [u8] {
        self.symbols
            .get(symbol as usize)
            .and_then(|symbol| self.content.get(bytes(&symbol.name)))
            .unwrap_or_default()
    }

    /// Adds a definition with the name in node `name`; what is inside belongs to it.
    pub(super) fn define(&mut self, kind: SymbolKind, name: Node<'_>, extent: Node<'_>) -> Inside {
        match self.add(kind, name.byte_range(), extent) {
            Some(symbol) => Inside::LookIn(symbol),
            None if kind.is_callable() => Inside::LookLocal,
            None => Inside::Look,
        }
    }

    /// Adds a definition where no symbol of the same name and container was added in this way.
    pub(super) fn define_once(
        &mut self,
        kind: SymbolKind,
        name: Node<'_>,
        extent: Node<'_>,
    ) -> Inside {
        if self.seen.insert((self.container(), self.text(name))) {
            self.define(kind, name, extent)
        } else {
            Inside::Look
        }
    }

    /// Adds a symbol to the current container. `None` for what has no name of its own (`_`, an
    /// empty one that error recovery made up) and beyond the limit.
    pub(super) fn add(
        &mut self,
        kind: SymbolKind,
        name: Range<usize>,
        extent: Node<'_>,
    ) -> Option<u32> {
        self.add_to(self.container(), kind, name, extent)
    }

    /// Adds a symbol to a container that was found in another way.
    pub(super) fn add_to(
        &mut self,
        container: Option<u32>,
        kind: SymbolKind,
        name: Range<usize>,
        extent: Node<'_>,
    ) -> Option<u32> {
        let text = self.content.get(name.clone())?;
        if text.is_empty() || text == b"_" {
            return None;
        }
        if self.symbols.len() >= self.max_symbols {
            self.cut = true;
            return None;
        }
        let owner = container.and_then(|index| self.symbols.get(index as usize));
        let kind = match kind {
            SymbolKind::Function if owner.is_some_and(|owner| owner.kind.is_type()) => {
                SymbolKind::Method
            }
            kind => kind,
        };
        let index = u32::try_from(self.symbols.len()).ok()?;
        self.symbols.push(Symbol {
            name: range(name)?,
            kind,
            container,
            extent: range(extent.byte_range())?,
        });
        if kind.is_type() {
            self.types.insert(text, index);
        }
        Some(index)
    }

    /// The type in this file that something outside of it belongs to; where the file does not
    /// define it, a symbol of kind [`SymbolKind::Impl`] is added for it once.
    pub(super) fn type_of(&mut self, name: Node<'_>, extent: Node<'_>) -> Option<u32> {
        match self.types.get(self.text(name)) {
            Some(&index) => Some(index),
            None => self.add_to(None, SymbolKind::Impl, name.byte_range(), extent),
        }
    }
}

/// A range as an index; lossless, since a content has at most 4 GiB.
pub(super) fn bytes(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

fn range(range: Range<usize>) -> Option<Range<u32>> {
    Some(u32::try_from(range.start).ok()?..u32::try_from(range.end).ok()?)
}

//! What the nodes of a language's syntax trees mean, as tables.

use tree_sitter::{Language, Node};

use super::SymbolKind;
use super::visit::Visit;

/// What is to be done with the children of a node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Inside {
    /// Look at them.
    Look,
    /// Look at them; variables there are local.
    LookLocal,
    /// Look at them: they belong to this symbol.
    LookIn(u32),
    /// They hold no definitions.
    Skip,
}

/// Code for what a table cannot say.
pub(super) type Handler = for<'t> fn(&mut Visit<'_>, Node<'t>) -> Inside;

/// What a kind of node means.
#[derive(Clone, Copy)]
pub(super) enum Action {
    /// Nothing; its children are looked at.
    Look,
    /// Its children are looked at; variables there are local.
    Local,
    /// Nothing in it is a definition.
    Skip,
    /// A definition whose name is in a field.
    Define(SymbolKind, &'static str),
    /// A definition whose name is in a field, unless it is local.
    DefineGlobal(SymbolKind, &'static str),
    /// Anything else.
    Handle(Handler),
}

/// A node's kind and what it means.
pub(super) type Rule = (&'static str, Action);

/// The usual name of the field that holds a name.
pub(super) const NAME: &str = "name";

/// A definition whose name is in the field `name`.
pub(super) const fn define(kind: SymbolKind) -> Action {
    Action::Define(kind, NAME)
}

/// The same, unless it is local.
pub(super) const fn define_global(kind: SymbolKind) -> Action {
    Action::DefineGlobal(kind, NAME)
}

/// A language's rules by the numbers that its grammar gives to kinds of nodes.
pub(super) struct Table {
    actions: Vec<Action>,
}

impl Table {
    pub(super) fn new(language: &Language, rules: &[Rule]) -> Self {
        let count = u16::try_from(language.node_kind_count()).unwrap_or(u16::MAX);
        let actions = (0..count)
            .map(|id| {
                let name = language.node_kind_for_id(id);
                let known = |rule: &&Rule| language.node_kind_is_named(id) && name == Some(rule.0);
                rules.iter().find(known).map_or(Action::Look, |rule| rule.1)
            })
            .collect();
        Self { actions }
    }

    pub(super) fn action(&self, node: Node<'_>) -> Action {
        let id = usize::from(node.kind_id());
        self.actions.get(id).copied().unwrap_or(Action::Look)
    }
}

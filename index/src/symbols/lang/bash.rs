//! Bash and other shells.

use tree_sitter::Node;

use crate::symbols::SymbolKind;
use crate::symbols::rules::{Action, Inside, NAME, Rule, define};
use crate::symbols::visit::Visit;

pub(in crate::symbols) const RULES: &[Rule] = &[
    ("function_definition", define(SymbolKind::Function)),
    ("variable_assignment", Action::Handle(variable)),
    // Its assignments are for one command only.
    ("command", Action::Skip),
    ("command_substitution", Action::Local),
    ("comment", Action::Skip),
    ("heredoc_body", Action::Skip),
    ("string", Action::Skip),
];

fn variable(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let name = node.child_by_field_name(NAME);
    match name.filter(|name| name.kind() == "variable_name") {
        Some(name) if !visit.is_local() => visit.define_once(SymbolKind::Variable, name, node),
        _ => Inside::Look,
    }
}

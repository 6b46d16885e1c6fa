//! Python.

use tree_sitter::Node;

use super::children;
use crate::symbols::SymbolKind;
use crate::symbols::rules::{Action, Inside, NAME, Rule, define};
use crate::symbols::visit::Visit;

pub(in crate::symbols) const RULES: &[Rule] = &[
    ("class_definition", define(SymbolKind::Class)),
    ("function_definition", Action::Handle(function)),
    ("assignment", Action::Handle(assignment)),
    ("type_alias_statement", Action::Handle(type_alias)),
    ("lambda", Action::Local),
    ("import_statement", Action::Skip),
    ("import_from_statement", Action::Skip),
    ("string", Action::Skip),
    ("comment", Action::Skip),
    ("argument_list", Action::Skip),
    ("parameters", Action::Skip),
];

fn function(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let Some(name) = node.child_by_field_name(NAME) else {
        return Inside::LookLocal;
    };
    let in_type = visit.container_kind().is_some_and(SymbolKind::is_type);
    let kind = match visit.text(name) {
        b"__init__" | b"__new__" if in_type => SymbolKind::Constructor,
        _ => SymbolKind::Function,
    };
    visit.define(kind, name, node)
}

/// `a = 1`, `a, b = 1, 2`, `a = b = 1` (the inner assignment is a node of its own).
fn assignment(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    if visit.is_local() {
        return Inside::Look;
    }
    let Some(left) = node.child_by_field_name("left") else {
        return Inside::Look;
    };
    if left.kind() == "identifier" {
        variable(visit, left, node);
    } else if matches!(left.kind(), "pattern_list" | "tuple_pattern" | "list_pattern") {
        for name in children(left).filter(|child| child.kind() == "identifier") {
            variable(visit, name, node);
        }
    }
    Inside::Look
}

fn variable(visit: &mut Visit<'_>, name: Node<'_>, node: Node<'_>) {
    let text = visit.text(name);
    let kind = if visit.container_kind().is_some_and(SymbolKind::is_type) {
        SymbolKind::Field
    } else if is_upper_case(text) {
        SymbolKind::Constant
    } else {
        SymbolKind::Variable
    };
    visit.define_once(kind, name, node);
}

fn is_upper_case(name: &[u8]) -> bool {
    name.iter().any(u8::is_ascii_uppercase) && !name.iter().any(u8::is_ascii_lowercase)
}

/// `type Name[T] = …`
fn type_alias(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let mut name = node.child_by_field_name("left");
    while let Some(inner) = name.filter(|name| name.kind() != "identifier") {
        name = children(inner).find(Node::is_named);
    }
    match name {
        Some(name) => visit.define(SymbolKind::Type, name, node),
        None => Inside::Look,
    }
}

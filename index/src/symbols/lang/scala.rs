//! Scala.

use tree_sitter::Node;

use super::children;
use crate::symbols::SymbolKind;
use crate::symbols::rules::{Action, Inside, NAME, Rule, define, define_global};
use crate::symbols::visit::Visit;

pub(in crate::symbols) const RULES: &[Rule] = &[
    ("class_definition", define(SymbolKind::Class)),
    ("object_definition", define(SymbolKind::Object)),
    ("package_object", define(SymbolKind::Object)),
    ("trait_definition", define(SymbolKind::Trait)),
    ("enum_definition", define(SymbolKind::Enum)),
    ("simple_enum_case", define(SymbolKind::EnumMember)),
    ("full_enum_case", define(SymbolKind::EnumMember)),
    ("function_definition", define(SymbolKind::Function)),
    ("function_declaration", define(SymbolKind::Function)),
    ("type_definition", define(SymbolKind::Type)),
    ("given_definition", define_global(SymbolKind::Variable)),
    ("val_definition", Action::Handle(value)),
    ("var_definition", Action::Handle(value)),
    ("val_declaration", Action::Handle(value)),
    ("var_declaration", Action::Handle(value)),
    ("lambda_expression", Action::Local),
    ("block", Action::Local),
    ("case_block", Action::Local),
    ("indented_block", Action::Local),
    ("import_declaration", Action::Skip),
    ("comment", Action::Skip),
    ("block_comment", Action::Skip),
    ("parameters", Action::Skip),
];

/// `val a`, `val a, b` and `val (a, b)`.
fn value(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let name = node.child_by_field_name(NAME);
    let Some(pattern) = name.or_else(|| node.child_by_field_name("pattern")) else {
        return Inside::Look;
    };
    if visit.is_local() {
        return Inside::Look;
    }
    let kind = if visit.container_kind().is_some_and(SymbolKind::is_type) {
        SymbolKind::Field
    } else {
        SymbolKind::Variable
    };
    if pattern.kind() == "identifier" {
        visit.add(kind, pattern.byte_range(), node);
    }
    for name in children(pattern).filter(|child| child.kind() == "identifier") {
        visit.add(kind, name.byte_range(), node);
    }
    Inside::Look
}

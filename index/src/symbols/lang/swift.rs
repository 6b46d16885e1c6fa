//! Swift.

use tree_sitter::Node;

use super::{children, children_in_field};
use crate::symbols::SymbolKind;
use crate::symbols::rules::{Action, Inside, NAME, Rule, define};
use crate::symbols::visit::Visit;

pub(in crate::symbols) const RULES: &[Rule] = &[
    ("class_declaration", Action::Handle(class)),
    ("protocol_declaration", define(SymbolKind::Interface)),
    ("function_declaration", define(SymbolKind::Function)),
    ("protocol_function_declaration", define(SymbolKind::Method)),
    ("init_declaration", Action::Handle(init)),
    ("deinit_declaration", Action::Local),
    ("subscript_declaration", Action::Local),
    ("property_declaration", Action::Handle(property)),
    ("protocol_property_declaration", Action::Handle(property)),
    ("typealias_declaration", define(SymbolKind::Type)),
    ("associatedtype_declaration", define(SymbolKind::Type)),
    ("enum_entry", Action::Handle(enum_entry)),
    ("macro_declaration", Action::Handle(macro_declaration)),
    ("lambda_literal", Action::Local),
    ("computed_property", Action::Local),
    ("willset_didset_block", Action::Local),
    ("import_declaration", Action::Skip),
    ("comment", Action::Skip),
    ("multiline_comment", Action::Skip),
    ("line_string_literal", Action::Skip),
];

/// `class`, `struct`, `enum`, `actor` and `extension` are one kind of node.
fn class(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let Some(name) = node.child_by_field_name(NAME) else {
        return Inside::Look;
    };
    let keyword = node.child_by_field_name("declaration_kind");
    let kind = match keyword.map(|keyword| visit.text(keyword)) {
        Some(b"struct") => SymbolKind::Struct,
        Some(b"enum") => SymbolKind::Enum,
        Some(b"extension") => SymbolKind::Impl,
        _ => SymbolKind::Class,
    };
    visit.define(kind, last_identifier(name), node)
}

/// The name in `extension A.B`.
fn last_identifier(name: Node<'_>) -> Node<'_> {
    let identifiers = children(name).filter(|child| child.kind() == "type_identifier");
    identifiers.last().unwrap_or(name)
}

fn init(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    match node.child_by_field_name(NAME) {
        Some(name) => visit.define(SymbolKind::Constructor, name, node),
        None => Inside::LookLocal,
    }
}

fn property(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    if visit.is_local() {
        return Inside::Look;
    }
    let kind = if visit.container_kind().is_some_and(SymbolKind::is_type) {
        SymbolKind::Property
    } else {
        SymbolKind::Variable
    };
    for pattern in children_in_field(node, NAME) {
        let name = pattern.child_by_field_name("bound_identifier");
        let name =
            name.or_else(|| children(pattern).find(|child| child.kind() == "simple_identifier"));
        if let Some(name) = name {
            visit.add(kind, name.byte_range(), node);
        }
    }
    Inside::Look
}

/// `case a, b(Int)`
fn enum_entry(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    for name in children_in_field(node, NAME) {
        visit.add(SymbolKind::EnumMember, name.byte_range(), node);
    }
    Inside::Look
}

fn macro_declaration(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    match children(node).find(|child| child.kind() == "simple_identifier") {
        Some(name) => visit.define(SymbolKind::Macro, name, node),
        None => Inside::Look,
    }
}

//! Kotlin.

use tree_sitter::Node;

use super::{child_of_kind, children};
use crate::symbols::SymbolKind;
use crate::symbols::rules::{Action, Inside, NAME, Rule, define};
use crate::symbols::visit::Visit;

pub(in crate::symbols) const RULES: &[Rule] = &[
    ("class_declaration", Action::Handle(class)),
    ("object_declaration", define(SymbolKind::Object)),
    ("companion_object", define(SymbolKind::Object)),
    ("function_declaration", define(SymbolKind::Function)),
    ("property_declaration", Action::Handle(property)),
    ("class_parameter", Action::Handle(parameter)),
    ("enum_entry", Action::Handle(enum_entry)),
    ("type_alias", Action::Handle(type_alias)),
    ("secondary_constructor", Action::Local),
    ("anonymous_initializer", Action::Local),
    ("anonymous_function", Action::Local),
    ("lambda_literal", Action::Local),
    ("getter", Action::Local),
    ("setter", Action::Local),
    ("import", Action::Skip),
    ("package_header", Action::Skip),
    ("line_comment", Action::Skip),
    ("block_comment", Action::Skip),
    ("string_literal", Action::Skip),
    ("function_value_parameters", Action::Skip),
];

fn class(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let Some(name) = node.child_by_field_name(NAME) else {
        return Inside::Look;
    };
    let kind = if child_of_kind(node, &["interface"]).is_some() {
        SymbolKind::Interface
    } else if child_of_kind(node, &["enum_class_body"]).is_some() {
        SymbolKind::Enum
    } else {
        SymbolKind::Class
    };
    visit.define(kind, name, node)
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
    let variables = children(node).filter(|child| {
        matches!(child.kind(), "variable_declaration" | "multi_variable_declaration")
    });
    for variable in variables {
        if let Some(name) = child_of_kind(variable, &["identifier"]) {
            visit.add(kind, name.byte_range(), node);
        }
    }
    Inside::Look
}

/// `class A(val b: Int)` declares `b`.
fn parameter(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    if child_of_kind(node, &["val", "var"]).is_some()
        && let Some(name) = child_of_kind(node, &["identifier"])
    {
        visit.add(SymbolKind::Property, name.byte_range(), node);
    }
    Inside::Look
}

fn enum_entry(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    match child_of_kind(node, &["identifier"]) {
        Some(name) => visit.define(SymbolKind::EnumMember, name, node),
        None => Inside::Look,
    }
}

fn type_alias(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    match child_of_kind(node, &["identifier"]) {
        Some(name) => visit.define(SymbolKind::Type, name, node),
        None => Inside::Look,
    }
}

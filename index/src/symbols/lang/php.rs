//! PHP.

use tree_sitter::Node;

use super::{child_of_kind, children};
use crate::symbols::SymbolKind;
use crate::symbols::rules::{Action, Inside, NAME, Rule, define};
use crate::symbols::visit::Visit;

pub(in crate::symbols) const RULES: &[Rule] = &[
    ("function_definition", define(SymbolKind::Function)),
    ("class_declaration", define(SymbolKind::Class)),
    ("interface_declaration", define(SymbolKind::Interface)),
    ("trait_declaration", define(SymbolKind::Trait)),
    ("enum_declaration", define(SymbolKind::Enum)),
    ("enum_case", define(SymbolKind::EnumMember)),
    ("namespace_definition", define(SymbolKind::Namespace)),
    ("method_declaration", Action::Handle(method)),
    ("const_element", Action::Handle(constant)),
    ("property_element", Action::Handle(property)),
    ("property_promotion_parameter", Action::Handle(property)),
    ("assignment_expression", Action::Handle(assignment)),
    ("function_call_expression", Action::Handle(call)),
    ("anonymous_function", Action::Local),
    ("arrow_function", Action::Local),
    ("namespace_use_declaration", Action::Skip),
    ("comment", Action::Skip),
    ("text", Action::Skip),
    ("attribute_list", Action::Skip),
];

fn method(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let Some(name) = node.child_by_field_name(NAME) else {
        return Inside::LookLocal;
    };
    let kind = match visit.text(name) {
        b"__construct" => SymbolKind::Constructor,
        _ => SymbolKind::Method,
    };
    visit.define(kind, name, node)
}

fn constant(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    match child_of_kind(node, &["name"]) {
        Some(name) => visit.define(SymbolKind::Constant, name, node),
        None => Inside::Look,
    }
}

/// A variable's name without its `$`.
fn bare(variable: Node<'_>) -> Option<Node<'_>> {
    (variable.kind() == "variable_name").then(|| child_of_kind(variable, &["name"]))?
}

fn property(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let name = node.child_by_field_name(NAME).and_then(bare);
    if let Some(name) = name {
        let class = visit.enclosing_type();
        visit.add_to(class, SymbolKind::Property, name.byte_range(), node);
    }
    Inside::Look
}

fn assignment(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    match node.child_by_field_name("left").and_then(bare) {
        Some(name) if !visit.is_local() => visit.define_once(SymbolKind::Variable, name, node),
        _ => Inside::Look,
    }
}

/// `define('NAME', …)`
fn call(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let function = node.child_by_field_name("function");
    if !function.is_some_and(|function| visit.text(function).eq_ignore_ascii_case(b"define")) {
        return Inside::Look;
    }
    let name = node
        .child_by_field_name("arguments")
        .and_then(|arguments| children(arguments).find(Node::is_named))
        .and_then(|argument| child_of_kind(argument, &["string", "encapsed_string"]))
        .and_then(|string| child_of_kind(string, &["string_content"]));
    if let Some(name) = name {
        visit.add(SymbolKind::Constant, name.byte_range(), node);
    }
    Inside::Look
}

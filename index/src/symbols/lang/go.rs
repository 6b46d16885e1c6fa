//! Go.

use tree_sitter::Node;

use super::{children, children_in_field};
use crate::symbols::SymbolKind;
use crate::symbols::rules::{Action, Inside, NAME, Rule, define};
use crate::symbols::visit::Visit;

pub(in crate::symbols) const RULES: &[Rule] = &[
    ("function_declaration", define(SymbolKind::Function)),
    ("method_declaration", Action::Handle(method)),
    ("method_elem", define(SymbolKind::Method)),
    ("type_spec", Action::Handle(type_spec)),
    ("type_alias", define(SymbolKind::Type)),
    ("const_spec", Action::Handle(constants)),
    ("var_spec", Action::Handle(variables)),
    ("field_declaration", Action::Handle(fields)),
    ("func_literal", Action::Local),
    ("import_declaration", Action::Skip),
    ("parameter_list", Action::Skip),
    ("comment", Action::Skip),
    ("interpreted_string_literal", Action::Skip),
];

fn type_spec(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let kind = match node.child_by_field_name("type").map(|node| node.kind()) {
        Some("struct_type") => SymbolKind::Struct,
        Some("interface_type") => SymbolKind::Interface,
        _ => SymbolKind::Type,
    };
    match node.child_by_field_name(NAME) {
        Some(name) => visit.define(kind, name, node),
        None => Inside::Look,
    }
}

fn constants(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    names(visit, node, SymbolKind::Constant)
}

fn variables(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    names(visit, node, SymbolKind::Variable)
}

fn fields(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    names(visit, node, SymbolKind::Field)
}

fn names(visit: &mut Visit<'_>, node: Node<'_>, kind: SymbolKind) -> Inside {
    if !visit.is_local() {
        for name in children_in_field(node, NAME).filter(Node::is_named) {
            visit.add(kind, name.byte_range(), node);
        }
    }
    Inside::Look
}

/// A method belongs to its receiver's type, which is often in another file.
fn method(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let Some(name) = node.child_by_field_name(NAME) else {
        return Inside::LookLocal;
    };
    let receiver = node.child_by_field_name("receiver").and_then(type_name);
    let container = receiver.and_then(|receiver| visit.type_of(receiver, receiver));
    match visit.add_to(container, SymbolKind::Method, name.byte_range(), node) {
        Some(symbol) => Inside::LookIn(symbol),
        None => Inside::LookLocal,
    }
}

/// The type in `(r *Type[T])`.
fn type_name(receiver: Node<'_>) -> Option<Node<'_>> {
    let parameter = children(receiver).find(|child| child.kind() == "parameter_declaration")?;
    let mut name = parameter.child_by_field_name("type")?;
    loop {
        name = match name.kind() {
            "type_identifier" => return Some(name),
            "generic_type" => name.child_by_field_name("type")?,
            _ => children(name).find(Node::is_named)?,
        };
    }
}

//! JavaScript, TypeScript and their variants with XML.

use tree_sitter::Node;

use super::children;
use crate::symbols::SymbolKind;
use crate::symbols::rules::{Action, Inside, NAME, Rule, define};
use crate::symbols::visit::Visit;

pub(in crate::symbols) const RULES: &[Rule] = &[
    ("function_declaration", define(SymbolKind::Function)),
    ("generator_function_declaration", define(SymbolKind::Function)),
    ("class_declaration", define(SymbolKind::Class)),
    ("method_definition", Action::Handle(method)),
    ("field_definition", Action::Handle(field)),
    ("variable_declarator", Action::Handle(variable)),
    ("assignment_expression", Action::Handle(assignment)),
    ("pair", Action::Handle(pair)),
    ("arrow_function", Action::Local),
    ("function_expression", Action::Local),
    ("generator_function", Action::Local),
    ("class_static_block", Action::Local),
    ("import_statement", Action::Skip),
    ("comment", Action::Skip),
    ("string", Action::Skip),
    ("formal_parameters", Action::Skip),
];

pub(in crate::symbols) const RULES_TYPESCRIPT: &[Rule] = &[
    ("function_declaration", define(SymbolKind::Function)),
    ("generator_function_declaration", define(SymbolKind::Function)),
    ("function_signature", define(SymbolKind::Function)),
    ("class_declaration", define(SymbolKind::Class)),
    ("abstract_class_declaration", define(SymbolKind::Class)),
    ("interface_declaration", define(SymbolKind::Interface)),
    ("type_alias_declaration", define(SymbolKind::Type)),
    ("enum_declaration", define(SymbolKind::Enum)),
    ("enum_assignment", define(SymbolKind::EnumMember)),
    ("enum_body", Action::Handle(enum_body)),
    ("internal_module", Action::Handle(namespace)),
    ("module", Action::Handle(namespace)),
    ("method_definition", Action::Handle(method)),
    ("method_signature", Action::Handle(signature)),
    ("abstract_method_signature", define(SymbolKind::Method)),
    ("property_signature", Action::Handle(property)),
    ("public_field_definition", Action::Handle(field)),
    ("variable_declarator", Action::Handle(variable)),
    ("assignment_expression", Action::Handle(assignment)),
    ("pair", Action::Handle(pair)),
    ("arrow_function", Action::Local),
    ("function_expression", Action::Local),
    ("generator_function", Action::Local),
    ("class_static_block", Action::Local),
    ("import_statement", Action::Skip),
    ("comment", Action::Skip),
    ("string", Action::Skip),
    ("formal_parameters", Action::Skip),
];

fn method(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let Some(name) = node.child_by_field_name(NAME) else {
        return Inside::LookLocal;
    };
    match visit.text(name) {
        _ if name.kind() == "computed_property_name" => Inside::LookLocal,
        b"constructor" => visit.define(SymbolKind::Constructor, name, node),
        _ => visit.define(SymbolKind::Method, unquoted(name), node),
    }
}

/// The contents of a quoted name.
fn unquoted(name: Node<'_>) -> Node<'_> {
    if name.kind() != "string" {
        return name;
    }
    let content = children(name).find(|child| child.kind() == "string_fragment");
    content.unwrap_or(name)
}

fn field(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let name = node.child_by_field_name(NAME);
    let Some(name) = name.or_else(|| node.child_by_field_name("property")) else {
        return Inside::Look;
    };
    let kind = match value_kind(node) {
        Some(SymbolKind::Function) => SymbolKind::Method,
        _ => SymbolKind::Field,
    };
    if name.kind() == "computed_property_name" {
        return Inside::Look;
    }
    visit.define(kind, unquoted(name), node)
}

/// What a value that is a function or a class makes of the name that it is given to.
fn value_kind(node: Node<'_>) -> Option<SymbolKind> {
    let value = node.child_by_field_name("value");
    let value = value.or_else(|| node.child_by_field_name("right"))?;
    match value.kind() {
        "arrow_function" | "function_expression" | "generator_function" => {
            Some(SymbolKind::Function)
        }
        "class" => Some(SymbolKind::Class),
        _ => None,
    }
}

/// Functions and classes are found in functions too, other variables only outside of them.
fn variable(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let name = node.child_by_field_name(NAME);
    let Some(name) = name.filter(|name| name.kind() == "identifier") else {
        return Inside::Look;
    };
    match value_kind(node) {
        Some(kind) => visit.define(kind, name, node),
        None if visit.is_local() => Inside::Look,
        None => visit.define(SymbolKind::Variable, name, node),
    }
}

/// `exports.name = function …`, `Type.prototype.name = …`.
fn assignment(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let member = node.child_by_field_name("left").filter(|left| left.kind() == "member_expression");
    let Some((member, kind)) = member.zip(value_kind(node)) else {
        return Inside::Look;
    };
    let Some(name) = member.child_by_field_name("property") else {
        return Inside::Look;
    };
    match (prototype_owner(visit, member), kind) {
        (Some(owner), SymbolKind::Function) => {
            let container = visit.type_of(owner, owner);
            match visit.add_to(container, SymbolKind::Method, name.byte_range(), node) {
                Some(symbol) => Inside::LookIn(symbol),
                None => Inside::Look,
            }
        }
        // `module.exports = function` says nothing that could be searched for.
        _ if visit.text(name) == b"exports" => Inside::Look,
        _ => visit.define(kind, name, node),
    }
}

/// The type in `Type.prototype.name`.
fn prototype_owner<'t>(visit: &Visit<'_>, member: Node<'t>) -> Option<Node<'t>> {
    let object = member.child_by_field_name("object")?;
    let is_prototype = object
        .child_by_field_name("property")
        .is_some_and(|property| visit.text(property) == b"prototype");
    let owner = object.child_by_field_name("object")?;
    (is_prototype && owner.kind() == "identifier").then_some(owner)
}

/// `name: function …` in an object.
fn pair(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let key = node.child_by_field_name("key");
    match (key, value_kind(node)) {
        (Some(key), Some(SymbolKind::Function)) if key.kind() != "computed_property_name" => {
            visit.define(SymbolKind::Method, unquoted(key), node)
        }
        _ => Inside::Look,
    }
}

fn enum_body(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    for name in
        children(node).filter(|child| matches!(child.kind(), "property_identifier" | "string"))
    {
        visit.add(SymbolKind::EnumMember, unquoted(name).byte_range(), name);
    }
    Inside::Look
}

/// `namespace A.B { }` and `declare module "name" { }`.
fn namespace(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    match node.child_by_field_name(NAME) {
        Some(name) => visit.define(SymbolKind::Namespace, unquoted(name), node),
        None => Inside::Look,
    }
}

/// Members of types are definitions where the type has a name.
fn is_in_type(visit: &Visit<'_>) -> bool {
    visit.container_kind().is_some_and(SymbolKind::is_type)
}

fn signature(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    match node.child_by_field_name(NAME) {
        Some(name) if is_in_type(visit) => visit.define(SymbolKind::Method, unquoted(name), node),
        _ => Inside::Look,
    }
}

fn property(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    match node.child_by_field_name(NAME) {
        Some(name) if is_in_type(visit) => {
            visit.add(SymbolKind::Property, unquoted(name).byte_range(), node);
            Inside::Look
        }
        _ => Inside::Look,
    }
}

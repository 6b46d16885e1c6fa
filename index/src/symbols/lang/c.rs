//! C and C++. Their macros are found without a grammar: see [`super::super::outline`].

use tree_sitter::Node;

use super::{child_of_kind, children_in_field};
use crate::symbols::SymbolKind;
use crate::symbols::rules::{Action, Inside, NAME, Rule, define};
use crate::symbols::visit::Visit;

pub(in crate::symbols) const RULES: &[Rule] = &[
    ("function_definition", Action::Handle(function)),
    ("struct_specifier", Action::Handle(structure)),
    ("union_specifier", Action::Handle(union)),
    ("enum_specifier", Action::Handle(enumeration)),
    ("enumerator", define(SymbolKind::EnumMember)),
    ("field_declaration", Action::Handle(fields)),
    ("type_definition", Action::Handle(type_definition)),
    ("declaration", Action::Handle(variables)),
    ("preproc_def", Action::Skip),
    ("preproc_function_def", Action::Skip),
    ("parameter_list", Action::Skip),
    ("initializer_list", Action::Skip),
    ("comment", Action::Skip),
];

pub(in crate::symbols) const RULES_CPP: &[Rule] = &[
    ("function_definition", Action::Handle(function)),
    ("class_specifier", Action::Handle(class)),
    ("struct_specifier", Action::Handle(structure)),
    ("union_specifier", Action::Handle(union)),
    ("enum_specifier", Action::Handle(enumeration)),
    ("enumerator", define(SymbolKind::EnumMember)),
    ("namespace_definition", define(SymbolKind::Namespace)),
    ("alias_declaration", define(SymbolKind::Type)),
    ("concept_definition", define(SymbolKind::Type)),
    ("field_declaration", Action::Handle(fields)),
    ("type_definition", Action::Handle(type_definition)),
    ("declaration", Action::Handle(variables)),
    ("preproc_def", Action::Skip),
    ("preproc_function_def", Action::Skip),
    ("friend_declaration", Action::Skip),
    ("template_parameter_list", Action::Skip),
    ("parameter_list", Action::Skip),
    ("initializer_list", Action::Skip),
    ("field_initializer_list", Action::Skip),
    ("comment", Action::Skip),
];

/// How deep a declarator may be nested; deeper ones have no name.
const MAX_NESTING: usize = 64;

/// A name in a declarator, and what was on the way to it.
struct Declared<'t> {
    name: Node<'t>,
    /// The name is a function's own, not a pointer's to one.
    function: bool,
}

/// The name in `*name[3]`, `name(int)`, `(*name)(int)`, `Type::name(int)`.
fn declared(declarator: Node<'_>) -> Option<Declared<'_>> {
    let mut node = declarator;
    let mut function = false;
    for _ in 0..MAX_NESTING {
        match node.kind() {
            "function_declarator" => function = true,
            "pointer_declarator" | "array_declarator" if function => function = false,
            "parenthesized_declarator" | "reference_declarator" | "attributed_declarator" => {
                node = first_declarator(node)?;
                continue;
            }
            _ => {}
        }
        match node.child_by_field_name("declarator") {
            Some(inner) => node = inner,
            None if is_name(node) => {
                return Some(Declared { name: node, function });
            }
            None => node = first_declarator(node)?,
        }
    }
    None
}

fn first_declarator(node: Node<'_>) -> Option<Node<'_>> {
    super::children(node).find(|child| is_name(*child) || child.kind().ends_with("declarator"))
}

fn is_name(node: Node<'_>) -> bool {
    matches!(
        node.kind(),
        "identifier"
            | "field_identifier"
            | "type_identifier"
            | "primitive_type"
            | "qualified_identifier"
            | "destructor_name"
            | "operator_name"
            | "operator_cast"
            | "template_function"
            | "template_method"
    )
}

/// The last part of a C++ name and the type before it.
fn unqualified(mut name: Node<'_>) -> (Node<'_>, Option<Node<'_>>) {
    let mut scope = None;
    while let "qualified_identifier" | "template_function" | "template_method" = name.kind() {
        let Some(inner) = name.child_by_field_name(NAME) else {
            break;
        };
        if name.kind() == "qualified_identifier" {
            scope = name.child_by_field_name("scope");
        }
        name = inner;
    }
    let scope = scope.map(|scope| scope.child_by_field_name(NAME).unwrap_or(scope));
    (name, scope)
}

fn function(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let declarator = node.child_by_field_name("declarator");
    let Some(declared) = declarator.and_then(declared).filter(|found| found.function) else {
        return Inside::Skip;
    };
    let (name, scope) = unqualified(declared.name);
    let container = match scope {
        Some(scope) => visit.type_of(scope, scope),
        None => visit.container(),
    };
    let is_constructor = container.is_some_and(|owner| visit.name(owner) == visit.text(name));
    let kind = if is_constructor { SymbolKind::Constructor } else { SymbolKind::Function };
    if child_of_kind(node, &["delete_method_clause"]).is_some() {
        return Inside::Skip;
    }
    match visit.add_to(container, kind, name.byte_range(), node) {
        Some(symbol) => Inside::LookIn(symbol),
        None => Inside::Skip,
    }
}

fn class(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    aggregate(visit, node, SymbolKind::Class)
}

fn structure(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    aggregate(visit, node, SymbolKind::Struct)
}

fn union(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    aggregate(visit, node, SymbolKind::Union)
}

fn enumeration(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    aggregate(visit, node, SymbolKind::Enum)
}

/// Only with a body is it a definition.
fn aggregate(visit: &mut Visit<'_>, node: Node<'_>, kind: SymbolKind) -> Inside {
    if node.child_by_field_name("body").is_none() {
        return Inside::Skip;
    }
    match node.child_by_field_name(NAME) {
        Some(name) => visit.define(kind, unqualified(name).0, node),
        None => Inside::Look,
    }
}

/// Fields, and in C++ virtual functions without a body; other prototypes are no definitions.
fn fields(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let is_pure = node.child_by_field_name("default_value").is_some();
    for declarator in children_in_field(node, "declarator") {
        match declared(declarator) {
            Some(found) if !found.function => {
                visit.add(SymbolKind::Field, found.name.byte_range(), node);
            }
            Some(found) if is_pure => {
                visit.add(SymbolKind::Method, found.name.byte_range(), node);
            }
            _ => {}
        }
    }
    Inside::Look
}

/// In `typedef struct { … } Name` the members belong to `Name`.
fn type_definition(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let declarators = children_in_field(node, "declarator").filter_map(declared);
    let mut symbols =
        declarators.filter_map(|found| visit.add(SymbolKind::Type, found.name.byte_range(), node));
    let first = symbols.next();
    symbols.for_each(drop);
    let has_name = node
        .child_by_field_name("type")
        .is_some_and(|specifier| specifier.child_by_field_name(NAME).is_some());
    match first {
        Some(first) if !has_name => Inside::LookIn(first),
        _ => Inside::Look,
    }
}

fn variables(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let storage = child_of_kind(node, &["storage_class_specifier"]);
    let is_extern = storage.is_some_and(|storage| visit.text(storage) == b"extern");
    if is_extern || visit.is_local() {
        return Inside::Look;
    }
    for found in children_in_field(node, "declarator").filter_map(declared) {
        if !found.function {
            let (name, scope) = unqualified(found.name);
            let container = match scope {
                Some(scope) => visit.type_of(scope, scope),
                None => visit.container(),
            };
            visit.add_to(container, SymbolKind::Variable, name.byte_range(), node);
        }
    }
    Inside::Look
}

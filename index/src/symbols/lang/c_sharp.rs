//! C#.

use tree_sitter::Node;

use super::{child_of_kind, children};
use crate::symbols::SymbolKind;
use crate::symbols::rules::{Action, Inside, NAME, Rule, define};
use crate::symbols::visit::Visit;

pub(in crate::symbols) const RULES: &[Rule] = &[
    ("namespace_declaration", define(SymbolKind::Namespace)),
    ("file_scoped_namespace_declaration", define(SymbolKind::Namespace)),
    ("class_declaration", define(SymbolKind::Class)),
    ("record_declaration", define(SymbolKind::Class)),
    ("struct_declaration", define(SymbolKind::Struct)),
    ("interface_declaration", define(SymbolKind::Interface)),
    ("enum_declaration", define(SymbolKind::Enum)),
    ("enum_member_declaration", define(SymbolKind::EnumMember)),
    ("delegate_declaration", define(SymbolKind::Type)),
    ("method_declaration", define(SymbolKind::Method)),
    ("constructor_declaration", define(SymbolKind::Constructor)),
    ("destructor_declaration", define(SymbolKind::Method)),
    ("local_function_statement", define(SymbolKind::Function)),
    ("property_declaration", define(SymbolKind::Property)),
    ("event_declaration", define(SymbolKind::Event)),
    ("event_field_declaration", Action::Handle(events)),
    ("field_declaration", Action::Handle(fields)),
    ("lambda_expression", Action::Local),
    ("anonymous_method_expression", Action::Local),
    ("accessor_declaration", Action::Local),
    ("using_directive", Action::Skip),
    ("attribute_list", Action::Skip),
    ("parameter_list", Action::Skip),
    ("comment", Action::Skip),
];

fn events(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    variables(visit, node, SymbolKind::Event)
}

fn fields(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let is_const = children(node)
        .filter(|child| child.kind() == "modifier")
        .any(|modifier| visit.text(modifier) == b"const");
    let kind = if is_const { SymbolKind::Constant } else { SymbolKind::Field };
    variables(visit, node, kind)
}

fn variables(visit: &mut Visit<'_>, node: Node<'_>, kind: SymbolKind) -> Inside {
    let declaration = child_of_kind(node, &["variable_declaration"]);
    let declarators = declaration.into_iter().flat_map(children);
    for declarator in declarators.filter(|child| child.kind() == "variable_declarator") {
        if let Some(name) = declarator.child_by_field_name(NAME) {
            visit.add(kind, name.byte_range(), node);
        }
    }
    Inside::Look
}

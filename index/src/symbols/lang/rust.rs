//! Rust.

use tree_sitter::Node;

use crate::symbols::SymbolKind;
use crate::symbols::rules::{Action, Inside, NAME, Rule, define};
use crate::symbols::visit::Visit;

pub(in crate::symbols) const RULES: &[Rule] = &[
    ("function_item", define(SymbolKind::Function)),
    ("function_signature_item", define(SymbolKind::Function)),
    ("struct_item", define(SymbolKind::Struct)),
    ("enum_item", define(SymbolKind::Enum)),
    ("enum_variant", define(SymbolKind::EnumMember)),
    ("union_item", define(SymbolKind::Union)),
    ("trait_item", define(SymbolKind::Trait)),
    ("type_item", define(SymbolKind::Type)),
    ("associated_type", define(SymbolKind::Type)),
    ("const_item", define(SymbolKind::Constant)),
    ("static_item", define(SymbolKind::Variable)),
    ("mod_item", define(SymbolKind::Module)),
    ("field_declaration", define(SymbolKind::Field)),
    ("macro_definition", Action::Handle(macro_definition)),
    ("impl_item", Action::Handle(impl_item)),
    ("token_tree", Action::Skip),
    ("attribute_item", Action::Skip),
    ("inner_attribute_item", Action::Skip),
    ("use_declaration", Action::Skip),
    ("line_comment", Action::Skip),
    ("block_comment", Action::Skip),
];

fn macro_definition(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    if let Some(name) = node.child_by_field_name(NAME) {
        visit.add(SymbolKind::Macro, name.byte_range(), node);
    }
    Inside::Skip
}

/// `impl Type` and `impl Trait for Type`: the name is the type's, without its path and arguments.
fn impl_item(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let mut name = node.child_by_field_name("type");
    while let Some(inner) = name {
        name = match inner.kind() {
            "generic_type" | "reference_type" | "pointer_type" => inner.child_by_field_name("type"),
            "scoped_type_identifier" => inner.child_by_field_name(NAME),
            _ => break,
        };
    }
    match name {
        Some(name) if matches!(name.kind(), "type_identifier" | "primitive_type") => {
            visit.define(SymbolKind::Impl, name, node)
        }
        _ => Inside::Look,
    }
}

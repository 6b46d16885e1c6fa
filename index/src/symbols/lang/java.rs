//! Java.

use crate::symbols::SymbolKind;
use crate::symbols::rules::{Action, Rule, define, define_global};

pub(in crate::symbols) const RULES: &[Rule] = &[
    ("class_declaration", define(SymbolKind::Class)),
    ("record_declaration", define(SymbolKind::Class)),
    ("interface_declaration", define(SymbolKind::Interface)),
    ("annotation_type_declaration", define(SymbolKind::Interface)),
    ("enum_declaration", define(SymbolKind::Enum)),
    ("enum_constant", define(SymbolKind::EnumMember)),
    ("method_declaration", define(SymbolKind::Method)),
    ("annotation_type_element_declaration", define(SymbolKind::Method)),
    ("constructor_declaration", define(SymbolKind::Constructor)),
    ("compact_constructor_declaration", define(SymbolKind::Constructor)),
    ("variable_declarator", define_global(SymbolKind::Field)),
    ("lambda_expression", Action::Local),
    ("static_initializer", Action::Local),
    ("block", Action::Local),
    ("import_declaration", Action::Skip),
    ("package_declaration", Action::Skip),
    ("line_comment", Action::Skip),
    ("block_comment", Action::Skip),
    ("modifiers", Action::Skip),
    ("formal_parameters", Action::Skip),
];

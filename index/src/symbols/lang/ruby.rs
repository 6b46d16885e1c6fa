//! Ruby.

use std::ops::Range;

use tree_sitter::Node;

use super::children;
use crate::symbols::SymbolKind;
use crate::symbols::rules::{Action, Inside, NAME, Rule, define};
use crate::symbols::visit::Visit;

pub(in crate::symbols) const RULES: &[Rule] = &[
    ("class", Action::Handle(class)),
    ("module", Action::Handle(module)),
    ("method", define(SymbolKind::Function)),
    ("singleton_method", define(SymbolKind::Method)),
    ("alias", Action::Handle(alias)),
    ("assignment", Action::Handle(assignment)),
    ("call", Action::Handle(call)),
    ("comment", Action::Skip),
    ("string", Action::Skip),
    ("heredoc_body", Action::Skip),
    ("method_parameters", Action::Skip),
];

/// Methods that define attributes.
const ACCESSORS: [&[u8]; 7] = [
    b"attr_accessor",
    b"attr_reader",
    b"attr_writer",
    b"attr",
    b"cattr_accessor",
    b"mattr_accessor",
    b"class_attribute",
];

fn class(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    constant(visit, node, SymbolKind::Class)
}

fn module(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    constant(visit, node, SymbolKind::Module)
}

/// The name of `class A::B` is `B`.
fn constant(visit: &mut Visit<'_>, node: Node<'_>, kind: SymbolKind) -> Inside {
    let name = node.child_by_field_name(NAME);
    let last = name.map(|name| name.child_by_field_name(NAME).unwrap_or(name));
    match last {
        Some(name) => visit.define(kind, name, node),
        None => Inside::Look,
    }
}

fn assignment(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    match node.child_by_field_name("left") {
        Some(left) if left.kind() == "constant" && !visit.is_local() => {
            visit.define_once(SymbolKind::Constant, left, node)
        }
        _ => Inside::Look,
    }
}

/// The name in `:name`, or in a bare `name`.
fn symbol_name(node: Node<'_>) -> Range<usize> {
    let range = node.byte_range();
    match node.kind() {
        "simple_symbol" => range.start + 1..range.end,
        _ => range,
    }
}

fn alias(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    if let Some(name) = node.child_by_field_name(NAME) {
        visit.add(SymbolKind::Method, symbol_name(name), node);
    }
    Inside::Skip
}

/// `attr_accessor :a, :b` and `alias_method :a, :b`, which defines `a`.
fn call(visit: &mut Visit<'_>, node: Node<'_>) -> Inside {
    let Some(method) = node.child_by_field_name("method").filter(|_| !visit.is_local()) else {
        return Inside::Look;
    };
    let (kind, count) = match visit.text(method) {
        b"alias_method" => (SymbolKind::Method, 1),
        name if ACCESSORS.contains(&name) => (SymbolKind::Property, usize::MAX),
        _ => return Inside::Look,
    };
    let arguments = node.child_by_field_name("arguments");
    let symbols = arguments.into_iter().flat_map(children);
    let symbols = symbols.filter(|child| child.kind() == "simple_symbol");
    for symbol in symbols.take(count) {
        visit.add(kind, symbol_name(symbol), symbol);
    }
    Inside::Look
}

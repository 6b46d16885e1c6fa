//! The rules for each language: which nodes of its trees are definitions.

pub(super) mod bash;
pub(super) mod c;
pub(super) mod c_sharp;
pub(super) mod go;
pub(super) mod java;
pub(super) mod javascript;
pub(super) mod kotlin;
pub(super) mod php;
pub(super) mod python;
pub(super) mod ruby;
pub(super) mod rust;
pub(super) mod scala;
pub(super) mod swift;

use tree_sitter::Node;

/// The children of a node, without the quadratic cost of asking for each by its number.
fn children<'t>(node: Node<'t>) -> impl Iterator<Item = Node<'t>> {
    let mut cursor = node.walk();
    let mut more = cursor.goto_first_child();
    std::iter::from_fn(move || {
        let child = more.then(|| cursor.node());
        more = more && cursor.goto_next_sibling();
        child
    })
}

/// The first child of one of these kinds.
fn child_of_kind<'t>(node: Node<'t>, kinds: &[&str]) -> Option<Node<'t>> {
    children(node).find(|child| kinds.contains(&child.kind()))
}

/// The children in a field that may be there several times.
fn children_in_field<'t>(node: Node<'t>, field: &'static str) -> impl Iterator<Item = Node<'t>> {
    let mut cursor = node.walk();
    let mut more = cursor.goto_first_child();
    std::iter::from_fn(move || {
        while more {
            let found = (cursor.field_name() == Some(field)).then(|| cursor.node());
            more = cursor.goto_next_sibling();
            if found.is_some() {
                return found;
            }
        }
        None
    })
}

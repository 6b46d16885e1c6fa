//! A simplified tree is satisfied by the same documents.

use std::collections::HashMap;

use aeterna_index::query::simplify;
use aeterna_index::query::tree::{
    Case, Filter, Inclusion, Matcher, Node, Pattern, Scope, Visibility,
};
use proptest::prelude::*;

fn word(name: &str) -> Node {
    Node::Pattern(Pattern {
        matcher: Matcher::Literal(name.to_owned()),
        case: Case::Insensitive,
        scope: Scope::Either,
        position: 0..0,
    })
}

/// Conditions that are true of a document or not, independently of each other.
fn atoms() -> Vec<Node> {
    vec![
        word("a"),
        word("b"),
        word("c"),
        Node::Filter(Filter::Language("Rust")),
        Node::Filter(Filter::Visibility(Visibility::Public)),
    ]
}

fn trees() -> impl Strategy<Value = Node> {
    let always = vec![
        Node::All,
        Node::Nothing,
        word(""),
        Node::Filter(Filter::Archived(Inclusion::Yes)),
        Node::Filter(Filter::Fork(Inclusion::Yes)),
    ];
    let leaf = prop_oneof![
        4 => prop::sample::select(atoms()),
        1 => prop::sample::select(always),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Node::And),
            prop::collection::vec(inner.clone(), 0..5).prop_map(Node::Or),
            inner.prop_map(|child| Node::Not(Box::new(child))),
        ]
    })
}

fn holds(node: &Node, values: &HashMap<Node, bool>) -> bool {
    match node {
        Node::All => true,
        Node::Nothing => false,
        Node::And(children) => children.iter().all(|child| holds(child, values)),
        Node::Or(children) => children.iter().any(|child| holds(child, values)),
        Node::Not(child) => !holds(child, values),
        atom => values.get(atom).copied().unwrap_or(true),
    }
}

fn size(node: &Node) -> usize {
    1 + match node {
        Node::And(children) | Node::Or(children) => children.iter().map(size).sum(),
        Node::Not(child) => size(child),
        _ => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn simplifying_keeps_the_meaning(tree in trees()) {
        let simple = simplify(tree.clone());
        prop_assert!(size(&simple) <= size(&tree));
        for bits in 0..1u32 << atoms().len() {
            let values: HashMap<Node, bool> = atoms()
                .into_iter()
                .enumerate()
                .map(|(index, atom)| (atom, bits >> index & 1 == 1))
                .collect();
            prop_assert_eq!(holds(&simple, &values), holds(&tree, &values), "{}", tree);
        }
    }
}

#[test]
fn what_is_simplified() {
    let (a, b) = (word("a"), word("b"));
    let not = |node: &Node| Node::Not(Box::new(node.clone()));
    for (tree, expected) in [
        (
            Node::And(vec![a.clone(), Node::And(vec![b.clone(), a.clone()])]),
            r#"(and (text "a") (text "b"))"#,
        ),
        (Node::Or(vec![Node::Or(vec![a.clone()]), Node::Nothing]), r#"(text "a")"#),
        (not(&not(&a)), r#"(text "a")"#),
        (Node::And(vec![a.clone(), not(&a)]), "nothing"),
        (Node::Or(vec![not(&a), b.clone(), a.clone()]), "all"),
        (Node::And(vec![]), "all"),
        (Node::Or(vec![]), "nothing"),
        (Node::And(vec![a.clone(), Node::Not(Box::new(Node::Nothing))]), r#"(text "a")"#),
    ] {
        assert_eq!(simplify(tree.clone()).to_string(), expected, "{tree}");
    }
}

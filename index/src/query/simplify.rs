//! Makes a tree smaller without changing which documents satisfy it.

use super::tree::{Filter, Inclusion, Matcher, Node, Scope};

/// Flattens, removes double negations, constants and duplicates, and sees `a AND NOT a`.
#[must_use]
pub fn simplify(node: Node) -> Node {
    match node {
        Node::And(children) => combine(children, &AND),
        Node::Or(children) => combine(children, &OR),
        Node::Not(child) => negate(simplify(*child)),
        Node::Pattern(pattern) if is_everywhere(&pattern.matcher, &pattern.scope) => Node::All,
        Node::Filter(Filter::Archived(Inclusion::Yes) | Filter::Fork(Inclusion::Yes)) => Node::All,
        other => other,
    }
}

/// What AND and OR differ in.
struct Rules {
    /// The child that changes nothing, and the value without children.
    neutral: Node,
    /// The child that decides.
    absorbing: Node,
    rebuild: fn(Vec<Node>) -> Node,
    children: fn(Node) -> Result<Vec<Node>, Node>,
}

const AND: Rules = Rules {
    neutral: Node::All,
    absorbing: Node::Nothing,
    rebuild: Node::And,
    children: |node| match node {
        Node::And(children) => Ok(children),
        other => Err(other),
    },
};

const OR: Rules = Rules {
    neutral: Node::Nothing,
    absorbing: Node::All,
    rebuild: Node::Or,
    children: |node| match node {
        Node::Or(children) => Ok(children),
        other => Err(other),
    },
};

fn combine(children: Vec<Node>, rules: &Rules) -> Node {
    let mut kept: Vec<Node> = Vec::with_capacity(children.len());
    for child in children {
        // A simplified child has no child of its own kind, so one level is all there is.
        let parts = (rules.children)(simplify(child)).unwrap_or_else(|single| vec![single]);
        for part in parts {
            if part == rules.absorbing {
                return part;
            }
            if part == rules.neutral || kept.contains(&part) {
                continue;
            }
            if kept.contains(&negate(part.clone())) {
                return rules.absorbing.clone();
            }
            kept.push(part);
        }
    }
    match kept.len() {
        0 => rules.neutral.clone(),
        1 => kept.swap_remove(0),
        _ => (rules.rebuild)(kept),
    }
}

fn negate(node: Node) -> Node {
    match node {
        Node::All => Node::Nothing,
        Node::Nothing => Node::All,
        Node::Not(child) => *child,
        other => Node::Not(Box::new(other)),
    }
}

fn is_everywhere(matcher: &Matcher, scope: &Scope) -> bool {
    matches!(matcher, Matcher::Literal(text) if text.is_empty())
        && !matches!(scope, Scope::Symbol { .. })
}

//! Trigram expressions: what the grams of a unit must satisfy for a pattern to match in it.

use std::collections::HashSet;
use std::fmt;

use super::strings::StringSet;
use crate::trigram::Gram;

/// The most grams in the expression of one pattern. What is over it is left out, which makes the
/// expression weaker and never wrong.
pub const MAX_GRAMS: usize = 256;

/// A condition on a set of grams.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GramExpr {
    /// Every set: the grams cannot narrow the search.
    All,
    /// No set: the pattern never matches.
    Nothing,
    /// The sets that hold the gram.
    Gram(Gram),
    /// The sets that satisfy each; two or more, none of them an `And`, `All` or `Nothing`.
    And(Vec<GramExpr>),
    /// The sets that satisfy at least one; two or more, none of them an `Or`, `All` or `Nothing`.
    Or(Vec<GramExpr>),
}

impl GramExpr {
    /// Whether a set of grams satisfies the expression, given what it holds.
    #[must_use]
    pub fn matches(&self, holds: &dyn Fn(Gram) -> bool) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Gram(gram) => holds(*gram),
            Self::And(children) => children.iter().all(|child| child.matches(holds)),
            Self::Or(children) => children.iter().any(|child| child.matches(holds)),
        }
    }

    /// How many grams are written in it.
    #[must_use]
    pub fn gram_count(&self) -> usize {
        match self {
            Self::All | Self::Nothing => 0,
            Self::Gram(_) => 1,
            Self::And(children) | Self::Or(children) => children.iter().map(Self::gram_count).sum(),
        }
    }

    /// What satisfies every one of the expressions, flattened and without duplicates.
    #[must_use]
    pub fn and(expressions: impl IntoIterator<Item = Self>) -> Self {
        let mut kept = Unique::default();
        for expression in expressions {
            match expression {
                Self::All => {}
                Self::Nothing => return Self::Nothing,
                Self::And(children) => children.into_iter().for_each(|child| kept.push(child)),
                other => kept.push(other),
            }
        }
        let mut children = kept.list;
        absorb(&mut children, |child| match child {
            Self::Or(children) => children,
            _ => &[],
        });
        match children.len() {
            0 => Self::All,
            1 => children.swap_remove(0),
            _ => Self::And(children),
        }
    }

    /// What satisfies at least one of the expressions, with what they share taken out:
    /// `(a AND b) OR (a AND c)` is `a AND (b OR c)`.
    #[must_use]
    pub fn or(expressions: impl IntoIterator<Item = Self>) -> Self {
        let mut kept = Unique::default();
        for expression in expressions {
            match expression {
                Self::All => return Self::All,
                Self::Nothing => {}
                Self::Or(children) => children.into_iter().for_each(|child| kept.push(child)),
                other => kept.push(other),
            }
        }
        let mut branches = kept.list;
        match branches.len() {
            0 => return Self::Nothing,
            1 => return branches.swap_remove(0),
            _ => {}
        }
        let shared = take_shared(&mut branches);
        if shared.is_empty() {
            absorb(&mut branches, |child| match child {
                Self::And(children) => children,
                _ => &[],
            });
            return match branches.len() {
                1 => branches.swap_remove(0),
                _ => Self::Or(branches),
            };
        }
        Self::and(shared.into_iter().chain([Self::or(branches)]))
    }

    /// What every text that holds one of the strings satisfies.
    #[must_use]
    pub(super) fn of_strings(strings: &StringSet) -> Self {
        if strings.shortest() < 3 {
            return Self::All;
        }
        Self::or(strings.iter().map(|string| {
            Self::and(
                string
                    .windows(3)
                    .map(|slots| Self::Gram(Gram::from_slots(slots[0], slots[1], slots[2]))),
            )
        }))
    }

    /// The same or a weaker condition with at most `budget` grams.
    #[must_use]
    pub(super) fn limited(self, budget: usize) -> Self {
        if self.gram_count() <= budget {
            return self;
        }
        match self {
            Self::And(children) => limit_and(children, budget),
            Self::Or(children) => {
                let share = budget / children.len();
                Self::or(children.into_iter().map(|child| child.limited(share)))
            }
            _ => Self::All,
        }
    }
}

/// Keeps whole conditions, those of a single gram first, evenly spread when there are too many.
fn limit_and(children: Vec<GramExpr>, budget: usize) -> GramExpr {
    if budget == 0 {
        return GramExpr::All;
    }
    let (grams, wide): (Vec<_>, Vec<_>) =
        children.into_iter().partition(|child| matches!(child, GramExpr::Gram(_)));
    let step = grams.len().div_ceil(budget).max(1);
    let mut kept: Vec<GramExpr> = grams.into_iter().step_by(step).collect();
    let mut left = budget - kept.len();
    for child in wide {
        let count = child.gram_count();
        if count <= left {
            left -= count;
            kept.push(child);
        } else if kept.is_empty() {
            kept.push(child.limited(left));
            left = 0;
        }
    }
    GramExpr::and(kept)
}

/// Removes from the branches, and returns, the conditions that all of them have.
fn take_shared(branches: &mut [GramExpr]) -> Vec<GramExpr> {
    let mut shared = conditions(&branches[0]).to_vec();
    for branch in &branches[1..] {
        let own: HashSet<&GramExpr> = conditions(branch).iter().collect();
        shared.retain(|condition| own.contains(condition));
        if shared.is_empty() {
            return shared;
        }
    }
    let taken: HashSet<&GramExpr> = shared.iter().collect();
    for branch in branches {
        let rest: Vec<GramExpr> = conditions(branch)
            .iter()
            .filter(|condition| !taken.contains(condition))
            .cloned()
            .collect();
        *branch = GramExpr::and(rest);
    }
    shared
}

fn conditions(branch: &GramExpr) -> &[GramExpr] {
    match branch {
        GramExpr::And(children) => children,
        other => std::slice::from_ref(other),
    }
}

/// Removes each child of which another child is a part: `a` makes `a OR b` (in AND) and `a AND b`
/// (in OR) superfluous.
fn absorb(children: &mut Vec<GramExpr>, parts: fn(&GramExpr) -> &[GramExpr]) {
    let all: HashSet<GramExpr> = children.iter().cloned().collect();
    children.retain(|child| !parts(child).iter().any(|part| all.contains(part)));
}

#[derive(Default)]
struct Unique {
    seen: HashSet<GramExpr>,
    list: Vec<GramExpr>,
}

impl Unique {
    fn push(&mut self, expression: GramExpr) {
        if self.seen.insert(expression.clone()) {
            self.list.push(expression);
        }
    }
}

/// Readable: `"mut" AND ("_lo" OR "_un")`.
impl fmt::Display for GramExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("ALL"),
            Self::Nothing => f.write_str("NOTHING"),
            Self::Gram(gram) => write!(f, "{gram}"),
            Self::And(children) => write_joined(f, children, " AND "),
            Self::Or(children) => write_joined(f, children, " OR "),
        }
    }
}

fn write_joined(f: &mut fmt::Formatter<'_>, children: &[GramExpr], operator: &str) -> fmt::Result {
    for (index, child) in children.iter().enumerate() {
        if index > 0 {
            f.write_str(operator)?;
        }
        match child {
            GramExpr::And(_) | GramExpr::Or(_) => write!(f, "({child})")?,
            _ => write!(f, "{child}")?,
        }
    }
    Ok(())
}

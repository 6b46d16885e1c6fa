//! What is known of every match of a part of a pattern, and how parts combine.

use regex_syntax::hir::{Hir, HirKind, Repetition};

use super::classes;
use super::expr::{GramExpr, MAX_GRAMS};
use super::strings::StringSet;

/// How many copies of a repeated part are written out.
const MAX_COPIES: u32 = 16;

/// How many repetitions without a limit are written out in one sequence.
const MAX_WRITTEN_OUT: u32 = 2;

/// How many strings a part may match whose repetitions are written out: Unicode's white space, and
/// not yet the letters, which begin and end what they like.
const MAX_FORMS: usize = 25;

/// The slots of a beginning or an end that a gram across a border needs.
const BORDER: usize = 2;

/// What holds for every match of a part, folded.
#[derive(Clone, Debug)]
pub(super) struct Info {
    /// All the matches, if they are few.
    exact: Option<StringSet>,
    /// Each match begins with one of these.
    prefix: StringSet,
    /// Each match ends with one of these.
    suffix: StringSet,
    /// What the grams of every text that holds a match satisfy, beside those of `exact`.
    grams: GramExpr,
}

/// The expression of a whole pattern.
///
/// Recursion is bounded by the limit on nesting that the pattern was parsed with.
pub(super) fn grams(syntax: &Hir) -> GramExpr {
    analyse(syntax).opened().grams.limited(MAX_GRAMS)
}

fn analyse(syntax: &Hir) -> Info {
    match syntax.kind() {
        HirKind::Empty | HirKind::Look(_) => Info::empty(),
        HirKind::Literal(literal) => classes::literal(&literal.0),
        HirKind::Class(class) => classes::class(class),
        HirKind::Repetition(repetition) => repeat(repetition),
        HirKind::Capture(capture) => analyse(&capture.sub),
        HirKind::Concat(parts) => concat(parts, MAX_WRITTEN_OUT),
        HirKind::Alternation(parts) => {
            parts.iter().map(analyse).reduce(Info::or).unwrap_or_else(Info::nothing)
        }
    }
}

/// Parts one after another. A part that is repeated without a limit, such as the ` *` of `name *\(`,
/// is written out as its shortest forms and a longer one, so that the grams across its borders are
/// known in each.
fn concat(parts: &[Hir], write_out: u32) -> Info {
    let mut info = Info::empty();
    for (place, part) in parts.iter().enumerate() {
        let forms = if write_out > 0 { forms(part) } else { None };
        let Some(forms) = forms else {
            info = info.then(analyse(part));
            continue;
        };
        let rest = concat(&parts[place + 1..], write_out - 1);
        return forms
            .into_iter()
            .map(|form| info.clone().then(form).then(rest.clone()))
            .reduce(Info::or)
            .unwrap_or_else(Info::nothing);
    }
    info
}

/// What is repeated without a limit as alternatives: none where once is allowed to be no time, one,
/// and two or more that begin and end with it. `None` where that says nothing, and for what is not
/// a literal or a class: with groups in groups the work would grow without a bound.
fn forms(part: &Hir) -> Option<Vec<Info>> {
    let HirKind::Repetition(repetition) = part.kind() else { return None };
    let is_plain = matches!(repetition.sub.kind(), HirKind::Literal(_) | HirKind::Class(_));
    if !is_plain || repetition.max.is_some() || repetition.min > 1 {
        return None;
    }
    let one = analyse(&repetition.sub);
    let strings = one.exact.as_ref()?;
    if strings.shortest() == 0 || strings.len() > MAX_FORMS {
        return None;
    }
    let more = one.clone().then(one.clone()).opened();
    let longer = Info::between(more.prefix, more.suffix);
    let none = (repetition.min == 0).then(Info::empty);
    Some(none.into_iter().chain([one, longer]).collect())
}

fn repeat(repetition: &Repetition) -> Info {
    let one = analyse(&repetition.sub);
    let required = repetition.min.min(MAX_COPIES);
    let mut info = Info::empty();
    for _ in 0..required {
        info = info.then(one.clone());
    }
    let most = match repetition.max {
        Some(max) if required == repetition.min && max <= MAX_COPIES => max,
        _ => return info.with_unknown_inside(),
    };
    // Each number of copies is an alternative; when those become too many, what the required
    // copies say is what is known.
    let mut longer = info.clone();
    let mut union = info.clone();
    for _ in required..most {
        longer = longer.then(one.clone());
        union = union.or(longer.clone());
        if union.exact.is_none() {
            return info.with_unknown_inside();
        }
    }
    union
}

impl Info {
    /// Of a part that matches the empty text only.
    pub fn empty() -> Self {
        Self::exact(StringSet::empty_string())
    }

    /// Of a part that matches just these strings.
    pub fn exact(set: StringSet) -> Self {
        Self { prefix: set.clone(), suffix: set.clone(), exact: Some(set), grams: GramExpr::All }
    }

    /// Of a part of whose matches only the beginnings and ends are known.
    pub fn between(prefix: StringSet, suffix: StringSet) -> Self {
        Self { exact: None, prefix, suffix, grams: GramExpr::All }
    }

    /// Of a part that can match anything.
    pub fn anything() -> Self {
        Self::between(StringSet::empty_string(), StringSet::empty_string())
    }

    /// Of a part that matches nothing, not even the empty text.
    pub fn nothing() -> Self {
        Self { grams: GramExpr::Nothing, ..Self::anything() }
    }

    /// Of this part followed by the other one.
    pub fn then(self, next: Self) -> Self {
        if let (Some(first), Some(second)) = (&self.exact, &next.exact)
            && let Some(both) = first.product(second)
        {
            return Self { grams: GramExpr::and([self.grams, next.grams]), ..Self::exact(both) };
        }
        let prefix = match &self.exact {
            Some(first) => first.product(&next.prefix),
            None => None,
        };
        let suffix = match &next.exact {
            Some(second) => self.suffix.product(second),
            None => None,
        };
        let border = self.border_with(&next);
        let (first, second) = (self.opened(), next.opened());
        let prefix = prefix.unwrap_or(first.prefix);
        let suffix = suffix.unwrap_or(second.suffix);
        Self {
            exact: None,
            grams: GramExpr::and([
                first.grams,
                border,
                second.grams,
                GramExpr::of_strings(&prefix),
                GramExpr::of_strings(&suffix),
            ])
            .limited(MAX_GRAMS),
            prefix: prefix.starts(BORDER),
            suffix: suffix.ends(BORDER),
        }
    }

    /// The grams that lie in both parts.
    fn border_with(&self, next: &Self) -> GramExpr {
        let ends = self.suffix.ends(BORDER);
        let starts = next.prefix.starts(BORDER);
        if let Some(across) = ends.product(&starts) {
            return GramExpr::of_strings(&across);
        }
        // With fewer slots on one side the sets are smaller, and may be few enough together.
        GramExpr::and(
            [(BORDER, 1), (1, BORDER)]
                .into_iter()
                .filter_map(|(left, right)| ends.ends(left).product(&starts.starts(right)))
                .map(|across| GramExpr::of_strings(&across)),
        )
    }

    /// Of this part or the other one.
    pub fn or(self, other: Self) -> Self {
        if matches!(self.grams, GramExpr::Nothing) {
            return other;
        }
        if matches!(other.grams, GramExpr::Nothing) {
            return self;
        }
        if let (Some(first), Some(second), GramExpr::All, GramExpr::All) =
            (&self.exact, &other.exact, &self.grams, &other.grams)
            && let Some(union) = first.union(second)
        {
            return Self::exact(union);
        }
        let (first, second) = (self.opened(), other.opened());
        let merge = |a: &StringSet, b: &StringSet| a.union(b);
        Self {
            exact: None,
            prefix: merge(&first.prefix, &second.prefix)
                .map_or_else(StringSet::empty_string, |set| set.starts(BORDER)),
            suffix: merge(&first.suffix, &second.suffix)
                .map_or_else(StringSet::empty_string, |set| set.ends(BORDER)),
            grams: GramExpr::or([first.grams, second.grams]).limited(MAX_GRAMS),
        }
    }

    /// The same with the grams of the exact strings in `grams`, and only borders left of these.
    fn opened(self) -> Self {
        let Some(exact) = self.exact else { return self };
        Self {
            exact: None,
            prefix: exact.starts(BORDER),
            suffix: exact.ends(BORDER),
            grams: GramExpr::and([self.grams, GramExpr::of_strings(&exact)]),
        }
    }

    /// Of matches that begin and end like those of this part, with anything between or around.
    fn with_unknown_inside(self) -> Self {
        self.opened()
    }
}

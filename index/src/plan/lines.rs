//! Whether a match can lie in more than one line.

use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// Whether a match can hold a line feed, or the pattern looks at more than the lines that it matches.
///
/// Recursion is bounded by the limit on nesting that the pattern was parsed with.
pub(super) fn crosses(syntax: &Hir) -> bool {
    match syntax.kind() {
        HirKind::Empty => false,
        HirKind::Literal(literal) => literal.0.contains(&b'\n'),
        HirKind::Class(Class::Unicode(class)) => {
            class.iter().any(|range| (range.start()..=range.end()).contains(&'\n'))
        }
        HirKind::Class(Class::Bytes(class)) => {
            class.iter().any(|range| (range.start()..=range.end()).contains(&b'\n'))
        }
        // In bytes that are not UTF-8, Unicode's `\B` looks at up to four bytes before it, whatever
        // line they are of (`regex_automata::util::utf8::decode_last`).
        HirKind::Look(look) => {
            matches!(look, Look::Start | Look::End | Look::WordUnicodeNegate)
        }
        HirKind::Repetition(repetition) => crosses(&repetition.sub),
        HirKind::Capture(capture) => crosses(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(crosses),
    }
}

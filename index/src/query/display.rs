//! The tree as an S-expression, for `--explain`.

use std::fmt;

use super::dates::DateRange;
use super::names::NameMatch;
use super::tree::{
    Case, Filter, Inclusion, Matcher, Node, Pattern, ResultType, Scope, Select, Visibility,
};

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Nothing => f.write_str("nothing"),
            Self::And(children) => write_list(f, "and", children),
            Self::Or(children) => write_list(f, "or", children),
            Self::Not(child) => write!(f, "(not {child})"),
            Self::Pattern(pattern) => write!(f, "{pattern}"),
            Self::Filter(filter) => write!(f, "{filter}"),
        }
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, name: &str, children: &[Node]) -> fmt::Result {
    write!(f, "({name}")?;
    for child in children {
        write!(f, " {child}")?;
    }
    f.write_str(")")
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = match self.scope {
            Scope::Either => "text",
            Scope::Content => "content",
            Scope::Path => "path",
            Scope::Symbol { .. } => "symbol",
        };
        write!(f, "({scope} {}", self.matcher)?;
        if let Scope::Symbol { container: Some(container) } = &self.scope {
            write!(f, " in {container:?}")?;
        }
        f.write_str(match self.case {
            Case::Sensitive => " case)",
            Case::Insensitive => ")",
        })
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => write!(f, "{text:?}"),
            Self::Regex(source) => write!(f, "/{source}/"),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository(name) => write!(f, "(repository {name})"),
            Self::Organisation(name) => write!(f, "(organisation = {name:?})"),
            Self::Revision(name) => write!(f, "(revision {name})"),
            Self::Language(name) => write!(f, "(language = {name:?})"),
            Self::Archived(inclusion) => write!(f, "(archived {inclusion})"),
            Self::Fork(inclusion) => write!(f, "(fork {inclusion})"),
            Self::Vendored => f.write_str("(vendored)"),
            Self::Generated => f.write_str("(generated)"),
            Self::Visibility(Visibility::Public) => f.write_str("(public)"),
            Self::Visibility(Visibility::Private) => f.write_str("(private)"),
            Self::License(name) => write!(f, "(license = {name:?})"),
            Self::Author(part) => write!(f, "(author ~ {part:?})"),
            Self::Updated(range) => write!(f, "(updated {range})"),
        }
    }
}

impl fmt::Display for NameMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "= {name:?}"),
            Self::Substring(part) => write!(f, "~ {part:?}"),
            Self::Glob(glob) => write!(f, "glob {glob:?}"),
            Self::Regex(source) => write!(f, "/{source}/"),
        }
    }
}

impl fmt::Display for Inclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Only => "only",
        })
    }
}

impl fmt::Display for DateRange {
    /// Seconds since 1970, `*` where it has no end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from {
            Some(from) => write!(f, "{from}..")?,
            None => f.write_str("*..")?,
        }
        match self.to {
            Some(to) => write!(f, "{to}"),
            None => f.write_str("*"),
        }
    }
}

impl fmt::Display for ResultType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Path => "path",
            Self::Repository => "repo",
            Self::Symbol => "symbol",
        })
    }
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository => f.write_str("repo"),
            Self::File => f.write_str("file"),
            Self::Content => f.write_str("content"),
            Self::Symbol(None) => f.write_str("symbol"),
            Self::Symbol(Some(kind)) => write!(f, "symbol.{}", kind.as_str()),
        }
    }
}

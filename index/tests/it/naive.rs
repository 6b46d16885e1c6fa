//! A query evaluated the plain way: every document, every pattern, with the `regex` crate.

use aeterna_index::languages::Language;
use aeterna_index::query::tree::{
    Case, Filter, Inclusion, Matcher, Node, Pattern, QueryOptions, ResultType, Scope, Select,
    Visibility,
};
use aeterna_index::query::{LanguageNames, ParseOptions, QueryError, parse, simplify};
use regex::bytes::{Regex, RegexBuilder};

use crate::world::Doc;

/// Linguist's names for the parser.
pub struct Linguist;

impl LanguageNames for Linguist {
    fn canonical(&self, name: &str) -> Option<&'static str> {
        Language::from_name(name).map(Language::name)
    }
    fn nearest(&self, name: &str) -> Vec<&'static str> {
        Language::nearest(name)
    }
}

/// A pattern, compiled, and whether its matches are shown.
struct Atom {
    pattern: Pattern,
    regex: Regex,
    positive: bool,
}

/// A query that is held against one document after another.
pub struct Naive {
    root: Node,
    /// Of the unsimplified tree: what decides.
    deciding: Vec<Atom>,
    /// Of the simplified tree: what is shown and counted.
    shown: Vec<Atom>,
    pub options: QueryOptions,
}

/// What a document should give.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Matches in the content, none overlapping.
    pub hits: Vec<(usize, usize)>,
    /// Lines in which they start.
    pub lines: u64,
    /// Matched ranges of the path.
    pub path: Vec<(u32, u32)>,
}

fn compile(pattern: &Pattern) -> Regex {
    let source = match &pattern.matcher {
        Matcher::Literal(text) => regex::escape(text),
        Matcher::Regex(source) => source.clone(),
    };
    RegexBuilder::new(&source)
        .multi_line(true)
        .crlf(true)
        .case_insensitive(pattern.case == Case::Insensitive)
        .build()
        .unwrap()
}

fn collect(node: &Node, positive: bool, atoms: &mut Vec<Atom>) {
    match node {
        Node::And(children) | Node::Or(children) => {
            children.iter().for_each(|child| collect(child, positive, atoms));
        }
        Node::Not(child) => collect(child, !positive, atoms),
        Node::Pattern(pattern) => {
            atoms.push(Atom { pattern: pattern.clone(), regex: compile(pattern), positive });
        }
        Node::All | Node::Nothing | Node::Filter(_) => {}
    }
}

impl Naive {
    pub fn new(query: &str) -> Result<Self, QueryError> {
        let query = parse(query, &ParseOptions::new(&Linguist))?;
        let (mut deciding, mut shown) = (Vec::new(), Vec::new());
        collect(&query.root, true, &mut deciding);
        collect(&simplify(query.root.clone()), true, &mut shown);
        Ok(Self { root: query.root, deciding, shown, options: query.options })
    }

    fn in_content(&self, pattern: &Pattern) -> bool {
        matches!(pattern.scope, Scope::Either | Scope::Content)
            && self.options.result_type != ResultType::Path
    }

    fn in_path(&self, pattern: &Pattern) -> bool {
        match pattern.scope {
            Scope::Path => true,
            Scope::Either => self.options.select != Some(Select::Content),
            _ => false,
        }
    }

    /// What the document gives, if it satisfies the query.
    pub fn expect(&self, doc: &Doc) -> Option<Expected> {
        self.holds(&self.root, doc).then(|| {
            let (mut hits, mut path) = (Vec::new(), Vec::new());
            for atom in self.shown.iter().filter(|atom| atom.positive) {
                let ranges =
                    |text| atom.regex.find_iter(text).map(|found| (found.start(), found.end()));
                if let Some(text) = doc.text.as_ref().filter(|_| self.in_content(&atom.pattern)) {
                    hits.extend(ranges(text));
                }
                if self.in_path(&atom.pattern) {
                    path.extend(ranges(&doc.path).filter(|(start, end)| end > start));
                }
            }
            let hits = apart(hits);
            let lines = lines_of(doc.text.as_deref().unwrap_or_default(), &hits);
            let path = apart(path).into_iter().map(|(a, b)| (a as u32, b as u32)).collect();
            Expected { hits, lines, path }
        })
    }

    fn holds(&self, node: &Node, doc: &Doc) -> bool {
        match node {
            Node::All => true,
            Node::Nothing => false,
            Node::And(children) => children.iter().all(|child| self.holds(child, doc)),
            Node::Or(children) => children.iter().any(|child| self.holds(child, doc)),
            Node::Not(child) => !self.holds(child, doc),
            Node::Pattern(pattern) => self.matches(pattern, doc),
            Node::Filter(filter) => passes(filter, doc),
        }
    }

    fn matches(&self, pattern: &Pattern, doc: &Doc) -> bool {
        // The empty text is everywhere, also where there is no text at all.
        if matches!(&pattern.matcher, Matcher::Literal(text) if text.is_empty()) {
            return true;
        }
        let atom = self.deciding.iter().find(|atom| atom.pattern == *pattern).unwrap();
        self.in_path(pattern) && atom.regex.is_match(&doc.path)
            || self.in_content(pattern)
                && doc.text.as_ref().is_some_and(|text| atom.regex.is_match(text))
    }
}

/// Ranges in order, without those that overlap an earlier one or are equal to it.
fn apart(mut ranges: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    ranges.sort_by_key(|(start, end)| (*start, std::cmp::Reverse(*end)));
    ranges.dedup();
    let mut end = 0;
    ranges.retain(|range| {
        let keep = range.0 >= end;
        if keep {
            end = range.1;
        }
        keep
    });
    ranges
}

/// How many lines have a match that starts in them.
fn lines_of(text: &[u8], hits: &[(usize, usize)]) -> u64 {
    let (mut lines, mut at) = (0, None);
    for (start, _) in hits {
        let is_new = at.is_none_or(|at| memchr::memchr(b'\n', &text[at..*start]).is_some());
        lines += u64::from(is_new);
        at = Some(*start);
    }
    lines
}

fn passes(filter: &Filter, doc: &Doc) -> bool {
    let including = |inclusion: &Inclusion, has: bool| match inclusion {
        Inclusion::Yes => true,
        Inclusion::No => !has,
        Inclusion::Only => has,
    };
    match filter {
        Filter::Repository(name) => name.for_repositories().unwrap().is_match(&doc.info.name),
        Filter::Organisation(name) => {
            doc.info.name.split('/').next().unwrap().eq_ignore_ascii_case(name)
        }
        Filter::Revision(name) => {
            let matcher = name.for_revisions().unwrap();
            doc.branches.iter().any(|branch| {
                let is_default = doc.info.default_branch.as_ref() == Some(branch);
                matcher.is_match(branch) || is_default && matcher.is_match("HEAD")
            })
        }
        Filter::Language(name) => doc.language.map(Language::name) == Some(*name),
        Filter::Archived(inclusion) => including(inclusion, doc.info.archived),
        Filter::Fork(inclusion) => including(inclusion, doc.info.fork),
        Filter::Vendored => doc.vendored,
        Filter::Generated => doc.generated,
        Filter::Visibility(visibility) => doc.info.public == (*visibility == Visibility::Public),
        Filter::License(name) => {
            doc.info.license.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name))
        }
        Filter::Author(_) | Filter::Updated(_) => panic!("not generated"),
    }
}

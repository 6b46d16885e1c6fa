//! Which documents of a segment may match: filters, trigrams and paths.
//!
//! Each part of the query gives two sets: documents that *may* match, and documents that *surely*
//! do. NOT swaps and complements them, so that a trigram expression, which only ever says "may",
//! is never taken for an answer.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::compile::{Atom, Compiled, Expr, Ready, fold};
use super::repositories::info_passes;
use super::response::{SearchError, Visible};
use crate::IndexError;
use crate::bits::Bits;
use crate::document::{OmitReason, RepositoryId, RepositoryInfo};
use crate::plan::GramExpr;
use crate::query::tree::Filter;
use crate::segment::View;
use crate::segment::postings::{ListReader, Place};
use crate::segment::tables::{Blob, PATH_BLOCK, flag};
use crate::shard::snapshot::Loaded;
use crate::shard::{Changed, History, Snapshot};

/// An intersection this small is not narrowed further: reading a list costs more.
const FEW_UNITS: u32 = 4;

/// What may match, and what surely does.
#[derive(Clone)]
struct Sets {
    may: Bits,
    sure: Bits,
}

impl Sets {
    fn exactly(set: Bits) -> Self {
        Self { sure: set.clone(), may: set }
    }
}

/// The candidates of one segment.
pub(crate) struct SegmentCandidates<'a> {
    /// What the segment is a part of.
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) loaded: &'a Loaded,
    pub(crate) view: View<'a>,
    /// Documents to verify.
    pub(crate) may: Bits,
    /// Units to search for each atom.
    pub(crate) units: Vec<Bits>,
    /// Documents whose path each atom matches.
    pub(crate) paths: Vec<Bits>,
    /// Documents that pass each filter.
    pub(crate) filters: Vec<Bits>,
    /// Documents without content that the filters let through, by reason.
    pub(crate) omitted: Vec<(OmitReason, u64)>,
    pub(crate) posting_bytes: u64,
}

impl SegmentCandidates<'_> {
    /// The content of a document.
    pub(crate) fn blob_of(&self, document: u32) -> Blob {
        self.view.blobs.get(self.view.documents.get(document).blob)
    }
}

/// Finds the candidates of a segment.
pub(crate) fn candidates<'a>(
    query: &Compiled,
    snapshot: &'a Snapshot,
    loaded: &'a Loaded,
    visible: &Visible,
) -> Result<SegmentCandidates<'a>, SearchError> {
    let view = loaded.segment.view()?;
    let mut finder = Finder { query, snapshot, loaded, view, posting_bytes: 0 };
    let allowed = finder.visible(visible);
    let mut filters = Vec::with_capacity(query.filters.len());
    for filter in &query.filters {
        filters.push(finder.filter(filter)?);
    }
    // What the filters alone exclude needs no lists to be read.
    let left = finder.left_by_filters(&query.expr, &filters, &allowed);
    let empty = left.is_empty();
    let omitted = finder.omitted(left);
    let mut units = Vec::with_capacity(query.atoms.len());
    let mut paths = Vec::with_capacity(query.atoms.len());
    for atom in &query.atoms {
        units.push(if empty { Bits::none(finder.view.units.len()) } else { finder.units(atom)? });
        paths.push(if empty {
            Bits::none(finder.documents())
        } else {
            finder.paths(atom, &allowed)?
        });
    }
    let mut may = if empty {
        Bits::none(finder.documents())
    } else {
        finder.evaluate(&query.expr, &filters, &units, &paths).may
    };
    may.and(&allowed);
    let Finder { view, posting_bytes, .. } = finder;
    Ok(SegmentCandidates {
        snapshot,
        loaded,
        view,
        may,
        units,
        paths,
        filters,
        omitted,
        posting_bytes,
    })
}

struct Finder<'a, 'q> {
    query: &'q Compiled,
    snapshot: &'q Snapshot,
    loaded: &'a Loaded,
    view: View<'a>,
    posting_bytes: u64,
}

impl Finder<'_, '_> {
    fn documents(&self) -> u32 {
        self.view.documents.len()
    }

    /// Live documents of the repositories that may be seen.
    fn visible(&self, visible: &Visible) -> Bits {
        let known = |id| self.snapshot.infos.contains_key(id) && visible.contains(id);
        if self.loaded.segment.meta.repositories.iter().all(known) {
            return (*self.loaded.alive).clone();
        }
        let mut allowed = self.of_repositories(|info| visible.contains(&info.id));
        allowed.and(&self.loaded.alive);
        allowed
    }

    fn of_repositories(&self, keep: impl Fn(&RepositoryInfo) -> bool) -> Bits {
        let mut set = Bits::none(self.documents());
        for id in &self.loaded.segment.meta.repositories {
            if self.snapshot.infos.get(id).is_some_and(|info| keep(info)) {
                let range = self.view.documents_in(*id);
                set.insert_range(range.start, range.end);
            }
        }
        set
    }

    fn filter(&self, filter: &Ready) -> Result<Bits, SearchError> {
        Ok(match filter {
            Ready::Repository(name) => self.of_repositories(|info| name.is_match(&info.name)),
            Ready::Revision(name, _) => self.of_revisions(|default, revision| {
                name.is_match(revision) || default == Some(revision) && name.is_match("HEAD")
            }),
            Ready::Other(filter) => self.other_filter(filter)?,
        })
    }

    fn other_filter(&self, filter: &Filter) -> Result<Bits, IndexError> {
        Ok(match filter {
            Filter::Organisation(_)
            | Filter::Archived(_)
            | Filter::Fork(_)
            | Filter::Visibility(_)
            | Filter::License(_) => {
                self.of_repositories(|info| info_passes(filter, info).unwrap_or(false))
            }
            Filter::Language(name) => {
                let languages = &self.loaded.segment.languages;
                let number = languages
                    .iter()
                    .position(|language| language.is_some_and(|language| language.name() == *name));
                self.of_documents(|document| Some(usize::from(document.language)) == number)
            }
            Filter::Vendored => self.of_documents(|document| document.flags & flag::VENDORED != 0),
            Filter::Generated => {
                self.of_documents(|document| document.flags & flag::GENERATED != 0)
            }
            Filter::Author(part) => return self.by_author(part),
            Filter::Updated(range) => {
                return self.of_changes(|_, change| range.contains(change.seconds));
            }
            // Compiling a query turns these into matchers.
            Filter::Repository(_) | Filter::Revision(_) => Bits::none(self.documents()),
        })
    }

    /// Documents whose last change's author has a part in the name or address, whatever its case.
    fn by_author(&self, part: &str) -> Result<Bits, IndexError> {
        let part = fold(part);
        let is_wanted = |id: &RepositoryId| {
            let history: &Arc<History> = self.snapshot.histories.get(id)?;
            let authors = history.authors().iter();
            Some((*id, authors.map(|author| fold(author).contains(&part)).collect()))
        };
        let repositories = &self.loaded.segment.meta.repositories;
        let wanted: HashMap<RepositoryId, Vec<bool>> =
            repositories.iter().filter_map(is_wanted).collect();
        self.of_changes(|id, change| {
            wanted.get(&id).is_some_and(|wanted| wanted[change.author as usize])
        })
    }

    /// Documents whose last change is known, and one to keep.
    fn of_changes(
        &self,
        keep: impl Fn(RepositoryId, &Changed) -> bool,
    ) -> Result<Bits, IndexError> {
        let changes = self.snapshot.changes(self.loaded, &self.view)?;
        let mut set = Bits::none(self.documents());
        for id in &self.loaded.segment.meta.repositories {
            for document in self.view.documents_in(*id) {
                if changes[document as usize].is_some_and(|change| keep(*id, &change)) {
                    set.insert(document);
                }
            }
        }
        Ok(set)
    }

    fn of_documents(&self, keep: impl Fn(&crate::segment::tables::Document) -> bool) -> Bits {
        let mut set = Bits::none(self.documents());
        for number in 0..self.documents() {
            if keep(&self.view.documents.get(number)) {
                set.insert(number);
            }
        }
        set
    }

    fn of_revisions(&self, keep: impl Fn(Option<&str>, &str) -> bool) -> Bits {
        let mut set = Bits::none(self.documents());
        for (id, revision, documents) in self.loaded.live.iter() {
            let default =
                self.snapshot.infos.get(&id).and_then(|info| info.default_branch.as_deref());
            if keep(default, revision) {
                documents.iter().for_each(|document| set.insert(document));
            }
        }
        set
    }

    /// What the filters that every match must pass leave.
    fn left_by_filters(&self, expr: &Expr, filters: &[Bits], allowed: &Bits) -> Bits {
        let mut left = allowed.clone();
        let mut narrow = |expr: &Expr| match expr {
            Expr::Filter(number) => left.and(&filters[*number]),
            Expr::Nothing => left = Bits::none(left.len()),
            _ => {}
        };
        match expr {
            Expr::And(children) => children.iter().for_each(narrow),
            other => narrow(other),
        }
        left
    }

    /// How many of the documents have no content in the index, where the query asks for content.
    fn omitted(&self, left: Bits) -> Vec<(OmitReason, u64)> {
        if !self.query.atoms.iter().any(|atom| atom.in_content) {
            return Vec::new();
        }
        let counts = self.loaded.segment.omitted(&self.view).iter().map(|(reason, documents)| {
            let mut documents = documents.clone();
            documents.and(&left);
            (*reason, u64::from(documents.count()))
        });
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Units that an atom must be searched in.
    fn units(&mut self, atom: &Atom) -> Result<Bits, IndexError> {
        let count = self.view.units.len();
        if !atom.in_content && atom.symbol.is_none() {
            return Ok(Bits::none(count));
        }
        let wide = self.loaded.segment.wide(&self.view, atom.plan.crosses_lines);
        let lists = self.loaded.segment.content_lists()?;
        let mut reader =
            UnitReader { lists: &lists, wide, units: count, bytes: 0, always: self.unlisted() };
        let units = reader.read(&atom.plan.expr)?;
        self.posting_bytes += reader.bytes;
        Ok(units)
    }

    fn unlisted(&self) -> Bits {
        let mut set = Bits::none(self.view.units.len());
        (0..self.view.unlisted.len()).for_each(|at| set.insert(self.view.unlisted.get(at)));
        set
    }

    /// Visible documents whose path the atom matches; exact.
    fn paths(&mut self, atom: &Atom, allowed: &Bits) -> Result<Bits, IndexError> {
        let mut found = Bits::none(self.documents());
        if !atom.in_path {
            return Ok(found);
        }
        let blocks = self.documents().div_ceil(PATH_BLOCK);
        let lists = self.loaded.segment.path_lists()?;
        let mut reader = UnitReader {
            lists: &lists,
            wide: &[],
            units: blocks,
            bytes: 0,
            always: Bits::none(blocks),
        };
        let candidates = reader.read(&atom.plan.expr)?;
        self.posting_bytes += reader.bytes;
        for block in candidates.iter() {
            let first = block * PATH_BLOCK;
            for document in first..self.documents().min(first + PATH_BLOCK) {
                if allowed.contains(document) && atom.finds.is_match(self.view.path(document)) {
                    found.insert(document);
                }
            }
        }
        Ok(found)
    }

    /// Documents of units.
    fn documents_of_units(&self, units: &Bits, empty_text_matches: bool) -> Bits {
        let mut set = Bits::none(self.documents());
        let documents = self.loaded.segment.unit_documents(&self.view);
        for unit in units.iter() {
            documents.of(unit).iter().for_each(|document| set.insert(*document));
        }
        if empty_text_matches {
            for number in 0..self.view.blobs.len() {
                let blob = self.view.blobs.get(number);
                if blob.pieces == 0 && blob.omitted == 0 {
                    self.view.documents_of(number).for_each(|document| set.insert(document));
                }
            }
        }
        set
    }

    fn evaluate(&self, expr: &Expr, filters: &[Bits], units: &[Bits], paths: &[Bits]) -> Sets {
        let count = self.documents();
        let recurse = |child: &Expr| self.evaluate(child, filters, units, paths);
        match expr {
            Expr::All => Sets::exactly(Bits::all(count)),
            Expr::Nothing => Sets::exactly(Bits::none(count)),
            Expr::Filter(number) => Sets::exactly(filters[*number].clone()),
            Expr::Atom(number) => {
                let atom = &self.query.atoms[*number];
                let mut may = self.documents_of_units(&units[*number], atom.plan.min_len == 0);
                may.or(&paths[*number]);
                Sets { may, sure: paths[*number].clone() }
            }
            Expr::And(children) => {
                let mut sets = Sets::exactly(Bits::all(count));
                for child in children.iter().map(recurse) {
                    sets.may.and(&child.may);
                    sets.sure.and(&child.sure);
                }
                sets
            }
            Expr::Or(children) => {
                let mut sets = Sets::exactly(Bits::none(count));
                for child in children.iter().map(recurse) {
                    sets.may.or(&child.may);
                    sets.sure.or(&child.sure);
                }
                sets
            }
            Expr::Not(child) => {
                let child = recurse(child);
                Sets { may: child.sure.complement(), sure: child.may.complement() }
            }
        }
    }
}

/// Evaluates trigram expressions over units.
struct UnitReader<'a> {
    lists: &'a ListReader<'a>,
    /// Ranges of units that count as one: a gram in any of them counts for each.
    wide: &'a [(u32, u32)],
    units: u32,
    bytes: u64,
    /// Units without lists, which always count.
    always: Bits,
}

impl UnitReader<'_> {
    fn read(&mut self, expr: &GramExpr) -> Result<Bits, IndexError> {
        let mut units = self.evaluate(expr)?;
        if !matches!(expr, GramExpr::Nothing) {
            let always = self.always.clone();
            units.or(&self.spread(always));
        }
        Ok(units)
    }

    fn evaluate(&mut self, expr: &GramExpr) -> Result<Bits, IndexError> {
        match expr {
            GramExpr::All => Ok(Bits::all(self.units)),
            GramExpr::Nothing => Ok(Bits::none(self.units)),
            GramExpr::Gram(gram) => match self.lists.find(gram.number())? {
                Some(place) => self.list(place),
                None => Ok(Bits::none(self.units)),
            },
            GramExpr::Or(children) => {
                let mut units = Bits::none(self.units);
                for child in children {
                    units.or(&self.evaluate(child)?);
                }
                Ok(units)
            }
            GramExpr::And(children) => self.and(children),
        }
    }

    /// Rarest grams first, until few units are left; expressions that are no single gram last.
    fn and(&mut self, children: &[GramExpr]) -> Result<Bits, IndexError> {
        let mut places = Vec::new();
        let mut others = Vec::new();
        for child in children {
            match child {
                GramExpr::Gram(gram) => match self.lists.find(gram.number())? {
                    Some(place) => places.push(place),
                    None => return Ok(Bits::none(self.units)),
                },
                other => others.push(other),
            }
        }
        places.sort_by_key(Place::count);
        let mut left: Option<Bits> = None;
        for place in places {
            match &mut left {
                None => left = Some(self.list(place)?),
                Some(units) if units.count() <= FEW_UNITS => break,
                Some(units) => units.and(&self.list(place)?),
            }
        }
        for other in others {
            match &mut left {
                None => left = Some(self.evaluate(other)?),
                Some(units) if units.count() <= FEW_UNITS => break,
                Some(units) => units.and(&self.evaluate(other)?),
            }
        }
        Ok(left.unwrap_or_else(|| Bits::all(self.units)))
    }

    fn list(&mut self, place: Place) -> Result<Bits, IndexError> {
        let mut units = Bits::none(self.units);
        self.bytes += self.lists.read(place, &mut units)? as u64;
        Ok(self.spread(units))
    }

    /// A unit without lists inside of a wide blob makes the whole blob a candidate, as does a gram.
    fn spread(&self, mut units: Bits) -> Bits {
        for (first, end) in self.wide {
            if units.any_in(*first, *end) || self.always.any_in(*first, *end) {
                units.insert_range(*first, *end);
            }
        }
        units
    }
}

/// Revisions that the query names and no visible repository has.
pub(crate) fn unknown_revisions(
    query: &Compiled,
    snapshots: &[std::sync::Arc<Snapshot>],
    visible: &Visible,
) -> Vec<String> {
    let mut unknown = Vec::new();
    for filter in &query.filters {
        let Ready::Revision(name, written) = filter else { continue };
        let known = snapshots.iter().flat_map(|snapshot| &snapshot.manifest.repositories).any(
            |(id, state)| {
                visible.contains(id)
                    && (state.revisions.keys().any(|revision| name.is_match(revision))
                        || name.is_match("HEAD"))
            },
        );
        if !known {
            unknown.push(written.clone());
        }
    }
    let mut seen = HashSet::new();
    unknown.retain(|name| seen.insert(name.clone()));
    unknown
}

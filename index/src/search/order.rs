//! The order in which candidates are verified: by what is known before a document is read.
//!
//! A *prior* says whether a document defines what the query names, whether its path has a term, and
//! whether it is vendored, generated, a test or documentation. Candidates of one prior are a set of
//! documents: a common word has a hundred thousand candidates, and a page needs the first few
//! hundred of them, so they are listed only as far as they are wanted.

use super::candidates::SegmentCandidates;
use super::compile::Compiled;
use crate::IndexError;
use crate::bits::Bits;
use crate::segment::symbols::folded_name;

/// Highest prior.
const MAX_PRIOR: usize = 63;
/// What a definition with a name that the query has adds to a prior, one whose name begins with it,
/// and a path that has a term.
const DEFINING: usize = 24;
const DEFINING_PREFIX: usize = 6;
const PATH: usize = 5;

/// A document that may match.
#[derive(Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) segment: u32,
    pub(crate) document: u32,
}

/// Candidates with one prior in one segment.
struct Class {
    segment: u32,
    documents: Bits,
    count: usize,
}

/// Every candidate: highest prior first, then in the order of segments and documents.
pub(crate) struct Order {
    classes: Vec<Class>,
    len: usize,
}

impl Order {
    /// In the order of segments and documents alone: for those who look at every candidate before
    /// they return any.
    pub(crate) fn plain(segments: &[SegmentCandidates]) -> Self {
        Self::of(segments.iter().zip(0..).map(|(segment, number)| (number, segment.may.clone())))
    }

    /// By what is known of the documents.
    pub(crate) fn by_prior(
        query: &Compiled,
        segments: &[SegmentCandidates],
    ) -> Result<Self, IndexError> {
        let mut classes = Vec::new();
        for (segment, number) in segments.iter().zip(0..) {
            let priors = priors(query, segment)?.into_iter();
            classes.extend(priors.map(|(prior, documents)| (prior, number, documents)));
        }
        classes.sort_by_key(|(prior, segment, _)| (std::cmp::Reverse(*prior), *segment));
        Ok(Self::of(classes.into_iter().map(|(_, segment, documents)| (segment, documents))))
    }

    fn of(classes: impl Iterator<Item = (u32, Bits)>) -> Self {
        let classes: Vec<Class> = classes
            .map(|(segment, documents)| {
                let count = documents.count() as usize;
                Class { segment, documents, count }
            })
            .filter(|class| class.count > 0)
            .collect();
        let len = classes.iter().map(|class| class.count).sum();
        Self { classes, len }
    }

    /// Number of candidates.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The candidates from a place on.
    pub(crate) fn from(&self, start: usize) -> impl Iterator<Item = Candidate> + '_ {
        let mut before = start;
        self.classes.iter().flat_map(move |class| {
            let skipped = before.min(class.count);
            before -= skipped;
            let documents = class.documents.iter_from(skipped);
            documents.map(|document| Candidate { segment: class.segment, document })
        })
    }
}

/// The candidates of a segment by prior.
fn priors(
    query: &Compiled,
    candidates: &SegmentCandidates,
) -> Result<Vec<(usize, Bits)>, IndexError> {
    if candidates.may.is_empty() {
        return Ok(Vec::new());
    }
    let gains = gains(query, candidates)?;
    // What gains is looked at one by one; all others are sets that the segment has at hand.
    let mut gaining = Bits::none(candidates.may.len());
    gains.iter().for_each(|(documents, _)| gaining.or(documents));
    gaining.and(&candidates.may);
    let mut by_prior: Vec<Option<Bits>> = vec![None; MAX_PRIOR + 1];
    let bases = candidates.loaded.segment.base_priors(&candidates.view);
    for (base, documents) in bases {
        let mut class = documents.clone();
        class.and(&candidates.may);
        let mut special = class.clone();
        special.and(&gaining);
        class.and_not(&gaining);
        match &mut by_prior[usize::from(*base)] {
            Some(set) => set.or(&class),
            none => *none = Some(class),
        }
        for document in special.iter() {
            let of_document = gains.iter().filter(|(documents, _)| documents.contains(document));
            let gain: usize = of_document.map(|(_, gain)| gain).sum();
            let prior = (usize::from(*base) + gain).min(MAX_PRIOR);
            by_prior[prior]
                .get_or_insert_with(|| Bits::none(candidates.may.len()))
                .insert(document);
        }
    }
    Ok(by_prior.into_iter().enumerate().filter_map(|(prior, set)| Some((prior, set?))).collect())
}

/// Documents that the query's terms speak for, and how much.
fn gains(
    query: &Compiled,
    candidates: &SegmentCandidates,
) -> Result<Vec<(Bits, usize)>, IndexError> {
    let mut gains = Vec::new();
    for (number, atom) in query.atoms.iter().enumerate().filter(|(_, atom)| atom.positive) {
        if atom.in_path && !candidates.paths[number].is_empty() {
            gains.push((candidates.paths[number].clone(), PATH));
        }
        let Some(symbols) = &candidates.loaded.symbols else { continue };
        let name = atom.folded.as_deref().and_then(|text| folded_name(text.as_bytes()));
        let Some(name) = name else { continue };
        let named = [
            (symbols.defining(&name)?, DEFINING),
            (symbols.defining_prefix(&name)?, DEFINING_PREFIX),
        ];
        for (blobs, gain) in named {
            let mut documents = Bits::none(candidates.view.documents.len());
            for blob in blobs {
                let with_it = candidates.view.documents_of(blob);
                with_it.for_each(|document| documents.insert(document));
            }
            if !documents.is_empty() {
                gains.push((documents, gain));
            }
        }
    }
    Ok(gains)
}

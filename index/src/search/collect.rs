//! From verified documents to results: order, chunks, counts and facets.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rayon::prelude::*;

use super::budget::Budget;
use super::candidates::SegmentCandidates;
use super::chunks::ChunkOptions;
use super::compile::Compiled;
use super::execute::Mode;
use super::response::{
    Chunk, Count, Counts, FacetValue, Facets, Match, MatchKind, Relation, SearchError,
    SearchRequest, SymbolHit,
};
use super::verify::{Interrupted, Making, Verified, Verifier};
use crate::IndexError;
use crate::document::{RepositoryId, RepositoryInfo};
use crate::query::tree::{ResultType, Select};
use crate::shard::Snapshot;
use crate::symbols::SymbolKind;

/// What a page is made of.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) results: Vec<Verified>,
    /// Candidates that were looked at, from the first.
    pub(crate) looked_at: usize,
    /// Results taken from the window that was looked at last.
    pub(crate) from_last_window: usize,
    /// Where the next page starts.
    pub(crate) next: Option<(u64, u64)>,
}

/// Takes verified documents in, and gives results out.
pub(crate) struct Collector<'a> {
    pub(super) query: &'a Compiled,
    mode: &'a Mode,
    pub(super) request: &'a SearchRequest,
    pub(super) snapshots: &'a [Arc<Snapshot>],
    segments: &'a [SegmentCandidates<'a>],
    matches: u64,
    lines: u64,
    documents: u64,
    languages: HashMap<&'static str, u64>,
    pub(super) repositories: BTreeMap<RepositoryId, u64>,
}

impl<'a> Collector<'a> {
    /// With nothing taken in.
    pub(crate) fn new(
        query: &'a Compiled,
        mode: &'a Mode,
        request: &'a SearchRequest,
        snapshots: &'a [Arc<Snapshot>],
        segments: &'a [SegmentCandidates<'a>],
    ) -> Self {
        Self {
            query,
            mode,
            request,
            snapshots,
            segments,
            matches: 0,
            lines: 0,
            documents: 0,
            languages: HashMap::new(),
            repositories: BTreeMap::new(),
        }
    }

    fn repository_of(&self, verified: &Verified) -> RepositoryId {
        let segment = &self.segments[verified.segment as usize];
        let place = segment.view.documents.get(verified.document).repository;
        segment.loaded.segment.meta.repositories[place as usize]
    }

    pub(super) fn info(&self, id: RepositoryId) -> Option<&Arc<RepositoryInfo>> {
        self.snapshots.iter().find_map(|snapshot| snapshot.infos.get(&id))
    }

    fn language_of(&self, verified: &Verified) -> Option<&'static str> {
        let segment = &self.segments[verified.segment as usize];
        let number = segment.view.documents.get(verified.document).language;
        segment.loaded.segment.languages.get(usize::from(number))?.map(|language| language.name())
    }

    /// Takes a window in, in order, and moves what fits into the page, after `skip` of it that an
    /// earlier page had. Returns how many results of the window are left for a later page.
    pub(crate) fn take_window(
        &mut self,
        mut window: Vec<Verified>,
        skip: usize,
        page: &mut Page,
    ) -> usize {
        for verified in &window {
            self.matches += verified.count + verified.path_ranges.len() as u64;
            self.lines += verified.lines;
            self.documents += 1;
            let repository = self.repository_of(verified);
            *self.repositories.entry(repository).or_default() += 1;
            if self.request.facets
                && let Some(language) = self.language_of(verified)
            {
                *self.languages.entry(language).or_default() += 1;
            }
        }
        window.sort_by(|a, b| self.compare(a, b));
        let total = window.len();
        let room = self.mode.page.saturating_sub(page.results.len());
        page.results.extend(window.into_iter().skip(skip).take(room));
        page.from_last_window = room.min(total.saturating_sub(skip));
        total.saturating_sub(skip).saturating_sub(room)
    }

    /// Highest score first; ties by repository, path and content, so that the order is the same
    /// however the documents came into the index.
    fn compare(&self, a: &Verified, b: &Verified) -> Ordering {
        let place = |verified: &Verified| {
            let segment = &self.segments[verified.segment as usize];
            segment.view.path(verified.document)
        };
        let content = |verified: &Verified| {
            let view = &self.segments[verified.segment as usize].view;
            let document = view.documents.get(verified.document);
            (view.content_id(document.blob).ok(), document.attributes)
        };
        b.score
            .total_cmp(&a.score)
            .then_with(|| {
                let (a, b) = (self.repository_of(a), self.repository_of(b));
                if a == b {
                    Ordering::Equal
                } else {
                    self.name(a).cmp(self.name(b)).then(a.cmp(&b))
                }
            })
            .then_with(|| place(a).cmp(place(b)))
            .then_with(|| content(a).cmp(&content(b)))
            .then_with(|| (a.segment, a.document).cmp(&(b.segment, b.document)))
    }

    pub(super) fn name(&self, id: RepositoryId) -> &str {
        self.info(id).map_or("", |info| &info.name)
    }

    /// Counts; exact when every candidate was looked at.
    pub(crate) fn counts(&self, exact: bool) -> Counts {
        let relation = if exact { Relation::Equal } else { Relation::GreaterOrEqual };
        let count = |value| Count { value, relation };
        Counts {
            matches: count(self.matches),
            lines: count(self.lines),
            documents: count(self.documents),
        }
    }

    /// Facets over every document taken in.
    pub(crate) fn facets(&self, exact: bool) -> Facets {
        let ordered = |values: Vec<(String, u64)>| {
            let mut values: Vec<FacetValue> =
                values.into_iter().map(|(value, count)| FacetValue { value, count }).collect();
            values.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)));
            values
        };
        let languages = self.languages.iter().map(|(name, count)| ((*name).to_owned(), *count));
        let repositories =
            self.repositories.iter().map(|(id, count)| (self.name(*id).to_owned(), *count));
        Facets {
            language: ordered(languages.collect()),
            repository: ordered(repositories.collect()),
            exact,
        }
    }

    /// The page's results, with their content.
    pub(crate) fn results(
        &self,
        found: Vec<Verified>,
        budget: &Budget,
    ) -> Result<Vec<Match>, SearchError> {
        // Documents of one unit by one thread, one after another.
        let mut by_place: Vec<(u64, usize, Verified)> = found
            .into_iter()
            .enumerate()
            .map(|(rank, verified)| (self.place_of(&verified), rank, verified))
            .collect();
        by_place.sort_unstable_by_key(|(place, rank, _)| (*place, *rank));
        // Each definition is a result by itself.
        let keep = match self.mode.symbols {
            true => usize::MAX,
            false => self.request.limits.ranges_per_document,
        };
        let making = Making { keep, chunks: None };
        let mut made: Vec<(usize, Result<Vec<Match>, Interrupted>)> = by_place
            .into_par_iter()
            .with_min_len(4)
            .map_init(
                || Verifier::new(self.query, self.segments, budget, making),
                |verifier, (_, rank, verified)| (rank, self.result(verifier, verified)),
            )
            .collect();
        made.sort_unstable_by_key(|(rank, _)| *rank);
        let mut results = Vec::with_capacity(made.len());
        for (_, result) in made {
            match result {
                Ok(result) => results.extend(result),
                // The budget ran out: the answer says so.
                Err(Interrupted::Budget) => {}
                Err(Interrupted::Index(error)) => return Err(error.into()),
            }
        }
        Ok(results)
    }

    fn result(
        &self,
        verifier: &mut Verifier,
        mut verified: Verified,
    ) -> Result<Vec<Match>, Interrupted> {
        let Some(mut result) = self.describe(&verified)? else { return Ok(Vec::new()) };
        if let Some(chunks) = verified.chunks.take() {
            result.chunks = chunks;
            return Ok(vec![result]);
        }
        let kept = verified.hits.len() as u64;
        let again = if kept < verified.count && verified.hits.len() < verifier.keep_hits {
            verifier.verify(verified.segment, verified.document)?
        } else {
            None
        };
        let verified = again.unwrap_or(verified);
        if self.request.chunks || self.mode.symbols {
            let options = ChunkOptions::of(self.request, self.mode.symbols);
            result.chunks = verifier.chunks(&verified, options)?;
        }
        if self.mode.symbols {
            return Ok(self.symbol_results(&result));
        }
        Ok(vec![result])
    }

    /// Where a document's content starts: documents of one unit are next to each other.
    fn place_of(&self, verified: &Verified) -> u64 {
        let blob = self.segments[verified.segment as usize].blob_of(verified.document);
        u64::from(verified.segment) << 32 | u64::from(blob.first_piece)
    }

    /// A result without its content; `None` for a repository that is gone by now.
    fn describe(&self, verified: &Verified) -> Result<Option<Match>, IndexError> {
        let segment = &self.segments[verified.segment as usize];
        let document = segment.view.documents.get(verified.document);
        let id = self.repository_of(verified);
        let state = self.snapshots.iter().find_map(|snapshot| {
            let state = snapshot.manifest.repositories.get(&id)?;
            Some((Arc::clone(snapshot.infos.get(&id)?), state))
        });
        let Some((repository, state)) = state else { return Ok(None) };
        let mut branches: Vec<String> = segment
            .loaded
            .live
            .of(id)
            .into_iter()
            .flatten()
            .filter(|(_, documents)| documents.contains(verified.document))
            .map(|(name, _)| name.clone())
            .collect();
        let default = repository.default_branch.clone();
        branches.sort_by_key(|name| (Some(name) != default.as_ref(), name.clone()));
        let revision = branches.first().and_then(|name| state.revisions.get(name));
        let is_content =
            !verified.hits.is_empty() && self.query.options.result_type != ResultType::Path;
        Ok(Some(Match {
            kind: if is_content { MatchKind::Content } else { MatchKind::Path },
            repository,
            commit: revision.map(|revision| revision.commit.clone()).unwrap_or_default(),
            branches,
            path: segment.view.path(verified.document).to_vec(),
            path_ranges: verified.path_ranges.clone(),
            content: Some(segment.view.content_id(document.blob)?),
            language: self.language_of(verified),
            indexed_at: SystemTime::UNIX_EPOCH
                + Duration::from_millis(revision.map_or(0, |revision| revision.indexed_at)),
            chunks: Vec::new(),
            match_count: verified.count,
            symbol: None,
            score: verified.score,
        }))
    }

    /// One result for each definition in a document's result.
    fn symbol_results(&self, result: &Match) -> Vec<Match> {
        let wanted_kind = match &self.query.options.select {
            Some(Select::Symbol(kind)) => kind.map(SymbolKind::as_str),
            _ => None,
        };
        let is_wanted = |symbol: &&SymbolHit| wanted_kind.is_none_or(|kind| kind == symbol.kind);
        let of_chunk = |chunk: &Chunk| {
            let symbols = chunk.symbols.iter().filter(is_wanted);
            symbols
                .map(|symbol| {
                    let chunks = if self.request.chunks { vec![chunk.clone()] } else { Vec::new() };
                    let symbol = Some(symbol.clone());
                    Match {
                        kind: MatchKind::Symbol,
                        chunks,
                        symbol,
                        match_count: 1,
                        ..result.clone()
                    }
                })
                .collect::<Vec<_>>()
        };
        result.chunks.iter().flat_map(of_chunk).collect()
    }
}

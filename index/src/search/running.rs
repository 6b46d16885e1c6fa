//! A search that runs, and how a document that matches becomes results.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::budget::Budget;
use super::candidates::SegmentCandidates;
use super::chunks::ChunkOptions;
use super::compile::Compiled;
use super::execute::Mode;
use super::hands::Hands;
use super::key::{DocumentKey, RankKey};
use super::output::Output;
use super::parts::SearchedPart;
use super::response::{Chunk, Match, MatchKind, SearchRequest, SymbolHit};
use super::verify::{Interrupted, Verified, Verifier};
use crate::IndexError;
use crate::document::{RepositoryId, RepositoryInfo};
use crate::query::tree::{ResultType, Select};
use crate::shard::Snapshot;
use crate::symbols::SymbolKind;

/// What all parts of a search look at.
#[derive(Clone, Copy)]
pub(crate) struct Running<'a> {
    pub(crate) query: &'a Compiled,
    pub(crate) mode: &'a Mode,
    pub(crate) request: &'a SearchRequest,
    pub(crate) snapshots: &'a [Arc<Snapshot>],
    pub(crate) segments: &'a [SegmentCandidates<'a>],
    pub(crate) budget: &'a Budget,
    pub(crate) output: Option<&'a dyn Output>,
    pub(crate) hands: &'a Hands<'a>,
}

impl<'a> Running<'a> {
    pub(super) fn repository_of(&self, verified: &Verified) -> RepositoryId {
        let segment = &self.segments[verified.segment as usize];
        let place = segment.view.documents.get(verified.document).repository;
        segment.loaded.segment.meta.repositories[place as usize]
    }

    pub(super) fn info(&self, id: RepositoryId) -> Option<&'a Arc<RepositoryInfo>> {
        self.snapshots.iter().find_map(|snapshot| snapshot.infos.get(&id))
    }

    pub(super) fn name(&self, id: RepositoryId) -> &'a str {
        self.info(id).map_or("", |info| &info.name)
    }

    /// The identity of the repository that it is, or is a part of.
    pub(super) fn whole(&self, id: RepositoryId) -> RepositoryId {
        self.info(id).map_or(id, |info| info.whole())
    }

    /// Parts of repositories that are searched, each as it is.
    pub(super) fn parts(&self) -> Vec<SearchedPart> {
        let of = |snapshot: &'a Arc<Snapshot>| {
            let visible = snapshot.parts.iter().filter(|id| self.request.visible.contains(id));
            visible.filter_map(|id| SearchedPart::of(snapshot.manifest.repositories.get(id)?))
        };
        self.snapshots.iter().flat_map(of).collect()
    }

    pub(super) fn language_of(&self, verified: &Verified) -> Option<&'static str> {
        let segment = &self.segments[verified.segment as usize];
        let number = segment.view.documents.get(verified.document).language;
        segment.loaded.segment.languages.get(usize::from(number))?.map(|language| language.name())
    }

    /// With nothing read yet. It keeps so many matches of a document; all are counted.
    pub(super) fn verifier(&self, keep: usize) -> Verifier<'a> {
        Verifier::new(self.query, self.segments, self.budget, keep)
    }

    /// Matches that a result has at most.
    pub(super) fn matches_of_result(&self) -> usize {
        match self.mode.symbols {
            // Each definition is a result by itself.
            true => usize::MAX,
            false => self.request.limits.ranges_per_document,
        }
    }

    /// What orders a document's results among others.
    pub(crate) fn key_of(&self, verified: &Verified) -> RankKey {
        let view = &self.segments[verified.segment as usize].view;
        let document = view.documents.get(verified.document);
        let id = self.repository_of(verified);
        let info = self.info(id);
        DocumentKey {
            score: verified.score,
            name: info.map_or_else(String::new, |info| info.name.clone()),
            repository: info.map_or(id, |info| info.whole()),
            path: view.path(verified.document).to_vec(),
            content: view.content_id(document.blob).ok(),
            attributes: document.attributes,
        }
        .into()
    }

    /// What `make` makes of documents, on the search's threads: in their order, each with its number.
    /// Those are missing that the time did not suffice for; the answer says so.
    pub(crate) fn made<T: Send>(
        &self,
        found: Vec<Verified>,
        make: impl Fn(&mut Verifier, Verified) -> Result<T, Interrupted> + Sync,
    ) -> Result<Vec<(usize, T)>, IndexError> {
        // Documents of one unit by one thread, one after another.
        let mut by_place: Vec<(u64, usize, Verified)> = found
            .into_iter()
            .enumerate()
            .map(|(rank, verified)| (self.place_of(&verified), rank, verified))
            .collect();
        by_place.sort_unstable_by_key(|(place, rank, _)| (*place, *rank));
        let mut made: Vec<(usize, Result<T, Interrupted>)> = self.hands.map(
            by_place,
            4..=usize::MAX,
            || self.verifier(self.matches_of_result()),
            |verifier, (_, rank, verified)| (rank, make(verifier, verified)),
        );
        made.sort_unstable_by_key(|(rank, _)| *rank);
        let mut results = Vec::with_capacity(made.len());
        for (rank, result) in made {
            match result {
                Ok(result) => results.push((rank, result)),
                Err(Interrupted::Budget) => {}
                Err(Interrupted::Index(error)) => return Err(error),
            }
        }
        Ok(results)
    }

    /// The results that a document is: itself, or its definitions.
    pub(super) fn results_of(
        &self,
        verifier: &mut Verifier,
        verified: &Verified,
    ) -> Result<Vec<Match>, Interrupted> {
        let Some(mut result) = self.describe(verified)? else { return Ok(Vec::new()) };
        let kept = verified.hits.len() as u64;
        let again = if kept < verified.count && verified.hits.len() < verifier.keep_hits {
            verifier.verify(verified.segment, verified.document)?
        } else {
            None
        };
        let verified = again.as_ref().unwrap_or(verified);
        if self.request.chunks || self.mode.symbols {
            let options = ChunkOptions::of(self.request, self.mode.symbols);
            result.chunks = verifier.chunks(verified, options)?;
            let ranges: usize = result.chunks.iter().map(|chunk| chunk.ranges.len()).sum();
            result.ranges_cut = (ranges as u64) < verified.count;
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
        branches.sort_by(|a, b| {
            let other = |name: &String| Some(name) != default.as_ref();
            (other(a), a).cmp(&(other(b), b))
        });
        let revision = branches.first().and_then(|name| state.revisions.get(name));
        let is_content = verified.count > 0 && self.query.options.result_type != ResultType::Path;
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
            ranges_cut: false,
            match_count: verified.matches(),
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
                        ranges_cut: false,
                        ..result.clone()
                    }
                })
                .collect::<Vec<_>>()
        };
        result.chunks.iter().flat_map(of_chunk).collect()
    }
}

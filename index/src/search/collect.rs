//! From verified documents to results: order, chunks, counts and facets.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use super::facets::{most_frequent, newest};
use super::response::{Count, Counts, Facets, Relation};
use super::running::Running;
use super::verify::Verified;
use super::windows::Places;
use crate::IndexError;
use crate::document::RepositoryId;
use crate::query::dates::month;
use crate::shard::Changed;

/// What a page is made of.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) results: Vec<Verified>,
    /// Where a cursor stands after each of them.
    pub(crate) places: Places,
    /// Candidates that were looked at, from the first.
    pub(crate) looked_at: usize,
    /// All candidates.
    pub(crate) of: usize,
    /// Where the next page starts.
    pub(crate) next: Option<(u64, u64)>,
}

/// Takes verified documents in, and gives results out.
pub(crate) struct Collector<'a> {
    pub(super) running: Running<'a>,
    matches: u64,
    lines: u64,
    documents: u64,
    languages: HashMap<&'static str, u64>,
    authors: HashMap<&'a str, u64>,
    months: HashMap<String, u64>,
    /// Last changes of each segment's documents, where facets are asked for.
    changes: Vec<&'a [Option<Changed>]>,
    pub(super) repositories: BTreeMap<RepositoryId, u64>,
}

impl<'a> Collector<'a> {
    /// With nothing taken in.
    pub(crate) fn new(running: Running<'a>) -> Result<Self, IndexError> {
        let segments = if running.request.facets { running.segments } else { &[] };
        let changes = segments
            .iter()
            .map(|segment| segment.snapshot.changes(segment.loaded, &segment.view))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            running,
            changes,
            authors: HashMap::new(),
            months: HashMap::new(),
            matches: 0,
            lines: 0,
            documents: 0,
            languages: HashMap::new(),
            repositories: BTreeMap::new(),
        })
    }

    /// Takes a window in, and gives it back in order.
    pub(crate) fn take_window(&mut self, mut window: Vec<Verified>) -> Vec<Verified> {
        for verified in &window {
            self.matches += verified.matches();
            self.lines += verified.lines;
            self.documents += 1;
            let repository = self.running.repository_of(verified);
            *self.repositories.entry(repository).or_default() += 1;
            if self.running.request.facets {
                self.count_attributes(verified, repository);
            }
        }
        window.sort_by(|a, b| self.compare(a, b));
        window
    }

    fn count_attributes(&mut self, verified: &Verified, repository: RepositoryId) {
        if let Some(language) = self.running.language_of(verified) {
            *self.languages.entry(language).or_default() += 1;
        }
        let (segment, document) = (verified.segment as usize, verified.document as usize);
        let Some(change) = self.changes[segment][document] else { return };
        *self.months.entry(month(change.seconds)).or_default() += 1;
        let history = self.running.segments[segment].snapshot.histories.get(&repository);
        let author = history.and_then(|history| history.authors().get(change.author as usize));
        if let Some(author) = author {
            *self.authors.entry(author).or_default() += 1;
        }
    }

    /// Highest score first; ties by repository, path and content, so that the order is the same
    /// however the documents came into the index.
    fn compare(&self, a: &Verified, b: &Verified) -> Ordering {
        let place = |verified: &Verified| {
            let segment = &self.running.segments[verified.segment as usize];
            segment.view.path(verified.document)
        };
        let content = |verified: &Verified| {
            let view = &self.running.segments[verified.segment as usize].view;
            let document = view.documents.get(verified.document);
            (view.content_id(document.blob).ok(), document.attributes)
        };
        b.score
            .total_cmp(&a.score)
            .then_with(|| {
                let (a, b) = (self.running.repository_of(a), self.running.repository_of(b));
                if a == b {
                    Ordering::Equal
                } else {
                    let key = |id| (self.running.name(id), self.running.whole(id));
                    key(a).cmp(&key(b))
                }
            })
            .then_with(|| place(a).cmp(place(b)))
            .then_with(|| content(a).cmp(&content(b)))
            .then_with(|| (a.segment, a.document).cmp(&(b.segment, b.document)))
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
        let most = self.running.request.facet_values;
        let languages = self.languages.iter().map(|(name, count)| ((*name).to_owned(), *count));
        let repositories =
            self.repositories.iter().map(|(id, count)| (self.running.name(*id).to_owned(), *count));
        let authors = self.authors.iter().map(|(author, count)| ((*author).to_owned(), *count));
        let months = self.months.iter().map(|(month, count)| (month.clone(), *count));
        Facets {
            language: most_frequent(languages, most),
            repository: most_frequent(repositories, most),
            author: most_frequent(authors, most),
            updated: newest(months, most),
            exact,
        }
    }
}

//! What searches say beside their results, and how several such say it together.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::facets::{most_frequent, newest};
use super::parts::{SearchedPart, uneven};
use super::response::{
    Alert, Count, Counts, Explain, FACET_VALUES, FacetValue, Facets, Relation, SKIPPED_ITEMS,
    STEPS, SearchResponse, SkipReason, Skipped, StepTime,
};

/// What a search says beside its results, for other processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Counts.
    pub counts: Counts,
    /// See [`SearchResponse::complete`].
    pub complete: bool,
    /// What was left out.
    pub skipped: Vec<Skipped>,
    /// Advice.
    pub alerts: Vec<Alert>,
    /// Facets, where asked for: every value.
    #[serde(default)]
    pub facets: Option<Facets>,
    /// How the results were found, where asked for.
    #[serde(default)]
    pub explain: Option<Explain>,
    /// Time of each step, in microseconds.
    #[serde(default)]
    pub steps: Vec<(String, u64)>,
    /// Parts of repositories that were searched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<SearchedPart>,
}

impl From<SearchResponse> for Summary {
    fn from(response: SearchResponse) -> Self {
        let microseconds = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let steps = response.steps.iter();
        Self {
            counts: response.counts,
            complete: response.complete,
            skipped: response.skipped,
            alerts: response.alerts,
            facets: response.facets,
            explain: response.explain,
            steps: steps.map(|step| (step.step.to_owned(), microseconds(step.elapsed))).collect(),
            parts: response.parts,
        }
    }
}

/// Several summaries as one.
#[derive(Debug)]
pub(super) struct Together {
    counts: Counts,
    complete: bool,
    /// Sources that said what they left out.
    said: usize,
    skipped: Vec<Skipped>,
    /// Revisions that sources do not have, and how many of them do not.
    unknown: Vec<(Skipped, usize)>,
    alerts: Vec<Alert>,
    facets: Option<AllFacets>,
    explain: Option<Explain>,
    steps: [Option<Duration>; STEPS.len()],
    parts: Vec<SearchedPart>,
}

impl Default for Together {
    fn default() -> Self {
        let none = Count { value: 0, relation: Relation::Equal };
        Self {
            counts: Counts { matches: none, lines: none, documents: none },
            complete: true,
            said: 0,
            skipped: Vec::new(),
            unknown: Vec::new(),
            alerts: Vec::new(),
            facets: None,
            explain: None,
            steps: [None; STEPS.len()],
            parts: Vec::new(),
        }
    }
}

impl Together {
    /// Adds what a source says.
    pub(super) fn add(&mut self, summary: Summary) {
        let Summary { counts, complete, skipped, alerts, facets, explain, steps, parts } = summary;
        self.parts.extend(parts);
        self.counts.matches.add(counts.matches);
        self.counts.lines.add(counts.lines);
        self.counts.documents.add(counts.documents);
        // A reason that is known is weighed when all have said theirs.
        self.complete &= complete || skipped.iter().any(Skipped::is_incomplete);
        self.said += 1;
        skipped.into_iter().for_each(|skipped| self.skip(skipped));
        for alert in alerts {
            if !self.alerts.contains(&alert) {
                self.alerts.push(alert);
            }
        }
        if let Some(facets) = facets {
            self.facets.get_or_insert_default().add(facets);
        }
        if let Some(explain) = explain {
            match &mut self.explain {
                Some(all) => all.add(&explain),
                none => *none = Some(explain),
            }
        }
        for (name, elapsed) in steps {
            let elapsed = Some(Duration::from_micros(elapsed));
            if let Some(step) = STEPS.iter().position(|step| *step == name) {
                self.steps[step] = self.steps[step].max(elapsed);
            }
        }
    }

    /// A source has not answered, or not to its end.
    pub(super) fn miss(&mut self, why: Skipped) {
        self.is_short();
        self.skip(why);
    }

    /// There is more than what was said.
    pub(super) fn is_short(&mut self) {
        let Counts { matches, lines, documents } = &mut self.counts;
        for count in [matches, lines, documents] {
            count.relation = Relation::GreaterOrEqual;
        }
        self.facets.get_or_insert_default().inexact = true;
        self.complete = false;
    }

    /// Something was left out, or is not as it should be.
    pub(super) fn skip(&mut self, skipped: Skipped) {
        if skipped.reason == SkipReason::RevisionNotIndexed {
            let Skipped { reason, message, items } = skipped;
            for item in items {
                let one = Skipped { reason, message: message.clone(), items: vec![item] };
                match self.unknown.iter_mut().find(|(known, _)| *known == one) {
                    Some((_, times)) => *times += 1,
                    None => self.unknown.push((one, 1)),
                }
            }
        } else {
            unite(&mut self.skipped, skipped);
        }
    }

    /// What all say, as an answer without results.
    pub(super) fn response(mut self, elapsed: Duration) -> SearchResponse {
        // A revision is missing that nobody has; who has failed cannot tell.
        for (unknown, times) in std::mem::take(&mut self.unknown) {
            if times >= self.said {
                unite(&mut self.skipped, unknown);
            }
        }
        if let Some(uneven) = uneven(&self.parts) {
            unite(&mut self.skipped, uneven);
        }
        if self.skipped.iter().any(Skipped::hides_documents) {
            self.is_short();
        }
        let steps = STEPS.iter().zip(self.steps);
        SearchResponse {
            results: Vec::new(),
            counts: self.counts,
            complete: self.complete && !self.skipped.iter().any(Skipped::is_incomplete),
            skipped: self.skipped,
            alerts: self.alerts,
            facets: self.facets.and_then(AllFacets::listed),
            next: None,
            pinned: String::new(),
            explain: self.explain,
            steps: steps
                .filter_map(|(step, elapsed)| Some(StepTime { step, elapsed: elapsed? }))
                .collect(),
            parts: self.parts,
            elapsed,
        }
    }
}

/// Adds to a list what was left out.
fn unite(all: &mut Vec<Skipped>, skipped: Skipped) {
    let same =
        |known: &&mut Skipped| known.reason == skipped.reason && known.message == skipped.message;
    let Some(known) = all.iter_mut().find(same) else { return all.push(skipped) };
    for item in skipped.items {
        match skipped.reason {
            SkipReason::FileNotIndexed => add_counted(&mut known.items, item),
            _ if !known.items.contains(&item) => known.items.push(item),
            _ => {}
        }
    }
    // Of shards all are told: they are counted.
    if skipped.reason != SkipReason::ShardUnavailable {
        known.items.truncate(SKIPPED_ITEMS);
    }
}

/// Adds `3: too large` to `2: too large`.
fn add_counted(items: &mut Vec<String>, item: String) {
    let parse = |item: &str| {
        let (count, what) = item.split_once(": ")?;
        Some((count.parse::<u64>().ok()?, what.to_owned()))
    };
    let Some((count, what)) = parse(&item) else { return items.push(item) };
    for known in items.iter_mut() {
        if let Some((before, of)) = parse(known)
            && of == what
        {
            *known = format!("{}: {what}", before.saturating_add(count));
            return;
        }
    }
    items.push(item);
}

impl Count {
    fn add(&mut self, other: Self) {
        self.value = self.value.saturating_add(other.value);
        if other.relation == Relation::GreaterOrEqual {
            self.relation = Relation::GreaterOrEqual;
        }
    }
}

impl Explain {
    /// What was looked at adds up; the query and its plan are everybody's.
    fn add(&mut self, other: &Self) {
        self.segments = self.segments.saturating_add(other.segments);
        for (count, other) in [
            (&mut self.candidates, other.candidates),
            (&mut self.verified, other.verified),
            (&mut self.bytes_read, other.bytes_read),
            (&mut self.posting_bytes, other.posting_bytes),
        ] {
            *count = count.saturating_add(other);
        }
    }
}

/// Facets of several sources.
#[derive(Debug, Default)]
struct AllFacets {
    /// Whether any source has said some.
    said: bool,
    inexact: bool,
    language: HashMap<String, u64>,
    repository: HashMap<String, u64>,
    author: HashMap<String, u64>,
    updated: HashMap<String, u64>,
}

impl AllFacets {
    fn add(&mut self, facets: Facets) {
        let Facets { language, repository, author, updated, exact } = facets;
        self.said = true;
        self.inexact |= !exact;
        for (all, values) in [
            (&mut self.language, language),
            (&mut self.repository, repository),
            (&mut self.author, author),
            (&mut self.updated, updated),
        ] {
            for FacetValue { value, count } in values {
                let all = all.entry(value).or_default();
                *all = all.saturating_add(count);
            }
        }
    }

    fn listed(self) -> Option<Facets> {
        self.said.then(|| Facets {
            language: most_frequent(self.language, FACET_VALUES),
            repository: most_frequent(self.repository, FACET_VALUES),
            author: most_frequent(self.author, FACET_VALUES),
            updated: newest(self.updated, FACET_VALUES),
            exact: !self.inexact,
        })
    }
}

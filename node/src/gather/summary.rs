//! What is told of a cluster's search beside its results.

use std::time::Duration;

use aeterna_index::search::{
    Count, Counts, Relation, SearchResponse, ShardCounts, SkipReason, Skipped, Summary,
};

use super::merge::{Failed, Source};
use super::plan::{Ask, Asked};

/// Names listed of what was skipped.
const ITEMS: usize = 10;

/// Shards as an answer names them.
pub fn items(shards: impl Iterator<Item = u32>) -> Vec<String> {
    shards.take(ITEMS).map(|shard| format!("shard {shard}")).collect()
}

/// What all nodes told, and what is missing.
pub fn gathered(asked: &Asked, sources: &[Source]) -> Summary {
    let mut all = Summary { skipped: asked.skipped.clone(), ..nothing() };
    all.shards = ShardCounts { total: asked.total as u64, failed: asked.unavailable as u64 };
    all.complete = asked.skipped.is_empty();
    for (ask, source) in asked.asks.iter().zip(sources) {
        if let Some(end) = source.end() {
            let mut told = end.summary.clone();
            // Each node counts those that it was asked for.
            told.shards.total = 0;
            all.add(told);
        } else if let Some(failed) = source.failed() {
            all.add(missing(ask, failed));
        }
    }
    all.finish();
    all
}

/// A summary that adds nothing.
fn nothing() -> Summary {
    let none = Count { value: 0, relation: Relation::Equal };
    Summary {
        counts: Counts { matches: none, lines: none, documents: none },
        facets: None,
        complete: true,
        skipped: Vec::new(),
        alerts: Vec::new(),
        explain: None,
        shards: ShardCounts::default(),
        steps: Vec::new(),
        elapsed: Duration::ZERO,
    }
}

/// What a node that did not answer leaves out.
fn missing(ask: &Ask, failed: &Failed) -> Summary {
    let node = &ask.node;
    let (reason, message) = match failed {
        Failed::Silent => (SkipReason::ShardTimeout, format!("{node} did not answer in time")),
        Failed::Broken(why) => {
            (SkipReason::ShardUnavailable, format!("{node} did not answer: {why}"))
        }
        Failed::Refused(problem) => {
            (SkipReason::ShardUnavailable, format!("{node} did not answer: {}", problem.detail()))
        }
    };
    let skipped = Skipped { reason, message, items: items(ask.shards.keys().copied()) };
    let at_least = Count { value: 0, relation: Relation::GreaterOrEqual };
    Summary {
        counts: Counts { matches: at_least, lines: at_least, documents: at_least },
        complete: false,
        skipped: vec![skipped],
        shards: ShardCounts { total: 0, failed: ask.shards.len() as u64 },
        ..nothing()
    }
}

/// The answer without its results.
pub fn response(summary: Summary, next: Option<String>, elapsed: Duration) -> SearchResponse {
    SearchResponse {
        results: Vec::new(),
        counts: summary.counts,
        complete: summary.complete,
        skipped: summary.skipped,
        alerts: summary.alerts,
        facets: summary.facets,
        next,
        pinned: String::new(),
        explain: summary.explain,
        shards: summary.shards,
        steps: summary.steps,
        elapsed,
    }
}

//! Repositories as results: those with documents that match, and those whose names do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::collect::Collector;
use super::compile::{Compiled, Expr, Ready};
use super::key::{RankKey, RepositoryKey};
use super::response::{Match, MatchKind};
use crate::document::{RepositoryId, RepositoryInfo};
use crate::query::tree::{Filter, Inclusion, ResultType, Scope, Visibility};
use crate::shard::manifest::RepositoryState;

/// What speaks for a repository.
#[derive(Default)]
struct Evidence {
    /// The repository, or the first of its parts that is here.
    part: Option<RepositoryId>,
    named: bool,
    documents: u64,
}

impl Evidence {
    fn add(&mut self, part: RepositoryId, documents: u64) {
        self.part.get_or_insert(part);
        self.documents += documents;
    }
}

impl Collector<'_> {
    /// Every repository that is found: first those whose name satisfies the query, then those with
    /// the most documents that do.
    pub(super) fn repository_results(&self) -> Vec<(RankKey, Match)> {
        let mut found: BTreeMap<RepositoryId, Evidence> = BTreeMap::new();
        for (id, documents) in &self.repositories {
            found.entry(self.running.whole(*id)).or_default().add(*id, *documents);
        }
        if self.running.query.options.result_type == ResultType::Repository {
            let states =
                self.running.snapshots.iter().flat_map(|snapshot| &snapshot.manifest.repositories);
            for (id, state) in states.filter(|(id, _)| self.running.request.visible.contains(id)) {
                if holds(self.running.query, &self.running.query.expr, state) {
                    let evidence = found.entry(state.info.whole()).or_default();
                    evidence.add(*id, 0);
                    evidence.named = true;
                }
            }
        }
        let ranked = found.into_iter().filter_map(|(repository, evidence)| {
            let Evidence { part, named, documents } = evidence;
            let found = self.repository(part?, documents)?;
            let name = found.repository.name.clone();
            let key = RepositoryKey { named, documents, name, repository };
            Some((RankKey::from(key), found))
        });
        let mut ranked: Vec<(RankKey, Match)> = ranked.collect();
        ranked.sort_by(|(a, _), (b, _)| a.cmp(b));
        ranked
    }

    fn repository(&self, id: RepositoryId, documents: u64) -> Option<Match> {
        let repository = Arc::clone(self.running.info(id)?);
        let mut states = self.running.snapshots.iter();
        let state = states.find_map(|snapshot| snapshot.manifest.repositories.get(&id))?;
        let mut branches: Vec<String> = state.revisions.keys().cloned().collect();
        branches.sort_by_key(|name| Some(name) != repository.default_branch.as_ref());
        let revision = branches.first().and_then(|name| state.revisions.get(name));
        Some(Match {
            kind: MatchKind::Repository,
            commit: revision.map(|revision| revision.commit.clone()).unwrap_or_default(),
            indexed_at: SystemTime::UNIX_EPOCH
                + Duration::from_millis(revision.map_or(0, |revision| revision.indexed_at)),
            repository,
            branches,
            path: Vec::new(),
            path_ranges: Vec::new(),
            content: None,
            language: None,
            chunks: Vec::new(),
            ranges_cut: false,
            match_count: documents,
            symbol: None,
            score: 0.0,
        })
    }
}

/// Whether the query holds for a repository as such: its name is the text, and what only a file can
/// have it has not.
fn holds(query: &Compiled, expr: &Expr, state: &RepositoryState) -> bool {
    match expr {
        Expr::All => true,
        Expr::Nothing => false,
        Expr::And(children) => children.iter().all(|child| holds(query, child, state)),
        Expr::Or(children) => children.iter().any(|child| holds(query, child, state)),
        Expr::Not(child) => !holds(query, child, state),
        Expr::Atom(number) => {
            let atom = &query.atoms[*number];
            atom.pattern.scope == Scope::Either && atom.finds.is_match(state.info.name.as_bytes())
        }
        Expr::Filter(number) => passes(&query.filters[*number], state),
    }
}

fn passes(filter: &Ready, state: &RepositoryState) -> bool {
    match filter {
        Ready::Repository(name) => name.is_match(&state.info.name),
        Ready::Revision(name, _) => {
            let default = state.info.default_branch.as_ref();
            state.revisions.keys().any(|revision| {
                name.is_match(revision) || default == Some(revision) && name.is_match("HEAD")
            })
        }
        Ready::Other(filter) => info_passes(filter, &state.info).unwrap_or(false),
    }
}

/// Whether a repository passes a filter; `None` for filters on files.
pub(super) fn info_passes(filter: &Filter, info: &RepositoryInfo) -> Option<bool> {
    let including = |inclusion, has: bool| match inclusion {
        Inclusion::Yes => true,
        Inclusion::No => !has,
        Inclusion::Only => has,
    };
    Some(match filter {
        Filter::Organisation(name) => {
            info.name.split('/').next().is_some_and(|first| first.eq_ignore_ascii_case(name))
        }
        Filter::Archived(inclusion) => including(*inclusion, info.archived),
        Filter::Fork(inclusion) => including(*inclusion, info.fork),
        Filter::Visibility(visibility) => info.public == (*visibility == Visibility::Public),
        Filter::License(name) => {
            info.license.as_ref().is_some_and(|license| license.eq_ignore_ascii_case(name))
        }
        _ => return None,
    })
}

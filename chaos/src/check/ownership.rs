//! The shard map has one history, whoever looks: one owner for a shard and epoch, and epochs that only grow.

use std::collections::{BTreeMap, HashMap};

use super::Verdict;
use crate::history::{Entry, View};

type Shards = Vec<(u64, Option<String>)>;

/// Checks every node's views of the map against one another.
pub(super) fn check(entries: &[Entry], verdict: &mut Verdict) {
    let views: Vec<&View> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::View(view) => Some(view),
            _ => None,
        })
        .collect();
    never_back(&views, verdict);
    let maps = one_map_a_version(&views, verdict);
    one_history(&maps, verdict);
    one_leader_a_term(&views, verdict);
    let total = |shards: &Shards| shards.iter().map(|(epoch, _)| epoch).sum::<u64>();
    verdict.maps = maps.len();
    if let (Some(first), Some(last)) = (maps.values().next(), maps.values().last()) {
        verdict.epochs = total(last).saturating_sub(total(first));
    }
}

/// A process never goes back to an older map.
fn never_back(views: &[&View], verdict: &mut Verdict) {
    let mut newest: HashMap<(&str, u32), u64> = HashMap::new();
    for view in views {
        let newest = newest.entry((&view.node, view.start)).or_default();
        if view.version < *newest {
            let (node, version) = (&view.node, view.version);
            let what = format!("{node} follows map {version}, after it followed {newest}");
            verdict.violation(view.span.ended, what);
        }
        *newest = view.version.max(*newest);
    }
}

/// A version says the same to everyone. Returns the maps by version.
fn one_map_a_version<'a>(views: &[&'a View], verdict: &mut Verdict) -> BTreeMap<u64, &'a Shards> {
    let mut maps: BTreeMap<u64, &Shards> = BTreeMap::new();
    for view in views {
        let known = maps.entry(view.version).or_insert(&view.shards);
        if let Some(shard) = (0..known.len().max(view.shards.len()))
            .find(|shard| known.get(*shard) != view.shards.get(*shard))
        {
            let (node, version) = (&view.node, view.version);
            let what = format!(
                "map {version} says of shard {shard} {:?} to {node}, and {:?} to another",
                view.shards.get(shard),
                known.get(shard)
            );
            verdict.violation(view.span.ended, what);
        }
    }
    maps
}

/// From version to version, epochs only grow, and an owner changes only with its epoch.
fn one_history(maps: &BTreeMap<u64, &Shards>, verdict: &mut Verdict) {
    let mut last: Option<(u64, &Shards)> = None;
    for (version, shards) in maps {
        if let Some((before, earlier)) = last {
            for (shard, (old, new)) in earlier.iter().zip(shards.iter()).enumerate() {
                let is_back = new.0 < old.0;
                let is_other =
                    new.0 == old.0 && new.1 != old.1 && old.1.is_some() && new.1.is_some();
                if is_back || is_other {
                    let what = format!(
                        "shard {shard} has {old:?} in map {before}, and {new:?} in map {version}"
                    );
                    verdict.violations.push(what);
                }
            }
        }
        last = Some((*version, shards));
    }
}

/// Who leads in a term leads alone.
fn one_leader_a_term(views: &[&View], verdict: &mut Verdict) {
    let mut leaders: BTreeMap<u64, &str> = BTreeMap::new();
    for view in views {
        let Some(leader) = &view.leader else { continue };
        let known = leaders.entry(view.term).or_insert(leader);
        if *known != leader {
            let (node, term) = (&view.node, view.term);
            let what = format!("term {term} has leader {leader} as {node} sees it, and {known}");
            verdict.violation(view.span.ended, what);
        }
    }
}

//! Known mistakes are found, each within so many seeds. A program of its own: mistakes are made in the
//! whole process, one at a time.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aeterna_simulation::mistakes::{Mistake, make};
use aeterna_simulation::run;
use clap::ValueEnum;

/// Seeds within which each mistake must be found.
const SEEDS: u64 = 400;

/// What a mistake comes to.
fn signs(mistake: Mistake) -> &'static [&'static str] {
    match mistake {
        Mistake::NoEpochCheck => {
            &["says that it is complete, without", "acknowledged and are lost"]
        }
        // Or openraft itself finds that it leads under a vote that is another one by now.
        Mistake::VoteNotSynced => &["has applied entry", "has another shard map", "vote must be"],
        Mistake::BootstrapFromGossip => &["has applied entry", "has another shard map", "both own"],
        Mistake::LateUpload => &["had fenced it off", "were uploaded, and are not there"],
        Mistake::PromotedAsItIs => &["were uploaded, and are not there", "goes back"],
        Mistake::ServedBeforeWhole => &["says that it is complete, without"],
    }
}

/// What is found, and the seed that finds it.
fn find(mistake: Mistake) -> Option<(u64, String)> {
    make(Some(mistake));
    let (next, found) = (AtomicU64::new(1), AtomicBool::new(false));
    let look = || {
        while !found.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > SEEDS {
                return None;
            }
            let is_sign = |wrong: &String| signs(mistake).iter().any(|sign| wrong.contains(sign));
            if let Some(wrong) = run(seed).unwrap().wrong.filter(is_sign) {
                found.store(true, Ordering::Relaxed);
                return Some((seed, wrong));
            }
        }
        None
    };
    std::thread::scope(|scope| {
        let (one, other) = (scope.spawn(look), scope.spawn(look));
        one.join().unwrap().or(other.join().unwrap())
    })
}

#[test]
fn each_known_mistake_is_found() {
    let found: Vec<_> = Mistake::value_variants()
        .iter()
        .map(|mistake| {
            let found = find(*mistake);
            println!("{mistake:?}: {found:?}");
            (mistake, found)
        })
        .collect();
    make(None);
    for (mistake, found) in found {
        assert!(found.is_some(), "{mistake:?} is not found within {SEEDS} seeds");
    }
}

//! The simulation itself.
#![allow(clippy::unwrap_used)]

use aeterna_simulation::{regressions, run};

#[test]
fn the_same_seed_gives_the_same_log() {
    let (one, again, other) = (run(7).unwrap(), run(7).unwrap(), run(8).unwrap());
    assert_eq!(one.lines, again.lines);
    assert_eq!(one.hash, again.hash);
    assert_ne!(one.hash, other.hash);
    assert!(one.lines.len() > 50, "{} lines", one.lines.len());
}

#[test]
fn seeds_that_have_found_something_find_nothing_any_more() {
    for seed in regressions() {
        let report = run(seed).unwrap();
        assert_eq!(report.wrong, None, "seed {seed}");
    }
}

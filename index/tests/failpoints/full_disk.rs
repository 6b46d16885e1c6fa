//! A disk that is full: an error that says so, nothing is lost, and searches go on.

use fail::FailScenario;

use crate::script::{OPERATIONS, check_files, finish, open, operation, state, states};
use crate::support::{Memory, all};

/// Fails each operation of the script, at the first write and at later ones, before it succeeds.
fn check_point(point: &str, passes: &[u32]) {
    let states = states();
    let folder = tempfile::tempdir().unwrap();
    let (set, source) = (open(folder.path()).unwrap(), Memory::default());
    let mut failures = 0;
    for number in 0..OPERATIONS {
        for pass in passes {
            fail::cfg(point, &format!("{pass}*off->return")).unwrap();
            let done = operation(&set, &source, number);
            fail::remove(point);
            let Err(error) = done else { break };
            failures += 1;
            let place = format!("{point}, operation {number} after {pass} writes");
            assert!(error.is_disk_full(), "{place}: {error}");
            assert_eq!(state(&set), states[number], "{place}");
            assert!(!all(&set, "word").results.is_empty() || number < 1, "{place}");
            check_files(folder.path(), &set);
        }
        if state(&set) == states[number] {
            operation(&set, &source, number).unwrap();
        }
        assert_eq!(state(&set), states[number + 1]);
    }
    assert!(failures >= OPERATIONS - 2, "{point}: only {failures} failures");
    drop(set);
    let set = open(folder.path()).unwrap();
    finish(folder.path(), &set, OPERATIONS, &states);
}

#[test]
fn a_full_disk_stops_writing_and_loses_nothing() {
    let scenario = FailScenario::setup();
    check_point("segment-write", &[0, 1, 4, 9, 16, 25, 40]);
    check_point("manifest-write", &[0, 1, 2]);
    scenario.teardown();
}

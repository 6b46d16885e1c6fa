//! The process dies at each fail point, as often as the script comes by it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use fail::FailScenario;

use crate::script::{OPERATIONS, State, check_files, finish, open, operation, state, states};
use crate::support::Memory;

/// Names the folder to the child; without it the child's test does nothing.
const FOLDER: &str = "AETERNA_CRASH_FOLDER";
/// Names the fail point, and at which pass the process dies.
const POINT: &str = "AETERNA_CRASH_POINT";
const PASS: &str = "AETERNA_CRASH_PASS";
/// Where the child notes the operations that returned.
const JOURNAL: &str = "journal";
/// What the child exits with when the script came to its end.
const FINISHED: i32 = 33;

/// Not a test of its own: runs the script and dies on the way.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let pass: u32 = std::env::var(PASS).unwrap().parse().unwrap();
    let passes = AtomicU32::new(0);
    fail::cfg_callback(std::env::var(POINT).unwrap(), move || {
        if passes.fetch_add(1, Ordering::Relaxed) + 1 == pass {
            std::process::abort();
        }
    })
    .unwrap();
    let mut journal =
        OpenOptions::new().create(true).append(true).open(folder.join(JOURNAL)).unwrap();
    let (set, source) = (open(&folder.join("index")).unwrap(), Memory::default());
    for number in 0..OPERATIONS {
        operation(&set, &source, number).unwrap();
        journal.write_all(b".").unwrap();
    }
    std::process::exit(FINISHED);
}

/// Runs the script in a process that dies at the pass; whether it died.
fn dies(folder: &Path, point: &str, pass: u32) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["crash::child", "--exact", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(POINT, point)
        .env(PASS, pass.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.code().is_none_or(|code| code == FINISHED), "{point} {pass}: {status}");
    status.code().is_none()
}

/// Opens what a crash left, and goes on from there.
fn check_recovery(folder: &Path, place: &str, states: &[State]) {
    let acknowledged = fs::read(folder.join(JOURNAL)).map_or(0, |journal| journal.len());
    let index = folder.join("index");
    let set = open(&index).unwrap();
    check_files(&index, &set);
    let found = state(&set);
    let before = found == states[acknowledged];
    assert!(before || found == states[acknowledged + 1], "{place}: {found:?}");
    let damage = set.shards()[0].take_damage();
    assert!(damage.is_empty(), "{place}: {damage:?}");
    finish(&index, &set, acknowledged + usize::from(!before), states);
}

/// Dies at every `step`th pass of a point; how many deaths there were.
fn check_point(point: &str, step: u32, states: &[State]) -> u32 {
    let mut deaths = 0;
    for pass in (1..).step_by(step as usize) {
        let folder = tempfile::tempdir().unwrap();
        if !dies(folder.path(), point, pass) {
            break;
        }
        deaths += 1;
        check_recovery(folder.path(), &format!("{point}, pass {pass}"), states);
    }
    deaths
}

#[test]
fn a_crash_at_any_point_loses_nothing() {
    let scenario = FailScenario::setup();
    let states = states();
    for (point, step, least) in [
        ("apply-before-build", 1, 4),
        ("apply-after-build", 1, 4),
        ("commit-before-manifest", 1, 8),
        ("commit-after-manifest", 1, 8),
        ("manifest-before-rename", 1, 8),
        ("manifest-after-rename", 1, 8),
        ("symbols-before-commit", 1, 3),
        ("merge-before-commit", 1, 2),
        ("history-before-commit", 1, 2),
        ("segment-write", 19, 8),
    ] {
        let deaths = check_point(point, step, &states);
        assert!(deaths >= least, "{point}: the script comes by only {deaths} times");
    }
    scenario.teardown();
}

//! What is asked at the end, when nothing is broken and nobody changes anything any more.

use std::time::{Duration, Instant};

use crate::check::JUDGE;
use crate::clients::ask;
use crate::history::{Answer, Call};
use crate::node::Node;
use crate::remotes::Remote;
use crate::world::World;

/// For work that is under way to end.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Asks about every repository that there ever was, has what is there brought up to date, and searches through every
/// node. What is wrong with the answers is for the checkers to say.
pub(crate) fn ask_everything(world: &World, remotes: &[Remote], gone: &[String]) {
    let until = Instant::now() + PATIENCE;
    let mut turn = world.nodes.iter().cycle();
    let mut there = Vec::new();
    let mut ask_next = |call: Call| turn.next().map(|node| ask(world, JUDGE, node, call, ""));
    for name in gone {
        ask_next(Call::Show(name.clone()));
    }
    for remote in remotes {
        // What was promised comes without anybody asking again.
        loop {
            let shown = ask_next(Call::Show(remote.name.clone()));
            let is_done = match &shown {
                Some(Answer::Shown { state, commit: Some(commit) }) => {
                    state == "ready" && remote.promised.contains(commit)
                }
                Some(Answer::Unknown) => true,
                _ => false,
            };
            if is_done || Instant::now() >= until {
                if matches!(shown, Some(Answer::Shown { .. })) {
                    there.push(remote);
                }
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
    for remote in &there {
        ask_next(Call::Sync(remote.name.clone()));
    }
    for remote in &there {
        loop {
            let shown = ask_next(Call::Show(remote.name.clone()));
            let is_newest = matches!(&shown, Some(Answer::Shown { state, commit: Some(commit) })
                if state == "ready" && *commit == remote.newest_id);
            if is_newest || Instant::now() >= until {
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
    for node in &world.nodes {
        search(world, node, until);
    }
}

/// Searches until the answer is complete.
fn search(world: &World, node: &Node, until: Instant) {
    loop {
        let answer = ask(world, JUDGE, node, Call::Search { require_complete: false }, "");
        if matches!(answer, Answer::Found { complete: true, .. }) || Instant::now() >= until {
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

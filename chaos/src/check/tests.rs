//! Histories that are right, and what is found in each that is not.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use super::{JUDGE, Rules, Verdict, judge};
use crate::history::{Answer, Call, Entry, Operation, Push, Seen, Span, View};

const NAME: &str = "chaos/a";

fn span(begun: u64, ended: u64) -> Span {
    Span { begun, ended }
}

fn push(number: u32, at: u64) -> Entry {
    let id = format!("id{number}");
    Entry::Push(Push { repository: NAME.to_owned(), number, id, span: span(at, at + 1) })
}

fn operation(client: &str, span: Span, call: Call, answer: Answer) -> Entry {
    let (client, node) = (client.to_owned(), "node-1".to_owned());
    Entry::Operation(Operation { client, node, span, call, answer })
}

fn call(call: fn(String) -> Call, begun: u64, answer: Answer) -> Entry {
    operation("writer", span(begun, begun + 5), call(NAME.to_owned()), answer)
}

fn shown(number: u32) -> Answer {
    Answer::Shown { state: "ready".to_owned(), commit: Some(format!("id{number}")) }
}

fn commit(number: u32) -> Option<Seen> {
    Some(Seen::Commit { number, id: format!("id{number}") })
}

fn found(complete: bool, seen: Option<Seen>) -> Answer {
    let repositories = seen.into_iter().map(|seen| (NAME.to_owned(), seen)).collect();
    Answer::Found { complete, skipped: Vec::new(), repositories }
}

fn search(client: &str, begun: u64, answer: Answer) -> Entry {
    let call = Call::Search { require_complete: false };
    operation(client, span(begun, begun + 5), call, answer)
}

/// A repository is added at 10, has two commits, the second from 20 on, and is said to be at it at 45.
fn work() -> Vec<Entry> {
    vec![
        push(1, 5),
        call(Call::Add, 10, Answer::Accepted),
        push(2, 20),
        call(Call::Sync, 30, Answer::Accepted),
        call(Call::Show, 40, shown(2)),
    ]
}

/// The judge finds what there is.
fn end() -> Vec<Entry> {
    let show = operation(JUDGE, span(900, 905), Call::Show(NAME.to_owned()), shown(2));
    vec![show, search(JUDGE, 910, found(true, commit(2)))]
}

fn verdict(parts: &[Vec<Entry>]) -> Verdict {
    judge(&parts.concat(), Rules::default())
}

/// One violation, with this in it.
#[track_caller]
fn is_wrong(parts: &[Vec<Entry>], what: &str) {
    let violations = verdict(parts).violations;
    assert!(violations.len() == 1 && violations[0].contains(what), "{violations:#?}");
}

#[test]
fn what_may_be_is_not_wrong() {
    for (begun, seen) in [
        // Before it is said to be indexed, any state may be found, from the moment it is asked for.
        (12, None),
        (12, commit(1)),
        (39, commit(1)),
        (18, commit(2)),
        // Afterwards that one.
        (50, commit(2)),
    ] {
        let searched = vec![search("searcher", begun, found(true, seen.clone()))];
        let verdict = verdict(&[work(), searched, end()]);
        assert_eq!(verdict.violations, [""; 0], "{seen:?} at {begun}");
        assert_eq!(verdict.answers, 2);
    }
    // What is incomplete may lack anything, and says nothing of what is there.
    let searched = vec![search("searcher", 50, found(false, None))];
    assert_eq!(verdict(&[work(), searched, end()]).violations, [""; 0]);
}

#[test]
fn a_complete_answer_lacks_nothing_that_was_said_to_be_there() {
    let searched = |seen| vec![search("searcher", 50, found(true, seen))];
    is_wrong(&[work(), searched(None), end()], "nothing of chaos/a, of which commit 2");
    is_wrong(&[work(), searched(commit(1)), end()], "at commit 1, when 2 was said to be indexed");
    let mixture = Some(Seen::Mixture(BTreeMap::new()));
    is_wrong(&[work(), searched(mixture), end()], "as no commit has it");
    let strange = Some(Seen::Commit { number: 2, id: "id1".to_owned() });
    is_wrong(&[work(), searched(strange), end()], "with the id id1");
}

#[test]
fn a_copy_may_be_behind_for_as_long_as_it_is_allowed() {
    let history = [work(), vec![search("searcher", 50, found(true, commit(1)))], end()].concat();
    assert_eq!(judge(&history, Rules { staleness: 10 }).violations, [""; 0]);
    assert_eq!(judge(&history, Rules { staleness: 3 }).violations.len(), 1);
}

#[test]
fn nothing_is_found_before_it_is_there_or_after_it_is_gone() {
    let early = vec![search("searcher", 10, found(true, commit(2)))];
    is_wrong(&[work(), early, end()], "at commit 2, before there was one");
    let unasked = vec![push(1, 5), search("searcher", 10, found(true, commit(1)))];
    is_wrong(&[unasked], "which nobody had asked for");
    let removed = vec![call(Call::Remove, 60, Answer::Accepted)];
    let gone = operation(JUDGE, span(900, 905), Call::Show(NAME.to_owned()), Answer::Unknown);
    let end = || vec![gone.clone(), search(JUDGE, 910, found(true, None))];
    assert_eq!(verdict(&[work(), removed.clone(), end()]).violations, [""; 0]);
    let late = vec![search("searcher", 70, found(true, commit(2)))];
    is_wrong(&[work(), removed, late, end()], "which had been removed");
    let wrong =
        vec![call(Call::Show, 70, Answer::Unknown), gone, search(JUDGE, 910, found(true, None))];
    let violations = verdict(&[work(), wrong]).violations;
    let has = |what: &str| violations.iter().any(|violation| violation.contains(what));
    assert!(has("says that it does not know chaos/a"), "{violations:#?}");
    assert!(has("at the end chaos/a is lost"), "{violations:#?}");
}

#[test]
fn a_removal_without_an_answer_leaves_both_open() {
    let asked = vec![call(Call::Remove, 60, Answer::Failed("cut off".to_owned()))];
    for seen in [None, commit(2)] {
        let searched = vec![search("searcher", 70, found(true, seen))];
        assert_eq!(verdict(&[work(), asked.clone(), searched, end()]).violations, [""; 0]);
    }
}

#[test]
fn what_was_promised_is_there_at_the_end() {
    let ask = |begun, call: Call, answer| operation(JUDGE, span(begun, begun + 1), call, answer);
    let name = || NAME.to_owned();
    // Only the judge's own asking brings it.
    let late = |synced| {
        vec![
            push(1, 5),
            call(Call::Add, 10, Answer::Accepted),
            push(2, 20),
            call(Call::Sync, 30, synced),
            ask(900, Call::Show(name()), shown(1)),
            ask(902, Call::Sync(name()), Answer::Accepted),
            ask(904, Call::Show(name()), shown(2)),
            search(JUDGE, 910, found(true, commit(2))),
        ]
    };
    is_wrong(&[late(Answer::Accepted)], "at commit 1, 2 was promised");
    let unanswered = late(Answer::Failed("cut off".to_owned()));
    assert_eq!(verdict(&[unanswered]).violations, [""; 0]);
    let older =
        vec![ask(900, Call::Show(name()), shown(2)), search(JUDGE, 910, found(false, commit(1)))];
    is_wrong(&[work(), older], "at the end node-1 answers");
}

fn view(node: &str, at: u64, version: u64, shards: &[(u64, &str)]) -> Entry {
    let owner = |(epoch, owner): &(u64, &str)| (*epoch, Some((*owner).to_owned()));
    Entry::View(View {
        node: node.to_owned(),
        start: 1,
        span: span(at, at + 1),
        version,
        term: version,
        leader: Some("node-1".to_owned()),
        shards: shards.iter().map(owner).collect(),
    })
}

#[test]
fn the_map_has_one_history() {
    let good = vec![
        view("node-1", 1, 1, &[(1, "node-1"), (1, "node-2")]),
        view("node-2", 2, 2, &[(2, "node-3"), (1, "node-2")]),
        view("node-1", 3, 2, &[(2, "node-3"), (1, "node-2")]),
    ];
    assert_eq!(verdict(std::slice::from_ref(&good)).violations, [""; 0]);
    assert_eq!(verdict(std::slice::from_ref(&good)).epochs, 1);
    let two_owners = vec![view("node-3", 4, 3, &[(2, "node-1"), (1, "node-2")])];
    is_wrong(&[good.clone(), two_owners], "shard 0 has (2, Some(\"node-3\")) in map 2");
    let back = vec![view("node-3", 4, 3, &[(1, "node-1"), (1, "node-2")])];
    is_wrong(&[good.clone(), back], "shard 0 has (2");
    let other = vec![view("node-3", 4, 2, &[(2, "node-2"), (1, "node-2")])];
    is_wrong(&[good.clone(), other], "map 2 says of shard 0");
    let older = vec![view("node-1", 4, 1, &[(1, "node-1"), (1, "node-2")])];
    is_wrong(&[good.clone(), older], "node-1 follows map 1, after it followed 2");
    let mut leader = view("node-3", 4, 2, &[(2, "node-3"), (1, "node-2")]);
    if let Entry::View(view) = &mut leader {
        view.leader = Some("node-2".to_owned());
    }
    is_wrong(&[good, vec![leader]], "term 2 has leader node-2");
}

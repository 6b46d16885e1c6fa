//! Searches at a steady rate while something happens to the cluster, each answer compared with what
//! it was before.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::results::Served;
use super::world::World;
use crate::bench::engines::Want;
use crate::bench::engines::aeterna;
use crate::bench::http::{Answer, Client};
use crate::bench::measure::Distribution;
use crate::bench::patterns::Pattern;

/// Searches in a second.
pub(super) const PER_SECOND: u32 = 50;
/// Clients: as many searches may be under way at once.
const CLIENTS: usize = 24;
/// Part of the searches that must have been asked for the rate to be what is said.
const LEAST_OF_RATE: f64 = 0.95;
/// Answers that are not as before and are printed.
const SHOWN: usize = 20;
/// Where the results end and what is said about them begins.
const STATS: &[u8] = b"],\"stats\":{";

/// Characters that are shown of what is wrong with an answer.
const SHOWN_OF_ANSWER: usize = 500;
/// Bytes of a result that are shown, from shortly before it differs.
const SHOWN_BYTES: usize = 160;
/// How much is shown of what does not differ.
const SHOWN_BEFORE: usize = 40;

/// How a result begins; nothing else does, as quotes within texts have backslashes.
const RESULT: &[u8] = b"{\"type\":\"";

/// A pattern, and the results that it has, in the order of their bytes; `None` where there are more than
/// a page of them. Which are on a first page, and in which order, depends on how many nodes choose them.
pub(super) struct Question {
    pattern: Pattern,
    results: Option<Vec<Vec<u8>>>,
}

/// What an answer says.
pub(super) struct Said {
    /// The results as they came.
    pub(super) results: Vec<u8>,
    /// All else: counts, whether it is complete.
    pub(super) about: Value,
}

impl Said {
    pub(super) fn is_complete(&self) -> bool {
        self.about["complete"] == true
    }

    /// The results and their counts, without what differs from one time to the next.
    pub(super) fn substance(&self) -> (Vec<u8>, Value) {
        let mut about = self.about.clone();
        if let Some(stats) = about["stats"].as_object_mut() {
            stats.remove("durationMs");
            stats.remove("shards");
        }
        if let Some(about) = about.as_object_mut() {
            about.remove("nextCursor");
        }
        (self.results.clone(), about)
    }
}

/// Takes an answer apart: its results are not parsed, as there are many of them.
pub(super) fn said(answer: &Answer) -> Result<Said> {
    if answer.status != 200 {
        bail!("status {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
    }
    let body = &answer.body;
    // The last one: the text of a file may have one too, though with backslashes.
    let at = body.windows(STATS.len()).rposition(|bytes| bytes == STATS);
    let at = at.context("an answer without `stats`")?;
    let about = [b"{", &body[at + 2..]].concat();
    let about = serde_json::from_slice(&about).context("what follows the results is no JSON")?;
    Ok(Said { results: body[..=at].to_vec(), about })
}

/// Asks every pattern of a cluster that nothing happens to.
pub(super) fn questions(world: &World, patterns: &[Pattern]) -> Result<Vec<Question>> {
    let client = world.running().next().context("no node runs")?.client();
    let ask = |pattern: &Pattern| {
        let said = said(&aeterna::search(client, pattern, Want::FirstPage, None)?)?;
        if !said.is_complete() {
            bail!("an incomplete answer for {}: {}", pattern.text, said.about);
        }
        let is_all = said.about["nextCursor"].is_null()
            && said.about["stats"]["documentCount"]["relation"] == "eq";
        Ok(Question { pattern: pattern.clone(), results: is_all.then(|| sorted(&said.results)) })
    };
    patterns.iter().map(ask).collect()
}

/// Nodes that clients ask; one that is about to stop is taken out, as a service would.
pub(super) struct Rotation {
    nodes: Vec<(SocketAddr, AtomicBool)>,
    next: AtomicUsize,
}

impl Rotation {
    /// All nodes but some.
    pub(super) fn without(world: &World, out: &[usize]) -> Self {
        let nodes = world.nodes.iter().enumerate();
        let nodes =
            nodes.map(|(place, node)| (node.address, AtomicBool::new(!out.contains(&place))));
        Self { nodes: nodes.collect(), next: AtomicUsize::new(0) }
    }

    /// Whether a node is asked from now on.
    pub(super) fn set(&self, place: usize, is_in: bool) {
        self.nodes[place].1.store(is_in, Ordering::SeqCst);
    }

    fn take(&self) -> usize {
        loop {
            let place = self.next.fetch_add(1, Ordering::Relaxed) % self.nodes.len();
            if self.nodes[place].1.load(Ordering::SeqCst) {
                return place;
            }
        }
    }
}

/// What the clients have seen so far.
#[derive(Default)]
struct Seen {
    times: Vec<Duration>,
    failed: usize,
    incomplete: usize,
    different: usize,
    example: Option<String>,
}

/// The load on a cluster.
struct Load<'a> {
    rotation: &'a Rotation,
    questions: &'a [Question],
    begun: Instant,
    is_over: AtomicBool,
    ticket: AtomicU64,
    seen: Mutex<Seen>,
}

/// Searches for as long as `work` takes; what it gives back, and what the searches were answered.
pub(super) fn while_searching<T>(
    rotation: &Rotation,
    questions: &[Question],
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, Served)> {
    let load = Load {
        rotation,
        questions,
        begun: Instant::now(),
        is_over: AtomicBool::new(false),
        ticket: AtomicU64::new(0),
        seen: Mutex::default(),
    };
    let outcome = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| load.client())).collect();
        let outcome = work();
        load.is_over.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().map_err(|_| anyhow!("a client panicked"))?;
        }
        outcome
    })?;
    let wanted = load.begun.elapsed().as_secs_f64() * f64::from(PER_SECOND);
    let seen = load.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    let searches = seen.times.len() + seen.failed;
    if (searches as f64) < wanted * LEAST_OF_RATE {
        println!("warning: {searches} searches were asked instead of {wanted:.0}: clients waited");
    }
    let served = Served {
        searches,
        failed: seen.failed,
        incomplete: seen.incomplete,
        different: seen.different,
        times: Distribution::of(&seen.times),
        example: seen.example,
    };
    println!(
        "{} searches: {} failed, {} incomplete, {} different; p50 {:.1}, p99 {:.1}, max {:.1} ms{}",
        served.searches,
        served.failed,
        served.incomplete,
        served.different,
        served.times.p50,
        served.times.p99,
        served.times.max,
        served.example.as_ref().map_or(String::new(), |text| format!("; the first: {text}")),
    );
    Ok((outcome, served))
}

impl Load<'_> {
    /// Takes the next search that is due, and the next, until it is over.
    fn client(&self) {
        let nodes = &self.rotation.nodes;
        let clients: Vec<Client> = nodes.iter().map(|(at, _)| Client::new(*at)).collect();
        loop {
            let ticket = self.ticket.fetch_add(1, Ordering::SeqCst);
            let due = Duration::from_millis(ticket * 1000 / u64::from(PER_SECOND));
            std::thread::sleep(due.saturating_sub(self.begun.elapsed()));
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let place = self.rotation.take();
            let number = usize::try_from(ticket).unwrap_or_default() % self.questions.len();
            self.ask(&clients[place], place, &self.questions[number]);
        }
    }

    fn ask(&self, client: &Client, place: usize, question: &Question) {
        let started = Instant::now();
        let answer = aeterna::search(client, &question.pattern, Want::FirstPage, None);
        let elapsed = started.elapsed();
        let said = answer.and_then(|answer| said(&answer));
        let mut seen = self.seen();
        let wrong = match (&said, &question.results) {
            (Err(error), _) => {
                seen.failed += 1;
                Some(format!("{error:#}"))
            }
            (Ok(said), _) if !said.is_complete() => {
                seen.incomplete += 1;
                Some(said.about["skipped"].to_string())
            }
            (Ok(said), Some(known)) if *known != sorted(&said.results) => {
                seen.different += 1;
                Some(difference(known, &sorted(&said.results)))
            }
            (Ok(_), _) => None,
        };
        if said.is_ok() {
            seen.times.push(elapsed);
        }
        if let Some(wrong) = wrong {
            let after = self.begun.elapsed().as_secs_f64();
            let wrong: String = wrong.chars().take(SHOWN_OF_ANSWER).collect();
            let text = &question.pattern.text;
            let wrong = format!("after {after:.1} s, node-{}, `{text}`: {wrong}", place + 1);
            let count = seen.failed + seen.incomplete + seen.different;
            if count <= SHOWN {
                println!("{wrong}");
            }
            seen.example.get_or_insert(wrong);
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The results of an answer, each as it came, in the order of their bytes.
fn sorted(results: &[u8]) -> Vec<Vec<u8>> {
    let begins = results.windows(RESULT.len()).enumerate();
    let begins = begins.filter(|(_, bytes)| *bytes == RESULT).map(|(at, _)| at);
    let mut begins: Vec<usize> = begins.collect();
    begins.push(results.len());
    let result = |ends: &[usize]| {
        let bytes = &results[ends[0]..ends[1]];
        bytes.strip_suffix(b",").or(bytes.strip_suffix(b"]")).unwrap_or(bytes).to_vec()
    };
    let mut sorted: Vec<Vec<u8>> = begins.windows(2).map(result).collect();
    sorted.sort_unstable();
    sorted
}

/// How results differ, for a person.
fn difference(before: &[Vec<u8>], now: &[Vec<u8>]) -> String {
    let new = now.iter().find(|result| !before.contains(result)).map_or(&[][..], Vec::as_slice);
    let gone = before.iter().find(|result| !now.contains(result)).map_or(&[][..], Vec::as_slice);
    let same = new.iter().zip(gone).take_while(|(new, gone)| new == gone).count();
    let short = |result: &[u8]| {
        let from = same.saturating_sub(SHOWN_BEFORE).min(result.len());
        let end = result.len().min(from + SHOWN_BYTES);
        String::from_utf8_lossy(&result[from..end]).into_owned()
    };
    let (is, was) = (now.len(), before.len());
    format!(
        "{is} results and not {was}; from byte {same} of one, new is {}, gone is {}",
        short(new),
        short(gone)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_told_apart_in_any_order() {
        let one = br#"{"type":"content","content":"{\"type\":\"x"}"#;
        let other = br#"{"type":"path"}"#;
        let body = |first: &[u8], second: &[u8]| {
            [
                b"{\"results\":[",
                first,
                b",",
                second,
                b"],\"stats\":{\"shards\":{}},\"complete\":true}",
            ]
            .concat()
        };
        let read =
            |body: Vec<u8>| said(&Answer { status: 200, body, elapsed: Duration::ZERO }).unwrap();
        let (before, after) = (read(body(one, other)), read(body(other, one)));
        assert!(before.is_complete() && before.results != after.results);
        assert_eq!(sorted(&before.results), [one.to_vec(), other.to_vec()]);
        assert_eq!(sorted(&before.results), sorted(&after.results));
        assert!(difference(&sorted(&before.results), &[]).contains("0 results and not 2"));
        let known = [vec![b'x'; 1_000], vec![b'y']].map(|text| [&text[..], b"old"].concat());
        let now = [known[1].clone(), [&[b'x'; 1_000][..], b"new"].concat()];
        let told = difference(&known, &now);
        assert!(told.contains("from byte 1000 of one, new is xxx"), "{told}");
        assert!(told.contains("xnew, gone is xxx") && told.ends_with("xold"), "{told}");
        assert!(told.len() < 200, "{told}");
        assert!(said(&Answer { status: 503, body: Vec::new(), elapsed: Duration::ZERO }).is_err());
    }
}

//! The parts of nodes as they come, and who is asked when they do not.

use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use aeterna_index::search::{Output, SearchError};
use aeterna_repo::DEFAULT_TENANT;
use tokio::time::timeout;

use super::held::told;
use super::part::Parts;
use super::plan::{self, Ask};
use super::{Begin, Failed, Gathering, Part, part_request, remote, start_part};
use crate::http::problem::Problem;

/// Nodes that are asked for the same shards, one after another.
const MOST_TRIES: usize = 4;
/// Time to get a newer shard map.
const REFRESH: Duration = Duration::from_secs(1);
/// How long it takes until it is looked again whether a node is slow.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// The part of a node that was asked.
pub struct Asking {
    /// `None` once it has ended. Dropping it ends the node's search.
    parts: Option<Parts>,
    /// When it is slow, if it may be.
    slow_at: Option<Instant>,
    /// Others that are asked for the same, as it is slow.
    rivals: Vec<Rival>,
}

/// A node that is asked for what another is slow with.
struct Rival {
    ask: Ask,
    parts: Parts,
    /// What it says at its beginning, and its first results or its end.
    said: Vec<Part>,
    is_heard: bool,
}

/// What happens next.
enum Next {
    /// Something comes of the node that was asked; nothing inside when it broke off.
    Own(Option<Part>),
    /// The same of the rival with this number.
    Rival(usize, Option<Part>),
    /// Time passes.
    Late,
}

impl Asking {
    /// Whether more comes.
    pub fn is_open(&self) -> bool {
        self.parts.is_some()
    }

    /// Asks for more of a node that has paused.
    pub fn resume(&self) {
        if let Some(parts) = &self.parts {
            // One that was asked already goes on, and one that is gone is noticed when it is waited for.
            let _ = parts.more.try_send(());
        }
    }

    fn is_heard(&self) -> bool {
        self.parts.as_ref().is_none_or(|parts| parts.heard.load(Ordering::Acquire))
    }

    async fn next(&mut self) -> Next {
        poll_fn(|context| {
            if let Some(own) = &mut self.parts
                && let Poll::Ready(part) = own.parts.poll_recv(context)
            {
                return Poll::Ready(Next::Own(part));
            }
            let waited_for =
                self.rivals.iter_mut().enumerate().filter(|(_, rival)| !rival.is_heard);
            for (number, rival) in waited_for {
                if let Poll::Ready(part) = rival.parts.parts.poll_recv(context) {
                    return Poll::Ready(Next::Rival(number, part));
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Gathering<'_> {
    /// Asks the node with this place among those that are asked.
    pub(super) fn ask(&mut self, place: usize) {
        let parts = self.parts_of(&self.asked.asks[place]);
        let is_here = self.asked.asks[place].node == *self.cluster.name();
        let slow_after = self.slow_after.filter(|_| !is_here);
        let slow_at = slow_after.map(|after| Instant::now() + after);
        self.asking.push(Asking { parts: Some(parts), slow_at, rivals: Vec::new() });
    }

    fn parts_of(&self, ask: &Ask) -> Parts {
        let _runtime = self.runtime.enter();
        let request = part_request(self.request, ask, self.asked.asks.len(), self.page);
        if ask.node == *self.cluster.name() {
            let (state, shards) = (self.state, &ask.shards);
            return start_part(state, self.cluster, request, shards, DEFAULT_TENANT, None);
        }
        if let Some(left) = self.cluster.busy().left(&ask.node) {
            return Parts::failed(Failed::Refused(Problem::busy_node(ask.node.as_str(), left)));
        }
        self.cluster.hedging().asked();
        let patience = Duration::from_millis(self.state.config.peer_timeout_ms);
        remote::start(self.cluster, request, ask, self.until, patience)
    }

    /// Takes the next part of a node.
    pub(super) fn receive(
        &mut self,
        source: usize,
        output: Option<&dyn Output>,
    ) -> Result<(), Problem> {
        let asking = &mut self.asking[source];
        let Some(parts) = &mut asking.parts else { return Ok(()) };
        let next = match parts.parts.try_recv() {
            Ok(part) => Next::Own(Some(part)),
            Err(_) => {
                let until = asking.slow_at.map_or(self.until, |at| at.min(self.until));
                let left = until.saturating_duration_since(Instant::now());
                let next = async { timeout(left, asking.next()).await.unwrap_or(Next::Late) };
                self.runtime.block_on(next)
            }
        };
        if self.request.cancel.is_cancelled() {
            return Err(SearchError::Cancelled.into());
        }
        let broke_off = || Part::Failed(Failed::Broken("it broke off".to_owned()));
        match next {
            Next::Own(part) => self.take(source, part.unwrap_or_else(broke_off), output),
            Next::Rival(number, part) => {
                self.take_of_rival(source, number, part.unwrap_or_else(broke_off), output)
            }
            Next::Late if Instant::now() < self.until => {
                self.hedge(source);
                Ok(())
            }
            Next::Late => self.take(source, Part::Failed(Failed::Silent), output),
        }
    }

    fn take(
        &mut self,
        source: usize,
        part: Part,
        output: Option<&dyn Output>,
    ) -> Result<(), Problem> {
        if matches!(part, Part::Ranked(_) | Part::Paused(_) | Part::End(_)) {
            self.asking[source].slow_at = None;
            self.call_off(source, "lost");
        }
        match part {
            Part::Begin(begin) => return self.begun(source, begin),
            Part::InParts(found) => self.gather.in_parts(source, found),
            Part::Ranked(ranked) => self.gather.push(source, ranked),
            Part::Progress(None) => {}
            Part::Progress(Some(progress)) => {
                let together = self.gather.progress(source, progress);
                if let Some(output) = output {
                    output.progress(together);
                }
            }
            Part::Paused(so_far) => self.gather.pause(source, *so_far),
            Part::End(ending) => {
                self.gather.end(source, *ending);
                self.answered(source);
            }
            Part::Failed(failed) => return self.failed(source, failed, output),
        }
        Ok(())
    }

    /// All that is wanted of a node has come.
    pub(super) fn answered(&mut self, source: usize) {
        self.cluster.metrics().part("answered");
        self.asking[source].parts = None;
    }

    /// A node says what it searches: others are asked for what it does not.
    fn begun(&mut self, source: usize, begin: Begin) -> Result<(), Problem> {
        let Begin { map_version, mut away, pinned } = begin;
        self.gather.begin(source, pinned);
        // It may begin once more, and then says again what others were asked for already.
        away.retain(|away| self.asked.asks[source].shards.contains_key(&away.shard));
        if !away.is_empty() {
            // They were asked for what others are asked for now.
            self.call_off(source, "failed");
        }
        let shards: Vec<u32> = away.iter().map(|away| away.shard).collect();
        let left = self.ask_instead(source, &shards, map_version);
        let ask = &mut self.asked.asks[source];
        ask.shards.retain(|shard, _| !shards.contains(shard));
        away.retain(|away| left.contains(&away.shard));
        if self.request.require_complete && !away.is_empty() {
            return Err(SearchError::Incomplete(told(&away)).into());
        }
        self.away.extend(away);
        Ok(())
    }

    fn failed(
        &mut self,
        source: usize,
        failed: Failed,
        output: Option<&dyn Output>,
    ) -> Result<(), Problem> {
        self.asking[source].parts = None;
        self.cluster.metrics().part(failed.outcome());
        let ask = &self.asked.asks[source];
        let (node, is_later_page) = (ask.node.clone(), ask.cursor.is_some());
        if let Failed::Refused(problem) = &failed {
            if problem.is_busy() {
                self.cluster.busy().says(&node, problem.again_after());
            }
            let may_others = !problem.is_of_request() || is_later_page && problem.is_gone();
            if !may_others {
                return Err(problem.clone());
            }
        }
        if !self.asking[source].rivals.is_empty() {
            return self.take_over(source, output);
        }
        let shards: Vec<u32> = self.asked.asks[source].shards.keys().copied().collect();
        let left = self.ask_instead(source, &shards, 0);
        if left.is_empty() || left.len() < shards.len() {
            tracing::info!(%node, shards = shards.len(), "others are asked instead");
            self.gather.leave_out(source);
            self.asked.asks[source].shards.clear();
        }
        if left.is_empty() {
            return Ok(());
        }
        let skipped = failed.skipped(&node, left.iter().copied());
        match failed {
            // What the pages before were made on is nowhere any more.
            Failed::Refused(problem) if problem.is_gone() => return Err(problem),
            // Too much to do is no reason to answer with less: the client is to ask again.
            Failed::Refused(problem) if problem.is_busy() => return Err(problem),
            // It says itself what it lacks.
            Failed::Refused(problem) if problem.is_incomplete() => return Err(problem),
            _ if self.request.require_complete => {
                return Err(SearchError::Incomplete(vec![skipped]).into());
            }
            _ => {}
        }
        tracing::warn!(%node, shards = left.len(), "{}", skipped.message);
        if left.len() == shards.len() {
            self.gather.fail(source, skipped);
        } else {
            self.asked.missing.extend(left);
            self.gather.miss(skipped);
        }
        Ok(())
    }

    /// Asks others for shards that a node does not answer for; returns those that nobody can be asked
    /// for. `version` is that of a shard map that is known to be there.
    fn ask_instead(&mut self, source: usize, shards: &[u32], version: u64) -> Vec<u32> {
        let ask = self.asked.asks[source].clone();
        let is_late = Instant::now() >= self.until;
        if shards.is_empty() || is_late || ask.tried.len() + 1 >= MOST_TRIES {
            return shards.to_vec();
        }
        let (mut asks, mut left) = plan::instead(self.cluster, &ask, shards);
        if !left.is_empty() && self.refresh_map(version) {
            let (others, nobody) = plan::instead(self.cluster, &ask, &left);
            asks.extend(others);
            left = nobody;
        }
        for ask in asks {
            self.add(ask);
            self.ask(self.asked.asks.len() - 1);
        }
        left
    }

    /// Adds a source; returns its number.
    fn add(&mut self, ask: Ask) -> usize {
        let source = self.gather.add(ask.begin);
        self.asked.asks.push(ask);
        source
    }

    /// Gets a newer shard map, if there is one; returns whether it came.
    fn refresh_map(&self, version: u64) -> bool {
        let router = self.cluster.router();
        let have = router.map().version();
        let wanted = router.newest_heard_of().max(version);
        if wanted <= have {
            return false;
        }
        let left = self.until.saturating_duration_since(Instant::now()).min(REFRESH);
        if let Err(error) = self.runtime.block_on(router.refresh(wanted, left)) {
            tracing::debug!(%error, "no newer shard map");
        }
        router.map().version() > have
    }

    /// Asks others for the same as a node that is slow while most are not, if there are such.
    fn hedge(&mut self, source: usize) {
        let heard = self.asking.iter().filter(|asking| asking.is_heard()).count();
        if self.asking[source].is_heard() || heard * 2 < self.asking.len() {
            self.asking[source].slow_at = Some(Instant::now() + LOOK_AGAIN);
            return;
        }
        self.asking[source].slow_at = None;
        let ask = &self.asked.asks[source];
        let shards: Vec<u32> = ask.shards.keys().copied().collect();
        let (asks, left) = plan::instead(self.cluster, ask, &shards);
        if !left.is_empty() || asks.is_empty() {
            return;
        }
        if !self.cluster.hedging().take(asks.len()) {
            self.cluster.metrics().hedged("refused");
            return;
        }
        tracing::debug!(node = %ask.node, "slow: others are asked for the same");
        let rivals = asks.into_iter().map(|ask| {
            let parts = self.parts_of(&ask);
            Rival { ask, parts, said: Vec::new(), is_heard: false }
        });
        self.asking[source].rivals = rivals.collect();
    }

    /// Ends the rivals of a node.
    fn call_off(&mut self, source: usize, outcome: &'static str) {
        let rivals = std::mem::take(&mut self.asking[source].rivals);
        if !rivals.is_empty() {
            self.cluster.metrics().hedged(outcome);
        }
    }

    fn take_of_rival(
        &mut self,
        source: usize,
        number: usize,
        part: Part,
        output: Option<&dyn Output>,
    ) -> Result<(), Problem> {
        let asking = &mut self.asking[source];
        let rival = &mut asking.rivals[number];
        match &part {
            Part::Progress(_) => return Ok(()),
            Part::InParts(_) => {}
            // One that has not all of it is no help.
            Part::Begin(begin) if begin.away.is_empty() => {}
            Part::Begin(_) | Part::Failed(_) => {
                self.call_off(source, "failed");
                return Ok(());
            }
            Part::Ranked(_) | Part::Paused(_) | Part::End(_) => rival.is_heard = true,
        }
        rival.said.push(part);
        match asking.rivals.iter().all(|rival| rival.is_heard) {
            true => {
                self.cluster.metrics().part("left");
                self.take_over(source, output)
            }
            false => Ok(()),
        }
    }

    /// Takes rivals in the place of a node.
    fn take_over(&mut self, source: usize, output: Option<&dyn Output>) -> Result<(), Problem> {
        let rivals = std::mem::take(&mut self.asking[source].rivals);
        self.cluster.metrics().hedged("won");
        self.asking[source].parts = None;
        self.gather.leave_out(source);
        self.asked.asks[source].shards.clear();
        for Rival { ask, parts, said, .. } in rivals {
            let source = self.add(ask);
            self.asking.push(Asking { parts: Some(parts), slow_at: None, rivals: Vec::new() });
            for part in said {
                self.take(source, part, output)?;
            }
        }
        Ok(())
    }
}

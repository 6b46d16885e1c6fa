//! Another node's part of a search, over its streaming call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aeterna_cluster::peers::NodeClient;
use aeterna_index::search::{Ending, Place, Progress, RankKey, Ranked, SearchRequest};
use aeterna_proto::{self as proto, search_part};
use aeterna_repo::DEFAULT_TENANT;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Code, Status};
use uuid::Uuid;

use super::held::Away;
use super::part::{CancelOnDrop, Parts};
use super::plan::Ask;
use super::{Begin, Failed, Part};
use crate::cluster::Cluster;
use crate::http::problem::Problem;

/// Parts that wait for whoever merges them.
const PARTS_AHEAD: usize = 4;

/// Starts another node's part. It fails once nothing was heard of it for `patience`.
pub fn start(
    cluster: &Arc<Cluster>,
    request: SearchRequest,
    ask: &Ask,
    until: Instant,
    patience: Duration,
) -> Parts {
    let (sender, parts) = mpsc::channel(PARTS_AHEAD);
    let (more, wanted_more) = mpsc::channel(1);
    let guard = CancelOnDrop::new(request.cancel.clone());
    let client = cluster.client(&ask.node, &ask.address);
    let left = until.saturating_duration_since(Instant::now());
    let message = message(&request, ask, left);
    let heard = Arc::new(AtomicBool::new(false));
    let hearing =
        Hearing { cluster: Arc::clone(cluster), heard: Arc::clone(&heard), since: Instant::now() };
    tokio::spawn(async move {
        let asking = async {
            let to = (&sender, wanted_more);
            match ask_node(client, message, (left, patience), &hearing, to).await {
                Ok(()) => {}
                Err(failed) => drop(sender.send(Part::Failed(failed)).await),
            }
        };
        // Leaving the call ends it on the other node too.
        tokio::select! {
            () = asking => {}
            () = sender.closed() => {}
        }
    });
    Parts { parts, heard, more, _guard: guard }
}

/// Notes when results came, or the end.
struct Hearing {
    cluster: Arc<Cluster>,
    heard: Arc<AtomicBool>,
    since: Instant,
}

impl Hearing {
    fn of(&self, part: &Part) {
        if matches!(part, Part::Ranked(_) | Part::Paused(_) | Part::End(_))
            && !self.heard.swap(true, Ordering::AcqRel)
        {
            self.cluster.hedging().answered_after(self.since.elapsed());
        }
    }
}

fn message(request: &SearchRequest, ask: &Ask, left: Duration) -> proto::SearchRequest {
    let deadline = request.limits.deadline.min(left);
    let ids = crate::http::context::current();
    proto::SearchRequest {
        request_id: ids.request,
        trace_id: ids.trace,
        tenant: DEFAULT_TENANT.to_owned(),
        query: request.query.clone(),
        page_size: request.page_size as u64,
        context_lines: request.context_lines as u64,
        chunks: request.chunks,
        facets: request.facets,
        explain: request.explain,
        require_complete: request.require_complete,
        shards: ask
            .shards
            .iter()
            .map(|(shard, epoch)| proto::ShardAt { shard: *shard, epoch: *epoch })
            .collect(),
        cursor: request.cursor.clone().unwrap_or_default(),
        deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
        share: request.share,
        max_results: request.limits.documents as u64,
        held_bytes: request.limits.held_bytes as u64,
        max_matches: request.limits.matches,
        first: request.first.unwrap_or_default() as u64,
        search: Uuid::new_v4().as_u64_pair().1,
    }
}

async fn ask_node(
    client: Result<NodeClient, Status>,
    message: proto::SearchRequest,
    (left, patience): (Duration, Duration),
    hearing: &Hearing,
    (sender, mut wanted_more): (&mpsc::Sender<Part>, mpsc::Receiver<()>),
) -> Result<(), Failed> {
    let mut client = client.map_err(failed)?;
    let search = message.search;
    let mut request = tonic::Request::new(message);
    request.set_timeout(left);
    let patience = patience.min(left);
    let answered = timeout(patience, client.search(request)).await.map_err(|_| Failed::Silent)?;
    let mut stream = answered.map_err(failed)?.into_inner();
    loop {
        let part = tokio::select! {
            part = timeout(patience, stream.message()) => part,
            Some(()) = wanted_more.recv() => {
                resume(&mut client, search, patience).await?;
                continue;
            }
        };
        let Some(part) = part.map_err(|_| Failed::Silent)?.map_err(failed)? else { break };
        let part = decoded(part).map_err(|what| Failed::Broken(what.to_owned()))?;
        hearing.of(&part);
        let ended = matches!(part, Part::End(_));
        if sender.send(part).await.is_err() || ended {
            return Ok(());
        }
    }
    Err(Failed::Broken("it broke off".to_owned()))
}

async fn resume(client: &mut NodeClient, search: u64, patience: Duration) -> Result<(), Failed> {
    let mut request = tonic::Request::new(proto::ResumeRequest { search });
    request.set_timeout(patience);
    let resumed = timeout(patience, client.resume(request)).await;
    resumed.map_err(|_| Failed::Silent)?.map_err(failed)?;
    Ok(())
}

fn failed(status: Status) -> Failed {
    if let Some(problem) = Problem::from_details(status.details()) {
        return Failed::Refused(problem);
    }
    match status.code() {
        Code::DeadlineExceeded | Code::Cancelled => Failed::Silent,
        _ => Failed::Broken(status.message().to_owned()),
    }
}

/// A part as it came over the wire.
fn decoded(part: proto::SearchPart) -> Result<Part, &'static str> {
    const MALFORMED: &str = "it sent what is no part of an answer";
    // What a later version says beside these is a sign of life.
    let Some(part) = part.part else { return Ok(Part::Progress(None)) };
    Ok(match part {
        search_part::Part::Found(found) => Part::Ranked(ranked(found).ok_or(MALFORMED)?),
        search_part::Part::InParts(found) => Part::InParts(ranked(found).ok_or(MALFORMED)?),
        search_part::Part::Begin(begin) => {
            let away = begin.away.into_iter();
            let away = away.map(|away| Away { shard: away.shard, elsewhere: away.elsewhere });
            let (map_version, pinned) = (begin.map_version, begin.pinned);
            Part::Begin(Begin { map_version, away: away.collect(), pinned })
        }
        search_part::Part::Progress(progress) => {
            Part::Progress(progress.known.then_some(Progress {
                verified: progress.verified,
                candidates: progress.candidates,
            }))
        }
        search_part::Part::End(end) => Part::End(Box::new(ending(end).ok_or(MALFORMED)?)),
        search_part::Part::Paused(end) => Part::Paused(Box::new(ending(end).ok_or(MALFORMED)?)),
    })
}

fn ranked(found: proto::Found) -> Option<Vec<Ranked>> {
    let ranked = found.ranked.into_iter().map(|one| {
        let key = RankKey::decode(&one.key)?;
        let results = one.results.into_iter().map(|result| result.to_vec()).collect();
        Some(Ranked { key, results, window: one.window, within: one.within })
    });
    ranked.collect()
}

fn encoded_ranked(ranked: Vec<Ranked>) -> proto::Found {
    let ranked = ranked.into_iter().map(|one| proto::Ranked {
        key: one.key.encode().into(),
        results: one.results.into_iter().map(Into::into).collect(),
        window: one.window,
        within: one.within,
    });
    proto::Found { ranked: ranked.collect() }
}

fn ending(end: proto::End) -> Option<Ending> {
    Some(Ending {
        summary: serde_json::from_slice(&end.summary).ok()?,
        pinned: end.pinned,
        next: end.more.then_some(Place { window: end.window, within: end.within }),
    })
}

fn encoded_ending(end: &Ending) -> proto::End {
    let place = end.next.unwrap_or_default();
    proto::End {
        summary: crate::http::json(&end.summary).into(),
        pinned: end.pinned.clone(),
        more: end.next.is_some(),
        window: place.window,
        within: place.within,
    }
}

/// A part for the wire.
pub fn encoded(part: Part) -> Result<proto::SearchPart, Status> {
    let part = match part {
        Part::Ranked(ranked) => search_part::Part::Found(encoded_ranked(ranked)),
        Part::InParts(ranked) => search_part::Part::InParts(encoded_ranked(ranked)),
        Part::Begin(Begin { map_version, away, pinned }) => {
            let away = away.into_iter();
            let away =
                away.map(|away| proto::Away { shard: away.shard, elsewhere: away.elsewhere });
            search_part::Part::Begin(proto::Begin { map_version, away: away.collect(), pinned })
        }
        Part::Progress(None) => search_part::Part::Progress(proto::Progress::default()),
        Part::Progress(Some(progress)) => search_part::Part::Progress(proto::Progress {
            known: true,
            verified: progress.verified,
            candidates: progress.candidates,
        }),
        Part::Paused(end) => search_part::Part::Paused(encoded_ending(&end)),
        Part::End(end) => search_part::Part::End(encoded_ending(&end)),
        Part::Failed(Failed::Refused(problem)) => return Err(problem.into_grpc()),
        Part::Failed(Failed::Silent) => return Err(Status::deadline_exceeded("no answer")),
        Part::Failed(Failed::Broken(what)) => return Err(Status::unavailable(what)),
    };
    Ok(proto::SearchPart { part: Some(part) })
}

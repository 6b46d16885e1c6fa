//! Parts of an answer merged in rank order, as they come.

use std::collections::VecDeque;
use std::time::Duration;

use aeterna_index::search::{Cancel, Progress, Ranked, Summary};
use tokio::sync::mpsc;

use crate::http::problem::Problem;

/// What a node sends of its part.
#[derive(Debug)]
pub enum Part {
    /// Results, in the node's order.
    Ranked(Vec<Ranked>),
    /// That it is still at it, and how far.
    Progress(Progress),
    /// The end.
    End(Box<End>),
    /// That it cannot answer.
    Failed(Failed),
}

/// The end of a node's part.
#[derive(Debug)]
pub struct End {
    /// What is told beside the results.
    pub summary: Summary,
    /// The node's cursor without its place.
    pub pinned: String,
    /// Where results begin that it has not sent.
    pub more: Option<(u64, u64)>,
}

/// Why a node has no part in the answer.
#[derive(Clone, Debug)]
pub enum Failed {
    /// The request is wrong, or its cursor has expired: so it is for every node.
    Refused(Problem),
    /// Nothing more was heard of the node.
    Silent,
    /// The node could not be reached, or broke off.
    Broken(String),
}

/// One node's part, as far as it has come.
#[derive(Debug)]
pub struct Source {
    parts: mpsc::Receiver<Part>,
    ready: VecDeque<Ranked>,
    progress: Progress,
    /// Where the last result that was taken ends.
    place: Option<(u64, u64)>,
    end: Option<Box<End>>,
    failed: Option<Failed>,
}

impl Source {
    /// With nothing received yet.
    pub fn new(parts: mpsc::Receiver<Part>) -> Self {
        Self {
            parts,
            ready: VecDeque::new(),
            progress: Progress { verified: 0, candidates: 0 },
            place: None,
            end: None,
            failed: None,
        }
    }

    /// Waits until a result is ready, or none can come. A node that says nothing for `patience` has
    /// failed.
    pub async fn fill(&mut self, patience: Duration, cancel: &Cancel) {
        while self.ready.is_empty() && self.is_open() && !cancel.is_cancelled() {
            self.receive(patience).await;
        }
    }

    /// Waits until all of it has come, and drops results that nobody wants any more.
    pub async fn finish(&mut self, patience: Duration, cancel: &Cancel) {
        while self.is_open() && !cancel.is_cancelled() {
            self.receive(patience).await;
            // That there is one tells that the next page has something.
            self.ready.truncate(1);
        }
    }

    fn is_open(&self) -> bool {
        self.end.is_none() && self.failed.is_none()
    }

    async fn receive(&mut self, patience: Duration) {
        match tokio::time::timeout(patience, self.parts.recv()).await {
            Ok(Some(Part::Ranked(ranked))) => self.ready.extend(ranked),
            Ok(Some(Part::Progress(progress))) => self.progress = progress,
            Ok(Some(Part::End(end))) => self.end = Some(end),
            Ok(Some(Part::Failed(failed))) => self.failed = Some(failed),
            Ok(None) => self.failed = Some(Failed::Broken("it broke off".to_owned())),
            Err(_) => self.failed = Some(Failed::Silent),
        }
    }

    /// The next result, if one is ready.
    pub fn head(&self) -> Option<&Ranked> {
        self.ready.front()
    }

    /// Takes the next result.
    pub fn take(&mut self) -> Option<Ranked> {
        let taken = self.ready.pop_front()?;
        self.place = Some((taken.window, taken.within));
        Some(taken)
    }

    /// How far the node is.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Why it has no part, or not all of it.
    pub fn failed(&self) -> Option<&Failed> {
        self.failed.as_ref()
    }

    /// What it told at its end.
    pub fn end(&self) -> Option<&End> {
        self.end.as_deref()
    }

    /// Where the next page goes on in this part, which began at `start`; `None` when nothing is left
    /// of it.
    pub fn next(&self, start: (u64, u64)) -> Option<(u64, u64)> {
        let end = self.end.as_deref()?;
        match (self.ready.is_empty(), end.more) {
            (true, None) => None,
            (true, Some(more)) => Some(more),
            (false, _) => Some(self.place.unwrap_or(start)),
        }
    }
}

/// The source with the best result of those that are ready. Every open source must have one.
pub fn best(sources: &[Source]) -> Option<usize> {
    let heads = sources.iter().enumerate().filter_map(|(at, source)| Some((at, source.head()?)));
    heads.min_by(|(_, a), (_, b)| a.key.cmp(&b.key)).map(|(at, _)| at)
}

//! What is shared by all nodes and reached over networks that are not the cluster's: the database and
//! the object store. A request may be lost, slow, or done without an answer; once it was sent it is
//! done whether its sender lives or not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::chance::Chance;

/// How badly requests fare.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Longest time that a request takes to arrive, and its answer to come back.
    pub latency: Duration,
    /// In a thousand requests, those that are answered by an error at once.
    pub refused: u64,
    /// In a thousand requests, those that never arrive.
    pub lost: u64,
    /// In a thousand requests, those whose answer never arrives.
    pub unanswered: u64,
    /// In a thousand requests, those that arrive late.
    pub delayed: u64,
    /// How late, at most.
    pub delay: Duration,
}

impl Weather {
    /// Everything arrives soon.
    pub const FAIR: Self = Self {
        latency: Duration::from_millis(40),
        refused: 0,
        lost: 0,
        unanswered: 0,
        delayed: 0,
        delay: Duration::ZERO,
    };
}

type Request = Box<dyn FnOnce() + Send>;

struct State {
    chance: Chance,
    weather: Weather,
    /// Who cannot reach it.
    cut: BTreeSet<usize>,
    now: Duration,
    sent: u64,
    /// By when they arrive, and in which order they were sent.
    under_way: BTreeMap<(Duration, u64), Request>,
}

/// The way to something remote.
pub struct Remote {
    state: Mutex<State>,
}

/// There was no answer, or an error in its place. Whether it was done is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnswer;

impl Remote {
    /// A way in fair weather.
    pub fn new(chance: Chance) -> Self {
        let state = State {
            chance,
            weather: Weather::FAIR,
            cut: BTreeSet::new(),
            now: Duration::ZERO,
            sent: 0,
            under_way: BTreeMap::new(),
        };
        Self { state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it is so.
    pub fn set_weather(&self, weather: Weather) {
        self.lock().weather = weather;
    }

    /// A node can reach it, or cannot.
    pub fn set_cut(&self, node: usize, is_cut: bool) {
        let mut state = self.lock();
        if is_cut {
            state.cut.insert(node);
        } else {
            state.cut.remove(&node);
        }
    }

    /// Does what has arrived until now.
    pub fn arrive(&self, now: Duration) {
        loop {
            let request = {
                let mut state = self.lock();
                state.now = now;
                match state.under_way.first_entry() {
                    Some(first) if first.key().0 <= now => first.remove(),
                    _ => return,
                }
            };
            request();
        }
    }

    /// Has something done at the other end. It waits for ever for an answer that is lost: whoever calls
    /// has a deadline.
    ///
    /// # Errors
    ///
    /// A refusal.
    pub async fn call<T: Send + 'static>(
        &self,
        node: usize,
        request: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let Some((answer, back)) = self.send(node, request)? else {
            return std::future::pending().await;
        };
        match answer.await {
            Ok(answer) => {
                sleep(back).await;
                Ok(answer)
            }
            // Nobody says that an answer is lost.
            Err(_) => std::future::pending().await,
        }
    }

    /// Sends a request; `None` when it is lost. Else what it is answered with, and how long the answer
    /// is on its way.
    fn send<T: Send + 'static>(
        &self,
        node: usize,
        request: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Option<(oneshot::Receiver<T>, Duration)>, NoAnswer> {
        let mut state = self.lock();
        let (weather, now) = (state.weather, state.now);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut there = state.chance.millis(1, millis(weather.latency));
        let back = state.chance.millis(0, millis(weather.latency));
        if state.chance.permille(weather.delayed) {
            there += state.chance.millis(0, millis(weather.delay));
        }
        if state.chance.permille(weather.refused) {
            return Err(NoAnswer);
        }
        if state.chance.permille(weather.lost) || state.cut.contains(&node) {
            return Ok(None);
        }
        let (sender, answer) = oneshot::channel();
        let is_unanswered = state.chance.permille(weather.unanswered);
        let request: Request = Box::new(move || {
            let done = request();
            if !is_unanswered {
                // Whoever asked may be gone.
                let _ = sender.send(done);
            }
        });
        let order = state.sent;
        state.sent += 1;
        state.under_way.insert((now + there, order), request);
        Ok(Some((answer, back)))
    }
}

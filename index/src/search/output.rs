//! Where the results of a search go.

use std::ops::ControlFlow;

use super::key::RankKey;
use super::response::{Match, Progress, SearchResponse};

/// Takes the results of a search in order, while those that follow are still being made.
///
/// ```
/// use std::ops::ControlFlow;
/// use std::sync::Mutex;
///
/// use aeterna_index::search::{Match, Output, Ranked};
///
/// /// Lists paths, one a line.
/// #[derive(Default)]
/// struct Paths(Mutex<Vec<u8>>);
///
/// impl Output for Paths {
///     fn write(&self, found: Match, into: &mut Vec<u8>) {
///         into.extend_from_slice(&found.path);
///         into.push(b'\n');
///     }
///
///     fn send(&self, ranked: Vec<Ranked>) -> ControlFlow<()> {
///         let results = ranked.into_iter().flat_map(|ranked| ranked.results);
///         self.0.lock().unwrap().extend(results.flatten());
///         ControlFlow::Continue(())
///     }
/// }
/// ```
pub trait Output: Sync {
    /// Writes one result. The search's threads call it as soon as the result's lines are cut, for
    /// many results at once and in no order.
    fn write(&self, found: Match, into: &mut Vec<u8>);

    /// Takes results as they were written, the next in order; called by the thread that asked for
    /// the search. It may wait for whoever reads: the search's deadline does not run meanwhile.
    /// `Break` cancels the search.
    fn send(&self, ranked: Vec<Ranked>) -> ControlFlow<()>;

    /// Takes what the search looks at, as a cursor of its beginning, and those of the shards that it was
    /// asked for that are not open; called by the thread that asked for the search, before anything is
    /// sent: once, or again when something damaged was set aside. Returns whether others search what is
    /// not open: it counts as left out otherwise.
    fn pinned(&self, _cursor: &str, _closed: &[u32]) -> bool {
        false
    }

    /// Takes the repositories found that are indexed in parts, in order, where repositories are asked for;
    /// called before anything is sent. Returns whether they are put together with what others find of them:
    /// they are among the results otherwise.
    fn in_parts(&self, _found: Vec<Ranked>) -> bool {
        false
    }

    /// Takes the answer as it is when nobody wants more than was sent, without its results; called by the
    /// thread that asked for the search, where what [`SearchRequest::first`](super::SearchRequest::first) asks for
    /// was sent and others follow. It waits until more are wanted: the search's deadline does not run
    /// meanwhile. `Break` ends the search.
    fn pause(&self, _so_far: &SearchResponse) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Takes how far the search is, now and then. It must not wait.
    fn progress(&self, _progress: Progress) {}
}

/// A document or repository that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// What orders it among others.
    pub key: RankKey,
    /// Its results as [`Output::write`] wrote them: itself, or its definitions; none where it has
    /// none of the kind asked for, or the time for it ran out.
    pub results: Vec<Vec<u8>>,
    /// Where a cursor stands that goes on right after it, with `within`; for
    /// [`cursor_at`](super::cursor_at).
    pub window: u64,
    /// See `window`.
    pub within: u64,
}

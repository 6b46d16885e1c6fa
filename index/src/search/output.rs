//! Where the results of a search go.

use std::ops::ControlFlow;

use super::response::{Match, Progress};

/// Takes the results of a search in order, while those that follow are still being made.
///
/// ```
/// use std::ops::ControlFlow;
/// use std::sync::Mutex;
///
/// use aeterna_index::search::{Match, Output};
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
///     fn send(&self, written: Vec<Vec<u8>>) -> ControlFlow<()> {
///         self.0.lock().unwrap().extend(written.concat());
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
    fn send(&self, written: Vec<Vec<u8>>) -> ControlFlow<()>;

    /// Takes how far the search is, now and then. It must not wait.
    fn progress(&self, _progress: Progress) {}
}

//! Nodes that have too much to do are left alone for as long as they said.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aeterna_cluster::name::NodeName;

/// Nodes that refused a search because they have too much to do.
#[derive(Debug, Default)]
pub struct Busy(Mutex<HashMap<NodeName, Instant>>);

impl Busy {
    /// Notes that a node wants to be asked again after this time.
    pub fn says(&self, node: &NodeName, again_after: Duration) {
        let mut until = self.until();
        until.retain(|_, until| *until > Instant::now());
        until.insert(node.clone(), Instant::now() + again_after);
    }

    /// How long a node wants not to be asked yet.
    pub fn left(&self, node: &NodeName) -> Option<Duration> {
        let left = self.until().get(node)?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn until(&self) -> MutexGuard<'_, HashMap<NodeName, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn who_is_busy_is_so_for_a_time() {
        let (busy, name) = (Busy::default(), "node-1".parse().unwrap());
        assert_eq!(busy.left(&name), None);
        busy.says(&name, Duration::from_secs(60));
        assert!(busy.left(&name).is_some_and(|left| left > Duration::from_secs(50)));
        busy.says(&name, Duration::ZERO);
        assert_eq!(busy.left(&name), None);
    }
}

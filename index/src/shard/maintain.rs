//! Work behind the scenes: reading symbols and merging segments, a step at a time.

/// What one step of maintenance did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maintenance {
    /// Nothing was due.
    Idle,
    /// The symbols of a segment were read.
    Symbols,
    /// Segments were merged.
    Merged,
}

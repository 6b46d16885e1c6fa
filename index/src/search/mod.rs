//! Searching: what is asked and what is answered.

mod budget;
mod candidates;
mod chunks;
mod collect;
mod compile;
mod cursor;
mod deliver;
mod execute;
mod matches;
mod merge;
mod order;
mod output;
mod rank;
mod repositories;
mod response;
mod running;
mod verify;
mod windows;

pub use budget::Cancel;
pub(crate) use execute::Searcher;
pub use output::Output;
pub use response::{
    Alert, Chunk, Count, Counts, Explain, FacetValue, Facets, Limits, Match, MatchKind, MatchRange,
    Position, Progress, Relation, SearchError, SearchRequest, SearchResponse, SkipReason, Skipped,
    StepTime, SymbolHit, Visible,
};

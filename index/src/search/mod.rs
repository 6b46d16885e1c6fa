//! Searching: what is asked and what is answered.

mod response;

pub use response::{
    Alert, Chunk, Count, Counts, Explain, FacetValue, Facets, Limits, Match, MatchKind, MatchRange,
    Position, Progress, Relation, SearchError, SearchRequest, SearchResponse, SkipReason, Skipped,
    StepTime, SymbolHit, Visible,
};

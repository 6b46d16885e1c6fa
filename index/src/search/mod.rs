//! Searching: what is asked and what is answered.

mod budget;
mod candidates;
mod chunks;
mod collect;
mod compile;
mod cursor;
mod deliver;
mod execute;
mod facets;
mod gather;
mod hands;
mod key;
mod matches;
mod merge;
mod order;
mod output;
mod parts;
mod pin;
mod rank;
mod repositories;
mod response;
mod running;
mod summary;
mod verify;
mod windows;

pub use budget::Cancel;
pub use cursor::{cursor_at, place_of, states_of};
pub(crate) use execute::Searcher;
pub use execute::page_of;
pub use gather::{Ending, Gather, Gathered, Place, Step};
pub use key::RankKey;
pub use output::{Output, Ranked};
pub use parts::SearchedPart;
pub use response::{
    Alert, Chunk, Count, Counts, Explain, FACET_VALUES, FacetValue, Facets, Limits, Match,
    MatchKind, MatchRange, Position, Progress, Relation, SearchError, SearchRequest,
    SearchResponse, SkipReason, Skipped, StepTime, SymbolHit, Visible,
};
pub use summary::Summary;

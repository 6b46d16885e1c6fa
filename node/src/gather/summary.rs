//! What is told of a search beside its results, and how that of several nodes adds up.

use std::collections::BTreeMap;
use std::time::Duration;

use aeterna_index::search::{
    Alert, Count, Counts, Explain, FacetValue, Facets, Relation, SearchResponse, SkipReason, Skipped,
};
use serde::{Deserialize, Serialize};

use super::merge::{Failed, Source};
use super::plan::{Ask, Asked};

/// Names listed of what was skipped.
const SKIPPED_ITEMS: usize = 10;
/// Values that a facet lists.
const FACET_VALUES: usize = 1_000;

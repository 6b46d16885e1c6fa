//! The values of a facet in the order in which they are listed.

use std::cmp::Ordering;

use super::response::FacetValue;

/// The most frequent values, ties by value.
pub(super) fn most_frequent(
    values: impl IntoIterator<Item = (String, u64)>,
    most: usize,
) -> Vec<FacetValue> {
    listed(values, most, |a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)))
}

/// The last values, for months.
pub(super) fn newest(
    values: impl IntoIterator<Item = (String, u64)>,
    most: usize,
) -> Vec<FacetValue> {
    listed(values, most, |a, b| b.value.cmp(&a.value))
}

fn listed(
    values: impl IntoIterator<Item = (String, u64)>,
    most: usize,
    order: fn(&FacetValue, &FacetValue) -> Ordering,
) -> Vec<FacetValue> {
    let mut values: Vec<FacetValue> =
        values.into_iter().map(|(value, count)| FacetValue { value, count }).collect();
    values.sort_by(order);
    values.truncate(most);
    values
}

//! Shards that a node brings to its disk, as it gossips them: `shard:done:total:milliseconds`, with
//! commas in between.

use std::collections::BTreeMap;

use crate::name::ShardId;

/// How many are told of at once; the others follow as these are done.
pub const MAX_TOLD: usize = 8;
/// Bytes of the text, at most: of each a number of 10 digits, three of 20, and what is in between.
const MAX_BYTES: usize = MAX_TOLD * 74;

/// How far a shard is that a node restores or copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restoring {
    /// Bytes that are there.
    pub done: u64,
    /// Bytes that will be there; 0 while that is not known.
    pub total: u64,
    /// Milliseconds since it was begun.
    pub elapsed_ms: u64,
}

impl Restoring {
    /// Milliseconds that are left at the speed so far; `None` before there is one.
    pub fn remaining_ms(&self) -> Option<u64> {
        let left = u128::from(self.total.saturating_sub(self.done)) * u128::from(self.elapsed_ms);
        u64::try_from(left.checked_div(u128::from(self.done))?).ok()
    }
}

/// The first of them as text.
pub(super) fn write(restores: &BTreeMap<ShardId, Restoring>) -> String {
    let one = |(shard, restoring): (&ShardId, &Restoring)| {
        format!("{}:{}:{}:{}", shard.0, restoring.done, restoring.total, restoring.elapsed_ms)
    };
    restores.iter().take(MAX_TOLD).map(one).collect::<Vec<_>>().join(",")
}

/// What [`write`] wrote; `None` for anything else.
pub(super) fn read(text: &str) -> Option<BTreeMap<ShardId, Restoring>> {
    if text.is_empty() {
        return Some(BTreeMap::new());
    }
    if text.len() > MAX_BYTES {
        return None;
    }
    let mut restores = BTreeMap::new();
    for one in text.split(',') {
        let mut fields = one.split(':').map(|field| super::facts::number(field, u64::MAX));
        let mut next = || fields.next().flatten();
        let shard = u32::try_from(next()?).ok().map(ShardId)?;
        let restoring = Restoring { done: next()?, total: next()?, elapsed_ms: next()? };
        if fields.next().is_some() || restores.insert(shard, restoring).is_some() {
            return None;
        }
    }
    (restores.len() <= MAX_TOLD).then_some(restores)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let restoring = |done| Restoring { done, total: u64::MAX, elapsed_ms: u64::MAX };
        let mut restores: BTreeMap<ShardId, Restoring> =
            (0..8).map(|shard| (ShardId(u32::MAX - shard), restoring(u64::MAX))).collect();
        let text = write(&restores);
        assert!(text.len() <= MAX_BYTES, "{}", text.len());
        assert_eq!(read(&text).unwrap(), restores);
        // More are left for later.
        restores.insert(ShardId(u32::MAX - 9), restoring(3));
        assert_eq!(read(&write(&restores)).unwrap().len(), MAX_TOLD);
        assert_eq!(read("").unwrap(), BTreeMap::new());
        let many = (0..9).map(|shard| format!("{shard}:1:1:1")).collect::<Vec<_>>().join(",");
        for bad in [
            "1",
            "1:2:3",
            "1:2:3:4:5",
            "1:2:3:4,",
            "1:2:3:4,1:2:3:4",
            "01:2:3:4",
            "-1:2:3:4",
            "4294967296:1:1:1",
            "1:2:3:x",
            "1:2:3:4\n",
            &many,
            &"1:2:3:4,".repeat(99),
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_time_that_is_left_is_by_the_speed_so_far() {
        let remaining =
            |done, total, elapsed_ms| Restoring { done, total, elapsed_ms }.remaining_ms();
        assert_eq!(remaining(25, 100, 1_000), Some(3_000));
        assert_eq!(remaining(0, 100, 1_000), None);
        assert_eq!(remaining(100, 100, 1_000), Some(0));
        assert_eq!(remaining(200, 100, 1_000), Some(0));
        assert_eq!(remaining(1, u64::MAX, u64::MAX), None);
    }
}

//! The threads that the work of a search is spread over.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use rayon::ThreadPool;
use rayon::prelude::*;

/// How long whoever asked for a part of a search works at each step alone. Waking other threads takes longer
/// than most steps of a part do, and those of other parts have work for the processors, too.
const ALONE: Duration = Duration::from_millis(1);

/// Threads that work together.
pub(crate) struct Hands<'a> {
    pool: &'a ThreadPool,
    alone: Duration,
}

impl<'a> Hands<'a> {
    /// For one of so many searches that do together what one did alone.
    pub(crate) fn new(pool: &'a ThreadPool, share: u32) -> Self {
        Self { pool, alone: if share > 1 { ALONE } else { Duration::ZERO } }
    }

    /// Does what has several steps: where all threads take part in each of them, on one of theirs, as handing
    /// over to them takes longer than most steps.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        if self.alone.is_zero() { self.pool.install(work) } else { work() }
    }

    /// What `make` makes of all items, in their order. `state` is for one after another on one thread;
    /// `at_once` bounds how many of them a thread takes at a time.
    pub(crate) fn map<T: Send, S, R: Send>(
        &self,
        items: Vec<T>,
        at_once: RangeInclusive<usize>,
        state: impl Fn() -> S + Sync + Send,
        make: impl Fn(&mut S, T) -> R + Sync + Send,
    ) -> Vec<R> {
        let mut left = items.into_iter();
        let mut made = Vec::new();
        if !self.alone.is_zero() {
            let (until, mut mine) = (Instant::now() + self.alone, state());
            while Instant::now() < until
                && let Some(item) = left.next()
            {
                made.push(make(&mut mine, item));
            }
        }
        if left.len() > 0 {
            let left: Vec<T> = left.collect();
            let (least, most) = at_once.into_inner();
            let others: Vec<R> = self.pool.install(|| {
                let left = left.into_par_iter().with_min_len(least).with_max_len(most);
                left.map_init(state, make).collect()
            });
            made.extend(others);
        }
        made
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::thread;

    use rayon::ThreadPoolBuilder;

    use super::*;

    #[test]
    fn what_is_made_alone_and_by_others_is_in_order() {
        let pool = ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let here = thread::current().id();
        for share in [1, 2] {
            let hands = Hands::new(&pool, share);
            let made = hands.run(|| {
                hands.map(
                    (0..2_000).collect(),
                    1..=1,
                    || 0,
                    |count: &mut u32, item: u32| {
                        *count += 1;
                        if item == 10 {
                            thread::sleep(2 * ALONE);
                        }
                        (item, *count, thread::current().id())
                    },
                )
            });
            assert!(made.iter().map(|made| made.0).eq(0..2_000));
            let is_here = |made: &&(u32, u32, thread::ThreadId)| made.2 == here;
            let alone = made.iter().take_while(is_here).count();
            assert_eq!(made.iter().filter(is_here).count(), alone);
            let wanted = if share == 1 { 0..=0 } else { 1..=11 };
            assert!(wanted.contains(&alone), "{alone}");
            assert!(made[..alone].iter().map(|made| made.1 - 1).eq(0..alone as u32));
        }
    }
}

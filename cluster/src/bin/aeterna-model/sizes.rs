//! Sizes of shards, as many repositories make them.

use crate::Model;

/// Bytes of the index of a small repository, and of the largest.
const SMALL: f64 = 40e3;
const LARGEST: f64 = 1e9;
/// How heavy the tail of sizes is (Pareto): most repositories are small, few make up most bytes.
const TAIL: f64 = 1.1;

/// The bytes of each shard. Repositories are in shards by hashes of their ids, as in the index.
pub fn of_shards(model: Model) -> Vec<u64> {
    let mut shards = vec![0; model.shards as usize];
    for number in 0..model.repositories {
        let (hash, size) = (mixed(2 * number), mixed(2 * number + 1));
        // In (0, 1], with 53 random bits.
        let uniform = ((size >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        let bytes = (SMALL * uniform.powf(-1.0 / TAIL)).min(LARGEST) as u64;
        shards[(hash % u64::from(model.shards)) as usize] += bytes;
    }
    shards
}

/// A number that looks random and is the same in every run (splitmix64).
pub fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

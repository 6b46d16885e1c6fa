//! Sizes of shards as short texts.
//!
//! A text is for a block of 256 shards: four characters for each that the node owns, two for its
//! place in the block (hexadecimal) and two for its size, in steps of a sixteenth of a power of two
//! (base 32). That is within 2.2% of the truth, is enough to place shards by, and changes seldom: a
//! value that changes is sent to everyone.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::name::ShardId;

/// Shards in a block.
const BLOCK: u32 = 256;
/// Blocks that are read, at most: those of a cluster of 65,536 shards.
pub const MAX_BLOCKS: u32 = 256;
/// Steps in a power of two.
const STEPS: f64 = 16.0;
/// The largest step: two characters of base 32.
const LARGEST: u32 = 1_023;
const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// The texts of all blocks that hold one of the shards, by the block's number.
pub fn write(sizes: &BTreeMap<ShardId, u64>) -> BTreeMap<u32, String> {
    let mut blocks: BTreeMap<u32, String> = BTreeMap::new();
    for (shard, bytes) in sizes.iter().filter(|(shard, _)| shard.0 / BLOCK < MAX_BLOCKS) {
        let text = blocks.entry(shard.0 / BLOCK).or_default();
        let step = step_of(*bytes);
        let [high, low] = [step / 32, step % 32].map(|digit| char::from(DIGITS[digit as usize]));
        // Writing to a string cannot fail.
        let _ = write!(text, "{:02x}{high}{low}", shard.0 % BLOCK);
    }
    blocks
}

/// The sizes in a block's text; `None` when [`write()`] makes no such text.
pub fn read(block: u32, text: &str) -> Option<Vec<(ShardId, u64)>> {
    let bytes = text.as_bytes();
    if block >= MAX_BLOCKS || !bytes.len().is_multiple_of(4) || bytes.len() > 4 * BLOCK as usize {
        return None;
    }
    let mut sizes: Vec<(ShardId, u64)> = Vec::with_capacity(bytes.len() / 4);
    for entry in bytes.chunks_exact(4) {
        let place = digit(entry[0], 16)? * 16 + digit(entry[1], 16)?;
        let shard = ShardId(block * BLOCK + place);
        let step = digit(entry[2], 32)? * 32 + digit(entry[3], 32)?;
        if sizes.last().is_some_and(|(last, _)| *last >= shard) {
            return None;
        }
        sizes.push((shard, size_of(step)));
    }
    Some(sizes)
}

/// The shards of a block.
pub fn block(block: u32) -> std::ops::Range<ShardId> {
    ShardId(block * BLOCK)..ShardId((block + 1) * BLOCK)
}

fn digit(byte: u8, radix: u32) -> Option<u32> {
    (!byte.is_ascii_uppercase()).then(|| char::from(byte).to_digit(radix)).flatten()
}

fn step_of(bytes: u64) -> u32 {
    match bytes {
        0 => 0,
        bytes => (((bytes as f64).log2() * STEPS).round() as u32 + 1).min(LARGEST),
    }
}

fn size_of(step: u32) -> u64 {
    match step {
        0 => 0,
        step => (f64::from(step - 1) / STEPS).exp2().round() as u64,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn there_and_back(sizes: &BTreeMap<ShardId, u64>) -> BTreeMap<ShardId, u64> {
        write(sizes).iter().flat_map(|(block, text)| read(*block, text).unwrap()).collect()
    }

    #[test]
    fn sizes_come_back_within_a_few_percent() {
        let numbers = [0, 1, 2, 3, 1_000, 1 << 20, 123_456_789_012, 1 << 60];
        let shards = [0, 1, 255, 256, 4_095, 65_535, 300, 301];
        let sizes: BTreeMap<_, _> = shards.into_iter().map(ShardId).zip(numbers).collect();
        let back = there_and_back(&sizes);
        assert_eq!(back.keys().collect::<Vec<_>>(), sizes.keys().collect::<Vec<_>>());
        for (shard, bytes) in &sizes {
            let off = (back[shard] as f64 - *bytes as f64).abs();
            assert!(off <= *bytes as f64 * 0.022, "{shard}: {bytes} became {}", back[shard]);
        }
        // What was read is written as it was.
        assert_eq!(there_and_back(&back), back);
        let largest = [(ShardId(0), u64::MAX)].into();
        assert!(there_and_back(&largest)[&ShardId(0)] >= u64::MAX / 100 * 90);
    }

    #[test]
    fn a_block_is_small() {
        let all = (0..4_096).map(|shard| (ShardId(shard), u64::from(shard) << 20)).collect();
        let blocks = write(&all);
        assert_eq!(blocks.len(), 16);
        assert!(blocks.values().all(|text| text.len() == 1_024));
    }

    #[test]
    fn no_text_that_was_not_written_is_read() {
        for bad in ["0", "00000", "0g00", "00w0", "00 0", "0000\u{e4}0", "+100", "0A00"] {
            assert_eq!(read(0, bad), None, "{bad}");
        }
        assert_eq!(read(0, "01000100"), None, "twice the same shard");
        assert_eq!(read(0, "02000100"), None, "in another order");
        assert_eq!(read(MAX_BLOCKS, "0000"), None);
        assert_eq!(read(0, &"0000".repeat(300)), None);
        assert_eq!(read(0, ""), Some(Vec::new()));
    }
}

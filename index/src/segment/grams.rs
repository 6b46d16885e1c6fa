//! Collecting the trigrams of units, and sorting them into runs.
//!
//! A [`Collector`] takes the text of one unit after another. A bitset over all grams tells which
//! were seen in the unit; each new one is remembered as `gram << UNIT_BITS | unit`, so that a
//! stable radix sort over the gram's bits gives the lists in the order of units. A full collector
//! becomes a *run*: lists of at most [`RUN_UNITS`] units, compressed, split into partitions by
//! gram so that runs can be merged by several threads.

use crate::trigram::{fold_byte, fold_text};

/// Bits of a gram.
pub(crate) const GRAM_BITS: u32 = 21;
const UNIT_BITS: u32 = 32 - GRAM_BITS;
/// Units of one run at most.
pub(crate) const RUN_UNITS: u32 = 1 << 11;
/// Parts of the gram space that are merged apart from each other.
pub(crate) const PARTITIONS: usize = 32;
const PARTITION_SHIFT: u32 = GRAM_BITS - PARTITIONS.trailing_zeros();
const GRAM_MASK: u32 = (1 << GRAM_BITS) - 1;
/// Bytes of either side of a cut whose windows across it are collected: three folded characters
/// of at most four bytes.
pub(crate) const SEAM: usize = 12;

/// Collects the distinct grams of units.
pub(crate) struct Collector {
    seen: Vec<u64>,
    unit: Vec<u32>,
    postings: Vec<u32>,
    scratch: Vec<u32>,
    folded: Vec<u8>,
    units: u32,
}

impl Collector {
    /// An empty collector.
    pub(crate) fn new() -> Self {
        Self {
            seen: vec![0; 1 << (GRAM_BITS - 6)],
            unit: Vec::new(),
            postings: Vec::new(),
            scratch: Vec::new(),
            folded: Vec::new(),
            units: 0,
        }
    }

    /// Takes in a text that stands by itself: no gram joins it to the text before.
    pub(crate) fn add(&mut self, text: &[u8]) {
        self.windows(text);
        if !text.is_ascii() {
            let mut folded = std::mem::take(&mut self.folded);
            folded.clear();
            fold_text(text, &mut folded);
            self.windows(&folded);
            self.folded = folded;
        }
    }

    fn windows(&mut self, text: &[u8]) {
        if text.len() < 3 {
            return;
        }
        let mut gram = u32::from(fold_byte(text[0])) << 7 | u32::from(fold_byte(text[1]));
        for byte in &text[2..] {
            gram = (gram << 7 | u32::from(fold_byte(*byte))) & GRAM_MASK;
            let word = &mut self.seen[(gram >> 6) as usize];
            let bit = 1 << (gram & 63);
            if *word & bit == 0 {
                *word |= bit;
                self.unit.push(gram);
            }
        }
    }

    /// Distinct grams of the unit so far.
    pub(crate) fn distinct(&self) -> usize {
        self.unit.len()
    }

    /// Ends the unit. Without `keep` its grams are dropped: it will be a candidate always.
    pub(crate) fn end_unit(&mut self, keep: bool) {
        for gram in &self.unit {
            self.seen[(gram >> 6) as usize] = 0;
            if keep {
                self.postings.push(gram << UNIT_BITS | self.units);
            }
        }
        self.unit.clear();
        self.units += 1;
    }

    /// Units ended since the last run.
    pub(crate) fn units(&self) -> u32 {
        self.units
    }

    /// Makes a run of what was collected and starts anew.
    pub(crate) fn take_run(&mut self) -> Run {
        radix_sort(&mut self.postings, &mut self.scratch);
        let run = Run::encode(&self.postings);
        self.postings.clear();
        self.units = 0;
        run
    }
}

/// Stable sort by gram alone: least significant digit first, 11 then 10 bits.
fn radix_sort(postings: &mut Vec<u32>, scratch: &mut Vec<u32>) {
    scratch.resize(postings.len(), 0);
    for (shift, bits) in [(UNIT_BITS, 11), (UNIT_BITS + 11, GRAM_BITS - 11)] {
        let digit = |posting: u32| (posting >> shift & ((1 << bits) - 1)) as usize;
        let mut starts = vec![0u32; 1 << bits];
        for posting in postings.iter() {
            starts[digit(*posting)] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += std::mem::replace(start, sum);
        }
        for posting in postings.iter() {
            let start = &mut starts[digit(*posting)];
            scratch[*start as usize] = *posting;
            *start += 1;
        }
        std::mem::swap(postings, scratch);
    }
}

/// Sorted lists of at most [`RUN_UNITS`] units.
pub(crate) struct Run {
    /// For each gram: distance from the gram before in its partition, count, distances of units.
    pub(crate) bytes: Vec<u8>,
    /// Where each partition starts in `bytes`, and the end.
    pub(crate) partitions: [u32; PARTITIONS + 1],
}

impl Run {
    fn encode(postings: &[u32]) -> Self {
        let mut bytes = Vec::with_capacity(postings.len() * 5 / 4);
        let mut partitions = [0; PARTITIONS + 1];
        let mut at = 0;
        for (partition, start) in partitions.iter_mut().enumerate().take(PARTITIONS) {
            *start = bytes.len() as u32;
            let mut before = (partition << PARTITION_SHIFT) as u32;
            while let Some(first) = postings.get(at)
                && (first >> (UNIT_BITS + PARTITION_SHIFT)) as usize == partition
            {
                let gram = first >> UNIT_BITS;
                let count = postings[at..]
                    .iter()
                    .take_while(|posting| *posting >> UNIT_BITS == gram)
                    .count();
                write_varint(&mut bytes, gram - before);
                write_varint(&mut bytes, count as u32);
                let mut unit_before = 0;
                for posting in &postings[at..at + count] {
                    let unit = posting & ((1 << UNIT_BITS) - 1);
                    write_varint(&mut bytes, unit - unit_before);
                    unit_before = unit;
                }
                before = gram;
                at += count;
            }
        }
        partitions[PARTITIONS] = bytes.len() as u32;
        Self { bytes, partitions }
    }
}

/// Reads one partition of a run, gram by gram.
pub(crate) struct RunCursor<'a> {
    bytes: &'a [u8],
    base: u32,
    /// Gram at the cursor; `None` at the end.
    pub(crate) gram: Option<u32>,
}

impl<'a> RunCursor<'a> {
    /// At the first gram of `partition`, whose bytes these are; `base` is the run's first unit.
    pub(crate) fn new(bytes: &'a [u8], partition: usize, base: u32) -> Self {
        let mut cursor = Self { bytes, base, gram: Some((partition << PARTITION_SHIFT) as u32) };
        cursor.advance();
        cursor
    }

    fn advance(&mut self) {
        self.gram = match self.gram {
            Some(before) if !self.bytes.is_empty() => Some(before + read_varint(&mut self.bytes)),
            _ => None,
        };
    }

    /// Appends the units of the gram at the cursor and moves to the next gram.
    pub(crate) fn take(&mut self, units: &mut Vec<u32>) {
        let count = read_varint(&mut self.bytes);
        let mut unit = self.base;
        for _ in 0..count {
            unit += read_varint(&mut self.bytes);
            units.push(unit);
        }
        self.advance();
    }
}

/// Appends a number, seven bits a byte, low bits first.
pub(crate) fn write_varint(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes a number off the front; what is cut short reads as zeros, and never beyond the end.
pub(crate) fn read_varint(bytes: &mut &[u8]) -> u32 {
    let mut number = 0;
    let mut shift = 0;
    while let Some((byte, rest)) = bytes.split_first() {
        *bytes = rest;
        number |= u32::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 || shift > 28 {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_run_holds_the_grams_of_each_unit(texts in prop::collection::vec("[a-cA-C \n]{0,40}", 1..20)) {
            let mut collector = Collector::new();
            let mut wanted: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
            for (unit, text) in texts.iter().enumerate() {
                collector.add(text.as_bytes());
                for window in text.as_bytes().windows(3) {
                    let gram = window.iter().fold(0, |gram, byte| gram << 7 | u32::from(fold_byte(*byte)));
                    wanted.entry(gram).or_default().insert(unit as u32 + 100);
                }
                collector.end_unit(true);
            }
            let run = collector.take_run();
            let mut found: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
            for partition in 0..PARTITIONS {
                let mut cursor = RunCursor::new(&run.bytes[run.partitions[partition] as usize..run.partitions[partition + 1] as usize], partition, 100);
                while let Some(gram) = cursor.gram {
                    let mut units = Vec::new();
                    cursor.take(&mut units);
                    prop_assert!(units.is_sorted());
                    found.entry(gram).or_default().extend(units);
                }
            }
            prop_assert_eq!(found, wanted);
        }

        #[test]
        fn varints_come_back(number: u32) {
            let mut bytes = Vec::new();
            write_varint(&mut bytes, number);
            prop_assert_eq!(read_varint(&mut bytes.as_slice()), number);
        }
    }
}

//! What the fuzz target of the codecs calls. Compiled for fuzzing alone.
//!
//! The bytes are as hostile as can be: files have checksums, and whoever makes a file makes those
//! too. What does not fit is an error, never a panic or a read out of bounds.

use std::path::Path;

use crate::bits::Bits;
use crate::search::{RankKey, cursor_at, place_of};
use crate::segment::compression::{Compressor, decompress};
use crate::segment::file::{SectionFile, SectionWriter};
use crate::segment::postings::{ListReader, ListSections, little_endian};
use crate::segment::symbols::{decode_symbols, encode_symbols};

const SECTIONS: ListSections = ListSections { grams: 1, places: 2, lists: 3 };

/// A text comes back from its unit; stored bytes that are none do no harm.
///
/// # Panics
/// When the text does not come back.
pub fn unit(dictionary: &[u8], text: &[u8], hostile: &[u8]) {
    let mut compressor = Compressor::new(dictionary).expect("there is memory");
    let stored = compressor.compress(text).expect("a text can be compressed").to_vec();
    let mut unit = Vec::new();
    // Whose dictionary it is: its bytes decide.
    let owner = xxhash_rust::xxh3::xxh3_64(dictionary);
    assert!(decompress(&stored, text.len(), owner, dictionary, &mut unit));
    assert_eq!(unit, text);
    decompress(hostile, text.len(), owner, dictionary, &mut unit);
}

/// Lists of any bytes can be opened and read, or not.
///
/// # Panics
/// When the file cannot be written.
pub fn lists(path: &Path, places: &[u32], lists: &[u8], units: u16) {
    let units = u32::from(units);
    let mut writer = SectionWriter::create(path).expect("the file can be made");
    let grams: Vec<u32> = (0..places.len() as u32).collect();
    for (section, bytes) in [(1, little_endian(&grams)), (2, little_endian(places))] {
        writer.section(section, &bytes).expect("the file can be written");
    }
    writer.section(3, lists).and_then(|()| writer.finish()).expect("the file can be written");
    let file = SectionFile::open(path).expect("the file is whole");
    std::fs::remove_file(path).expect("the file can be removed");
    let reader = ListReader::open(&file, SECTIONS, units).expect("each gram has a place");
    for gram in grams {
        if let Ok(Some(place)) = reader.find(gram) {
            let mut found = Bits::none(units);
            if reader.read(place, &mut found).is_ok() {
                assert!(found.iter().all(|unit| unit < units));
            }
        }
    }
}

/// Of any bytes that are a key, the key is those bytes.
///
/// # Panics
/// When it is others.
pub fn key(bytes: &[u8]) {
    if let Some(key) = RankKey::decode(bytes) {
        assert_eq!(key.encode(), bytes);
        assert!(RankKey::decode(&key.encode()) == Some(key));
    }
}

/// Of any text that is a cursor, another place is one too.
///
/// # Panics
/// When it is not.
pub fn cursor(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(moved) = cursor_at(text, 1, u64::MAX) {
        assert_eq!(place_of(&moved), Some((1, u64::MAX)));
    }
}

/// Symbols of any bytes can be read, and what was read can be written and comes back.
///
/// # Panics
/// When it does not come back.
pub fn symbols(bytes: &[u8]) {
    let read = decode_symbols(bytes);
    let is_in_order = read.is_sorted_by_key(|symbol| symbol.start);
    if is_in_order {
        assert_eq!(decode_symbols(&encode_symbols(&read)), read);
    }
}

//! Character classes and literals as sets of folded strings.

use regex_syntax::hir::{Class, ClassBytes, ClassUnicode};

use super::analysis::Info;
use super::strings::{MAX_PRODUCT, StringSet};
use crate::trigram::{fold_byte, fold_char};

/// The most characters of a class that are listed one by one, before folding.
const MAX_LISTED: usize = 4 * MAX_PRODUCT;

/// The most characters of a class that are looked at for their first and last bytes.
const MAX_EXAMINED: usize = 4096;

/// The slots of a character in a folded text.
fn slots(c: char) -> Vec<u8> {
    let mut buffer = [0; 4];
    fold_char(c).encode_utf8(&mut buffer).bytes().map(fold_byte).collect()
}

/// The bytes of a literal: text, and between it bytes that are not UTF-8, which may be anything
/// in a folded text (they can be a part of a character that folding replaces).
pub(super) fn literal(bytes: &[u8]) -> Info {
    let mut info = Info::empty();
    for chunk in bytes.utf8_chunks() {
        let text: Vec<u8> = chunk.valid().chars().flat_map(slots).collect();
        info = info.then(Info::exact(StringSet::one(text)));
        if !chunk.invalid().is_empty() {
            info = info.then(Info::anything());
        }
    }
    info
}

pub(super) fn class(class: &Class) -> Info {
    match class {
        Class::Unicode(class) => unicode(class),
        Class::Bytes(class) => bytes(class),
    }
}

fn unicode(class: &ClassUnicode) -> Info {
    let count: usize = class.iter().map(|range| range.len()).sum();
    if count == 0 {
        return Info::nothing();
    }
    if count > MAX_EXAMINED {
        return Info::anything();
    }
    let members = || class.iter().flat_map(|range| range.start()..=range.end()).map(slots);
    if count <= MAX_LISTED
        && let Some(set) = StringSet::new(members())
        && set.len() <= MAX_PRODUCT
    {
        return Info::exact(set);
    }
    // Too many characters, such as all of Unicode's digits, can still begin and end in few ways.
    match StringSet::new(members()) {
        Some(set) => Info::between(set.starts(1), set.ends(1)),
        None => Info::anything(),
    }
}

/// A class of bytes: of ASCII it is a class of characters, all else may be a part of one.
fn bytes(class: &ClassBytes) -> Info {
    if !class.is_ascii() {
        return Info::anything();
    }
    let set = StringSet::new(
        class
            .iter()
            .flat_map(|range| range.start()..=range.end())
            .map(|byte| vec![fold_byte(byte)]),
    );
    match set {
        None => Info::nothing(),
        Some(set) if set.len() <= MAX_PRODUCT => Info::exact(set),
        Some(_) => Info::anything(),
    }
}

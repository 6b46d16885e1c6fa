//! Trigrams, and the two foldings that make one index serve both cases.
//!
//! A unit's gram set holds every 3-byte window of its bytes, each byte taken through [`fold_byte`].
//! A unit with any non-ASCII byte also holds every window of its text taken through [`fold_text`].
//! A pattern is planned in the folded space, where whatever matches with or without regard to case
//! has become the same bytes, so that no plan excludes a unit that matches.

use std::fmt;
use std::sync::LazyLock;

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

/// The version of [`fold_byte`] and [`fold_text`] together, for an index to store beside its grams.
///
/// Grams made under another version must not be searched: a new Unicode version in `regex-syntax`
/// can give a character a case pair that it did not have. A test holds the tables to this number.
pub const FOLD_VERSION: u32 = 1;

/// The bits of one folded byte in a [`Gram`].
pub const BYTE_BITS: u32 = 7;

/// One more than the largest [`Gram`]: the number of bits of a set of all of them.
pub const GRAM_COUNT: u32 = 1 << (3 * BYTE_BITS);

/// The slots of 7 bits that folded ASCII text leaves free: the upper-case letters, and control
/// characters that text does not hold. Bytes from 0x80 on share these, and no slot of real text.
const FREE_SLOTS: [u8; 56] = free_slots();

/// The first bytes of UTF-8 sequences, in groups that share a slot. The scripts that are frequent
/// in source code have one each.
const LEAD_GROUPS: [&[u8]; 24] = [
    &[0xC2],
    &[0xC3],
    &[0xC4],
    &[0xC5],
    &[0xCE],
    &[0xCF],
    &[0xD0],
    &[0xD1],
    &[0xD7],
    &[0xD8],
    &[0xD9],
    &[0xE0],
    &[0xE1],
    &[0xE2],
    &[0xE3],
    &[0xE4],
    &[0xE5],
    &[0xE6],
    &[0xE7],
    &[0xE8, 0xE9],
    &[0xEA, 0xEB],
    &[0xEC, 0xED],
    &[0xEF, 0xEE],
    &[0xF0],
];

/// [`fold_byte`] as a table, for loops that want the load and nothing else.
pub const FOLD_BYTE: [u8; 256] = fold_byte_table();

/// Whether the slot is one of ASCII text's own.
const fn is_text_slot(slot: u8) -> bool {
    matches!(slot, b'\t' | b'\n' | b'\r' | 0x20..=0x40 | 0x5B..=0x7E)
}

const fn free_slots() -> [u8; 56] {
    let mut slots = [0; 56];
    let mut found = 0;
    let mut slot = 0;
    while slot < 128 {
        if !is_text_slot(slot) {
            slots[found] = slot;
            found += 1;
        }
        slot += 1;
    }
    slots
}

const fn fold_byte_table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            ascii @ 0..=0x7F => ascii.to_ascii_lowercase(),
            // Letters of the two cases are 0x20 apart in Latin-1 and in most of Cyrillic, so
            // dropping that bit costs the least, and makes the folded grams equal the raw ones.
            continuation @ 0x80..=0xBF => FREE_SLOTS[24 + (continuation & 0x1F) as usize],
            rare => FREE_SLOTS[(rare % 24) as usize],
        };
        byte += 1;
    }
    let mut group = 0;
    while group < LEAD_GROUPS.len() {
        let mut member = 0;
        while member < LEAD_GROUPS[group].len() {
            table[LEAD_GROUPS[group][member] as usize] = FREE_SLOTS[group];
            member += 1;
        }
        group += 1;
    }
    table
}

/// Maps a byte to its 7-bit slot: ASCII letters to lower case, other ASCII to itself, and bytes
/// from 0x80 on, several to one, to slots that text does not use.
///
/// The mapping goes from bytes to slots and must be applied once: a slot is not a byte.
#[inline]
#[must_use]
pub const fn fold_byte(byte: u8) -> u8 {
    FOLD_BYTE[byte as usize]
}

/// Three folded bytes in 21 bits, the first of them in the highest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gram(u32);

impl Gram {
    /// The gram of three slots, each made by [`fold_byte`].
    #[inline]
    #[must_use]
    pub const fn from_slots(a: u8, b: u8, c: u8) -> Self {
        let mask = (1 << BYTE_BITS) - 1;
        Self(
            ((a as u32 & mask) << (2 * BYTE_BITS))
                | ((b as u32 & mask) << BYTE_BITS)
                | (c as u32 & mask),
        )
    }

    /// The gram of a number below [`GRAM_COUNT`]; `None` from there on.
    #[inline]
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        if number < GRAM_COUNT { Some(Self(number)) } else { None }
    }

    /// The gram as a number below [`GRAM_COUNT`].
    #[inline]
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The three slots.
    #[must_use]
    pub const fn slots(self) -> [u8; 3] {
        let mask = (1 << BYTE_BITS) - 1;
        [
            ((self.0 >> (2 * BYTE_BITS)) & mask) as u8,
            ((self.0 >> BYTE_BITS) & mask) as u8,
            (self.0 & mask) as u8,
        ]
    }
}

/// Quoted, with `\xNN` for one of the bytes that the slot may stand for.
impl fmt::Display for Gram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for slot in self.slots() {
            match slot {
                b'"' | b'\\' => write!(f, "\\{}", slot as char)?,
                b'\t' => f.write_str("\\t")?,
                b'\n' => f.write_str("\\n")?,
                b'\r' => f.write_str("\\r")?,
                _ if is_text_slot(slot) => write!(f, "{}", slot as char)?,
                _ => write!(f, "\\x{:02X}", byte_of_slot(slot))?,
            }
        }
        f.write_str("\"")
    }
}

impl fmt::Debug for Gram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gram({self})")
    }
}

/// The most frequent byte from 0x80 on that has the slot, or the control character itself.
fn byte_of_slot(slot: u8) -> u8 {
    let leads = LEAD_GROUPS.iter().filter_map(|group| group.first().copied());
    leads.chain(0x80..=0xBF).find(|byte| fold_byte(*byte) == slot).unwrap_or(slot)
}

/// The gram of three bytes as they stand in a text.
#[inline]
#[must_use]
pub const fn gram(a: u8, b: u8, c: u8) -> Gram {
    Gram::from_slots(fold_byte(a), fold_byte(b), fold_byte(c))
}

/// Appends `text` to `out` with each character replaced by the one that stands for all of those
/// that it equals without regard to case, by Unicode's simple folding as the `regex` crate has it.
/// Bytes that are not UTF-8 are kept. The length can change, in either direction.
pub fn fold_text(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len());
    for chunk in text.utf8_chunks() {
        fold_str(chunk.valid(), out);
        out.extend_from_slice(chunk.invalid());
    }
}

fn fold_str(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut start = 0;
    while start < bytes.len() {
        let ascii =
            bytes[start..].iter().position(|byte| !byte.is_ascii()).unwrap_or(bytes.len() - start);
        let end = start + ascii;
        out.extend(bytes[start..end].iter().map(u8::to_ascii_lowercase));
        start = end;
        if let Some(c) = text.get(start..).and_then(|rest| rest.chars().next()) {
            let mut buffer = [0; 4];
            out.extend_from_slice(FOLDS.fold(c).encode_utf8(&mut buffer).as_bytes());
            start += c.len_utf8();
        }
    }
}

/// The character that stands for all of those that equal `c` without regard to case.
#[must_use]
pub fn fold_char(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    representative(c)
}

/// [`fold_char`] from the tables of `regex-syntax`, without the table that [`fold_text`] builds.
///
/// A lower-case letter where there is one, so that folding leaves most text as it is and adds few
/// grams; an ASCII one before all others, which [`fold_byte`] relies on.
fn representative(c: char) -> char {
    let mut class = ClassUnicode::new([ClassUnicodeRange::new(c, c)]);
    if class.try_case_fold_simple().is_err() {
        return c;
    }
    let members = || class.iter().flat_map(|range| range.start()..=range.end());
    if let Some(ascii) = members().find(char::is_ascii) {
        return ascii.to_ascii_lowercase();
    }
    members()
        .filter(|member| member.is_uppercase())
        .find_map(|upper| {
            let mut lower = upper.to_lowercase();
            let first = lower.next()?;
            (lower.next().is_none() && members().any(|member| member == first)).then_some(first)
        })
        .or_else(|| members().next())
        .unwrap_or(c)
}

const PAGE: usize = 256;

/// The characters that [`FoldTable::build`] looks at. None outside has a case pair (tested).
const CASED: [std::ops::Range<u32>; 4] =
    [0x80..0x3000, 0xA000..0xAC00, 0xF900..0x1_2000, 0x1_4000..0x2_0000];

/// The folds of the characters that change, in pages of 256.
struct FoldTable {
    /// For each page of characters, 0 or one more than the index in `folds`.
    pages: Vec<u16>,
    folds: Vec<[char; PAGE]>,
}

static FOLDS: LazyLock<FoldTable> = LazyLock::new(FoldTable::build);

impl FoldTable {
    fn build() -> Self {
        let mut table = Self { pages: vec![0; 0x11_0000 / PAGE], folds: Vec::new() };
        for c in CASED.into_iter().flatten().filter_map(char::from_u32) {
            let folded = representative(c);
            if folded != c {
                table.set(c, folded);
            }
        }
        table
    }

    fn set(&mut self, c: char, folded: char) {
        let page = c as usize / PAGE;
        if self.pages[page] == 0 {
            let first = (page * PAGE) as u32;
            self.folds.push(std::array::from_fn(|offset| {
                char::from_u32(first + offset as u32).unwrap_or(char::REPLACEMENT_CHARACTER)
            }));
            self.pages[page] = self.folds.len() as u16;
        }
        self.folds[self.pages[page] as usize - 1][c as usize % PAGE] = folded;
    }

    #[inline]
    fn fold(&self, c: char) -> char {
        match self.pages[c as usize / PAGE] {
            0 => c,
            page => self.folds[page as usize - 1][c as usize % PAGE],
        }
    }
}

#[cfg(test)]
#[path = "trigram_tests.rs"]
mod tests;
